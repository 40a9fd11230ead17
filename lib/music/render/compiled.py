"""Compiled loops of synthesis and mixing: oscillators, note placement, reverberation and a limiter."""

import numpy as np
from numba import njit

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array

_INAUDIBLE = 1e-5


@njit(cache=True, nogil=True)
def sum_decaying_partials(
    step_rad: Float64Array, amplitude: Float64Array, decay_samples: Float64Array, phase: Float64Array, n: int
) -> Float32Array:
    """Return the sum of exponentially decaying partials, float32 of shape (n,).

    Parameters
    ----------
    step_rad, amplitude, decay_samples, phase
        Arrays of shape (p,), one value per partial: radians per sample, initial amplitude, number of samples in which
        the amplitude falls to 1/e, and initial phase in radians.
    """
    out = np.zeros(n, dtype=np.float64)
    for p in range(len(step_rad)):
        start_amplitude = abs(amplitude[p])
        if start_amplitude <= _INAUDIBLE:
            continue
        n_audible = min(n, int(decay_samples[p] * np.log(start_amplitude / _INAUDIBLE)) + 2)
        decay_factor = np.exp(-1.0 / decay_samples[p])
        # y[i] = amplitude·decay_factorⁱ·sin(phase + i·step_rad), computed from the two previous values
        factor1, factor2 = 2.0 * decay_factor * np.cos(step_rad[p]), decay_factor * decay_factor
        previous2 = amplitude[p] / decay_factor * np.sin(phase[p] - step_rad[p])
        previous1 = amplitude[p] * np.sin(phase[p])
        for i in range(n_audible):
            out[i] += previous1
            previous2, previous1 = previous1, factor1 * previous1 - factor2 * previous2
    return out.astype(np.float32)


@njit(cache=True, nogil=True)
def sum_harmonics(phase: Float64Array, spectrum: Float32Array, hop: int) -> Float32Array:
    """Return the sum of the harmonics of one varying fundamental, float32 of shape (n,).

    Parameters
    ----------
    phase
        Phase of the fundamental at each sample in radians, shape (n,).
    spectrum
        Shape (frames, harmonics), frames > n / hop + 1: amplitude of each harmonic at every ``hop``-th sample.
        Amplitudes between these samples are interpolated linearly.
    """
    out = np.empty(len(phase), dtype=np.float32)
    for i in range(len(phase)):
        frame = i // hop
        fraction = (i - frame * hop) / hop
        # sin(kx) = 2·cos(x)·sin((k-1)x) - sin((k-2)x)
        previous2, previous1, two_cos = 0.0, np.sin(phase[i]), 2.0 * np.cos(phase[i])
        total = 0.0
        for k in range(spectrum.shape[1]):
            amplitude_here = spectrum[frame, k]
            total += (amplitude_here + fraction * (spectrum[frame + 1, k] - amplitude_here)) * previous1
            previous2, previous1 = previous1, two_cos * previous1 - previous2
        out[i] = total
    return out


@njit(cache=True, nogil=True)
def add_notes(
    out: Float32Array,
    note: Float32Array,
    start: Int64Array,
    held_samples: Int64Array,
    gain: Float32Array,
    release_samples: int,
) -> None:
    """Add a rendered note to a stem of shape (n, 2) once for each start, in place.

    Parameters
    ----------
    note
        Shape (m,). If a repetition with its release is longer, it stops after m samples.
    start, held_samples
        First sample of each repetition, and number of samples until its release, shape (repetitions,).
    gain
        Left and right gain of each repetition, shape (repetitions, 2).
    release_samples
        Number of samples in which the note falls by 60 dB after its release.
    """
    decay_factor = 10.0 ** (-3.0 / release_samples)
    for t in range(len(start)):
        last = min(held_samples[t] + release_samples, len(note), len(out) - start[t])
        level = 1.0
        for i in range(last):
            if i >= held_samples[t]:
                level *= decay_factor
            value = note[i] * level
            out[start[t] + i, 0] += gain[t, 0] * value
            out[start[t] + i, 1] += gain[t, 1] * value


