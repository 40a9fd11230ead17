"""Training of a genre model, killed at a random moment and started again, ends in the row and files of a quiet run."""

import csv
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reprise.jobs import train_genre
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.genres.gtzan_table import COLUMNS
from reprise.lib.tables import MODELS, Table

SEED = 20020727
FIXED = ("scaling=quantile", "selection=none", "smoothing=0.1")
Rows = Callable[[Warehouse, Table], pd.DataFrame]


@pytest.mark.exhaustive
def test_killed_and_started_again(
    spark: Any,
    start: Callable[..., subprocess.Popen[bytes]],
    tmp_path: Path,
    written: Callable[[Warehouse], int],
    kill_at: Callable[..., bool],
    rows_of: Rows,
) -> None:
    table, rng, chance = tmp_path / "table.csv", np.random.default_rng(SEED), random.Random(SEED)
    with table.open("w", newline="") as file:
        rows = [[f"{n}.wav", 1, *(n % 2 + rng.standard_normal(len(COLUMNS))), f"genre {n % 2}"] for n in range(40)]
        csv.writer(file).writerows([["filename", "length", *COLUMNS, "label"], *rows])
    arguments = ["--features", "gtzan", "--table", str(table), "--learner", "naive_bayes", "--folds", "2"]
    arguments += [word for text in FIXED for word in ("--param", text)]
    done, killed = (Warehouse(str(tmp_path / name)) for name in ("done", "killed"))
    assert train_genre.main([*arguments, "--warehouse", done.root]) == 0
    process = start("train-genre", *arguments, "--warehouse", killed.root)
    files, delay_s = chance.randint(1, written(done) - 1), chance.uniform(0, 0.05)
    was_killed = kill_at(process, killed, files, delay_s)
    print(f"seed {SEED}, killed at {written(killed)} of {written(done)} files (after {files}, {delay_s:.3f} s)")
    assert was_killed, (tmp_path / "said.txt").read_text()
    assert train_genre.main([*arguments, "--warehouse", killed.root]) == 0
    models = [rows_of(warehouse, MODELS).drop(columns="trained_at") for warehouse in (killed, done)]
    assert len(models[0]) == 1
    pd.testing.assert_frame_equal(*models)
    made = [_artifacts(Path(warehouse.root, "_artifacts")) for warehouse in (done, killed)]
    assert made[0].items() <= made[1].items()  # a file that was being written stays under a name of its own


def _artifacts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
