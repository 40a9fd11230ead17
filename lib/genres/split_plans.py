"""Split plans: the training and test rows of each fit in a training run.

The fits are those of nested cross-validation, of the learning curve, and of the final model.

A candidate is a set of hyperparameters. Inner folds of the training rows choose the candidate. Metrics are computed on
rows that were used neither for this choice nor for training. In a leaky split, rows of one group are in both the
training and the test set. The metrics of leaky splits show the effect of this leak.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np

from reprise.lib.arrays import Int8Array, Int64Array, ObjectArray
from reprise.lib.genres.splits import sample_rows, split_at_random, split_folds

OUT, TRAIN, TEST = range(3)
"""Roles of a row in a split: not used, training row, or test row."""

INNER_FOLDS = 3
"""Number of inner folds for the choice of a candidate."""
RANDOM_SPLITS, RANDOM_SHARE = 20, 0.2
"""Number of random splits, and share of the rows in each test set. The papers use one random split."""
CURVE_SHARES, CURVE_FOLDS = (0.2, 0.4, 0.6, 0.8, 1.0), 3
FOLDS, RANDOM, LISTS = "folds", "random", "lists"
"""Evaluation splits: group k-fold by artist, random rows (as in the papers), or given lists."""

Pair = tuple[Int64Array, Int64Array]
"""Indices of the training rows, and indices of the test rows."""


class SplitPlan:
    """All splits of one training run.

    Parameters
    ----------
    genres, groups
        Shape (n,): genre of each row, and group of each row. A group is an artist or a song. In an honest split, all
        rows of a group are on the same side.
    split
        ``FOLDS``, ``RANDOM`` or ``LISTS``.
    n_folds
        Number of folds of the honest and the leaky splits. If ``split`` is ``LISTS``, it applies only to the leaky
        splits. Random splits do not use it.
    n_candidates
        Number of candidates. If it is 1, no inner folds are made.
    seed
        Seed of the folds and of the random splits.
    lists
        Indices of the training rows, and indices of the test rows. None unless ``split`` is ``LISTS``.

    Attributes
    ----------
    splits
        List with one int8 array of shape (n,) for each split: the role of each row.
    train
        Indices of the rows that the final model is fitted on.
    honest, leaky, curve
        Indices into ``splits``. ``honest`` are the splits for the metrics. ``leaky`` are splits in which rows of one
        group are on both sides. ``leaky`` is empty if each row is its own group and there are no ``lists``. ``curve``
        are the splits of the learning curve, ordered by share.
    final
        Index of the final model's split, which has no test rows.
    inner
        Dict from the index of a split to the indices of the inner splits that choose its candidate. The leaky and the
        curve splits that are not keys use the candidate of the final model.

    Raises
    ------
    InputError
        ``not_learnable``: there are too few groups or rows for the folds.
    """

    def __init__(
        self,
        genres: ObjectArray,
        groups: ObjectArray,
        *,
        split: str,
        n_folds: int,
        n_candidates: int,
        seed: int,
        lists: Pair | None = None,
    ) -> None:
        self._genres, self._groups, self._n_candidates, self._seed = genres, groups, n_candidates, seed
        self.splits: list[Int8Array] = []
        self.inner: dict[int, list[int]] = {}
        everything, all_groups_single = np.arange(len(genres)), len(set(groups.tolist())) == len(groups)
        self.train = lists[0] if lists else everything
        rows_as_groups = everything.astype(str).astype(object)
        at_random = [
            split_at_random(genres, RANDOM_SHARE, seed + number) for number in range(RANDOM_SPLITS)
        ] if split == RANDOM else []  # fmt: skip
        if lists:
            honest = [lists]
            leaky = self._fold(np.union1d(*lists), rows_as_groups, n_folds)
        elif all_groups_single:
            honest, leaky = at_random or self._fold(everything, groups, n_folds), []
        else:
            honest = self._fold(everything, groups, n_folds)
            leaky = at_random or self._fold(everything, rows_as_groups, n_folds)
        self.honest = [self._add(*pair, choose_by=groups) for pair in honest]
        self.leaky = [self._add(*pair, choose_by=rows_as_groups if at_random else None) for pair in leaky]
        self.final = self._add(self.train, self.train[:0], choose_by=groups)
        self.curve = [self._add(train, test) for train, test in self._split_curve()]

    def _fold(self, indices: Int64Array, groups: ObjectArray, n_folds: int) -> list[Pair]:
        found = split_folds(self._genres[indices], groups[indices], n_folds, self._seed)
        return [(indices[train], indices[test]) for train, test in found]

    def _split_curve(self) -> Iterator[Pair]:
        """Yield the training and test rows of the learning curve: one pair for each share and fold, ordered by share.

        The training rows of a pair are at most this share of the fold's training rows. They are drawn as whole groups.
        """
        pairs = self._fold(self.train, self._groups, CURVE_FOLDS)
        for share, (train, test) in product(CURVE_SHARES, pairs):
            genres, groups = self._genres[train], self._groups[train]
            yield train[sample_rows(genres, groups, round(share * len(train)), self._seed)], test

    def _add(self, train: Int64Array, test: Int64Array, choose_by: ObjectArray | None = None) -> int:
        roles = np.full(len(self._genres), OUT, dtype=np.int8)
        roles[train], roles[test] = TRAIN, TEST
        self.splits.append(roles)
        index = len(self.splits) - 1
        if choose_by is not None and self._n_candidates > 1:
            self.inner[index] = [self._add(*pair) for pair in self._fold(train, choose_by, INNER_FOLDS)]
        return index
