"""2D Fourier magnitudes of beat chroma patches. They do not depend on the key or on the position in time.

The Fourier magnitude of a real patch is point-symmetric: only 451 of the 12 × 75 values are distinct. These 451 values
are called a *half patch*. `unfold` returns all 900 values in the order of the published code.
"""

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from reprise.lib.arrays import Float32Array, IntpArray

PATCH_BEATS = 75
POWER = 1.96
HALF_PATCH_SIZE = 451
"""Number of values of a half patch."""

# row of each value: 7 pitch frequencies with 75 beat frequencies; of the symmetric rows 0 and 6, only half is kept
_ROWS = np.repeat(np.arange(7), [38, 75, 75, 75, 75, 75, 38])
_COLUMNS = np.concatenate([np.arange(38), np.tile(np.arange(75), 5), np.arange(38)])


def _unfolding() -> IntpArray:
    """Return the indices (900,) into the half patch that give all 900 values, in the order of `unfold`."""
    index = np.empty((12, PATCH_BEATS), dtype=np.intp)
    index[_ROWS, _COLUMNS] = index[-_ROWS % 12, -_COLUMNS % PATCH_BEATS] = np.arange(HALF_PATCH_SIZE)
    return np.fft.fftshift(index).ravel(order="F")


_UNFOLDING = _unfolding()
HALF_PATCH_WEIGHTS: Float32Array = np.sqrt(np.bincount(_UNFOLDING)).astype(np.float32)
"""Weights (451,), 1 or √2. Half patches multiplied by the weights have the same distances as the 900-D vectors."""


def raise_power(chroma: Float32Array) -> Float32Array:
    """Sharpen chroma: raise the values to the power 1.96, but keep the Euclidean norm of each column.

    Input and output are float32 (12, B). A column of zeros does not change. Each column is scaled to norm 1 first, so
    that soft beats are sharpened as much as loud beats (Bertin-Mahieux & Ellis 2012).
    """
    norms = _column_norms(chroma)
    powered = (chroma / norms) ** np.float32(POWER)
    return np.asarray(powered * (norms / _column_norms(powered)), dtype=np.float32)


def _column_norms(chroma: Float32Array) -> Float32Array:
    norms = np.sqrt(np.einsum("ij,ij->j", chroma, chroma))
    return np.where(norms > 0, norms, np.float32(1))


def count_patches(n_beats: int) -> int:
    """Return the number of patches of a track: one patch starts at each beat except the last 74."""
    return max(n_beats - PATCH_BEATS + 1, 0)


def patch_magnitudes(chroma: Float32Array) -> Float32Array:
    """Compute the half patches of a track: magnitudes of the unnormalised 2D FFT of 75 beats of sharpened chroma.

    Parameters
    ----------
    chroma
        Beat chroma, float32 (12, B), before `raise_power`.

    Returns
    -------
    numpy.ndarray
        float32 (max(B - 74, 0), 451).
    """
    return np.ascontiguousarray(_transposed_magnitudes(chroma).T)


def median_patch(chroma: Float32Array) -> Float32Array:
    """Compute the element-wise median of the half patches of a track: float32 (451,).

    Raises
    ------
    ValueError
        The track has fewer than 75 beats, so it has no patches.
    """
    magnitudes = _transposed_magnitudes(chroma)
    n_patches = magnitudes.shape[1]
    if not n_patches:
        raise ValueError(
            f"a patch needs at least {PATCH_BEATS} beats, but the number of beats is {chroma.shape[1]}: "
            "leave out this track"
        )
    magnitudes.sort(axis=1)  # faster than np.partition: numpy sorts float32 with vector instructions
    return (magnitudes[:, (n_patches - 1) // 2] + magnitudes[:, n_patches // 2]) / np.float32(2)


def _transposed_magnitudes(chroma: Float32Array) -> Float32Array:
    """Return the half patches as columns, float32 (451, patches)."""
    if not count_patches(chroma.shape[1]):
        return np.empty((HALF_PATCH_SIZE, 0), dtype=np.float32)
    # transform over pitches first: this takes one transform per beat, although each beat is in many patches
    pitches = sliding_window_view(scipy.fft.rfft(raise_power(chroma), axis=0), PATCH_BEATS, axis=1).transpose(0, 2, 1)
    magnitudes = np.empty((HALF_PATCH_SIZE, pitches.shape[2]), dtype=np.float32)
    # the values at pitch frequencies 0 and 6 are real, so half of their transform over beats is enough
    np.abs(scipy.fft.rfft(pitches[0].real, axis=0), out=magnitudes[:38])
    np.abs(scipy.fft.rfft(pitches[6].real, axis=0), out=magnitudes[-38:])
    np.abs(scipy.fft.fft(pitches[1:6], axis=1), out=magnitudes[38:-38].reshape(5, PATCH_BEATS, -1))
    return magnitudes


def unfold(half: Float32Array) -> Float32Array:
    """Return all 900 values of half patches (…, 451): shape (…, 900).

    The values are those of a 12 × 75 patch in column-major order, with the zero frequency in the middle of both axes.
    Therefore the zero frequency has index 450.
    """
    return np.asarray(half[..., _UNFOLDING])
