"""Killed at random moments and started again, a job ends in the rows of one quiet run."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs import ingest_annotations, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    MANIFEST,
    MSD_ANALYSIS,
    MSD_TRACKS,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
)

SEED = 20110211
Start = Callable[..., subprocess.Popen[bytes]]
Written = Callable[[Warehouse], int]


def test_ingest_msd(
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    written: Written,
    kill_at: Callable[..., bool],
    tmp_path: Path,
) -> None:
    arguments = ("--source", big_sample / "msd", "--conf", "files_per_task=5")
    run_job(ingest_msd.main, *arguments)
    killed, chance, kills = Warehouse(str(tmp_path / "killed")), random.Random(SEED), []
    most = 2 * written(warehouse) // 3  # two of these reach to the end: what a kill undoes is written again
    for attempt in range(2):
        before, process = written(killed), start("ingest-msd", *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(1, most), chance.uniform(0, 0.05)
        if kill_at(process, killed, before + files, delay_s, alone=attempt == 1):
            kills.append((attempt, files, round(delay_s, 3), written(killed)))
    print(f"seed {SEED}, killed (attempt, after files, and seconds, files then there): {kills}")
    assert kills
    assert start("ingest-msd", *arguments, "--warehouse", killed.root).wait() == 0, (tmp_path / "said.txt").read_text()
    assert_same(killed, warehouse, [MSD_TRACKS, MSD_ANALYSIS, QUARANTINE, MANIFEST])


@pytest.mark.exhaustive
def test_ingest_annotations(
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    written: Written,
    kill_at: Callable[..., bool],
    tmp_path: Path,
) -> None:
    arguments = ("--source", big_sample / "annotations")
    run_job(ingest_annotations.main, *arguments)
    killed, chance, kills = Warehouse(str(tmp_path / "killed")), random.Random(SEED), []
    most = written(warehouse)
    for _ in range(2):
        before, process = written(killed), start("ingest-annotations", *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(2, most // 2), chance.uniform(0, 0.05)
        if kill_at(process, killed, before + files, delay_s):
            kills.append((files, round(delay_s, 3), written(killed)))
    print(f"seed {SEED}, killed (after files, and seconds, files then there): {kills} of {most}")
    assert kills
    assert start("ingest-annotations", *arguments, "--warehouse", killed.root).wait() == 0, (
        tmp_path / "said.txt"
    ).read_text()
    tables = [COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS, QUARANTINE, MANIFEST]
    assert_same(killed, warehouse, tables)
