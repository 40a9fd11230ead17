"""Exact nearest neighbours and exact ranks of many queries in a gallery that is streamed in blocks of any size.

The distance of two vectors is defined once, by `measure_distances`, in float64; float32 matrix products only decide
which pairs cannot matter. Ties go by identifier, so what comes out does not depend on blocks, order or workers.

How the products decide, without error: |q − x|² = |q|² − 2 s with s = q·x − |x|²/2, so a near item has a large s. With
u = 2⁻²⁴ and K = d + 2, a float32 inner product of length K is off by at most γ = K u / (1 − K u) times the sum of the
terms' magnitudes, in whatever order and with or without fused operations (Higham, Accuracy and Stability of Numerical
Algorithms, §3.1). With g = 1.01 (K + 8) u, each query gets two more components, 1 and |q|, and each item
−(1 − g) |x|²/2 and g |x|, all rounded up. The product then holds s + g (|q||x| + |x|²/2) at least, and rounding takes
off less than that: it is never below s. Nor is it above s by more than 2.5 g (|q||x| + |x|²/2). Only pairs that such
bounds cannot settle are measured.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt64Array
from reprise.lib.detect import compiled_search as search_kernels
from reprise.lib.detect.compiled_search import LOST, ROUNDING

ID_BYTES = 24
LONGEST = 1e18  # of a vector: above it float32 products may overflow
NO_GROUP = -1

_TILE = 1024  # rows and columns of a product; its 4 MiB of scores are read again while still in the cache

Ids = Sequence[str] | NDArray[np.bytes_]


@dataclass(frozen=True)
class Matches:
    """The nearest items of each query, by distance and then identifier.

    Parameters
    ----------
    ids
        (Q, k) ``S24``; empty after the last match.
    distances
        (Q, k) float64, Euclidean; inf after the last match.
    counts
        (Q,) int64: matches of each query, at most k.
    """

    ids: NDArray[np.bytes_]
    distances: Float64Array
    counts: Int64Array


class TopK:
    """The k nearest of a streamed gallery for each of Q queries, as brute force would find them.

    A query's own identifier and its whole group are left out. The gallery may come in any blocks and order; every item
    must come once. Memory depends on Q, k and d.

    Parameters
    ----------
    queries
        (Q, d) float32, each shorter than `LONGEST`.
    query_ids
        (Q,) str or bytes of at most `ID_BYTES` ASCII characters.
    query_groups
        (Q,) int64, sets of known duplicates; `NO_GROUP` where there are none.
    k
        Matches wanted a query.

    Raises
    ------
    ValueError
        For k < 1, vectors that are not finite or too long, long identifiers, or lengths that differ.
    """

    def __init__(self, queries: Float32Array, query_ids: Ids, query_groups: Int64Array, k: int) -> None:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        self._bounds = _Bounds(queries, query_ids, query_groups)
        count = len(queries)
        # above any finite limit stays only what is not left out, so the first k items all pass
        self._limits = np.full(count, np.finfo(np.float32).min, np.float32)
        self._distances = np.full((count, k), np.inf)
        self._words = np.zeros((count, k, 3), np.uint64)
        self._counts = np.zeros(count, np.int64)

    def add(self, vectors: Float32Array, ids: Ids, groups: Int64Array) -> None:
        """Take a block of the gallery: vectors (n, d) float32, identifiers (n,), groups (n,) int64."""
        for rows, scores, block, words, longest in self._bounds.score(vectors, ids, groups):
            search_kernels.keep_nearest(
                scores,
                self._bounds.queries[rows],
                self._bounds.squared_norms[rows],
                block,
                words,
                longest,
                self._bounds.error,
                self._limits[rows],
                self._distances[rows],
                self._words[rows],
                self._counts[rows],
            )

    def matches(self) -> Matches:
        """What was found so far."""
        words = self._words
        order = np.lexsort((words[:, :, 2], words[:, :, 1], words[:, :, 0], self._distances), axis=-1)
        words = np.take_along_axis(words, order[:, :, None], axis=1)
        return Matches(
            ids=words.astype(">u8").view(f"S{ID_BYTES}")[:, :, 0],
            distances=np.take_along_axis(self._distances, order, axis=1),
            counts=self._counts.copy(),
        )


class MateRanks:
    """How many items of a streamed gallery come before given items of the full ranking, which is never kept.

    The ranking of a query is that of `TopK` with k = N: its own identifier and group are left out. A mate's rank is
    1 + its count. Counts of several objects that saw parts of the gallery are added.

    Parameters
    ----------
    queries, query_ids, query_groups
        As in `TopK`.
    mate_queries
        (P,) int64: the row of the query that each mate belongs to.
    mate_ids
        (P,) identifiers of the mates.
    mate_distances
        (P,) float64 from `measure_distances` of query and mate.

    Attributes
    ----------
    counts
        (P,) int64: items seen so far that come strictly before the mate by distance and identifier.

    Raises
    ------
    ValueError
        As in `TopK`, and for mates of no query or distances that are not finite.
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
        self._bounds = _Bounds(queries, query_ids, query_groups)
        owners = np.asarray(mate_queries, np.int64)
        distances = np.ascontiguousarray(mate_distances, np.float64)
        words = _as_words(_as_ids(mate_ids))
        if not len(owners) == len(distances) == len(words):
            raise ValueError("mates' queries, identifiers and distances differ in length")
        if len(owners) and (owners.min() < 0 or owners.max() >= len(queries)):
            raise ValueError("a mate belongs to no query")
        if not np.isfinite(distances).all() or (distances < 0).any():
            raise ValueError("a mate's distance is negative or not finite")
        self._order = np.argsort(owners, kind="stable")
        self._starts = np.searchsorted(owners[self._order], np.arange(len(queries) + 1))
        self._distances, self._words = distances[self._order], words[self._order]
        self._sorted_counts = np.zeros(len(owners), np.int64)

    @property
    def counts(self) -> Int64Array:
        """(P,) int64: items seen so far that come strictly before each mate."""
        counts = np.empty_like(self._sorted_counts)
        counts[self._order] = self._sorted_counts
        return counts

    def add(self, vectors: Float32Array, ids: Ids, groups: Int64Array) -> None:
        """Take a block of the gallery, as `TopK.add`."""
        for rows, scores, block, words, longest in self._bounds.score(vectors, ids, groups):
            search_kernels.count_nearer(
                scores,
                self._bounds.queries[rows],
                self._bounds.squared_norms[rows],
                block,
                words,
                longest,
                self._bounds.error,
                self._starts[rows.start : rows.stop + 1],
                self._distances,
                self._words,
                self._sorted_counts,
            )


