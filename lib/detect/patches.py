"""2D Fourier magnitude of beat chroma patches: what stays of a song without its key and its position in time.

The magnitude of a real patch's transform is point-symmetric: of its 12 × 75 values 451 are distinct. These are kept, as
a *half patch*; `unfold` gives all 900 back in the order of the published code.
"""

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view

from reprise.lib.arrays import Float32Array, IntpArray

PATCH_BEATS = 75
POWER = 1.96
HALF = 451

# of the transform's 7 pitch frequencies and 75 beat frequencies: rows 0 and 6 are symmetric in themselves
_ROWS = np.repeat(np.arange(7), [38, 75, 75, 75, 75, 75, 38])
_COLUMNS = np.concatenate([np.arange(38), np.tile(np.arange(75), 5), np.arange(38)])


def _unfolding() -> IntpArray:
    """Position in the half patch of each of the 900 values, both frequencies centred, column after column."""
    places = np.empty((12, PATCH_BEATS), dtype=np.intp)
    places[_ROWS, _COLUMNS] = places[-_ROWS % 12, -_COLUMNS % PATCH_BEATS] = np.arange(HALF)
    return np.fft.fftshift(places).ravel(order="F")


_UNFOLDING = _unfolding()
HALF_WEIGHTS: Float32Array = np.sqrt(np.bincount(_UNFOLDING)).astype(np.float32)
"""(451,): 1 or √2. Half patches times these are as far from each other as the 900-D vectors they stand for."""


def raise_power(chroma: Float32Array) -> Float32Array:
    """Sharpen chroma: raise it to the power 1.96, keeping each column's Euclidean norm.

    Takes and returns float32 (12, B). A column of zeros stays one. The unit column is raised, not the column, so that
    soft beats are sharpened as much as loud ones (Bertin-Mahieux & Ellis 2012).
    """
    norms = _column_norms(chroma)
    powered = (chroma / norms) ** np.float32(POWER)
    return np.asarray(powered * (norms / _column_norms(powered)), dtype=np.float32)


def _column_norms(chroma: Float32Array) -> Float32Array:
    norms = np.sqrt(np.einsum("ij,ij->j", chroma, chroma))
    return np.where(norms > 0, norms, np.float32(1))


def count_patches(n_beats: int) -> int:
    """How many patches, one a beat, fit in so many beats."""
    return max(n_beats - PATCH_BEATS + 1, 0)


def patch_magnitudes(chroma: Float32Array) -> Float32Array:
    """Half patch at each beat: magnitude of the unnormalised 2D transform of 75 beats of sharpened chroma.

    Parameters
    ----------
    chroma
        float32 (12, B), not yet sharpened.

    Returns
    -------
    numpy.ndarray
        float32 (max(B - 74, 0), 451).
    """
    return np.ascontiguousarray(_transposed_magnitudes(chroma).T)


def median_patch(chroma: Float32Array) -> Float32Array:
    """Element-wise median over a track's half patches: float32 (451,).

    Raises
    ------
    ValueError
        For fewer than 75 beats, which hold no patch.
    """
    magnitudes = _transposed_magnitudes(chroma)
    n_patches = magnitudes.shape[1]
    if not n_patches:
        raise ValueError(f"{chroma.shape[1]} beats hold no patch of {PATCH_BEATS}")
    magnitudes.sort(axis=1)  # faster than selecting: numpy sorts float32 with vector instructions
    return (magnitudes[:, (n_patches - 1) // 2] + magnitudes[:, n_patches // 2]) / np.float32(2)


def _transposed_magnitudes(chroma: Float32Array) -> Float32Array:
    if not count_patches(chroma.shape[1]):
        return np.empty((HALF, 0), dtype=np.float32)
    # pitches first: each beat's transform over them is needed once, whatever patches it is in
    pitches = sliding_window_view(scipy.fft.rfft(raise_power(chroma), axis=0), PATCH_BEATS, axis=1).transpose(0, 2, 1)
    magnitudes = np.empty((HALF, pitches.shape[2]), dtype=np.float32)
    # the first and the last of the seven are real, and half of what becomes of them is enough
    np.abs(scipy.fft.rfft(pitches[0].real, axis=0), out=magnitudes[:38])
    np.abs(scipy.fft.rfft(pitches[6].real, axis=0), out=magnitudes[-38:])
    np.abs(scipy.fft.fft(pitches[1:6], axis=1), out=magnitudes[38:-38].reshape(5, PATCH_BEATS, -1))
    return magnitudes


def unfold(half: Float32Array) -> Float32Array:
    """All 900 values of half patches of shape (…, 451): both frequencies centred, column-major, DC at index 450."""
    return np.asarray(half[..., _UNFOLDING])
