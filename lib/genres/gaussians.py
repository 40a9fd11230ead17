"""Classifier with one normal distribution per genre."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.genres.svm import compute_row_weights, softmax

_MIN_VARIANCE = 1e-6


class Gaussians(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Regularised discriminant analysis (Friedman 1989).

    Parameters
    ----------
    pooling
        If 0, each genre has its own covariance. If 1, all genres share one covariance, which is computed from all rows
        after the mean of their genre is subtracted. Values between 0 and 1 interpolate.
    shrinkage
        If 0, the covariances are used as estimated. If 1, each covariance is replaced by a multiple of the identity
        matrix that has the same mean variance. Values between 0 and 1 interpolate.
    balanced
        Whether all genres have the same total weight. If False, the weight of a genre is its number of rows.
    """

    def __init__(self, pooling: float, shrinkage: float, balanced: bool) -> None:
        self.pooling = pooling
        self.shrinkage = shrinkage
        self.balanced = balanced

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Fit to rows (n, d), float64 and finite, and codes (n,), which contain every integer from 0 to k - 1."""
        if not (0 <= self.pooling <= 1 and 0 <= self.shrinkage <= 1):
            raise ValueError(f"pooling {self.pooling} and shrinkage {self.shrinkage} must be between 0 and 1")
        k, d = int(codes.max()) + 1, rows.shape[1]
        weights = compute_row_weights(codes, self.balanced)
        self.means_ = np.stack([rows[codes == code].mean(axis=0) for code in range(k)])
        centred = rows - self.means_[codes]
        pooled = (centred * weights[:, None]).T @ centred / weights.sum()
        self.whitening_ = np.empty((k, d, d))
        self.heights_ = np.empty(k)
        for code in range(k):
            own = centred[codes == code]
            covariance = (1 - self.pooling) * (own.T @ own) / len(own) + self.pooling * pooled
            mean_variance = max(float(np.trace(covariance)) / max(d, 1), _MIN_VARIANCE)
            covariance *= 1 - self.shrinkage
            covariance[np.diag_indices(d)] += self.shrinkage * mean_variance
            variances, axes = np.linalg.eigh(covariance)
            variances = np.maximum(variances, _MIN_VARIANCE)
            self.whitening_[code] = axes / np.sqrt(variances)
            self.heights_[code] = np.log(weights[codes == code].sum()) - 0.5 * np.log(variances).sum()
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        logits = np.empty((len(rows), len(self.classes_)))
        for code in self.classes_:
            whitened = (rows - self.means_[code]) @ self.whitening_[code]
            logits[:, code] = self.heights_[code] - 0.5 * (whitened * whitened).sum(axis=1)
        return softmax(logits)
