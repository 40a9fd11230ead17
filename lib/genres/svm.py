"""Support vector machines with calibrated probabilities: pairwise with hinge loss, and least squares.

Both calibrate their probabilities on held-out groups of the training rows. Rows are float64 of shape (n, d), finite and
scaled. Codes are int64 of shape (n,) and contain every integer from 0 to k - 1. Groups are str of shape (n,).
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import SVC

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.genres.splits import split_folds

KERNELS = ("gaussian", "laplace")

_INNER_FOLDS = 5
_BLOCK_ROWS = 2048
_SHRINKAGE = 0.1
_MIN_VARIANCE = 1e-6


def softmax(logits: Float64Array) -> Float64Array:
    """Return the softmax of each row of the logits (n, k), shape (n, k)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def split_inner_folds(
    codes: Int64Array, groups: ObjectArray, seed: int, k: int = _INNER_FOLDS
) -> list[tuple[Int64Array, Int64Array]]:
    """Split training rows into at most k group folds. If all rows belong to one group, return an empty list."""
    try:
        return split_folds(codes, groups, min(k, len(set(groups.tolist()))), seed)
    except (InputError, ValueError):
        return []


def compute_row_weights(codes: Int64Array, balanced: bool) -> Float64Array:
    """Return row weights of shape (n,) with mean 1. If ``balanced``, each genre has the same total weight."""
    counts = np.bincount(codes)
    if not balanced:
        return np.ones(len(codes))
    return np.asarray((len(codes) / np.count_nonzero(counts) / np.maximum(counts, 1))[codes], dtype=np.float64)


def fit_temperature(logits: Float64Array, codes: Int64Array, weights: Float64Array) -> float:
    """Return the factor for the logits (n, k) that maximises the weighted likelihood of the codes (n,)."""

    def loss(log_factor: float) -> float:
        scaled = logits * np.exp(log_factor)
        own = scaled[np.arange(len(codes)), codes]
        top = scaled.max(axis=1)
        return float(weights @ (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - own))

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 5), method="bounded").x))


