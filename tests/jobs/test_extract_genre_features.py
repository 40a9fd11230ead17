"""From audio and analyses to features: what is in the tables, what is skipped, what becomes of bad and gone tracks."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs import extract_genre_features, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.features import gtzan, msd
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
    JOB_RUNS,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MSD_ANALYSIS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    QUARANTINE,
    Table,
)
from reprise.udfs.arrow import arrow_schema

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
MAIN = extract_genre_features.main
TABLES = (AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES, GENRE_IMAGES)


def versions(warehouse: Warehouse) -> dict[str, int]:
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def fill_library(warehouse: Warehouse, folder: Path, count: int = 3) -> list[tuple[str, Path]]:
    """Tracks of a few seconds, with analyses, each held by one or two listeners; their ids and files."""
    tracks, analyses, copies = [], [], []
    files = []
    arrays = {c.name: np.zeros(2, "f") for c in LIBRARY_ANALYSIS.columns if c.type == "array<float>"}
    arrays |= {name: np.arange(2, dtype="f") for name in arrays if name.endswith("_start")}
    arrays |= {name: np.ones(24, "f") for name in ("segments_pitches", "segments_timbre")}
    for n in range(count):
        path = folder / f"ünicode {n}.flac"
        samples = np.random.default_rng(n).uniform(-0.2, 0.2, round((2 + 1.3 * n) * 22_050))
        soundfile.write(path, samples, 22_050, subtype="PCM_16")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        same = {"track_id": f"LB{sha256[:16]}", "sha256": sha256, "run_id": "r"}
        analyses.append({**same, **arrays})
        tracks.append(
            {**same, "codec": "flac", "sample_rate": 22_050, "channel_count": 1, "length_status": "ok"}
            | {"duration": len(samples) / 22_050, "key": n, "tempo": 0.0}
        )
        copies.append({**same, "user_id": "ann", "uri": path.as_uri()})
        if n:
            gone = (folder / f"{n} of bob.flac").as_uri()
            copies.append({**same, "user_id": "bob", "uri": gone})
        files.append((same["track_id"], path))
    for table, rows in ((LIBRARY_TRACKS, tracks), (LIBRARY_ANALYSIS, analyses), (LIBRARY_COPIES, copies)):
        warehouse.merge(table, pa.Table.from_pylist(rows, arrow_schema(table)).sort_by("track_id"))
    return files


def test_rows_are_what_the_functions_give(
    sample_dir: Path, tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    files = fill_library(warehouse, tmp_path)
    counts = run_job(MAIN, "--images", "msd,mel,mfcc")["counts"]
    assert counts == {
        "tracks": 66, "skipped": 0, "analyses": 63, "audio": 3, "images": 63 + 2 * 3, "quarantined": 0
    }  # fmt: skip
    audio = rows_of(warehouse, AUDIO_GENRE_FEATURES).set_index(["track_id", "window"])
    for track_id, path in files:
        for row in gtzan.measure(soundfile.read(path, dtype="float32")[0]):
            stored = audio.loc[(track_id, row["window"])]
            assert {k: stored[k] for k in row if k != "window" and row[k] is not None} == pytest.approx(
                {k: v for k, v in row.items() if k != "window" and v is not None}, rel=1e-5
            )
            assert stored.isna().sum() == sum(value is None for value in row.values())
    analyses = rows_of(warehouse, MSD_GENRE_FEATURES).set_index("track_id")
    arrays = rows_of(warehouse, MSD_ANALYSIS).set_index("track_id")
    scalars = rows_of(warehouse, MSD_TRACKS).set_index("track_id")
    assert len(analyses) == 63
    for track_id in list(arrays.index)[:5]:
        for name, value in msd.measure(scalars.loc[track_id], arrays.loc[track_id]).items():
            stored = analyses.loc[track_id, name]
            assert np.isnan(stored) if value is None else stored == pytest.approx(value, rel=1e-6), name
    images = rows_of(warehouse, GENRE_IMAGES)
    assert images.groupby("kind").size().to_dict() == {"msd": 63, "mel": 3, "mfcc": 3}
    assert (images["image"].map(len) == images["depth"] * images["height"] * images["width"]).all()


def test_second_run_skips_everything_and_force_changes_nothing(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    fill_library(warehouse, tmp_path)
    run_job(MAIN, "--images", "mel")
    before, rows = versions(warehouse), [rows_of(warehouse, table) for table in TABLES]
    counts = run_job(MAIN, "--images", "mel")["counts"]
    assert (counts["tracks"], counts["skipped"], counts["audio"]) == (6, 6, 0)
    assert versions(warehouse) == before
    counts = run_job(MAIN, "--images", "mel", "--force")["counts"]
    assert (counts["skipped"], counts["audio"], counts["analyses"], counts["images"]) == (0, 3, 3, 3)
    for table, old in zip(TABLES, rows, strict=True):
        pd.testing.assert_frame_equal(rows_of(warehouse, table), old)


def test_only_what_is_missing_is_made(tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    fill_library(warehouse, tmp_path)
    run_job(MAIN)
    assert not warehouse.exists(GENRE_IMAGES)
    features = warehouse.versions()["audio_genre_features"]
    counts = run_job(MAIN, "--images", "mfcc")["counts"]
    assert (counts["skipped"], counts["audio"], counts["images"]) == (3, 3, 3)
    counts = run_job(MAIN, "--images", "mfcc,msd,mel")["counts"]
    assert (counts["skipped"], counts["audio"], counts["analyses"], counts["images"]) == (0, 3, 3, 6)
    assert Warehouse(warehouse.root).versions()["audio_genre_features"] == features


def test_bad_tracks_are_quarantined_until_they_are_well(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    files = fill_library(warehouse, tmp_path, 4)
    contents = [path.read_bytes() for _, path in files]
    files[0][1].unlink()
    files[1][1].write_bytes(contents[2])
    run_job(MAIN, exit_code=3)
    rejected = rows_of(warehouse, QUARANTINE).set_index("uri")
    assert dict(rejected["stage"]) == {f"library_tracks#{files[n][0]}": "extract_genre_features" for n in (0, 1)}
    assert rejected["error_class"][f"library_tracks#{files[0][0]}"] == "unreadable"
    assert set(rows_of(warehouse, AUDIO_GENRE_FEATURES)["track_id"]) == {files[2][0], files[3][0]}
    before = versions(warehouse)
    run_job(MAIN, exit_code=3)  # tried again, and nothing new to say
    assert versions(warehouse) == before
    for (_, path), content in zip(files, contents, strict=True):
        path.write_bytes(content)
    counts = run_job(MAIN)["counts"]
    assert (counts["audio"], counts["skipped"]) == (2, 6)
    assert len(rows_of(warehouse, QUARANTINE)) == 0
    files[3][1].unlink()
    assert run_job(MAIN)["counts"]["audio"] == 0  # what is done needs no file
    run_job(MAIN, "--force", "--max-bad", "1")
    assert files[3][0] not in set(rows_of(warehouse, AUDIO_GENRE_FEATURES)["track_id"])


def test_removed_tracks_are_forgotten(tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    files = fill_library(warehouse, tmp_path, 4)
    files[0][1].unlink()
    run_job(MAIN, "--images", "msd,mel", "--max-bad", "1")
    assert len(rows_of(warehouse, QUARANTINE)) == 1
    gone = pa.table({"track_id": [files[n][0] for n in (0, 1)]})
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=gone)
    run_job(MAIN)
    for table in TABLES:
        assert set(rows_of(warehouse, table)["track_id"]) == {files[n][0] for n in (2, 3)}
    assert len(rows_of(warehouse, QUARANTINE)) == 0


def test_interrupted_between_commits_and_started_again(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_library(warehouse, tmp_path, 4)
    quiet = Warehouse(str(tmp_path / "quiet"))
    fill_library(quiet, tmp_path, 4)
    assert MAIN(["--images", "mel,msd", "--warehouse", quiet.root]) == 0
    merge, calls = Warehouse.merge, []

    def interrupted(self: Warehouse, table: Table, *args: Any, **options: Any) -> Any:
        calls.extend([table] if table in TABLES else [])
        if len(calls) == 6:  # images of the second commit of audio are written, its features are not
            raise KeyboardInterrupt
        return merge(self, table, *args, **options)

    arguments = ("--images", "mel,msd", "--conf", "files_per_task=8")
    with monkeypatch.context() as patch:
        patch.setattr(Warehouse, "merge", interrupted)
        run_job(MAIN, *arguments, exit_code=130)
    assert 0 < rows_of(warehouse, AUDIO_GENRE_FEATURES)["track_id"].nunique() < 4
    assert run_job(MAIN, *arguments)["counts"]["audio"] == 3
    for table in TABLES:
        pd.testing.assert_frame_equal(rows_of(warehouse, table), rows_of(quiet, table))


def test_bad_usage_is_said_in_one_line(run_job: Run) -> None:
    said = run_job(MAIN, exit_code=2)["error"]
    assert said == (
        "reprise extract-genre-features: there is nothing in msd_analysis or library_analysis:"
        " run ingest-msd or ingest-library first\n"
    )
    said = run_job(MAIN, "--images", "mel,jpeg", exit_code=2)["error"]
    assert said == "reprise extract-genre-features: --images knows msd, mel, mfcc, cqt, not jpeg\n"
