"""What every part of the analysis looks at: levels and onset strengths of short frames, read from the signal in blocks.

Frame t is centred on sample ``HOP * t``; before its first and after its last sample a signal is silent.
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
LEVEL_WINDOW = 1024  # shorter, so that a start is seen as sudden as it is
BLOCK_FRAMES = 2048  # 24 s: what one block needs fits the caches and does not grow with the signal
FLOOR_DB = -60.0
LOUDEST = 2.0  # samples beyond it are cut off: decoders hardly pass 1, and levels must stay those of sound

BARK_EDGES_HZ = (
    0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400, 5300, 6400,
    7700, 9500, 11025,
)  # fmt: skip
"""Zwicker's critical bands, the last one cut at the Nyquist frequency."""
N_BARK = len(BARK_EDGES_HZ) - 1

# onset strength: bands as wide as the window resolves, then 24 an octave; three ranges of them
_LOWEST_HZ, _HIGHEST_HZ, _BANDS_PER_OCTAVE = 30.0, 10_500.0, 24
_RANGES_HZ = (180.0, 2200.0)
_COMPRESSION = 1000.0  # amplitudes below 1/1000 of full scale count little
_LAG = 2  # frames over which a rise is measured
N_RANGES = 3


@dataclass(frozen=True)
class Frames:
    """Measures of n frames, float32.

    ``bark_db``: shape (n, 23), level of each critical band in dB, 0 being a sine of full scale. ``level_db``: shape
    (n,), loudness in dB by the weighting of ITU-R BS.1770, 0 being a sine of full scale at 1 kHz; both end at the
    floor of -60. ``rise``: shape (n, 3), onset strength below 180 Hz, up to 2.2 kHz, and above.
    """

    bark_db: Float32Array
    level_db: Float32Array
    rise: Float32Array

    def __len__(self) -> int:
        return len(self.level_db)


def check_signal(signal: Float32Array) -> None:
    """Refuse what is no signal.

    Raises
    ------
    InputError
        ``not_a_signal``: not one channel of floats, or no sample at all.
    """
    if signal.ndim != 1 or signal.dtype.kind != "f":
        raise InputError("not_a_signal", f"needs one channel of float samples, not {signal.dtype} {signal.shape}")
    if not len(signal):
        raise InputError("not_a_signal", "there is not one sample to analyse")


def cut_frames(signal: Float32Array, window: int, hop: int, block_frames: int) -> Iterator[tuple[int, Float32Array]]:
    """Windowed frames of a signal, block by block: (number of the first frame, float32 (frames, window)).

    Raises
    ------
    InputError
        ``not_finite``: a sample is NaN or infinite.
    """
    count = 1 + len(signal) // hop
    shape = np.hanning(window + 1)[:-1].astype(np.float32)
    for first in range(0, count, block_frames):
        frames = min(block_frames, count - first)
        begin = first * hop - window // 2
        end = begin + (frames - 1) * hop + window
        part = np.zeros(end - begin, dtype=np.float32)
        inside = signal[max(begin, 0) : end]
        part[max(-begin, 0) : max(-begin, 0) + len(inside)] = inside
        if not np.isfinite(part).all():
            raise InputError("not_finite", f"samples about {first * hop / SAMPLE_RATE:.0f} s in are NaN or infinite")
        np.clip(part, -LOUDEST, LOUDEST, out=part)
        yield first, np.lib.stride_tricks.sliding_window_view(part, window)[::hop] * shape


