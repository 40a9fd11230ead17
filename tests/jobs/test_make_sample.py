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
from pyspark.sql import SparkSession

from reprise.jobs import make_sample
from reprise.lib import msd

RunJob = Callable[..., dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_gives_the_same_bytes_and_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, run_job: RunJob, refusal: Callable[..., str]
) -> None:
    for name in ("a", "b"):
        run_job(make_sample.main, "--out", tmp_path / name, "--tracks", 12, "--conf", "seed=5")
    whole = contents(tmp_path / "a")
    assert contents(tmp_path / "b") == whole
    tracks = [name for name in whole if name.endswith(".h5")]
    assert len(tracks) == 12
    for name in tracks:
        track_id = msd.read(tmp_path / "a" / name, ["track_id"])["track_id"][0]
        assert name == f"msd/{msd.track_path(track_id)}"
    for name in tracks[:3]:
        (tmp_path / "a" / name).unlink()
    summary = run_job(make_sample.main, "--out", tmp_path / "a", "--tracks", 12, "--conf", "seed=5")
    assert summary["counts"] == {"tracks": 12, "written": 3}
    assert contents(tmp_path / "a") == whole
    # another sample, by its size or its seed; and a folder of other files
    for out, more, says in (
        ("a", ("--tracks", 3, "--conf", "seed=5"), "another sample"),
        ("a", ("--tracks", 12, "--conf", "seed=6"), "another sample"),
        (".", ("--tracks", 12), "not empty"),
    ):
        assert says in refusal(make_sample, "--out", tmp_path / out, *more)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tracks", 5, "--cliques", 9),
        ("--tracks", -1),
        ("--tracks", "many"),
        ("--tracks", 10, "--covers", 11),
        ("--tracks", 10, "--cliques", -1),
    ],
)
def test_a_sample_that_makes_no_sense(
    arguments: tuple[object, ...], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    assert refusal(make_sample, "--out", tmp_path / "s", *arguments)
    assert not (tmp_path / "s").exists()


def test_no_tracks_is_an_empty_sample(tmp_path: Path, spark: SparkSession, prepare: Callable[..., Any]) -> None:
    job, run = prepare(make_sample, "--out", tmp_path / "s", "--tracks", 0)
    job.body(run)
    assert run.counts == {"tracks": 0, "written": 0}
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


def test_killed_audio_run_goes_on_where_it_stopped(audio_sample: Path, tmp_path: Path, run_job: RunJob) -> None:
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


def test_audio_that_cannot_be_made(
    audio_sample: Path, tmp_path: Path, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for arguments, says in (
        (("--out", audio_sample, *AUDIO, "--users", 3), "another sample"),
        (("--out", tmp_path / "s", "--tracks", 3, "--audio", 4), "cannot make 4 recordings from"),
        (("--out", tmp_path / "s", "--tracks", 3, "--audio", 1, "--users", 0), "number of listeners is 0"),
        (("--out", tmp_path / "s", "--audio", 1, "--soundfont", "auto"), "needs the fluidsynth program"),
    ):
        assert says in refusal(make_sample, *arguments)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/fluidsynth")
    said = refusal(make_sample, "--out", tmp_path / "s", "--soundfont", tmp_path / "no.sf2")
    assert "no.sf2 does not exist" in said
    assert not (tmp_path / "s").exists()
