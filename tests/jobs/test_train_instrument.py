"""The command that trains an instrument: clear answers, validation, a whole training, and one that is killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from reprise.jobs._commands import train_instrument
from reprise.lib.covers.solo_passages import REASONS, Material
from reprise.lib.covers.stem_datasets import DatasetPassage, DatasetSource, Description, write_dataset
from reprise.lib.errors import RepriseError
from reprise.lib.nets.pitch_tracker import PitchTracker
from tests.lib.test_covers_solo_passages import chords, melody, speech

RATE = 16_000
USAGE, FAILED, INTERRUPTED = 2, 1, 130


def run(*args: object) -> int:
    return train_instrument.main([str(one) for one in args])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "ds"
    write_dataset(
        folder, [("a.wav", melody(40, 1)), ("b.wav", melody(40, 2)), ("c.wav", melody(12, 3))], PitchTracker()
    )
    return folder


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--dataset", "{tmp}/none", "--name", "x", "--out", "{tmp}/o"], "none is not a folder: name one that"),
        (["--dataset", "{tmp}", "--name", "a/b", "--out", "{tmp}/o"], "--name a/b is not a name: use letters"),
        (["--dataset", "{tmp}", "--name", "日本", "--out", "{tmp}/o"], "--name 日本 is not a name"),
        (["--dataset", "{tmp}", "--name", "", "--out", "{tmp}/o"], "is not a name"),
        (["--dataset", "{tmp}", "--name", "x", "--out", "{tmp}/o", "--steps", "0"], "must be at least 1, not 0"),
        ([], "the following arguments are required: --dataset, --name, --out"),
    ],
)  # fmt: skip
def test_wrong_use_is_one_line(args: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*(one.format(tmp=tmp_path) for one in args)) == USAGE
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


NOT_ENOUGH: dict[str, tuple[Callable[[], Any], str]] = {
    "speech": (lambda: speech(20), "% speech (the pitch holds no notes)"),
    "chords": (lambda: chords(20), "% several notes at once"),
    "20 s": (lambda: melody(20), "of 0:20"),
    "silence": (lambda: np.zeros(20 * RATE, np.float32), "100% silence"),
}


@pytest.mark.parametrize(("make", "said"), NOT_ENOUGH.values(), ids=NOT_ENOUGH)
def test_not_enough_is_one_line_before_the_training(
    make: Callable[[], Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "ds", [("Ä 日本.wav", make())], PitchTracker())
    assert run("--dataset", tmp_path / "ds", "--name", "x", "--out", tmp_path / "o") == FAILED
    printed = capsys.readouterr()
    assert said in printed.err
    assert "training needs at least 60 s" in printed.err
    assert (printed.err.count("\n"), printed.out) == (1, "")
    assert not (tmp_path / "o").exists()


def test_a_folder_that_is_no_dataset_is_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.flac").write_text("text")
    assert run("--dataset", tmp_path, "--name", "x", "--out", tmp_path / "o") == FAILED
    assert "is not a dataset of build-stem-dataset: no dataset.json" in capsys.readouterr().err
    assert run("--dataset", dataset, "--name", "x", "--out", tmp_path / "text.flac") == FAILED
    assert capsys.readouterr().err.count("\n") == 1


def describe(*lengths_s: tuple[str, float]) -> Description:
    empty = Material(0, dict.fromkeys(REASONS, 0.0), {}, {})
    passages = [DatasetPassage(f"{i:04}.flac", "0", name, 0, length) for i, (name, length) in enumerate(lengths_s)]
    return Description(passages, [DatasetSource(name, empty, 1.0) for name, _ in lengths_s])


@pytest.mark.parametrize(
    ("lengths_s", "count"),
    [
        ([("a", 30)] * 10, 1),
        ([("a", 30)] * 20, 2),
        ([("a", 30), ("a", 30), ("b", 5), ("b", 5)], 2),
        ([("a", 30), ("a", 30), ("b", 2), ("c", 2), ("c", 4)], 3),
        ([("a", 30), ("a", 30), ("b", 30), ("b", 30)], 1),
        ([("a", 30), ("b", 30)], 1),
    ],
)
def test_about_a_tenth_validates(lengths_s: list[tuple[str, float]], count: int) -> None:
    assert train_instrument.choose_validation(describe(*lengths_s)) == count


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_training_gives_an_instrument_and_a_report(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from reprise.lib.covers.instruments import read_instrument

    out, checkpoint = tmp_path / "my instrument", tmp_path / "c" / "checkpoint"
    arguments = ("--dataset", dataset, "--name", "Fagott_1", "--out", out, "--checkpoint", checkpoint, "--steps", 3)
    assert run(*arguments) == 0, capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {
        "Fagott_1.safetensors", "original.flac", "report.json", "report.png", "resynthesis.flac", "training.json",
        "training.png",
    }  # fmt: skip
    assert not checkpoint.exists()
    found = read_instrument((out / "Fagott_1.safetensors").read_bytes())
    assert found.name == "Fagott_1"
    assert 150 < found.range.low_hz < 220 < 450 < found.range.high_hz < 600
    report = json.loads((out / "report.json").read_text())
    assert report["params"]["steps"] == 3
    assert set(report["metrics"]) == {
        "validation_loss", "pitch_error_cents", "voiced_share", "loudness_correlation", "level_difference_db",
    }  # fmt: skip
    original, resynthesis = (soundfile.info(out / f"{name}.flac") for name in ("original", "resynthesis"))
    assert (original.samplerate, resynthesis.samplerate) == (RATE, 44_100)
    assert resynthesis.duration == pytest.approx(original.duration, abs=0.1)
    assert "validation loss: " in capsys.readouterr().out


TINY = "NetworkShape('DilatedConvDecoder', {'ch': 4, 'kernel_size': 3, 'layers_per_stack': 1, 'stacks': 1}, 4, 8)"
KILLED = f"""
import os, signal, sys
from reprise.jobs._commands import train_instrument
from reprise.lib.covers import instrument_training
from reprise.lib.nets.instrument_network import NetworkShape

