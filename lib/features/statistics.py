"""Moments (count, mean, variance) of groups of rows. Moments of separate blocks of rows can be merged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array


@dataclass(frozen=True)
class Moments:
    """Moments of g groups of rows.

    Attributes
    ----------
    groups
        (g,), group numbers in ascending order.
    counts
        (g,), number of rows of each group.
    means
        (g, k), mean of each column in each group.
    squares
        (g, k), sum of the squared deviations from the mean.
    """

    groups: Int64Array
    counts: Float64Array
    means: Float64Array
    squares: Float64Array

    @property
    def variances(self) -> Float64Array:
        """The population variance of each column in each group, (g, k)."""
        return self.squares / self.counts[:, None]


def compute_moments(values: Float64Array, groups: Int64Array) -> Moments:
    """Compute the moments of each group of rows. ``values`` has shape (n, k), n ≥ 1.

    ``groups`` (n,) contains the group number of each row, in ascending order.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    counts = np.diff(starts, append=len(values)).astype(np.float64)
    means = np.add.reduceat(values, starts, axis=0) / counts[:, None]
    deviations = values - np.repeat(means, counts.astype(np.int64), axis=0)
    return Moments(groups[starts], counts, means, np.add.reduceat(deviations * deviations, starts, axis=0))


def merge_moments(blocks: Sequence[Moments], *, whole: bool = False) -> Moments:
    """Merge the moments of one or more blocks by group. All blocks have the same number of columns.

    The group numbers must be in ascending order across the blocks, too: the first group of a block can equal the last
    group of the block before it, but not be smaller. If ``whole`` is true, all groups are merged into one group with
    the number 0, and their order does not matter.
    """
    groups = np.concatenate([block.groups for block in blocks])
    if whole:
        groups = np.zeros_like(groups)
    counts, means, squares = (np.concatenate([getattr(b, n) for b in blocks]) for n in ("counts", "means", "squares"))
    starts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    total = np.add.reduceat(counts, starts)
    mean = np.add.reduceat(counts[:, None] * means, starts, axis=0) / total[:, None]
    deviation = means - np.repeat(mean, np.diff(starts, append=len(groups)), axis=0)
    square = np.add.reduceat(squares + counts[:, None] * deviation * deviation, starts, axis=0)
    return Moments(groups[starts], total, mean, square)
