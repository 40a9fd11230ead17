"""The synthesiser of instruments against plain sums of sines, and its noise against its spectrum."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.synthesis import Synthesiser
from reprise.lib.nets.instrument_network import Controls

N = 500


def make_controls(*, tones: bool = True, noise: bool = True, seed: int = 0) -> tuple[Float32Array, Controls]:
    rng = np.random.default_rng(seed)
    f0_hz = (300 * 2 ** np.cumsum(rng.normal(0, 0.003, N))).astype(np.float32)
    harmonics = rng.random((N, 30)).astype(np.float32) * (f0_hz[:, None] * np.arange(1, 31) < 8000)
    harmonics /= harmonics.sum(axis=1, keepdims=True)
    amplitude = (np.abs(np.cumsum(rng.normal(0, 0.02, N))) * tones).astype(np.float32)
    magnitudes = (0.1 * rng.random((N, 65)) * noise).astype(np.float32)
    return f0_hz, Controls(amplitude, harmonics.astype(np.float32), magnitudes)


def play(f0_hz: Float32Array, controls: Controls, rate: int, cuts: tuple[int, ...] = (), seed: int = 1) -> Float32Array:
    synthesiser = Synthesiser(rate, seed)
    bounds = [0, *cuts, len(f0_hz)]
    parts = []
    for start, stop in pairwise(bounds):
        if start < stop:
            parts.append(synthesiser.render(f0_hz[start:stop], Controls(*(part[start:stop] for part in controls))))
    return np.concatenate([*parts, synthesiser.finish()])


def test_tones_are_sums_of_sines() -> None:
    f0_hz, controls = make_controls(noise=False)
    time = np.arange(64 * N) / 64
    frames = np.arange(N)
    phase = 2 * np.pi * np.cumsum(np.interp(time, frames, f0_hz.astype(np.float64))) / 16_000
    expected = np.zeros(64 * N)
    for k in range(30):
        expected += np.interp(time, frames, controls.amplitude * controls.harmonics[:, k]) * np.sin(
            (k + 1) * phase + np.pi * (k + 1) ** 2 / 32
        )
    np.testing.assert_allclose(play(f0_hz, controls, 16_000), expected, atol=2e-5)


@settings(max_examples=25)
@given(st.lists(st.integers(0, N), max_size=4).map(sorted), st.sampled_from([16_000, 44_100, 48_000]))
def test_blocks_do_not_matter(cuts: list[int], rate: int) -> None:
    f0_hz, controls = make_controls()
    whole = play(f0_hz, controls, rate)
    assert len(whole) == rate * N // 250
    np.testing.assert_allclose(play(f0_hz, controls, rate, tuple(cuts)), whole, atol=1e-5)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_noise_has_its_magnitudes(rate: int) -> None:
    from scipy.signal import welch

    f0_hz, controls = make_controls(tones=False)
    controls.noise[:] = np.linspace(0.2, 0.02, 65, dtype=np.float32)
    signal = play(f0_hz, controls, rate)
    frequency_hz, power = welch(signal, rate, nperseg=rate // 50)
    inside = (frequency_hz > 400) & (frequency_hz < 7600)
    # white noise between -1 and 1 has the power 1/3 over 8 kHz
    expected = np.interp(frequency_hz, np.linspace(0, 8000, 65), controls.noise[0]) ** 2 / 3 / 8000
    error_db = 10 * np.log10(power[inside] / expected[inside])
    assert abs(error_db.mean()) < 0.3
    assert np.abs(error_db).max() < 2.5


def test_continued_above_8_khz_and_falling() -> None:
    from scipy.signal import welch

    f0_hz, controls = make_controls()
    frequency_hz, power = welch(play(f0_hz, controls, 44_100), 44_100, nperseg=1024)

    def level_db(low: float, high: float) -> float:
        return float(10 * np.log10(power[(frequency_hz > low) & (frequency_hz < high)].mean()))

    levels = [level_db(low, high) for low, high in ((5000, 7400), (8200, 10_000), (10_000, 13_000), (13_000, 16_000))]
    assert -15 < levels[1] - levels[0] < -4
    assert levels[1] > levels[2] > levels[3] > levels[0] - 40


def test_peaks_of_bright_tones_are_low() -> None:
    n = 250
    controls = Controls(np.ones(n, np.float32), np.full((n, 40), 1 / 40, np.float32), np.zeros((n, 65), np.float32))
    signal = play(np.full(n, 150.0, np.float32), controls, 44_100)
    # sines that start together have a crest factor of 19 dB
    assert 20 * np.log10(np.abs(signal).max() / signal.std()) < 10


def test_silence_and_seeds() -> None:
    f0_hz, controls = make_controls(tones=False, noise=False)
    assert not play(f0_hz, controls, 44_100).any()
    f0_hz, controls = make_controls()
    np.testing.assert_array_equal(play(f0_hz, controls, 44_100), play(f0_hz, controls, 44_100))
    assert np.abs(play(f0_hz, controls, 44_100) - play(f0_hz, controls, 44_100, seed=2)).max() > 1e-3


def test_nothing_and_one_frame() -> None:
    assert len(Synthesiser(44_100, 0).finish()) == 0
    f0_hz, controls = make_controls()
    one = play(f0_hz[:1], Controls(*(part[:1] for part in controls)), 44_100)
    assert len(one) == 177
    assert np.isfinite(one).all()


def test_long_notes_do_not_drift() -> None:
    n = 250 * 60
    f0_hz = np.full(n, 440.0, np.float32)
    controls = Controls(np.ones(n, np.float32), np.ones((n, 1), np.float32), np.zeros((n, 65), np.float32))
    signal = play(f0_hz, controls, 44_100, cuts=tuple(range(0, n, 777)))
    last = signal[-44_100:-200]
    expected = np.sin(2 * np.pi * 440 * np.arange(1, len(signal) + 1) / 44_100 + np.pi / 32)[-44_100:-200]
    np.testing.assert_allclose(last, expected, atol=1e-3)
