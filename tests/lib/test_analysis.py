"""Analysis of audio: synthetic signals of known tempo, key, level and form, and real recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.analysis import frames, key, pitches
from reprise.lib.analysis.analyser import analyse
from reprise.lib.analysis.plots import draw_analysis
from reprise.lib.arrays import Float32Array
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.errors import InputError
from reprise.lib.tables.libraries import LIBRARY_ANALYSIS, LIBRARY_TRACKS

RATE = 22_050
MAJOR, MINOR = (0, 4, 7), (0, 3, 7)
CADENCE = {1: ((0, MAJOR), (5, MAJOR), (7, MAJOR), (0, MAJOR)), 0: ((0, MINOR), (5, MINOR), (7, MAJOR), (0, MINOR))}
SCALARS = {"duration", "analysis_sample_rate", "loudness", "end_of_fade_in", "start_of_fade_out"} | {
    name + end for name in ("tempo", "key", "mode", "time_signature") for end in ("", "_confidence")
}


def play_tone(pitch: float, seconds: float, partials: int = 6) -> Float32Array:
    """A decaying tone with overtones; ``pitch`` is a MIDI pitch, middle C is 60."""
    time = np.arange(round(seconds * RATE)) / RATE
    hz = 440 * 2 ** ((pitch - 69) / 12)
    tone = sum(0.6**k * np.sin(2 * np.pi * (k + 1) * hz * time) for k in range(partials))
    shape = np.minimum(time / 0.005, 1) * np.exp(-2 * time) * np.minimum((seconds - time) / 0.01, 1)
    return (0.1 * tone * shape).astype(np.float32)


def play_chords(tonic: float, mode: int, bars: int = 16, bpm: float = 100, seed: int = 0) -> Float32Array:
    """A repeated cadence in 4/4 with bass, chords on every beat, and drums."""
    beat_s, random = 60 / bpm, np.random.default_rng(seed)
    out = np.zeros(round((4 * bars * beat_s + 1) * RATE), dtype=np.float32)

    def add(at_s: float, sound: Float32Array) -> None:
        start = round(at_s * RATE)
        out[start : start + len(sound)] += sound[: len(out) - start]

    noise = (0.15 * random.standard_normal(2000) * np.exp(-np.arange(2000) / 300)).astype(np.float32)
    kick = (0.5 * np.sin(2 * np.pi * 55 * np.arange(3000) / RATE) * np.exp(-np.arange(3000) / 700)).astype(np.float32)
    for beat in range(4 * bars):
        root, chord = CADENCE[mode][beat // 4 % 4]
        low = (root + tonic) % 12
        at_s = 0.1 + beat * beat_s
        if beat % 2 == 0:
            add(at_s, 2 * play_tone(36 + low, 1.8 * beat_s))
            add(at_s, kick)
        else:
            add(at_s, noise)
        for step in chord:
            add(at_s, play_tone(60 + (low + step) % 12, 0.9 * beat_s))
        for eighth in (0, 0.5):
            add(at_s + eighth * beat_s, 0.3 * noise[:600])
    return out


@pytest.fixture(scope="module")
def cadence() -> tuple[Float32Array, dict[str, Any]]:
    signal = play_chords(2, 1)
    return signal, analyse(signal)


def check_ranges(found: dict[str, Any]) -> None:
    """Check the ranges and lengths on which the tables and later steps rely."""
    for name, value in found.items():
        assert np.isfinite(value).all(), name
        if name.endswith("_confidence"):
            assert np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)), name
        if name.endswith("_start") and np.ndim(value) and "loudness" not in name:
            assert len(found[name.replace("_start", "_confidence")]) == len(value)
            assert np.all(np.diff(value) > 0), name
            assert np.all((value >= 0) & (value <= found["duration"])), name
    count = len(found["segments_start"])
    assert count >= 1
    assert found["segments_start"][0] == 0.0
    assert found["segments_pitches"].shape == found["segments_timbre"].shape == (count, 12)
    np.testing.assert_allclose(found["segments_pitches"].max(axis=1), 1.0, rtol=1e-6)
    assert found["segments_pitches"].min() >= 0
    assert np.all((found["segments_timbre"][:, 0] >= 0) & (found["segments_timbre"][:, 0] < 75))
    assert np.abs(found["segments_timbre"]).max() <= 500
    lengths = {len(found[f"segments_loudness_{end}"]) for end in ("start", "max", "max_time")}
    assert lengths == {count}
    assert np.all(found["segments_loudness_start"] >= -60)
    assert np.all(found["segments_loudness_max"] >= found["segments_loudness_start"])
    ends = np.append(found["segments_start"][1:], found["duration"] + 0.1)
    assert np.all(found["segments_loudness_max_time"] >= 0)
    assert np.all(found["segments_loudness_max_time"] < ends - found["segments_start"])
    assert 0 <= found["end_of_fade_in"] <= found["start_of_fade_out"] <= found["duration"]
    assert 0 <= found["key"] <= 11
    assert found["mode"] in (0, 1)
    assert (found["tempo"] > 0) == bool(len(found["beats_start"]))
    assert np.isin(found["bars_start"], found["beats_start"]).all()
    probabilities = found["tempo_probabilities"]
    assert len(probabilities) == len(found["tempo_candidates"]) <= 5
    assert np.all(np.diff(probabilities) <= 0)
    assert 0 <= probabilities.sum() <= 1 + 1e-9
    assert (found["tempo"] > 0) == (found["tempo"] in found["tempo_candidates"])
    assert np.isin(np.round(found["beats_start"], 4), np.round(found["tatums_start"], 4)).all()


def test_fields_match_the_tables(cadence: tuple[Float32Array, dict[str, Any]]) -> None:
    arrays = {c.name for c in LIBRARY_ANALYSIS.columns if c.type == "array<float>"}
    assert set(cadence[1]) == arrays | SCALARS
    assert {c.name for c in LIBRARY_TRACKS.columns} >= SCALARS
    check_ranges(cadence[1])


@pytest.mark.parametrize("bpm", [72, 96, 120, 150])
def test_beats_at_a_known_tempo(bpm: float) -> None:
    found = analyse(play_chords(7, 1, bars=12, bpm=bpm))
    assert found["tempo"] == pytest.approx(bpm, rel=0.02)
    true_s = 0.1 + np.arange(48) * 60 / bpm
    distance_s = np.abs(found["beats_start"][:, None] - true_s).min(axis=1)
    assert np.mean(distance_s < 0.05) > 0.95
    assert len(found["beats_start"]) == pytest.approx(48, abs=3)
    assert found["time_signature"] == 4
    assert np.median(np.diff(found["bars_start"])) == pytest.approx(240 / bpm, rel=0.02)


@pytest.mark.parametrize(
    ("tonic", "mode", "cents"), [(0, 1, 0), (3, 1, 35), (8, 1, -40), (4, 0, 0), (9, 0, 30), (1, 0, -20)]
)
def test_key_of_a_cadence_at_any_tuning(tonic: int, mode: int, cents: float) -> None:
    found = analyse(play_chords(tonic + cents / 100, mode, bars=8))
    assert (found["key"], found["mode"]) == (tonic, mode)


def test_transposition_rotates_pitches_and_key(cadence: tuple[Float32Array, dict[str, Any]]) -> None:
    higher = analyse(play_chords(5, 1))
    assert higher["key"] == (cadence[1]["key"] + 3) % 12
    mean = cadence[1]["segments_pitches"].mean(axis=0)
    assert np.corrcoef(np.roll(mean, 3), higher["segments_pitches"].mean(axis=0))[0, 1] > 0.95


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60), up=st.integers(0, 11), gain=st.floats(0.01, 100))
def test_key_follows_transposition_and_ignores_gain(seed: int, count: int, up: int, gain: float) -> None:
    random = np.random.default_rng(seed)
    chroma = random.gamma(0.3, size=(2, count, 12)).astype(np.float32)
    starts_s = 0.5 * np.arange(count, dtype=np.float64)

    def find_key(everything: Float32Array, bass: Float32Array) -> key.Key:
        harmony = pitches.accumulate_chroma(pitches.Chroma(everything, bass), starts_s, 0.5 * count)
        return key.find_key(key.compute_key_features(harmony, starts_s[::2]))

    one, other = find_key(*chroma), find_key(*(np.float32(gain) * np.roll(chroma, up, axis=2)))
    assert other.key == (one.key + up) % 12
    assert other.mode == one.mode
    assert other.key_confidence == pytest.approx(one.key_confidence, abs=1e-3)
    assert other.mode_confidence == pytest.approx(one.mode_confidence, abs=1e-3)


def test_pitches_of_a_scale() -> None:
    scale = [60, 62, 64, 65, 67, 69, 71, 72, 45, 40]
    found = analyse(np.concatenate([play_tone(pitch, 0.6) for pitch in scale]))
    for number, pitch in enumerate(scale):
        middle = 0.6 * number + 0.3
        segment = int(np.searchsorted(found["segments_start"], middle, side="right")) - 1
        assert int(np.argmax(found["segments_pitches"][segment])) == pitch % 12


def test_loudness_of_a_sine() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(5 * RATE) / RATE).astype(np.float32)
    for gain_db in (-6, -26):
        found = analyse(sine * np.float32(10 ** (gain_db / 20)))
        assert found["segments_loudness_max"].max() == pytest.approx(gain_db, abs=0.2)
    # relative to 1 kHz, the weighting of BS.1770 lowers 30 Hz by about 8 dB and raises 5 kHz by about 3.3 dB
    for hz, shift_db in ((30, -8), (5000, 3.3)):
        other = 0.1 * np.sin(2 * np.pi * hz * np.arange(5 * RATE) / RATE).astype(np.float32)
        assert analyse(other)["segments_loudness_max"].max() == pytest.approx(-20 + shift_db, abs=1.5)


def test_loudness_formula_fits_the_dataset(shared_data: Path) -> None:
    from reprise.lib import msd

    differences = []
    for path in sorted((shared_data / "msd").rglob("*.h5"))[:40]:
        with msd.open_msd(path) as file:
            read = file.read({"segments_loudness_max", "loudness"}, 0, 1)
        power = np.mean(10 ** (np.asarray(read["segments_loudness_max"][0]) / 10))
        differences.append(read["loudness"][0] - 10 * np.log10(power) - 0.96)
    assert abs(np.median(differences)) < 0.2


def test_timbre_reflects_level_brightness_and_attack() -> None:
    random = np.random.default_rng(3)
    noise = 0.05 * random.standard_normal(2 * RATE).astype(np.float32)
    dark = np.convolve(noise, np.ones(24, dtype=np.float32) / 8, mode="same").astype(np.float32)
    level = [analyse(one)["segments_timbre"][:, 0].mean() for one in (noise, 4 * noise)]
    assert level[1] - level[0] == pytest.approx(12, abs=1)
    bright, dull = (analyse(one)["segments_timbre"][:, 1].mean() for one in (noise, dark))
    assert bright < dull
    # a decaying tone, and the same tone backwards
    tone = np.tile(play_tone(60, 0.8), 6)
    falling, rising = (np.median(analyse(one)["segments_timbre"][:, 3]) for one in (tone, tone[::-1].copy()))
    assert falling > rising


def test_two_sections() -> None:
    signal = np.concatenate([play_chords(0, 1, bars=12), 0.4 * play_chords(6, 0, bars=12, seed=1)])
    change = 12 * 4 * 0.6 + 1
    starts = analyse(signal)["sections_start"]
    assert starts[0] == 0.0
    assert np.abs(starts - change).min() < 2.5
    assert len(starts) <= 3


def test_fades(cadence: tuple[Float32Array, dict[str, Any]]) -> None:
    signal = cadence[0][: 35 * RATE].copy()
    assert analyse(signal)["end_of_fade_in"] < 1
    signal[: 10 * RATE] *= np.linspace(0, 1, 10 * RATE, dtype=np.float32) ** 2
    signal[-10 * RATE :] *= np.linspace(1, 0, 10 * RATE, dtype=np.float32) ** 2
    found = analyse(signal)
    assert 3 < found["end_of_fade_in"] < 9
    assert 26 < found["start_of_fade_out"] < 32


def make_extreme_signals() -> dict[str, Float32Array]:
    random = np.random.default_rng(0)
    time = np.arange(10 * RATE) / RATE
    click = np.zeros(5 * RATE)
    click[30_000] = 1
    signals = {
        "silence": np.zeros(5 * RATE),
        "one sample": np.full(1, 0.5),
        "two samples": np.full(2, 0.5),
        "one hop": np.full(256, 0.5),
        "a tenth of a second": 0.3 * np.sin(time[:2205] * 3000),
        "constant": np.full(5 * RATE, 0.7),
        "noise": 0.2 * random.standard_normal(12 * RATE),
        "click": click,
        "steady tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "tone with swells": np.sin(2 * np.pi * 220 * time) * np.sin(0.3 * time),
        "far too loud": 1e30 * random.standard_normal(3 * RATE),
        "far too quiet": 1e-30 * random.standard_normal(3 * RATE),
        "burst between silence": np.pad(0.2 * random.standard_normal(2000), 10 * RATE),
    }
    return {name: signal.astype(np.float32) for name, signal in signals.items()}


@pytest.mark.parametrize("name", list(make_extreme_signals()))
def test_extreme_signals_give_valid_rows(name: str) -> None:
    found = analyse(make_extreme_signals()[name])
    check_ranges(found)
    if name in ("silence", "far too quiet"):
        assert found["loudness"] == -60
        assert np.all(found["segments_pitches"] == 1)
        assert not any(len(found[f"{kind}_start"]) for kind in ("beats", "bars", "tatums", "sections"))
        assert found["tempo"] == found["tempo_confidence"] == 0
    if name in ("click", "constant", "steady tone", "burst between silence"):
        assert found["tempo"] == 0
    if name == "steady tone":
        assert found["key"] == 9


@pytest.mark.parametrize(
    ("signal", "kind"),
    [
        (np.zeros((100, 2), dtype=np.float32), "not_a_signal"),
        (np.zeros(100, dtype=np.int16), "not_a_signal"),
        (np.zeros(0, dtype=np.float32), "not_a_signal"),
        (np.full(100, np.nan, dtype=np.float32), "not_finite"),
        (np.append(np.zeros(90_000), np.inf).astype(np.float32), "not_finite"),
    ],
)
def test_invalid_signals_are_rejected(signal: Float32Array, kind: str) -> None:
    with pytest.raises(InputError) as error:
        analyse(signal)
    assert error.value.kind == kind


def test_block_size_does_not_change_the_result(
    cadence: tuple[Float32Array, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signal, whole = cadence
    monkeypatch.setattr(frames, "BLOCK_FRAMES", 333)
    monkeypatch.setattr(pitches, "BLOCK_FRAMES", 77)
    signal.tofile(tmp_path / "signal")
    blocks = analyse(np.memmap(tmp_path / "signal", dtype=np.float32, mode="r"))
    assert set(blocks) == set(whole)
    for name, value in whole.items():
        np.testing.assert_allclose(blocks[name], value, rtol=1e-4, atol=1e-3, err_msg=name)


def test_analysis_is_deterministic(cadence: tuple[Float32Array, dict[str, Any]]) -> None:
    again = analyse(cadence[0].copy())
    for name, value in cadence[1].items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def test_beat_chroma_accepts_the_analysis(cadence: tuple[Float32Array, dict[str, Any]]) -> None:
    found = cadence[1]
    inputs = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
    chroma = beat_chroma(*(found[name] for name in inputs))
    assert chroma.shape == (12, len(found["beats_start"]))
    # D major, G major, A major, D major: the strongest pitch class in the middle of a bar belongs to its chord
    for bar, chord in enumerate([(2, 6, 9), (7, 11, 2), (9, 1, 4), (2, 6, 9)] * 3):
        middle = 0.1 + (4 * bar + 2) * 0.6
        beat = int(np.abs(found["beats_start"] - middle).argmin())
        assert int(np.argmax(chroma[:, beat])) in chord


@pytest.mark.slow
def test_real_recordings(shared_data: Path, tmp_path: Path) -> None:
    known = {"Vibe_Ace": ("tempo", 129.2), "Tchaikovsky": ("key", 4), "Lets_Go": ("key", 10)}
    files = sorted((shared_data / "audio").glob("*.ogg"))
    assert files
    for path in files:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        signal = soxr.resample(samples.mean(axis=1), rate, RATE)[: 70 * RATE]
        found = analyse(signal)
        check_ranges(found)
        assert 1.5 < len(found["segments_start"]) / found["duration"] < 5.5
        for part, (name, value) in known.items():
            if part in path.name:
                assert found[name] == pytest.approx(value, rel=0.03)
    draw_analysis(signal, found, tmp_path / "analysis.png")
    assert (tmp_path / "analysis.png").read_bytes().startswith(b"\x89PNG")


def test_plot_of_silence(tmp_path: Path) -> None:
    for seconds in (0.01, 3):
        signal = np.zeros(round(seconds * RATE), dtype=np.float32)
        draw_analysis(signal, analyse(signal), tmp_path / "analysis.png")
    assert (tmp_path / "analysis.png").stat().st_size > 1000
