"""Datasets of recordings, without a warehouse: every kind of folder, one clear line for each fault."""

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

from reprise.jobs import build_stem_dataset as job
from reprise.jobs._covers.stem_datasets import find_recordings, name_sources
from reprise.lib.covers.stem_datasets import read_description
from tests.lib.test_covers_solo_passages import chords, melody, noise, speech, tone

Run = Callable[..., tuple[int, str, str]]
RATE = 16_000


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the job in ``tmp_path``, without Spark: exit code, output, errors."""
    from reprise.jobs._engine import run as engine

    def no_spark(_: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(engine, "get_session", no_spark)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = job.main([*map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def record(path: Path, samples: Any, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def test_a_folder_of_recordings(run: Run, tmp_path: Path) -> None:
    record(tmp_path / "in/Übung 日本.wav", melody(40))
    record(tmp_path / "in/sub/take.FLAC", np.repeat(melody(30, 1), 3)[:, None].repeat(2, axis=1), 48_000)
    record(tmp_path / "in/take.FLAC", melody(4, 2))
    record(tmp_path / "in/chords.ogg", chords(10))
    record(tmp_path / "in/.hidden/take.wav", melody(9))
    (tmp_path / "in/broken.mp3").write_text("no audio " * 500)
    (tmp_path / "in/notes.txt").write_text("notes")
    code, out, err = run("--source", "in", "--out", "sets/ds")
    assert code == 0
    assert err.startswith("reprise build-stem-dataset: broken.mp3 is not an audio file")
    assert err.count("\n") == 1
    description = read_description(tmp_path / "sets/ds")
    names = [one.name for one in description.sources]
    assert names == ["chords.ogg", "take.FLAC", "take.FLAC (2)", "Übung 日本.wav"]
    for name in names:
        assert name in out
    assert {one.source for one in description.passages} == set(names[1:])
    assert not (tmp_path / "warehouse").exists()
    before = {path.name: path.read_bytes() for path in (tmp_path / "sets/ds").iterdir()}
    code, out, _ = run("--source", "in", "--out", "sets/ds", "--json")
    assert code == 0
    counts = json.loads(out)["counts"]
    assert counts | {"seconds_kept": 0} == {
        "sources": 4, "unreadable": 1, "passages": len(description.passages), "seconds_kept": 0,
    }  # fmt: skip
    assert counts["seconds_kept"] == round(description.material.kept_s) > 60
    assert {path.name: path.read_bytes() for path in (tmp_path / "sets/ds").iterdir()} == before


NOT_ENOUGH: dict[str, tuple[Callable[[], Any], str]] = {
    "speech": (lambda: speech(70), "% speech (the pitch holds no notes)"),
    "chords": (lambda: chords(70), "% several notes at once"),
    "20 s": (lambda: melody(20), "s in which one instrument plays alone, of 0:20"),
    "silence": (lambda: np.zeros(70 * RATE), "there are 0 s in which one instrument plays alone, of 1:10 (left out:"),
    "noise": (lambda: noise(70), "% no pitch (noise, drums, consonants)"),
    "clipped": (lambda: np.clip(6 * melody(70), -1, 1), "% clipped"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "says"), NOT_ENOUGH.values(), ids=NOT_ENOUGH)
def test_not_enough_is_one_line_and_a_report(make: Callable[[], Any], says: str, run: Run, tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav", make())
    code, out, err = run("--source", "in", "--out", "ds")
    assert code == 1
    assert says in err
    assert "training needs at least 60 s: " in err
    assert err.endswith("5 to 10 minutes are good. ds/dataset.png shows what was left out\n")
    assert err.count("\n") == 1
    assert "a.wav" in out
    assert [one.name for one in read_description(tmp_path / "ds").sources] == ["a.wav"]


def test_a_narrow_range_is_a_warning(run: Run, tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav", np.tile(0.1 * tone(330, 0.5), 160))
    code, _, err = run("--source", "in", "--out", "ds")
    assert code == 0
    assert "reprise build-stem-dataset: warning: all notes lie within" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--out", "ds"), 2, "there are no recordings: give --source DIR, or --stem KIND"),
        (("--source", "in", "--stem", "vocals", "--out", "ds"), 2, "not allowed with argument"),
        (("--stem", "piano", "--out", "ds"), 2, "invalid choice: 'piano'"),
        (("--source", "in"), 2, "the following arguments are required: --out"),
        (("--source", "none", "--out", "ds"), 2, "--source none is not a folder: name a folder with recordings"),
        (("--source", "in/a.txt", "--out", "ds"), 2, "--source in/a.txt is not a folder"),
        (("--source", "empty", "--out", "ds"), 2, "--source empty has no audio files (.aac,"),
        (("--source", "in", "--out", "ds"), 2, "--source in has no audio files"),
        (("--source", "bad", "--out", "ds"), 1, "none of the 1 recordings can be read: replace them"),
        (("--source", "bad", "--out", "bad/ds"), 2, "lie within each other"),
        (("--source", "bad", "--out", "."), 1, ". will not be replaced, because"),
        (("--source", "bad", "--out", "in"), 1, "in will not be replaced, because in is not a dataset"),
    ],
)
def test_refused(arguments: tuple[str, ...], code: int, says: str, run: Run, tmp_path: Path) -> None:
    for name in ("in", "empty", "bad"):
        (tmp_path / name).mkdir()
    (tmp_path / "in/a.txt").write_text("text")
    (tmp_path / "bad/a.wav").write_text("text")
    given, out, err = run(*arguments)
    assert (given, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert (tmp_path / "in/a.txt").read_text() == "text"


KILLED = """
import os, signal, sys
from reprise.jobs import build_stem_dataset
from reprise.lib.covers import stem_datasets

cut = stem_datasets.cut_passages
def die(name, *others):
    if name == "b.wav":
        os.kill(os.getpid(), signal.SIGKILL)
    return cut(name, *others)
stem_datasets.cut_passages = die
build_stem_dataset.main(sys.argv[1:])
"""


def test_a_run_that_is_killed_leaves_the_old_dataset(run: Run, tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav", melody(70))
    assert run("--source", "in", "--out", "ds")[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "ds").iterdir()}
    record(tmp_path / "in/b.wav", melody(5, 1))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, "--source", "in", "--out", "ds"], cwd=tmp_path, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "ds").iterdir()} == before
    assert run("--source", "in", "--out", "ds")[0] == 0
    assert [one.name for one in read_description(tmp_path / "ds").sources] == ["a.wav", "b.wav"]


def test_files_and_names(tmp_path: Path) -> None:
    for name in ("b/x.WAV", "a.mp3", ".a.mp3", "b/.c/x.wav", "a.txt", "B.ogg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in find_recordings(tmp_path, (".wav", ".mp3", ".ogg"))]
    assert found == ["B.ogg", "a.mp3", "b/x.WAV"]
    assert name_sources(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (3)", "a (2)", "a (4)"]
    assert name_sources([]) == []
