"""Splits of rows for training and testing, with the rows of one song or artist on one side.

A row's group says whom it belongs to. Genres and groups come as arrays of shape (n,), str or object; indices are int64.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.errors import InputError


def folds(genres: ArrayLike, groups: ArrayLike, k: int, seed: int) -> list[tuple[Int64Array, Int64Array]]:
    """Deal whole groups into k folds that have each genre in the share that all rows have it.

    Big groups are dealt first, each to the fold that has least of its genres.

    Returns
    -------
    list of (ndarray, ndarray)
        Of each fold the ascending indices to train on, and those to test on. Every row is once in a test, every test
        has a row, and a genre that stands alone in k groups is in every test.

    Raises
    ------
    ValueError
        ``k`` is below 2.
    InputError
        ``not_learnable``: there are fewer than k groups.
    """
    if k < 2:
        raise ValueError(f"{k} folds are no split")
    pairs = _Pairs(genres, groups)
    if pairs.groups < k:
        raise InputError("not_learnable", f"{pairs.groups} songs or artists cannot be split into {k} folds: label more")
    totals = pairs.totals.tolist()
    load = [[0.0] * len(totals) for _ in range(k)]
    rows = [0] * k
    fold_of = np.zeros(pairs.groups, dtype=np.int64)
    for group in pairs.order(seed, big_first=True):
        has = pairs.of(group)
        fold = min(range(k), key=lambda f: (sum(load[f][g] * count / totals[g] for g, count in has), rows[f]))
        for genre, count in has:
            load[fold][genre] += count
            rows[fold] += count
        fold_of[group] = fold
    fold_of_row = fold_of[pairs.group_of_row]
    return [(np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold)) for fold in range(k)]


def random_split(genres: ArrayLike, share: float, seed: int) -> tuple[Int64Array, Int64Array]:
    """Split rows at random as the papers do, with no regard to groups or genres.

    Parameters
    ----------
    share
        Of the rows that are to test on; at least one row is on each side.

    Returns
    -------
    (ndarray, ndarray)
        The ascending indices to train on, and those to test on.

    Raises
    ------
    InputError
        ``not_learnable``: there is only one row, or none.
    """
    count = len(np.asarray(genres, dtype=object))
    if count < 2:
        raise InputError("not_learnable", f"{count} rows cannot be split: label more")
    order = np.random.default_rng(seed).permutation(count)
    tested = min(max(round(count * share), 1), count - 1)
    return np.sort(order[tested:]), np.sort(order[:tested])


def sample_rows(genres: ArrayLike, groups: ArrayLike, limit: int, seed: int) -> Int64Array:
    """Draw whole groups of at most ``limit`` rows together, with genres in their shares.

    Of a genre never more rows are drawn than its share of the limit, rounded up, and none is left out for its rarity
    while a group of it fits. A group that alone has more is left out.

    Returns
    -------
    ndarray
        Ascending indices; all of them where there are no more than ``limit`` rows.
    """
    pairs = _Pairs(genres, groups)
    count = len(pairs.group_of_row)
    if count <= limit:
        return np.arange(count)
    left = _apportion(pairs.totals, limit).tolist()
    drawn = np.zeros(pairs.groups, dtype=bool)
    for group in pairs.order(seed):
        has = pairs.of(group)
        if all(count <= left[genre] for genre, count in has):
            drawn[group] = True
            for genre, count in has:
                left[genre] -= count
    return np.flatnonzero(drawn[pairs.group_of_row])


def rare_genres(genres: ArrayLike, groups: ArrayLike, k: int) -> set[str]:
    """Genres that stand in fewer than k groups: they cannot be in the test of every one of k folds."""
    pairs = _Pairs(genres, groups)
    stands_in = np.bincount(pairs.genre, minlength=len(pairs.names))
    return {str(name) for name, number in zip(pairs.names, stands_in, strict=True) if number < k}


def align(probabilities: Float64Array, from_genres: Sequence[str], to_genres: Sequence[str]) -> Float64Array:
    """Columns of probabilities in another order of genres.

    Parameters
    ----------
    probabilities
        Shape (n, len(from_genres)).

    Returns
    -------
    ndarray, float64, shape (n, len(to_genres))
        0 for a genre that is not among ``from_genres``; a genre that is not among ``to_genres`` is left out.
    """
    place = {genre: number for number, genre in enumerate(to_genres)}
    aligned = np.zeros((len(probabilities), len(place)))
    for number, genre in enumerate(from_genres):
        if genre in place:
            aligned[:, place[genre]] = probabilities[:, number]
    return aligned


class _Pairs:
    """Which genres stand in which groups, and how often."""

    def __init__(self, genres: ArrayLike, groups: ArrayLike) -> None:
        labels, owners = np.asarray(genres, dtype=object), np.asarray(groups, dtype=object)
        if labels.shape != owners.shape or labels.ndim != 1:
            raise ValueError(f"genres {labels.shape} and groups {owners.shape} do not fit")
        self.names, genre_of_row = _encode(labels)
        found, self.group_of_row = _encode(owners)
        self.groups = len(found)
        self.totals = np.bincount(genre_of_row, minlength=len(self.names))
        k = max(len(self.names), 1)
        pairs, self.count = np.unique(self.group_of_row * k + genre_of_row, return_counts=True)
        self.genre = pairs % k
        self.start = np.searchsorted(pairs // k, np.arange(self.groups + 1))
        self._genres, self._counts, self._starts = self.genre.tolist(), self.count.tolist(), self.start.tolist()

    def of(self, group: int) -> list[tuple[int, int]]:
        """Genres of a group and how many of its rows have them."""
        first, stop = self._starts[group], self._starts[group + 1]
        return list(zip(self._genres[first:stop], self._counts[first:stop], strict=True))

    def order(self, seed: int, *, big_first: bool = False) -> Iterator[int]:
        """All groups in random order, bigger ones first if asked."""
        order = np.random.default_rng(seed).permutation(self.groups)
        if big_first:
            size = np.bincount(self.group_of_row, minlength=self.groups)
            order = order[np.argsort(-size[order], kind="stable")]
        yield from order.tolist()


def _encode(values: ObjectArray) -> tuple[list[str], Int64Array]:
    """The different values, ascending, and of each row the place of its value."""
    listed = values.tolist()
    names = sorted(set(listed))
    place = {name: number for number, name in enumerate(names)}
    return names, np.fromiter(map(place.__getitem__, listed), dtype=np.int64, count=len(listed))


def _apportion(totals: Int64Array, limit: int) -> Int64Array:
    """Rows of each genre, ``limit`` together: by largest remainders, and one at least as far as the limit goes."""
    ideal = totals * (limit / totals.sum())
    quota = np.maximum(np.floor(ideal).astype(np.int64), 1)
    while quota.sum() > limit:
        quota[np.argmax(quota)] -= 1
    remainder = np.argsort(quota - ideal, kind="stable")[: limit - quota.sum()]
    quota[remainder] += 1
    return np.asarray(quota, dtype=np.int64)
