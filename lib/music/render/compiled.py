"""The loops of synthesis and mixing, compiled: oscillators, note placement, a room, a limiter."""

import numpy as np
from numba import njit

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array

_INAUDIBLE = 1e-5


@njit(cache=True, nogil=True)
def ring_partials(
    turn: Float64Array, amplitude: Float64Array, decay: Float64Array, phase: Float64Array, n: int
) -> Float32Array:
    """Sum of partials that die away: (n,) float32.

    Parameters
    ----------
    turn, amplitude, decay, phase
        Of each partial, shape (p,): radians a sample, starting amplitude, samples in which it falls to 1/e, and
        starting phase in radians.
    """
    out = np.zeros(n, dtype=np.float64)
    for p in range(len(turn)):
        loudness = abs(amplitude[p])
        if loudness <= _INAUDIBLE:
            continue
        heard = min(n, int(decay[p] * np.log(loudness / _INAUDIBLE)) + 2)
        shrink = np.exp(-1.0 / decay[p])
        # y[i] = a·shrinkⁱ·sin(phase + i·turn), from the two values before it
        first, second = 2.0 * shrink * np.cos(turn[p]), shrink * shrink
        older = amplitude[p] / shrink * np.sin(phase[p] - turn[p])
        old = amplitude[p] * np.sin(phase[p])
        for i in range(heard):
            out[i] += old
            older, old = old, first * old - second * older
    return out.astype(np.float32)


@njit(cache=True, nogil=True)
def sum_harmonics(phase: Float64Array, spectrum: Float32Array, hop: int) -> Float32Array:
    """Sum of harmonics of one changing fundamental: (n,) float32.

    Parameters
    ----------
    phase
        Phase of the fundamental in radians at every sample, shape (n,).
    spectrum
        Amplitude of each harmonic every ``hop`` samples, shape (more than n / hop + 1, harmonics); between two it
        changes linearly.
    """
    out = np.empty(len(phase), dtype=np.float32)
    for i in range(len(phase)):
        frame = i // hop
        late = (i - frame * hop) / hop
        # sin(kx) = 2·cos(x)·sin((k-1)x) - sin((k-2)x)
        older, old, twice = 0.0, np.sin(phase[i]), 2.0 * np.cos(phase[i])
        total = 0.0
        for k in range(spectrum.shape[1]):
            here = spectrum[frame, k]
            total += (here + late * (spectrum[frame + 1, k] - here)) * old
            older, old = old, twice * old - older
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def add_notes(
    out: Float32Array, note: Float32Array, start: Int64Array, held: Int64Array, gain: Float32Array, fall: int
) -> None:
    """Add a rendered note to a stem (n, 2) at each of its starts.

    Parameters
    ----------
    note
        Shape (m,), long enough for the longest hold and the release.
    start, held
        Of each time it is played: first sample, and samples until it is let go.
    gain
        Left and right, shape (times, 2).
    fall
        Samples in which it falls by 60 dB once it is let go.
    """
    shrink = 10.0 ** (-3.0 / fall)
    for t in range(len(start)):
        last = min(held[t] + fall, len(note), len(out) - start[t])
        level = 1.0
        for i in range(last):
            if i >= held[t]:
                level *= shrink
            value = note[i] * level
            out[start[t] + i, 0] += gain[t, 0] * value
            out[start[t] + i, 1] += gain[t, 1] * value


@njit(cache=True, nogil=True)
def saturate(signal: Float32Array, drive: float) -> Float32Array:
    """Hyperbolic tangent of ``drive`` times a signal (n,), with first-order antiderivative antialiasing.

    Source: Parker, Zavalishin & Le Bivic 2016, "Reducing the aliasing of nonlinear waveshaping using continuous-time
    convolution".
    """
    out = np.empty_like(signal)
    before, integral_before = 0.0, 0.0
    for i in range(len(signal)):
        x = drive * signal[i]
        size = abs(x)
        integral = size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0)  # log cosh x, without overflow
        step = x - before
        if abs(step) > 1e-4:
            out[i] = (integral - integral_before) / step
        else:
            out[i] = np.tanh(0.5 * (x + before))
        before, integral_before = x, integral
    return out


@njit(cache=True, nogil=True)
def reverberate(
    signal: Float32Array, delays: Int64Array, feedback: Float64Array, damping: float, out: Float32Array
) -> None:
    """Add the room's answer to a signal (n,) to ``out`` (n, 2): a feedback delay network of eight lines.

    The lines are mixed by a Householder reflection; even ones are heard left, odd ones right. Source: Jot & Chaigne
    1991, "Digital delay networks for designing artificial reverberators".

    Parameters
    ----------
    delays, feedback
        Length in samples and gain of each line, shape (8,).
    damping
        0 for bare walls, towards 1 for heavy curtains: how much of the high sound each round loses.
    """
    lines = np.zeros((8, delays.max()), dtype=np.float32)
    place = np.zeros(8, dtype=np.int64)
    dull = np.zeros(8, dtype=np.float32)
    keep = np.float32(1.0 - damping)
    gain = feedback.astype(np.float32)
    for i in range(len(signal)):
        total = np.float32(0.0)
        for k in range(8):
            dull[k] += keep * (lines[k, place[k]] - dull[k])
            total += dull[k]
        out[i, 0] += dull[0] + dull[2] - dull[4] + dull[6]
        out[i, 1] += dull[1] - dull[3] + dull[5] + dull[7]
        total *= np.float32(0.25)
        for k in range(8):
            lines[k, place[k]] = signal[i] + gain[k] * (dull[k] - total)
            place[k] += 1
            if place[k] == delays[k]:
                place[k] = 0


@njit(cache=True, nogil=True)
def find_peaks(stems: Float32Array, block: int) -> Float64Array:
    """Largest magnitude of the stems (s, n, 2) or of their sum in each block of samples: (blocks,)."""
    n = stems.shape[1]
    peaks = np.zeros((n + block - 1) // block)
    for i in range(n):
        for side in range(2):
            total = np.float32(0.0)
            most = np.float32(0.0)
            for s in range(stems.shape[0]):
                total += stems[s, i, side]
                most = max(most, abs(stems[s, i, side]))
            peaks[i // block] = max(peaks[i // block], most, abs(total))
    return peaks


@njit(cache=True, nogil=True)
def ride_gain(peaks: Float64Array, ceiling: float, attack: float, release: float) -> Float64Array:
    """Gain at each edge between blocks, shape (blocks + 1,), that keeps every block's peak under the ceiling.

    ``attack`` and ``release`` are by how much, as a factor, it may fall and rise from one edge to the next; between
    edges it is to be drawn as a straight line.
    """
    n = len(peaks)
    gain = np.ones(n + 1)
    for b in range(n):
        if peaks[b] > ceiling:
            gain[b] = min(gain[b], ceiling / peaks[b])
            gain[b + 1] = min(gain[b + 1], ceiling / peaks[b])
    for b in range(n - 1, -1, -1):
        gain[b] = min(gain[b], gain[b + 1] / attack)
    for b in range(n):
        gain[b + 1] = min(gain[b + 1], gain[b] * release)
    return gain


@njit(cache=True, nogil=True)
def apply_gain(stem: Float32Array, gain: Float64Array, block: int) -> None:
    """Multiply a stem (n, 2) by a gain that is given every ``block`` samples and linear between, in place."""
    for i in range(len(stem)):
        b = i // block
        late = (i - b * block) / block
        level = np.float32(gain[b] + late * (gain[b + 1] - gain[b]))
        stem[i, 0] *= level
        stem[i, 1] *= level