def measure_frames(signal: Float32Array) -> Frames:
    """Measure a whole signal.

    Parameters
    ----------
    signal
        Shape (samples,), mono at 22,050 Hz; may be a memory map, of which one block at a time is read.

    Raises
    ------
    InputError
        ``not_finite``: a sample is NaN or infinite.
    """
    count = 1 + len(signal) // HOP
    bark_db, level_db = np.empty((count, N_BARK), np.float32), np.empty(count, np.float32)
    rise = np.empty((count, N_RANGES), np.float32)
    to_power, to_bands, ranges = _filters()
    shorter, to_level = _level_filter()
    last = np.zeros((_LAG, to_bands.shape[1]), dtype=np.float32)
    for first, frames in cut_frames(signal, WINDOW, HOP, BLOCK_FRAMES):
        found = slice(first, first + len(frames))
        middle = fft.rfft(frames[:, (WINDOW - LEVEL_WINDOW) // 2 :][:, :LEVEL_WINDOW] * shorter, axis=1)
        level_db[found] = _to_db((middle.real**2 + middle.imag**2) @ to_level)
        spectrum = fft.rfft(frames, axis=1, overwrite_x=True)
        power = spectrum.real**2 + spectrum.imag**2
        bark_db[found] = _to_db(power @ to_power)
        bands = np.log1p(_COMPRESSION * np.sqrt(power @ to_bands))
        if not first:
            last[:] = bands[0]
        bands = np.concatenate([last, bands])
        rise[found] = _measure_rise(bands, ranges)
        last = bands[-_LAG:]
    return Frames(bark_db, level_db, rise)


@lru_cache(maxsize=1)
def _filters() -> tuple[Float32Array, Float32Array, Int64Array]:
    """Weights of the bins: (bins, 23) for critical bands, (bins, bands) for onsets; each band's range."""
    hz = np.arange(WINDOW // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / WINDOW)
    shape = np.hanning(WINDOW + 1)[:-1]
    unit = 4 / (WINDOW * np.sum(shape**2))  # power summed over the bins of a sine of full scale becomes 1
    band = np.searchsorted(BARK_EDGES_HZ[1:-1], hz, side="right")
    to_power = np.zeros((len(hz), N_BARK), dtype=np.float32)
    to_power[np.arange(len(hz)), band] = unit
    to_power[0, 0] = 0  # a constant offset is not heard

    centres = [_LOWEST_HZ]
    while centres[-1] < _HIGHEST_HZ:
        centres.append(max(centres[-1] * 2 ** (1 / _BANDS_PER_OCTAVE), centres[-1] + SAMPLE_RATE / WINDOW))
    edge = np.array([_LOWEST_HZ - SAMPLE_RATE / WINDOW, *centres])
    rising = (hz[:, None] - edge[:-2]) / (edge[1:-1] - edge[:-2])
    falling = (edge[2:] - hz[:, None]) / (edge[2:] - edge[1:-1])
    to_bands = (unit * np.clip(np.minimum(rising, falling), 0, None)).astype(np.float32)
    ranges = np.searchsorted(_RANGES_HZ, edge[1:-1], side="right").astype(np.int64)
    return to_power, to_bands, ranges


@lru_cache(maxsize=1)
def _level_filter() -> tuple[Float32Array, Float32Array]:
    """What turns the middle of a frame's window into a shorter one, and the weights of its bins for loudness."""
    whole, short = np.hanning(WINDOW + 1)[:-1], np.hanning(LEVEL_WINDOW + 1)[:-1]
    shorter = short / whole[(WINDOW - LEVEL_WINDOW) // 2 :][:LEVEL_WINDOW]
    hz = np.arange(LEVEL_WINDOW // 2 + 1, dtype=np.float64) * (SAMPLE_RATE / LEVEL_WINDOW)
    to_level = 4 / (LEVEL_WINDOW * np.sum(short**2)) * _weigh(hz) / _weigh(np.array([1000.0]))
    return shorter.astype(np.float32), to_level.astype(np.float32)


def _to_db(power: Float32Array) -> Float32Array:
    decibels: Float32Array = np.maximum(10 * np.log10(power + np.float32(1e-12)), np.float32(FLOOR_DB))
    return decibels


def _weigh(hz: Float64Array) -> Float64Array:
    """Power gain of the two filters of ITU-R BS.1770-4 at 48 kHz: a shelf for the head, a high-pass."""
    z = np.exp(-2j * np.pi * hz / 48_000)
    shelf = (1.53512485958697 - 2.69169618940638 * z + 1.19839281085285 * z**2) / (
        1 - 1.69065929318241 * z + 0.73248077421585 * z**2
    )
    high_pass = (1 - 2 * z + z**2) / (1 - 1.99004745483398 * z + 0.99007225036621 * z**2)
    gain: Float64Array = np.abs(shelf * high_pass) ** 2
    return gain


@njit(cache=True, nogil=True)
def _measure_rise(bands: Float32Array, ranges: Int64Array) -> Float32Array:
    """Mean rise of the bands of each range over _LAG frames; a tone that glides into the next band is no rise.

    Böck & Widmer, Maximum filter vibrato suppression for onset detection, DAFx 2013.
    """
    frames, count = bands.shape[0] - _LAG, bands.shape[1]
    rise = np.zeros((frames, N_RANGES), np.float32)
    share = np.zeros(N_RANGES, np.float32)
    for band in range(count):
        share[ranges[band]] += np.float32(1)
    for frame in range(frames):
        now, before = bands[frame + _LAG], bands[frame]
        for band in range(count):
            highest = before[band]
            if band > 0:
                highest = max(highest, before[band - 1])
            if band < count - 1:
                highest = max(highest, before[band + 1])
            if now[band] > highest:
                rise[frame, ranges[band]] += now[band] - highest
        for part in range(N_RANGES):
            rise[frame, part] /= share[part]
    return rise
