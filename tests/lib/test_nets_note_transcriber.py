"""Notes read by basic-pitch's network: its output in one window, composed chords, edges, a missing package."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import pytest

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.errors import RepriseError
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.nets.note_transcriber import HOP, WINDOW, Notes, NoteTranscriber

RATE = 22_050
REAL = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")


@pytest.fixture(scope="module")
def transcriber() -> NoteTranscriber:
    return NoteTranscriber()


def compose(parts: int, seed: int, chords: int = 40) -> Notes:
    """Chords of different notes, half a second apart."""
    rng = np.random.default_rng(seed)
    pitch = np.sort([rng.choice(np.arange(45, 80), parts, replace=False) for _ in range(chords)], axis=1).ravel()
    start_s = np.repeat(0.3 + 0.5 * np.arange(chords), parts)
    zeros = np.zeros(len(pitch), dtype=np.float32)
    return Notes(start_s, start_s + 0.4, pitch.astype(np.int64), zeros, zeros)


def play(notes: Notes, length_s: float) -> Float32Array:
    """Decaying tones with six harmonics."""
    out = np.zeros(round(length_s * RATE))
    for start_s, end_s, pitch in zip(notes.start_s, notes.end_s, notes.pitch, strict=True):
        time = np.arange(round((end_s - start_s) * RATE)) / RATE
        hz = 440 * 2 ** ((pitch - 69) / 12)
        tone = sum(np.sin(2 * np.pi * h * hz * time) / h**1.5 for h in range(1, 7)) * np.exp(-2 * time)
        tone[-200:] *= np.linspace(1, 0, 200)
        first = round(start_s * RATE)
        out[first : first + len(tone)] += 0.1 * tone
    return out.astype(np.float32)


def play_tone(pitch: float, start_s: float, length_s: float, total_s: float) -> Float32Array:
    empty = np.zeros(0, dtype=np.float32)
    columns: tuple[Any, ...] = (np.array([start_s]), np.array([start_s + length_s]), np.array([pitch]), empty, empty)
    return play(Notes(*columns), total_s)


def measure_f(truth: Notes, found: Notes) -> float:
    def arrays(notes: Notes) -> tuple[Float64Array, Float64Array]:
        return np.stack([notes.start_s, notes.end_s], 1), mir_eval.util.midi_to_hz(notes.pitch)

    scores = mir_eval.transcription.precision_recall_f1_overlap(*arrays(truth), *arrays(found), offset_ratio=None)
    return float(scores[2])


def test_the_windows_are_those_of_the_network(transcriber):
    import onnxruntime

    samples = play(compose(3, 0), 21.0)
    notes, onsets, contour = (
        np.concatenate(parts) for parts in zip(*transcriber.compute_windows(samples), strict=True)
    )
    path = distribution("basic-pitch").locate_file("basic_pitch/saved_models/icassp_2022/nmp.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = {"notes": "StatefulPartitionedCall:1", "onsets": "StatefulPartitionedCall:2"}
    start = 3 * 142 - 15  # frame of the fourth window
    window = samples[start * HOP : start * HOP + WINDOW].reshape(1, -1, 1)
    for name, array in (("notes", notes), ("onsets", onsets)):
        (plain,) = session.run([names[name]], {"serving_default_input_2:0": window})
        np.testing.assert_allclose(array[start + 15 : start + 157], plain[0, 15:157], atol=1e-5)
    assert contour.shape == (len(notes), 264)
    # the network looks little further than the margin: frames of two windows agree
    (before,) = session.run(
        [names["notes"]], {"serving_default_input_2:0": samples[(start - 71) * HOP :][:WINDOW].reshape(1, -1, 1)}
    )
    assert np.abs(before[0, 100:150] - notes[start - 71 + 100 : start - 71 + 150]).mean() < 0.02


@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_chords_of_tones(transcriber, parts):
    notes = compose(parts, parts)
    assert measure_f(notes, transcriber.transcribe(play(notes, 21.0))) > 0.85


@pytest.mark.skipif(not REAL.exists(), reason="no soundfont of Debian")
@pytest.mark.parametrize(("program", "goal"), [(0, 0.85), (20, 0.6), (25, 0.85), (48, 0.4)])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_chords_of_instruments(transcriber, parts, program, goal):
    notes = compose(parts, parts)
    loudness = np.full(len(notes), 0.5)
    sound = SoundfontPlayer(str(REAL)).play(
        notes.start_s, notes.end_s - notes.start_s, notes.pitch, loudness, 21 * 2 * RATE, program
    )
    samples = sound.reshape(-1, 4).mean(axis=1)  # half of the sample rate
    assert measure_f(notes, transcriber.transcribe(samples)) > goal


@pytest.mark.parametrize("pitch", [33, 60, 61.2, 75.8, 96])
def test_one_note(transcriber, pitch):
    found = transcriber.transcribe(play_tone(pitch, 0.7, 0.6, 2.0))
    assert found.pitch.tolist() == [round(pitch)]
    assert found.start_s[0] == pytest.approx(0.7, abs=0.04)
    assert found.end_s[0] == pytest.approx(1.3, abs=0.15)
    assert found.pitch[0] + found.deviation[0] == pytest.approx(pitch, abs=0.1)
    assert 0.4 < found.activation[0] <= 1


def test_a_short_signal(transcriber):
    found = transcriber.transcribe(play_tone(60, 0.05, 0.25, 0.3))
    assert found.pitch.tolist() == [60]
    assert len(transcriber.transcribe(np.zeros(1, dtype=np.float32))) == 0
    assert len(transcriber.transcribe(np.zeros(0, dtype=np.float32))) == 0


@pytest.mark.parametrize("delay", [142, 1000])
def test_a_note_is_found_wherever_it_is(transcriber, delay):
    """At the end of a window, and in any other."""
    samples = play(compose(2, 7, chords=5), 3.0)
    found = transcriber.transcribe(samples)
    later = transcriber.transcribe(np.concatenate([np.zeros(delay * HOP, dtype=np.float32), samples]))
    assert len(found) == len(later) >= 10
    np.testing.assert_array_equal(found.pitch, later.pitch)
    np.testing.assert_allclose(later.start_s - found.start_s, delay * HOP / RATE, atol=2 * HOP / RATE)


def test_a_repeated_note_is_two_notes(transcriber):
    samples = play_tone(64, 0.5, 0.4, 2.0) + play_tone(64, 0.9, 0.4, 2.0)
    found = transcriber.transcribe(samples)
    assert found.pitch.tolist() == [64, 64]
    np.testing.assert_allclose(found.start_s, [0.5, 0.9], atol=0.04)
    assert found.end_s[0] <= found.start_s[1]


def test_silence_and_noise_have_no_notes(transcriber):
    assert len(transcriber.transcribe(np.zeros(5 * RATE, dtype=np.float32))) == 0
    for level in (1e-5, 0.1):
        noise = level * np.random.default_rng(0).standard_normal(10 * RATE)
        assert len(transcriber.transcribe(noise.astype(np.float32))) <= 2


def test_samples_that_are_not_finite_count_as_zeros(transcriber):
    samples = play_tone(60, 1.0, 1.0, 3.0)
    damaged = samples.copy()
    damaged[:1000], damaged[-1000:] = np.nan, np.inf
    found, repaired = transcriber.transcribe(samples), transcriber.transcribe(damaged)
    np.testing.assert_array_equal(found.start_s, repaired.start_s)
    assert len(transcriber.transcribe(np.full(RATE, np.nan, dtype=np.float32))) == 0


def test_notes_of_a_file_are_those_of_the_array(transcriber, tmp_path):
    samples = play(compose(3, 5), 21.0)
    samples.tofile(tmp_path / "samples")
    mapped = np.memmap(tmp_path / "samples", np.float32, "r")
    found, again = transcriber.transcribe(samples), transcriber.transcribe(mapped)
    for name in ("start_s", "end_s", "pitch", "activation", "deviation"):
        np.testing.assert_array_equal(getattr(found, name), getattr(again, name))
    dtypes = [getattr(found, name).dtype for name in ("start_s", "end_s", "pitch", "activation", "deviation")]
    assert dtypes == [np.float64, np.float64, np.int64, np.float32, np.float32]
    assert (np.diff(found.start_s) >= 0).all()
    assert (found.end_s - found.start_s > 0.05).all()


def find(result: ModuleSpec | None) -> Callable[[str], ModuleSpec | None]:
    return lambda name: result


def test_a_missing_package_is_named(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", find(None))
        with pytest.raises(RepriseError, match=r"basic-pitch.* not installed: run pip install --no-deps basic-pitch"):
            NoteTranscriber()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RepriseError, match=r"onnxruntime.* not installed: run pip install"):
        NoteTranscriber()


@pytest.mark.parametrize("content", [None, b"", b"another network"])
def test_another_network_is_refused(monkeypatch, tmp_path, content):
    spec = ModuleSpec("basic_pitch", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(tmp_path))
    if content is not None:
        path = tmp_path / "saved_models" / "icassp_2022" / "nmp.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    monkeypatch.setattr(importlib.util, "find_spec", find(spec))
    with pytest.raises(RepriseError, match=r"not that of version 0\.4\.0: run pip install"):
        NoteTranscriber()
