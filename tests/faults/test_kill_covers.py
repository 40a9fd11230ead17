"""Jobs of cover detection, killed at random moments and started again, end in the rows of one quiet run."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import extract_chroma, find_covers, train_cover_index
from reprise.jobs._tables import Warehouse
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_MATCHES, COVER_VECTORS, JOB_RUNS, MODELS, Table

SEED = 20120509
KILLS = 1
JOBS: list[tuple[Any, tuple[str, ...], list[Table]]] = [
    (extract_chroma, ("--conf", "files_per_task=10"), [BEAT_CHROMA, CHROMA_PATCHES]),
    (
        train_cover_index,
        ("--method", "median_pca", "--param", "dimensions=10", "--conf", "files_per_task=10"),
        [COVER_VECTORS],
    ),
    (find_covers, ("--cliques", "shs_dataset_train", "--candidates", "5"), [COVER_MATCHES]),
]
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def quiet(cover_states: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The warehouse before the first job, and after each of them."""
    found = tmp_path_factory.mktemp("found") / "warehouse"
    shutil.copytree(cover_states["trained"], found)
    assert find_covers.main([*JOBS[-1][1], "--warehouse", str(found)]) == 0
    return [*cover_states.values(), found]


def written(folder: Path) -> int:
    """How many files the tables have, committed or not: the clock of a job's work."""
    return sum(1 for path in folder.rglob("*") if path.is_file() and JOB_RUNS.name not in path.parts)


def wait_for(process: subprocess.Popen[bytes], folder: Path, files: int, delay_s: float) -> bool:
    """Wait until so many files are there and a moment longer; False when the process has ended by itself."""
    while written(folder) < files and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    return process.poll() is None


def models(warehouse: Warehouse, rows_of: Callable[[Warehouse, Table], pd.DataFrame]) -> list[dict[str, Any]]:
    """Trained models without what the clock says."""
    rows: list[dict[str, Any]] = rows_of(warehouse, MODELS).drop(columns="trained_at").to_dict("records")
    metrics = [{k: v for k, v in json.loads(row["metrics"]).items() if k != "training_s"} for row in rows]
    return [row | {"metrics": figures} for row, figures in zip(rows, metrics, strict=True)]


@pytest.mark.parametrize("number", range(len(JOBS)), ids=[job.__name__.rpartition(".")[2] for job, _, _ in JOBS])
def test_killed_and_started_again(
    number: int,
    quiet: list[Path],
    start: Start,
    tmp_path: Path,
    assert_same: Callable[..., None],
    rows_of: Callable[[Warehouse, Table], pd.DataFrame],
) -> None:
    job, arguments, tables = JOBS[number]
    killed, done = Warehouse(str(tmp_path / "killed")), Warehouse(str(quiet[number + 1]))
    shutil.copytree(quiet[number], killed.root)
    name = job.__name__.rpartition(".")[2].replace("_", "-")
    chance, kills = random.Random(f"{SEED} {name}"), []
    first, most = written(quiet[number]), written(quiet[number + 1])
    for _ in range(KILLS):
        process = start(name, *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(first + 1, max(first + 1, most - 1)), chance.uniform(0, 0.1)
        if wait_for(process, Path(killed.root), max(files, written(Path(killed.root)) + 1), delay_s):
            os.killpg(process.pid, signal.SIGKILL)
            kills.append((files - first, round(delay_s, 3), written(Path(killed.root)) - first))
        process.wait()
    print(f"seed {SEED}, killed (after files, and seconds, files then there): {kills} of {most - first}")
    assert kills, (tmp_path / "said.txt").read_text()
    assert job.main([*arguments, "--warehouse", killed.root]) == 0
    assert_same(killed, done, tables)
    if MODELS.name in done.versions():
        assert models(killed, rows_of) == models(done, rows_of)
