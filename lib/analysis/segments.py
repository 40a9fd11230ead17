"""Segments: the intervals between onsets, with their loudness and timbre."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage

from reprise.lib.analysis.frames import FLOOR_DB, FRAME_RATE, N_BARK, Frames
from reprise.lib.arrays import Float32Array, Float64Array, Int64Array

_MIN_FRAMES = 6  # smallest distance between the starts of two segments, 0.07 s
_CONTEXT_S = 1.5  # an onset must exceed the mean onset strength over an interval of this length, centred on the onset
_MIN_STRENGTH = 0.02  # an onset must exceed the mean by this value, the onset strength of background noise
_MAX_FRAMES_EARLIER = 4  # a segment starts at the quietest of these frames: the onset and this many before it
_RANGE_WEIGHTS = np.array([0.6, 1.0, 0.8])

_TIMES = 12  # number of times within a segment at which the levels for the timbre are read
# For each of the coefficients 2 to 12: the orders of the cosines over time and over the critical bands.
_BASIS_ORDERS = ((0, 1), (0, 2), (1, 0), (0, 3), (1, 1), (0, 4), (0, 5), (1, 2), (2, 0), (0, 6), (2, 1))
_BATCH_SEGMENTS = 4096


@dataclass(frozen=True)
class Segments:
    """Properties of n segments, arrays of shape (n,).

    Attributes
    ----------
    start
        Index of the first frame.
    confidence
        Confidence of the start, 0 to 1.
    loudness_start, loudness_max
        Loudness of the first frame, and maximum loudness of all frames of the segment, in dB.
    loudness_max_time
        Position of the maximum loudness, in frames from the start of the segment.
    """

    start: Int64Array
    confidence: Float64Array
    loudness_start: Float64Array
    loudness_max: Float64Array
    loudness_max_time: Int64Array


def find_segments(frames: Frames) -> Segments:
    """Divide a recording into segments at its onsets. Most music has about 3.5 segments per second."""
    onset, strength = _find_onsets(frames.onset_strength)
    start = np.empty(len(onset), dtype=np.int64)
    for i, frame in enumerate(onset):
        earliest = max(frame - _MAX_FRAMES_EARLIER, 0)
        start[i] = earliest + int(np.argmin(frames.level_db[earliest : frame + 1]))
    kept = np.diff(start, prepend=0) >= _MIN_FRAMES
    start = np.concatenate([[0], start[kept]])
    confidence = np.concatenate([[1.0], strength[kept]])
    level = frames.level_db.astype(np.float64)
    loudest = np.maximum.reduceat(level, start)
    ends = np.append(start[1:], len(level))
    peak = np.array([int(np.argmax(level[a:b])) for a, b in zip(start, ends, strict=True)], dtype=np.int64)
    return Segments(start, confidence, level[start], loudest, peak)


def _find_onsets(onset_strength: Float32Array) -> tuple[Int64Array, Float64Array]:
    """Return the frame index of each onset, and the prominence of each onset from 0 to 1."""
    strength = onset_strength.astype(np.float64) @ _RANGE_WEIGHTS
    smooth = ndimage.convolve1d(strength, np.array([0.25, 0.5, 0.25]), mode="constant")
    width = round(_CONTEXT_S * FRAME_RATE) | 1
    mean = ndimage.uniform_filter1d(smooth, width, mode="nearest")
    highest = ndimage.maximum_filter1d(smooth, 2 * 4 + 1, mode="constant")
    above = smooth - mean
    peaks = np.flatnonzero((smooth >= highest) & (above > _MIN_STRENGTH))
    peaks = peaks[np.diff(peaks, prepend=-9) > 1]
    if not len(peaks):
        return peaks, np.zeros(0)
    scale = max(float(np.quantile(above[peaks], 0.8)), 4 * _MIN_STRENGTH)
    relative = above[peaks] / scale
    kept = relative > 0.16
    return peaks[kept], np.clip(1.1 * relative[kept] / (relative[kept] + 0.35), 0, 1)


def compute_timbre(frames: Frames, start: Int64Array) -> Float64Array:
    """Compute the timbre of segments, float64 (n, 12).

    Coefficient 1 is the mean loudness in dB above the floor of -60 dB. Coefficients 2 to 12 are inner products of the
    segment's levels above the floor with fixed patterns. The levels are those of the critical bands. A pattern is the
    product of a cosine over time and a cosine over the critical bands.

    Parameters
    ----------
    frames
        Levels of the recording.
    start
        Shape (n,), index of the first frame of each segment.
    """
    timbre = np.empty((len(start), 12))
    length = np.diff(start, append=len(frames))
    basis = _timbre_basis()
    for first in range(0, len(start), _BATCH_SEGMENTS):
        batch = slice(first, first + _BATCH_SEGMENTS)
        position = start[batch, None] + (length[batch, None] - 1) * ((np.arange(_TIMES) + 0.5) / _TIMES)
        low = np.minimum(position.astype(np.int64), len(frames) - 1)
        high = np.minimum(low + 1, len(frames) - 1)
        rest = (position - low).astype(np.float32)[..., None]
        levels = frames.bark_db[low] * (1 - rest) + frames.bark_db[high] * rest - np.float32(FLOOR_DB)
        timbre[batch, 1:] = levels.reshape(len(levels), -1).astype(np.float64) @ basis
        timbre[batch, 0] = np.maximum(frames.level_db[low].mean(axis=1) - np.float32(FLOOR_DB), 0)
    return timbre


@lru_cache(maxsize=1)
def _timbre_basis() -> Float64Array:
    """Return the cosine patterns of coefficients 2 to 12, (276, 11).

    Each row belongs to one of 12 times and one of 23 bands. The 23 rows of a time are consecutive.
    """
    time, band = (np.arange(_TIMES) + 0.5) / _TIMES, (np.arange(N_BARK) + 0.5) / N_BARK
    patterns = [np.outer(np.cos(np.pi * a * time), np.cos(np.pi * b * band)) for a, b in _BASIS_ORDERS]
    return np.stack([pattern.ravel() / pattern.size for pattern in patterns], axis=1)
