"""Fit genre models in workers, one fit per row. A Spark broadcast sends the training data to each worker once."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import BoolArray, Float32Array, Int8Array, Int32Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.genres.domains import Domain, fit_domain
from reprise.lib.genres.models import GenreModel, dump, fit_model
from reprise.lib.genres.split_plans import TEST, TRAIN
from reprise.lib.genres.splits import reorder_columns
from reprise.udfs.arrow import to_batch
from reprise.udfs.heartbeat import run_with_heartbeat

COUNTS, PROBABILITIES, MODEL = "counts", "probabilities", "model"
"""Kinds of results. The result of a kind is in the column of ``FITS_DDL`` with the same name."""

FITS_DDL = "task int, fault string, counts array<bigint>, probabilities binary, model binary"
_FITS = pa.schema(
    [
        ("task", pa.int32()),
        ("fault", pa.string()),
        ("counts", pa.list_(pa.int64())),
        ("probabilities", pa.binary()),
        ("model", pa.binary()),
    ]
)


@dataclass(frozen=True)
class FitProblem:
    """Data and options shared by all fits. Genres and groups are encoded as integers, so that the broadcast is fast.

    Parameters
    ----------
    learner, features, feature_set, balanced, seed
        As in `reprise.lib.genres.models.fit_model`.
    rows
        Feature matrix, shape (n, d), float32.
    genre_names, genres
        Genre names in ascending order, and for each row the index of its genre in ``genre_names``, int32 (n,).
    group_names, groups
        Group names in ascending order, and for each row the index of its group in ``group_names``, int32 (n,).
    domain_features, domain_rows
        Features that describe the domain of the model, e names and shape (n, e), float32.
    splits
        Role of each row in each split (``TRAIN``, ``TEST``, …; see `reprise.lib.genres.split_plans`), int8 (s, n).
    """

    learner: str
    features: tuple[str, ...]
    feature_set: str
    balanced: bool
    seed: int
    rows: Float32Array
    genre_names: ObjectArray
    genres: Int32Array
    group_names: ObjectArray
    groups: Int32Array
    domain_features: tuple[str, ...]
    domain_rows: Float32Array
    splits: Int8Array


@dataclass(frozen=True)
class FitTask:
    """One fit.

    Parameters
    ----------
    split
        Row index in ``FitProblem.splits``.
    params
        Hyperparameters of the learner.
    result
        Kind of the result. ``COUNTS``: flattened confusion matrix (k, k) with true genres as rows and predicted genres
        as columns, in the order of ``FitProblem.genre_names``. ``PROBABILITIES``: genre probabilities of the m test
        rows, in their order, as the bytes of a float64 array of shape (m, k). ``MODEL``: the serialised model.
    """

    split: int
    params: Mapping[str, Any]
    result: str


class SharedProblem(Protocol):
    """A Spark broadcast of a problem; each worker process deserialises it once."""

    @property
    def value(self) -> FitProblem:
        """The problem."""


def fit_models(
    batches: Iterable[pa.RecordBatch], *, problem: SharedProblem, tasks: Sequence[FitTask]
) -> Iterator[pa.RecordBatch]:
    """Run the tasks whose indices are in the column ``id``. Spark calls this function through ``mapInArrow``.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of ``FITS_DDL``, one row for each task. The row contains the result or, if the fit failed, the
        ``fault``. Empty batches serve as heartbeats during a long task.
    """
    empty_batch = to_batch(_FITS, {"task": []})
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from _run_with_heartbeat(number, problem.value, tasks[number], empty_batch)


def _run_with_heartbeat(
    number: int, problem: FitProblem, task: FitTask, empty_batch: pa.RecordBatch
) -> Generator[pa.RecordBatch, None, None]:
    try:
        result = yield from run_with_heartbeat(empty_batch, run_task, problem, task)
    except InputError as error:
        yield to_batch(_FITS, {"task": [number], "fault": [error.message]})
        return
    yield to_batch(_FITS, {"task": [number], task.result: [result]})


def run_task(problem: FitProblem, task: FitTask) -> Any:
    """Fit the model of a task and return the value for the column of ``FITS_DDL`` that ``task.result`` names."""
    roles = problem.splits[task.split]
    model = _fit(problem, roles == TRAIN, task.params)
    if task.result == MODEL:
        return dump(replace(model, domain=_fit_domain(problem, roles == TRAIN)))
    test = roles == TEST
    probabilities = reorder_columns(model.predict(problem.rows[test]), model.genres, problem.genre_names.tolist())
    if task.result == PROBABILITIES:
        return np.ascontiguousarray(probabilities, dtype=np.float64).tobytes()
    k = len(problem.genre_names)
    pairs = problem.genres[test].astype(np.int64) * k + probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=k * k)


def _fit_domain(problem: FitProblem, train: BoolArray) -> Domain:
    groups = problem.group_names[problem.groups[train]]
    return fit_domain(problem.domain_rows[train], groups, problem.domain_features, seed=problem.seed)


def _fit(problem: FitProblem, train: BoolArray, params: Mapping[str, Any]) -> GenreModel:
    return fit_model(
        problem.learner,
        params,
        problem.rows[train],
        problem.genre_names[problem.genres[train]],
        problem.group_names[problem.groups[train]],
        features=problem.features,
        feature_set=problem.feature_set,
        balanced=problem.balanced,
        seed=problem.seed,
    )
