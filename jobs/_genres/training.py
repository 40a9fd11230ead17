"""Training of genre models: which rows each fit may see, what the workers make of them, and what is chosen.

Candidates are chosen by folds of the rows that train, and the figures are those of rows that neither chose nor trained
(nested cross-validation). What the figures would be if rows of one group stood on both sides is measured beside them.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from reprise.jobs._engine.run import Run, UsageError
from reprise.jobs._genres.datasets import Dataset
from reprise.lib.arrays import Int8Array, Int64Array, ObjectArray
from reprise.lib.genres.metrics import measure
from reprise.lib.genres.splits import folds, random_split, sample_rows
from reprise.udfs.genre_fits import COUNTS, FITS_DDL, MODEL, PROBABILITIES, TEST, TRAIN, Problem, Task, fit_models

Pair = tuple[Int64Array, Int64Array]

INNER_FOLDS = 3
"""Folds of the training rows by which a candidate is chosen."""
RANDOM_SPLITS, RANDOM_SHARE = 20, 0.2
"""Splits of rows at random, as papers make one, and the share of the rows that each tests."""
CURVE_SHARES, CURVE_FOLDS = (0.2, 0.4, 0.6, 0.8, 1.0), 3
FOLDS, RANDOM, LISTS = "folds", "random", "lists"


@dataclass(frozen=True)
class Setting:
    """What is asked for; ``split`` is ``FOLDS``, ``RANDOM`` or ``LISTS``, ``n_folds`` of the first."""

    learner: str
    candidates: Sequence[Mapping[str, Any]]
    feature_set: str
    balanced: bool
    seed: int
    split: str
    n_folds: int


@dataclass(frozen=True)
class Trained:
    """A model and what is known of it.

    Parameters
    ----------
    data
        The file.
    params
        The candidate that was chosen.
    genres
        What the model tells apart.
    figures, splits, leaky, curve
        As `reprise.lib.genres.reports.Report` has them.
    """

    data: bytes
    params: Mapping[str, Any]
    genres: list[str]
    figures: Mapping[str, Any]
    splits: list[Mapping[str, Any]]
    leaky: Mapping[str, Any] | None
    curve: list[dict[str, float]]


class Plan:
    """All splits of a training, so that what any fit sees can be looked at before it is made.

    Parameters
    ----------
    data
        Of which all is used.
    setting
        What is asked for.
    lists
        Places of the rows to train on and of those to test with, where ``split`` is ``LISTS``.

    Attributes
    ----------
    splits
        ``TRAIN``, ``TEST`` or neither, for each row, one split an element.
    train
        Rows that the kept model learns from.
    honest, leaky, curve
        Places in ``splits``: of the figures, of those of rows whose group may stand on both sides (empty where every
        row is a group of its own, and so nothing leaks), and of the learning curve, share by share.
    final
        Place of the kept model's split, which tests nothing.
    inner
        For each split whose candidate is chosen on its own training rows, the splits that choose. Others take the
        candidate of the kept model.
    """

    def __init__(self, data: Dataset, setting: Setting, lists: Pair | None = None) -> None:
        self._data, self._setting = data, setting
        self.splits: list[Int8Array] = []
        self.inner: dict[int, list[int]] = {}
        everything, alone = np.arange(len(data.ids)), pd.Series(data.groups).is_unique
        self.train = lists[0] if lists else everything
        one_by_one = np.arange(len(data.ids)).astype(str).astype(object)
        at_random = [
            random_split(data.genres, RANDOM_SHARE, setting.seed + number) for number in range(RANDOM_SPLITS)
        ] if setting.split == RANDOM else []  # fmt: skip
        if lists:
            honest = [lists]
            leaky = self._folds(np.union1d(*lists), one_by_one, setting.n_folds)
        elif alone:
            honest, leaky = at_random or self._folds(everything, data.groups, setting.n_folds), []
        else:
            honest = self._folds(everything, data.groups, setting.n_folds)
            leaky = at_random or self._folds(everything, one_by_one, setting.n_folds)
        self.honest = [self._add(*pair, choose_by=data.groups) for pair in honest]
        self.leaky = [self._add(*pair, choose_by=one_by_one if at_random else None) for pair in leaky]
        self.final = self._add(self.train, self.train[:0], choose_by=data.groups)
        self.curve = [self._add(train, test) for train, test in self._curve()]

    def _folds(self, places: Int64Array, groups: ObjectArray, n_folds: int) -> list[Pair]:
        found = folds(self._data.genres[places], groups[places], n_folds, self._setting.seed)
        return [(places[train], places[test]) for train, test in found]

    def _curve(self) -> Iterator[Pair]:
        """Of each fold's training rows growing shares of the groups, share by share."""
        pairs = self._folds(self.train, self._data.groups, CURVE_FOLDS)
        for share, (train, test) in product(CURVE_SHARES, pairs):
            genres, groups = self._data.genres[train], self._data.groups[train]
            yield train[sample_rows(genres, groups, round(share * len(train)), self._setting.seed)], test

    def _add(self, train: Int64Array, test: Int64Array, choose_by: ObjectArray | None = None) -> int:
        roles = np.zeros(len(self._data.ids), dtype=np.int8)
        roles[train], roles[test] = TRAIN, TEST
        self.splits.append(roles)
        place = len(self.splits) - 1
        if choose_by is not None and len(self._setting.candidates) > 1:
            self.inner[place] = [self._add(*pair) for pair in self._folds(train, choose_by, INNER_FOLDS)]
        return place


