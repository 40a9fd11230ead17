"""Alignment distances of two beat chromas, used to rerank candidates: dynamic time warping, Qmax and SiMPle.

All three measures use the same cross-similarity matrix, with one row per window of beats of the query and one column
per window of beats of the candidate. An entry is the mean cosine of the corresponding beats of the two windows. The
chroma is centred first, in two steps. The first step subtracts from each column its mean over the pitch classes,
because drums and noise add energy to every pitch class. The second step subtracts the mean column of the track from
each column, because the mean columns of any two tracks in the same key are similar.

The matrix is computed for several pairings. A pairing is a transposition and a pair of rates, one per track. A rate is
the number of beats that are averaged into one column. Rates are needed because beat trackers sometimes find half or
twice as many beats as the music has. At rate 2, a window has the same number of columns as at rate 1, and so covers
twice as many beats. The most likely transpositions are combined with three pairs of rates. The pairings with the
highest similarity are aligned, and the alignment with the smallest distance is returned.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from reprise.lib.arrays import BoolArray, Float32Array, Int32Array
from reprise.lib.detect.transposition import optimal_transposition, rank_transpositions

N_TRANSPOSITIONS = 2  # number of most likely transpositions to compare
N_ALIGNED = 2  # number of pairings (transposition and pair of rates) to align
RATES = ((1, 1), (2, 1), (1, 2))  # number of beats averaged into one column: (for the query, for the candidate)

DTW_WINDOW = 20  # beats
DTW_EXCERPT = 80  # windows; shortest excerpt of a query that has at least as many
QMAX_WINDOW = 14  # beats; the embedding dimension m of the paper, with the delay tau = 1 beat
QMAX_NEIGHBOURS = 0.05  # kappa; the paper uses 0.1, but that lowers the ROC area on synthetic covers by 0.02
QMAX_ONSET, QMAX_EXTENSION = 5.0, 0.5  # gamma_o and gamma_e: cost of opening and of extending a gap
SIMPLE_WINDOW = 30  # beats
MAX_COSINE_DISTANCE, MAX_QMAX_DISTANCE = 2.0, 100.0


@dataclass(frozen=True)
class Alignment:
    """Alignment of a candidate with a query.

    Attributes
    ----------
    distance
        Finite, 0 or more; smaller means more similar. Distances of different measures are not comparable.
    transposition
        Number of semitones by which the candidate sounds above the query, 0..11.
    tempo_ratio
        Beats of the candidate per beat of the query along the path; finite, greater than 0; 1 if the path is empty.
    path
        int32 (n, 2): indices of matching beats (query, candidate), ascending in the query.
    """

    distance: float
    transposition: int
    tempo_ratio: float
    path: Int32Array


@dataclass(frozen=True)
class _Pairing:
    """Cross-similarity matrix of the query and the candidate, for one transposition and one pair of rates."""

    similarity: Float32Array
    score: float
    transposition: int
    pooling: tuple[int, int]  # number of beats averaged into one column: (for the query, for the candidate)


_Measurement = tuple[float, float, Int32Array]  # distance, slope and path; the path holds indices of windows


def align_dtw(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by dynamic time warping: place each excerpt of the query where it fits the candidate best.

    The query is cut into excerpts of about equal length, because versions omit, repeat and move sections. An excerpt
    has 80 to 159 windows. A query with fewer than 80 windows is one excerpt. Each excerpt is located in the candidate
    by subsequence DTW (Müller, Information Retrieval for Music and Motion, 2007, ch. 4) with steps (1, 1), (2, 1) and
    (1, 2). The cost of a pair of beats is one minus the similarity of the 20-beat windows that start at these beats. A
    step that advances two beats of the query counts the cost of its pair twice. The distance, 0..2, is the total cost
    of all excerpts divided by the number of windows of the query.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path is the concatenation of the paths of all excerpts. An excerpt has no path if the candidate has at most
        half as many windows; its cost is then 2 per window. If no excerpt has a path, or if a track has fewer than
        21 beats, the distance is 2 and the path is empty.
    """
    return _align_best(query, candidate, DTW_WINDOW, _measure_dtw, MAX_COSINE_DISTANCE)


