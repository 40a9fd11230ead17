"""Measure levels and onset strengths of short frames. These measures are the input of the later analysis steps.

The signal is read in blocks. Frame t is centred on sample ``HOP * t``. Samples before the start and after the end of
the signal count as zeros.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit
from scipy import fft

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.errors import InputError

HOP = 256
FRAME_RATE = SAMPLE_RATE / HOP
WINDOW = 2048
LEVEL_WINDOW = 1024  # shorter than WINDOW, so that the level rises within fewer frames at a sudden onset
BLOCK_FRAMES = 2048  # 24 s; the spectra of one block at a time are in memory, and they fit into the processor's caches
FLOOR_DB = -60.0
MAX_SAMPLE = 2.0  # samples are clipped to ± this value, so that outliers do not distort levels; few samples exceed 1

BARK_EDGES_HZ = (
    0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
    7700, 9500, 11025,
)  # fmt: skip
"""Edges of Zwicker's critical bands; the last band ends at the Nyquist frequency."""
N_BARK = len(BARK_EDGES_HZ) - 1

# Bands for onset strength, grouped into three frequency ranges. Low bands are as narrow as the window can resolve.
# Above them there are 24 bands per octave.
_LOWEST_HZ, _HIGHEST_HZ, _BANDS_PER_OCTAVE = 30.0, 10_500.0, 24
_RANGES_HZ = (180.0, 2200.0)
_COMPRESSION = 1000.0  # amplitudes far below 1/1000 of full scale have almost no effect on onset strength
_LAG = 2  # onset strength is the difference between two spectra that are this many frames apart
N_RANGES = 3


@dataclass(frozen=True)
class Frames:
    """Measures of n frames, float32.

    Attributes
    ----------
    bark_db
        Shape (n, 23), level of each critical band in dB, at least -60; 0 dB is a full-scale sine.
    level_db
        Shape (n,), loudness in dB with the weighting of ITU-R BS.1770, at least -60; 0 dB is a full-scale sine at
        1 kHz.
    onset_strength
        Shape (n, 3), onset strength in three frequency ranges: below 180 Hz, 180 Hz to 2.2 kHz, above 2.2 kHz.
    """

    bark_db: Float32Array
    level_db: Float32Array
    onset_strength: Float32Array

    def __len__(self) -> int:
        return len(self.level_db)


def check_signal(signal: Float32Array) -> None:
    """Check that a signal can be analysed.

    Raises
    ------
    InputError
        ``not_a_signal``: the array is not one channel of floats, or it has no samples.
    """
    if signal.ndim != 1 or signal.dtype.kind != "f":
        shape = f"{signal.dtype} of shape {signal.shape}"
        raise InputError("not_a_signal", f"the signal is {shape}: pass one channel of float samples")
    if not len(signal):
        raise InputError("not_a_signal", "the signal is empty: pass at least one sample")


def cut_frames(signal: Float32Array, window: int, hop: int, block_frames: int) -> Iterator[tuple[int, Float32Array]]:
    """Cut a signal into frames multiplied by a Hann window, and yield them in blocks.

    A block is a tuple: the index of its first frame, and the frames as a float32 array of shape (frames, window).
    Samples are clipped to ± `MAX_SAMPLE` before the multiplication.

    Raises
    ------
    InputError
        ``not_finite``: a sample is NaN or infinite.
    """
    count = 1 + len(signal) // hop
    hann = np.hanning(window + 1)[:-1].astype(np.float32)
    for first in range(0, count, block_frames):
        frames = min(block_frames, count - first)
        begin = first * hop - window // 2
        end = begin + (frames - 1) * hop + window
        part = np.zeros(end - begin, dtype=np.float32)
        inside = signal[max(begin, 0) : end]
        part[max(-begin, 0) : max(-begin, 0) + len(inside)] = inside
        if not np.isfinite(part).all():
            time_s = first * hop / SAMPLE_RATE
            fault = f"the signal contains NaN or infinite samples after about {time_s:.0f} s"
            raise InputError("not_finite", f"{fault}: export the audio again")
        np.clip(part, -MAX_SAMPLE, MAX_SAMPLE, out=part)
        yield first, np.lib.stride_tricks.sliding_window_view(part, window)[::hop] * hann


