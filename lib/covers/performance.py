"""Performance of a melody: its pitch and loudness over time, from which an instrument plays it."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import BoolArray, Float32Array, Float64Array
from reprise.lib.features.spectra import iterate_frames
from reprise.lib.nets.instrument_network import FRAME_RATE, HOP
from reprise.lib.nets.pitch_tracker import FRAME_S, SAMPLE_RATE, VOICED_CONFIDENCE, PitchTracker

_FLOOR = 1e-20


@dataclass(frozen=True)
class LoudnessScale:
    """A definition of the loudness of a frame: A-weighted, from the spectrum of ``n_fft`` samples around it.

    Attributes
    ----------
    n_fft
        Length of the window in samples.
    averages_decibels
        Whether the frequencies' decibels are averaged, or their power.
    offset_db
        Added to the loudness.
    lowest_db
        Loudness of silence.
    """

    n_fft: int
    averages_decibels: bool
    offset_db: float
    lowest_db: float


DDSP = LoudnessScale(n_fft=512, averages_decibels=False, offset_db=0.0, lowest_db=-80.0)
"""Loudness of ddsp 3.7, ``ddsp.spectral_ops.compute_loudness``."""

MAGENTA_2020 = LoudnessScale(n_fft=2048, averages_decibels=True, offset_db=-20.7, lowest_db=-120.0)
"""Loudness for which Magenta's instruments of 2020 were trained."""


@dataclass(frozen=True, eq=False)
class Performance:
    """Pitch and loudness of a melody, 250 times a second; frame i is at i / 250 s.

    Attributes
    ----------
    f0_hz
        Fundamental frequency, float32 (frames,), positive. Held where the melody is unvoiced.
    voiced
        bool (frames,).
    loudness_db
        float32 (frames,), see `LoudnessScale`.
    """

    f0_hz: Float32Array
    voiced: BoolArray
    loudness_db: Float32Array

    def __len__(self) -> int:
        return len(self.f0_hz)


def measure_performance(samples: Float32Array, tracker: PitchTracker, scale: LoudnessScale = DDSP) -> Performance:
    """Measure the pitch and the loudness of finite mono samples at 16 kHz, which may be memory-mapped.

    One frame for each 64 samples; a last, incomplete one counts.
    """
    loudness_db = measure_loudness(samples, scale)
    track = tracker.track(samples)
    f0_hz, voiced = _interpolate(track.f0_hz, track.confidence, len(loudness_db))
    return Performance(f0_hz, voiced, loudness_db)


def _interpolate(f0_hz: Float32Array, confidence: Float32Array, n: int) -> tuple[Float32Array, BoolArray]:
    """Interpolate the pitch of voiced frames, in octaves, and hold it where no neighbour is voiced."""
    position = np.arange(n) / FRAME_RATE / FRAME_S
    is_voiced = confidence >= VOICED_CONFIDENCE
    nearest = np.minimum(np.round(position).astype(np.int64), len(is_voiced) - 1)
    if not is_voiced.any():
        return np.full(n, 220.0, np.float32), np.zeros(n, np.bool_)
    at = np.flatnonzero(is_voiced)
    octaves = np.log2(f0_hz[at], dtype=np.float64)
    left = np.clip(np.searchsorted(at, position, side="right") - 1, 0, len(at) - 1)
    right = np.minimum(left + 1, len(at) - 1)
    interpolated = np.interp(position, at, octaves)
    # across a rest the last pitch is held, then the next one begins: a glide would be heard at the attack
    is_rest = (at[right] - at[left] > 1) & (position > at[left])
    held = np.where(position - at[left] < at[right] - position - 1, octaves[left], octaves[right])
    return np.exp2(np.where(is_rest, held, interpolated)).astype(np.float32), is_voiced[nearest]


def measure_loudness(samples: Float32Array, scale: LoudnessScale) -> Float32Array:
    """Return the loudness of each frame in dB, float32 (ceil(n / 64),), of mono samples at 16 kHz."""
    n = -(-len(samples) // HOP)
    loudness_db = np.empty(n, np.float32)
    weights = 10 ** (a_weighting_db(np.asarray(np.fft.rfftfreq(scale.n_fft, 1 / SAMPLE_RATE), np.float64)) / 10)
    window = np.hanning(scale.n_fft + 1)[:-1].astype(np.float32)
    for start, frames in iterate_frames(samples, scale.n_fft, HOP, n):
        power = np.abs(np.fft.rfft(frames * window)) ** 2 * weights
        if scale.averages_decibels:
            decibels = 10 * np.log10(np.maximum(power, _FLOOR)) + scale.offset_db
            loudness = np.maximum(decibels, scale.lowest_db).mean(axis=1)
        else:
            loudness = 10 * np.log10(np.maximum(power.mean(axis=1), _FLOOR)) + scale.offset_db
        loudness_db[start : start + len(frames)] = np.maximum(loudness, scale.lowest_db)
    return loudness_db


def a_weighting_db(frequency_hz: Float64Array) -> Float64Array:
    """Return the A-weighting of frequencies in dB (IEC 61672), at least -80 dB, as librosa computes it."""
    squared = np.square(frequency_hz)
    with np.errstate(divide="ignore"):
        weights = 2.0 + 20 * (
            np.log10(12194.217**2)
            + 2 * np.log10(squared)
            - np.log10(squared + 12194.217**2)
            - np.log10(squared + 20.598997**2)
            - 0.5 * np.log10(squared + 107.65265**2)
            - 0.5 * np.log10(squared + 737.86223**2)
        )
    return np.asarray(np.maximum(weights, -80.0), np.float64)
