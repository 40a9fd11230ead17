"""Synthesiser of instruments: harmonics and filtered noise (Engel et al. 2020), block by block, in bounded memory.

It sounds as ddsp's ``Harmonic`` with linear interpolation plus ``FilteredNoise``, but is many times as fast, keeps the
phase from block to block, and plays at any sample rate. The harmonics start at different phases (Schroeder 1970): if
all began together, as in ddsp, a bright tone would be a train of pulses, 10 dB higher at the same loudness.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.nets.instrument_network import FRAME_RATE, SAMPLE_RATE, Controls

_NYQUIST = SAMPLE_RATE / 2
_REFERENCE_HZ = (5000.0, 7400.0)
"""Frequencies whose level is continued above 8 kHz."""

_ROLL_OFF_DB = -18.0
"""Of this continuation, in an octave."""

_PHASE_PERIOD = 32
"""Number of harmonics that share the time of one period among them."""

_TOP_HZ = 16_000.0
"""Highest frequency of a harmonic."""


class Synthesiser:
    """Renders the controls of an instrument.

    Parameters
    ----------
    sample_rate
        Sample rate of the audio in Hz. Above 8 kHz, where the controls end, they are continued.
    seed
        Seed of the noise.
    """

    def __init__(self, sample_rate: int, seed: int) -> None:
        self._rate = sample_rate
        # as long as the filters of ddsp, in s
        self._taps = 2 * round(sample_rate * 64 / SAMPLE_RATE)
        self._fft = 1 << (self._taps + sample_rate // FRAME_RATE).bit_length()
        self._rng = np.random.default_rng(seed)
        self._phase, self._frame, self._emitted = 0.0, 0, 0
        self._last: tuple[Float32Array, Controls] | None = None
        self._pending = np.zeros(0, np.float32)

    def render(self, f0_hz: Float32Array, controls: Controls) -> Float32Array:
        """Return the audio, float32 (samples,), that these frames complete, after those of the former calls."""
        if self._last is not None:
            before, kept = self._last
            f0_hz = np.concatenate([before, f0_hz])
            controls = Controls(*(np.concatenate(pair) for pair in zip(kept, controls, strict=True)))
        self._last = f0_hz[-1:], Controls(*(part[-1:] for part in controls))
        bounds = self._find_bounds(len(f0_hz))
        half = self._taps // 2
        out = np.zeros(max(bounds[-1] + half - self._emitted, len(self._pending)), np.float32)
        out[: len(self._pending)] = self._pending
        place = bounds - self._emitted
        amplitudes = _extend_tones(f0_hz, controls, self._rate)
        self._phase = _add_tones(
            out[place[0] : place[-1]],
            f0_hz.astype(np.float64),
            amplitudes,
            start_phases(amplitudes.shape[1]),
            bounds[0],
            self._rate,
            self._phase,
        )
        self._add_noise(out, place, controls.noise[:-1])
        end = max(int(place[-1]) - half, 0)
        self._emitted += end
        self._frame += len(f0_hz) - 1
        self._pending = out[end:]
        return out[:end]

    def finish(self) -> Float32Array:
        """Return the rest of the audio: the last frame lasts 4 ms."""
        if self._last is None:
            return np.zeros(0, np.float32)
        end = -(-(self._frame + 1) * self._rate // FRAME_RATE)
        rest = self.render(*self._last)
        return np.concatenate([rest, self._pending])[: end - (self._emitted - len(rest))]

    def _find_bounds(self, n: int) -> Int64Array:
        """Return the number of the first sample of each frame, from the last one that was rendered."""
        frames = self._frame + np.arange(n, dtype=np.int64)
        return -(-frames * self._rate // FRAME_RATE)

    def _add_noise(self, out: Float32Array, place: Int64Array, noise: Float32Array) -> None:
        lengths = np.diff(place)
        if not len(lengths):
            return
        white = np.zeros((len(lengths), self._fft), np.float32)
        white[np.arange(self._fft) < lengths[:, None]] = 2 * self._rng.random(lengths.sum(), np.float32) - 1
        frequency_hz = np.asarray(np.fft.rfftfreq(self._taps, 1 / self._rate), np.float64)
        magnitudes = _extend_noise(noise, frequency_hz)
        # equal power in each Hz at any sample rate
        magnitudes *= np.float32(np.sqrt(self._rate / SAMPLE_RATE))
        responses = np.roll(np.fft.irfft(magnitudes, self._taps), self._taps // 2, axis=1)
        responses *= np.hanning(self._taps + 1)[:-1].astype(np.float32)
        filtered = np.fft.irfft(np.fft.rfft(white) * np.fft.rfft(responses, self._fft), self._fft)
        _overlap_add(out, filtered.astype(np.float32), place[:-1] - self._taps // 2)


def _extend_noise(noise: Float32Array, frequency_hz: Float64Array) -> Float32Array:
    """Return the magnitudes of the noise at some frequencies, (frames, n): interpolated, and continued above 8 kHz."""
    bands_hz = np.linspace(0, _NYQUIST, noise.shape[1])
    inside = frequency_hz <= _NYQUIST
    out = np.empty((len(noise), len(frequency_hz)), np.float32)
    right = np.clip(np.searchsorted(bands_hz, frequency_hz[inside]), 1, len(bands_hz) - 1)
    share = ((frequency_hz[inside] - bands_hz[right - 1]) / bands_hz[1]).astype(np.float32)
    out[:, inside] = noise[:, right - 1] * (1 - share) + noise[:, right] * share
    if not inside.all():
        reference = (bands_hz >= _REFERENCE_HZ[0]) & (bands_hz <= _REFERENCE_HZ[1])
        level = np.sqrt(np.mean(np.square(noise[:, reference]), axis=1))
        out[:, ~inside] = level[:, None] * _roll_off(frequency_hz[~inside])
    return out


def _extend_tones(f0_hz: Float32Array, controls: Controls, rate: int) -> Float32Array:
    """Return the amplitudes of the harmonics, (frames, n), continued above 8 kHz where the sample rate has room."""
    amplitudes = controls.amplitude[:, None] * controls.harmonics
    top_hz = min(_TOP_HZ, rate / 2)
    if top_hz <= _NYQUIST:
        return amplitudes
    count = max(int(top_hz / f0_hz.min()), amplitudes.shape[1])
    harmonics_hz = f0_hz[:, None] * np.arange(1, count + 1, dtype=np.float32)
    out = np.zeros(harmonics_hz.shape, np.float32)
    out[:, : amplitudes.shape[1]] = amplitudes
    reference = (harmonics_hz >= _REFERENCE_HZ[0]) & (harmonics_hz <= _REFERENCE_HZ[1])
    power = np.sum(np.square(out), axis=1, where=reference) / np.maximum(reference.sum(axis=1), 1)
    above = (harmonics_hz >= _NYQUIST) & (harmonics_hz <= top_hz)
    frame = np.nonzero(above)[0]
    out[above] = np.sqrt(power)[frame] * _roll_off(harmonics_hz[above])
    return out


def _roll_off(frequency_hz: NDArray[np.floating[Any]]) -> Float32Array:
    """Return the factor of the level above 8 kHz."""
    return (10 ** (_ROLL_OFF_DB / 20 * np.log2(frequency_hz / np.mean(_REFERENCE_HZ)))).astype(np.float32)


def start_phases(count: int) -> Float64Array:
    """Return the phases in radians at which the harmonics 1, 2, … start."""
    return np.pi * np.arange(1, count + 1, dtype=np.float64) ** 2 / _PHASE_PERIOD


@njit(cache=True, fastmath=True)
def _add_tones(
    out: Float32Array,
    f0_hz: Float64Array,
    amplitudes: Float32Array,
    phases: Float64Array,
    first: int,
    rate: int,
    phase: float,
) -> float:
    """Add sines whose pitch and amplitudes are interpolated between frames. Return the last phase of the first one."""
    n_frames, n_harmonics = amplitudes.shape
    start_sine, start_cosine = np.sin(phases), np.cos(phases)
    active = np.zeros(n_frames, np.int64)
    for i in range(n_frames):
        for k in range(n_harmonics):
            if amplitudes[i, k] > 0:
                active[i] = k + 1
    first_frame = first * FRAME_RATE // rate
    line = np.empty(n_harmonics)
    slope = np.empty(n_harmonics)
    now = -1
    for j in range(len(out)):
        place = (first + j) * FRAME_RATE
        i = place // rate - first_frame
        if i < 0:
            i = 0
        if i > n_frames - 2:
            i = n_frames - 2
        if i != now:
            now = i
            count = max(active[i], active[i + 1])
            for k in range(count):
                line[k] = amplitudes[i, k]
                slope[k] = amplitudes[i + 1, k] - line[k]
        share = place / rate - first_frame - i
        phase += 2 * np.pi / rate * (f0_hz[i] + (f0_hz[i + 1] - f0_hz[i]) * share)
        sine1, cosine1 = np.sin(phase), np.cos(phase)
        sine, cosine, total = sine1, cosine1, 0.0
        for k in range(count):
            total += (line[k] + slope[k] * share) * (sine * start_cosine[k] + cosine * start_sine[k])
            sine, cosine = sine * cosine1 + cosine * sine1, cosine * cosine1 - sine * sine1
        out[j] += total
    return phase % (2 * np.pi)


@njit(cache=True)
def _overlap_add(out: Float32Array, pieces: Float32Array, starts: Int64Array) -> None:
    for i in range(len(pieces)):
        for j in range(pieces.shape[1]):
            at = starts[i] + j
            if 0 <= at < len(out):
                out[at] += pieces[i, j]
