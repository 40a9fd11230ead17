"""Fits as tasks of workers: each result equals the result of direct calls."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import fit_model, load
from reprise.lib.genres.split_plans import TEST, TRAIN
from reprise.lib.genres.splits import reorder_columns
from reprise.udfs.genre_fits import COUNTS, FITS_DDL, MODEL, PROBABILITIES, FitProblem, FitTask, fit_models

N, GENRES = 60, ("blues", "jäzz", "rock")
PARAMS = LEARNERS["naive_bayes"].grid[0]
FEATURES = ("a", "b", "c")


@pytest.fixture(scope="module")
def problem() -> FitProblem:
    """Three genres that differ in their first feature, groups of two rows, four splits."""
    rng = np.random.default_rng(0)
    genres = np.arange(N, dtype=np.int32) % 3
    rows = rng.standard_normal((N, 3)).astype(np.float32)
    rows[:, 0] += 2 * genres
    rows[3, 1] = np.nan
    groups = (np.arange(N) // 6 * 3 + np.arange(N) % 3).astype(np.int32)
    splits = np.zeros((4, N), dtype=np.int8)
    splits[0] = np.where(np.arange(N) < 40, TRAIN, TEST)
    splits[1, :30], splits[1, 35:50] = TRAIN, TEST
    splits[2, genres == 1], splits[2, genres != 1] = TRAIN, TEST  # one genre only
    splits[3] = TRAIN
    names = np.array([f"artist {n:02}" for n in range(groups.max() + 1)], dtype=object)
    return FitProblem(
        "naive_bayes", FEATURES, "gtzan", False, 5, rows, np.array(GENRES, dtype=object), genres, names, groups,
        FEATURES, rows, splits,
    )  # fmt: skip


def run(problem: FitProblem, tasks: Sequence[FitTask], *ids: Sequence[int]) -> list[dict[str, Any]]:
    batches = [pa.RecordBatch.from_pydict({"id": pa.array(some, pa.int64())}) for some in ids or [range(len(tasks))]]
    found = pa.Table.from_batches(fit_models(batches, problem=SimpleNamespace(value=problem), tasks=tasks))
    assert found.schema.names == [column.split()[0] for column in FITS_DDL.split(", ")]
    return found.to_pylist()


def expected(problem: FitProblem, split: int) -> tuple[Any, np.ndarray]:
    train, test = (np.flatnonzero(problem.splits[split] == role) for role in (TRAIN, TEST))
    model = fit_model(
        problem.learner, PARAMS, problem.rows[train], problem.genre_names[problem.genres[train]],
        problem.group_names[problem.groups[train]], features=FEATURES, feature_set="gtzan",
        balanced=problem.balanced, seed=problem.seed,
    )  # fmt: skip
    return model, reorder_columns(model.predict(problem.rows[test]), model.genres, GENRES)


def test_results_equal_direct_calls(problem: FitProblem) -> None:
    tasks = [FitTask(split, PARAMS, result) for result in (PROBABILITIES, COUNTS) for split in (0, 1)]
    rows = run(problem, [*tasks, FitTask(3, PARAMS, MODEL)])
    assert [row["task"] for row in rows] == list(range(5))
    assert [row["fault"] for row in rows] == [None] * 5
    for split in (0, 1):
        _, probabilities = expected(problem, split)
        test = problem.splits[split] == TEST
        np.testing.assert_array_equal(np.frombuffer(rows[split]["probabilities"]).reshape(-1, 3), probabilities)
        counts = np.zeros((3, 3), dtype=int)
        for true, found in zip(problem.genres[test], probabilities.argmax(axis=1), strict=True):
            counts[true, found] += 1
        assert rows[2 + split]["counts"] == counts.reshape(-1).tolist()
        assert rows[split]["counts"] is rows[split]["model"] is rows[2 + split]["probabilities"] is None
    model = load(rows[4]["model"])
    np.testing.assert_array_equal(model.predict(problem.rows), expected(problem, 3)[0].predict(problem.rows))
    assert (model.features, model.feature_set, model.genres) == (FEATURES, "gtzan", GENRES)


def test_impossible_fit_gives_a_fault_and_other_tasks_run(problem: FitProblem) -> None:
    bad, good = run(problem, [FitTask(2, PARAMS, COUNTS), FitTask(0, PARAMS, COUNTS)])
    assert bad["fault"]
    assert "\n" not in bad["fault"]
    assert bad["counts"] is None
    assert (good["fault"], sum(good["counts"])) == (None, 20)


def test_results_do_not_depend_on_the_batches(problem: FitProblem) -> None:
    tasks = [FitTask(split, PARAMS, COUNTS) for split in (0, 1, 0)]
    assert run(problem, tasks, [2], [], [1, 0]) == [run(problem, tasks)[n] for n in (2, 1, 0)]
    assert pa.Table.from_batches(fit_models([], problem=SimpleNamespace(value=problem), tasks=[]), pa.schema([])) == (
        pa.table({})
    )


def test_model_bytes_are_reproducible(problem: FitProblem) -> None:
    first, second = (run(problem, [FitTask(3, PARAMS, MODEL)])[0]["model"] for _ in range(2))
    assert first == second
    other = run(replace(problem, rows=problem.rows + 1), [FitTask(3, PARAMS, MODEL)])[0]["model"]
    assert first != other


def test_only_training_rows_affect_the_model(problem: FitProblem) -> None:
    """Changed genres of all other rows, and changed features of rows outside the split, do not change the model."""
    split = problem.splits[1]
    genres, rows = problem.genres.copy(), problem.rows.copy()
    genres[split != TRAIN] = 0
    rows[split == 0] = 1e6
    tasks = [FitTask(1, PARAMS, PROBABILITIES)]
    changed = run(replace(problem, genres=genres, rows=rows), tasks)
    assert changed == run(problem, tasks)
    assert changed[0]["fault"] is None
