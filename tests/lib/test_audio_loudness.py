"""Loudness and true peak compared with FFmpeg's meter, and with the signals and limits of EBU Tech 3341."""

import math
import re
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio.loudness import LoudnessMeter

RATE = 48_000
RATES = (8_000, 11_025, 22_050, 44_100, 48_000, 96_000)


def sine(level_db: float, seconds: float, rate: int = RATE, hz: float = 1_000.0) -> Float64Array:
    return 10 ** (level_db / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


def meter(signal: Float64Array | Float32Array, rate: int = RATE) -> LoudnessMeter:
    signal = signal.astype(np.float32)
    measured = LoudnessMeter(rate, 1 if signal.ndim == 1 else signal.shape[1])
    measured.add(signal)
    return measured


def on_both_sides(signal: Float64Array) -> Float64Array:
    return np.column_stack([signal, signal])


def measure_with_ffmpeg(path: Path) -> tuple[float, float]:
    """Return integrated loudness and true peak, both rounded to 0.1."""
    command = ["ffmpeg", "-nostats", "-hide_banner", "-i", str(path), "-vn"]
    command += ["-af", "ebur128=peak=true:framelog=verbose", "-f", "null", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    summary = text[text.rindex("Summary") :]
    values = [re.search(pattern, summary) for pattern in (r"I:\s+(\S+) LUFS", r"Peak:\s+(\S+) dBFS")]
    loudness, peak = (float(value[1]) for value in values if value)
    return loudness, peak


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
)
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_integrated_loudness_of_tech_3341(parts: list[tuple[float, float]], expected: float, rate: int) -> None:
    """Cases 1 to 5; their limit is 0.1 LU."""
    signal = np.concatenate([sine(level_db, seconds, rate) for level_db, seconds in parts])
    assert meter(on_both_sides(signal), rate).integrated_lufs == pytest.approx(expected, abs=0.1)
    # without its twin, one channel has half the power
    assert meter(signal, rate).integrated_lufs == pytest.approx(expected - 3.01, abs=0.1)


@pytest.mark.parametrize(
    ("divisor", "phase_deg", "amplitude", "expected"),
    [(4, 0, 0.5, -6), (4, 45, 0.5, -6), (6, 60, 0.5, -6), (8, 67.5, 0.5, -6), (4, 45, 1.41, 3)],
)
def test_true_peak_of_tech_3341(divisor: int, phase_deg: float, amplitude: float, expected: float) -> None:
    """Cases 15 to 19; their limits are +0.2 and -0.4 dB. The samples themselves are up to 3 dB lower.

    The sine is faded, because a sudden start has a peak of its own.
    """
    signal = amplitude * np.sin(2 * np.pi * np.arange(RATE) / divisor + math.radians(phase_deg))
    signal *= scipy.signal.windows.tukey(RATE, 0.1)
    for shape in (signal, on_both_sides(signal), np.column_stack([0 * signal, signal])):
        assert -0.4 < meter(shape).true_peak_dbtp - expected < 0.2


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_true_peak_of_an_impulse_between_samples(offset: int) -> None:
    """As in cases 20 to 23: the peak of an impulse lies up to half a sample beside the next sample."""
    impulse = scipy.signal.firwin(4 * 64 + 1, 0.2)
    samples = np.zeros(4 * 500)
    samples[4 * 200 + offset : 4 * 200 + offset + len(impulse)] = impulse / impulse.max()
    assert -0.4 < meter(samples[::4]).true_peak_dbtp < 0.2


@pytest.mark.slow
@needs_ffmpeg
def test_real_recordings_equal_ffmpeg(shared_data: Path, tmp_path: Path) -> None:
    paths = sorted((shared_data / "audio").glob("*.ogg"))
    assert paths
    for path in paths:
        signal, rate = soundfile.read(path, dtype="float32", always_2d=True)
        soundfile.write(tmp_path / "decoded.wav", signal, rate, subtype="FLOAT")
        measured = meter(signal, rate)
        loudness, peak = measure_with_ffmpeg(tmp_path / "decoded.wav")
        assert measured.integrated_lufs == pytest.approx(loudness, abs=0.1)
        assert measured.true_peak_dbtp == pytest.approx(peak, abs=0.2)


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_synthetic_signals_equal_ffmpeg(rate: int, channels: int, tmp_path: Path) -> None:
    """Pink and swelling noise that ends at 0.4 of the sample rate, where the two interpolations begin to differ."""
    rng = np.random.default_rng(rate + channels)
    for exponent, swell_s in ((0.0, 3.0), (0.5, 7.0)):
        n_frames = 15 * rate
        spectrum = np.fft.rfft(rng.standard_normal((n_frames, channels)), axis=0)
        hz = np.fft.rfftfreq(n_frames, 1 / rate)[:, None]
        spectrum *= np.maximum(hz, 20) ** -exponent * (hz < 0.4 * rate)
        signal = np.fft.irfft(spectrum, n_frames, axis=0)
        # the absolute gate and the relative gate leave out some of it
        signal *= 10 ** (2 * np.sin(2 * np.pi * np.arange(n_frames) / (swell_s * rate))[:, None] - 2)
        signal = (0.8 * signal / np.abs(signal).max()).astype(np.float32)
        soundfile.write(tmp_path / "noise.wav", signal, rate, subtype="FLOAT")
        measured = meter(signal, rate)
        loudness, peak = measure_with_ffmpeg(tmp_path / "noise.wav")
        assert measured.integrated_lufs == pytest.approx(loudness, abs=0.1)
        assert measured.true_peak_dbtp == pytest.approx(peak, abs=0.2)


def test_filters_at_48_khz_are_those_of_the_standard() -> None:
    """The response of the standard's two filters, from its tables 1 and 2, at single frequencies."""
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285], [1.0, -1.69065929318241, 0.73248077421585]
    highpass = [1.0, -2.0, 1.0], [1.0, -1.99004745483398, 0.99007225036621]
    for hz in (25, 50, 100, 1_000, 4_000, 16_000):
        response = [scipy.signal.freqz(*stage, worN=[hz], fs=RATE)[1][0] for stage in (shelf, highpass)]
        expected = -0.691 + 10 * np.log10(0.5) + 20 * np.log10(abs(response[0] * response[1]))
        assert meter(sine(0, 20, hz=hz)).integrated_lufs == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("seconds", [1.0, 0.5])
