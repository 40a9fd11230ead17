"""Jobs killed while they bring tables up to date, and started again, end in the rows of quiet runs."""

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from reprise.jobs import build_taste_profiles, ingest_library
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import (
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MANIFEST,
    PLAYS,
    QUARANTINE,
    TASTE_PROFILES,
    UNIQUE_TRACKS,
    UNMATCHED_PLAYS,
)
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import EVERYTHING, Chain, assert_same_content, copy_warehouse
from tests.jobs.processes import Start, count_files, kill_at

SEED = 20260331
LIBRARY = (LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, PLAYS, UNMATCHED_PLAYS, MANIFEST)
OPTIONS = ("--conf", "files_per_task=8", "--max-bad", "1")
RunJob = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def songs(record: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
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


def kill_once(process: subprocess.Popen[bytes], warehouse: Warehouse, before: int, most: int) -> None:
    """Kill a job when it has written some of the ``most`` files of a quiet run; ``before`` were there."""
    chance = random.Random(SEED)
    files, delay_s = chance.randint(1, max(1, 2 * most // 3)), chance.uniform(0, 0.05)
    assert kill_at(process, warehouse, before + files, delay_s)
    print(f"seed {SEED}, killed {delay_s:.3f} s after {files} of {most} files")


@pytest.mark.exhaustive
def test_a_library_that_has_changed(
    songs: list[Path], start: Start, run_job: RunJob, warehouse: Warehouse, tmp_path: Path
) -> None:
    tree, arguments = tmp_path / "tree", ("--source", tmp_path / "tree", *OPTIONS)
    lay_out(tree, songs)
    run_job(ingest_library.main, *arguments)
    killed = copy_warehouse(Path(warehouse.root), tmp_path / "killed")
    before = count_files(killed)
    change(tree, songs)
    run_job(ingest_library.main, *arguments)
    process = start("ingest-library", *arguments, "--warehouse", killed.root)
    kill_once(process, killed, before, count_files(warehouse) - before)
    assert ingest_library.main([*map(str, arguments), "--warehouse", killed.root]) == 0
    assert_same_content(killed, warehouse, LIBRARY)
    assert warehouse.sizes(QUARANTINE)[0] == Warehouse(killed.root).sizes(QUARANTINE)[0] == 0


@pytest.mark.exhaustive
def test_profiles_of_listeners_who_have_played_more(
    chain: Chain, spark: SparkSession, start: Start, tmp_path: Path
) -> None:
    killed = copy_warehouse(chain.after("build-taste-profiles"), tmp_path / "killed")
    song = killed.lookup(UNIQUE_TRACKS, "track_id", *EVERYTHING, ["song_id"])["song_id"][0].as_py()
    users = sorted(set(killed.lookup(PLAYS, "user_id", *EVERYTHING)["user_id"].to_pylist()))[:20]
    more = [{"user_id": u, "song_id": song, "source": "new", "play_count": 9, "run_id": "r"} for u in users]
    write_deltalake(killed.uri(PLAYS), pa.Table.from_pylist(more, arrow_schema(PLAYS)), mode="append")
    done = copy_warehouse(Path(killed.root), tmp_path / "done")
    before = count_files(killed)
    assert build_taste_profiles.main(["--warehouse", done.root]) == 0
    process = start("build-taste-profiles", "--warehouse", killed.root)
    kill_once(process, killed, before, count_files(done) - before)
    assert build_taste_profiles.main(["--warehouse", killed.root]) == 0
    assert_same_content(killed, done, (TASTE_PROFILES,))
