"""Segments: stretches between onsets, each with its loudness and its timbre."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from reprise.lib.analysis.frames import FLOOR_DB, FRAME_RATE, N_BARK, Frames
from reprise.lib.arrays import Float32Array, Float64Array, Int64Array

_SHORTEST = 6  # frames, 0.07 s
_AROUND_S = 1.5  # beside whose onset strength an onset must stand out
_FAINTEST = 0.02  # onset strength that noise of the silence has
_BACK = 4  # frames before an onset among which the quietest begins the segment
_WEIGHTS = np.array([0.6, 1.0, 0.8])

_TIMES = 12  # instants of a segment that its timbre is read at
# of each coefficient from the second on: order of the cosine in time and in frequency; the factor that gives it about
# the spread it has in the Million Song Dataset; and what is taken off, the dataset's means being near 0
_BASIS = ((0, 1), (0, 2), (1, 0), (0, 3), (1, 1), (0, 4), (0, 5), (1, 2), (2, 0), (0, 6), (2, 1))
_SCALE = (30.0, 35.0, 42.0, 34.0, 61.0, 38.0, 37.0, 60.0, 31.0, 30.0, 52.0)
_USUAL = (122.0, 21.0, 33.0, 54.0, -10.0, -5.0, 13.0, 12.0, -12.0, 2.0, -1.0)
_SEGMENTS = 4096  # whose timbre is made at a time


@dataclass(frozen=True)
class Segments:
    """N segments: ``start`` in frames; confidence 0 to 1; loudness in dB; time of its peak in frames from the start."""

    start: Int64Array
    confidence: Float64Array
    loudness_start: Float64Array
    loudness_max: Float64Array
    loudness_max_time: Int64Array


def cut_segments(frames: Frames) -> Segments:
    """Cut where something begins to sound: about 3.5 times a second in most music."""
    onset, strength = _find_onsets(frames.rise)
    start = np.empty(len(onset), dtype=np.int64)
    for i, frame in enumerate(onset):
        early = max(frame - _BACK, 0)
        start[i] = early + int(np.argmin(frames.level_db[early : frame + 1]))
    kept = np.diff(start, prepend=0) >= _SHORTEST
    start = np.concatenate([[0], start[kept]])
    confidence = np.concatenate([[1.0], strength[kept]])
    level = frames.level_db.astype(np.float64)
    loudest = np.maximum.reduceat(level, start)
    ends = np.append(start[1:], len(level))
    peak = np.array([int(np.argmax(level[a:b])) for a, b in zip(start, ends, strict=True)], dtype=np.int64)
    return Segments(start, confidence, level[start], loudest, peak)


def _find_onsets(rise: Float32Array) -> tuple[Int64Array, Float64Array]:
    """Frames of the onsets that stand out, and how far they do, 0 to 1."""
    strength = rise.astype(np.float64) @ _WEIGHTS
    smooth = ndimage.convolve1d(strength, np.array([0.25, 0.5, 0.25]), mode="constant")
    around = round(_AROUND_S * FRAME_RATE) | 1
    mean = ndimage.uniform_filter1d(smooth, around, mode="nearest")
    highest = ndimage.maximum_filter1d(smooth, 2 * 4 + 1, mode="constant")
    above = smooth - mean
    peaks = np.flatnonzero((smooth >= highest) & (above > _FAINTEST))
    peaks = peaks[np.diff(peaks, prepend=-9) > 1]
    if not len(peaks):
        return peaks, np.zeros(0)
    scale = max(float(np.quantile(above[peaks], 0.8)), 4 * _FAINTEST)
    share = above[peaks] / scale
    kept = share > 0.16
    return peaks[kept], np.clip(1.1 * share[kept] / (share[kept] + 0.35), 0, 1)


def describe_timbre(frames: Frames, start: Int64Array) -> Float64Array:
    """Timbre of segments, (n, 12): how the critical bands' levels over the segment's time resemble cosines of both.

    The first coefficient is instead the mean loudness above the floor of -60 dB.
    """
    timbre = np.empty((len(start), 12))
    length = np.diff(start, append=len(frames))
    basis = _basis()
    for first in range(0, len(start), _SEGMENTS):
        some = slice(first, first + _SEGMENTS)
        place = start[some, None] + (length[some, None] - 1) * ((np.arange(_TIMES) + 0.5) / _TIMES)
        low = np.minimum(place.astype(np.int64), len(frames) - 1)
        high = np.minimum(low + 1, len(frames) - 1)
        rest = (place - low).astype(np.float32)[..., None]
        levels = frames.bark_db[low] * (1 - rest) + frames.bark_db[high] * rest - np.float32(FLOOR_DB)
        timbre[some, 1:] = levels.reshape(len(levels), -1).astype(np.float64) @ basis - _USUAL
        timbre[some, 0] = np.maximum(frames.level_db[low].mean(axis=1) - np.float32(FLOOR_DB), 0)
    return timbre


@lru_cache(maxsize=1)
def _basis() -> Float64Array:
    time, band = (np.arange(_TIMES) + 0.5) / _TIMES, (np.arange(N_BARK) + 0.5) / N_BARK
    patterns = [np.outer(np.cos(np.pi * a * time), np.cos(np.pi * b * band)) for a, b in _BASIS]
    return np.stack([f * p.ravel() / p.size for f, p in zip(_SCALE, patterns, strict=True)], axis=1)
