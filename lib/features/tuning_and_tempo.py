"""Tuning and tempo of a whole track, estimated as in librosa from the peaks and onsets of its blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.spectra import HOP, bin_frequencies

PEAK_BINS = tuple(int(i) for i in np.searchsorted(bin_frequencies(), (150.0, 4000.0)))
"""Range of bins in which ``librosa.piptrack`` looks for peaks: the first bin, and the bin after the last bin."""

PEAK_THRESHOLD = 0.1
_WINDOW = int(8.0 * SAMPLE_RATE / HOP)  # length of the tempogram's window, in frames
_MEAN_BPM, _MAX_BPM = 120.0, 320.0
_BATCH_FRAMES = 512


def estimate_tuning(frequencies: Sequence[Float32Array], heights: Sequence[Float32Array]) -> float:
    """Estimate the tuning from spectral peaks, as in ``librosa.estimate_tuning``.

    Parameters
    ----------
    frequencies, heights
        Frequencies (Hz) and heights of the peaks, one array per block of frames.

    Returns
    -------
    float
        Tuning in semitones relative to A = 440 Hz, −0.5 to 0.5 in steps of 0.01. It is 0 if there are no peaks.
    """
    import librosa

    all_heights = np.concatenate(heights)
    high = all_heights >= np.median(all_heights) if len(all_heights) else np.zeros(0, dtype=bool)
    if not high.any():
        return 0.0
    return float(librosa.pitch_tuning(np.concatenate(frequencies)[high]))


def estimate_tempo(onsets: NDArray[Any]) -> float:
    """Estimate the tempo in BPM of an onset envelope, as in ``librosa.beat.beat_track``.

    The result is 0 if all onset strengths are 0. librosa computes the autocorrelation of the window around each frame,
    divides it by its value at lag 0, and averages over the frames. This function computes the power spectrum of each
    window, divides it by the energy of the window, which is the value at lag 0, and sums over the frames. The inverse
    transform of the sum is the sum of the autocorrelations. Therefore one inverse transform is enough for all frames.

    Parameters
    ----------
    onsets
        (n,), onset strength of each frame.
    """
    if not onsets.any():
        return 0.0
    padded = np.pad(onsets.astype(np.float64), _WINDOW // 2, mode="linear_ramp", end_values=0)
    size = scipy.fft.next_fast_len(2 * _WINDOW - 1, real=True)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    frames = sliding_window_view(padded, _WINDOW)[: len(onsets)]
    total = np.zeros(size // 2 + 1)
    for start in range(0, len(frames), _BATCH_FRAMES):
        batch = frames[start : start + _BATCH_FRAMES] * window
        energy = np.einsum("fi,fi->f", batch, batch)
        spectra = scipy.fft.rfft(batch, n=size, axis=1)
        power = spectra.real**2 + spectra.imag**2
        total += np.where(energy > 0, 1 / np.where(energy > 0, energy, 1), 0) @ power
    autocorrelation = np.maximum(scipy.fft.irfft(total, n=size)[1:_WINDOW] / len(onsets), 0)
    tempos = 60 * SAMPLE_RATE / (HOP * np.arange(1, _WINDOW))
    prior = -0.5 * np.log2(tempos / _MEAN_BPM) ** 2
    prior[tempos >= _MAX_BPM] = -np.inf
    return float(tempos[np.argmax(np.log1p(1e6 * autocorrelation) + prior)])
