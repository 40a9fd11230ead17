"""Pitch and loudness of melodies against tones of known pitch, and against librosa's spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.performance import (
    DDSP,
    MAGENTA_2020,
    a_weighting_db,
    measure_loudness,
    measure_performance,
)
from reprise.lib.nets.pitch_tracker import SAMPLE_RATE, PitchTracker

TRACKER = PitchTracker()


def play_tone(f0_hz: float | np.ndarray, seconds: float, amplitude: float = 0.3) -> Float32Array:
    """Ten harmonics that fall by 1/n, below 8 kHz."""
    n = int(seconds * SAMPLE_RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(f0_hz, n)) / SAMPLE_RATE
    highest = int(min(10, 7500 // np.max(f0_hz)))
    tone = sum(np.sin(k * phase) / k for k in range(1, highest + 1))
    return np.asarray(amplitude * tone, np.float32)


@pytest.mark.parametrize("f0_hz", [32.7, 41.2, 55.0, 82.4, 110.0, 220.0, 440.0, 880.0, 1760.0])
def test_pitch_of_tones(f0_hz: float) -> None:
    performance = measure_performance(play_tone(f0_hz, 2), TRACKER)
    inside = slice(100, -100)
    assert performance.voiced[inside].all()
    cents = 1200 * np.log2(performance.f0_hz[inside] / f0_hz)
    assert np.median(np.abs(cents)) < 15
    assert np.mean(np.abs(cents) < 50) > 0.99


def test_pitch_follows_a_glide_and_is_held_in_rests() -> None:
    glide = 220 * 2 ** np.linspace(0, 1, 2 * SAMPLE_RATE)
    signal = np.concatenate([play_tone(glide, 2), np.zeros(SAMPLE_RATE, np.float32), play_tone(330.0, 1)])
    performance = measure_performance(signal, TRACKER)
    true_hz = 220 * 2 ** (np.arange(500) / 500)
    assert np.median(np.abs(1200 * np.log2(performance.f0_hz[25:475] / true_hz[25:475]))) < 15
    rest = performance.f0_hz[530:720]
    assert not performance.voiced[530:720].any()
    # the last pitch is held, then the next one begins: no glide in between
    assert set(np.round(1200 * np.log2(rest / 330)).astype(int) // 100) <= {-1, 0, 4, 5, 6, 7}
    assert len(np.unique(rest)) <= 2


@pytest.mark.parametrize("n", [1, 63, 64, 65, 4800])
@pytest.mark.parametrize("scale", [DDSP, MAGENTA_2020])
def test_short_and_silent_signals(n: int, scale: object) -> None:
    performance = measure_performance(np.zeros(n, np.float32), TRACKER, scale)  # type: ignore[arg-type]
    assert len(performance) == len(performance.voiced) == len(performance.loudness_db) == -(-n // 64)
    assert not performance.voiced.any()
    assert (performance.loudness_db == scale.lowest_db).all()  # type: ignore[attr-defined]
    assert (performance.f0_hz > 0).all()


def test_noise_has_no_pitch() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    assert measure_performance(noise, TRACKER).voiced.mean() < 0.05


@pytest.mark.parametrize("n", [64 * 10, 64 * 5000 + 17])
def test_loudness_is_that_of_the_spectrum(n: int) -> None:
    import librosa

    signal = np.random.default_rng(1).normal(0, 0.1, n).astype(np.float32)
    frequencies = librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=512)
    with np.errstate(divide="ignore"):
        weights = librosa.A_weighting(frequencies)
    np.testing.assert_allclose(a_weighting_db(frequencies), weights, atol=1e-9)
    spectrum = librosa.stft(signal, n_fft=512, hop_length=64, center=True, pad_mode="constant")
    expected = 10 * np.log10((np.abs(spectrum) ** 2 * 10 ** (weights / 10)[:, None]).mean(axis=0))
    found = measure_loudness(signal, DDSP)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-3)


def test_memory_mapped_files_give_the_same(tmp_path: Path) -> None:
    signal = play_tone(300.0, 3)
    signal.tofile(tmp_path / "signal")
    mapped = np.memmap(tmp_path / "signal", np.float32, "r")
    first, second = measure_performance(signal, TRACKER), measure_performance(mapped, TRACKER)
    np.testing.assert_array_equal(first.f0_hz, second.f0_hz)
    np.testing.assert_array_equal(first.loudness_db, second.loudness_db)
