"""Loops of `reprise.lib.detect.search`, compiled with numba.

The docstring of that module defines s, g and the score, and proves the bounds.
"""

import numpy as np
from numba import njit

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array, UInt64Array

STRIP = 64  # number of scores compared with a threshold at once; most strips are then skipped as a whole
UNDERFLOW_ERROR = 2.0**-100
"""Upper bound of the underflow error of float32 inner products with up to 10⁶ components."""
ROUNDING_ERROR = 1e-12
"""Upper bound of the relative error of a squared distance or squared norm in float64."""


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def compute_squared_norms(vectors: Float32Array) -> Float64Array:
    """Return the squared norm of each row of ``vectors`` (n, d): (n,) float64.

    The result is NaN or inf for a row that contains NaN or inf.
    """
    norms = np.empty(len(vectors))
    for row in range(len(vectors)):
        total = 0.0
        for column in range(vectors.shape[1]):
            value = np.float64(vectors[row, column])
            total += value * value
        norms[row] = total
    return norms


@njit(cache=True, nogil=True)
def measure_pair(a: Float32Array, b: Float32Array, terms: Float64Array) -> float:
    """Return the distance of one pair of vectors, as in `search.measure_distances`. ``terms`` is a buffer (d,)."""
    # a plain loop is four times slower; with fastmath, the order of summation would depend on the processor
    count = len(a)
    for i in range(count):
        difference = np.float64(a[i]) - np.float64(b[i])
        terms[i] = difference * difference
    while count > 1:
        half = (count + 1) // 2
        for i in range(count - half):
            terms[i] += terms[i + half]
        count = half
    return float(np.sqrt(terms[0]))


@njit(cache=True, nogil=True)
def measure_rows(a: Float32Array, b: Float32Array) -> Float64Array:
    """Return the distances of corresponding rows of ``a`` (n, d) and ``b`` (n, d): (n,) float64."""
    distances = np.empty(len(a))
    terms = np.empty(a.shape[1])
    for row in range(len(a)):
        distances[row] = measure_pair(a[row], b[row], terms)
    return distances


@njit(cache=True, nogil=True)
def exclude(
    scores: Float32Array,
    top: int,
    columns: Int64Array,
    keys: Int64Array,
    starts: Int64Array,
    rows: Int64Array,
) -> None:
    """Set the scores of excluded pairs to −inf, in place.

    ``scores`` has shape (queries, items). Its row 0 belongs to the query in row ``top`` of the queries. For each n,
    with k = ``keys[n]``, the item in column ``columns[n]`` is excluded for the queries
    ``rows[starts[k]:starts[k + 1]]``.
    """
    for n in range(len(columns)):
        for row in rows[starts[keys[n]] : starts[keys[n] + 1]]:
            if top <= row < top + len(scores):
                scores[row - top, columns[n]] = -np.inf


@njit(cache=True, nogil=True)
def _count_at_least(scores: Float32Array, min_score: np.float32) -> int:
    """Return the number of scores that are at least ``min_score``."""
    count = 0
    for n in range(len(scores)):  # loop over indices: a loop over values is not compiled to vector instructions
        count += scores[n] >= min_score
    return count


@njit(cache=True, nogil=True)
def _comes_before(d: float, words: UInt64Array, e: float, others: UInt64Array) -> bool:
    """Return True if the item with distance ``d`` ranks before the item with distance ``e``.

    Ties are broken by the identifiers: ``words`` belongs to ``d``, and ``others`` belongs to ``e``.
    """
    if d != e:
        return d < e
    for n in range(3):
        if words[n] != others[n]:
            return bool(words[n] < others[n])
    return False


