"""Harmonic and percussive parts of a signal, by medians of its spectra along time and along frequency.

D. FitzGerald, "Harmonic/percussive separation using median filtering", DAFx 2010, with the settings of
``librosa.effects.hpss``: medians of 31, shares by squares. The two shares of a spectrum sum to one, so that the
percussive part is what the harmonic one leaves of the signal and needs no transform of its own.
"""

from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from reprise.lib.arrays import Complex64Array, Float32Array
from reprise.lib.features.compiled import keep_harmonic, overlap_add
from reprise.lib.features.medians import HALF_WIDTH, median_over_columns, median_over_rows
from reprise.lib.features.spectra import HOP, N_FFT, count_frames, hann_window

_OVERLAP = N_FFT // HOP - 1
BEFORE, AFTER = HALF_WIDTH + _OVERLAP, HALF_WIDTH
"""Frames before and after a block that its harmonic samples depend on."""


def separate_harmonic(
    spectra: Complex64Array, magnitude: Float32Array, start: int, first: int, last: int, n_samples: int
) -> tuple[int, NDArray[Any]]:
    """Harmonic samples of a block of frames.

    Parameters
    ----------
    spectra, magnitude
        (m, 1025): those of the frames from ``start`` on, of which there are ``BEFORE`` before the block and ``AFTER``
        behind it unless the signal ends there. Those of the block are overwritten.
    first, last
        The block's frames. Its samples are those that the frames up to ``last`` complete, and at the end all.
    n_samples
        Length of the whole signal.

    Returns
    -------
    tuple of int and numpy.ndarray
        Where in the signal the samples begin, and they, float32.
    """
    n_frames = count_frames(n_samples)
    begin = max(first - _OVERLAP, 0)
    rows = (begin - start, last - start)
    part = spectra[slice(*rows)]
    keep_harmonic(part, median_over_rows(magnitude, *rows), median_over_columns(magnitude, *rows))
    frames = scipy.fft.irfft(part, n=N_FFT, axis=1, overwrite_x=True)
    stop = last + _OVERLAP if last == n_frames else last
    steps = np.empty((stop - first, HOP), dtype=np.float32)
    overlap_add(frames, begin, n_frames, hann_window().astype(np.float32), first, steps)
    at = first * HOP - N_FFT // 2
    return max(at, 0), steps.reshape(-1)[max(-at, 0) : n_samples - at]
