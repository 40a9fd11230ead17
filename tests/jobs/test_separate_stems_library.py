"""Stems of library tracks: rows and files, single tracks, several separators, removed tracks, and refused models."""

import hashlib
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs import separate_stems as job
from reprise.jobs._covers.separators import choose_separator, register_separator
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import COVER_STEMS, LIBRARY_COPIES, LIBRARY_TRACKS, MODELS, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import EVERYTHING, Chain, assert_same_content, copy_warehouse, counted_commits
from tests.separators import write_separator

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def library(chain: Chain, warehouse: Warehouse) -> Warehouse:
    """A warehouse with three tracks and no stems."""
    return copy_warehouse(chain.after("ingest-library"), Path(warehouse.root))


@pytest.fixture
def model(chain: Chain) -> Path:
    return chain.inputs / "separator.safetensors"


def check_files(warehouse: Warehouse) -> pd.DataFrame:
    """Rows of the stems, after a look into the file of each."""
    rows = warehouse.lookup(COVER_STEMS, "track_id", *EVERYTHING).to_pandas()
    for row in rows.to_dict("records"):
        path = Path(warehouse.root, row["artifact"])
        assert path.name == f"{row['samples_sha256']}.flac"
        samples, rate = soundfile.read(path, dtype="int16")
        assert samples.shape == (round(row["duration"] * row["sample_rate"]), 2)
        assert rate == row["sample_rate"] == 44_100
        assert hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest() == row["samples_sha256"]
    return rows


def test_rows_and_files(library: Warehouse, model: Path, run_job: RunJob, rows_of: Rows) -> None:
    counts = run_job(job.main, "--model", model)["counts"]
    assert counts == {"separated": 3, "quarantined": 0, "tracks": 3, "skipped": 0}
    stems, tracks = check_files(library), rows_of(library, LIBRARY_TRACKS).set_index("track_id")
    assert len(stems) == 12
    for track_id, rows in stems.groupby("track_id"):
        assert sorted(rows["stem"]) == ["bass", "drums", "other", "vocals"]
        track = tracks.loc[track_id]
        assert set(rows["sha256"]) == {track["sha256"]}
        assert rows["duration"].tolist() == pytest.approx([track["duration"]] * 4, abs=1e-4)
        assert rows["gain_db"].nunique() == 1
    (row,) = library.lookup(MODELS, "model_id", *EVERYTHING).to_pylist()
    assert (row["task"], row["kind"], row["sha256"]) == (
        "separator",
        "HTDemucs",
        hashlib.sha256(model.read_bytes()).hexdigest(),
    )
    assert set(stems["separator"]) == {row["model_id"]} == {f"htdemucs-{row['sha256'][:12]}"}
    assert json.loads(row["params"]) == {"file": "separator.safetensors"}
    assert Path(library.root, row["artifact"]).read_bytes() == model.read_bytes()


def test_groups_of_tracks_are_committed_one_by_one(
    chain: Chain, library: Warehouse, model: Path, run_job: RunJob, tmp_path: Path
) -> None:
    """So a run that is interrupted keeps what it has done, and the next one does the rest."""
    quiet = copy_warehouse(Path(library.root), tmp_path / "quiet")
    settings = ("--model", model, "--conf", "files_per_task=1")
    with counted_commits() as commits:
        assert job.main([*map(str, settings), "--json", "--warehouse", quiet.root]) == 0
    assert commits.count("cover_stems") == 2  # two cores
    with counted_commits(interrupt_at=len(commits)):
        run_job(job.main, *settings, exit_code=130)
    kept = len(library.lookup(COVER_STEMS, "track_id", *EVERYTHING))
    assert kept == 8
    assert run_job(job.main, *settings)["counts"]["separated"] == 1
    assert_same_content(quiet, library, (COVER_STEMS, MODELS))


