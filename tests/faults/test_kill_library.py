"""Ingests of listeners' libraries, killed and started again or run two at once, end in the rows of quiet ones."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs import extract_genre_features, ingest_library
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MANIFEST,
    MSD_GENRE_FEATURES,
    PLAYS,
    QUARANTINE,
    UNMATCHED_PLAYS,
)

SEED = 20260331
TABLES = [LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, PLAYS, UNMATCHED_PLAYS, MANIFEST, QUARANTINE]
Start = Callable[..., subprocess.Popen[bytes]]
Written = Callable[[Warehouse], int]
Record = Callable[..., Path]


@pytest.fixture(scope="module")
def songs(record: Record, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("songs")
    return [record(folder / f"{seed}.flac", seed, title=f"Song {seed}", artist="Ann") for seed in range(12)]


def lay_out(tree: Path, songs: list[Path]) -> None:
    """Two listeners who share three songs, each with a playlist and a bad file."""
    for user, numbers in (("ann", range(5)), ("bob", range(2, 7))):
        (tree / user / "more").mkdir(parents=True)
        for number in numbers:
            shutil.copy(songs[number], tree / user / f"{number}.flac")
        shutil.copy(songs[numbers[0]], tree / user / "more/again.flac")
        (tree / user / "bad.mp3").write_bytes(user.encode() * 1000)
        (tree / user / "list.m3u8").write_text("#EXTM3U\n3.flac\n4.flac\n#EXTINF:3,X - Y\n-\n")


def change(tree: Path, songs: list[Path]) -> None:
    """Other songs under old names, a new one, another playlist, and the bad file mended."""
    for user, number in (("ann", 7), ("bob", 8)):
        shutil.copy(songs[number], tree / user / "3.flac")
        shutil.copy(songs[number + 2], tree / user / "new.flac")
        shutil.copy(songs[11], tree / user / "bad.mp3")
    (tree / "bob/list.m3u8").write_text("#EXTM3U\nnew.flac\n#EXTINF:3,Ann - Song 4\n-\n#EXTINF:3,Z - Y\n-\n")


@pytest.fixture
def kill_once(start: Start, written: Written, kill_at: Callable[..., bool]) -> Callable[..., None]:
    """Start a job and kill it when it has written some of its ``most`` files."""

    def kill(command: tuple[object, ...], warehouse: Warehouse, most: int) -> None:
        chance = random.Random(f"{SEED} {command[0]}")
        files, delay_s = chance.randint(1, max(1, 2 * most // 3)), chance.uniform(0, 0.1)
        before, process = written(warehouse), start(*command, "--warehouse", warehouse.root)
        assert kill_at(process, warehouse, before + files, delay_s)
        print(f"{command[0]}: seed {SEED}, killed {delay_s:.3f} s after {files} of {most} files")

    return kill


def test_killed_and_started_again(
    songs: list[Path],
    kill_once: Callable[..., None],
    written: Written,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    tree, killed = tmp_path / "tree", Warehouse(str(tmp_path / "killed"))
    arguments = ("--source", tree, "--conf", "files_per_task=8", "--max-bad", "1")
    lay_out(tree, songs)
    run_job(ingest_library.main, *arguments)
    shutil.copytree(warehouse.root, killed.root)
    before = written(killed)
    change(tree, songs)
    run_job(ingest_library.main, *arguments)
    kill_once(("ingest-library", *arguments), killed, written(warehouse) - before)
    assert ingest_library.main([*map(str, arguments), "--warehouse", killed.root]) == 0
    assert_same(killed, warehouse, TABLES[:-1])
    assert warehouse.sizes(QUARANTINE)[0] == Warehouse(killed.root).sizes(QUARANTINE)[0] == 0

    features = ("--conf", "files_per_task=8", "--images", "mel")
    before = written(warehouse)
    run_job(extract_genre_features.main, *features)
    kill_once(("extract-genre-features", *features), killed, written(warehouse) - before)
    assert extract_genre_features.main([*features, "--warehouse", killed.root]) == 0
    assert_same(killed, warehouse, [AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES, GENRE_IMAGES])


@pytest.mark.exhaustive
def test_two_listeners_who_share_files_at_once(
    songs: list[Path],
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    tree, both = tmp_path / "tree", Warehouse(str(tmp_path / "both"))
    lay_out(tree, songs)
    options = ("--conf", "files_per_task=8", "--max-bad", "1")
    processes = [
        start("ingest-library", "--source", tree / user, "--user", user, *options, "--warehouse", both.root)
        for user in ("ann", "bob")
    ]
    assert [process.wait() for process in processes] == [0, 0], (tmp_path / "said.txt").read_text()
    for user in ("ann", "bob"):
        run_job(ingest_library.main, "--source", tree / user, "--user", user, *options)
    assert_same(both, warehouse, TABLES)
