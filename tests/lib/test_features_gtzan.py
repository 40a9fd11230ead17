"""Features of audio against a plain librosa script, on recordings, on songs that we play, and at the edges."""

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
from reprise.lib.features.spectra import count_frames, transform
from reprise.lib.features.tuning_and_tempo import PEAK_BINS, PEAK_THRESHOLD, estimate_tempo, estimate_tuning
from reprise.lib.music import sample
from reprise.lib.music.render import render
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GTZAN_COLUMNS

RATE = 22_050
PLACE = ("window", "start_s", "length_s")
NEAR_ZERO = 2e-5
"""What cepstral coefficients of silence, zero in theory, are in librosa's float32."""


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
    """Decaying harmonics at changing pitches over soft noise, with an attack each."""
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
    assert set(ours) == {*theirs, *PLACE}
    differences = {
        name: (ours[name], value)
        for name, value in theirs.items()
        if ours[name] is None or abs(ours[name] - value) > 1e-3 * abs(value) + near_zero
    }
    assert not differences


RECORDINGS = ("lena-orsa", "Karissa", "Sugar_Plum", "Vibe_Ace", "Drum-bass", "trumpet")


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_equal_the_script(name: str, shared_data: Path) -> None:
    (path,) = (shared_data / "audio").glob(f"*{name}*.ogg")
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True, frames=12 * 44_100)
    assert_equal(soxr.resample(samples.mean(axis=1), rate, RATE, "HQ"))


@pytest.mark.parametrize("index", [2, 5])
def test_songs_that_we_play_equal_the_script(index: int) -> None:
    song = sum(render(sample.compose(sample.Plan(20, seed=11), index)).values()).mean(axis=1)
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
        noise(5120),  # a whole number of steps
        np.append(np.zeros(20_000, dtype=np.float32), noise(5000)),
        clicks(110_250, 11_025),
        tone(66_150),
    ],
    ids=["silence", "dc", "dc below", "one sample", "short", "short of a frame", "steps", "late", "clicks", "tone"],
)
def test_edges_equal_the_script(signal: Any) -> None:
    assert_equal(signal, near_zero=NEAR_ZERO)


def test_columns_are_those_of_the_table() -> None:
    names = [c.name for c in AUDIO_GENRE_FEATURES.columns if c.name not in ("track_id", "sha256", "run_id")]
    for row in measure(melody(4.0)):
        assert set(row) == set(names)
    assert {c.name for c in GTZAN_COLUMNS} == set(SCRIPT.measure_gtzan(melody(1.0)))


def test_columns_are_those_of_the_published_table(shared_data: Path) -> None:
    header = (shared_data / "gtzan" / "features_30_sec.csv").read_text().splitlines()[0].split(",")
    assert [c.name for c in GTZAN_COLUMNS] == header[2:-1]


def test_windows_have_the_frames_whose_centres_lie_in_them() -> None:
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
def test_the_last_window_is_kept_from_half_its_length_on(n: int, count: int) -> None:
    assert len(measure(noise(n))) == 1 + count


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signal = np.concatenate([noise(70_000), tone(50_000), clicks(60_000, 7000), np.zeros(9000, dtype=np.float32)])
    rows = measure(signal)
    signal.tofile(tmp_path / "signal")
    mapped = np.memmap(tmp_path / "signal", dtype=np.float32, mode="r")
    cuts = [measure(mapped, block_frames=size) for size in (1, 7, 100, 367)]
    monkeypatch.setattr(gtzan, "_KEPT_FRAMES", 0)  # spectra are made again
    for others in (*cuts, measure(mapped), measure(mapped, block_frames=50)):
        for row, other in zip(rows, others, strict=True):
            for name, value in row.items():
                assert other[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-7)), name


def test_memory_does_not_grow_with_the_track(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gtzan, "_KEPT_FRAMES", 0)

    def peak(minutes: int) -> int:
        signal = np.tile(melody(60.0), minutes)
        tracemalloc.start()
        measure(signal, block_frames=250)
        reached = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return reached

    peak(1)  # imports and compiles
    longer = (peak(4) - peak(2)) / (2 * 60 * RATE / 512)
    assert longer < 600  # bytes a frame, where one spectrum has 4100


def test_what_is_not_finite_counts_as_silence() -> None:
    damaged = noise(70_000)
    damaged[[5, 100, 69_999]] = np.nan, np.inf, -np.inf
    mended = np.where(np.isfinite(damaged), damaged, 0).astype(np.float32)
    assert measure(damaged) == measure(mended)


@pytest.mark.parametrize("scale", [1e15, 1e30, 3e38])
def test_samples_beyond_all_measure_give_no_numbers_that_are_none(scale: float) -> None:
    for row in measure((noise(70_000) * 2 * scale).clip(-3e38, 3e38).astype(np.float32)):
        for name, value in row.items():
            assert value is None or math.isfinite(np.float32(value)), name


def test_no_samples() -> None:
    (row,) = measure(np.zeros(0, dtype=np.float32))
    assert (row["window"], row["length_s"]) == (-1, 0)
    assert {value for name, value in row.items() if name not in PLACE} == {None}


def test_harmonic_samples_equal_librosa() -> None:
    signal = melody(5.0) + clicks(5 * RATE, 9000)
    n_frames, found = count_frames(len(signal)), []
    for first in range(0, n_frames, 60):
        last = min(first + 60, n_frames)
        start, stop = max(first - BEFORE, 0), min(last + AFTER, n_frames)
        spectra = transform(signal, start, stop)
        at, part = separate_harmonic(spectra, measure_power(spectra)[0], start, first, last, len(signal))
        assert at == sum(map(len, found))
        found.append(part)
    np.testing.assert_allclose(np.concatenate(found), librosa.effects.hpss(signal)[0], atol=1e-6)


@pytest.mark.parametrize("cents", [-45, -20, 0, 7, 30])
def test_tuning_is_librosas(cents: int) -> None:
    signal = sum(tone(3 * RATE, 220 * 2 ** ((note + cents / 100) / 12)) for note in (0, 4, 7, 12))
    power = np.abs(librosa.stft(signal)) ** 2
    tuning = librosa.estimate_tuning(S=power, sr=RATE)
    peaks, heights = find_peaks(np.ascontiguousarray(power.T), PEAK_BINS[0], PEAK_BINS[1], PEAK_THRESHOLD)
    assert estimate_tuning([peaks[:50], peaks[50:]], [heights[:50], heights[50:]]) == tuning
    assert tuning == pytest.approx(cents / 100, abs=0.08)


def test_no_peaks_are_in_tune() -> None:
    assert estimate_tuning([np.zeros(0, dtype=np.float32)], [np.zeros(0, dtype=np.float32)]) == 0


@pytest.mark.parametrize("frames", [1, 5, 344, 345, 5000])
def test_tempo_is_librosas(frames: int) -> None:
    rng = np.random.default_rng(frames)
    onsets = (rng.random(frames) * (np.arange(frames) % 21 == 0) + 0.1 * rng.random(frames)).astype(np.float32)
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=RATE)  # what the beat tracker starts from
    assert estimate_tempo(onsets) == pytest.approx(float(np.squeeze(tempo)))


def test_no_onsets_have_no_tempo() -> None:
    assert estimate_tempo(np.zeros(100, dtype=np.float32)) == 0