def test_single_tracks_and_their_files(
    library: Warehouse, model: Path, run_job: RunJob, rows_of: Rows, tmp_path: Path
) -> None:
    tracks = rows_of(library, LIBRARY_TRACKS)
    first, title = tracks["track_id"][0], tracks["title"][0]
    out = tmp_path / "out"
    counts = run_job(job.main, "--model", model, "--track", first, "--out", out)["counts"]
    assert counts == {"separated": 1, "quarantined": 0, "tracks": 1, "skipped": 0}
    stems = check_files(library)
    assert set(stems["track_id"]) == {first}
    exported = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    expected = {
        f"{title}/{row['stem']}.flac": Path(library.root, row["artifact"]).read_bytes()
        for row in stems.to_dict("records")
    }
    assert exported == expected
    shutil.rmtree(out)
    counts = run_job(job.main, "--model", model, "--track", first, "--out", out)["counts"]
    assert (counts["separated"], counts["skipped"]) == (0, 1)
    assert {path.name for path in out.rglob("*.flac")} == {"drums.flac", "bass.flac", "other.flac", "vocals.flac"}
    error = run_job(job.main, "--model", model, "--track", first, "--track", "LBnothing", exit_code=2)["error"]
    assert "--track LBnothing is neither a file nor a track of the library: run ingest-library first" in error


def test_two_separators_have_rows_of_their_own(
    library: Warehouse, model: Path, run_job: RunJob, tmp_path: Path
) -> None:
    other = write_separator(tmp_path / "other.safetensors", seed=1)
    for path in (model, other, model):
        run_job(job.main, "--model", path)
    stems = check_files(library)
    assert stems.groupby("separator").size().tolist() == [12, 12]
    assert stems["samples_sha256"].nunique() == 24


def test_stems_of_removed_tracks_go(library: Warehouse, model: Path, run_job: RunJob, rows_of: Rows) -> None:
    run_job(job.main, "--model", model)
    gone, *kept = rows_of(library, LIBRARY_TRACKS)["track_id"]
    library.merge(LIBRARY_TRACKS, [], delete=pa.table({"track_id": [gone]}))
    run_job(job.main, "--model", model)
    assert set(check_files(library)["track_id"]) == set(kept)


def test_a_track_that_cannot_be_read_any_more_loses_its_stems(
    library: Warehouse, model: Path, run_job: RunJob, rows_of: Rows, tmp_path: Path
) -> None:
    run_job(job.main, "--model", model)
    copies = library.lookup(LIBRARY_COPIES, "track_id", *EVERYTHING).to_pylist()
    bad = copies[0]["track_id"]
    moved = [row | {"uri": (tmp_path / "gone.flac").as_uri()} for row in copies if row["track_id"] == bad]
    library.merge(LIBRARY_COPIES, pa.Table.from_pylist(moved, arrow_schema(LIBRARY_COPIES)), force=True)
    counts = run_job(job.main, "--model", model, "--force", "--max-bad", 1)["counts"]
    assert (counts["separated"], counts["quarantined"]) == (2, 1)
    assert bad not in set(check_files(library)["track_id"])
    (rejected,) = rows_of(library, QUARANTINE).query("stage == 'separate_stems'").to_dict("records")
    assert rejected["uri"] == f"library_tracks#{bad}"


def test_refused_models_leave_no_row(library: Warehouse, model: Path, run_job: RunJob, tmp_path: Path) -> None:
    """They are found before a track is read: faults of the header, and of the tensors."""
    data = model.read_bytes()
    for name, content, says in (
        ("class", data.replace(b"demucs.htdemucs.HTDemucs", b"demucs.htdemucs.XTDemucs"), "it names the class"),
        ("tensors", data[:-4] + b"\x00\x00\xc0\x7f", "contains NaN or infinite values"),
    ):
        (tmp_path / name).write_bytes(content)
        error = run_job(job.main, "--model", tmp_path / name, exit_code=1)["error"]
        assert f"{name} is not a separator: " in error
        assert says in error
        assert error.count("\n") == 1
    assert len(library.lookup(MODELS, "model_id", *EVERYTHING)) == 0


def test_a_flipped_bit_in_the_separator_of_the_warehouse_is_found(
    library: Warehouse, run_job: RunJob, prepare: Any, tmp_path: Path
) -> None:
    """Of one that no worker has loaded: workers keep what they have loaded."""
    other = write_separator(tmp_path / "other.safetensors", seed=2)
    _, made = prepare(job, "--model", other)
    path = Path(register_separator(made, choose_separator(made.settings, str(other))).artifact)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    error = run_job(job.main, "--model", other, exit_code=1)["error"]
    assert "has changed since the training" in error
    assert error.count("\n") == 1
    assert run_job(job.main, "--model", other, "--force")["counts"]["separated"] == 3


def test_without_room_nothing_starts(
    library: Warehouse, model: Path, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    error = run_job(job.main, "--model", model, exit_code=1)["error"]
    assert "has 0.0 GB left, but 0.0 GB are needed" in error
    assert error.count("\n") == 1
    assert not Path(library.root, "_artifacts").exists()
