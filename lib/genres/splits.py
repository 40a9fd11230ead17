"""Splits of rows into training and test sets. All but the random split keep the rows of one song or artist together.

The group of a row is its artist or song. Genres and groups are arrays of shape (n,) with values that can be sorted, for
example str. Indices are int64.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.errors import InputError


def split_folds(genres: ArrayLike, groups: ArrayLike, k: int, seed: int) -> list[tuple[Int64Array, Int64Array]]:
    """Stratified group k-fold: assign whole groups to k folds, keeping genre proportions.

    Groups are assigned in order of decreasing size, each to the fold that so far has the smallest share of the group's
    genres.

    Returns
    -------
    list of (ndarray, ndarray)
        Training and test indices of each fold, ascending. Each row is in exactly one test set, and no test set is
        empty. A genre is in every test set if at least k groups contain only this genre.

    Raises
    ------
    ValueError
        ``k`` is below 2, or the shapes do not match.
    InputError
        ``not_learnable``: there are fewer than k groups.
    """
    if k < 2:
        raise ValueError(f"cannot split into {k} folds: use at least 2")
    table = _GroupGenres(genres, groups)
    if table.n_groups < k:
        raise InputError(
            "not_learnable",
            f"the number of artists or songs is {table.n_groups}, too few for {k} folds: label more tracks",
        )
    totals = table.totals.tolist()
    load = [[0.0] * len(totals) for _ in range(k)]
    rows = [0] * k
    fold_of = np.zeros(table.n_groups, dtype=np.int64)
    for group in table.shuffle_groups(seed, largest_first=True):
        counts = table.count_genres(group)
        fold = min(range(k), key=lambda f: (sum(load[f][g] * count / totals[g] for g, count in counts), rows[f]))
        for genre, count in counts:
            load[fold][genre] += count
            rows[fold] += count
        fold_of[group] = fold
    fold_of_row = fold_of[table.group_of_row]
    return [(np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)) for fold in range(k)]


def split_at_random(genres: ArrayLike, share: float, seed: int) -> tuple[Int64Array, Int64Array]:
    """Split rows at random, ignoring groups and genres, as in many publications.

    Parameters
    ----------
    share
        Share of the rows in the test set. Both sets have at least one row.

    Returns
    -------
    (ndarray, ndarray)
        Training and test indices, ascending.

    Raises
    ------
    InputError
        ``not_learnable``: there are fewer than two rows.
    """
    count = len(np.asarray(genres, dtype=object))
    if count < 2:
        raise InputError(
            "not_learnable", f"training and test rows need at least 2 rows in total, got {count}: label more tracks"
        )
    order = np.random.default_rng(seed).permutation(count)
    n_test = min(max(round(count * share), 1), count - 1)
    return np.sort(order[n_test:]), np.sort(order[:n_test])


def sample_rows(genres: ArrayLike, groups: ArrayLike, limit: int, seed: int) -> Int64Array:
    """Draw whole groups with at most ``limit`` rows in total, keeping genre proportions.

    If there are at most ``limit`` rows, all rows are drawn. Otherwise each genre has a quota: its share of the limit,
    and at least one row as far as the limit allows. A group is drawn if it fits into the remaining quotas of all its
    genres. Therefore a group with more rows of a genre than the quota is not drawn.

    Returns
    -------
    ndarray, int64
        Ascending indices of the drawn rows.
    """
    table = _GroupGenres(genres, groups)
    count = len(table.group_of_row)
    if count <= limit:
        return np.arange(count)
    remaining = _apportion(table.totals, limit).tolist()
    drawn = np.zeros(table.n_groups, dtype=bool)
    for group in table.shuffle_groups(seed):
        counts = table.count_genres(group)
        if all(count <= remaining[genre] for genre, count in counts):
            drawn[group] = True
            for genre, count in counts:
                remaining[genre] -= count
    return np.flatnonzero(drawn[table.group_of_row])


def find_rare_genres(genres: ArrayLike, groups: ArrayLike, k: int) -> set[str]:
    """Find the genres that occur in fewer than k groups. They cannot be in all test sets of k folds."""
    table = _GroupGenres(genres, groups)
    n_groups = np.bincount(table.genre, minlength=len(table.names))
    return {str(name) for name, number in zip(table.names, n_groups, strict=True) if number < k}


def reorder_columns(probabilities: Float64Array, from_genres: Sequence[str], to_genres: Sequence[str]) -> Float64Array:
    """Reorder the columns of probabilities to another list of genres.

    Parameters
    ----------
    probabilities
        Shape (n, len(from_genres)).

    Returns
    -------
    ndarray, float64, shape (n, len(to_genres))
        The column of a genre that is not in ``from_genres`` is 0. Genres that are not in ``to_genres`` are dropped.
    """
    column = {genre: number for number, genre in enumerate(to_genres)}
    reordered = np.zeros((len(probabilities), len(column)))
    for number, genre in enumerate(from_genres):
        if genre in column:
            reordered[:, column[genre]] = probabilities[:, number]
    return reordered


class _GroupGenres:
    """Number of rows of each genre in each group, stored sparsely."""

    def __init__(self, genres: ArrayLike, groups: ArrayLike) -> None:
        labels, group_names = np.asarray(genres, dtype=object), np.asarray(groups, dtype=object)
        if labels.shape != group_names.shape or labels.ndim != 1:
            raise ValueError(
                f"genres of shape {labels.shape} and groups of shape {group_names.shape} do not match: expected (n,)"
            )
        self.names, genre_of_row = _encode(labels)
        unique_groups, self.group_of_row = _encode(group_names)
        self.n_groups = len(unique_groups)
        self.totals = np.bincount(genre_of_row, minlength=len(self.names))
        k = max(len(self.names), 1)
        pairs, self.count = np.unique(self.group_of_row * k + genre_of_row, return_counts=True)
        self.genre = pairs % k
        self.start = np.searchsorted(pairs // k, np.arange(self.n_groups + 1))
        self._genres, self._counts, self._starts = self.genre.tolist(), self.count.tolist(), self.start.tolist()

    def count_genres(self, group: int) -> list[tuple[int, int]]:
        """Return the genres of a group, each with its number of rows."""
        first, stop = self._starts[group], self._starts[group + 1]
        return list(zip(self._genres[first:stop], self._counts[first:stop], strict=True))

    def shuffle_groups(self, seed: int, *, largest_first: bool = False) -> Iterator[int]:
        """Yield all groups in random order.

        With ``largest_first``, yield them by decreasing size, and only groups of equal size in random order.
        """
        order = np.random.default_rng(seed).permutation(self.n_groups)
        if largest_first:
            size = np.bincount(self.group_of_row, minlength=self.n_groups)
            order = order[np.argsort(-size[order], kind="stable")]
        yield from order.tolist()


def _encode(values: ObjectArray) -> tuple[list[str], Int64Array]:
    """Return the distinct values in ascending order, and for each row the index of its value in them."""
    listed = values.tolist()
    names = sorted(set(listed))
    index = {name: number for number, name in enumerate(names)}
    return names, np.fromiter(map(index.__getitem__, listed), dtype=np.int64, count=len(listed))


def _apportion(totals: Int64Array, limit: int) -> Int64Array:
    """Split ``limit`` rows among genres by largest remainders. Each genre gets at least one if the limit allows."""
    ideal = totals * (limit / totals.sum())
    quota = np.maximum(np.floor(ideal).astype(np.int64), 1)
    while quota.sum() > limit:
        quota[np.argmax(quota)] -= 1
    remainder = np.argsort(quota - ideal, kind="stable")[: limit - quota.sum()]
    quota[remainder] += 1
    return np.asarray(quota, dtype=np.int64)
