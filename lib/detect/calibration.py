"""Probabilities from scores: logistic calibration, and how reliable the probabilities are."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import BoolArray, Float64Array

_BINS = 10
_LARGEST = 1e100
"""Scores are clipped to it, so that sums and products of them stay finite."""


@dataclass(frozen=True)
class Calibration:
    """Probability of being a version: logistic in one or more scores of which smaller means more alike.

    ``p = 1 / (1 + exp(-(intercept + scores @ weights)))``. No weight is above 0, so that p never rises with a score.
    p holds where versions are as frequent as in what it was fitted on; where they are rarer it is too high.
    """

    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(cls, scores: ArrayLike, is_version: ArrayLike) -> Self:
        """Maximum likelihood with an L2 penalty of half the squared weights, those of scores of unit variance.

        The penalty keeps the weights finite where the scores tell versions and others apart without fault. Rows with a
        score that is not finite are left out: they have probability 0 whatever the fit.

        Parameters
        ----------
        scores
            Shape (n,) or (n, k).
        is_version
            Shape (n,): the truth.

        Raises
        ------
        ValueError
            The rows that are left are all versions, or none is.
        """
        from scipy.optimize import minimize
        from scipy.special import expit

        rows, truth = _columns(scores), np.asarray(is_version, dtype=bool)
        if truth.shape != rows.shape[:1]:
            raise ValueError(f"expected truth of shape ({len(rows)},), got {truth.shape}")
        finite: BoolArray = np.all(np.isfinite(rows), axis=1)
        rows, truth = rows[finite], truth[finite]
        if truth.all() or not truth.any():
            raise ValueError(f"expected versions and others to fit on, got {truth.sum()} of {len(truth)} versions")
        rows = np.clip(rows, -_LARGEST, _LARGEST)
        centre, spread = rows.mean(axis=0), rows.std(axis=0)
        # a score that is the same everywhere says nothing; its rounding error must not be scaled up
        spread = np.where(spread > 1e-12 * np.abs(centre), spread, 1.0)
        unit = np.column_stack([(rows - centre) / spread, np.ones(len(rows))])
        sign = np.where(truth, -1.0, 1.0)

        def loss(parameters: Float64Array) -> tuple[float, Float64Array]:
            logit = sign * (unit @ parameters)
            penalised = np.append(parameters[:-1], 0.0)
            value = np.logaddexp(0.0, logit).sum() + penalised @ penalised / 2
            return value / len(unit), (unit.T @ (sign * expit(logit)) + penalised) / len(unit)

        share = truth.mean()
        start = np.append(np.zeros(rows.shape[1]), np.log(share / (1 - share)))
        bounds = [(None, 0.0)] * rows.shape[1] + [(None, None)]
        found = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
        ).x
        weights = found[:-1] / spread
        return cls(tuple(weights.tolist()), float(found[-1] - weights @ centre))

    def probability(self, scores: ArrayLike) -> Float64Array:
        """Probability of each row of scores, (n,) or (n, k) as fitted: (n,). A NaN or +inf among them gives 0."""
        from scipy.special import expit

        rows = _columns(scores)
        if rows.shape[1] != len(self.weights):
            raise ValueError(f"expected {len(self.weights)} scores a row, got {rows.shape[1]}")
        unusable: BoolArray = np.any(np.isnan(rows) | np.isposinf(rows), axis=1)
        rows = np.clip(np.where(unusable[:, None], 0.0, rows), -_LARGEST, _LARGEST)
        return np.where(unusable, 0.0, expit(rows @ np.array(self.weights) + self.intercept))


@dataclass(frozen=True)
class Reliability:
    """How far probabilities can be trusted; NaN where there is nothing to take a share of.

    ``expected_calibration_error`` is the mean distance between probability and share of versions over ten equal bins,
    weighted by rows. ``false_positive_rate`` is the share of others with p >= 0.5, ``true_positive_rate`` that of
    versions, without which the former says little.
    """

    rows: int
    expected_calibration_error: float
    brier: float
    false_positive_rate: float
    true_positive_rate: float


def measure_reliability(probability: ArrayLike, is_version: ArrayLike) -> Reliability:
    """Compare probabilities, shape (n,), with the truth, shape (n,); rows that were not fitted on tell most."""
    p, truth = np.asarray(probability, dtype=np.float64), np.asarray(is_version, dtype=bool)
    if p.shape != truth.shape or p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"expected probabilities and truths of one shape (n,), got {p.shape} and {truth.shape}")
    place = np.minimum((p * _BINS).astype(np.int64), _BINS - 1)
    excess = np.bincount(place, p - truth, minlength=_BINS)  # of each bin, times its rows
    yes = p >= 0.5
    return Reliability(
        rows=len(p),
        expected_calibration_error=float(np.abs(excess).sum() / len(p)) if len(p) else float("nan"),
        brier=share_of((p - truth) ** 2),
        false_positive_rate=share_of(yes[~truth]),
        true_positive_rate=share_of(yes[truth]),
    )


def _columns(scores: ArrayLike) -> Float64Array:
    rows = np.asarray(scores, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2:
        raise ValueError(f"expected scores of shape (n,) or (n, k), got {rows.shape}")
    return rows


def share_of(values: NDArray[Any]) -> float:
    """Mean of truth values or of figures; NaN where there is none."""
    return float(values.mean()) if values.size else float("nan")