class LeastSquares(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares support vector machine: kernel ridge regression on one-hot encoded genres.

    The predictions for held-out groups are computed in closed form from the fit to all rows. Therefore the calibration
    of the temperature needs no further fit. Sources: Suykens & Vandewalle (1999); Rifkin, Yeo & Poggio (2003).

    Parameters
    ----------
    kernel
        ``gaussian`` (Euclidean distance) or ``laplace`` (city block distance).
    width
        Kernel width in standard deviations, for one feature. It is multiplied by sqrt(d) for the Gaussian kernel and by
        d for the Laplace kernel.
    ridge
        Strength of the regularisation.
    whitening
        If 0, distances are computed from the features as given. If 1, the features are first whitened by the covariance
        within genres. The directions in which the rows of one genre vary most then have the least influence. Values
        between 0 and 1 whiten partially.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the inner folds.
    """

    needs_groups = True

    def __init__(self, kernel: str, width: float, ridge: float, whitening: float, balanced: bool, seed: int) -> None:
        self.kernel = kernel
        self.width = width
        self.ridge = ridge
        self.whitening = whitening
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Fit the support vector machine, and the temperature of its probabilities (1 if all rows are in one group)."""
        if self.kernel not in KERNELS or self.width <= 0 or self.ridge <= 0 or not 0 <= self.whitening <= 1:
            raise ValueError(
                f"kernel {self.kernel}, width {self.width}, ridge {self.ridge}, whitening {self.whitening}: expected a"
                f" kernel of {', '.join(KERNELS)}, width and ridge above 0, whitening between 0 and 1"
            )
        k, n = int(codes.max()) + 1, len(rows)
        self.turn_ = _compute_whitening(rows, codes, self.whitening)
        # rows are float32 in memory and in the archive, so that saving and loading do not change predictions
        self.rows_ = (rows @ self.turn_).astype(np.float32)
        targets = np.eye(k)[codes]
        weights = compute_row_weights(codes, self.balanced)
        self.offset_ = np.average(targets, axis=0, weights=weights)
        targets -= self.offset_
        gram = self._compute_kernel(self.rows_)
        gram[np.diag_indices(n)] += self.ridge / weights
        inverse = np.linalg.inv(gram)
        dual = inverse @ targets
        self.dual_ = dual.astype(np.float32)
        inner = split_inner_folds(codes, groups, self.seed, 10)
        held_out = np.zeros((n, k))
        for _, test in inner:
            held_out[test] = targets[test] - np.linalg.solve(inverse[np.ix_(test, test)], dual[test])
        self.temperature_ = fit_temperature(held_out + self.offset_, codes, weights) if inner else 1.0
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        queries = (rows @ self.turn_).astype(np.float32)
        logits = np.empty((len(rows), len(self.classes_)))
        dual = self.dual_.astype(np.float64)
        for first in range(0, len(rows), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            logits[block] = self._compute_kernel(queries[block]) @ dual
        return softmax((logits + self.offset_) * self.temperature_)

    def _compute_kernel(self, rows: Float32Array) -> Float64Array:
        """Return the kernel value of each whitened row (first axis) with each training row (second axis)."""
        d = max(rows.shape[1], 1)
        if self.kernel == "laplace":
            return np.asarray(np.exp(cdist(rows, self.rows_, "cityblock") * (-1 / (self.width * d))), dtype=np.float64)
        a, b = rows.astype(np.float64), self.rows_.astype(np.float64)
        squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
        np.maximum(squares, 0, out=squares)
        squares *= -1 / (self.width**2 * d)
        return np.asarray(np.exp(squares, out=squares), dtype=np.float64)


def _compute_whitening(rows: Float64Array, codes: Int64Array, power: float) -> Float64Array:
    """Return the matrix, shape (d, d), that whitens rows within genres.

    ``power`` is the degree of whitening, from 0 to 1. If it is 0, the result is the identity matrix. Otherwise each
    whitened feature has standard deviation 1 over all rows.
    """
    d = rows.shape[1]
    if not power:
        return np.eye(d)
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(int(codes.max()) + 1)])
    centred = rows - means[codes]
    covariance = (1 - _SHRINKAGE) * centred.T @ centred / len(centred)
    covariance[np.diag_indices(d)] += max(np.trace(covariance) / d, _MIN_VARIANCE) * _SHRINKAGE / (1 - _SHRINKAGE)
    variances, axes = np.linalg.eigh(covariance)
    matrix = axes * np.maximum(variances, _MIN_VARIANCE) ** (-power / 2) @ axes.T
    return np.asarray(matrix / np.maximum((rows @ matrix).std(axis=0), _MIN_VARIANCE), dtype=np.float64)


