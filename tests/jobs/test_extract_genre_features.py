"""From audio and analyses to features: what is in the tables, and what becomes of bad and removed tracks."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs import extract_genre_features
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.audio.decoding import decode
from reprise.lib.features import gtzan, msd
from reprise.lib.files import local_path
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
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
from tests.jobs.chain import CHAIN, DAMAGED, NUMBERS, Chain, copy_warehouse

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
MAIN = extract_genre_features.main


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


@pytest.fixture
def extracted(chain: Chain) -> Warehouse:
    """The warehouse with features and images of analyses and audio, to be read."""
    return Warehouse(str(chain.after("extract-genre-features")))


def test_audio_features_are_what_the_functions_give(extracted: Warehouse, rows_of: Rows, tmp_path: Path) -> None:
    audio = rows_of(extracted, AUDIO_GENRE_FEATURES).set_index(["track_id", "window"])
    copies = rows_of(extracted, LIBRARY_COPIES).drop_duplicates("track_id")
    assert set(audio.index.get_level_values(0)) == set(copies["track_id"])
    for track_id, uri in zip(copies["track_id"], copies["uri"], strict=True):
        decode(local_path(uri), tmp_path / "signal")
        for row in gtzan.measure(np.fromfile(tmp_path / "signal", np.float32)):
            stored = audio.loc[(track_id, row["window"])]
            assert {k: stored[k] for k in row if k != "window" and row[k] is not None} == pytest.approx(
                {k: v for k, v in row.items() if k != "window" and v is not None}, rel=1e-5
            )
            assert stored.isna().sum() == sum(value is None for value in row.values())


def test_features_of_analyses_are_what_the_functions_give(chain: Chain, extracted: Warehouse, rows_of: Rows) -> None:
    counts = chain.summary(CHAIN[NUMBERS["extract-genre-features"]])["counts"]
    assert counts == {
        "tracks": 86, "skipped": 0, "analyses": 82, "audio": 3, "images": 82 + 3, "quarantined": 1
    }  # fmt: skip
    analyses = rows_of(extracted, MSD_GENRE_FEATURES).set_index("track_id")
    arrays = rows_of(extracted, MSD_ANALYSIS).set_index("track_id").drop(DAMAGED)
    scalars = rows_of(extracted, MSD_TRACKS).set_index("track_id")
    assert len(analyses) == 82
    for track_id in list(arrays.index)[:5]:
        for name, value in msd.measure(scalars.loc[track_id], arrays.loc[track_id]).items():
            stored = analyses.loc[track_id, name]
            assert np.isnan(stored) if value is None else stored == pytest.approx(value, rel=1e-6), name
    images = rows_of(extracted, GENRE_IMAGES)
    assert images.groupby("kind").size().to_dict() == {"msd": 82, "mel": 3}
    assert (images["image"].map(len) == images["depth"] * images["height"] * images["width"]).all()


def test_only_what_is_missing_is_made(chain: Chain, run_job: RunJob, warehouse: Warehouse) -> None:
    copy_warehouse(chain.after("extract-genre-features"), Path(warehouse.root))
    before = Warehouse(warehouse.root).versions()
    counts = run_job(MAIN, "--images", "mfcc,msd,mel")["counts"]
    assert (counts["skipped"], counts["audio"], counts["analyses"], counts["images"]) == (82, 3, 0, 3)
    after = Warehouse(warehouse.root).versions()
    for table in (AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES):
        assert after[table.name] == before[table.name]


def test_bad_tracks_are_quarantined_until_they_are_mended_or_removed(
    tmp_path: Path, run_job: RunJob, warehouse: Warehouse, rows_of: Rows
) -> None:
    """Of five files the first is gone at first and the second another one; later the fourth is gone too."""

    def held(table: Table) -> set[int]:
        return {ids.index(track_id) for track_id in rows_of(warehouse, table)["track_id"]}

    files = fill_library(warehouse, tmp_path, 5)
    ids = [track_id for track_id, _ in files]
    content = files[0][1].read_bytes()
    files[0][1].unlink()
    files[1][1].write_bytes(files[2][1].read_bytes())
    run_job(MAIN, exit_code=3)
    assert not warehouse.exists(GENRE_IMAGES)
    rejected = rows_of(warehouse, QUARANTINE).set_index("uri")
    assert dict(rejected["stage"]) == {f"library_tracks#{ids[n]}": "extract_genre_features" for n in (0, 1)}
    assert rejected["error_class"][f"library_tracks#{ids[0]}"] == "unreadable"
    assert (held(AUDIO_GENRE_FEATURES), held(MSD_GENRE_FEATURES)) == ({2, 3, 4}, {0, 1, 2, 3, 4})
    # mended; removed, one of them bad; and a file that is gone when its features are there already
    files[0][1].write_bytes(content)
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=pa.table({"track_id": [ids[1], ids[4]]}))
    files[3][1].unlink()
    counts = run_job(MAIN)["counts"]
    assert (counts["audio"], counts["skipped"]) == (1, 5)
    assert rows_of(warehouse, QUARANTINE).empty
    assert held(AUDIO_GENRE_FEATURES) == held(MSD_GENRE_FEATURES) == {0, 2, 3}
    run_job(MAIN, "--force", "--images", "mel", "--max-bad", "1")
    assert held(AUDIO_GENRE_FEATURES) == held(GENRE_IMAGES) == {0, 2}


def test_images_of_an_unknown_kind(refusal: Callable[..., str]) -> None:
    said = refusal(extract_genre_features, "--images", "mel,jpeg")
    assert said == "--images: unknown kind jpeg; choose from: msd, mel, mfcc, cqt"