step = instrument_training._Trainer.step
def die(self, windows, number, rate):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, windows, number, rate)
instrument_training._Trainer.step = die
instrument_training.choose_shape = lambda low_hz: {TINY}
sys.exit(train_instrument.main(sys.argv[1:]))
"""


@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_to_the_same_instrument(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by SIGKILL, by Ctrl-C, and not at all; a checkpoint of other settings is refused."""
    from reprise.lib.covers import instrument_training
    from reprise.lib.nets.instrument_network import NetworkShape

    def arguments(name: str) -> list[str]:
        return [
            "--dataset", str(dataset), "--name", "x", "--out", str(tmp_path / name), "--steps", "4",
            "--checkpoint", str(tmp_path / f"checkpoint-{name}"),
        ]  # fmt: skip

    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments("killed")], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    tiny = NetworkShape("DilatedConvDecoder", {"ch": 4, "kernel_size": 3, "layers_per_stack": 1, "stacks": 1}, 4, 8)
    monkeypatch.setattr(instrument_training, "choose_shape", lambda low_hz: tiny)
    step = instrument_training._Trainer.step

    def interrupt(self: Any, windows: Any, number: int, rate: float) -> float:
        if number == 3:
            raise KeyboardInterrupt
        return step(self, windows, number, rate)

    with monkeypatch.context() as patch:
        patch.setattr(instrument_training._Trainer, "step", interrupt)
        assert run(*arguments("interrupted")) == INTERRUPTED
    assert "interrupted: the same command goes on from the checkpoint" in capsys.readouterr().err
    assert (tmp_path / "checkpoint-killed").exists()
    assert (tmp_path / "checkpoint-interrupted").exists()
    assert run(*arguments("killed"), "--seed", 7) == FAILED
    assert "is of a training with other data or settings: delete it" in capsys.readouterr().err
    for name in ("killed", "interrupted", "whole"):
        assert run(*arguments(name)) == 0
        assert ("resumed after step 2" in capsys.readouterr().out) == (name != "whole")
    data = [(tmp_path / name / "x.safetensors").read_bytes() for name in ("killed", "interrupted", "whole")]
    assert data[0] == data[1] == data[2]


@pytest.mark.tensorflow
def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    from reprise.lib.covers.instrument_training import _read_checkpoint
    from reprise.lib.tensors import pack_tensors

    path = tmp_path / "checkpoint"
    path.write_bytes(b"damaged")
    with pytest.raises(RepriseError, match="is damaged"):
        _read_checkpoint(path, "a")
    path.write_bytes(pack_tensors({"x": np.zeros(1)}, {"step": 1}))
    assert _read_checkpoint(path, "")[0] == {"step": 1}
    with pytest.raises(RepriseError, match="other data or settings"):
        _read_checkpoint(path, "a")
