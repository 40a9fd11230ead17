"""A trained genre model: how it is fitted, what it answers, and how it is kept."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning

from reprise.lib.arrays import Float64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.ensembles import fit_pipeline
from reprise.lib.genres.learners import LEARNERS, Setting
from reprise.lib.genres.skops_archives import pack, unpack

_GREATEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class GenreModel:
    """A trained model.

    Parameters
    ----------
    learner
        Key in ``LEARNERS``.
    features
        The d columns of what it reads, in their order.
    feature_set
        Key in ``FEATURE_SETS`` that they are.
    genres
        The k names, ascending: columns of what it answers.
    estimator
        Fitted pipeline from rows with NaN to the probabilities of codes 0 to k - 1.
    """

    learner: str
    features: tuple[str, ...]
    feature_set: str
    genres: tuple[str, ...]
    estimator: Any

    def predict(self, rows: NDArray[np.floating[Any]]) -> Float64Array:
        """Probabilities of the genres.

        Parameters
        ----------
        rows
            Shape (n, d). What is not finite, or too great for float32, is unknown.

        Returns
        -------
        ndarray, float64, shape (n, k)
            No value below 0; each row sums to 1.

        Raises
        ------
        ValueError
            The rows have not d columns.
        """
        known = _clean(rows, len(self.features))
        if not len(known):
            return np.zeros((0, len(self.genres)))
        found = np.asarray(self.estimator.predict_proba(known), dtype=np.float64)
        return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_model(
    learner: str,
    params: Mapping[str, Any],
    rows: NDArray[np.floating[Any]],
    genres: ArrayLike,
    groups: ArrayLike,
    *,
    features: Sequence[str],
    feature_set: str,
    balanced: bool,
    seed: int,
) -> GenreModel:
    """Fit a learner; the same arguments give the same model.

    Parameters
    ----------
    learner
        Key in ``LEARNERS``.
    params
        Some of its parameters.
    rows
        Shape (n, d); what is not finite is unknown.
    genres, groups
        Shape (n,), str. Rows of one group never stand on both sides of a split made inside.
    features, feature_set
        The d names and the name of their set.
    balanced
        Genres weigh the same, however many rows they have: by weights of rows, and in naive Bayes by even priors.
        k nearest neighbours has no weights and stays as it is.

    Raises
    ------
    InputError
        ``not_learnable``: there are no rows, only one genre, or no value is known. ``bad_params``; ``missing_extra``.
    ValueError
        Shapes that do not fit.
    """
    from threadpoolctl import threadpool_limits

    labels, owners = np.asarray(genres, dtype=object), np.asarray(groups, dtype=object)
    known = _clean(rows, len(features))
    if not len(known) == len(labels) == len(owners):
        raise ValueError(f"{len(known)} rows, {len(labels)} genres and {len(owners)} groups do not fit")
    names = sorted(set(labels.tolist()))
    if len(names) < 2:
        there = f"all rows are {names[0]}" if names else "there are no rows"
        raise InputError("not_learnable", f"{there}: genres can be learned from rows of two or more")
    if np.isnan(known).all():
        raise InputError("not_learnable", f"no value of the features {feature_set} is known in any row")
    if learner not in LEARNERS:
        raise InputError("bad_params", f"there is no learner {learner}; there are: {', '.join(LEARNERS)}")
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place[name] for name in labels.tolist()], dtype=np.int64)
    pipeline = LEARNERS[learner].build(params, Setting(len(names), balanced, seed))
    # one thread: executors run fits side by side, and sums of several threads differ in their last bits
    with threadpool_limits(1), warnings.catch_warnings():
        # a fit that was stopped is judged by what it tells of other rows, as any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            fit_pipeline(pipeline, known, codes, owners)
        except ValueError as error:
            raise InputError("bad_params", f"{learner} cannot be fitted with {dict(params)}: {error}") from error
    return GenreModel(learner, tuple(features), feature_set, tuple(names), pipeline)


def dump(model: GenreModel) -> bytes:
    """Bytes of a model, a skops archive; the same model gives the same bytes.

    Raises
    ------
    InputError
        ``too_large``: `load` would refuse it.
    """
    header = {
        "learner": model.learner,
        "features": list(model.features),
        "feature_set": model.feature_set,
        "genres": list(model.genres),
    }
    return pack(header, model.estimator)


def load(data: bytes) -> GenreModel:
    """Undo `dump`. Nothing in the bytes is run: they are of types known here, and hold what those types can hold.

    Raises
    ------
    InputError
        ``not_a_model``: the bytes are no genre model, or one of another version of scikit-learn.
    """
    header, estimator = unpack(data)
    return GenreModel(
        header["learner"],
        tuple(header["features"]),
        header["feature_set"],
        tuple(header["genres"]),
        estimator,
    )


def _clean(rows: NDArray[np.floating[Any]], d: int) -> Float64Array:
    found = np.asarray(rows, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != d:
        raise ValueError(f"expected rows of {d} features, got shape {found.shape}")
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(found) <= _GREATEST, found, np.nan)