def test_silence(seconds: float) -> None:
    for channels in (1, 2):
        measured = meter(np.zeros((round(seconds * RATE), channels)))
        assert (measured.integrated_lufs, measured.true_peak_dbtp) == (-math.inf, -math.inf)
        assert measured.active_share(-70) == 0


def test_no_samples() -> None:
    measured = meter(np.zeros((0, 2)))
    assert (measured.integrated_lufs, measured.true_peak_dbtp) == (-math.inf, -math.inf)
    assert measured.active_share(-70) == 0


@pytest.mark.parametrize("rate", [*RATES, 44_099])
@pytest.mark.parametrize("seconds", [0.01, 0.2, 0.3999, 0.4, 0.5])
def test_short_signal(seconds: float, rate: int) -> None:
    measured = meter(on_both_sides(sine(-20, seconds, rate)), rate)
    assert measured.integrated_lufs == pytest.approx(-20, abs=1.5 if seconds < 0.1 else 0.2)
    assert measured.active_share(-30) == 1


def test_one_sample() -> None:
    measured = meter(np.array([0.5]))
    assert measured.true_peak_dbtp == pytest.approx(-6.02, abs=0.01)
    assert -10 < measured.integrated_lufs < 0


def test_clipped_signal_peaks_above_its_samples() -> None:
    clipped = np.clip(3 * sine(0, 5, hz=997) + 2 * sine(0, 5, hz=5_003), -1, 1)
    assert 0.3 < meter(clipped).true_peak_dbtp < 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_samples_that_are_not_finite_are_an_error(value: float, side: int) -> None:
    signal = on_both_sides(sine(-20, 3))
    signal[100_000, side] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        meter(signal)


def test_other_number_of_channels_is_an_error() -> None:
    with pytest.raises(ValueError, match="has 1 channels, not 2"):
        LoudnessMeter(RATE, 2).add(np.zeros(10, np.float32))


@pytest.mark.parametrize("rate", [44_100, 11_025])
def test_division_into_blocks_does_not_matter(rate: int) -> None:
    signal = np.random.default_rng(2).normal(0, 0.1, (5 * rate, 2)).astype(np.float32)
    signal[2 * rate : 4 * rate] *= np.float32(1e-3)
    whole = meter(signal, rate)
    for size in (1_000, 4_410, 70_001):
        measured = LoudnessMeter(rate, 2)
        for start in range(0, len(signal), size):
            measured.add(signal[start : start + size])
        assert measured.integrated_lufs == pytest.approx(whole.integrated_lufs, abs=1e-9)
        assert measured.true_peak_dbtp == pytest.approx(whole.true_peak_dbtp, abs=1e-5)
        assert measured.active_share(-50) == whole.active_share(-50)


def test_peak_at_the_edges_of_blocks_and_of_the_signal() -> None:
    """The peak lies between the last sample of a block and the first sample of the next, or at an end."""
    signal = np.zeros(3_000, np.float32)
    signal[[1_499, 1_500]] = 0.7
    expected = 20 * math.log10(0.7 * 4 / math.pi)
    for size in (1, 7, 1_500, 3_000):
        measured = LoudnessMeter(RATE, 1)
        for start in range(0, len(signal), size):
            measured.add(signal[start : start + size])
        assert measured.true_peak_dbtp == pytest.approx(expected, abs=0.1)
    for ends in (signal[1_499:], signal[:1_501]):
        assert meter(ends).true_peak_dbtp == pytest.approx(expected, abs=0.1)


def test_share_of_time_over_a_threshold() -> None:
    signal = on_both_sides(np.concatenate([sine(-20, 6), sine(-50, 12), sine(-20, 2)]))
    measured = meter(signal)
    assert measured.active_share(-30) == pytest.approx(8 / 20, abs=0.02)
    assert measured.active_share(-60) == 1
    assert measured.active_share(-10) == 0


def test_silence_after_sound_is_silent() -> None:
    """The filters ring down to exactly nothing, not to numbers so small that they slow the processor down."""
    measured = meter(np.concatenate([sine(0, 2), np.zeros(20 * RATE)]))
    assert not measured._state.any()
    assert measured.active_share(-70) == pytest.approx(2 / 22, abs=0.03)


def test_memory_does_not_grow_with_the_length() -> None:
    block = np.random.default_rng(1).normal(0, 0.1, (RATE, 2)).astype(np.float32)
    measured = LoudnessMeter(RATE, 2)
    measured.add(block)
    tracemalloc.start()
    for _ in range(600):
        measured.add(block)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 200_000
    assert peak < 3_000_000
