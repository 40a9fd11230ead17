"""Linear discriminant analysis with calibrated probabilities."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.genres.svm import compute_row_weights, fit_temperature, softmax, split_inner_folds

_INNER_FOLDS = 10


class DiscriminantAnalysis(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Linear discriminant analysis, whose covariance is shrunk as far as the rows demand (Ledoit & Wolf 2004).

    The probabilities of this method are far too confident if there are few rows for each feature. Therefore the logits
    are multiplied by a factor, which is fitted to held-out groups of the training rows.

    Parameters
    ----------
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the inner folds.
    """

    needs_groups = True

    def __init__(self, balanced: bool, seed: int) -> None:
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Fit to rows (n, d), codes (n,), which contain every integer from 0 to k - 1, and groups (n,)."""
        k = int(codes.max()) + 1
        logits, truth = [np.zeros((0, k))], [np.zeros(0, dtype=np.int64)]
        for train, test in split_inner_folds(codes, groups, self.seed, _INNER_FOLDS):
            if len(np.unique(codes[train])) == k:
                weights, offsets = self._fit_logits(rows[train], codes[train])
                logits.append(rows[test] @ weights + offsets)
                truth.append(codes[test])
        held_out, held_out_codes = np.concatenate(logits), np.concatenate(truth)
        factor = 1.0
        if len(held_out_codes):
            factor = fit_temperature(held_out, held_out_codes, compute_row_weights(held_out_codes, self.balanced))
        weights, offsets = self._fit_logits(rows, codes)
        self.weights_, self.offsets_ = factor * weights, factor * offsets
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        return softmax(rows @ self.weights_ + self.offsets_)

    def _fit_logits(self, rows: Float64Array, codes: Int64Array) -> tuple[Float64Array, Float64Array]:
        """Return weights (d, k) and offsets (k,) of the logits."""
        k = int(codes.max()) + 1
        priors = np.full(k, 1 / k) if self.balanced else None
        fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors).fit(rows, codes)
        weights, offsets = fitted.coef_.T, fitted.intercept_
        if k == 2:  # scikit-learn then has one column, the difference of the logits
            weights, offsets = np.hstack([0 * weights, weights]), np.array([0, offsets[0]])
        return weights, offsets
