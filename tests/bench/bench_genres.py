"""How well the learners tell the ten genres of the GTZAN table, beside the figures of the papers."""

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row
from sklearn.metrics import f1_score
from threadpoolctl import threadpool_limits

from reprise.lib.arrays import Int64Array, ObjectArray
from reprise.lib.genres.gtzan_table import COLUMNS, GtzanTable, read_list, read_table
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import GenreModel, fit_model
from reprise.lib.genres.splits import split_at_random, split_folds

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "gtzan"
LISTS = ("train_filtered.txt", "valid_filtered.txt", "test_filtered.txt")
RANDOM_SPLITS, TESTED = 20, 0.2
FOLDS, INNER = 10, 3
SEED = 0
PUBLISHED = {
    "knn": "92 %",
    "svm": "F1 0.32; 91 %; fault-filtered 53.4 %",
    "random_forest": "F1 0.77; 87 %",
    "logistic_regression": "72 %",
    "naive_bayes": "50 %",
    "xgboost": "87 %",
    "voting": "88 %",
    "stacking": "92 %",
}
"""Of the papers: F1 of tracks split at random, accuracy of windows of the same tracks on both sides."""

Params = Mapping[str, Any]


def fit(table: GtzanTable, learner: str, params: Params, rows: Int64Array) -> GenreModel:
    """A model of some rows of the table."""
    return fit_model(
        learner, params, table.rows[rows], table.genres[rows], table.names[rows],
        features=COLUMNS, feature_set="gtzan", balanced=False, seed=SEED,
    )  # fmt: skip


def answer(table: GtzanTable, learner: str, params: Params, train: Int64Array, test: Int64Array) -> ObjectArray:
    """Genres that a model of some rows tells of others."""
    model = fit(table, learner, params, train)
    genres: ObjectArray = np.array(model.genres, dtype=object)[model.predict(table.rows[test]).argmax(axis=1)]
    return genres


def choose(table: GtzanTable, learner: str, train: Int64Array) -> Params:
    """The candidate that does best in folds of the training rows."""
    grid = LEARNERS[learner].grid
    splits = split_folds(table.genres[train], table.names[train], INNER, SEED)
    scores = []
    for params in grid:
        found = np.empty(len(train), dtype=object)
        for inner, outer in splits:
            found[outer] = answer(table, learner, params, train[inner], train[outer])
        scores.append(_f1(table.genres[train], found))
    return grid[int(np.argmax(scores))]


def measure_quality() -> list[Row]:
    """Every learner by random splits, by folds and by the fault-filtered lists."""
    table = read_table(DATA / "features_30_sec.csv")
    place = {name: row for row, name in enumerate(table.names)}
    parts = [
        np.array([place[name.rpartition("/")[2]] for name in read_list(DATA / part)], dtype=np.int64) for part in LISTS
    ]
    with multiprocessing.get_context("spawn").Pool(initializer=_calm) as pool:
        jobs = {learner: _start(pool, table, learner, parts) for learner in LEARNERS}
        return [_gather(table, learner, parts, job) for learner, job in jobs.items()]


def _calm() -> None:
    threadpool_limits(1)  # of this worker, for as long as it lives


def _start(pool: Any, table: GtzanTable, learner: str, parts: Sequence[Int64Array]) -> dict[str, Any]:
    random = [split_at_random(table.genres, TESTED, seed) for seed in range(RANDOM_SPLITS)]
    outer = split_folds(table.genres, table.names, FOLDS, SEED)
    known = np.sort(np.concatenate(parts[:2]))
    return {
        "random": [(test, pool.apply_async(answer, (table, learner, {}, train, test))) for train, test in random],
        "folds": [(test, pool.apply_async(choose_and_answer, (table, learner, train, test))) for train, test in outer],
        "lists": pool.apply_async(answer_lists, (table, learner, parts, known)),
    }


def choose_and_answer(table: GtzanTable, learner: str, train: Int64Array, test: Int64Array) -> ObjectArray:
    """Genres of rows that neither chose nor trained."""
    return answer(table, learner, choose(table, learner, train), train, test)


def answer_lists(table: GtzanTable, learner: str, parts: Sequence[Int64Array], known: Int64Array) -> ObjectArray:
    """Genres of the test list, by a model of both others; the candidate is the best of those lists told by each other.

    The lists part artists, which folds of clips do not.
    """
    train, valid, test = parts
    scores = [
        np.mean(answer(table, learner, params, train, valid) == table.genres[valid])
        + np.mean(answer(table, learner, params, valid, train) == table.genres[train])
        for params in LEARNERS[learner].grid
    ]
    return answer(table, learner, LEARNERS[learner].grid[int(np.argmax(scores))], known, test)


def _gather(table: GtzanTable, learner: str, parts: Sequence[Int64Array], job: Mapping[str, Any]) -> Row:
    random = [_f1(table.genres[test], found.get()) for test, found in job["random"]]
    nested = np.empty(len(table.names), dtype=object)
    for test, found in job["folds"]:
        nested[test] = found.get()
    right = job["lists"].get() == table.genres[parts[2]]
    return {
        "learner": LEARNERS[learner].title,
        f"macro F1, {RANDOM_SPLITS} random 80/20 splits": f"{np.mean(random):.3f} ± {np.std(random):.3f}"
        f" ({min(random):.2f} to {max(random):.2f})",
        "macro F1, 10 folds, nested choice": f"{_f1(table.genres, nested):.3f}",
        "accuracy, fault-filtered lists": f"{right.mean():.3f}",
        "published": PUBLISHED.get(learner, ""),
    }


def _f1(truth: ObjectArray, found: ObjectArray) -> float:
    return float(f1_score(truth.astype(str), found.astype(str), average="macro"))