def train_model(run: Run, data: Dataset, setting: Setting, lists: Pair | None = None) -> Trained:
    """Choose a candidate, measure it and train it, each fit a task of the workers.

    Raises
    ------
    UsageError
        The learner cannot be trained on these rows.
    """
    plan = Plan(data, setting, lists)
    problem = state_problem(data, setting, plan.splits)
    names = problem.genre_names
    with _share(run, problem) as do:
        chosen = _choose(do, plan, setting)
        best = chosen[plan.final]
        measured = [*plan.honest, *plan.leaky]
        tasks = [
            *(Task(split, setting.candidates[chosen[split]], PROBABILITIES) for split in measured),
            *(Task(split, setting.candidates[best], COUNTS) for split in plan.curve),
            Task(plan.final, setting.candidates[best], MODEL),
        ]
        done = do(tasks)
    run.count(fits=len(tasks) + len(setting.candidates) * sum(map(len, plan.inner.values())))
    for row in (*done[: len(measured)], done[-1]):
        if row["fault"]:
            raise UsageError(f"{setting.learner} cannot be trained on what is there: {row['fault']}")
    learned = np.unique(problem.genres[plan.train])
    tested = [np.flatnonzero(plan.splits[split] == TEST) for split in measured]
    found = [np.frombuffer(row["probabilities"]).reshape(-1, len(names))[:, learned] for row in done[: len(measured)]]
    genres = names[learned].tolist()

    def judge(which: slice) -> Mapping[str, Any]:
        return measure(data.genres[np.concatenate(tested[which])], np.concatenate(found[which]), genres)

    count = len(plan.honest)
    return Trained(
        done[-1]["model"],
        setting.candidates[best],
        genres,
        judge(slice(count)),
        [judge(slice(number, number + 1)) for number in range(count)],
        judge(slice(count, None)) if plan.leaky else None,
        _describe_curve(plan, done[len(measured) : -1]),
    )


def state_problem(data: Dataset, setting: Setting, splits: Sequence[Int8Array]) -> Problem:
    """State what the workers need to know."""
    genres, genre_names = pd.factorize(data.genres, sort=True)
    groups, group_names = pd.factorize(data.groups, sort=True)
    return Problem(
        setting.learner,
        data.features,
        setting.feature_set,
        setting.balanced,
        setting.seed,
        data.rows,
        np.asarray(genre_names, dtype=object),
        genres.astype(np.int32),
        np.asarray(group_names, dtype=object),
        groups.astype(np.int32),
        np.stack(splits),
    )


def train_again(run: Run, data: Dataset, setting: Setting, train: Int64Array) -> bytes:
    """Train the only candidate on some rows, as `train_model` does in the end."""
    roles = np.zeros(len(data.ids), dtype=np.int8)
    roles[train] = TRAIN
    with _share(run, state_problem(data, setting, [roles])) as do:
        (row,) = do([Task(0, setting.candidates[0], MODEL)])
    if row["fault"]:
        raise UsageError(f"{setting.learner} cannot be trained on what is there: {row['fault']}")
    return bytes(row["model"])


