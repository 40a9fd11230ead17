"""Support vector machines that answer with probabilities: the usual one, and the one of least squares.

Both learn how sure they may be from rows of groups that they did not see. Rows are float64 (n, d), finite and scaled;
codes are int64 (n,), 0 to k - 1, each there; groups are strings (n,).
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
from reprise.lib.genres.splits import folds

KERNELS = ("gaussian", "laplace")

_FOLDS = 5
_BLOCK = 2048
_SHRINKAGE = 0.1
_LEAST = 1e-6


def softmax(logits: Float64Array) -> Float64Array:
    """Probabilities (n, k) of logits (n, k)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def held_out(codes: Int64Array, groups: ObjectArray, seed: int, k: int = _FOLDS) -> list[tuple[Int64Array, Int64Array]]:
    """Folds inside training rows; none where the rows are of one group."""
    try:
        return folds(codes, groups, min(k, len(set(groups.tolist()))), seed)
    except (InputError, ValueError):
        return []


def weigh(codes: Int64Array, balanced: bool) -> Float64Array:
    """Weights of rows, 1 on average: such that each genre weighs the same, if balanced."""
    counts = np.bincount(codes)
    if not balanced:
        return np.ones(len(codes))
    return np.asarray((len(codes) / np.count_nonzero(counts) / np.maximum(counts, 1))[codes], dtype=np.float64)


def find_temperature(logits: Float64Array, codes: Int64Array, weights: Float64Array) -> float:
    """Factor of the logits that makes the codes likeliest."""

    def loss(log_factor: float) -> float:
        scaled = logits * np.exp(log_factor)
        own = scaled[np.arange(len(codes)), codes]
        top = scaled.max(axis=1)
        return float(weights @ (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - own))

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 5), method="bounded").x))


class LeastSquares(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares support vector machine: ridge regression on the genres in the space of a kernel.

    How well rows are told that it did not see follows from the fit on all of them, so that the temperature of its
    probabilities costs nothing. Source: Suykens & Vandewalle (1999); Rifkin, Yeo & Poggio (2003).

    Parameters
    ----------
    kernel
        ``gaussian`` or ``laplace`` (of the city block distance).
    width
        Distance at which two rows are unlike, in units of what is usual: standard deviations times the root of d for
        the Gaussian, standard deviations times d for the other.
    ridge
        Strength of regularisation.
    whitening
        0: distances are those of the features. 1: of features in which rows of one genre vary alike in all directions,
        so that what makes rows of one genre differ counts least; or between.
    """

    by_groups = True

    def __init__(self, kernel: str, width: float, ridge: float, whitening: float, balanced: bool, seed: int) -> None:
        self.kernel = kernel
        self.width = width
        self.ridge = ridge
        self.whitening = whitening
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Learn."""
        if self.kernel not in KERNELS or self.width <= 0 or self.ridge <= 0 or not 0 <= self.whitening <= 1:
            raise ValueError(f"{self.kernel}, width {self.width}, ridge {self.ridge}, whitening {self.whitening}")
        k, n = int(codes.max()) + 1, len(rows)
        self.turn_ = _whiten(rows, codes, self.whitening)
        # kept as float32, and used so: what is predicted is the same before and after it was kept
        self.rows_ = (rows @ self.turn_).astype(np.float32)
        targets = np.eye(k)[codes]
        weights = weigh(codes, self.balanced)
        self.offset_ = np.average(targets, axis=0, weights=weights)
        targets -= self.offset_
        gram = self._compare(self.rows_)
        gram[np.diag_indices(n)] += self.ridge / weights
        inverse = np.linalg.inv(gram)
        dual = inverse @ targets
        self.dual_ = dual.astype(np.float32)
        parts = held_out(codes, groups, self.seed, 10)
        unseen = np.zeros((n, k))
        for _, part in parts:
            unseen[part] = targets[part] - np.linalg.solve(inverse[np.ix_(part, part)], dual[part])
        self.temperature_ = find_temperature(unseen + self.offset_, codes, weights) if parts else 1.0
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        near = (rows @ self.turn_).astype(np.float32)
        logits = np.empty((len(rows), len(self.classes_)))
        dual = self.dual_.astype(np.float64)
        for first in range(0, len(rows), _BLOCK):
            logits[first : first + _BLOCK] = self._compare(near[first : first + _BLOCK]) @ dual
        return softmax((logits + self.offset_) * self.temperature_)

    def _compare(self, rows: Float32Array) -> Float64Array:
        d = max(rows.shape[1], 1)
        if self.kernel == "laplace":
            return np.asarray(np.exp(cdist(rows, self.rows_, "cityblock") * (-1 / (self.width * d))), dtype=np.float64)
        a, b = rows.astype(np.float64), self.rows_.astype(np.float64)
        squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
        np.maximum(squares, 0, out=squares)
        squares *= -1 / (self.width**2 * d)
        return np.asarray(np.exp(squares, out=squares), dtype=np.float64)


def _whiten(rows: Float64Array, codes: Int64Array, power: float) -> Float64Array:
    """Matrix (d, d) that turns rows into those that a kernel compares, each column with a spread of 1."""
    d = rows.shape[1]
    if not power:
        return np.eye(d)
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(int(codes.max()) + 1)])
    apart = rows - means[codes]
    covariance = (1 - _SHRINKAGE) * apart.T @ apart / len(apart)
    covariance[np.diag_indices(d)] += max(np.trace(covariance) / d, _LEAST) * _SHRINKAGE / (1 - _SHRINKAGE)
    spread, axes = np.linalg.eigh(covariance)
    turn = axes * np.maximum(spread, _LEAST) ** (-power / 2) @ axes.T
    return np.asarray(turn / np.maximum((rows @ turn).std(axis=0), _LEAST), dtype=np.float64)


