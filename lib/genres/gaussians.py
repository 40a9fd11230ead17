"""Genres as normal distributions, between one covariance for all and one for each."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.genres.svm import softmax, weigh

_LEAST = 1e-6


class Gaussians(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Regularised discriminant analysis (Friedman 1989).

    Parameters
    ----------
    pooling
        0: each genre has its own covariance; 1: all have that of all rows about their genres' means.
    shrinkage
        From those covariances, 0, to spheres, 1.
    """

    def __init__(self, pooling: float, shrinkage: float, balanced: bool) -> None:
        self.pooling = pooling
        self.shrinkage = shrinkage
        self.balanced = balanced

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Learn from rows (n, d), float64 and finite, and codes (n,), 0 to k - 1, each there."""
        if not (0 <= self.pooling <= 1 and 0 <= self.shrinkage <= 1):
            raise ValueError(f"pooling {self.pooling}, shrinkage {self.shrinkage}")
        k, d = int(codes.max()) + 1, rows.shape[1]
        weights = weigh(codes, self.balanced)
        self.means_ = np.stack([rows[codes == code].mean(axis=0) for code in range(k)])
        apart = rows - self.means_[codes]
        pooled = (apart * weights[:, None]).T @ apart / weights.sum()
        self.whitening_ = np.empty((k, d, d))
        self.heights_ = np.empty(k)
        for code in range(k):
            own = apart[codes == code]
            covariance = (1 - self.pooling) * (own.T @ own) / len(own) + self.pooling * pooled
            middle = max(float(np.trace(covariance)) / max(d, 1), _LEAST)
            covariance *= 1 - self.shrinkage
            covariance[np.diag_indices(d)] += self.shrinkage * middle
            spread, axes = np.linalg.eigh(covariance)
            spread = np.maximum(spread, _LEAST)
            self.whitening_[code] = axes / np.sqrt(spread)
            self.heights_[code] = np.log(weights[codes == code].sum()) - 0.5 * np.log(spread).sum()
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        logits = np.empty((len(rows), len(self.classes_)))
        for code in self.classes_:
            apart = (rows - self.means_[code]) @ self.whitening_[code]
            logits[:, code] = self.heights_[code] - 0.5 * (apart * apart).sum(axis=1)
        return softmax(logits)
