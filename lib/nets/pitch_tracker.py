"""Fundamental frequency of one voice by swift-f0 (Nieradzik 2025), whose network is in its package."""

from typing import NamedTuple

import numpy as np

from reprise.lib.arrays import Float32Array, release_pages
from reprise.lib.errors import RepriseError
from reprise.lib.features.spectra import iterate_frames

SAMPLE_RATE = 16_000
FRAME_S = 0.016
"""Time between two frames of `PitchTrack`."""

VOICED_CONFIDENCE = 0.5
"""Confidence from which a frame is voiced, as swift-f0 defines it."""

_BLOCK_SAMPLES = 1 << 19
_FFT = 2048
_HALF_LEVEL, _DOUBLE_LEVEL = 0.15, 0.03
_LEAST_HZ = 90.0
"""Below it the window is too short to tell an octave."""
_LOW_HZ = 70.0
"""Below it the pitch is taken from a second pass at half the speed of sampling: the network knows 47 to 2,093 Hz."""


class PitchTrack(NamedTuple):
    """Pitch of each frame; frame i is at i · `FRAME_S`.

    Attributes
    ----------
    f0_hz
        float32 (frames,). Meaningless where the confidence is low.
    confidence
        float32 (frames,), from 0 to 1. A frame is voiced from `VOICED_CONFIDENCE`.
    """

    f0_hz: Float32Array
    confidence: Float32Array


class PitchTracker:
    """The network of swift-f0, on one thread.

    Raises
    ------
    RepriseError
        The package swift-f0 is not installed.
    """

    def __init__(self) -> None:
        try:
            from swift_f0 import SwiftF0
        except ImportError:
            raise RepriseError("swift-f0, which follows pitch, is not installed: run pip install swift-f0") from None
        self._detector = SwiftF0(threads=1, spin=False)

    def track(self, samples: Float32Array) -> PitchTrack:
        """Return the pitch of finite mono samples at `SAMPLE_RATE`, which may be memory-mapped. Memory is bounded.

        From 24 to 2,093 Hz.
        """
        f0_hz, confidence = self._detect(samples, 1)
        low_hz, low_confidence = self._detect(samples, 2)
        # half as many frames; the end of a shorter second pass is repeated
        index = np.minimum(np.arange(len(f0_hz)) // 2, len(low_hz) - 1)
        low_hz, low_confidence = low_hz[index], low_confidence[index]
        is_low = (low_confidence >= VOICED_CONFIDENCE) & (low_hz < _LOW_HZ)
        f0_hz = np.where(is_low, low_hz, f0_hz)
        return PitchTrack(_correct_octaves(samples, f0_hz), np.where(is_low, low_confidence, confidence))

    def _detect(self, samples: Float32Array, step: int) -> tuple[Float32Array, Float32Array]:
        """Track samples that are played ``step`` times as fast, which raises all pitches by this factor."""
        stream = self._detector.stream()
        results = []
        for start in range(0, len(samples), _BLOCK_SAMPLES):
            block = np.asarray(samples[start : start + _BLOCK_SAMPLES])
            if step > 1:
                # a mean of neighbours is low-pass enough below 150 Hz
                block = block[: len(block) // step * step].reshape(-1, step).mean(axis=1)
            if len(block):
                results.append(stream.push(block, SAMPLE_RATE))
            release_pages(samples)
        if results:
            results.append(stream.flush())
        f0_hz = np.concatenate([one.pitch_hz for one in results]) if results else np.full(1, 100.0)
        confidence = np.concatenate([one.confidence for one in results]) if results else np.zeros(1)
        return (f0_hz / step).astype(np.float32), confidence.astype(np.float32)


def _correct_octaves(samples: Float32Array, f0_hz: Float32Array) -> Float32Array:
    """Halve the pitch of frames that have the odd harmonics of half of it, and double it where its own are missing.

    Then each frame gets the median of itself and its neighbours.

    The network takes a tone with a strong second harmonic for the octave above, in one of a hundred notes or in all of
    an instrument.
    """
    shift = np.zeros(len(f0_hz), np.int8)
    hop, window = round(FRAME_S * SAMPLE_RATE), np.hanning(_FFT + 1)[:-1].astype(np.float32)
    for start, frames in iterate_frames(samples, _FFT, hop, len(f0_hz)):
        stop = start + len(frames)
        level = np.abs(np.fft.rfft(frames * window))
        # a peak may lie between two bins
        level = np.maximum(level, np.maximum(np.roll(level, 1, axis=1), np.roll(level, -1, axis=1)))
        half_hz = f0_hz[start:stop] / 2
        # levels at 1 to 12 times half of the pitch
        bins = np.round(half_hz[:, None] * np.arange(1, 13) * _FFT / SAMPLE_RATE).astype(np.int64)
        at = np.where(bins < level.shape[1], np.take_along_axis(level, np.minimum(bins, level.shape[1] - 1), axis=1), 0)
        between, own = at[:, [0, 2, 4]].sum(axis=1), at[:, [1, 3, 5]].sum(axis=1)
        odd, even = at[:, [1, 5, 9]].sum(axis=1), at[:, [3, 7, 11]].sum(axis=1)
        is_half = (between > _HALF_LEVEL * own) & (half_hz > _LEAST_HZ)
        is_double = (odd < _DOUBLE_LEVEL * even) & (f0_hz[start:stop] > _LEAST_HZ)
        shift[start:stop] = np.where(is_half, -1, np.where(is_double, 1, 0))
    # three of five neighbours decide
    votes = np.convolve(shift, np.ones(5, np.int8), "same")
    shift = np.where(np.abs(votes) >= 3, np.sign(votes), 0)
    f0_hz = f0_hz * np.exp2(shift.astype(np.float32))
    # single frames between two notes can have any pitch
    neighbours = np.stack([np.append(f0_hz[:1], f0_hz[:-1]), f0_hz, np.append(f0_hz[1:], f0_hz[-1:])])
    return np.median(neighbours, axis=0).astype(np.float32)
