"""Sections: where what is heard for half a minute differs from before."""

import numpy as np

from reprise.lib.analysis.pitches import Harmony
from reprise.lib.arrays import Float64Array

_GRID_S = 2.0  # where there are no bars
_SHORTEST_S = 8.0
_HALF = 8  # bars before and after that are compared
_FEWEST = 8  # bars, below which a track is one section
_LEAST = 0.12  # novelty, where 1 is as different as can be


def find_sections(
    harmony: Harmony, timbre: Float64Array, starts_s: Float64Array, bars_s: Float64Array, end_s: float
) -> tuple[Float64Array, Float64Array]:
    """Starts in s, the first 0, and confidences.

    Foote, Automatic audio segmentation using a measure of audio novelty, ICME 2000, on chroma and timbre of bars.

    Parameters
    ----------
    harmony, timbre, starts_s
        Of the track, and of each segment (n, 12), (n,).
    bars_s
        Times of the bar lines, at which sections may start.
    end_s
        Length of the track.
    """
    grid = bars_s if len(bars_s) >= _FEWEST else np.arange(0, end_s, _GRID_S)
    if len(grid) < _FEWEST:
        return np.zeros(1), np.ones(1)
    edges = np.append(grid, end_s)
    heard = np.concatenate(
        [_unit(np.sqrt(np.maximum(np.diff(harmony.until(edges), axis=0), 0))), _colour(timbre, starts_s, edges)], axis=1
    )
    novelty = _measure_novelty(heard)
    spacing = max(1, round(_SHORTEST_S / max(float(np.median(np.diff(edges))), 1e-3)))
    starts, confidences = [0.0], [1.0]
    order = np.argsort(-novelty, kind="stable")
    taken = np.zeros(len(grid), dtype=bool)
    for bar in order:
        if novelty[bar] < _LEAST:
            break
        near = slice(max(bar - spacing + 1, 0), bar + spacing)
        highest = novelty[max(bar - 1, 0) : bar + 2].max()
        if not taken[near].any() and novelty[bar] >= highest and _SHORTEST_S / 2 < grid[bar] < end_s - _SHORTEST_S / 2:
            taken[bar] = True
    for bar in np.flatnonzero(taken):
        starts.append(float(grid[bar]))
        confidences.append(float(min(1.0, 1.6 * novelty[bar] / (novelty[bar] + 0.25))))
    return np.array(starts), np.array(confidences)


def _unit(values: Float64Array) -> Float64Array:
    norm = np.sqrt(np.sum(values**2, axis=1, keepdims=True))
    unit: Float64Array = np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)
    return unit


def _colour(timbre: Float64Array, starts_s: Float64Array, edges: Float64Array) -> Float64Array:
    """Mean timbre between edges, each coefficient by its spread in the track, together as long as the chroma."""
    ends = np.append(starts_s[1:], max(edges[-1], starts_s[-1]))
    total = np.concatenate([np.zeros((1, 12)), np.cumsum(timbre * (ends - starts_s)[:, None], axis=0)])
    times = np.append(starts_s, ends[-1])
    until = np.stack([np.interp(edges, times, column) for column in total.T], axis=1)
    mean = np.diff(until, axis=0) / np.maximum(np.diff(edges), 1e-6)[:, None]
    spread = mean.std(axis=0)
    scaled = (mean - mean.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    result: Float64Array = np.tanh(scaled / 2) / np.sqrt(12)
    return result


def _measure_novelty(heard: Float64Array) -> Float64Array:
    """How unlike the bars before are to those after, beside how alike each are among themselves: (n,), 0 to 1."""
    count = len(heard)
    norm = np.sum(heard**2, axis=1)
    novelty = np.zeros(count)
    for bar in range(_FEWEST // 2, count - _FEWEST // 2 + 1):
        half = min(_HALF, bar, count - bar)
        some = slice(bar - half, bar + half)
        distance = norm[some, None] + norm[None, some] - 2 * heard[some] @ heard[some].T
        weight = np.exp(-0.5 * ((np.arange(2 * half) - half + 0.5) / (0.5 * _HALF)) ** 2)
        taper = np.outer(weight, weight)
        across = np.sum((taper * distance)[:half, half:]) / np.sum(taper[:half, half:])
        one = np.sum((taper * distance)[:half, :half]) / np.sum(taper[:half, :half])
        two = np.sum((taper * distance)[half:, half:]) / np.sum(taper[half:, half:])
        novelty[bar] = max(across - 0.5 * (one + two), 0.0) * (half / _HALF)
    return novelty