class PairwiseSvm(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Support vector machine with a Gaussian kernel, one for each pair of genres.

    The probability of a genre is the product of those to win against each other one, all to a power: the two numbers
    that this takes are learned from held-out rows.

    Parameters
    ----------
    c
        What a row on the wrong side costs.
    gamma
        Of the kernel, times the number of features.
    """

    by_groups = True

    def __init__(self, c: float, gamma: float, balanced: bool, seed: int) -> None:
        self.c = c
        self.gamma = gamma
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Learn."""
        k = int(codes.max()) + 1
        margins, codes_seen = [np.zeros((0, k * (k - 1) // 2))], [np.zeros(0, dtype=np.int64)]
        for train, part in held_out(codes, groups, self.seed):
            if len(np.unique(codes[train])) == k:  # else pairs are missing
                margins.append(_margins(self._fit(rows[train], codes[train]), rows[part]))
                codes_seen.append(codes[part])
        unseen, truth = np.concatenate(margins), np.concatenate(codes_seen)
        self.svm_ = self._fit(rows, codes)
        self.slope_, self.power_ = 1.0, 1.0
        if len(truth):
            self.slope_, self.power_ = _fit_powers(unseen, truth, weigh(truth, self.balanced), k)
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        return softmax(_win(_margins(self.svm_, rows), self.slope_, len(self.classes_)) * self.power_)

    def _fit(self, rows: Float64Array, codes: Int64Array) -> SVC:
        return SVC(
            C=self.c,
            gamma=self.gamma / max(rows.shape[1], 1),
            decision_function_shape="ovo",
            class_weight="balanced" if self.balanced else None,
            cache_size=500,
            random_state=self.seed,
        ).fit(rows, codes)


def _margins(svm: SVC, rows: Float64Array) -> Float64Array:
    """Decisions of each pair, (n, k (k - 1) / 2), above 0 for the first genre of it."""
    _check(svm)
    found = np.asarray(svm.decision_function(rows), dtype=np.float64)
    # of two genres alone it is the second one that is told by a decision above 0
    return -found[:, None] if found.ndim == 1 else found


def _check(svm: SVC) -> None:
    """Check that arrays of a machine, which may come from a file, fit: compiled code does not."""
    k, d, s = len(svm.classes_), svm.n_features_in_, len(svm.support_)
    counts = svm._n_support
    if not (
        svm.kernel == "rbf"
        and svm._sparse is False
        and svm.support_vectors_.shape == (s, d)
        and svm.shape_fit_[1] == d
        and svm._dual_coef_.shape == (k - 1, s)
        and svm._intercept_.shape == (k * (k - 1) // 2,)
        and counts.shape == (k,)
        and (counts >= 0).all()
        and int(counts.sum(dtype=np.int64)) == s
        and len(svm._probA) == len(svm._probB) == 0
    ):
        raise ValueError("support vectors and coefficients that do not fit")


def _win(margins: Float64Array, slope: float, k: int) -> Float64Array:
    """Sums of log probabilities of each genre to win against each other one, (n, k)."""
    won, lost = -np.logaddexp(0, -slope * margins), -np.logaddexp(0, slope * margins)
    sums = np.zeros((len(margins), k))
    for pair, (one, other) in enumerate(_pairs(k)):
        sums[:, one] += won[:, pair]
        sums[:, other] += lost[:, pair]
    return sums


def _pairs(k: int) -> Sequence[tuple[int, int]]:
    return [(one, other) for one in range(k) for other in range(one + 1, k)]


def _fit_powers(margins: Float64Array, codes: Int64Array, weights: Float64Array, k: int) -> tuple[float, float]:
    def loss(logs: Any) -> float:
        slope, power = np.exp(np.clip(logs, -5, 5))
        logits = _win(margins, slope, k) * power
        top = logits.max(axis=1)
        own = logits[np.arange(len(codes)), codes]
        return float(weights @ (top + np.log(np.exp(logits - top[:, None]).sum(axis=1)) - own))

    found = minimize(loss, [0.5, -0.3], method="Nelder-Mead", options={"maxiter": 80, "xatol": 1e-3, "fatol": 1e-3})
    slope, power = np.exp(np.clip(found.x, -5, 5)).tolist()
    return slope, power
