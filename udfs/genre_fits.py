"""Genre models fitted and judged in workers: one fit a row, on rows of features that every worker has."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import BoolArray, Float32Array, Int8Array, Int32Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.genres.models import GenreModel, dump, fit_model
from reprise.lib.genres.splits import align
from reprise.udfs.arrow import to_batch
from reprise.udfs.heartbeat import run_with_heartbeat

OUT, TRAIN, TEST = range(3)
"""What a row is to a split."""

COUNTS, PROBABILITIES, MODEL = "counts", "probabilities", "model"
"""What a task gives back."""

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
class Problem:
    """What models are fitted on; numbers stand for names so that a million rows are quickly handed on.

    Parameters
    ----------
    learner, features, feature_set, balanced, seed
        As `reprise.lib.genres.models.fit_model` takes them.
    rows
        Shape (n, d), float32.
    genre_names, genres
        Names, ascending, and of each row the place of its name.
    group_names, groups
        The same for groups.
    splits
        Shape (s, n), int8: ``OUT``, ``TRAIN`` or ``TEST``.
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
    splits: Int8Array


@dataclass(frozen=True)
class Task:
    """One fit.

    Parameters
    ----------
    split
        Row of ``Problem.splits``.
    params
        Of the learner.
    gives
        ``COUNTS``: how often which genre was taken for which, k x k by ``Problem.genre_names``; ``PROBABILITIES``: of
        the test rows, in their order, float64 (n, k); ``MODEL``: its bytes.
    """

    split: int
    params: Mapping[str, Any]
    gives: str


class Shared(Protocol):
    """A Spark broadcast, which a worker process reads once."""

    @property
    def value(self) -> Problem:
        """What was handed on."""


def fit_models(
    batches: Iterable[pa.RecordBatch], *, problem: Shared, tasks: Sequence[Task]
) -> Iterator[pa.RecordBatch]:
    """Do the tasks whose places stand in the column ``id``; the function that ``mapInArrow`` runs.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of ``FITS_DDL``, a row a task: what it gives, or else the ``fault`` for which it cannot be done. While a
        task takes long, batches without rows.
    """
    sign = to_batch(_FITS, {"task": []})
    for batch in batches:
        for number in batch.column("id").to_pylist():
            yield from _do(number, problem.value, tasks[number], sign)


def _do(number: int, problem: Problem, task: Task, sign: pa.RecordBatch) -> Generator[pa.RecordBatch, None, None]:
    try:
        given = yield from run_with_heartbeat(sign, do_task, problem, task)
    except InputError as error:
        yield to_batch(_FITS, {"task": [number], "fault": [error.message]})
        return
    yield to_batch(_FITS, {"task": [number], task.gives: [given]})


def do_task(problem: Problem, task: Task) -> Any:
    """What a task gives, as the column of its name holds it."""
    roles = problem.splits[task.split]
    model = _fit(problem, roles == TRAIN, task.params)
    if task.gives == MODEL:
        return dump(model)
    test = roles == TEST
    found = align(model.predict(problem.rows[test]), model.genres, problem.genre_names.tolist())
    if task.gives == PROBABILITIES:
        return np.ascontiguousarray(found, dtype=np.float64).tobytes()
    k = len(problem.genre_names)
    pairs = problem.genres[test].astype(np.int64) * k + found.argmax(axis=1)
    return np.bincount(pairs, minlength=k * k)


def _fit(problem: Problem, train: BoolArray, params: Mapping[str, Any]) -> GenreModel:
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
