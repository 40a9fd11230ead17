"""Images of tracks for genre models, all of them float32 of shape (depth, height, width) with time to the right.

======  ============  ================================================================================================
kind    shape         values
======  ============  ================================================================================================
msd     2, 12, 256    pitches as they are, 0 to 1; timbre: the first coefficient / 60, the others / 200, within −1 to 1
mel     1, 256, 256   mean power of 256 mel bands, from 80 dB below the loudest of the image (0) up to it (1)
mfcc    1, 256, 256   orthonormal discrete cosine transform of each column of the mel image, / 16: within −1 to 1
cqt     1, 84, T      mean power of 84 semitones from C1, scaled as mel; a column is four steps of 512 samples
======  ============  ================================================================================================

A column is the mean over the time it stands for. So long tracks are averaged and short ones stretched, down to a single
frame or segment; of nothing, and of silence, all values are 0.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.compiled import measure_power
from reprise.lib.features.spectra import HOP, count_frames, mel_filters, read_samples, transform

WIDTH = 256
AUDIO_KINDS = ("mel", "mfcc", "cqt")
_N_PITCHES = 12
_TIMBRE_SCALE = np.array([60.0] + 11 * [200.0])
_N_SEMITONES = 84
_HOPS_A_COLUMN = 4
_RANGE_DB = 80.0
_BLOCK_FRAMES = 2584  # a multiple of the above
_CQT_CONTEXT = 2 * SAMPLE_RATE // HOP  # more frames than the lowest filter reaches


def make_audio_images(signal: NDArray[Any], kinds: Collection[str]) -> dict[str, Float32Array]:
    """Images of a mono float32 signal at 22,050 Hz, by their kinds, some of ``AUDIO_KINDS``."""
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
    """Image of an analysis.

    Parameters
    ----------
    pitches, timbre
        (N, 12) or (12 N,) row-major.
    segments_start
        (N,) in s, ascending.
    duration
        End of the last segment in s; None where it is not known.

    Returns
    -------
    numpy.ndarray
        float32 (2, 12, 256): pitches, timbre.
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
    """Integrals of a step function between bounds.

    Parameters
    ----------
    rows, edges
        (n, k) values and (n + 1,) ascending places: row i is the value from edge i to edge i + 1. Outside it is 0.
    bounds
        (m + 1,) ascending places.

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
        power = measure_power(transform(signal, first, last))[1] @ mel_filters(WIDTH)
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
        bounds = np.append(np.arange(first, last, _HOPS_A_COLUMN), last)
        columns.append(integrate_between(power, np.arange(first, last + 1), bounds) / np.diff(bounds)[:, None])
    return _scale(np.concatenate(columns))


def _scale(power: Float64Array) -> Float32Array:
    """Power (width, height) as an image from 0, 80 dB below its maximum, to 1."""
    loudest = power.max(initial=0.0)
    if not 0 < loudest < np.inf:
        return np.zeros((1, *power.T.shape), dtype=np.float32)
    decibels = 10 * np.log10(np.maximum(power.T / loudest, 10 ** (-_RANGE_DB / 10)))
    return np.ascontiguousarray(1 + decibels / _RANGE_DB, dtype=np.float32)[None]
