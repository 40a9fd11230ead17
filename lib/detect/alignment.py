"""How alike two beat chromas are when aligned: dynamic time warping, Qmax and SiMPle, for reranking cover candidates.

All three look at the same cross-similarity: mean cosine of two windows of beats. Before that each column is freed of
its mean (what drums and noise put into every pitch class) and each track of its mean column (what any two tracks in one
key share). That matrix also decides on the transposition, and on whether one of the two was beaten at half the other's
rate: of the likeliest transpositions at three rates the most similar ones are aligned, and the best alignment counts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from reprise.lib.arrays import BoolArray, Float32Array, Int32Array
from reprise.lib.detect.transposition import optimal_transposition, rank_transpositions

TRANSPOSITIONS = 2  # of the transpositions ranked, so many are tried
ALIGNED = 2  # of the pairings of transposition and rate, so many are aligned
RATES = ((1, 1), (2, 1), (1, 2))  # beats pooled into one, of the query and of the candidate

DTW_WINDOW = 20  # beats
DTW_EXCERPT = 80  # beats
QMAX_WINDOW = 14  # m of the paper; its tau is one beat
QMAX_NEIGHBOURS = 0.05  # kappa; 0.1 in the paper, whose ROC area on composed covers is 0.02 lower
QMAX_ONSET, QMAX_EXTENSION = 5.0, 0.5  # gamma_o and gamma_e
SIMPLE_WINDOW = 30  # beats
FARTHEST_COSINE, FARTHEST_QMAX = 2.0, 100.0


@dataclass(frozen=True)
class Alignment:
    """How a candidate lies along a query.

    Attributes
    ----------
    distance
        The smaller the more alike; finite, 0 or more; distances of different measures do not compare.
    transposition
        Semitones, 0..11, that the candidate sounds above the query.
    tempo_ratio
        Beats of the candidate for one of the query along the path; finite, more than 0; 1 without a path.
    path
        int32 (n, 2): beats of the query, ascending, and of the candidate that belong together.
    """

    distance: float
    transposition: int
    tempo_ratio: float
    path: Int32Array


@dataclass(frozen=True)
class _Pairing:
    """Similarity of every window of the query with every window of the candidate, at one transposition and rate."""

    similarity: Float32Array
    likeness: float
    transposition: int
    pooled: tuple[int, int]


_Measured = tuple[float, float, Int32Array]  # distance, slope and path in windows of one pairing


def align_dtw(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by dynamic time warping: each excerpt of the query where it fits the candidate best.

    The query is cut into excerpts of about 80 beats, since versions leave out, repeat and move sections. Each is found
    in the candidate by subsequence DTW (Müller, Information Retrieval for Music and Motion, 2007, ch. 4), with steps
    (1, 1), (2, 1) and (1, 2), a step's cost counting once for every beat of the query. The distance, 0..2, is the mean
    over excerpts of the cost (one minus the similarity of 20-beat windows) per beat.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path is that of all excerpts, one after another. With fewer than 21 beats in either: distance 2, no path.
    """
    return _best(query, candidate, DTW_WINDOW, _measure_dtw, FARTHEST_COSINE)