def align_qmax(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by Qmax, the highest score of a gapped run in a cross-recurrence plot (Serrà, Serra & Andrzejak 2009).

    Two beats are recurrent if the 14-beat windows that start at these beats are neighbours of each other. The
    neighbours of a window are the nearest 5 % of the other track's windows, but at least one. Windows tied at this
    limit are excluded. A recurrent pair adds 1 to the score of a run. A gap costs 5 when it opens and 0.5 for each
    further beat. The distance is sqrt(N) / Qmax, at most 100, where N is the number of windows of the candidate. If the
    alignment averages two beats of the candidate into one column, N counts windows of these columns.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path is the run with the highest score. If a track has fewer than 15 beats, or no beats are recurrent, the
        distance is 100 and the path is empty.
    """
    return _align_best(query, candidate, QMAX_WINDOW, _measure_qmax, MAX_QMAX_DISTANCE)


def align_simple(query: Float32Array, candidate: Float32Array) -> Alignment:
    """Align by SiMPle, the similarity matrix profile (Silva, Yeh, Batista & Keogh 2016).

    The profile holds the distance of each 30-beat window of the query to the nearest window of the candidate. The
    distance of two windows is one minus the mean cosine of their columns. Columns have norm 1, so this distance is a
    monotonic function of the Euclidean distance that the paper uses. (A column that equals the mean column of the track
    becomes 0.) The alignment distance, 0..2, is the median of the profile.

    Parameters
    ----------
    query, candidate
        float32 (12, B1) and (12, B2), finite, rows C to B.

    Returns
    -------
    Alignment
        The path pairs each window of the query with the nearest window of the candidate. If a track has fewer than 31
        beats, the distance is 2 and the path is empty.
    """
    return _align_best(query, candidate, SIMPLE_WINDOW, _measure_simple, MAX_COSINE_DISTANCE)


RERANKERS: Mapping[str, Callable[[Float32Array, Float32Array], Alignment]] = {
    "dtw": align_dtw,
    "qmax": align_qmax,
    "simple": align_simple,
}
"""Alignment functions by name."""
DEFAULT_RERANKER = "qmax"
"""The alignment function that separated versions from other tracks best on every dataset that was measured."""
SHORT_QUERY_BEATS = 75
SHORT_RERANKER = "dtw"
"""Alignment of queries of fewer than 75 beats. Qmax prefers short candidates to the right one if the query is short."""


def _align_best(
    query: Float32Array,
    candidate: Float32Array,
    window: int,
    measure: Callable[[Float32Array], _Measurement],
    max_distance: float,
) -> Alignment:
    """Align the most similar pairings. Return the alignment with the smallest distance, with its path in beats."""
    best = Alignment(max_distance, optimal_transposition(query, candidate), 1.0, np.zeros((0, 2), dtype=np.int32))
    for pairing in _select_pairings(query, candidate, window):
        distance, slope, path = measure(pairing.similarity)
        if distance < best.distance:
            rate = pairing.pooling[1] / pairing.pooling[0]
            # a cell of the matrix stands for the beats in the middle of its two windows
            beats = (path + (window - 1) // 2) * np.array(pairing.pooling, dtype=np.int32)
            best = Alignment(distance, pairing.transposition, slope * rate, beats)
    return best


def _select_pairings(query: Float32Array, candidate: Float32Array, window: int) -> list[_Pairing]:
    """Return the `N_ALIGNED` pairings with the highest score, best first; fewer or none if a track is too short.

    The score is the mean similarity of a query window to the most similar candidate window, plus the mean similarity of
    a candidate window to the most similar query window.
    """
    pairings = []
    transpositions = rank_transpositions(query, candidate)[:N_TRANSPOSITIONS]
    features = [{pooling: _features(chroma, pooling) for pooling in (1, 2)} for chroma in (query, candidate)]
    for pooling in RATES:
        ours, theirs = features[0][pooling[0]], features[1][pooling[1]]
        if min(ours.shape[1], theirs.shape[1]) <= window:
            continue
        for transposition in transpositions:
            similarity = _average_diagonals(ours.T @ np.roll(theirs, -transposition, axis=0), window)
            score = float(similarity.max(axis=1).mean()) + float(similarity.max(axis=0).mean())
            pairings.append(_Pairing(similarity, score, transposition, pooling))
    return sorted(pairings, key=lambda pairing: -pairing.score)[:N_ALIGNED]


def _features(chroma: Float32Array, pooling: int) -> Float32Array:
    """Return the centred chroma, float32 (12, B // pooling). Its columns have norm 1, so inner products are cosines.

    A column is the mean of ``pooling`` consecutive beats. Beats that are left over at the end are dropped.

    A column that equals the mean column of the track becomes a column of zeros.
    """
    beats = chroma.shape[1] // pooling
    columns = _normalise_columns(np.asarray(chroma, dtype=np.float32))[:, : beats * pooling]
    if pooling > 1:
        columns = columns.reshape(12, beats, pooling).mean(axis=2, dtype=np.float32)
    if beats:
        columns = columns - columns.mean(axis=0, dtype=np.float32)
        columns -= columns.mean(axis=1, dtype=np.float32, keepdims=True)
    return _normalise_columns(columns)


def _normalise_columns(columns: Float32Array) -> Float32Array:
    norm = np.sqrt(np.einsum("ij,ij->j", columns, columns))
    # a column that equals the mean column contains only rounding errors after centring; do not scale them up
    scale = np.where(norm > 1e-5, norm, np.inf).astype(np.float32)
    unit: Float32Array = columns / scale
    return unit


def _measure_dtw(similarity: Float32Array) -> _Measurement:
    windows = similarity.shape[0]
    bounds = np.linspace(0, windows, max(1, windows // DTW_EXCERPT) + 1).astype(np.int64)
    cost, paths, spans = 0.0, [np.zeros((0, 2), dtype=np.int32)], np.zeros(2)
    for first, end in pairwise(bounds.tolist()):
        excerpt = similarity[first:end]
        total = _accumulate_dtw(excerpt)
        last = int(total[-1].argmin())
        if np.isinf(total[-1, last]):  # no path, because the candidate has at most half as many windows as the excerpt
            cost += MAX_COSINE_DISTANCE * len(excerpt)
            continue
        cost += max(float(total[-1, last]), 0.0)
        path = _trace_dtw(total, excerpt, last)
        spans += path[-1] - path[0]
        paths.append(path + np.array([first, 0], dtype=np.int32))
    slope = float(spans[1] / spans[0]) if spans[0] > 0 else 1.0
    return cost / windows, slope, np.concatenate(paths)


def _measure_qmax(similarity: Float32Array) -> _Measurement:
    recurrent = _find_recurrence(
        similarity, _neighbour_thresholds(similarity), _neighbour_thresholds(_transpose(similarity))
    )
    runs = _accumulate_qmax(recurrent, QMAX_ONSET, QMAX_EXTENSION)
    end = int(runs.argmax())
    qmax = float(runs.flat[end])
    if qmax == 0:
        return MAX_QMAX_DISTANCE, 1.0, np.zeros((0, 2), dtype=np.int32)
    row, column = divmod(end, runs.shape[1])
    path = _trace_qmax(runs, recurrent, row, column, QMAX_ONSET, QMAX_EXTENSION)
    span = path[-1] - path[0]
    slope = float(span[1] / span[0]) if span[0] else 1.0
    return min(float(np.sqrt(similarity.shape[1])) / qmax, MAX_QMAX_DISTANCE), slope, path


def _neighbour_thresholds(similarity: Float32Array) -> Float32Array:
    """Return the threshold of each row. The neighbours of a row are the columns whose similarity exceeds the threshold.

    A row has at most n neighbours. n is the share `QMAX_NEIGHBOURS` of the columns, but at least 1.
    """
    neighbours = max(1, int(QMAX_NEIGHBOURS * similarity.shape[1]))
    at = similarity.shape[1] - neighbours - 1
    if at < 0:  # there is only one column: make it a neighbour of every row
        return np.full(len(similarity), -2, dtype=np.float32)
    thresholds: Float32Array = np.partition(similarity, at, axis=1)[:, at].copy()
    return thresholds


def _measure_simple(similarity: Float32Array) -> _Measurement:
    nearest = similarity.argmax(axis=1).astype(np.int32)
    profile = np.maximum(1 - np.take_along_axis(similarity, nearest[:, None], axis=1), 0)
    # one match does not show the tempo ratio, because all windows have the same number of beats: compare two matches
    slopes = (nearest[SIMPLE_WINDOW:] - nearest[:-SIMPLE_WINDOW]) / SIMPLE_WINDOW
    slopes = slopes[(slopes > 0.5) & (slopes < 2)]
    slope = float(np.median(slopes)) if len(slopes) else 1.0
    path = np.stack([np.arange(len(nearest), dtype=np.int32), nearest], axis=1)
    return float(np.median(profile)), slope, path


@njit(cache=True)
def _average_diagonals(products: Float32Array, window: int) -> Float32Array:
    """Return the moving average of ``window`` products along each diagonal.

    For speed, each row of sums is computed from the row above it.
    """
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
    """Return a transposed copy. The matrix is copied in tiles that fit in the CPU cache."""
    rows, columns = matrix.shape
    out = np.empty((columns, rows), np.float32)
    for top in range(0, rows, 16):
        for left in range(0, columns, 16):
            for i in range(top, min(top + 16, rows)):
                for j in range(left, min(left + 16, columns)):
                    out[j, i] = matrix[i, j]
    return out


@njit(cache=True)
def _find_recurrence(
    similarity: Float32Array, row_thresholds: Float32Array, column_thresholds: Float32Array
) -> BoolArray:
    """Return the cross-recurrence plot: True where two windows are neighbours of each other."""
    rows, columns = similarity.shape
    recurrent = np.empty((rows, columns), np.bool_)
    for i in range(rows):
        row, out, threshold = similarity[i], recurrent[i], row_thresholds[i]
        for j in range(columns):
            out[j] = (row[j] > threshold) & (row[j] > column_thresholds[j])
    return recurrent


@njit(cache=True)
def _accumulate_qmax(recurrent: BoolArray, onset: float, extension: float) -> Float32Array:
    """Return the matrix Q of the paper on Qmax, with two rows of zeros above and two columns of zeros on the left.

    An entry is the highest score of a gapped, curved run that ends in its cell.
    """
    rows, columns = recurrent.shape
    runs = np.zeros((rows + 2, columns + 2), np.float32)
    gap = np.full((3, columns + 2), np.float32(extension))
    for i in range(rows):
        out, above, higher = runs[i + 2], runs[i + 1], runs[i]
        costs, cost_above, cost_higher = gap[(i + 2) % 3], gap[(i + 1) % 3], gap[i % 3]
        recurs = recurrent[i]
        for j in range(columns):
            straight, steep, flat = above[j + 1], higher[j + 1], above[j]
            longer = max(straight, steep, flat) + np.float32(1)
            gapped = max(np.float32(0), straight - cost_above[j + 1], steep - cost_higher[j + 1], flat - cost_above[j])
            out[j + 2] = longer if recurs[j] else gapped
            costs[j + 2] = np.float32(onset) if recurs[j] else np.float32(extension)
    return runs


@njit(cache=True)
def _trace_qmax(runs: Float32Array, recurrent: BoolArray, i: int, j: int, onset: float, extension: float) -> Int32Array:
    """Return the run that ends in cell (i, j) of ``runs``, as the cells of the recurrence plot from first to last."""
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
def _accumulate_dtw(similarity: Float32Array) -> Float32Array:
    """Return for each cell the cost of the best warping path from the first row to the cell.

    A path can start in any column.
    """
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
def _trace_dtw(total: Float32Array, similarity: Float32Array, j: int) -> Int32Array:
    """Return the best warping path from the first row to column j of the last row."""
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