class PairwiseSvm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Support vector machines with a Gaussian kernel, one machine for each pair of genres.

    A sigmoid converts the margin of a machine to probabilities of its two genres. The score of a genre is the product
    of its probabilities in all its pairs, raised to a power. The scores of a row are divided by their sum. The slope of
    the sigmoid and the power are calibrated on held-out rows.

    Parameters
    ----------
    c
        Penalty of a training row on the wrong side of the margin.
    gamma
        Kernel coefficient times the number of features.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the inner folds.
    """

    needs_groups = True

    def __init__(self, c: float, gamma: float, balanced: bool, seed: int) -> None:
        self.c = c
        self.gamma = gamma
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Fit the machines and the calibration of their probabilities."""
        k = int(codes.max()) + 1
        margins, truth = [np.zeros((0, k * (k - 1) // 2))], [np.zeros(0, dtype=np.int64)]
        for train, test in split_inner_folds(codes, groups, self.seed):
            if len(np.unique(codes[train])) == k:  # without a genre, there are no machines for its pairs
                margins.append(_compute_margins(self._fit_svm(rows[train], codes[train]), rows[test]))
                truth.append(codes[test])
        held_out, held_out_codes = np.concatenate(margins), np.concatenate(truth)
        self._store(self._fit_svm(rows, codes))
        self.slope_, self.power_ = 1.0, 1.0
        if len(held_out_codes):
            weights = compute_row_weights(held_out_codes, self.balanced)
            self.slope_, self.power_ = _fit_calibration(held_out, held_out_codes, weights, k)
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        k = len(self.classes_)
        margins = np.empty((len(rows), k * (k - 1) // 2))
        for first in range(0, len(rows), _BLOCK_ROWS):
            margins[first : first + _BLOCK_ROWS] = self._compute_margins(rows[first : first + _BLOCK_ROWS])
        return softmax(_sum_log_wins(margins, self.slope_, k) * self.power_)

    def _fit_svm(self, rows: Float64Array, codes: Int64Array) -> SVC:
        return SVC(
            C=self.c,
            gamma=self.gamma / max(rows.shape[1], 1),
            decision_function_shape="ovo",
            class_weight="balanced" if self.balanced else None,
            cache_size=500,
            random_state=self.seed,
        ).fit(rows, codes)

    def _store(self, svm: SVC) -> None:
        """Keep the arrays of a fitted machine that decisions need."""
        # for two genres, a positive decision of scikit-learn means the second genre, else the first genre of the pair
        sign = -1 if len(svm.classes_) == 2 else 1
        self.vectors_, self.counts_ = svm.support_vectors_, svm.n_support_
        self.dual_, self.intercepts_ = sign * svm.dual_coef_, sign * svm.intercept_

    def _compute_margins(self, rows: Float64Array) -> Float64Array:
        """Return the decision values of rows, as `_compute_margins` does for a machine of scikit-learn."""
        kernel = np.exp(cdist(rows, self.vectors_, "sqeuclidean") * (-self.gamma / max(rows.shape[1], 1)))
        if self.counts_.sum() != len(self.vectors_) or len(self.counts_) != len(self.classes_):
            raise ValueError("the support vectors of a machine do not match its genres")
        stops = np.cumsum(self.counts_)
        of = [slice(stop - count, stop) for stop, count in zip(stops, self.counts_, strict=True)]
        pairs = _list_pairs(len(self.classes_))
        margins = np.empty((len(rows), len(pairs)))
        for number, (one, other) in enumerate(pairs):
            # dual_ has one row for each genre but the vector's own
            margins[:, number] = (
                kernel[:, of[one]] @ self.dual_[other - 1, of[one]]
                + kernel[:, of[other]] @ self.dual_[one, of[other]]
                + self.intercepts_[number]
            )
        return margins


def _compute_margins(svm: SVC, rows: Float64Array) -> Float64Array:
    """Return the decision values of rows, shape (n, k (k - 1) / 2).

    The columns are pairs of genres. A positive value means the first genre of the pair.
    """
    values = np.asarray(svm.decision_function(rows), dtype=np.float64)
    # for two genres, scikit-learn returns one column, in which a positive value means the second genre
    return -values[:, None] if values.ndim == 1 else values


def _sum_log_wins(margins: Float64Array, slope: float, k: int) -> Float64Array:
    """Return for each row and genre the sum of the genre's log probabilities over its pairs, shape (n, k)."""
    won, lost = -np.logaddexp(0, -slope * margins), -np.logaddexp(0, slope * margins)
    sums = np.zeros((len(margins), k))
    for pair, (one, other) in enumerate(_list_pairs(k)):
        sums[:, one] += won[:, pair]
        sums[:, other] += lost[:, pair]
    return sums


def _list_pairs(k: int) -> Sequence[tuple[int, int]]:
    return [(one, other) for one in range(k) for other in range(one + 1, k)]


def _fit_calibration(margins: Float64Array, codes: Int64Array, weights: Float64Array, k: int) -> tuple[float, float]:
    """Return the sigmoid's slope and the scores' power that maximise the weighted likelihood of the codes."""

    def loss(logs: Any) -> float:
        slope, power = np.exp(np.clip(logs, -5, 5))
        logits = _sum_log_wins(margins, slope, k) * power
        top = logits.max(axis=1)
        own = logits[np.arange(len(codes)), codes]
        return float(weights @ (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - own))

    best = minimize(loss, [0.5, -0.3], method="Nelder-Mead", options={"maxiter": 80, "xatol": 1e-3, "fatol": 1e-3})
    slope, power = np.exp(np.clip(best.x, -5, 5)).tolist()
    return slope, power