@njit(cache=True, nogil=True)
def _push(d: float, item: UInt64Array, distances: Float64Array, words: UInt64Array, count: int) -> int:
    """Push an item onto the heap of one query, and return the new size of the heap.

    The top of the heap is the match that ranks last.
    """
    k = len(distances)
    if count < k:
        at = count
        count += 1
        while at and _comes_before(distances[(at - 1) // 2], words[(at - 1) // 2], d, item):
            above = (at - 1) // 2
            distances[at] = distances[above]
            words[at] = words[above]
            at = above
    elif _comes_before(d, item, distances[0], words[0]):
        at = 0
        while 2 * at + 1 < k:
            below = 2 * at + 1
            if below + 1 < k and _comes_before(distances[below], words[below], distances[below + 1], words[below + 1]):
                below += 1
            if not _comes_before(d, item, distances[below], words[below]):
                break
            distances[at] = distances[below]
            words[at] = words[below]
            at = below
    else:
        return count
    distances[at] = d
    words[at] = item
    return count


@njit(cache=True, nogil=True)
def _min_score(squared_norm: float, distance: float) -> np.float32:
    """Return a lower bound, in float32, of s over all items whose measured distance is at most ``distance``."""
    s = (squared_norm * (1 - ROUNDING_ERROR) - distance * distance * (1 + ROUNDING_ERROR)) / 2
    return np.float32(s - abs(s) * 2.0**-23 - 2.0**-149)


@njit(cache=True, nogil=True)
def _max_excess(squared_norm: float, max_norm: float, error: float) -> float:
    """Return an upper bound of (score − s), for items with norm at most ``max_norm``.

    The bound includes the float64 error of the measured distances.
    """
    pair = np.sqrt(squared_norm) * max_norm + max_norm * max_norm / 2
    return float(2.5 * error * pair + 4 * ROUNDING_ERROR * (squared_norm + max_norm * max_norm) + UNDERFLOW_ERROR)


@njit(cache=True, nogil=True)
def keep_nearest(
    scores: Float32Array,
    queries: Float32Array,
    squared_norms: Float64Array,
    vectors: Float32Array,
    ids: UInt64Array,
    max_norm: float,
    error: float,
    min_scores: Float32Array,
    distances: Float64Array,
    words: UInt64Array,
    counts: Int64Array,
) -> None:
    """Push the items of a tile onto the heaps of the queries.

    The distance of an item is measured only if its score is at least the query's element of ``min_scores`` (queries,).
    This minimum rises when the query's heap has become full, and when its last match is replaced by a nearer one. If
    the heap is empty and the tile has more than k items, the minimum is first raised to a bound that follows from the
    k-th highest score. The heaps are ``distances`` (queries, k), ``words`` (queries, k, 3) and ``counts`` (queries,).
    They and ``min_scores`` are updated in place. The norm of every vector in the tile is at most ``max_norm``.
    ``error`` is g.
    """
    n = scores.shape[1]
    terms = np.empty(vectors.shape[1])
    k = distances.shape[1]
    for q in range(len(scores)):
        min_score = min_scores[q]
        if counts[q] == 0 and n > k:  # otherwise the distances of all items of the first tile would be measured
            excess = _max_excess(squared_norms[q], max_norm, error)
            s = np.float64(np.partition(scores[q], n - k)[n - k]) - excess
            min_score = max(min_score, np.float32(s - abs(s) * 2.0**-23 - 2.0**-149))
        for start in range(0, n, STRIP):
            stop = min(start + STRIP, n)
            if _count_at_least(scores[q, start:stop], min_score) == 0:
                continue
            for j in range(start, stop):
                if scores[q, j] >= min_score:
                    d = measure_pair(queries[q], vectors[j], terms)
                    counts[q] = _push(d, ids[j], distances[q], words[q], counts[q])
                    if counts[q] == k:
                        min_score = _min_score(squared_norms[q], distances[q, 0])
        min_scores[q] = min_score


@njit(cache=True, nogil=True)
def count_nearer(
    scores: Float32Array,
    queries: Float32Array,
    squared_norms: Float64Array,
    vectors: Float32Array,
    ids: UInt64Array,
    max_norm: float,
    error: float,
    starts: Int64Array,
    distances: Float64Array,
    words: UInt64Array,
    counts: Int64Array,
) -> None:
    """Add to ``counts``, for each mate, the number of items of a tile that rank before the mate.

    The mates of query q have the indices ``starts[q]`` to ``starts[q + 1]`` (exclusive) in ``distances``, ``words`` and
    ``counts``. The norm of every vector in the tile is at most ``max_norm``. ``error`` is g.
    """
    n = scores.shape[1]
    terms = np.empty(vectors.shape[1])
    for q in range(len(scores)):
        excess = _max_excess(squared_norms[q], max_norm, error)
        for mate in range(starts[q], starts[q + 1]):
            squared = distances[mate] * distances[mate]
            possible = _min_score(squared_norms[q], distances[mate])
            s = (squared_norms[q] - squared) / 2 + excess
            certain = np.float32(s + abs(s) * 2.0**-22 + 2.0**-148)
            for start in range(0, n, STRIP):
                stop = min(start + STRIP, n)
                row = scores[q, start:stop]
                n_certain = _count_at_least(row, certain)
                counts[mate] += n_certain
                if _count_at_least(row, possible) == n_certain:
                    continue
                for j in range(start, stop):
                    if possible <= scores[q, j] < certain:
                        d = measure_pair(queries[q], vectors[j], terms)
                        counts[mate] += _comes_before(d, ids[j], distances[mate], words[mate])