def measure_distances(queries: Float32Array, vectors: Float32Array) -> Float64Array:
    """Euclidean distances of corresponding rows, (n, d) and (n, d) float32, as (n,) float64: the one that is searched.

    The square root of the sum of the squared differences, all in float64, added by halving: while there are n > 1
    terms and h = ⌈n/2⌉, term h + i is added to term i. The order is fixed so that every worker finds the same ties.
    """
    if queries.shape != vectors.shape:
        raise ValueError(f"shapes {queries.shape} and {vectors.shape} differ")
    distances: Float64Array = search_kernels.measure_rows(_check_vectors(queries)[0], _check_vectors(vectors)[0])
    return distances


class _Bounds:
    """Queries made ready for products that bound s from above (see the module's text), and what each leaves out."""

    def __init__(self, queries: Float32Array, ids: Ids, groups: Int64Array) -> None:
        queries, self.squared_norms = _check_vectors(queries)
        names, groups = _check_labels(len(queries), ids, groups)
        width = queries.shape[1]
        self.queries = queries
        self.error = 1.01 * (width + 10) * 2.0**-24
        self._left = np.empty((len(queries), width + 2), np.float32)
        self._left[:, :width] = queries
        self._left[:, width] = 1
        self._left[:, width + 1] = _round_up(np.sqrt(self.squared_norms * (1 + ROUNDING)))
        self._right = np.empty((_TILE, width + 2), np.float32)
        self._scores = np.empty(_TILE * min(_TILE, max(len(queries), 1)), np.float32)
        self._by_id = _Members(names, np.ones(len(names), np.bool_))
        self._by_group = _Members(groups, groups != NO_GROUP)

    def score(
        self, vectors: Float32Array, ids: Ids, groups: Int64Array
    ) -> Iterator[tuple[slice, Float32Array, Float32Array, UInt64Array, float]]:
        """Tiles of queries × items: query rows, scores (-inf where left out), vectors, ids' words, longest vector."""
        vectors, squared_norms = _check_vectors(vectors)
        names, groups = _check_labels(len(vectors), ids, groups)
        width = self.queries.shape[1]
        if vectors.shape[1] != width:
            raise ValueError(f"vectors have {vectors.shape[1]} components, queries {width}")
        words = _as_words(names)
        same_id, same_group = self._by_id.find(names), self._by_group.find(groups)
        for first in range(0, len(vectors), _TILE):
            items = slice(first, min(first + _TILE, len(vectors)))
            half = squared_norms[items] / 2
            norms = np.sqrt(squared_norms[items] * (1 + ROUNDING))
            right = self._right[: len(half)]
            right[:, :width] = vectors[items]
            right[:, width] = _round_up(-half * (1 - self.error) + LOST / 4)
            right[:, width + 1] = _round_up(self.error * norms)
            for top in range(0, len(self.queries), _TILE):
                rows = slice(top, min(top + _TILE, len(self.queries)))
                left = self._left[rows]
                scores = self._scores[: len(left) * len(right)].reshape(len(left), len(right))
                np.dot(left, right.T, out=scores)
                self._by_id.leave_out(scores, top, same_id[items])
                self._by_group.leave_out(scores, top, same_group[items])
                yield rows, scores, vectors[items], words[items], float(norms.max())


