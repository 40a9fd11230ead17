"""Features of audio compared with a librosa script: recordings, composed songs and edge cases."""

import importlib.util
import math
import tracemalloc
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from reprise.lib.features import gtzan
from reprise.lib.features.compiled import find_peaks, measure_power
from reprise.lib.features.gtzan import measure
from reprise.lib.features.hpss import AFTER, BEFORE, separate_harmonic
from reprise.lib.features.spectra import compute_stft, count_frames
from reprise.lib.features.tuning_and_tempo import PEAK_BINS, PEAK_THRESHOLD, estimate_tempo, estimate_tuning
from reprise.lib.music import sample
from reprise.lib.music.render import render
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GTZAN_COLUMNS

RATE = 22_050
WINDOW_COLUMNS = ("window", "start_s", "length_s")
NEAR_ZERO = 2e-5
"""Cepstral coefficients of silence are zero in theory, but up to this large in librosa's float32."""


def load_script() -> Any:
    path = Path(__file__).resolve().parents[1] / "bench" / "librosa_script.py"
    spec = importlib.util.spec_from_file_location("librosa_script", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


def noise(n: int, seed: int = 1) -> Any:
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


def tone(n: int, hertz: float = 440.0) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(n) / RATE).astype(np.float32)


def clicks(n: int, period: int) -> Any:
    return (np.arange(n) % period == 0).astype(np.float32)


def melody(seconds: float, seed: int = 3) -> Any:
    """Decaying harmonic tones with sharp attacks at random pitches, over soft noise."""
    rng, out = np.random.default_rng(seed), noise(round(seconds * RATE), seed) / 50
    for start in range(0, len(out), RATE // 4):
        length = min(RATE // 2, len(out) - start)
        time = np.arange(length) / RATE
        pitch = 220 * 2 ** (rng.integers(24) / 12)
        wave = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 8) if k * pitch < RATE / 2)
        out[start : start + length] += 0.2 * np.exp(-6 * time) * wave
    return out


def expected(signal: Any) -> dict[str, float]:
    return {**SCRIPT.measure_gtzan(signal), **SCRIPT.measure_more(signal)}


def assert_equal(signal: Any, *, near_zero: float = 1e-9) -> None:
    ours, theirs = measure(signal)[0], expected(signal)
    assert set(ours) == {*theirs, *WINDOW_COLUMNS}
    differences = {
        name: (our, value)
        for name, value in theirs.items()
        if (our := ours[name]) is None or abs(our - value) > 1e-3 * abs(value) + near_zero
    }
    assert not differences


LONG = pytest.param("lena-orsa", marks=pytest.mark.exhaustive)
RECORDINGS = (LONG, "Karissa", "Sugar_Plum", "Vibe_Ace", "Drum-bass", "trumpet")


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_equal_librosa(name: str, shared_data: Path) -> None:
    (path,) = (shared_data / "audio").glob(f"*{name}*.ogg")
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True, frames=12 * 44_100)
    assert_equal(soxr.resample(samples.mean(axis=1), rate, RATE, "HQ"))


@pytest.mark.parametrize("index", [2, 5])
@pytest.mark.slow
def test_composed_songs_equal_librosa(index: int) -> None:
    stems = render(sample.compose(sample.SamplePlan(20, seed=11), index)).values()
    song = np.sum(list(stems), axis=0).mean(axis=1)
    assert_equal(soxr.resample(song[: 15 * 44_100], 44_100, RATE, "HQ"))


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros(40_000, dtype=np.float32),
        np.full(30_000, 0.5, dtype=np.float32),
        np.full(30_000, -0.5, dtype=np.float32),
        np.array([0.3], dtype=np.float32),
        noise(300),
        noise(2047),
        noise(5120),  # a whole number of hops
        np.append(np.zeros(20_000, dtype=np.float32), noise(5000)),
        clicks(110_250, 11_025),
        tone(66_150),
    ],
    ids=[
        "silence",
        "dc",
        "dc below",
        "one sample",
        "short",
        "shorter than a frame",
        "whole hops",
        "late",
        "clicks",
        "tone",
    ],
)
def test_edge_cases_equal_librosa(signal: Any) -> None:
    assert_equal(signal, near_zero=NEAR_ZERO)


def test_columns_match_the_table() -> None:
    names = [c.name for c in AUDIO_GENRE_FEATURES.columns if c.name not in ("track_id", "sha256", "run_id")]
    for row in measure(melody(4.0)):
        assert set(row) == set(names)
    assert {c.name for c in GTZAN_COLUMNS} == set(SCRIPT.measure_gtzan(melody(1.0)))


def test_columns_match_the_published_table(shared_data: Path) -> None:
    header = (shared_data / "gtzan" / "features_30_sec.csv").read_text().splitlines()[0].split(",")
    assert [c.name for c in GTZAN_COLUMNS] == header[2:-1]


