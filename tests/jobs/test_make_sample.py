"""The sample as a job: files, reruns, refusals."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from reprise.jobs import make_sample
from reprise.lib import msd

Run = Callable[..., dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_gives_the_same_bytes(tmp_path: Path, run_job: Run) -> None:
    for name in ("a", "b"):
        run_job(make_sample.main, "--out", tmp_path / name, "--tracks", 12, "--conf", "seed=5")
    run_job(make_sample.main, "--out", tmp_path / "c", "--tracks", 12, "--conf", "seed=6")
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    tracks = [name for name in a if name.endswith(".h5")]
    assert len(tracks) == 12
    for name in tracks:
        track_id = msd.read(tmp_path / "a" / name, ["track_id"])["track_id"][0]
        assert name == f"msd/{msd.track_path(track_id)}"


def test_killed_run_goes_on_where_it_stopped(tmp_path: Path, run_job: Run) -> None:
    run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 8)
    whole = contents(tmp_path / "s")
    lost = [name for name in whole if name.endswith(".h5")][:3]
    for name in lost:
        (tmp_path / "s" / name).unlink()
    summary = run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 8)
    assert summary["counts"] == {"tracks": 8, "written": 3}
    assert contents(tmp_path / "s") == whole


def test_other_sample_or_full_folder_is_refused(tmp_path: Path, run_job: Run) -> None:
    run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 2)
    for out, tracks, says in ((tmp_path / "s", 3, "another sample"), (tmp_path, 2, "not empty")):
        answer = run_job(make_sample.main, "--out", out, "--tracks", tracks, exit_code=2)
        assert says in answer["error"]
        assert answer["error"].count("\n") == 1


def test_plan_that_contradicts_itself_is_bad_usage(tmp_path: Path, run_job: Run) -> None:
    for arguments in (("--tracks", 5, "--cliques", 9), ("--tracks", -1)):
        answer = run_job(make_sample.main, "--out", tmp_path / "s", *arguments, exit_code=2)
        assert answer["error"].count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_no_tracks_is_an_empty_sample(tmp_path: Path, run_job: Run) -> None:
    assert run_job(make_sample.main, "--out", tmp_path / "s", "--tracks", 0)["counts"] == {"tracks": 0, "written": 0}
    assert json.loads((tmp_path / "s/plan.json").read_text())["n_tracks"] == 0


# two recordings of about two minutes each
AUDIO = ("--tracks", 5, "--cliques", 1, "--covers", 2, "--audio", 2, "--users", 2, "--conf", "seed=77")


@pytest.fixture(scope="module")
def audio_sample(tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    arguments = ["--out", str(folder / "s"), *map(str, AUDIO), "--warehouse", str(folder / "w"), "--json"]
    assert make_sample.main(arguments) == 0
    return folder / "s"


def test_tracks_that_are_audio_are_not_in_the_dataset(audio_sample: Path) -> None:
    with (audio_sample / "annotations/truth_audio.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    recorded = {row["track_id"] for row in rows}
    there = {path.stem for path in (audio_sample / "msd").rglob("*.h5")}
    assert len(recorded) == 2
    assert len(there) == 3
    assert not recorded & there
    assert {path.name for path in (audio_sample / "stems").iterdir()} == recorded
    listed = {path for path in (audio_sample / "library").rglob("*") if path.suffix in (".flac", ".ogg")}
    assert {audio_sample / "library" / row["file"] for row in rows} == listed
    for row in rows:
        digest = hashlib.sha256((audio_sample / "library" / row["file"]).read_bytes()).hexdigest()
        assert row["library_id"] == "LB" + digest[:16]
        assert soundfile.info(audio_sample / "library" / row["file"]).duration > 55
    names = {path.name for path in (audio_sample / "library").rglob("*") if path.is_file()} - {p.name for p in listed}
    assert names == {"Favourites.m3u8", "listens.jsonl", "lastfm.csv"}


def test_killed_audio_run_goes_on_where_it_stopped(audio_sample: Path, tmp_path: Path, run_job: Run) -> None:
    whole, again = contents(audio_sample), tmp_path / "again"
    shutil.copytree(audio_sample, again)
    for path in (*(again / "library").rglob("*.ogg"), *again.rglob("truth_audio.csv"), *again.rglob("lastfm.csv")):
        path.unlink()
    (again / "unfinished/TRX-1").mkdir(parents=True)
    (again / "unfinished/TRX-1/half.flac").write_bytes(b"fLaC")
    summary = run_job(make_sample.main, "--out", again, *AUDIO)
    assert summary["counts"] == {"tracks": 5, "written": 0, "recordings": 2, "audio_files_written": 1}
    assert contents(again) == whole
    assert not (again / "unfinished").exists()


def test_audio_that_cannot_be_made_is_bad_usage(
    audio_sample: Path, tmp_path: Path, run_job: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for arguments, says in (
        (("--out", audio_sample, *AUDIO, "--users", 3), "another sample"),
        (("--out", tmp_path / "s", "--tracks", 3, "--audio", 4), "4 recordings cannot be made of"),
        (("--out", tmp_path / "s", "--tracks", 3, "--audio", 1, "--users", 0), "0 listeners"),
        (("--out", tmp_path / "s", "--audio", 1, "--soundfont", "auto"), "needs the fluidsynth program"),
    ):
        answer = run_job(make_sample.main, *arguments, exit_code=2)
        assert says in answer["error"]
        assert answer["error"].count("\n") == 1
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/fluidsynth")
    answer = run_job(make_sample.main, "--out", tmp_path / "s", "--soundfont", tmp_path / "no.sf2", exit_code=2)
    assert "no.sf2 does not exist" in answer["error"]
    assert not (tmp_path / "s").exists()
