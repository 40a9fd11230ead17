"""Sections: find the bar lines at which chroma and timbre change most between the preceding and following bars."""

import numpy as np

from reprise.lib.analysis.pitches import CumulativeChroma
from reprise.lib.arrays import Float64Array

_GRID_S = 2.0  # if a track has too few bars, a grid with this interval replaces them
_MIN_SECTION_S = 8.0
_HALF_WIDTH = 8  # largest number of bars compared on each side of a bar line
_MIN_BARS = 8  # with fewer bars, the grid replaces them; if the grid has fewer intervals, the track is one section
_MIN_NOVELTY = 0.12  # minimum novelty at the start of a section; novelty is 0 or more


def find_sections(
    harmony: CumulativeChroma, timbre: Float64Array, starts_s: Float64Array, bars_s: Float64Array, end_s: float
) -> tuple[Float64Array, Float64Array]:
    """Find the starts of sections in s and their confidences from 0 to 1: two arrays of shape (sections,).

    The first section starts at 0 and has confidence 1.

    The method is that of Foote, Automatic audio segmentation using a measure of audio novelty, ICME 2000, applied to
    the chroma and timbre of bars.

    Parameters
    ----------
    harmony
        Cumulative chroma of the track.
    timbre, starts_s
        Timbre (n, 12) and start in s (n,) of each segment.
    bars_s
        Starts of the bars in s. Every section except the first starts at one of them. If there are fewer than 8 bars,
        it starts at a multiple of 2 s instead.
    end_s
        Length of the track in s.
    """
    grid = bars_s if len(bars_s) >= _MIN_BARS else np.arange(0, end_s, _GRID_S)
    if len(grid) < _MIN_BARS:
        return np.zeros(1), np.ones(1)
    edges = np.append(grid, end_s)
    chroma = _normalise_rows(np.sqrt(np.maximum(np.diff(harmony.sum_until(edges), axis=0), 0)))
    novelty = _measure_novelty(np.concatenate([chroma, _average_timbre(timbre, starts_s, edges)], axis=1))
    spacing = max(1, round(_MIN_SECTION_S / max(float(np.median(np.diff(edges))), 1e-3)))
    starts, confidences = [0.0], [1.0]
    order = np.argsort(-novelty, kind="stable")
    is_start = np.zeros(len(grid), dtype=bool)
    for bar in order:
        if novelty[bar] < _MIN_NOVELTY:
            break
        near = slice(max(bar - spacing + 1, 0), bar + spacing)
        highest = novelty[max(bar - 1, 0) : bar + 2].max()
        is_inside = _MIN_SECTION_S / 2 < grid[bar] < end_s - _MIN_SECTION_S / 2
        if not is_start[near].any() and novelty[bar] >= highest and is_inside:
            is_start[bar] = True
    for bar in np.flatnonzero(is_start):
        starts.append(float(grid[bar]))
        confidences.append(float(min(1.0, 1.6 * novelty[bar] / (novelty[bar] + 0.25))))
    return np.array(starts), np.array(confidences)


def _normalise_rows(values: Float64Array) -> Float64Array:
    norm = np.sqrt(np.sum(values**2, axis=1, keepdims=True))
    unit: Float64Array = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
    return unit


def _average_timbre(timbre: Float64Array, starts_s: Float64Array, edges: Float64Array) -> Float64Array:
    """Compute the mean timbre between successive edges, (len(edges) - 1, 12).

    Each coefficient is standardised over the track and compressed. The norm of a row is at most 1.
    """
    ends = np.append(starts_s[1:], max(edges[-1], starts_s[-1]))
    total = np.concatenate([np.zeros((1, 12)), np.cumsum(timbre * (ends - starts_s)[:, None], axis=0)])
    times = np.append(starts_s, ends[-1])
    sums = np.stack([np.interp(edges, times, column) for column in total.T], axis=1)
    mean = np.diff(sums, axis=0) / np.maximum(np.diff(edges), 1e-6)[:, None]
    deviation = mean.std(axis=0)
    scaled = (mean - mean.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    result: Float64Array = np.tanh(scaled / 2) / np.sqrt(12)
    return result


def _measure_novelty(features: Float64Array) -> Float64Array:
    """Measure the novelty at the start of each bar: shape (n,), 0 or more.

    Up to 8 bars before the bar line and as many after it are compared in pairs. The distance of a pair is the squared
    Euclidean distance. The novelty is the mean distance of pairs on different sides of the bar line, minus the mean
    distance of pairs on the same side. The means give more weight to bars near the bar line. Near the ends of the
    track, there are fewer bars to compare, and the novelty is reduced in proportion to their number. At a bar line with
    fewer than 4 bars on a side, it is 0.

    Parameters
    ----------
    features
        Shape (n, k), features of bars.
    """
    count = len(features)
    norm = np.sum(features**2, axis=1)
    novelty = np.zeros(count)
    for bar in range(_MIN_BARS // 2, count - _MIN_BARS // 2 + 1):
        half = min(_HALF_WIDTH, bar, count - bar)
        around = slice(bar - half, bar + half)
        distance = norm[around, None] + norm[None, around] - 2 * features[around] @ features[around].T
        weight = np.exp(-0.5 * ((np.arange(2 * half) - half + 0.5) / (0.5 * _HALF_WIDTH)) ** 2)
        taper = np.outer(weight, weight)
        across = np.sum((taper * distance)[:half, half:]) / np.sum(taper[:half, half:])
        before = np.sum((taper * distance)[:half, :half]) / np.sum(taper[:half, :half])
        after = np.sum((taper * distance)[half:, half:]) / np.sum(taper[half:, half:])
        novelty[bar] = max(across - 0.5 * (before + after), 0.0) * (half / _HALF_WIDTH)
    return novelty
