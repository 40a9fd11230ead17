"""Jobs of cover detection, killed at random moments and started again, end in the rows of one quiet run."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import extract_chroma, find_covers, train_cover_index
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_MATCHES, COVER_VECTORS, MODELS, Table

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
Written = Callable[[Warehouse], int]


@pytest.fixture(scope="module")
def quiet(cover_states: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The warehouse before the first job, and after each of them."""
    found = tmp_path_factory.mktemp("found") / "warehouse"
    shutil.copytree(cover_states["trained"], found)
    assert find_covers.main([*JOBS[-1][1], "--warehouse", str(found)]) == 0
    return [*cover_states.values(), found]


def models(warehouse: Warehouse, rows_of: Callable[[Warehouse, Table], pd.DataFrame]) -> list[dict[str, Any]]:
    """Trained models without what the clock says."""
    rows: list[dict[str, Any]] = rows_of(warehouse, MODELS).drop(columns="trained_at").to_dict("records")
    metrics = [{k: v for k, v in json.loads(row["metrics"]).items() if k != "training_s"} for row in rows]
    return [row | {"metrics": figures} for row, figures in zip(rows, metrics, strict=True)]


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(len(JOBS)), ids=[job.__name__.rpartition(".")[2] for job, _, _ in JOBS])
def test_killed_and_started_again(
    number: int,
    quiet: list[Path],
    start: Start,
    tmp_path: Path,
    assert_same: Callable[..., None],
    written: Written,
    kill_at: Callable[..., bool],
    rows_of: Callable[[Warehouse, Table], pd.DataFrame],
) -> None:
    job, arguments, tables = JOBS[number]
    killed, done = Warehouse(str(tmp_path / "killed")), Warehouse(str(quiet[number + 1]))
    shutil.copytree(quiet[number], killed.root)
    name = job.__name__.rpartition(".")[2].replace("_", "-")
    chance, kills = random.Random(f"{SEED} {name}"), []
    first, most = written(Warehouse(str(quiet[number]))), written(done)
    for _ in range(KILLS):
        process = start(name, *arguments, "--warehouse", killed.root)
        files, delay_s = chance.randint(first + 1, max(first + 1, most - 1)), chance.uniform(0, 0.1)
        if kill_at(process, killed, max(files, written(killed) + 1), delay_s):
            kills.append((files - first, round(delay_s, 3), written(killed) - first))
    print(f"seed {SEED}, killed (after files, and seconds, files then there): {kills} of {most - first}")
    assert kills, (tmp_path / "said.txt").read_text()
    assert job.main([*arguments, "--warehouse", killed.root]) == 0
    assert_same(killed, done, tables)
    if MODELS.name in done.versions():
        assert models(killed, rows_of) == models(done, rows_of)
