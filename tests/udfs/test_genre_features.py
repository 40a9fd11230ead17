"""Features and images from batches of tracks: choice of the copy, rows, and faults of bad tracks."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from reprise.lib.features import gtzan, msd
from reprise.lib.features.images import make_audio_images, make_msd_image
from reprise.lib.music import sample
from reprise.udfs import genre_features, heartbeat
from reprise.udfs.arrow import to_batch
from reprise.udfs.genre_features import extract_analysis_features, extract_audio_features

SCHEMA = pa.schema(
    [
        ("track_id", pa.string()),
        ("sha256", pa.string()),
        ("wanted", pa.list_(pa.string())),
        ("uris", pa.list_(pa.string())),
    ]
)


def write_audio(path: Path, seconds: float, seed: int = 0) -> str:
    """Write a FLAC file of noise; return its SHA-256."""
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(22_050 * seconds))
    soundfile.write(path, samples, 22_050, format="FLAC", subtype="PCM_16")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def track(sha256: str, *uris: str, wanted: tuple[str, ...] = ("features",)) -> dict[str, Any]:
    return {"track_id": f"LB{sha256[:16]}", "sha256": sha256, "wanted": list(wanted), "uris": list(uris)}


def run(*tracks: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    batch = pa.RecordBatch.from_pylist(list(tracks), SCHEMA)
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, made in extract_audio_features([batch], job="s", run_id="r"):
        rows.setdefault(name, []).extend(made.to_pylist())
    return rows


def test_rows_equal_direct_calls(tmp_path: Path) -> None:
    path = tmp_path / "Ä song.flac"
    sha256 = write_audio(path, 4.6)
    rows = run(track(sha256, path.as_uri(), wanted=("features", "mel", "cqt")))
    signal = soundfile.read(path, dtype="float32")[0]
    expected = gtzan.measure(signal)
    assert [row["window"] for row in rows["audio_genre_features"]] == [-1, 0, 1]
    for row, values in zip(rows["audio_genre_features"], expected, strict=True):
        assert (row["track_id"], row["sha256"], row["run_id"]) == (f"LB{sha256[:16]}", sha256, "r")
        assert [name for name in values if row[name] is None] == [name for name in values if values[name] is None]
        known = {name: value for name, value in values.items() if value is not None}
        assert {name: row[name] for name in known} == pytest.approx(known, rel=1e-5)
    images = {row["kind"]: row for row in rows["genre_images"]}
    assert set(images) == {"mel", "cqt"}
    for kind, image in make_audio_images(signal, ["mel", "cqt"]).items():
        row = images[kind]
        assert (row["depth"], row["height"], row["width"]) == image.shape
        np.testing.assert_allclose(np.reshape(row["image"], image.shape), image, atol=1e-5)


def test_first_readable_unchanged_copy_is_read(tmp_path: Path) -> None:
    good, changed = tmp_path / "good.flac", tmp_path / "changed.flac"
    sha256 = write_audio(good, 1.0)
    write_audio(changed, 1.0, seed=2)
    uris = [(tmp_path / "gone.flac").as_uri(), "s3://bucket/good.flac", changed.as_uri(), good.as_uri()]
    assert list(run(track(sha256, *uris))) == ["audio_genre_features"]


def test_bad_tracks_are_quarantined_and_others_processed(tmp_path: Path) -> None:
    good, broken = tmp_path / "good.flac", tmp_path / "broken.flac"
    sha256 = write_audio(good, 1.0)
    broken.write_bytes(b"fLaC" + bytes(1000))
    rows = run(
        track("a" * 64, (tmp_path / "gone.flac").as_uri()),
        track("b" * 64, good.as_uri()),
        track("c" * 64),
        track("d" * 64, "s3://bucket/x.flac"),
        track("e" * 64, broken.as_uri(), good.as_uri()),
        track(sha256, good.as_uri()),
    )
    assert {row["track_id"] for row in rows["audio_genre_features"]} == {f"LB{sha256[:16]}"}
    kinds = {row["uri"]: row["error_class"] for row in rows["quarantine"]}
    expected = {
        "a": "unreadable",
        "b": "changed",
        "c": "no_copy",
        "d": "unreadable",
        "e": kinds.get(f"library_tracks#LB{'e' * 16}"),
    }
    assert kinds == {f"library_tracks#LB{letter * 16}": kind for letter, kind in expected.items()}
    assert expected["e"] not in (None, "changed")  # the unchanged file is damaged, so other copies are not tried
    assert all(row["message"].isprintable() and row["stage"] == "s" for row in rows["quarantine"])


def test_long_track_yields_heartbeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "song.flac"
    sha256 = write_audio(path, 20.0)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.01)
    batch = pa.RecordBatch.from_pylist([track(sha256, path.as_uri(), wanted=("features", "cqt"))], SCHEMA)
    made = [(name, rows.num_rows) for name, rows in extract_audio_features([batch], job="s", run_id="r")]
    assert made[0] == ("quarantine", 0)
    assert dict(made[-2:]) == {"genre_images": 1, "audio_genre_features": 8}


def test_rows_are_flushed_in_limited_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    sha256 = write_audio(path, 1.0)
    monkeypatch.setattr(genre_features, "_VALUES_PER_BATCH", 100_000)
    batch = pa.RecordBatch.from_pylist([track(sha256, path.as_uri(), wanted=("mel",))] * 5, SCHEMA)
    made = list(extract_audio_features([batch], job="s", run_id="r"))
    assert [(name, rows.num_rows) for name, rows in made] == [
        ("genre_images", 2),
        ("genre_images", 2),
        ("genre_images", 1),
    ]


def test_features_and_images_of_analyses() -> None:
    songs = [sample.compute_msd_columns(sample.compose(sample.SamplePlan(20, seed=3), index)) for index in range(3)]
    songs[1]["beats_start"] = songs[1]["beats_start"][::-1]
    wanted = [["features", "msd"], ["features"], ["msd"]]
    names = [f"TR{n:016}" for n in range(3)]
    columns: dict[str, Any] = {name: [np.asarray(song[name], "f") for song in songs] for name in msd.ARRAYS}
    columns |= {name: [song[name] for song in songs] for name in msd.SCALARS}
    columns |= {"track_id": names, "sha256": ["x"] * 3, "source": ["msd_analysis"] * 3, "wanted": wanted}
    floats = {name: pa.list_(pa.float32()) for name in msd.ARRAYS} | dict.fromkeys(msd.SCALARS, pa.float64())
    types = floats | {n: pa.string() for n in ("track_id", "sha256", "source")} | {"wanted": pa.list_(pa.string())}
    batch = to_batch(pa.schema(list(types.items())), columns)
    rows = {name: made.to_pylist() for name, made in extract_analysis_features([batch], job="s", run_id="r")}
    (row,) = rows["msd_genre_features"]
    arrays = {name: columns[name][0] for name in msd.ARRAYS}
    assert {k: row[k] for k in msd.measure(songs[0], arrays)} == pytest.approx(msd.measure(songs[0], arrays), rel=1e-6)
    assert [(image["track_id"], image["kind"]) for image in rows["genre_images"]] == [
        (names[0], "msd"),
        (names[2], "msd"),
    ]
    pitches, timbre, start = (columns[name][2] for name in ("segments_pitches", "segments_timbre", "segments_start"))
    expected = make_msd_image(pitches, timbre, start, songs[2]["duration"])
    np.testing.assert_allclose(rows["genre_images"][1]["image"], expected.reshape(-1), atol=1e-6)
    (fault,) = rows["quarantine"]
    assert (fault["uri"], fault["error_class"]) == (f"msd_analysis#{names[1]}", "not_ascending")
