"""Tuning and tempo of a whole track as librosa estimates them, from what its blocks give."""

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
"""First bin of ``librosa.piptrack``'s range, and the one after its last."""

PEAK_THRESHOLD = 0.1
_WINDOW = int(8.0 * SAMPLE_RATE / HOP)  # of the tempogram, in frames
_MEAN_BPM, _MAX_BPM = 120.0, 320.0
_FRAMES_AT_ONCE = 512


def estimate_tuning(frequencies: Sequence[Float32Array], heights: Sequence[Float32Array]) -> float:
    """Tuning in semitones above 440 Hz, −0.5 to 0.5 in steps of 0.01, of spectral peaks: ``librosa.estimate_tuning``.

    ``frequencies`` in Hz and ``heights`` are of a block of frames each; without any peak the tuning is 0.
    """
    import librosa

    all_heights = np.concatenate(heights)
    high = all_heights >= np.median(all_heights) if len(all_heights) else np.zeros(0, dtype=bool)
    if not high.any():
        return 0.0
    return float(librosa.pitch_tuning(np.concatenate(frequencies)[high]))


def estimate_tempo(onsets: NDArray[Any]) -> float:
    """Tempo in BPM of an onset envelope, one value a frame, as ``librosa.beat.beat_track`` gives; 0 without onsets.

    The mean over all frames of autocorrelations that are each divided by the one at lag 0. Power spectra can be divided
    and summed as well, so that one transform goes back instead of one a frame.
    """
    if not onsets.any():
        return 0.0
    padded = np.pad(onsets.astype(np.float64), _WINDOW // 2, mode="linear_ramp", end_values=0)
    size = scipy.fft.next_fast_len(2 * _WINDOW - 1, real=True)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    frames = sliding_window_view(padded, _WINDOW)[: len(onsets)]
    total = np.zeros(size // 2 + 1)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        part = frames[start : start + _FRAMES_AT_ONCE] * window
        energy = np.einsum("fi,fi->f", part, part)
        spectra = scipy.fft.rfft(part, n=size, axis=1)
        power = spectra.real**2 + spectra.imag**2
        total += np.where(energy > 0, 1 / np.where(energy > 0, energy, 1), 0) @ power
    similarity = np.maximum(scipy.fft.irfft(total, n=size)[1:_WINDOW] / len(onsets), 0)
    tempos = 60 * SAMPLE_RATE / (HOP * np.arange(1, _WINDOW))
    prior = -0.5 * np.log2(tempos / _MEAN_BPM) ** 2
    prior[tempos >= _MAX_BPM] = -np.inf
    return float(tempos[np.argmax(np.log1p(1e6 * similarity) + prior)])
