"""Tags of batches of tracks: rows of windows and whole tracks, and faults of bad tracks."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs._engine.external_models import load_external
from reprise.lib.nets.musicnn import WINDOW_S, iterate_windows, load
from reprise.lib.tables.tags import TAGS
from reprise.udfs.track_tags import tag_tracks

pytestmark = pytest.mark.torch
SCHEMA = pa.schema([("track_id", pa.string()), ("sha256", pa.string()), ("uris", pa.list_(pa.string()))])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    path.write_bytes(load_external(path.parent, "musicnn"))
    return path


def write_audio(path: Path, seconds: float) -> dict[str, Any]:
    samples = np.random.default_rng(1).uniform(-0.3, 0.3, round(22_050 * seconds))
    soundfile.write(path, samples, 22_050, format="FLAC", subtype="PCM_16")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"track_id": f"LB{sha256[:16]}", "sha256": sha256, "uris": [path.as_uri()]}


def run(model: Path, *tracks: dict[str, Any], every: int = 1) -> dict[str, list[dict[str, Any]]]:
    batch = pa.RecordBatch.from_pylist(list(tracks), SCHEMA)
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, made in tag_tracks(
        [batch], artifact=str(model), artifact_sha256=sha256, every=every, model_id="m", job="s", run_id="r"
    ):
        rows.setdefault(name, []).extend(made.to_pylist())
    return rows


@pytest.mark.parametrize("seconds", [0.5, 7.0, 61.0])
def test_rows_equal_direct_calls(seconds: float, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "Ä song.flac"
    track = write_audio(path, seconds)
    rows = run(model, track)["track_tags"]
    signal = soundfile.read(path, dtype="float32")[0]
    expected = np.concatenate([load(model.read_bytes()).predict(part) for part in iterate_windows(signal)])
    n = max(1, int(seconds // WINDOW_S))
    assert expected.shape == (n, 50)
    assert [row["window"] for row in rows] == [-1, *range(n)]
    found = np.array([[row[column] for column in TAGS] for row in rows])
    np.testing.assert_allclose(found[1:], expected, atol=1e-6)
    np.testing.assert_allclose(found[0], expected.mean(axis=0), atol=1e-6)
    assert [row["start_s"] for row in rows] == pytest.approx([0, *(WINDOW_S * np.arange(n))])
    assert [row["length_s"] for row in rows] == pytest.approx([seconds, *[min(WINDOW_S, seconds)] * n])
    for row in rows:
        assert (row["track_id"], row["sha256"], row["model_id"], row["run_id"]) == (
            *(track["track_id"], track["sha256"]),
            *("m", "r"),
        )


@pytest.mark.parametrize(("seconds", "every"), [(0.5, 2), (31.0, 2), (31.0, 3), (31.0, 100)])
def test_every_nth_window_has_the_tags_that_it_has_among_all(
    seconds: float, every: int, model: Path, tmp_path: Path
) -> None:
    track = write_audio(tmp_path / "song.flac", seconds)
    whole, *windows = run(model, track)["track_tags"]
    of_some, *some = run(model, track, every=every)["track_tags"]
    for row, same in zip(some, windows[::every], strict=True):
        assert row == pytest.approx(same, abs=1e-6)
    assert of_some["window"] == -1
    assert of_some["length_s"] == whole["length_s"]
    for column in TAGS:
        assert of_some[column] == pytest.approx(np.mean([row[column] for row in some]), abs=1e-6)


def test_a_bad_track_is_one_row_of_quarantine_and_the_others_are_tagged(model: Path, tmp_path: Path) -> None:
    good, bad = write_audio(tmp_path / "good.flac", 3.0), write_audio(tmp_path / "bad.flac", 4.0)
    (tmp_path / "bad.flac").unlink()
    rows = run(model, bad, good)
    assert {row["track_id"] for row in rows["track_tags"]} == {good["track_id"]}
    (rejected,) = rows["quarantine"]
    assert rejected["uri"] == f"library_tracks#{bad['track_id']}"
    assert (rejected["stage"], rejected["sha256"]) == ("s", bad["sha256"])


def test_silence_has_tags(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(100_000), 22_050)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = run(model, {"track_id": "LBx", "sha256": sha256, "uris": [path.as_uri()]})["track_tags"]
    assert [row["window"] for row in rows] == [-1, 0]
    assert all(0 <= row[column] <= 1 for row in rows for column in TAGS)
