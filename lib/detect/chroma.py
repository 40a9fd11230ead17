"""Beat-aligned chroma, in the variant of Bertin-Mahieux & Ellis (2012) whose figures are the published ones."""

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.errors import InputError

MIN_SEGMENTS = 3
MIN_BEATS = 2


def beat_chroma(
    pitches: ArrayLike, loudness_start: ArrayLike, segments_start: ArrayLike, beats_start: ArrayLike
) -> Float32Array:
    """Chroma of each beat: what the segments sound like, weighted by how long they last within it.

    Segment chroma is scaled to amplitude by the loudness at the segment's start, averaged over the beat by duration,
    and divided by its largest value. A beat of silence is a column of zeros; a beat of no length, such as the last one,
    takes the segment it stands in; the first segment counts from the first beat on where it starts later.

    Parameters
    ----------
    pitches
        Shape (N, 12) or (12 N,) row-major, C to B.
    loudness_start
        Shape (N,), dB.
    segments_start, beats_start
        Shapes (N,) and (B,), s, ascending.

    Returns
    -------
    numpy.ndarray
        float32 (12, B), each column's maximum 1 or 0. No column when there are fewer than 3 segments or 2 beats.

    Raises
    ------
    InputError
        ``not_finite``, ``lengths_differ`` or ``not_ascending``: the analysis is damaged.
    """
    start, beats = _times("segments_start", segments_start), _times("beats_start", beats_start)
    loudness = _finite("segments_loudness_start", loudness_start)
    segments = _finite("segments_pitches", pitches).reshape(-1)
    if not len(start) == len(loudness) == len(segments) / 12:
        raise InputError(
            "lengths_differ",
            f"{len(start)} segment starts, {len(loudness)} loudnesses and {len(segments)} pitches do not go together",
        )
    if len(start) < MIN_SEGMENTS or len(beats) < MIN_BEATS:
        return np.zeros((12, 0), dtype=np.float32)
    amplitude = segments.reshape(-1, 12) * 10 ** (loudness[:, None] / 20)
    # the integral of amplitude from the first segment to each beat; its differences are the sums over the beats
    before = np.zeros_like(amplitude)
    np.cumsum(amplitude[:-1] * np.diff(start)[:, None], axis=0, out=before[1:])
    at = np.maximum(np.searchsorted(start, beats, side="right") - 1, 0)
    integral = before[at] + amplitude[at] * (beats - start[at])[:, None]
    chroma = amplitude[at]
    width = np.diff(beats)
    long = np.flatnonzero(width > 0)
    # rounding may leave a silent beat a hair below zero
    chroma[long] = np.maximum((integral[long + 1] - integral[long]) / width[long, None], 0)
    peak = chroma.max(axis=1, keepdims=True)
    np.divide(chroma, peak, out=chroma, where=peak > 0)
    return np.ascontiguousarray(chroma.T, dtype=np.float32)


def _times(name: str, values: ArrayLike) -> Float64Array:
    times = _finite(name, values)
    if np.any(np.diff(times) < 0):
        raise InputError("not_ascending", f"{name} goes back in time")
    return times


def _finite(name: str, values: ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError("not_finite", f"{name} holds NaN or infinity")
    return array
