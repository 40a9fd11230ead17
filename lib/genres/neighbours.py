"""k-nearest-neighbours classifier with city block distance."""

from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import NearestNeighbors

from reprise.lib.arrays import Float64Array, Int64Array

_BLOCK_ROWS = 512
_MIN_DISTANCE = 1e-9


class Neighbours(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """k-NN with +0.5 smoothing per genre, so no genre gets probability 0.

    The classifier does not support genre weights.

    Parameters
    ----------
    neighbours
        Number of neighbours. If there are fewer training rows, all of them vote.
    weighted
        Whether votes are proportional to 1 / distance. If True, votes are scaled so that the sum of the votes for a row
        equals the number of voting neighbours.
    """

    def __init__(self, neighbours: int, weighted: bool) -> None:
        self.neighbours = neighbours
        self.weighted = weighted

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Store rows (n, d), float64 and finite, and codes (n,), which contain every integer from 0 to k - 1."""
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {self.neighbours}")
        # rows are float32 in memory and in the archive, so that saving and loading do not change predictions
        self.rows_ = np.ascontiguousarray(rows, dtype=np.float32)
        self.codes_ = codes.astype(np.int32)
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        count, k = min(self.neighbours, len(self.rows_)), len(self.classes_)
        queries = np.asarray(rows, dtype=np.float32)
        search = NearestNeighbors(n_neighbors=count, algorithm="brute", metric="manhattan").fit(self.rows_)
        votes = np.full((len(rows), k), 0.5)
        for first in range(0, len(rows), _BLOCK_ROWS):
            distances, nearest = search.kneighbors(queries[first : first + _BLOCK_ROWS])
            weights = np.ones(nearest.shape)
            if self.weighted:
                weights /= np.maximum(distances, _MIN_DISTANCE)
                weights *= count / weights.sum(axis=1, keepdims=True)
            row = np.arange(first, first + len(nearest))[:, None]
            np.add.at(votes, (row, self.codes_[nearest]), weights)
        return np.asarray(votes / votes.sum(axis=1, keepdims=True), dtype=np.float64)
