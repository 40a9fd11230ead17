"""Images of tracks for neural networks: float32 arrays of shape (depth, height, width). The width is the time axis.

======  ============  ================================================================================================
kind    shape         values
======  ============  ================================================================================================
msd     2, 12, 256    pitches, 0 to 1; timbre: coefficient 1 divided by 60, the others by 200, clipped to −1 to 1
mel     1, 256, 256   mean power of 256 mel bands in dB, scaled: maximum of the image = 1, 80 dB below it = 0
mfcc    1, 256, 256   orthonormal discrete cosine transform of each column of the mel image, divided by 16; −1 to 1
cqt     1, 84, T      mean power of 84 semitones from C1, scaled as in mel; a column is four hops of 512 samples
======  ============  ================================================================================================

In the kinds msd and mel, a track is divided into 256 equal time intervals, and a column is the mean over one interval.
In the kind mfcc, a column is computed from a column of the mel image. Therefore a short track fills the full width in
these kinds, even if it has only one frame or segment. In the kind cqt, the width T depends on the length of the track.
If a track has no samples or no segments, all values are 0. In the kinds mel, mfcc and cqt, all values of a silent track
are 0, too.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.compiled import measure_power
from reprise.lib.features.spectra import HOP, compute_stft, count_frames, mel_filters, read_samples

WIDTH = 256
AUDIO_KINDS = ("mel", "mfcc", "cqt")
_N_PITCHES = 12
_TIMBRE_SCALE = np.array([60.0] + 11 * [200.0])
_N_SEMITONES = 84
_HOPS_PER_COLUMN = 4
_RANGE_DB = 80.0
_BLOCK_FRAMES = 2584  # a multiple of _HOPS_PER_COLUMN
_CQT_CONTEXT = 2 * SAMPLE_RATE // HOP  # in frames; longer than half of the filter for the lowest semitone


def make_audio_images(signal: NDArray[Any], kinds: Collection[str]) -> dict[str, Float32Array]:
    """Make images of a mono float32 signal at 22,050 Hz.

    Parameters
    ----------
    signal
        (n,) samples. A ``numpy.memmap`` is accepted.
    kinds
        Kinds of images to make, from ``AUDIO_KINDS``.

    Returns
    -------
    dict
        Images by kind, with the shapes and values in the module docstring.
    """
    signal = signal if len(signal) else np.zeros(1, dtype=np.float32)
    images = {}
    if {"mel", "mfcc"} & set(kinds):
        images["mel"] = _make_mel_image(signal)
        images["mfcc"] = (scipy.fft.dct(images["mel"], norm="ortho", axis=1) / np.sqrt(WIDTH)).astype(np.float32)
    if "cqt" in kinds:
        images["cqt"] = _make_cqt_image(signal)
    return {kind: images[kind] for kind in kinds}


def make_msd_image(
    pitches: ArrayLike, timbre: ArrayLike, segments_start: ArrayLike, duration: float | None
) -> Float32Array:
    """Make the image of an analysis.

    Parameters
    ----------
    pitches, timbre
        (N, 12), or (12 N,) in row-major order.
    segments_start
        (N,) in s, ascending.
    duration
        End of the last segment in s, or None when it is unknown.

    Returns
    -------
    numpy.ndarray
        float32 (2, 12, 256): the pitches, then the timbre.
    """
    start = np.asarray(segments_start, dtype=np.float64)
    if not len(start):
        return np.zeros((2, _N_PITCHES, WIDTH), dtype=np.float32)
    scaled = np.asarray(timbre, dtype=np.float64).reshape(-1, _N_PITCHES) / _TIMBRE_SCALE
    rows = np.concatenate([np.reshape(pitches, (-1, _N_PITCHES)), np.clip(scaled, -1, 1)], axis=1)
    edges = np.append(start, max(duration or 0.0, start[-1]))
    if edges[-1] == edges[0]:
        edges = np.arange(len(edges), dtype=np.float64)
    sums = integrate_between(rows, edges, np.linspace(edges[0], edges[-1], WIDTH + 1))
    means = sums * (WIDTH / (edges[-1] - edges[0]))
    return np.ascontiguousarray(means.T.reshape(2, _N_PITCHES, WIDTH), dtype=np.float32)


def integrate_between(rows: NDArray[Any], edges: NDArray[Any], bounds: NDArray[Any]) -> Float64Array:
    """Compute the integrals of a step function between consecutive bounds.

    Parameters
    ----------
    rows, edges
        (n, k) values and (n + 1,) ascending positions. Row i is the value of the function from edge i to edge i + 1.
        Before the first edge and after the last edge, the function is 0.
    bounds
        (m + 1,) ascending positions, the limits of the m integrals.

    Returns
    -------
    numpy.ndarray
        float64 (m, k).
    """
    widths = np.diff(edges)
    integral = np.zeros((len(rows) + 1, rows.shape[1]))
    np.cumsum(rows * widths[:, None], axis=0, out=integral[1:])
    inside = np.clip(bounds, edges[0], edges[-1])
    at = np.clip(np.searchsorted(edges, inside, side="right") - 1, 0, len(rows) - 1)
    return np.diff(integral[at] + rows[at] * (inside - edges[at])[:, None], axis=0)


def _make_mel_image(signal: NDArray[Any]) -> Float32Array:
    n_frames = count_frames(len(signal))
    bounds = np.linspace(0, n_frames, WIDTH + 1)
    sums = np.zeros((WIDTH, WIDTH))
    for first in range(0, n_frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, n_frames)
        power = measure_power(compute_stft(signal, first, last))[1] @ mel_filters(WIDTH)
        sums += integrate_between(power, np.arange(first, last + 1), bounds)
    return _scale(sums)


def _make_cqt_image(signal: NDArray[Any]) -> Float32Array:
    import librosa

    n_frames = count_frames(len(signal))
    columns = []
    for first in range(0, n_frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, n_frames)
        samples = read_samples(signal, (first - _CQT_CONTEXT) * HOP, (last + _CQT_CONTEXT) * HOP)
        amplitude = np.abs(librosa.cqt(samples, sr=SAMPLE_RATE, hop_length=HOP, n_bins=_N_SEMITONES))
        power = amplitude.T[_CQT_CONTEXT : _CQT_CONTEXT + last - first].astype(np.float64) ** 2
        bounds = np.append(np.arange(first, last, _HOPS_PER_COLUMN), last)
        columns.append(integrate_between(power, np.arange(first, last + 1), bounds) / np.diff(bounds)[:, None])
    return _scale(np.concatenate(columns))


def _scale(power: Float64Array) -> Float32Array:
    """Convert power (width, height) to an image (1, height, width) in dB: maximum = 1, 80 dB below it = 0."""
    loudest = power.max(initial=0.0)
    if not 0 < loudest < np.inf:
        return np.zeros((1, *power.T.shape), dtype=np.float32)
    decibels = 10 * np.log10(np.maximum(power.T / loudest, 10 ** (-_RANGE_DB / 10)))
    return np.ascontiguousarray(1 + decibels / _RANGE_DB, dtype=np.float32)[None]
