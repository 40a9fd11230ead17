"""Features of audio for genre models: the columns of the published GTZAN table, and more, in one pass.

Each column is what librosa 0.11 gives with its defaults (frames of 2048 samples, every 512) at 22,050 Hz, within 1e-3
of its value. All of them come from one short-time Fourier transform, one separation and one mel spectrum. The signal is
gone through in blocks of a minute; a feature that depends on the whole track (chroma on its tuning, decibels on its
loudest band, 80 dB below which they end) is made in a second round from spectra that are kept, or, in tracks of more
than ten minutes, made again.

What librosa leaves open: spectral flux is the mean over mel bands of the rise in decibels since the frame before,
``librosa.onset.onset_strength(S=…, center=False)``; tonnetz is made of the chroma of these spectra; samples that are
not finite count as zeros. Silence has values: decibels of −100, roll-off and centroid 0 Hz, flatness 1, tempo 0. What
is not finite, as of samples beyond all measure, is None, and so is every feature of a signal without samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.features.compiled import (
    TINY,
    find_peaks,
    measure_extremes,
    measure_levels,
    measure_power,
    measure_shapes,
    sum_parts,
)
from reprise.lib.features.hpss import AFTER, BEFORE, separate_harmonic
from reprise.lib.features.spectra import (
    HOP,
    N_FFT,
    bin_frequencies,
    chroma_filters,
    count_frames,
    mel_filters,
    read_samples,
    to_decibel,
    transform,
)
from reprise.lib.features.statistics import Moments, merge_moments, summarise
from reprise.lib.features.tuning_and_tempo import PEAK_BINS, PEAK_THRESHOLD, estimate_tempo, estimate_tuning

WINDOW_SAMPLES = 3 * SAMPLE_RATE
BLOCK_FRAMES = 2584
_KEPT_FRAMES = 10 * BLOCK_FRAMES
_TOP_DB = 80.0
_LARGEST = float(np.finfo(np.float32).max)
_N_MFCC, _N_CHROMA, _N_CONTRAST, _N_TONNETZ = 20, 12, 7, 6

_SHAPES = ("spectral_centroid", "spectral_bandwidth", "rolloff", "spectral_flatness", "rms", "zero_crossing_rate")
_CHROMA = slice(len(_SHAPES), len(_SHAPES) + _N_CHROMA)
_NAMES = (
    *_SHAPES,
    "chroma_stft",
    *(f"spectral_contrast{n + 1}" for n in range(_N_CONTRAST)),
    "spectral_flux",
    *(f"mfcc{n + 1}" for n in range(_N_MFCC)),
    *(f"tonnetz{n + 1}" for n in range(_N_TONNETZ)),
)
_PARTS = ("harmony", "perceptr")


@dataclass(frozen=True)
class _Block:
    """What the first round leaves of some frames; ``power`` and ``mel`` only of tracks that are short enough."""

    first: int
    last: int
    shapes: Float64Array
    extremes: Float32Array
    peaks: Float32Array
    heights: Float32Array
    parts: Moments
    loudest_band: float
    power: Float32Array | None
    mel: Float32Array | None


def measure(signal: NDArray[Any], *, block_frames: int = BLOCK_FRAMES) -> list[dict[str, float | None]]:
    """Measure a track and each of its 3-second windows.

    Parameters
    ----------
    signal
        (n,) float32 samples at 22,050 Hz, mono; may be a ``numpy.memmap`` of any length.
    block_frames
        Frames at once; the result does not depend on it but in the seventh digit.

    Returns
    -------
    list of dict
        Rows of ``audio_genre_features``: ``window`` (−1 for the whole track, then 0, 1, …), ``start_s``, ``length_s``,
        and mean and variance of each feature. A window has the frames whose centres lie in it; the last one may be
        shorter, down to half. ``tempo`` is None in windows.
    """
    if not len(signal):
        return [_to_row(-1, 0, {})]
    n_frames = count_frames(len(signal))
    starts = range(0, n_frames, block_frames)
    with np.errstate(over="ignore", invalid="ignore"):
        keep = n_frames <= _KEPT_FRAMES
        blocks = [_measure_block(signal, at, min(at + block_frames, n_frames), keep=keep) for at in starts]
        moments, onsets = [], []
        for block, values, rises in _measure_again(signal, blocks):
            moments.append(summarise(values, np.arange(block.first, block.last) * HOP // WINDOW_SAMPLES))
            onsets.append(rises)
        parts = [block.parts for block in blocks if len(block.parts.groups)]
        whole = _name(merge_moments(moments, whole=True), merge_moments(parts, whole=True))[0]
        # librosa moves onsets from where a rise is to the middle of the first frame that has it in full
        late = np.pad(np.concatenate(onsets), (N_FFT // (2 * HOP), 0))[:n_frames]
        whole["tempo"] = estimate_tempo(late)
        n_windows = (len(signal) + WINDOW_SAMPLES // 2) // WINDOW_SAMPLES
        windows = _name(merge_moments(moments), merge_moments(parts))[:n_windows]
    return [_to_row(-1, len(signal), whole), *(_to_row(i, len(signal), window) for i, window in enumerate(windows))]


def _measure_block(signal: NDArray[Any], first: int, last: int, *, keep: bool) -> _Block:
    """First round: all that needs no more than a block and the frames around it."""
    n_frames = count_frames(len(signal))
    start, stop = max(first - BEFORE, 0), min(last + AFTER, n_frames)
    spectra = transform(signal, start, stop)
    magnitude, power = measure_power(spectra)
    inside = slice(first - start, last - start)
    mel = power[inside] @ mel_filters()
    shapes = np.empty((last - first, len(_SHAPES)))
    measure_shapes(magnitude[inside], power[inside], bin_frequencies(), shapes[:, :4])
    samples, begin, end = _read_levels(signal, first, last)
    measure_levels(samples, begin, end, shapes[:, 4:])
    extremes = np.empty((last - first, 2 * _N_CONTRAST), dtype=np.float32)
    measure_extremes(magnitude[inside], _contrast_bands(), extremes)
    peaks, heights = find_peaks(power[inside], PEAK_BINS[0], PEAK_BINS[1], PEAK_THRESHOLD)
    at, harmonic = separate_harmonic(spectra, magnitude, start, first, last, len(signal))
    return _Block(
        first=first,
        last=last,
        shapes=shapes,
        extremes=extremes,
        peaks=peaks,
        heights=heights,
        parts=_summarise_parts(read_samples(signal, at, at + len(harmonic)), harmonic, at),
        loudest_band=float(mel.max()),
        power=power[inside] if keep else None,
        mel=mel if keep else None,
    )


def _measure_again(signal: NDArray[Any], blocks: list[_Block]) -> Iterator[tuple[_Block, Float64Array, Float32Array]]:
    """Second round: each block's frames with all features (n, k), and the medians of the rises of their bands (n,)."""
    tuning = estimate_tuning([block.peaks for block in blocks], [block.heights for block in blocks])
    floor = to_decibel(np.array([max(block.loudest_band for block in blocks)]))[0] - _TOP_DB
    levels = np.max([block.extremes.max(axis=0) for block in blocks], axis=0).reshape(2, _N_CONTRAST).max(axis=1)
    before = None
    for block in blocks:
        power, mel = block.power, block.mel
        if power is None or mel is None:
            power = measure_power(transform(signal, block.first, block.last))[1]
            mel = power @ mel_filters()
        bands = np.maximum(to_decibel(mel), np.float32(floor))
        rise = np.diff(bands, axis=0, prepend=bands[:1] if before is None else before)
        np.maximum(rise, 0, out=rise)
        before = bands[-1:]
        chroma = _normalise(power @ chroma_filters(tuning), "max")
        extremes = to_decibel(block.extremes.astype(np.float64)).reshape(-1, 2, _N_CONTRAST)
        large, small = np.moveaxis(np.maximum(extremes, (to_decibel(levels) - _TOP_DB)[:, None]), 1, 0)
        values = [
            block.shapes,
            chroma,
            large - small,
            rise.mean(axis=1, dtype=np.float64)[:, None],
            bands.astype(np.float64) @ _cosines(),
            _normalise(chroma, "sum") @ _tonal_centroids(),
        ]
        halves = np.partition(rise, (rise.shape[1] // 2 - 1, rise.shape[1] // 2), axis=1)
        yield (
            block,
            np.concatenate(values, axis=1),
            halves[:, rise.shape[1] // 2 - 1 : rise.shape[1] // 2 + 1].mean(axis=1),
        )


def _read_levels(signal: NDArray[Any], first: int, last: int) -> tuple[Float32Array, int, int]:
    """Samples of a block's frames and one before; those outside the signal are as its first and last."""
    begin, end = first * HOP - N_FFT // 2 - 1, (last - 1) * HOP + N_FFT // 2
    samples = read_samples(signal, begin, end)
    start, stop = max(-begin, 0), min(len(signal), end) - begin
    samples[:start], samples[stop:] = samples[start], samples[stop - 1]
    return samples, start, stop


def _summarise_parts(samples: Float32Array, harmonic: Float32Array, at: int) -> Moments:
    """Moments of the harmonic samples and of the rest, by window; ``at`` is where in the signal they begin."""
    groups = np.arange(at // WINDOW_SAMPLES, -(-(at + len(samples)) // WINDOW_SAMPLES))
    bounds = np.clip(np.append(groups, groups[-1:] + 1) * WINDOW_SAMPLES - at, 0, len(samples))
    sums = [sum_parts(samples[a:b], harmonic[a:b]) for a, b in pairwise(bounds)]
    counts = np.diff(bounds).astype(np.float64)
    first, second = np.moveaxis(np.reshape(sums, (-1, 2, 2)), 2, 0)
    means = first / np.maximum(counts, 1)[:, None]
    return Moments(groups, counts, means, np.maximum(second - first * means, 0))


def _name(frames: Moments, parts: Moments) -> list[dict[str, float]]:
    """Columns of each group by their names; the twelve rows of chroma are one feature."""
    means, variances = frames.means, frames.variances
    pooled = means[:, _CHROMA].mean(axis=1), variances[:, _CHROMA].mean(axis=1) + means[:, _CHROMA].var(axis=1)
    named = []
    for group in range(len(means)):
        columns = []
        for values, one, others in ((means, pooled[0], parts.means), (variances, pooled[1], parts.variances)):
            rest = values[group]
            columns.append([*rest[: _CHROMA.start], one[group], *rest[_CHROMA.stop :], *others[group]])
        rows = zip((*_NAMES, *_PARTS), *columns, strict=True)
        named.append({f"{n}_{k}": float(v) for n, *both in rows for k, v in zip(("mean", "var"), both, strict=True)})
    return named


def _to_row(window: int, n_samples: int, named: dict[str, float]) -> dict[str, float | None]:
    """Add a window's place to its features, of which what is not finite becomes None."""
    start = max(window, 0) * WINDOW_SAMPLES
    stop = min(start + WINDOW_SAMPLES, n_samples) if window >= 0 else n_samples
    everything = [*(f"{name}_{kind}" for name in (*_NAMES, *_PARTS) for kind in ("mean", "var")), "tempo"]
    values = {name: named.get(name) for name in everything}
    finite = {name: value if value is not None and abs(value) < _LARGEST else None for name, value in values.items()}
    return {"window": window, "start_s": start / SAMPLE_RATE, "length_s": (stop - start) / SAMPLE_RATE, **finite}


def _normalise(rows: NDArray[Any], by: str) -> NDArray[Any]:
    """Divide each row, none of whose values is negative, by its largest value or its sum, unless that is next to 0."""
    size = rows.max(axis=1, keepdims=True) if by == "max" else rows.sum(axis=1, keepdims=True)
    return rows / np.where(size < TINY, 1, size)


@lru_cache(maxsize=1)
def _contrast_bands() -> Int64Array:
    """First bin, the one after the last, and how many count as large: ``librosa.feature.spectral_contrast``'s bands."""
    edges = [0.0, *(200.0 * 2.0**n for n in range(_N_CONTRAST))]
    bands = []
    for n in range(_N_CONTRAST):
        inside = np.flatnonzero((bin_frequencies() >= edges[n]) & (bin_frequencies() <= edges[n + 1]))
        first, last = inside[0] - (n > 0), inside[-1] + 1
        if n == _N_CONTRAST - 1:
            last = len(bin_frequencies())
        bands.append((first, last - (n < _N_CONTRAST - 1), max(round(0.02 * (last - first)), 1)))
    return np.array(bands)


@lru_cache(maxsize=1)
def _cosines() -> Float64Array:
    """Discrete cosine transform (128, 20) from decibels of bands to cepstral coefficients."""
    cosines: Float64Array = scipy.fft.dct(np.eye(mel_filters().shape[1]), norm="ortho", axis=1)[:, :_N_MFCC]
    return cosines


@lru_cache(maxsize=1)
def _tonal_centroids() -> Float64Array:
    """Weights (12, 6) from pitch classes to circles of fifths, of minor and of major thirds; Harte et al. 2006."""
    pitches = np.arange(_N_CHROMA)
    circles = ((7 / 6, 1.0), (3 / 2, 1.0), (2 / 3, 0.5))
    rows = [r * wave(np.pi * k * pitches) for k, r in circles for wave in (np.sin, np.cos)]
    return np.stack(rows, axis=1)
