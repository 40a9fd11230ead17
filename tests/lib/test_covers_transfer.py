"""Fitting melodies to instruments, and writing what they play."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.arrays import BoolArray
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.instruments import Range
from reprise.lib.covers.performance import Performance
from reprise.lib.covers.transfer import OUTPUT_RATE, PEAK_DBTP, Line, fit_lines, measure_level, write_audio
from reprise.lib.errors import RepriseError

SPAN = Range(low_hz=200.0, high_hz=800.0, middle_db=-10.0, spread_db=20.0, loudest_db=5.0)


def make_performance(
    f0_hz: float, *, n: int = 1000, loudness_db: float = -30.0, spread_db: float = 10.0
) -> Performance:
    loudness = loudness_db + spread_db / 2 * np.sin(np.arange(n) / 40)
    return Performance(np.full(n, f0_hz, np.float32), np.ones(n, np.bool_), loudness.astype(np.float32))


def fit_line(performance: Performance, span: Range) -> Line:
    (line,) = fit_lines([performance], span)
    return line


def with_voiced(performance: Performance, voiced: BoolArray) -> Performance:
    return Performance(performance.f0_hz, voiced, performance.loudness_db)


@pytest.mark.parametrize(("f0_hz", "octaves"), [(30, 4), (55, 3), (110, 2), (300, 0), (410, 0), (799, -1), (1700, -2)])
def test_lines_move_into_the_register(f0_hz: float, octaves: int) -> None:
    line = fit_line(make_performance(f0_hz), SPAN)
    assert line.octaves == octaves
    np.testing.assert_allclose(line.performance.f0_hz, f0_hz * 2.0**octaves, rtol=1e-6)
    assert line.outside == 0


def test_lines_that_are_wider_than_the_register() -> None:
    performance = make_performance(300)
    performance.f0_hz[800:] = 1500
    line = fit_line(performance, SPAN)
    assert line.octaves == 0
    assert line.outside == pytest.approx(0.2, abs=0.01)


def test_loudness_goes_into_the_known_range() -> None:
    for loudness_db in (-70.0, -30.0, 0.0):
        fitted = fit_line(make_performance(300, loudness_db=loudness_db), SPAN).performance.loudness_db
        assert np.median(fitted) == pytest.approx(SPAN.middle_db, abs=0.5)
        assert fitted.max() <= SPAN.loudest_db
        assert np.ptp(fitted) == pytest.approx(15, abs=1)  # stretched by 1.5, not by 2
    # a constant tone stays one
    constant = fit_line(make_performance(300, spread_db=0.2), SPAN).performance.loudness_db
    assert np.ptp(constant) < 0.5
    unknown = Range(200.0, 800.0, -10.0, None, 5.0)
    assert np.ptp(fit_line(make_performance(300), unknown).performance.loudness_db) == pytest.approx(10, abs=0.1)


def test_gate_opens_and_closes() -> None:
    voiced = np.zeros(1000, np.bool_)
    voiced[300:500] = True
    voiced[400:406] = False  # a gap of 24 ms is bridged
    voiced[700:704] = True  # 16 ms are left out
    gate = fit_line(with_voiced(make_performance(300), voiced), SPAN).gate
    assert (gate[300:500] == 1).all()
    assert (gate[:294] == 0).all()
    assert (gate[520:] == 0).all()
    assert (np.diff(gate[293:300]) >= 0).all()
    assert (np.diff(gate[499:521]) <= 0).all()
    assert np.abs(np.diff(gate)).max() < 0.2  # no click


def test_silent_frames_are_not_played() -> None:
    performance = make_performance(300)
    performance.loudness_db[500:] -= 65
    gate = fit_line(performance, SPAN).gate
    assert (gate[:499] == 1).all()
    assert (gate[520:] == 0).all()
    silent = make_performance(300, loudness_db=-80, spread_db=0)
    assert not fit_line(with_voiced(silent, np.zeros(1000, np.bool_)), SPAN).gate.any()


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.floats(20, 4000), st.floats(-80, 10))
def test_any_melody_fits(flags: list[bool], f0_hz: float, loudness_db: float) -> None:
    voiced = np.repeat(np.array(flags), 7)
    line = fit_line(with_voiced(make_performance(f0_hz, n=len(voiced), loudness_db=loudness_db), voiced), SPAN)
    assert len(line.gate) == len(line.performance) == len(voiced)
    assert np.isfinite(line.gate).all()
    assert ((line.gate >= 0) & (line.gate <= 1)).all()
    assert 0 <= line.outside <= 1


def test_voices_of_chords_keep_intervals_and_balance() -> None:
    low, high = make_performance(100, loudness_db=-40), make_performance(150, loudness_db=-30)
    lines = fit_lines([low, high], SPAN)
    assert [line.octaves for line in lines] == [2, 2]
    assert lines[0].outside == lines[1].outside == 0
    np.testing.assert_allclose(lines[1].performance.f0_hz / lines[0].performance.f0_hz, 1.5, rtol=1e-6)
    difference = lines[1].performance.loudness_db - lines[0].performance.loudness_db
    assert 6 <= np.median(difference) <= 15
    # a voice that is much too soft is not played
    faint = make_performance(150, loudness_db=-105, spread_db=1)
    assert not fit_lines([low, faint], SPAN)[1].gate.any()


def test_written_audio_has_the_loudness(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(0, 0.02, n).astype(np.float32) for n in (1, 100_000, 300_000, 0)]
    written = write_audio(blocks, tmp_path / "a.flac", -23.0, tmp_path)
    samples, rate = soundfile.read(tmp_path / "a.flac", dtype="float32")
    assert (rate, len(samples), soundfile.info(tmp_path / "a.flac").subtype) == (OUTPUT_RATE, 400_001, "PCM_24")
    meter = LoudnessMeter(rate, 1)
    meter.add(samples[:, None])
    assert meter.integrated_lufs == pytest.approx(-23, abs=0.05)
    assert written.loudness_lufs == pytest.approx(-23, abs=0.05)
    gain = 10 ** (written.gain_db / 20)
    np.testing.assert_allclose(samples, np.concatenate(blocks) * gain, atol=1e-6)
    # too loud: the peak wins
    loud = write_audio(blocks, tmp_path / "b.flac", 0.0, tmp_path)
    assert loud.true_peak_dbtp == pytest.approx(PEAK_DBTP, abs=0.01)
    assert loud.loudness_lufs is not None
    assert loud.loudness_lufs < -5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "b.flac"]


def test_written_silence_and_faults(tmp_path: Path) -> None:
    written = write_audio([np.zeros(9000, np.float32)], tmp_path / "a.flac", -20.0, tmp_path)
    assert (written.loudness_lufs, written.true_peak_dbtp, written.gain_db) == (None, None, 0.0)
    with pytest.raises(RepriseError, match="cannot be written"):
        write_audio([np.zeros(9000, np.float32)], tmp_path / "none" / "a.flac", -20.0, tmp_path)


def test_levels() -> None:
    signal = (0.1 * np.sin(2 * np.pi * 997 * np.arange(80_000) / 16_000)).astype(np.float32)
    assert measure_level(signal) == pytest.approx(-23.0, abs=0.1)
    assert measure_level(np.zeros(80_000, np.float32)) is None