class _Members:
    """Which queries have a given key, for those rows of ``keys`` that are ``used``."""

    def __init__(self, keys: NDArray[np.generic], used: BoolArray) -> None:
        rows = np.flatnonzero(used)
        self._keys, codes = np.unique(keys[rows], return_inverse=True)
        self._rows = rows[np.argsort(codes, kind="stable")]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(self._keys)))])

    def find(self, keys: NDArray[np.generic]) -> Int64Array:
        """Place of each key, −1 for a key of no query."""
        if not len(self._keys):
            return np.full(len(keys), -1)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, places, -1)

    def leave_out(self, scores: Float32Array, top: int, places: Int64Array) -> None:
        """Set to −inf the scores of the queries from row ``top`` on that have their item's key."""
        columns = np.flatnonzero(places >= 0)
        if len(columns):
            search_kernels.leave_out(scores, top, columns, places[columns], self._starts, self._rows)


def _check_vectors(vectors: Float32Array) -> tuple[Float32Array, Float64Array]:
    """The vectors, row after row in memory, and their squared lengths."""
    if vectors.ndim != 2 or not vectors.shape[1] or vectors.dtype != np.float32:
        raise ValueError(f"vectors must be (n, d) float32 with d > 0, not {vectors.shape} {vectors.dtype}")
    vectors = np.ascontiguousarray(vectors)
    squared_norms = search_kernels.square_norms(vectors)
    if not (squared_norms < LONGEST**2).all():
        raise ValueError(f"a vector is not finite, or longer than {LONGEST:g}")
    return vectors, squared_norms


def _check_labels(count: int, ids: Ids, groups: Int64Array) -> tuple[NDArray[np.bytes_], Int64Array]:
    names, groups = _as_ids(ids), np.asarray(groups, np.int64)
    if not count == len(names) == len(groups):
        raise ValueError(f"{count} vectors, {len(names)} identifiers and {len(groups)} groups")
    return names, groups


def _as_ids(ids: Ids) -> NDArray[np.bytes_]:
    names = np.asarray(ids, dtype=None if len(ids) else "S")
    if names.dtype.kind == "U":
        names = np.char.encode(names, "ascii")
    if names.dtype.kind != "S" or names.dtype.itemsize > ID_BYTES:
        raise ValueError(f"identifiers must be strings of at most {ID_BYTES} characters")
    return names.astype(f"S{ID_BYTES}")


def _as_words(names: NDArray[np.bytes_]) -> UInt64Array:
    """(n, 3) numbers that sort as the ``S24`` identifiers do as bytes."""
    return np.ascontiguousarray(names).view(">u8").reshape(-1, 3).astype(np.uint64)


def _round_up(values: Float64Array) -> Float32Array:
    """Float32 at or above the values, by at most 2⁻²² of them."""
    return (values + np.abs(values) * 2.0**-23 + 2.0**-149).astype(np.float32)
