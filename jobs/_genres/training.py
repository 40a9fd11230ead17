"""Train genre models on Spark: choose the hyperparameters, evaluate them and fit the final model.

A candidate is a set of hyperparameters. Each fit is one Spark task.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.jobs._genres.datasets import Dataset
from reprise.lib.arrays import Int8Array, Int64Array
from reprise.lib.genres.metrics import compute_metrics, macro_f1_of_counts
from reprise.lib.genres.split_plans import CURVE_FOLDS, TEST, TRAIN, Pair, SplitPlan
from reprise.udfs.genre_fits import COUNTS, FITS_DDL, MODEL, PROBABILITIES, FitProblem, FitTask, fit_models


@dataclass(frozen=True)
class TrainingRequest:
    """Arguments that specify how a model is trained.

    Parameters
    ----------
    learner, feature_set, balanced, seed
        As in `reprise.lib.genres.models.fit_model`.
    candidates
        Sets of hyperparameters to choose from.
    split, n_folds
        As in `SplitPlan`.
    """

    learner: str
    candidates: Sequence[Mapping[str, Any]]
    feature_set: str
    balanced: bool
    seed: int
    split: str
    n_folds: int

    def plan_splits(self, data: Dataset, lists: Pair | None = None) -> SplitPlan:
        """Plan all splits of ``data`` for this training."""
        return SplitPlan(
            data.genres,
            data.groups,
            split=self.split,
            n_folds=self.n_folds,
            n_candidates=len(self.candidates),
            seed=self.seed,
            lists=lists,
        )


@dataclass(frozen=True)
class TrainedModel:
    """A trained model and its metrics.

    Parameters
    ----------
    data
        Content of the model's file.
    params
        The chosen hyperparameters.
    genres
        Genres that the model predicts.
    metrics, splits, leaky, curve
        As in `reprise.lib.genres.reports.Report`.
    """

    data: bytes
    params: Mapping[str, Any]
    genres: list[str]
    metrics: Mapping[str, Any]
    splits: list[Mapping[str, Any]]
    leaky: Mapping[str, Any] | None
    curve: list[dict[str, float]]


def train_model(run: Run, data: Dataset, request: TrainingRequest, lists: Pair | None = None) -> TrainedModel:
    """Choose the hyperparameters, evaluate them and fit the final model.

    ``lists`` is a tuple of the indices of the training rows and those of the test rows, or None without ``--lists``.

    Raises
    ------
    UsageError
        The learner cannot be fitted to these rows.
    """
    plan = request.plan_splits(data, lists)
    problem = make_problem(data, request, plan.splits)
    names = problem.genre_names
    with _broadcast(run, problem) as run_fits:
        chosen = _choose_candidates(run_fits, plan, request)
        best = chosen[plan.final]
        measured = [*plan.honest, *plan.leaky]
        tasks = [
            *(FitTask(split, request.candidates[chosen[split]], PROBABILITIES) for split in measured),
            *(FitTask(split, request.candidates[best], COUNTS) for split in plan.curve),
            FitTask(plan.final, request.candidates[best], MODEL),
        ]
        results = run_fits(tasks)
    run.count(fits=len(tasks) + len(request.candidates) * sum(map(len, plan.inner.values())))
    for result in (*results[: len(measured)], results[-1]):
        _check_fit(result, request)
    learned = np.unique(problem.genres[plan.train])
    genres = names[learned].tolist()
    tested = [np.flatnonzero(plan.splits[split] == TEST) for split in measured]
    probabilities = [
        np.frombuffer(result["probabilities"]).reshape(-1, len(names))[:, learned]
        for result in results[: len(measured)]
    ]

    def measure(splits: slice) -> Mapping[str, Any]:
        rows = np.concatenate(tested[splits])
        return compute_metrics(data.genres[rows], np.concatenate(probabilities[splits]), genres)

    count = len(plan.honest)
    return TrainedModel(
        results[-1]["model"],
        request.candidates[best],
        genres,
        measure(slice(count)),
        [measure(slice(number, number + 1)) for number in range(count)],
        measure(slice(count, None)) if plan.leaky else None,
        _summarise_curve(plan, results[len(measured) : -1]),
    )


def train_again(run: Run, data: Dataset, request: TrainingRequest, train: Int64Array) -> bytes:
    """Fit the only candidate on the rows with the indices ``train``, as `train_model` fits the final model.

    Return the content of the model's file.

    Raises
    ------
    UsageError
        The learner cannot be fitted to these rows.
    """
    roles = np.zeros(len(data.ids), dtype=np.int8)
    roles[train] = TRAIN
    with _broadcast(run, make_problem(data, request, [roles])) as run_fits:
        (result,) = run_fits([FitTask(0, request.candidates[0], MODEL)])
    _check_fit(result, request)
    return bytes(result["model"])


def make_problem(data: Dataset, request: TrainingRequest, splits: Sequence[Int8Array]) -> FitProblem:
    """Collect the data and options that all fits share."""
    genres, genre_names = pd.factorize(data.genres, sort=True)
    groups, group_names = pd.factorize(data.groups, sort=True)
    return FitProblem(
        request.learner,
        data.features,
        request.feature_set,
        request.balanced,
        request.seed,
        data.rows,
        np.asarray(genre_names, dtype=object),
        genres.astype(np.int32),
        np.asarray(group_names, dtype=object),
        groups.astype(np.int32),
        data.domain_features,
        data.domain_rows,
        np.stack(splits),
    )


RunFits = Callable[[Sequence[FitTask]], list[dict[str, Any]]]


@contextmanager
def _broadcast(run: Run, problem: FitProblem) -> Iterator[RunFits]:
    """Broadcast the problem. Yield a function that runs fits as Spark tasks and returns their results in task order."""
    shared = run.spark.sparkContext.broadcast(problem)

    def run_fits(tasks: Sequence[FitTask]) -> list[dict[str, Any]]:
        rows = run.spark.range(0, len(tasks), 1, len(tasks))
        with _show_progress(run, len(tasks)):
            results = rows.mapInArrow(partial(fit_models, problem=shared, tasks=tasks), FITS_DDL).toArrow()
        found: list[dict[str, Any]] = results.sort_by("task").to_pylist()
        return found

    try:
        yield run_fits
    finally:
        shared.destroy()


@contextmanager
def _show_progress(run: Run, total: int) -> Iterator[None]:
    """Show how many of the ``total`` fits are finished, while the body of the ``with`` statement runs."""
    tracker, finished = run.spark.sparkContext.statusTracker(), threading.Event()
    with run.progress("fits") as progress:
        bar = progress.add_task("", total=total)

        def poll() -> None:
            while not finished.wait(0.5):
                stages = filter(None, map(tracker.getStageInfo, tracker.getActiveStageIds()))
                progress.update(bar, completed=sum(stage.numCompletedTasks for stage in stages))

        poller = threading.Thread(target=poll, daemon=True)
        poller.start()
        try:
            yield
        finally:
            finished.set()
            poller.join()
        progress.update(bar, completed=total)


def _check_fit(result: Mapping[str, Any], request: TrainingRequest) -> None:
    if result["fault"]:
        raise UsageError(f"{request.learner} cannot be trained on these rows: {result['fault']}")


def _choose_candidates(run_fits: RunFits, plan: SplitPlan, request: TrainingRequest) -> dict[int, int]:
    """Return the index of the chosen candidate by split: for each honest and leaky split, and for the final split.

    The candidate with the highest macro F1 in the inner splits is chosen; if several have the same F1, the first of
    them is chosen. A candidate with a failed fit is not chosen. For a split without inner splits, the candidate of the
    final split is used. If the final split has no inner splits either, the first candidate is used.
    """
    order = [(split, number) for split in plan.inner for number in range(len(request.candidates))]
    tasks = [
        FitTask(inner, request.candidates[number], COUNTS) for split, number in order for inner in plan.inner[split]
    ]
    results = iter(run_fits(tasks) if tasks else [])
    scores: dict[int, list[float]] = {}
    failed = []
    for split, _ in order:
        of_candidate = [next(results) for _ in plan.inner[split]]
        faults = [result for result in of_candidate if result["fault"]]
        failed += faults
        score = -1.0 if faults else macro_f1_of_counts(_sum_counts(of_candidate))
        scores.setdefault(split, []).append(score)
    if any(max(of_split) < 0 for of_split in scores.values()):
        _check_fit(failed[0], request)
    chosen = {split: int(np.argmax(of_split)) for split, of_split in scores.items()}
    best = chosen.get(plan.final, 0)
    return {split: chosen.get(split, best) for split in (*plan.honest, *plan.leaky, plan.final)}


def _sum_counts(results: Sequence[Mapping[str, Any]]) -> Int64Array:
    """Return the sum of the confusion matrices in ``results``, shape (k, k) for k genres."""
    counts = np.array([result["counts"] for result in results], dtype=np.int64)
    k = round(counts.shape[1] ** 0.5)
    table: Int64Array = counts.reshape(-1, k, k).sum(axis=0)
    return table


def _summarise_curve(plan: SplitPlan, results: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Return the points of the learning curve: the metrics for each share of the training rows.

    A share is left out if one of its fits failed. A fit fails, for example, if its training rows have only one genre.
    """
    points = []
    for start in range(0, len(results), CURVE_FOLDS):
        of_share = results[start : start + CURVE_FOLDS]
        if any(result["fault"] for result in of_share):
            continue
        tables = [_sum_counts([result]) for result in of_share]
        scores = [macro_f1_of_counts(table) for table in tables]
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
