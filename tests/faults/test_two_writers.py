"""Two runs of one job at once, on inputs that overlap, leave the rows of one quiet run."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import ingest_annotations, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    JOB_RUNS,
    MANIFEST,
    MSD_ANALYSIS,
    MSD_TRACKS,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
)

Start = Callable[..., subprocess.Popen[bytes]]


def assert_good_ends(processes: list[subprocess.Popen[bytes]], said: Path) -> None:
    assert [process.wait() for process in processes] == [0] * len(processes), said.read_text()


@pytest.mark.parametrize("files_per_task", [pytest.param(1024, marks=pytest.mark.exhaustive), 3])
def test_ingest_msd_of_trees_that_overlap(
    files_per_task: int,
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    rows_of: Callable[..., Any],
    tmp_path: Path,
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "whole" / "most"
    shutil.copytree(big_sample / "msd", part)
    (whole / "rest").mkdir()
    for path in sorted(part.rglob("*.h5"))[-10:]:
        path.rename(whole / "rest" / path.name)
    both = Warehouse(str(tmp_path / "both"))
    options = ("--conf", f"files_per_task={files_per_task}", "--max-bad", 1, "--warehouse", both.root)
    processes = [start("ingest-msd", "--source", source, *options) for source in (part, whole)]
    run_job(ingest_msd.main, "--source", whole)
    assert_good_ends(processes, tmp_path / "said.txt")
    assert_same(both, warehouse, [MSD_TRACKS, MSD_ANALYSIS, QUARANTINE, MANIFEST])
    assert rows_of(both, JOB_RUNS)["status"].tolist() == ["succeeded"] * 2


def test_ingest_msd_of_two_copies(
    big_sample: Path, start: Start, rows_of: Callable[..., Any], warehouse: Warehouse, tmp_path: Path
) -> None:
    copy = shutil.copytree(big_sample / "msd", tmp_path / "copy")
    options = ("--conf", "files_per_task=5", "--max-bad", 1, "--warehouse", warehouse.root)
    processes = [start("ingest-msd", "--source", source, *options) for source in (big_sample / "msd", copy)]
    assert_good_ends(processes, tmp_path / "said.txt")
    tracks, analysis = (rows_of(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS))
    assert tracks["track_id"].is_unique
    assert len(tracks) == 148
    # whichever was faster, both tables hold a track from the same one
    owners = ["track_id", "uri", "sha256"]
    pd.testing.assert_frame_equal(tracks[owners], analysis[owners])
    manifest = rows_of(warehouse, MANIFEST)
    assert manifest["status"].value_counts().to_dict() == {"done": 148, "duplicate": 148, "quarantined": 4}
    assert set(manifest["uri"][manifest["status"] == "done"]) == set(tracks["uri"])


@pytest.mark.exhaustive
def test_ingest_annotations_of_one_folder(
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    arguments, both = ("--source", big_sample / "annotations"), Warehouse(str(tmp_path / "both"))
    processes = [start("ingest-annotations", *arguments, "--warehouse", both.root) for _ in range(2)]
    run_job(ingest_annotations.main, *arguments)
    assert_good_ends(processes, tmp_path / "said.txt")
    tables = [COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS, QUARANTINE, MANIFEST]
    assert_same(both, warehouse, tables)
