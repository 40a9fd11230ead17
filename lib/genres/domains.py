"""Domains of genre models: the music on which a model was trained, and how far other music lies outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.genres.pipelines import make_pipeline
from reprise.lib.genres.svm import split_inner_folds

QUANTILES = (0.01, 0.5, 0.99)
"""Quantiles of each feature that describe a domain."""

_DISTANCE_QUANTILE, _OTHER_QUANTILE = 0.99, 0.98
"""Quantiles of held-out training rows that are the limits of the domain."""
_MAX_ROWS = 20_000
_MIN_DISTANCE = 1e-6
_OTHER_C = 0.01
"""Inverse strength of the regularisation. With weaker regularisation, or with trees and kernels instead of a linear
model, real recordings that the training lacks were taken for rendered ones."""


class Distances(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Mahalanobis distance to the mean of scaled training rows, divided by the square root of the number of features.

    The covariance is shrunk as far as the rows demand (Ledoit & Wolf 2004).
    """

    def fit(self, rows: Float64Array, codes: Int64Array | None = None) -> Self:  # noqa: ARG002 - the signature that scikit-learn calls
        """Fit to rows (n, d), float64 and finite."""
        from sklearn.covariance import ledoit_wolf

        self.mean_ = rows.mean(axis=0)
        covariance, _ = ledoit_wolf(rows - self.mean_, assume_centered=True)
        # without the constant, rows that are all equal have no inverse
        self.precision_ = np.linalg.pinv(covariance + 1e-6 * np.eye(len(covariance)))
        return self

    def transform(self, rows: Float64Array) -> Float64Array:
        """Return the distances, shape (n, 1)."""
        centred = rows - self.mean_
        squares = np.einsum("nd,de,ne->n", centred, self.precision_, centred)
        return np.asarray(np.sqrt(np.maximum(squares, 0) / rows.shape[1])[:, None], dtype=np.float64)


@dataclass(frozen=True)
class Domain:
    """Music on which a model was trained.

    Parameters
    ----------
    features
        Names of the d features that describe the music. They can differ from the features of the model.
    quantiles
        Shape (3, d): `QUANTILES` of the features of the training rows.
    distances
        Pipeline that maps rows to distances from the training rows.
    max_distance
        Distance that 1 % of held-out training rows exceed.
    other
        Pipeline that maps rows to the probability that they are music of another kind, e.g. rendered instead of
        recorded. None if no music of another kind was given.
    max_other
        Probability that 2 % of held-out training rows exceed.
    """

    features: tuple[str, ...]
    quantiles: Float64Array
    distances: Pipeline
    max_distance: float
    other: Pipeline | None
    max_other: float

    def describe(self) -> dict[str, list[float]]:
        """Return the `QUANTILES` of each feature by name."""
        columns = zip(self.features, self.quantiles.T, strict=True)
        return {name: [float(f"{value:.6g}") for value in column] for name, column in columns}

    def measure(self, rows: NDArray[np.floating[Any]]) -> Float64Array:
        """Measure how far rows lie outside the domain.

        Parameters
        ----------
        rows
            Shape (n, d). Values that are not finite are missing values.

        Returns
        -------
        ndarray, float64, shape (n,)
            At least 0; 1 is the limit of the domain. NaN for rows in which more than half of the values are missing.
        """
        values = np.asarray(rows, dtype=np.float64)
        if not len(values):
            return np.zeros(0)
        values = np.where(np.isfinite(values), values, np.nan)
        outside = self.distances.transform(values)[:, 0] / self.max_distance
        if self.other is not None:
            outside = np.maximum(outside, self.other.predict_proba(values)[:, 1] / self.max_other)
        outside[np.isnan(values).mean(axis=1) > 0.5] = np.nan
        return np.asarray(outside, dtype=np.float64)


def fit_domain(
    rows: NDArray[np.floating[Any]],
    groups: ObjectArray,
    features: Sequence[str],
    *,
    seed: int,
    other: NDArray[np.floating[Any]] | None = None,
    other_groups: ObjectArray | None = None,
) -> Domain:
    """Describe the domain of training rows.

    Parameters
    ----------
    rows
        Shape (n, d): features of the training rows. NaN is a missing value. Of more than 20,000 rows, a sample is used.
    groups
        Shape (n,). Held-out rows, which determine the limits, share no group with the other rows.
    features
        Names of the d features.
    seed
        Seed of the folds.
    other, other_groups
        Shapes (m, d) and (m,): rows of music of another kind, and their groups. If given, rows that are more similar to
        them than to the training rows lie outside.
    """
    from threadpoolctl import threadpool_limits

    values = np.asarray(rows, dtype=np.float64)
    if len(values) > _MAX_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(values), _MAX_ROWS, replace=False))
        values, groups = values[drawn], groups[drawn]
    model, max_other = None, 1.0
    with threadpool_limits(1):  # sums over several threads differ in their last bits
        distances, max_distance = _fit_distances(values, groups, seed)
        if other is not None and other_groups is not None:
            model, max_other = _fit_other(values, groups, np.asarray(other, dtype=np.float64), other_groups, seed)
    quantiles = np.nanquantile(np.where(np.isnan(values).all(axis=0), 0, values), QUANTILES, axis=0)
    return Domain(tuple(features), quantiles, distances, max_distance, model, max_other)


def _fit_distances(rows: Float64Array, groups: ObjectArray, seed: int) -> tuple[Pipeline, float]:
    """Fit the pipeline that measures distances. Return it and the limit of the distance."""
    held_out = [np.zeros(0)]
    for train, test in split_inner_folds(np.zeros(len(rows), dtype=np.int64), groups, seed):
        held_out.append(_make_distances(seed).fit(rows[train]).transform(rows[test])[:, 0])
    distances = _make_distances(seed).fit(rows)
    measured = np.concatenate(held_out)
    if not len(measured):
        measured = distances.transform(rows)[:, 0]
    return distances, max(float(np.quantile(measured, _DISTANCE_QUANTILE)), _MIN_DISTANCE)


def _make_distances(seed: int) -> Pipeline:
    return make_pipeline(Distances(), scaling="power", selection="none", kept=1.0, seed=seed)


def _fit_other(
    rows: Float64Array, groups: ObjectArray, other: Float64Array, other_groups: ObjectArray, seed: int
) -> tuple[Pipeline, float]:
    """Fit the pipeline that separates ``other`` from ``rows``. Return it and the limit of its probability."""
    values, codes = np.concatenate([rows, other]), np.repeat([0, 1], [len(rows), len(other)])
    all_groups = np.concatenate([groups, other_groups])

    def fit(some: Int64Array) -> Pipeline:
        learner = LogisticRegression(C=_OTHER_C, class_weight="balanced", max_iter=3000)
        pipeline = make_pipeline(learner, scaling="power", selection="none", kept=1.0, seed=seed)
        return pipeline.fit(values[some], codes[some])

    found = [np.zeros(0)]
    for train, test in split_inner_folds(codes, all_groups, seed, 10):
        own = test[codes[test] == 0]
        found.append(fit(train).predict_proba(values[own])[:, 1])
    return fit(np.arange(len(values))), float(np.quantile(np.concatenate(found), _OTHER_QUANTILE))
