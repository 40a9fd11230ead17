"""The loops of `reprise.lib.detect.search`, compiled: bounds and their proof are in that module's text."""

import numpy as np
from numba import njit

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array, UInt64Array

STRIP = 64  # scores tested at a time
LOST = 2.0**-100  # more than products and sums of 10⁶ components can lose below the smallest normal float32
ROUNDING = 1e-12  # relative, more than a squared distance or length in float64 can be off


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def square_norms(vectors: Float32Array) -> Float64Array:
    """Squared length of each row of (n, d) as (n,) float64; NaN or inf where a component is."""
    norms = np.empty(len(vectors))
    for row in range(len(vectors)):
        total = 0.0
        for column in range(vectors.shape[1]):
            value = np.float64(vectors[row, column])
            total += value * value
        norms[row] = total
    return norms


@njit(cache=True, nogil=True)
def measure(a: Float32Array, b: Float32Array, terms: Float64Array) -> float:
    """Distance of one pair, as `reprise.lib.detect.search.measure_distances` says; ``terms`` has room for (d,)."""
    # an ordinary sum would run four times slower, or in an order that depends on the processor
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
    """Distance of each row of ``a`` (n, d) to that of ``b``: (n,) float64."""
    distances = np.empty(len(a))
    terms = np.empty(a.shape[1])
    for row in range(len(a)):
        distances[row] = measure(a[row], b[row], terms)
    return distances


@njit(cache=True, nogil=True)
def leave_out(
    scores: Float32Array,
    top: int,
    columns: Int64Array,
    places: Int64Array,
    starts: Int64Array,
    rows: Int64Array,
) -> None:
    """Set scores (rows from ``top`` on, items) to −inf: column n for ``rows[starts[p]:starts[p + 1]]``, p its place."""
    for n in range(len(columns)):
        for row in rows[starts[places[n]] : starts[places[n] + 1]]:
            if top <= row < top + len(scores):
                scores[row - top, columns[n]] = -np.inf


@njit(cache=True, nogil=True)
def _count_from(scores: Float32Array, limit: np.float32) -> int:
    """How many scores reach the limit."""
    count = 0
    for n in range(len(scores)):  # without an index it would not be compiled to vector instructions
        count += scores[n] >= limit
    return count


@njit(cache=True, nogil=True)
def _comes_before(d: float, words: UInt64Array, e: float, others: UInt64Array) -> bool:
    if d != e:
        return d < e
    for n in range(3):
        if words[n] != others[n]:
            return bool(words[n] < others[n])
    return False


@njit(cache=True, nogil=True)
def _push(d: float, item: UInt64Array, distances: Float64Array, words: UInt64Array, count: int) -> int:
    """Put an item into one query's heap, the last match on top; its new size."""
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
def _lower_limit(squared_norm: float, distance: float) -> np.float32:
    """Float32 at or below s of every item that may be measured as no further than ``distance``."""
    s = (squared_norm * (1 - ROUNDING) - distance * distance * (1 + ROUNDING)) / 2
    return np.float32(s - abs(s) * 2.0**-23 - 2.0**-149)


@njit(cache=True, nogil=True)
def _excess(squared_norm: float, longest: float, error: float) -> float:
    """More than a score can be above s, and than measuring in float64 can be off, for items up to ``longest``."""
    pair = np.sqrt(squared_norm) * longest + longest * longest / 2
    return float(2.5 * error * pair + 4 * ROUNDING * (squared_norm + longest * longest) + LOST)


@njit(cache=True, nogil=True)
def keep_nearest(
    scores: Float32Array,
    queries: Float32Array,
    squared_norms: Float64Array,
    vectors: Float32Array,
    ids: UInt64Array,
    longest: float,
    error: float,
    limits: Float32Array,
    distances: Float64Array,
    words: UInt64Array,
    counts: Int64Array,
) -> None:
    """Push a tile's items into the queries' heaps; ``limits`` follow each heap's last match.

    ``longest`` is the greatest length of the tile's vectors, ``error`` the g of the search module's text.
    """
    n = scores.shape[1]
    terms = np.empty(vectors.shape[1])
    k = distances.shape[1]
    for q in range(len(scores)):
        limit = limits[q]
        if counts[q] == 0 and n > k:  # else all of a first tile would be measured
            above = _excess(squared_norms[q], longest, error)
            s = np.float64(np.partition(scores[q], n - k)[n - k]) - above
            limit = max(limit, np.float32(s - abs(s) * 2.0**-23 - 2.0**-149))
        for start in range(0, n, STRIP):
            stop = min(start + STRIP, n)
            if _count_from(scores[q, start:stop], limit) == 0:
                continue
            for j in range(start, stop):
                if scores[q, j] >= limit:
                    d = measure(queries[q], vectors[j], terms)
                    counts[q] = _push(d, ids[j], distances[q], words[q], counts[q])
                    if counts[q] == k:
                        limit = _lower_limit(squared_norms[q], distances[q, 0])
        limits[q] = limit


@njit(cache=True, nogil=True)
def count_nearer(
    scores: Float32Array,
    queries: Float32Array,
    squared_norms: Float64Array,
    vectors: Float32Array,
    ids: UInt64Array,
    longest: float,
    error: float,
    starts: Int64Array,
    distances: Float64Array,
    words: UInt64Array,
    counts: Int64Array,
) -> None:
    """Add to ``counts`` the tile's items that come before each mate; query q's are ``starts[q]:starts[q + 1]``.

    ``longest`` is the greatest length of the tile's vectors, ``error`` the g of the search module's text.
    """
    n = scores.shape[1]
    terms = np.empty(vectors.shape[1])
    for q in range(len(scores)):
        above = _excess(squared_norms[q], longest, error)
        for mate in range(starts[q], starts[q + 1]):
            squared = distances[mate] * distances[mate]
            possible = _lower_limit(squared_norms[q], distances[mate])
            s = (squared_norms[q] - squared) / 2 + above
            certain = np.float32(s + abs(s) * 2.0**-22 + 2.0**-148)
            for start in range(0, n, STRIP):
                stop = min(start + STRIP, n)
                row = scores[q, start:stop]
                sure = _count_from(row, certain)
                counts[mate] += sure
                if _count_from(row, possible) == sure:
                    continue
                for j in range(start, stop):
                    if possible <= scores[q, j] < certain:
                        d = measure(queries[q], vectors[j], terms)
                        counts[mate] += _comes_before(d, ids[j], distances[mate], words[mate])