def test_windows_have_the_frames_centred_in_them() -> None:
    signal = melody(10.6)
    whole, *windows = measure(signal)
    assert (whole["window"], whole["start_s"], whole["length_s"]) == (-1, 0, 10.6)
    assert [w["start_s"] for w in windows] == [0, 3, 6, 9]
    assert [w["length_s"] for w in windows] == pytest.approx([3, 3, 3, 1.6])
    centres = np.arange(count_frames(len(signal))) * 512
    centroid = librosa.feature.spectral_centroid(y=signal, sr=RATE)[0]
    chroma = librosa.feature.chroma_stft(y=signal, sr=RATE)
    cepstrum = librosa.feature.mfcc(y=signal, sr=RATE)[2]
    harmony, perceptr = librosa.effects.hpss(signal)
    for n, window in enumerate(windows):
        inside = centres // (3 * RATE) == n
        samples = slice(3 * RATE * n, 3 * RATE * (n + 1))
        assert window["tempo"] is None
        for name, values in (
            ("spectral_centroid", centroid[inside]),
            ("chroma_stft", chroma[:, inside]),
            ("mfcc3", cepstrum[inside]),
            ("harmony", harmony[samples]),
            ("perceptr", perceptr[samples]),
        ):
            assert window[f"{name}_mean"] == pytest.approx(values.mean(dtype=float), rel=1e-3, abs=1e-8)
            assert window[f"{name}_var"] == pytest.approx(values.var(dtype=float), rel=1e-3)


@pytest.mark.parametrize(("n", "count"), [(33_074, 0), (33_075, 1), (66_150, 1), (99_224, 1), (99_225, 2)])
def test_last_window_needs_half_its_length(n: int, count: int) -> None:
    assert len(measure(noise(n))) == 1 + count


def test_block_size_does_not_change_the_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signal = np.concatenate([noise(70_000), tone(50_000), clicks(60_000, 7000), np.zeros(9000, dtype=np.float32)])
    rows = measure(signal)
    signal.tofile(tmp_path / "signal")
    mapped = np.memmap(tmp_path / "signal", dtype=np.float32, mode="r")
    by_size = [measure(mapped, block_frames=size) for size in (1, 7, 100, 367)]
    monkeypatch.setattr(gtzan, "_KEPT_FRAMES", 0)  # the second pass computes the spectra again
    for others in (*by_size, measure(mapped), measure(mapped, block_frames=50)):
        for row, other in zip(rows, others, strict=True):
            for name, value in row.items():
                assert other[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-7)), name


@pytest.mark.slow
def test_memory_does_not_grow_with_the_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtzan, "_KEPT_FRAMES", 0)

    def peak(minutes: int) -> int:
        signal = np.tile(melody(60.0), minutes)
        tracemalloc.start()
        measure(signal, block_frames=250)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(1)  # imports and compiles
    bytes_per_frame = (peak(4) - peak(2)) / (2 * 60 * RATE / 512)
    assert bytes_per_frame < 600  # a kept spectrum would take 4100


def test_nan_and_infinite_samples_count_as_zeros() -> None:
    damaged = noise(70_000)
    damaged[[5, 100, 69_999]] = np.nan, np.inf, -np.inf
    with_zeros = np.where(np.isfinite(damaged), damaged, 0).astype(np.float32)
    assert measure(damaged) == measure(with_zeros)


@pytest.mark.parametrize("scale", [1e15, 1e30, 3e38])
def test_extremely_large_samples_give_finite_values_or_none(scale: float) -> None:
    for row in measure((noise(70_000) * 2 * scale).clip(-3e38, 3e38).astype(np.float32)):
        for name, value in row.items():
            assert value is None or math.isfinite(np.float32(value)), name


def test_no_samples() -> None:
    (row,) = measure(np.zeros(0, dtype=np.float32))
    assert (row["window"], row["length_s"]) == (-1, 0)
    assert {value for name, value in row.items() if name not in WINDOW_COLUMNS} == {None}


def test_harmonic_samples_equal_librosa() -> None:
    signal = melody(5.0) + clicks(5 * RATE, 9000)
    n_frames = count_frames(len(signal))
    blocks: list[Any] = []
    for first in range(0, n_frames, 60):
        last = min(first + 60, n_frames)
        start, stop = max(first - BEFORE, 0), min(last + AFTER, n_frames)
        spectra = compute_stft(signal, start, stop)
        at, block = separate_harmonic(spectra, measure_power(spectra)[0], start, first, last, len(signal))
        assert at == sum(len(earlier) for earlier in blocks)
        blocks.append(block)
    np.testing.assert_allclose(np.concatenate(blocks), librosa.effects.hpss(signal)[0], atol=1e-6)


@pytest.mark.parametrize("cents", [-45, -20, 0, 7, 30])
def test_tuning_equals_librosa(cents: int) -> None:
    signal = sum(tone(3 * RATE, 220 * 2 ** ((note + cents / 100) / 12)) for note in (0, 4, 7, 12))
    power = np.abs(librosa.stft(signal)) ** 2
    tuning = librosa.estimate_tuning(S=power, sr=RATE)
    peaks, heights = find_peaks(np.ascontiguousarray(power.T), PEAK_BINS[0], PEAK_BINS[1], PEAK_THRESHOLD)
    assert estimate_tuning([peaks[:50], peaks[50:]], [heights[:50], heights[50:]]) == tuning
    assert tuning == pytest.approx(cents / 100, abs=0.08)


def test_tuning_without_peaks_is_zero() -> None:
    assert estimate_tuning([np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.float32)]) == 0


@pytest.mark.parametrize("frames", [1, 5, 344, 345, 5000])
def test_tempo_equals_librosa(frames: int) -> None:
    rng = np.random.default_rng(frames)
    onsets = (rng.random(frames) * (np.arange(frames) % 21 == 0) + 0.1 * rng.random(frames)).astype(np.float32)
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=RATE)  # the start value of librosa's beat tracker
    assert estimate_tempo(onsets) == pytest.approx(float(np.squeeze(tempo)))


def test_tempo_without_onsets_is_zero() -> None:
    assert estimate_tempo(np.zeros(100, dtype=np.float32)) == 0