@njit(cache=True, nogil=True)
def saturate(signal: Float32Array, drive: float) -> Float32Array:
    """Return tanh(drive · signal), shape (n,), with first-order antiderivative antialiasing.

    Source: Parker, Zavalishin & Le Bivic 2016, "Reducing the aliasing of nonlinear waveshaping using continuous-time
    convolution".
    """
    out = np.empty_like(signal)
    previous, previous_integral = 0.0, 0.0
    for i in range(len(signal)):
        x = drive * signal[i]
        size = abs(x)
        integral = size + np.log1p(np.exp(-2.0 * size)) - np.log(2.0)  # log cosh x without overflow
        step = x - previous
        if abs(step) > 1e-4:
            out[i] = (integral - previous_integral) / step
        else:
            out[i] = np.tanh(0.5 * (x + previous))
        previous, previous_integral = x, integral
    return out


@njit(cache=True, nogil=True)
def reverberate(
    signal: Float32Array, delays: Int64Array, feedback: Float64Array, damping: float, out: Float32Array
) -> None:
    """Add reverberation of a signal (n,) to ``out`` (n, 2), with a feedback delay network of eight lines.

    The lines are mixed by a Householder reflection. Even lines go to the left channel, odd ones to the right. Source:
    Jot & Chaigne 1991, "Digital delay networks for designing artificial reverberators".

    Parameters
    ----------
    delays, feedback
        Length in samples and feedback gain of each line, shape (8,).
    damping
        Loss of high frequencies in each pass, from 0 (bare walls) towards 1 (heavy curtains).
    """
    lines = np.zeros((8, delays.max()), dtype=np.float32)
    write_position = np.zeros(8, dtype=np.int64)
    lowpass = np.zeros(8, dtype=np.float32)
    lowpass_step = np.float32(1.0 - damping)
    gain = feedback.astype(np.float32)
    for i in range(len(signal)):
        total = np.float32(0.0)
        for k in range(8):
            lowpass[k] += lowpass_step * (lines[k, write_position[k]] - lowpass[k])
            total += lowpass[k]
        out[i, 0] += lowpass[0] + lowpass[2] - lowpass[4] + lowpass[6]
        out[i, 1] += lowpass[1] - lowpass[3] + lowpass[5] + lowpass[7]
        total *= np.float32(0.25)
        for k in range(8):
            lines[k, write_position[k]] = signal[i] + gain[k] * (lowpass[k] - total)
            write_position[k] += 1
            if write_position[k] == delays[k]:
                write_position[k] = 0


@njit(cache=True, nogil=True)
def measure_peaks(stems: Float32Array, block: int) -> Float64Array:
    """Return the peak of each block of samples, shape (blocks,).

    The peak is the largest magnitude of a sample in the stems (s, n, 2) and in the sum of the stems.
    """
    n = stems.shape[1]
    peaks = np.zeros((n + block - 1) // block)
    for i in range(n):
        for side in range(2):
            total = np.float32(0.0)
            largest = np.float32(0.0)
            for s in range(stems.shape[0]):
                total += stems[s, i, side]
                largest = max(largest, abs(stems[s, i, side]))
            peaks[i // block] = max(peaks[i // block], largest, abs(total))
    return peaks


@njit(cache=True, nogil=True)
def compute_limiter_gain(peaks: Float64Array, ceiling: float, attack: float, release: float) -> Float64Array:
    """Return the limiter's gain at each block edge, shape (blocks + 1,), so that no block's peak exceeds the ceiling.

    The gain is interpolated linearly between edges, see `apply_gain`. From one edge to the next, the gain falls at most
    by the factor ``attack`` and rises at most by the factor ``release``. 0 < ``attack`` <= 1 <= ``release``.
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
    """Multiply a stem (n, 2) in place by a gain.

    ``gain`` has one value every ``block`` samples. Values between them are interpolated linearly.
    """
    for i in range(len(stem)):
        b = i // block
        fraction = (i - b * block) / block
        level = np.float32(gain[b] + fraction * (gain[b + 1] - gain[b]))
        stem[i, 0] *= level
        stem[i, 1] *= level
