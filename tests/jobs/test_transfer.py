"""The command transfer: melodies and chords of files, and clear lines for everything else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from reprise.jobs._commands import transfer
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.default_instruments import read_default_instrument
from reprise.lib.covers.performance import measure_performance
from reprise.lib.nets.pitch_tracker import PitchTracker

pytestmark = pytest.mark.tensorflow
Transfer = Callable[..., tuple[int, str, str]]
NOTES = (60, 62, 64, 65, 67, 69, 71, 72)
INSTRUMENT = "trumpet"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Transfer:
    """The command, in this process: exit code and what it prints."""

    def run(source: object, out: object, instrument: object = INSTRUMENT) -> tuple[int, str, str]:
        capsys.readouterr()
        code = transfer.main(["--in", str(source), "--instrument", str(instrument), "--out", str(out)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def play(chords: Sequence[tuple[int, ...]], rate: int, note_s: float = 0.5) -> np.ndarray:
    """Notes or chords of six harmonics, one after the other, that decay a little."""
    n = round(note_s * rate)
    time_s = np.arange(n) / rate
    envelope = np.minimum(time_s / 0.02, 1) * np.exp(-time_s) * np.minimum((note_s - time_s) / 0.03, 1)
    parts = []
    for chord in chords:
        tones = [
            np.sin(2 * np.pi * k * 440 * 2 ** ((midi - 69) / 12) * time_s) / k
            for midi in chord
            for k in range(1, 7)
            if k * 440 * 2 ** ((midi - 69) / 12) < rate / 2
        ]
        parts.append(envelope * np.sum(tones, axis=0) / len(chord))
    return np.concatenate(parts) * 0.1


def play_melody(rate: int, note_s: float = 0.5) -> np.ndarray:
    return play([(midi,) for midi in NOTES], rate, note_s)


def measure(path: Path) -> tuple[np.ndarray, float]:
    samples, rate = soundfile.read(path, dtype="float32")
    meter = LoudnessMeter(rate, 1)
    meter.add(samples.reshape(len(samples), -1).mean(axis=1, keepdims=True).astype(np.float32))
    return samples, meter.integrated_lufs


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8000, 1), (96_000, 1)])
def test_a_melody(run: Transfer, tmp_path: Path, rate: int, channels: int) -> None:
    import soxr

    source, out = tmp_path / "Ünïcode 旋律 $x.wav", tmp_path / "new folder" / "o ü.flac"
    melody = play_melody(rate)
    soundfile.write(source, np.stack([melody] * channels, axis=1), rate)
    code, printed, errors = run(source, out)
    assert (code, errors) == (0, "")
    assert "melody: 0:04" in printed
    assert "trumpet from the package" in printed
    samples, loudness = measure(out)
    assert soundfile.info(out).samplerate == 44_100
    assert len(samples) == pytest.approx(4 * 44_100, abs=200)
    assert loudness == pytest.approx(measure(source)[1], abs=0.5)
    played = measure_performance(soxr.resample(samples, 44_100, 16_000), PitchTracker())
    for number, midi in enumerate(NOTES):
        middle = slice(125 * number + 30, 125 * number + 100)
        assert played.voiced[middle].all()
        assert np.median(69 + 12 * np.log2(played.f0_hz[middle] / 440)) == pytest.approx(midi, abs=0.2)
    # the same again
    first = out.read_bytes()
    assert run(source, out)[0] == 0
    assert out.read_bytes() == first


def test_chords(run: Transfer, tmp_path: Path) -> None:
    from reprise.lib.nets.note_transcriber import NoteTranscriber

    source, out = tmp_path / "chords.wav", tmp_path / "out.flac"
    chords = [(60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)]
    soundfile.write(source, play(chords, 22_050, 1.0), 22_050)
    code, printed, errors = run(source, out, "clarinet")
    assert (code, errors) == (0, "")
    assert "chords in" in printed
    import soxr

    notes = NoteTranscriber().transcribe(soxr.resample(measure(out)[0], 44_100, 22_050))
    found = {(round(float(start)), int(pitch)) for start, pitch in zip(notes.start_s, notes.pitch, strict=True)}
    expected = {(second, midi) for second, chord in enumerate(chords) for midi in chord}
    assert len(found & expected) >= 10


def test_notes_outside_the_range(run: Transfer, tmp_path: Path) -> None:
    source = tmp_path / "in.wav"
    soundfile.write(source, play([(31,), (33,), (36,), (35,)], 44_100), 44_100)
    code, printed, _ = run(source, tmp_path / "out.flac", "flute")
    assert code == 0
    assert "moved +3 octaves" in printed or "moved +4 octaves" in printed
    soundfile.write(source, play([(40,), (88,), (41,), (89,)], 44_100), 44_100)
    code, printed, _ = run(source, tmp_path / "out.flac", "cello")
    assert code == 0
    assert "outside the range" in printed


def test_clipped_melodies_are_played(run: Transfer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", np.clip(50 * play_melody(44_100), -1, 1), 44_100)
    assert run(tmp_path / "in.wav", tmp_path / "out.flac")[0] == 0
    assert np.abs(measure(tmp_path / "out.flac")[0]).max() < 1


def test_three_tenths_of_a_second(run: Transfer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", play([(69,)], 44_100, 0.3), 44_100)
    code, printed, _ = run(tmp_path / "in.wav", tmp_path / "out.flac")
    assert code == 0
    assert "0:00" in printed


@pytest.mark.parametrize("kind", ["silence", "noise", "one sample"])
def test_nothing_to_play(run: Transfer, tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 44_100)
    signal = {"silence": np.zeros(3 * 44_100), "noise": noise, "one sample": np.zeros(1)}[kind]
    soundfile.write(tmp_path / "in.wav", signal, 44_100)
    out = tmp_path / "out.flac"
    out.write_bytes(b"kept")
    code, _, errors = run(tmp_path / "in.wav", out)
    assert code == 1
    assert "in.wav has no pitch that can be followed" in errors
    assert errors.count("\n") == 1
    assert out.read_bytes() == b"kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.wav", "out.flac"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is an empty file"),
        (b"This is a text, not music.\n" * 50, "in.wav is not"),
        (None, "NaN"),
    ],
)
def test_unreadable_files(run: Transfer, tmp_path: Path, content: bytes | None, fault: str) -> None:
    source = tmp_path / "in.wav"
    if content is None:
        soundfile.write(source, np.full(8000, np.nan), 16_000, subtype="FLOAT")
    else:
        source.write_bytes(content)
    code, _, errors = run(source, tmp_path / "out.flac")
    assert code == 1
    assert fault in errors
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_made(run: Transfer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", play_melody(16_000), 16_000)
    (tmp_path / "file").touch()
    code, _, errors = run(tmp_path / "in.wav", tmp_path / "file" / "out.flac")
    assert code == 1
    assert errors.count("\n") == 1


def test_bad_usage(run: Transfer, tmp_path: Path) -> None:
    source = tmp_path / "in.flac"
    soundfile.write(source, play_melody(16_000), 16_000)
    for arguments, fault in (
        ((tmp_path / "none.wav", tmp_path / "out.flac"), "does not exist"),
        ((source, tmp_path / "out.mp3"), "not a .flac file"),
        ((source, source), "is the input"),
        ((source, tmp_path / "out.flac", "kazoo"), "kazoo is neither"),
        ((source, tmp_path / "out.flac", "magenta_flute_"), "neither"),
    ):
        code, _, errors = run(*arguments)
        assert code == 2, errors
        assert fault in errors
        assert errors.count("\n") == 1


@pytest.mark.parametrize("place", [30, -1000])
def test_a_flipped_bit_in_an_instrument(run: Transfer, tmp_path: Path, place: int) -> None:
    """In the header it is a fault; in the arrays it is found when the number is not finite, or harmless."""
    soundfile.write(tmp_path / "in.wav", play_melody(16_000), 16_000)
    damaged = bytearray(read_default_instrument(INSTRUMENT))
    for i in range(4):
        damaged[place + i] ^= 0xFF
    (tmp_path / "own.safetensors").write_bytes(damaged)
    code, _, errors = run(tmp_path / "in.wav", tmp_path / "out.flac", tmp_path / "own.safetensors")
    assert (code, errors.count("\n")) in ((1, 1), (0, 0))
    if place > 0:
        assert "not an instrument" in errors


@contextmanager
def copied(shared_data: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "violin"
    folder.mkdir()
    for file in (shared_data / "ddsp" / "violin").iterdir():
        shutil.copyfile(file, folder / file.name)
    yield folder


def test_magenta_and_its_faults(run: Transfer, tmp_path: Path, shared_data: Path) -> None:
    source, out = tmp_path / "in.wav", tmp_path / "out.flac"
    soundfile.write(source, play_melody(16_000), 16_000)
    with copied(shared_data, tmp_path) as folder:
        (folder / "dataset_statistics.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
        code, printed, errors = run(source, out, folder)
        assert (code, errors) == (0, "")
        assert "magenta_violin" in printed
        assert "licence: Apache-2.0" in printed
        data = folder / "ckpt-0.data-00000-of-00001"
        original = data.read_bytes()
        data.write_bytes(original[:5000] + bytes([original[5000] ^ 1]) + original[5001:])
        code, _, errors = run(source, out, folder)
        assert code == 1
        assert "ckpt-0.data-00000-of-00001 has changed" in errors
        data.write_bytes(original)
        config = folder / "operative_config-0.gin"
        config.write_text("import os\n" + config.read_text())
        code, _, errors = run(source, out, folder)
        assert code == 1
        assert "unknown checksum" in errors
        assert "gin file is a program" in errors
        config.unlink()
        assert "has no operative_config-0.gin" in run(source, out, folder)[2]


def test_answers_before_it_loads_anything_heavy(tmp_path: Path) -> None:
    """Bad usage and help need no TensorFlow."""
    script = (
        "import sys\n"
        "from reprise.jobs._commands import transfer\n"
        "code = transfer.main(['--in', 'none', '--instrument', 'flute', '--out', 'x.flac'])\n"
        "assert code == 2, code\n"
        "assert not {'tensorflow', 'torch', 'ddsp', 'onnxruntime', 'numba'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, cwd=tmp_path)
