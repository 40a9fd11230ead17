"""Two runs of one job at once, on inputs that overlap, leave the rows of one quiet run."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import ingest_annotations, ingest_library, ingest_msd
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    JOB_RUNS,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MANIFEST,
    MSD_ANALYSIS,
    MSD_TRACKS,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
    UNMATCHED_PLAYS,
)
from tests.jobs.chain import assert_same_content
from tests.jobs.processes import Start

RunJob = Callable[..., dict[str, Any]]


def assert_good_ends(processes: list[subprocess.Popen[bytes]], said: Path) -> None:
    assert [process.wait() for process in processes] == [0] * len(processes), said.read_text()


def test_ingest_msd_of_trees_that_overlap_and_hold_copies(
    big_sample: Path,
    start: Start,
    run_job: RunJob,
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
    tmp_path: Path,
) -> None:
    """The whole is a part and the rest, where copies of some tracks of the part stand beside other tracks."""
    whole, part = tmp_path / "whole", tmp_path / "whole" / "part"
    shutil.copytree(big_sample / "msd", part)
    (whole / "rest").mkdir()
    files = sorted(part.rglob("*.h5"))
    for path in files[-10:]:
        path.rename(whole / "rest" / path.name)
    for path in [path for path in files[:-10] if path.stat().st_size > 1000][:20]:  # none of the bad ones
        shutil.copy(path, whole / "rest" / path.name)
    both = Warehouse(str(tmp_path / "both"))
    options = ("--conf", "files_per_task=3", "--max-bad", 1, "--warehouse", both.root)
    processes = [start("ingest-msd", "--source", source, *options) for source in (part, whole)]
    run_job(ingest_msd.main, "--source", whole)
    assert_good_ends(processes, tmp_path / "said.txt")
    assert_same_content(both, warehouse, (QUARANTINE,))
    tracks, analysis = (rows_of(both, table) for table in (MSD_TRACKS, MSD_ANALYSIS))
    assert len(tracks) == 148
    for table, rows in ((MSD_TRACKS, tracks), (MSD_ANALYSIS, analysis)):
        pd.testing.assert_frame_equal(rows.drop(columns="uri"), rows_of(warehouse, table).drop(columns="uri"))
    # whichever was faster, both tables hold a track from the same file
    owners = ["track_id", "uri", "sha256"]
    pd.testing.assert_frame_equal(tracks[owners], analysis[owners])
    manifest = rows_of(both, MANIFEST)
    assert manifest["status"].value_counts().to_dict() == {"done": 148, "duplicate": 20, "quarantined": 2}
    assert set(manifest["uri"][manifest["status"] == "done"]) == set(tracks["uri"])
    assert rows_of(both, JOB_RUNS)["status"].tolist() == ["succeeded"] * 2


@pytest.mark.exhaustive
def test_ingest_annotations_of_one_folder(
    big_sample: Path,
    start: Start,
    run_job: RunJob,
    warehouse: Warehouse,
    tmp_path: Path,
) -> None:
    arguments, both = ("--source", big_sample / "annotations"), Warehouse(str(tmp_path / "both"))
    processes = [start("ingest-annotations", *arguments, "--warehouse", both.root) for _ in range(2)]
    run_job(ingest_annotations.main, *arguments)
    assert_good_ends(processes, tmp_path / "said.txt")
    tables = (COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS, QUARANTINE, MANIFEST)
    assert_same_content(both, warehouse, tables)


@pytest.mark.exhaustive
def test_ingest_library_of_two_listeners_who_share_files(
    record: Callable[..., Path], start: Start, run_job: RunJob, warehouse: Warehouse, tmp_path: Path
) -> None:
    tree, both = tmp_path / "tree", Warehouse(str(tmp_path / "both"))
    songs = [record(tmp_path / f"{seed}.flac", seed, title=f"Song {seed}", artist="Ann") for seed in range(7)]
    for user, numbers in (("ann", range(5)), ("bob", range(2, 7))):
        (tree / user / "more").mkdir(parents=True)
        for number in numbers:
            shutil.copy(songs[number], tree / user / f"{number}.flac")
        shutil.copy(songs[numbers[0]], tree / user / "more/again.flac")
        (tree / user / "bad.mp3").write_bytes(user.encode() * 1000)
        (tree / user / "list.m3u8").write_text("#EXTM3U\n3.flac\n4.flac\n#EXTINF:3,X - Y\n-\n")
    options = ("--conf", "files_per_task=8", "--max-bad", "1")
    processes = [
        start("ingest-library", "--source", tree / user, "--user", user, *options, "--warehouse", both.root)
        for user in ("ann", "bob")
    ]
    assert_good_ends(processes, tmp_path / "said.txt")
    for user in ("ann", "bob"):
        run_job(ingest_library.main, "--source", tree / user, "--user", user, *options)
    written = (LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, PLAYS, UNMATCHED_PLAYS, MANIFEST, QUARANTINE)
    assert_same_content(both, warehouse, written)
