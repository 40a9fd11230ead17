"""Exact nearest neighbours and exact ranks of many queries in a gallery that is streamed in blocks of any size.

The distance of two vectors is always computed by `measure_distances`, in float64. Float32 matrix products are used only
to exclude pairs that cannot change the result. Ties are broken by identifiers, so the result does not depend on the
division into blocks, their order or the number of workers.

The following proves that the products never exclude a pair wrongly. |q − x|² = |q|² − 2 s with s = q·x − |x|²/2, so a
near item has a large s. Let u = 2⁻²⁴ and K = d + 2, where d is the number of components of a vector. The error of a
float32 inner product with K terms is at most γ = K u / (1 − K u) times the sum of the magnitudes of its terms. This
holds in any order of summation, with or without fused operations (Higham, Accuracy and Stability of Numerical
Algorithms, §3.1). Let g = 1.01 (K + 8) u. Two components are appended to each query: 1 and |q|. Two components are
appended to each item: −(1 − g) |x|²/2 and g |x|. The appended components are rounded up. The exact product of query and
item is then at least s + g (|q||x| + |x|²/2). The computed product is called the score. The rounding error of the score
is smaller than g (|q||x| + |x|²/2). Therefore the score is at least s and at most s + 2.5 g (|q||x| + |x|²/2). A
distance is measured only if these bounds do not decide whether the pair can change the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt64Array
from reprise.lib.detect import compiled_search
from reprise.lib.detect.compiled_search import ROUNDING_ERROR, UNDERFLOW_ERROR

ID_BYTES = 24
MAX_NORM = 1e18  # the norm of a vector must be less than this, because products could overflow in float32
NO_GROUP = -1

_TILE = 1024  # number of queries and number of items in a tile; the 4 MiB of scores fit in the CPU cache

Ids = Sequence[str] | NDArray[np.bytes_]


@dataclass(frozen=True)
class Matches:
    """The nearest items of each query, sorted by distance and then by identifier.

    Parameters
    ----------
    ids
        (Q, k) ``S24``: identifiers of the items; empty strings after the last match.
    distances
        (Q, k) float64: Euclidean distances; inf after the last match.
    counts
        (Q,) int64: number of matches of each query, at most k.
    """

    ids: NDArray[np.bytes_]
    distances: Float64Array
    counts: Int64Array


class TopK:
    """Find the k nearest items of a streamed gallery for each of Q queries, as exactly as a brute-force search.

    Items that have the identifier or the group of the query are excluded. Add the gallery in blocks of any size, in any
    order. Add each item only once. Memory use depends only on Q, k and d, the number of components of a vector.

    Parameters
    ----------
    queries
        (Q, d) float32. The norm of each row must be less than `MAX_NORM`.
    query_ids
        (Q,) str or bytes of at most `ID_BYTES` ASCII characters.
    query_groups
        (Q,) int64: the group of known duplicates of each query; `NO_GROUP` for a query without duplicates.
    k
        Number of matches per query.

    Raises
    ------
    ValueError
        ``k`` is less than 1, the vectors are not float32 of shape (Q, d) with d > 0, a vector is not finite or its norm
        is too large, an identifier is too long or not ASCII, or the lengths of the arrays differ.
    """

    def __init__(self, queries: Float32Array, query_ids: Ids, query_groups: Int64Array, k: int) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self._bounds = _QueryBounds(queries, query_ids, query_groups)
        count = len(queries)
        # start at the smallest finite float32: excluded items have the score -inf and stay below it
        self._min_scores = np.full(count, np.finfo(np.float32).min, np.float32)
        self._distances = np.full((count, k), np.inf)
        self._words = np.zeros((count, k, 3), np.uint64)
        self._counts = np.zeros(count, np.int64)

    def add(self, vectors: Float32Array, ids: Ids, groups: Int64Array) -> None:
        """Add a block of the gallery: vectors (n, d) float32, identifiers (n,), groups (n,) int64.

        If the block is not valid, a ValueError is raised as in the constructor, and nothing is added.
        """
        for rows, scores, block, words, max_norm in self._bounds.score(vectors, ids, groups):
            compiled_search.keep_nearest(
                scores,
                self._bounds.queries[rows],
                self._bounds.squared_norms[rows],
                block,
                words,
                max_norm,
                self._bounds.error,
                self._min_scores[rows],
                self._distances[rows],
                self._words[rows],
                self._counts[rows],
            )

    def matches(self) -> Matches:
        """Return the nearest items among the blocks added so far."""
        words = self._words
        order = np.lexsort((words[:, :, 2], words[:, :, 1], words[:, :, 0], self._distances), axis=-1)
        words = np.take_along_axis(words, order[:, :, None], axis=1)
        return Matches(
            ids=words.astype(">u8").view(f"S{ID_BYTES}")[:, :, 0],
            distances=np.take_along_axis(self._distances, order, axis=1),
            counts=self._counts.copy(),
        )


class MateRanks:
    """For given items (mates), count the items of a streamed gallery that rank before each mate.

    The ranking of a query is that of `TopK` without the limit k. The full ranking is not kept. Items that have the
    identifier or the group of the query are excluded. The rank of a mate is 1 + its count. If the gallery is divided
    among several `MateRanks` objects, add up their counts.

    Parameters
    ----------
    queries, query_ids, query_groups
        As in `TopK`.
    mate_queries
        (P,) int64: for each mate, the row of its query in ``queries``.
    mate_ids
        (P,) str or bytes: the identifier of each mate.
    mate_distances
        (P,) float64: the distance of each mate to its query, from `measure_distances`.

    Attributes
    ----------
    counts
        (P,) int64: number of items added so far that rank strictly before the mate, by distance and identifier.

    Raises
    ------
    ValueError
        As for `TopK`. In addition: an element of ``mate_queries`` is not a row of ``queries``, or a distance is
        negative or not finite.
    """

    def __init__(
        self,
        queries: Float32Array,
        query_ids: Ids,
        query_groups: Int64Array,
        mate_queries: Int64Array,
        mate_ids: Ids,
        mate_distances: Float64Array,
    ) -> None:
        self._bounds = _QueryBounds(queries, query_ids, query_groups)
        owners = np.asarray(mate_queries, np.int64)
        distances = np.ascontiguousarray(mate_distances, np.float64)
        words = _as_words(_as_ids(mate_ids))
        if not len(owners) == len(distances) == len(words):
            raise ValueError(
                "mate_queries, mate_ids and mate_distances must have the same length, "
                f"got {len(owners)}, {len(words)} and {len(distances)}"
            )
        if len(owners) and (owners.min() < 0 or owners.max() >= len(queries)):
            raise ValueError(f"mate_queries must hold row numbers of queries: 0 or more, and less than {len(queries)}")
        if not np.isfinite(distances).all() or (distances < 0).any():
            raise ValueError("mate_distances contains a distance that is negative or not finite")
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], np.arange(len(queries) + 1))
        self._distances, self._words = distances[self._order], words[self._order]
        self._sorted_counts = np.zeros(len(owners), np.int64)

    @property
    def counts(self) -> Int64Array:
        """(P,) int64: number of items added so far that rank strictly before the mate."""
        counts = np.empty_like(self._sorted_counts)
        counts[self._order] = self._sorted_counts
        return counts

    def add(self, vectors: Float32Array, ids: Ids, groups: Int64Array) -> None:
        """Add a block of the gallery, as in `TopK.add`."""
        for rows, scores, block, words, max_norm in self._bounds.score(vectors, ids, groups):
            compiled_search.count_nearer(
                scores,
                self._bounds.queries[rows],
                self._bounds.squared_norms[rows],
                block,
                words,
                max_norm,
                self._bounds.error,
                self._starts[rows.start : rows.stop + 1],
                self._distances,
                self._words,
                self._sorted_counts,
            )


def measure_distances(queries: Float32Array, vectors: Float32Array) -> Float64Array:
    """Return the Euclidean distance of each query to the vector in the same row: (n,) float64.

    Both arguments are float32 (n, d). The search uses this distance: the square root of the sum of squared differences,
    computed in float64. The sum is computed pairwise. While m > 1 terms are left, term h + i is added to term i for
    every i < m − h, with h = ⌈m/2⌉. The fixed order gives equal results, and therefore equal ties, on every worker.

    Raises
    ------
    ValueError
        The shapes of the arrays differ, or the vectors are refused as in `TopK`.
    """
    if queries.shape != vectors.shape:
        raise ValueError(f"the shapes of queries and vectors differ: {queries.shape} and {vectors.shape}")
    distances: Float64Array = compiled_search.measure_rows(_check_vectors(queries)[0], _check_vectors(vectors)[0])
    return distances


class _QueryBounds:
    """Queries and their excluded items. `score` computes upper bounds of s, as defined in the module docstring."""

    def __init__(self, queries: Float32Array, ids: Ids, groups: Int64Array) -> None:
        queries, self.squared_norms = _check_vectors(queries)
        names, groups = _check_labels(len(queries), ids, groups)
        width = queries.shape[1]
        self.queries = queries
        self.error = 1.01 * (width + 10) * 2.0**-24
        self._left = np.empty((len(queries), width + 2), np.float32)
        self._left[:, :width] = queries
        self._left[:, width] = 1
        self._left[:, width + 1] = _round_up(np.sqrt(self.squared_norms * (1 + ROUNDING_ERROR)))
        self._right = np.empty((_TILE, width + 2), np.float32)
        self._scores = np.empty(_TILE * min(_TILE, max(len(queries), 1)), np.float32)
        self._by_id = _RowsByKey(names, np.ones(len(names), np.bool_))
        self._by_group = _RowsByKey(groups, groups != NO_GROUP)

    def score(
        self, vectors: Float32Array, ids: Ids, groups: Int64Array
    ) -> Iterator[tuple[slice, Float32Array, Float32Array, UInt64Array, float]]:
        """Yield the scores in tiles of queries × items.

        A tile is a tuple: the slice of the query rows, the scores (−inf for excluded items), the vectors of the items,
        the identifiers of the items as words, and an upper bound of the norms of these vectors.
        """
        vectors, squared_norms = _check_vectors(vectors)
        names, groups = _check_labels(len(vectors), ids, groups)
        width = self.queries.shape[1]
        if vectors.shape[1] != width:
            raise ValueError(
                f"vectors must have as many components as queries: expected {width}, got {vectors.shape[1]}"
            )
        words = _as_words(names)
        same_id, same_group = self._by_id.find(names), self._by_group.find(groups)
        for first in range(0, len(vectors), _TILE):
            items = slice(first, min(first + _TILE, len(vectors)))
            half = squared_norms[items] / 2
            norms = np.sqrt(squared_norms[items] * (1 + ROUNDING_ERROR))
            right = self._right[: len(half)]
            right[:, :width] = vectors[items]
            right[:, width] = _round_up(-half * (1 - self.error) + UNDERFLOW_ERROR / 4)
            right[:, width + 1] = _round_up(self.error * norms)
            for top in range(0, len(self.queries), _TILE):
                rows = slice(top, min(top + _TILE, len(self.queries)))
                left = self._left[rows]
                scores = self._scores[: len(left) * len(right)].reshape(len(left), len(right))
                np.dot(left, right.T, out=scores)
                self._by_id.exclude(scores, top, same_id[items])
                self._by_group.exclude(scores, top, same_group[items])
                yield rows, scores, vectors[items], words[items], float(norms.max())


class _RowsByKey:
    """Query rows by key. A key is an identifier or a group. Only queries with ``used`` True are included."""

    def __init__(self, keys: NDArray[np.generic], used: BoolArray) -> None:
        rows = np.flatnonzero(used)
        self._keys, codes = np.unique(keys[rows], return_inverse=True)
        self._rows = rows[np.argsort(codes, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(self._keys)))])

    def find(self, keys: NDArray[np.generic]) -> Int64Array:
        """Return the index of each key among the distinct keys of the queries, or −1 if no query has the key."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        numbers = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[numbers] == keys, numbers, -1)

    def exclude(self, scores: Float32Array, top: int, numbers: Int64Array) -> None:
        """Set the score to −inf where query and item have the same key.

        ``scores`` has shape (queries, items). Its row 0 belongs to the query in row ``top`` of the queries. ``numbers``
        (items,) holds the result of `find` for the keys of the items.
        """
        columns = np.flatnonzero(numbers >= 0)
        if len(columns):
            compiled_search.exclude(scores, top, columns, numbers[columns], self._starts, self._rows)


