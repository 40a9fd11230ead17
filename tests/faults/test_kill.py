"""Killed at random moments and started again, a job ends in the rows of one quiet run."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprise.jobs import ingest_annotations, ingest_msd
from reprise.jobs._tables import Warehouse
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

SEED = 20110211
Start = Callable[..., subprocess.Popen[bytes]]


def written(warehouse: Warehouse) -> int:
    """How many files the tables' folders have, committed or not: the clock of a job's work."""
    folder = Path(warehouse.root)
    return sum(1 for path in folder.rglob("*") if path.is_file() and JOB_RUNS.name not in path.parts)


def kill_after(process: subprocess.Popen[bytes], warehouse: Warehouse, files: int, delay_s: float) -> bool:
    """Kill the process ``delay_s`` after it has written some files; False when it ended by itself before."""
    before = written(warehouse)
    while written(warehouse) < before + files:
        if process.poll() is not None:
            return False
        time.sleep(0.005)
    time.sleep(delay_s)
    return process.poll() is None


def test_ingest_msd(
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    arguments = ("--source", big_sample / "msd", "--conf", "files_per_task=5")
    run_job(ingest_msd.main, *arguments)
    killed, chance, kills = Warehouse(str(tmp_path / "killed")), random.Random(SEED), []
    most = written(warehouse) // 3  # five of these reach to the end: what a kill undoes is written again
    for attempt in range(5):
        process = start("ingest-msd", *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(1, most), chance.uniform(0, 0.05)
        if kill_after(process, killed, files, delay_s):
            # the last leaves Spark behind, which notices later and may still write
            (os.killpg if attempt < 4 else os.kill)(process.pid, signal.SIGKILL)
            kills.append((attempt, files, round(delay_s, 3), written(killed)))
        process.wait()
    print(f"seed {SEED}, killed (attempt, after files, and seconds, files then there): {kills}")
    assert len(kills) >= 4
    assert start("ingest-msd", *arguments, "--warehouse", killed.root).wait() == 0, (tmp_path / "said.txt").read_text()
    assert_same(killed, warehouse, [MSD_TRACKS, MSD_ANALYSIS, QUARANTINE, MANIFEST])


def test_ingest_annotations(
    big_sample: Path,
    start: Start,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    assert_same: Callable[..., None],
    tmp_path: Path,
) -> None:
    arguments = ("--source", big_sample / "annotations")
    run_job(ingest_annotations.main, *arguments)
    killed, chance, kills = Warehouse(str(tmp_path / "killed")), random.Random(SEED), []
    most = written(warehouse)
    for _ in range(3):
        process = start("ingest-annotations", *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(2, most // 2), chance.uniform(0, 0.05)
        if kill_after(process, killed, files, delay_s):
            os.killpg(process.pid, signal.SIGKILL)
            kills.append((files, round(delay_s, 3), written(killed)))
        process.wait()
    print(f"seed {SEED}, killed (after files, and seconds, files then there): {kills} of {most}")
    assert len(kills) >= 2
    assert start("ingest-annotations", *arguments, "--warehouse", killed.root).wait() == 0, (
        tmp_path / "said.txt"
    ).read_text()
    tables = [COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS, QUARANTINE, MANIFEST]
    assert_same(killed, warehouse, tables)
