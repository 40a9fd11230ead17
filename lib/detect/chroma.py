"""Beat-aligned chroma, in the variant with which Bertin-Mahieux & Ellis (2012) obtained their published results."""

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.errors import InputError

MIN_SEGMENTS = 3
MIN_BEATS = 2


def beat_chroma(
    pitches: ArrayLike, loudness_start: ArrayLike, segments_start: ArrayLike, beats_start: ArrayLike
) -> Float32Array:
    """Compute the chroma of each beat: the mean chroma of the segments, weighted by their duration within the beat.

    The chroma of a segment is first multiplied by the amplitude that corresponds to the loudness at the segment's
    start. The mean over a beat is then divided by its maximum. A silent beat gives a column of zeros. A beat of length
    0, such as the last beat, gets the chroma of the segment that contains it. If the first segment starts after the
    first beat, the segment is extended back to that beat.

    Parameters
    ----------
    pitches
        Shape (N, 12), or (12 N,) in row-major order, C to B.
    loudness_start
        Shape (N,), in dB.
    segments_start, beats_start
        Shapes (N,) and (B,), in s, ascending.

    Returns
    -------
    numpy.ndarray
        float32 (12, B). The maximum of each column is 1, or 0 for a silent beat. The shape is (12, 0) if there are
        fewer than 3 segments or fewer than 2 beats.

    Raises
    ------
    InputError
        ``not_finite``, ``lengths_differ`` or ``not_ascending``: the analysis is damaged.
    """
    start, beats = _check_times("segments_start", segments_start), _check_times("beats_start", beats_start)
    loudness = _check_finite("segments_loudness_start", loudness_start)
    segments = _check_finite("segments_pitches", pitches).reshape(-1)
    if not len(start) == len(loudness) == len(segments) / 12:
        raise InputError(
            "lengths_differ",
            f"the numbers of segment starts ({len(start)}), loudness values ({len(loudness)}) and pitches "
            f"({len(segments)}) do not match: a segment has 12 pitches",
        )
    if len(start) < MIN_SEGMENTS or len(beats) < MIN_BEATS:
        return np.zeros((12, 0), dtype=np.float32)
    amplitude = segments.reshape(-1, 12) * 10 ** (loudness[:, None] / 20)
    # integral of the chroma from the first segment to each beat; its differences are the integrals over single beats
    before = np.zeros_like(amplitude)
    np.cumsum(amplitude[:-1] * np.diff(start)[:, None], axis=0, out=before[1:])
    at = np.maximum(np.searchsorted(start, beats, side="right") - 1, 0)
    integral = before[at] + amplitude[at] * (beats - start[at])[:, None]
    chroma = amplitude[at]
    width = np.diff(beats)
    long = np.flatnonzero(width > 0)
    # rounding errors can make a silent beat slightly negative
    chroma[long] = np.maximum((integral[long + 1] - integral[long]) / width[long, None], 0)
    peak = chroma.max(axis=1, keepdims=True)
    np.divide(chroma, peak, out=chroma, where=peak > 0)
    return np.ascontiguousarray(chroma.T, dtype=np.float32)


def _check_times(name: str, values: ArrayLike) -> Float64Array:
    times = _check_finite(name, values)
    if np.any(np.diff(times) < 0):
        raise InputError("not_ascending", f"{name} must be ascending, but a time is smaller than the one before it")
    return times


def _check_finite(name: str, values: ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise InputError("not_finite", f"{name} contains NaN or infinite values")
    return array