Do = Callable[[Sequence[Task]], list[dict[str, Any]]]


@contextmanager
def _share(run: Run, problem: Problem) -> Iterator[Do]:
    """Hand the problem to the workers; gives what does tasks on it, each a Spark task, and their results in order."""
    context = run.spark.sparkContext
    shared = context.broadcast(problem)

    def do(tasks: Sequence[Task]) -> list[dict[str, Any]]:
        rows = run.spark.range(0, len(tasks), 1, len(tasks))
        with _watch(run, len(tasks)):
            done = rows.mapInArrow(partial(fit_models, problem=shared, tasks=tasks), FITS_DDL).toArrow()
        found: list[dict[str, Any]] = done.sort_by("task").to_pylist()
        return found

    try:
        yield do
    finally:
        shared.destroy()


@contextmanager
def _watch(run: Run, total: int) -> Iterator[None]:
    """Show how many Spark tasks are done while a query runs."""
    tracker, over = run.spark.sparkContext.statusTracker(), threading.Event()
    with run.progress("fits") as progress:
        bar = progress.add_task("", total=total)

        def look() -> None:
            while not over.wait(0.5):
                stages = filter(None, map(tracker.getStageInfo, tracker.getActiveStageIds()))
                progress.update(bar, completed=sum(stage.numCompletedTasks for stage in stages))

        watcher = threading.Thread(target=look, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
        progress.update(bar, completed=total)


def macro_f1(counts: Int64Array) -> float:
    """Mean F1 of the genres that are true or predicted somewhere, from k x k counts: true, then predicted."""
    seen = counts.sum(axis=0) + counts.sum(axis=1)
    return float(np.mean(2 * counts.diagonal()[seen > 0] / seen[seen > 0]))


def _choose(do: Do, plan: Plan, setting: Setting) -> dict[int, int]:
    """The candidate of each split: the best by macro F1, of several the first; one that cannot be fitted is none."""
    order = [(split, number) for split in plan.inner for number in range(len(setting.candidates))]
    tasks = [Task(inner, setting.candidates[number], COUNTS) for split, number in order for inner in plan.inner[split]]
    done = iter(do(tasks) if tasks else [])
    scores: dict[int, list[float]] = {}
    faults = []
    for split, _ in order:
        rows = [next(done) for _ in plan.inner[split]]
        faults += [row["fault"] for row in rows if row["fault"]]
        if any(row["fault"] for row in rows):
            scores.setdefault(split, []).append(-1.0)
        else:
            scores.setdefault(split, []).append(macro_f1(_add_up(rows)))
    if any(max(some) < 0 for some in scores.values()):
        raise UsageError(f"{setting.learner} cannot be trained on what is there: {faults[0]}")
    chosen = {split: int(np.argmax(some)) for split, some in scores.items()}
    best = chosen.get(plan.final, 0)
    return {split: chosen.get(split, best) for split in (*plan.honest, *plan.leaky, plan.final)}


def _add_up(rows: Sequence[Mapping[str, Any]]) -> Int64Array:
    counts = np.array([row["counts"] for row in rows], dtype=np.int64)
    k = round(counts.shape[1] ** 0.5)
    table: Int64Array = counts.reshape(-1, k, k).sum(axis=0)
    return table


def _describe_curve(plan: Plan, done: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Figures by share; one at which some fold cannot be learned, having one genre only, is left out."""
    points = []
    for start in range(0, len(done), CURVE_FOLDS):
        rows = done[start : start + CURVE_FOLDS]
        if any(row["fault"] for row in rows):
            continue
        tables = [_add_up([row]) for row in rows]
        scores = [macro_f1(table) for table in tables]
        trained = [np.sum(plan.splits[split] == TRAIN) for split in plan.curve[start : start + CURVE_FOLDS]]
        points.append(
            {
                "rows": int(np.mean(trained)),
                "macro_f1": float(np.mean(scores)),
                "accuracy": float(np.mean([table.trace() / table.sum() for table in tables])),
                "spread": float(np.std(scores, ddof=1)),
            }
        )
    return points