def _check_vectors(vectors: Float32Array) -> tuple[Float32Array, Float64Array]:
    """Return the vectors as a C-contiguous float32 array, and the squared norm of each vector."""
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype != np.float32:
        raise ValueError(f"vectors must be (n, d) float32 with d > 0, got {vectors.shape} {vectors.dtype}")
    vectors = np.ascontiguousarray(vectors)
    squared_norms = compiled_search.compute_squared_norms(vectors)
    if not (squared_norms < MAX_NORM**2).all():
        raise ValueError(f"a vector is not finite, or its norm is not less than {MAX_NORM:g}")
    return vectors, squared_norms


def _check_labels(count: int, ids: Ids, groups: Int64Array) -> tuple[NDArray[np.bytes_], Int64Array]:
    names, groups = _as_ids(ids), np.asarray(groups, np.int64)
    if not count == len(names) == len(groups):
        raise ValueError(
            f"vectors, identifiers and groups must have the same length, got {count}, {len(names)} and {len(groups)}"
        )
    return names, groups


def _as_ids(ids: Ids) -> NDArray[np.bytes_]:
    names = np.asarray(ids, dtype=None if len(ids) else "S")
    if names.dtype.kind == "U":
        names = np.char.encode(names, "ascii")
    if names.dtype.kind != "S" or names.dtype.itemsize > ID_BYTES:
        raise ValueError(f"identifiers must be strings of at most {ID_BYTES} ASCII characters")
    return names.astype(f"S{ID_BYTES}")


def _as_words(names: NDArray[np.bytes_]) -> UInt64Array:
    """Return ``S24`` identifiers as uint64 words, shape (n, 3), with the same sort order."""
    return np.ascontiguousarray(names).view(">u8").reshape(-1, 3).astype(np.uint64)


def _round_up(values: Float64Array) -> Float32Array:
    """Round up to float32. A result is at least the value v, and exceeds it by at most 2⁻²² |v| + 2⁻¹⁴⁸."""
    return (values + np.abs(values) * 2.0**-23 + 2.0**-149).astype(np.float32)