def measure_frames(signal: Float32Array) -> Frames:
    """Measure the levels and onset strengths of a whole signal.

    Parameters
    ----------
    signal
        Shape (samples,), floats, mono, at 22,050 Hz. A memory map is accepted and is read in blocks.

    Raises
    ------
    InputError
        ``not_finite``: a sample is NaN or infinite.
    """
    count = 1 + len(signal) // HOP
    bark_db, level_db = np.empty((count, N_BARK), np.float32), np.empty(count, np.float32)
    onset_strength = np.empty((count, N_RANGES), np.float32)
    bark_weights, onset_weights, band_ranges = _spectrum_weights()
    window_ratio, level_weights = _level_weights()
    previous = np.zeros((_LAG, onset_weights.shape[1]), dtype=np.float32)
    for first, frames in cut_frames(signal, WINDOW, HOP, BLOCK_FRAMES):
        block = slice(first, first + len(frames))
        middle = fft.rfft(frames[:, (WINDOW - LEVEL_WINDOW) // 2 :][:, :LEVEL_WINDOW] * window_ratio, axis=1)
        level_db[block] = _to_db((middle.real**2 + middle.imag**2) @ level_weights)
        spectrum = fft.rfft(frames, axis=1, overwrite_x=True)
        power = spectrum.real**2 + spectrum.imag**2
        bark_db[block] = _to_db(power @ bark_weights)
        bands = np.log1p(_COMPRESSION * np.sqrt(power @ onset_weights))
        if not first:
            previous[:] = bands[0]
        bands = np.concatenate([previous, bands])
        onset_strength[block] = _measure_onset_strength(bands, band_ranges)
        previous = bands[-_LAG:]
    return Frames(bark_db, level_db, onset_strength)


@lru_cache(maxsize=1)
def _spectrum_weights() -> tuple[Float32Array, Float32Array, Int64Array]:
    """Return two weight matrices and a vector of range numbers.

    The matrices map the bins of a spectrum to the critical bands, (bins, 23), and to the onset bands, (bins, bands).
    The vector (bands,) holds the number of the frequency range of each onset band.
    """
    hz = np.arange(WINDOW // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / WINDOW)
    hann = np.hanning(WINDOW + 1)[:-1]
    unit = 4 / (WINDOW * np.sum(hann**2))  # scales a full-scale sine to power 1, summed over the bins
    band = np.searchsorted(BARK_EDGES_HZ[1:-1], hz, side="right")
    bark_weights = np.zeros((len(hz), N_BARK), dtype=np.float32)
    bark_weights[np.arange(len(hz)), band] = unit
    bark_weights[0, 0] = 0  # ignore the constant offset of the signal, which is inaudible

    centres = [_LOWEST_HZ]
    while centres[-1] < _HIGHEST_HZ:
        centres.append(max(centres[-1] * 2 ** (1 / _BANDS_PER_OCTAVE), centres[-1] + SAMPLE_RATE / WINDOW))
    edge = np.array([_LOWEST_HZ - SAMPLE_RATE / WINDOW, *centres])
    rising = (hz[:, None] - edge[:-2]) / (edge[1:-1] - edge[:-2])
    falling = (edge[2:] - hz[:, None]) / (edge[2:] - edge[1:-1])
    onset_weights = (unit * np.clip(np.minimum(rising, falling), 0, None)).astype(np.float32)
    band_ranges = np.searchsorted(_RANGES_HZ, edge[1:-1], side="right").astype(np.int64)
    return bark_weights, onset_weights, band_ranges


@lru_cache(maxsize=1)
def _level_weights() -> tuple[Float32Array, Float32Array]:
    """Return the window ratio (1024,) and the loudness weights (513,).

    The window ratio is the short window divided by the middle of the long window. There is one loudness weight for each
    bin of the short window's spectrum.
    """
    long, short = np.hanning(WINDOW + 1)[:-1], np.hanning(LEVEL_WINDOW + 1)[:-1]
    window_ratio = short / long[(WINDOW - LEVEL_WINDOW) // 2 :][:LEVEL_WINDOW]
    hz = np.arange(LEVEL_WINDOW // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / LEVEL_WINDOW)
    level_weights = 4 / (LEVEL_WINDOW * np.sum(short**2)) * _k_weighting(hz) / _k_weighting(np.array([1000.0]))
    return window_ratio.astype(np.float32), level_weights.astype(np.float32)


def _to_db(power: Float32Array) -> Float32Array:
    decibels: Float32Array = np.maximum(10 * np.log10(power + np.float32(1e-12)), np.float32(FLOOR_DB))
    return decibels


def _k_weighting(hz: Float64Array) -> Float64Array:
    """Return the power gain of the K-weighting of ITU-R BS.1770-4 at the frequencies ``hz``.

    K-weighting consists of two filters: a high shelf, which models the head, and a high-pass. The coefficients are
    those of the standard for a sample rate of 48 kHz.
    """
    z = np.exp(-2j * np.pi * hz / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    gain: Float64Array = np.abs(shelf * high_pass) ** 2
    return gain


@njit(cache=True, nogil=True)
def _measure_onset_strength(bands: Float32Array, band_ranges: Int64Array) -> Float32Array:
    """Return the mean increase of the bands of each frequency range, shape (frames, 3).

    The increase of a band is counted from the maximum of the band and its two neighbours _LAG frames earlier. It is 0
    if the band does not exceed this maximum. Therefore vibrato and glides cause few onsets. Source: Böck & Widmer,
    Maximum filter vibrato suppression for onset detection, DAFx 2013.
    """
    frames, count = bands.shape[0] - _LAG, bands.shape[1]
    strength = np.zeros((frames, N_RANGES), np.float32)
    n_bands = np.zeros(N_RANGES, np.float32)
    for band in range(count):
        n_bands[band_ranges[band]] += np.float32(1)
    for frame in range(frames):
        now, before = bands[frame + _LAG], bands[frame]
        for band in range(count):
            highest = before[band]
            if band > 0:
                highest = max(highest, before[band - 1])
            if band < count - 1:
                highest = max(highest, before[band + 1])
            if now[band] > highest:
                strength[frame, band_ranges[band]] += now[band] - highest
        for i in range(N_RANGES):
            strength[frame, i] /= n_bands[i]
    return strength
