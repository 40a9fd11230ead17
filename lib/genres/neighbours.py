"""k nearest neighbours by city block distance."""

from typing import Self

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin

from reprise.lib.arrays import Float64Array, Int64Array

_BLOCK = 512
_NEAREST = 1e-9


class Neighbours(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """k nearest neighbours, of which each genre has one more half: none is impossible because none was near.

    There are no weights of genres.

    Parameters
    ----------
    neighbours
        How many are asked; all where there are not so many.
    weighted
        Nearer ones count more, by one over their distance, as many together.
    """

    def __init__(self, neighbours: int, weighted: bool) -> None:
        self.neighbours = neighbours
        self.weighted = weighted

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Keep rows (n, d), float64 and finite, and codes (n,), 0 to k - 1, each there."""
        if self.neighbours < 1:
            raise ValueError(f"{self.neighbours} neighbours")
        # kept as float32, and used so: what is predicted is the same before and after it was kept
        self.rows_ = np.ascontiguousarray(rows, dtype=np.float32)
        self.codes_ = codes.astype(np.int32)
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        count, k = min(self.neighbours, len(self.rows_)), len(self.classes_)
        near = np.asarray(rows, dtype=np.float32)
        votes = np.full((len(rows), k), 0.5)
        for first in range(0, len(rows), _BLOCK):
            away = cdist(near[first : first + _BLOCK], self.rows_, "cityblock")
            found = np.argpartition(away, count - 1, axis=1)[:, :count]
            weights = np.ones(found.shape)
            if self.weighted:
                weights /= np.maximum(np.take_along_axis(away, found, axis=1), _NEAREST)
                weights *= count / weights.sum(axis=1, keepdims=True)
            place = np.arange(first, first + len(found))[:, None]
            np.add.at(votes, (place, self.codes_[found]), weights)
        return np.asarray(votes / votes.sum(axis=1, keepdims=True), dtype=np.float64)
