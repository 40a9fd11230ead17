"""Logistic calibration: convert scores to probabilities, and measure the reliability of probabilities."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import BoolArray, Float64Array
from reprise.lib.detect.ranking_metrics import mean_or_nan

_N_BINS = 10
_MAX_SCORE = 1e100
"""Scores are clipped to ± this value, so that sums and products of scores stay finite."""


@dataclass(frozen=True)
class Calibration:
    """Logistic model of the probability p that a track is a version, given one or more scores.

    ``p = 1 / (1 + exp(-(intercept + scores @ weights)))``. A smaller score means that the tracks are more similar. No
    weight is positive, so p never rises with a score. p is calibrated for data with the same share of versions as the
    training data. If versions are rarer, p is too high.
    """

    weights: tuple[float, ...]
    intercept: float

    @classmethod
    def fit(cls, scores: ArrayLike, is_version: ArrayLike) -> Self:
        """Fit by maximum likelihood with an L2 penalty.

        The penalty is half the sum of the squared weights of the standardised scores. It keeps the weights finite if
        the scores separate versions from other tracks perfectly. Rows with NaN or infinite scores are ignored.

        Parameters
        ----------
        scores
            Shape (n,) or (n, k).
        is_version
            Shape (n,): the ground truth, True for versions.

        Raises
        ------
        ValueError
            ``scores`` does not have one or two dimensions, or the numbers of rows differ. Or the rows with finite
            scores do not contain both versions and other tracks.
        """
        from scipy.optimize import minimize
        from scipy.special import expit

        rows, truth = _as_columns(scores), np.asarray(is_version, dtype=bool)
        if truth.shape != rows.shape[:1]:
            raise ValueError(f"expected is_version of shape ({len(rows)},), one per row of scores, got {truth.shape}")
        finite: BoolArray = np.all(np.isfinite(rows), axis=1)
        rows, truth = rows[finite], truth[finite]
        if truth.all() or not truth.any():
            raise ValueError(
                "calibration needs both versions and other tracks, but the number of versions in the rows with finite "
                f"scores is {truth.sum()} of {len(truth)}: pass finite scores of both"
            )
        rows = np.clip(rows, -_MAX_SCORE, _MAX_SCORE)
        centre, spread = rows.mean(axis=0), rows.std(axis=0)
        # the standard deviation of a constant score is only a rounding error; do not divide by it
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
        """Return the probabilities (n,) for scores (n,) or (n, k), as in `fit`. For a row with NaN or +inf, p is 0.

        Raises
        ------
        ValueError
            ``scores`` does not have the same number k of scores per row as in `fit`.
        """
        from scipy.special import expit

        rows = _as_columns(scores)
        if rows.shape[1] != len(self.weights):
            raise ValueError(
                f"expected as many scores per row as in the fit, which is {len(self.weights)}, got {rows.shape[1]}"
            )
        unusable: BoolArray = np.any(np.isnan(rows) | np.isposinf(rows), axis=1)
        rows = np.clip(np.where(unusable[:, None], 0.0, rows), -_MAX_SCORE, _MAX_SCORE)
        return np.where(unusable, 0.0, expit(rows @ np.array(self.weights) + self.intercept))


@dataclass(frozen=True)
class Reliability:
    """Reliability of predicted probabilities p; a metric is NaN if there are no rows for it.

    For ``expected_calibration_error``, the rows are put into ten bins of p with equal width. The error of a bin is the
    absolute difference between the mean of p and the share of versions. The metric is the mean of these errors,
    weighted by the number of rows in the bin. ``brier`` is the Brier score. ``true_positive_rate``: of the versions,
    the share with p >= 0.5. ``false_positive_rate``: of the rows that are not versions, the share with p >= 0.5.
    Consider both rates together, because a constant p makes one of them perfect.
    """

    rows: int
    expected_calibration_error: float
    brier: float
    false_positive_rate: float
    true_positive_rate: float


def measure_reliability(probability: ArrayLike, is_version: ArrayLike) -> Reliability:
    """Compare probabilities, shape (n,), with the ground truth, shape (n,).

    Use rows that were not in the training data, because the metrics are too optimistic on the training data.

    Raises
    ------
    ValueError
        A probability is not from 0 to 1, or the two arrays do not have the same shape (n,).
    """
    p, truth = np.asarray(probability, dtype=np.float64), np.asarray(is_version, dtype=bool)
    if p.shape != truth.shape or p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"expected probabilities from 0 to 1 and is_version of the same shape (n,), got {p.shape} and {truth.shape}"
        )
    bin_index = np.minimum((p * _N_BINS).astype(np.int64), _N_BINS - 1)
    excess = np.bincount(bin_index, p - truth, minlength=_N_BINS)  # sum of (p - truth) over the rows of each bin
    predicted = p >= 0.5
    return Reliability(
        rows=len(p),
        expected_calibration_error=float(np.abs(excess).sum() / len(p)) if len(p) else float("nan"),
        brier=mean_or_nan((p - truth) ** 2),
        false_positive_rate=mean_or_nan(predicted[~truth]),
        true_positive_rate=mean_or_nan(predicted[truth]),
    )


def _as_columns(scores: ArrayLike) -> Float64Array:
    rows = np.asarray(scores, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2:
        raise ValueError(f"expected scores of shape (n,) or (n, k), got {rows.shape}")
    return rows
