"""Harmonic-percussive source separation by median filters of the spectra along time and along frequency.

Source: D. FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010. The settings are those of
``librosa.effects.hpss``: medians of 31 values, soft masks of power 2. The two masks sum to one. Therefore the
percussive samples are the signal minus the harmonic samples, and only the harmonic samples need an inverse transform.
"""

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array
from reprise.lib.features.compiled import apply_harmonic_mask, overlap_add
from reprise.lib.features.medians import HALF_WIDTH, median_over_columns, median_over_rows
from reprise.lib.features.spectra import HOP, N_FFT, count_frames, hann_window

_OVERLAP = N_FFT // HOP - 1
BEFORE, AFTER = HALF_WIDTH + _OVERLAP, HALF_WIDTH
"""Numbers of frames before and after a block on which the harmonic samples of the block depend."""


def separate_harmonic(
    spectra: Complex64Array, magnitude: Float32Array, start: int, first: int, last: int, n_samples: int
) -> tuple[int, NDArray[Any]]:
    """Compute the harmonic samples of a block of frames.

    Parameters
    ----------
    spectra, magnitude
        (m, 1025): complex spectra and their magnitudes, of the frames from frame ``start`` on. They cover the block,
        ``BEFORE`` frames before it and ``AFTER`` frames after it, or fewer at the ends of the signal. The spectra of
        the block and of the three frames before it are overwritten.
    first, last
        First frame of the block, and the frame after its last frame. The result ends before the first sample to which
        frame ``last`` contributes. For the last block of the signal, the result ends with the signal.
    n_samples
        Number of samples of the whole signal.

    Returns
    -------
    tuple of int and numpy.ndarray
        Position of the first returned sample in the signal, and the samples, float32 (k,).
    """
    n_frames = count_frames(n_samples)
    begin = max(first - _OVERLAP, 0)
    rows = (begin - start, last - start)
    block = spectra[slice(*rows)]
    apply_harmonic_mask(block, median_over_rows(magnitude, *rows), median_over_columns(magnitude, *rows))
    frames = scipy.fft.irfft(block, n=N_FFT, axis=1, overwrite_x=True)
    stop = last + _OVERLAP if last == n_frames else last
    hops = np.empty((stop - first, HOP), dtype=np.float32)
    overlap_add(frames, begin, n_frames, hann_window().astype(np.float32), first, hops)
    at = first * HOP - N_FFT // 2
    return max(at, 0), hops.reshape(-1)[max(-at, 0) : n_samples - at]