def align_qmax(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by Qmax, the longest gapped run of a cross-recurrence plot (Serrà, Serra & Andrzejak 2009).

    Two beats recur when the windows of 14 beats they begin are among each other's nearest, at most a twentieth of all
    (ties at the limit are out). A gap costs 5 when it opens and 0.5 for each further beat. The distance is
    sqrt(N) / Qmax, N the candidate's windows at the rate aligned, and at most 100.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path is the run itself. With fewer than 15 beats in either, or nothing recurrent: distance 100, no path.
    """
    return _best(query, candidate, QMAX_WINDOW, _measure_qmax, FARTHEST_QMAX)


def align_simple(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by SiMPle, the similarity matrix profile (Silva, Yeh, Batista & Keogh 2016).

    The profile holds, for each window of 30 beats of the query, its distance to the nearest window of the candidate:
    one minus the mean cosine, which grows with the Euclidean distance of the paper as columns have length 1. The
    distance, 0..2, is the profile's median.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path joins each window to its nearest. With fewer than 31 beats in either: distance 2, no path.
    """
    return _best(query, candidate, SIMPLE_WINDOW, _measure_simple, FARTHEST_COSINE)


RERANKERS: Mapping[str, Callable[[Float32Array, Float32Array], Alignment]] = {
    "dtw": align_dtw,
    "qmax": align_qmax,
    "simple": align_simple,
}
"""Measures by name."""
DEFAULT_RERANKER = "qmax"
"""The one that tells versions from others best, wherever it was measured."""


def _best(
    query: Float32Array,
    candidate: Float32Array,
    window: int,
    measure: Callable[[Float32Array], _Measured],
    farthest: float,
) -> Alignment:
    """Align the most promising pairings and return the best of their alignments, in beats."""
    best = Alignment(farthest, optimal_transposition(query, candidate), 1.0, np.zeros((0, 2), dtype=np.int32))
    for pairing in _promising(query, candidate, window):
        distance, slope, path = measure(pairing.similarity)
        if distance < best.distance:
            rate = pairing.pooled[1] / pairing.pooled[0]
            # a cell stands for the middle of its windows
            beats = (path + (window - 1) // 2) * np.array(pairing.pooled, dtype=np.int32)
            best = Alignment(distance, pairing.transposition, slope * rate, beats)
    return best


def _promising(query: Float32Array, candidate: Float32Array, window: int) -> list[_Pairing]:
    """The pairings in which the windows of both tracks have the nearest neighbours, the best first."""
    pairings = []
    transpositions = rank_transpositions(query, candidate)[:TRANSPOSITIONS]
    features = [{pooled: _features(chroma, pooled) for pooled in (1, 2)} for chroma in (query, candidate)]
    for pooled in RATES:
        ours, theirs = features[0][pooled[0]], features[1][pooled[1]]
        if min(ours.shape[1], theirs.shape[1]) <= window:
            continue
        for transposition in transpositions:
            similarity = _slide(ours.T @ np.roll(theirs, -transposition, axis=0), window)
            likeness = float(similarity.max(axis=1).mean()) + float(similarity.max(axis=0).mean())
            pairings.append(_Pairing(similarity, likeness, transposition, pooled))
    return sorted(pairings, key=lambda pairing: -pairing.likeness)[:ALIGNED]


def _features(chroma: Float32Array, pooled: int) -> Float32Array:
    """Columns to compare by their inner product: one for every `pooled` beats, centred and of length 1, or 0."""
    beats = chroma.shape[1] // pooled
    columns = _unit(np.asarray(chroma, dtype=np.float32))[:, : beats * pooled]
    if pooled > 1:
        columns = columns.reshape(12, beats, pooled).mean(axis=2, dtype=np.float32)
    if beats:
        columns = columns - columns.mean(axis=0, dtype=np.float32)
        columns -= columns.mean(axis=1, dtype=np.float32, keepdims=True)
    return _unit(columns)


def _unit(columns: Float32Array) -> Float32Array:
    norm = np.sqrt(np.einsum("ij,ij->j", columns, columns))
    # what rounding leaves of a column that is all mean is no direction
    scale = np.where(norm > 1e-5, norm, np.inf).astype(np.float32)
    unit: Float32Array = columns / scale
    return unit


def _measure_dtw(similarity: Float32Array) -> _Measured:
    windows = similarity.shape[0]
    bounds = np.linspace(0, windows, max(1, windows // DTW_EXCERPT) + 1).astype(np.int64)
    cost, paths, spans = 0.0, [np.zeros((0, 2), dtype=np.int32)], np.zeros(2)
    for first, end in pairwise(bounds.tolist()):
        excerpt = similarity[first:end]
        total = _warp(excerpt)
        last = int(total[-1].argmin())
        if np.isinf(total[-1, last]):  # the candidate has less than half the excerpt's beats
            cost += FARTHEST_COSINE * len(excerpt)
            continue
        cost += max(float(total[-1, last]), 0.0)
        path = _unwarp(total, excerpt, last)
        spans += path[-1] - path[0]
        paths.append(path + np.array([first, 0], dtype=np.int32))
    slope = float(spans[1] / spans[0]) if spans[0] > 0 else 1.0
    return cost / windows, slope, np.concatenate(paths)


def _measure_qmax(similarity: Float32Array) -> _Measured:
    recurrent = _recur(similarity, _limits(similarity), _limits(_transpose(similarity)))
    runs = _run(recurrent, QMAX_ONSET, QMAX_EXTENSION)
    end = int(runs.argmax())
    qmax = float(runs.flat[end])
    if qmax == 0:
        return FARTHEST_QMAX, 1.0, np.zeros((0, 2), dtype=np.int32)
    row, column = divmod(end, runs.shape[1])
    path = _retrace(runs, recurrent, row, column, QMAX_ONSET, QMAX_EXTENSION)
    span = path[-1] - path[0]
    slope = float(span[1] / span[0]) if span[0] else 1.0
    return min(float(np.sqrt(similarity.shape[1])) / qmax, FARTHEST_QMAX), slope, path


def _limits(similarity: Float32Array) -> Float32Array:
    """For each row, what its neighbours must exceed for there to be at most a share kappa of them."""
    neighbours = max(1, int(QMAX_NEIGHBOURS * similarity.shape[1]))
    at = similarity.shape[1] - neighbours - 1
    if at < 0:  # a single window, which may be anyone's neighbour
        return np.full(len(similarity), -2, dtype=np.float32)
    limits: Float32Array = np.partition(similarity, at, axis=1)[:, at].copy()
    return limits


def _measure_simple(similarity: Float32Array) -> _Measured:
    nearest = similarity.argmax(axis=1).astype(np.int32)
    profile = np.maximum(1 - np.take_along_axis(similarity, nearest[:, None], axis=1), 0)
    # windows are as long in both, so tempo shows in how far apart the matches of successive windows lie
    slopes = (nearest[SIMPLE_WINDOW:] - nearest[:-SIMPLE_WINDOW]) / SIMPLE_WINDOW
    slopes = slopes[(slopes > 0.5) & (slopes < 2)]
    slope = float(np.median(slopes)) if len(slopes) else 1.0
    path = np.stack([np.arange(len(nearest), dtype=np.int32), nearest], axis=1)
    return float(np.median(profile)), slope, path


@njit(cache=True)
def _slide(products: Float32Array, window: int) -> Float32Array:
    """Means of `window` products along each diagonal; each row follows from the one before."""
    rows, columns = products.shape[0] - window + 1, products.shape[1] - window + 1
    sums = np.empty((rows, columns), np.float32)
    for i in range(rows):
        first = np.float32(0)
        for k in range(window):
            first += products[i + k, k]
        sums[i, 0] = first
    row = sums[0]
    row[1:] = products[0, 1:columns]
    for k in range(1, window):
        added = products[k]
        for j in range(1, columns):
            row[j] += added[j + k]
    for i in range(1, rows):
        row, above, dropped, added = sums[i], sums[i - 1], products[i - 1], products[i + window - 1]
        for j in range(1, columns):
            row[j] = above[j - 1] + (added[j + window - 1] - dropped[j - 1])
    share = np.float32(1 / window)
    for i in range(rows):
        row = sums[i]
        for j in range(columns):
            row[j] *= share
    return sums


@njit(cache=True)
def _transpose(matrix: Float32Array) -> Float32Array:
    """A transposed copy, made in tiles that stay in the cache."""
    rows, columns = matrix.shape
    out = np.empty((columns, rows), np.float32)
    for top in range(0, rows, 16):
        for left in range(0, columns, 16):
            for i in range(top, min(top + 16, rows)):
                for j in range(left, min(left + 16, columns)):
                    out[j, i] = matrix[i, j]
    return out


@njit(cache=True)
def _recur(similarity: Float32Array, row_limits: Float32Array, column_limits: Float32Array) -> BoolArray:
    """Cross-recurrence plot: which windows are among each other's nearest."""
    rows, columns = similarity.shape
    recurrent = np.empty((rows, columns), np.bool_)
    for i in range(rows):
        row, out, limit = similarity[i], recurrent[i], row_limits[i]
        for j in range(columns):
            out[j] = (row[j] > limit) & (row[j] > column_limits[j])
    return recurrent


@njit(cache=True)
def _run(recurrent: BoolArray, onset: float, extension: float) -> Float32Array:
    """Q of the paper's equation for gapped, curved runs, with two rows and columns of zeros before the first."""
    rows, columns = recurrent.shape
    runs = np.zeros((rows + 2, columns + 2), np.float32)
    gap = np.full((3, columns + 2), np.float32(extension))
    for i in range(rows):
        out, above, higher = runs[i + 2], runs[i + 1], runs[i]
        costs, cost_above, cost_higher = gap[(i + 2) % 3], gap[(i + 1) % 3], gap[i % 3]
        met = recurrent[i]
        for j in range(columns):
            straight, steep, flat = above[j + 1], higher[j + 1], above[j]
            longer = max(straight, steep, flat) + np.float32(1)
            gapped = max(np.float32(0), straight - cost_above[j + 1], steep - cost_higher[j + 1], flat - cost_above[j])
            out[j + 2] = longer if met[j] else gapped
            costs[j + 2] = np.float32(onset) if met[j] else np.float32(extension)
    return runs


@njit(cache=True)
def _retrace(runs: Float32Array, recurrent: BoolArray, i: int, j: int, onset: float, extension: float) -> Int32Array:
    """The run that ends in cell (i, j) of `runs`, from its start, in cells of the plot."""
    path = np.empty((min(runs.shape), 2), np.int32)
    at = len(path)
    while True:
        at -= 1
        path[at, 0], path[at, 1] = i - 2, j - 2
        best, best_i, best_j = np.float32(0), -1, -1
        for di, dj in ((1, 1), (2, 1), (1, 2)):
            value = runs[i - di, j - dj]
            if value > 0 and not recurrent[i - 2, j - 2]:
                value -= np.float32(onset if recurrent[i - di - 2, j - dj - 2] else extension)
            if value > best:
                best, best_i, best_j = value, i - di, j - dj
        if best_i < 0:
            return path[at:].copy()
        i, j = best_i, best_j


@njit(cache=True)
def _warp(similarity: Float32Array) -> Float32Array:
    """Cost of the best warping of the rows so far that ends in each cell; it may begin in any column."""
    rows, columns = similarity.shape
    total = np.full((rows, columns), np.float32(np.inf))
    total[0] = np.float32(1) - similarity[0]
    for i in range(1, rows):
        out, above, higher, row = total[i], total[i - 1], total[max(i - 2, 0)], similarity[i]
        late = np.float32(0) if i > 1 else np.float32(np.inf)
        out[0] = np.inf
        for j in range(1, columns):
            cost = np.float32(1) - row[j]
            best = min(above[j - 1], higher[j - 1] + cost + late)
            out[j] = cost + (min(best, above[j - 2]) if j > 1 else best)
    return total


@njit(cache=True)
def _unwarp(total: Float32Array, similarity: Float32Array, j: int) -> Int32Array:
    """The warping that ends in column j of the last row, from the first row on."""
    i = len(total) - 1
    path = np.empty((len(total), 2), np.int32)
    at = i
    path[at, 0], path[at, 1] = i, j
    while i > 0:
        best, best_i, best_j = total[i - 1, j - 1], i - 1, j - 1
        if i > 1:
            steep = total[i - 2, j - 1] + (np.float32(1) - similarity[i, j])
            if steep < best:
                best, best_i = steep, i - 2
        if j > 1 and total[i - 1, j - 2] < best:
            best_i, best_j = i - 1, j - 2
        i, j = best_i, best_j
        at -= 1
        path[at, 0], path[at, 1] = i, j
    return path[at:].copy()
