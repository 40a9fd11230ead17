"""Mean and variance of groups of rows, put together from blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array


@dataclass(frozen=True)
class Moments:
    """Of g groups in ascending order: number (g,), count of rows (g,), mean and sum of squares about it (g, k)."""

    groups: Int64Array
    counts: Float64Array
    means: Float64Array
    squares: Float64Array

    @property
    def variances(self) -> Float64Array:
        """Population variance (g, k)."""
        return self.squares / self.counts[:, None]


def summarise(values: Float64Array, groups: Int64Array) -> Moments:
    """Moments of the rows of ``values`` (n, k), n ≥ 1, by their ``groups`` (n,), which ascend."""
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    counts = np.diff(starts, append=len(values)).astype(np.float64)
    means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    deviations = values - np.repeat(means, counts.astype(np.int64), axis=0)
    return Moments(groups[starts], counts, means, np.add.reduceat(deviations * deviations, starts, axis=0))


def merge_moments(parts: Sequence[Moments], *, whole: bool = False) -> Moments:
    """Put together what blocks have of the same groups, or with ``whole`` all they have as one group, 0."""
    groups = np.concatenate([part.groups for part in parts])
    if whole:
        groups = np.zeros_like(groups)
    counts, means, squares = (np.concatenate([getattr(p, n) for p in parts]) for n in ("counts", "means", "squares"))
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    total = np.add.reduceat(counts, starts)
    mean = np.add.reduceat(counts[:, None] * means, starts, axis=0) / total[:, None]
    apart = means - np.repeat(mean, np.diff(starts, append=len(groups)), axis=0)
    square = np.add.reduceat(squares + counts[:, None] * apart * apart, starts, axis=0)
    return Moments(groups[starts], total, mean, square)
