"""Stems of audio files, without a warehouse: every kind of file, the choice of the separator, and room on the disk."""

import json
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from reprise.jobs import separate_stems
from reprise.jobs._covers import separators
from reprise.jobs._covers.separators import choose_separator
from reprise.lib.nets.separators import STEMS, Separator
from tests.separators import write_separator

pytestmark = pytest.mark.torch
Run = Callable[..., tuple[int, str, str]]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_separator(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture
def run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the job on files in ``tmp_path``, without Spark: exit code, output, errors."""
    from reprise.jobs._engine import run as engine

    def no_spark(_: object) -> None:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(engine, "get_session", no_spark)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        given = [*map(str, arguments)]
        code = separate_stems.main(given if "--model" in given else [*given, "--model", str(model)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def music(seconds: float, rate: int = 44_100, channels: int = 2, peak: float = 0.5) -> Any:
    rng = np.random.default_rng(3)
    time_s = np.arange(int(seconds * rate)) / rate
    tone = np.sin(2 * np.pi * 330 * time_s) * (time_s % 0.5 < 0.3)
    mix = tone[:, None] + 0.1 * rng.standard_normal((len(time_s), channels))
    return (peak * mix / np.abs(mix).max()).astype(np.float32)


KINDS: dict[str, tuple[float, int, int, float]] = {
    "mono": (3.0, 44_100, 1, 0.5),
    "8 kHz": (3.0, 8_000, 2, 0.5),
    "96 kHz": (3.0, 96_000, 2, 0.5),
    "six channels": (3.0, 48_000, 6, 0.5),
    "half a second": (0.5, 44_100, 2, 0.5),
    "one frame": (1 / 44_100, 44_100, 2, 0.5),
    "silence": (3.0, 44_100, 2, 0.0),
    "over full scale": (3.0, 44_100, 2, 30.0),
}


@pytest.mark.parametrize(("seconds", "rate", "channels", "peak"), KINDS.values(), ids=KINDS)
def test_every_kind_of_file(seconds: float, rate: int, channels: int, peak: float, run: Run, tmp_path: Path) -> None:
    samples = music(seconds, rate, channels, peak or 0.5) * (peak > 0)
    soundfile.write(tmp_path / "Ä song.wav", samples, rate, subtype="FLOAT")
    code, out, err = run("--track", "Ä song.wav", "--out", "out")
    assert (code, err) == (0, ""), err
    frames = int(np.ceil(len(samples) * 44_100 / rate))
    for name in STEMS:
        info = soundfile.info(tmp_path / "out/Ä song" / f"{name}.flac")
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (44_100, 2, frames, "PCM_16")
    assert "Ä song.wav" in out
    assert f"({'htdemucs-'}" in out
    assert "× real time on cpu: out" in out
    assert not (tmp_path / "warehouse").exists()
    silent = [not soundfile.read(tmp_path / f"out/Ä song/{name}.flac")[0].any() for name in STEMS]
    assert all(silent) if peak == 0 else not all(silent)
    if peak > 1:
        assert "-" in out.split("gain (dB)")[1]


def test_stems_are_the_same_each_time(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(3), 44_100)
    soundfile.write(tmp_path / "b.flac", music(5)[::-1], 44_100)

    def contents(*names: str) -> dict[str, bytes]:
        assert run(*(part for name in names for part in ("--track", name)))[0] == 0
        return {str(p.relative_to(tmp_path)): p.read_bytes() for p in (tmp_path / "stems").rglob("*.flac")}

    first = contents("a.flac")
    assert first.keys() == {f"stems/a/{name}.flac" for name in STEMS}
    assert contents("b.flac", "a.flac").items() > first.items()


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("no audio " * 500), "is not"),
    "empty": (lambda path: path.touch(), ""),
    "folder": (lambda path: path.mkdir(), "is a folder, a pipe or a device, not a file"),
    "NaN": (
        lambda path: soundfile.write(path, np.full((9000, 2), np.nan, np.float32), 44_100, "FLOAT", format="WAV"),
        "contains samples that are NaN",
    ),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), "cannot open"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_bad_files_are_one_line_and_leave_no_file(
    make: Callable[[Path], object], says: str, run: Run, tmp_path: Path
) -> None:
    make(tmp_path / "bad.wav")
    code, _, err = run("--track", "bad.wav", "--out", "out")
    assert code == 1
    assert err.startswith("reprise separate-stems: ")
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert not list(tmp_path.glob("out/*/*"))


def test_a_bad_file_among_good_ones(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.flac", music(3), 44_100)
    (tmp_path / "bad1.wav").write_text("no")
    (tmp_path / "bad2.wav").write_text("no")
    code, out, err = run("--track", "bad1.wav", "--track", "good.flac", "--track", "bad2.wav")
    assert code == 1
    assert len(list((tmp_path / "stems").rglob("*.flac"))) == 4
    assert "good.flac" in out
    assert err.count("\n") == 2
    assert "bad1.wav" in err
    assert "bad2.wav" in err


def test_a_summary_for_programs(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(2), 44_100)
    code, out, err = run("--track", "a.flac", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["counts"] == {"separated": 1, "stems": 4}


def test_a_run_is_recorded_in_a_warehouse_that_exists(run: Run, tmp_path: Path) -> None:
    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.lib.tables import JOB_RUNS

    soundfile.write(tmp_path / "a.flac", music(1), 44_100)
    there = Warehouse(str(tmp_path / "warehouse"))
    there.open(JOB_RUNS)
    assert run("--track", "a.flac", "--warehouse", there.root)[0] == 0
    (record,) = Warehouse(there.root).lookup_all(JOB_RUNS).to_pylist()
    assert (record["job"], record["status"]) == ("separate_stems", "succeeded")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--out", "x"), "--out needs --track: the stems of the library are in the warehouse"),
        (
            ("--track", "a.flac", "--track", "LB0"),
            "--track names the file a.flac and also ids of tracks: separate them",
        ),
        (("--track", "a.flac", "--track", "b/a.mp3"), "several tracks have the name a: separate them into different"),
        (("--track", "LB0"), "there are no rows in library_tracks: run ingest-library first"),
        (("--track", "a.flac", "--model", "nothing"), "--model nothing is neither a file nor a folder nor one of"),
        (("--track", "a.flac", "--model", "."), "--model . contains 0 safetensors files, not one: name the file"),
        (
            ("--track", "a.flac", "--model", "htdemucs"),
            "the model htdemucs is not in models: run reprise models --fetch",
        ),
    ],
)
def test_refused_arguments(arguments: tuple[str, ...], says: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.flac", "b/a.mp3"):
        (tmp_path / name).touch()
    code, out, err = run(*arguments, "--models", "models")
    assert (code, out) == (2, "")
    assert err.startswith(f"reprise separate-stems: {says}")
    assert err.count("\n") == 1


def test_model_files_that_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", music(1), 44_100)
    data = model.read_bytes()
    size = int.from_bytes(data[:8], "little")
    entry = b'"structure":"{}",'
    structure = (size + len(entry)).to_bytes(8, "little") + data[8:].replace(b'{"args"', b"{" + entry + b'"args"', 1)
    for name, content, says in (
        ("text", b"no model", "it is not a separator as a safetensors file"),
        ("cut", data[:-100], "it is damaged"),
        ("class", data.replace(b"demucs.htdemucs.HTDemucs", b"demucs.htdemucs.XTDemucs"), "it names the class"),
        ("structure", structure, "can name any code"),
    ):
        (tmp_path / name).write_bytes(content)
        code, _, err = run("--track", "a.flac", "--model", name)
        assert code == 1
        assert f"{name} is not a separator: " in err
        assert says in err
        assert err.count("\n") == 1


def test_the_separator_is_htdemucs_if_it_was_fetched(model: Path, tmp_path: Path, prepare: Any) -> None:
    """Otherwise the one of the package, and the one that was named in any case."""
    import hashlib

    _, made = prepare(separate_stems, "--models", tmp_path)
    settings = made.settings.model_copy(update={"models": str(tmp_path)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separators, "find_default_separator", lambda: None)
        with pytest.raises(Exception, match="run reprise models --fetch htdemucs, or give --model FILE"):
            choose_separator(settings, None)
        described = {"sha256": "s", "params": {}, "metrics": {"sdr_db": 6}, "trained_on": {}}
        patch.setattr(separators, "find_default_separator", lambda: described)
        patch.setattr(separators, "read_default_separator", lambda sha256: model.read_bytes())
        assert choose_separator(settings, None).origin == "the separator of the package"
        shutil.copy(model, tmp_path / "htdemucs.safetensors")
        (tmp_path / "htdemucs.sha256").write_text(hashlib.sha256(model.read_bytes()).hexdigest())
        chosen = choose_separator(settings, None)
        assert chosen.origin == f"htdemucs in {tmp_path}"
        assert chosen.metrics == {"sdr_db": 8.8}
        assert choose_separator(settings, "shipped").metrics == {"sdr_db": 6}
    folder = choose_separator(settings, str(model.parent))
    assert folder.origin == str(model)
    assert folder.model_id == chosen.model_id == f"htdemucs-{chosen.sha256[:12]}"


def test_without_room_nothing_starts(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.flac", music(30), 44_100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    code, out, err = run("--track", "a.flac", "--out", "out")
    assert code == 1
    assert "disk: at most 0.02 GB in out" in out
    assert "reprise separate-stems: out has 0.0 GB left, but 0.0 GB are needed: make room, or name another" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_disk_that_becomes_full_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system of 300 kB would need root: writes to the stems' folder fail instead."""
    from reprise.lib.audio import encoding

    soundfile.write(tmp_path / "a.flac", music(3), 44_100)
    write = encoding._Sink.write

    def full(sink: Any, data: bytes) -> int:
        written = write(sink, data)
        sink.error = OSError(28, "No space left on device")
        return written

    monkeypatch.setattr(encoding._Sink, "write", full)
    code, _, err = run("--track", "a.flac", "--out", "out")
    assert code == 1
    assert "cannot be written (No space left on device): free space there, or name another folder" in err
    assert err.count("\n") == 1
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_separator_that_returns_nan_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    soundfile.write(tmp_path / "a.flac", music(1), 44_100)
    monkeypatch.setattr(Separator, "__call__", lambda self, mix: torch.full((len(mix), 4, *mix.shape[1:]), torch.nan))
    code, _, err = run("--track", "a.flac")
    assert (code, err.count("\n")) == (1, 1)
    assert "HTDemucs returns NaN or infinite samples for a.flac: use another separator (--model)" in err


def test_help_loads_neither_torch_nor_spark_sessions(command: list[str]) -> None:
    import subprocess

    code = (
        "import sys; sys.argv[1:] = []\n"
        "from reprise.jobs import separate_stems\n"
        "try: separate_stems.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
