"""The exploratory page of labelled features, from tables and from a file."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import explore_features
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.tables import GENRE_LABELS, MSD_GENRE_FEATURES, MSD_TRACKS, Table
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import versions

RunJob = Callable[..., dict[str, Any]]
SCALARS = FEATURE_SETS["msd_scalars"].columns
GENRES = ["Rock", "Rock", "<i>Pop</i>"]


def put(warehouse: Warehouse, table: Table, rows: list[dict[str, Any]]) -> None:
    warehouse.merge(table, pa.Table.from_pylist(rows, arrow_schema(table)))


def fill(warehouse: Warehouse, count: int = 24) -> pd.DataFrame:
    """Tracks of three with a genre each, but for the last, with features that are unknown here and there."""
    rng, ids = np.random.default_rng(0), [f"TRAAAAA{n:011d}" for n in range(count)]
    values = rng.standard_normal((count, len(SCALARS))).astype("f4")
    values[:, 3] = np.nan
    values[::4, 0] = np.nan
    frame = pd.DataFrame(values, columns=list(SCALARS), index=ids)
    known = frame.astype(object).where(frame.notna(), None)
    told = {"sha256": "s", "run_id": "r"}
    rows = [{"track_id": i, **told, **row} for i, row in known.to_dict("index").items()]
    put(warehouse, MSD_GENRE_FEATURES, rows)
    put(warehouse, MSD_TRACKS, [{"track_id": i, "uri": i, "artist_id": f"AR{i[-1]}", **told} for i in ids])
    labels = [
        {"track_id": i, "source": "tagtraum_cd1", "rank": 0, "genre": GENRES[n % 3], "run_id": "r"}
        for n, i in enumerate(ids[:-1])
    ]
    put(warehouse, GENRE_LABELS, labels)
    return frame.iloc[:-1].assign(genre=[str(label["genre"]) for label in labels])


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_page_about_the_tables(warehouse: Warehouse, run_job: RunJob, tmp_path: Path) -> None:
    frame, before = fill(warehouse), versions(warehouse)
    out = tmp_path / "new" / "page"
    summary = run_job(explore_features.main, "--features", "msd_scalars", "--labels", "tagtraum_cd1", "--out", out)
    assert summary["counts"] == {"rows": 23, "genres": 2, "features": 15, "rows_explored": 23, "files_written": 15}
    assert versions(warehouse) == before
    page = (out / "index.html").read_text("utf-8")
    assert "msd_scalars × tagtraum_cd1" in page
    assert "<i>" not in page
    assert read(out / "balance.csv")[1:] == [
        [genre, str(n), str(n / 23)] for genre, n in Counter(frame["genre"]).most_common()
    ]
    missing = {row[0]: float(row[1]) for row in read(out / "missing.csv")[1:]}
    assert missing == pytest.approx(frame[list(SCALARS)].isna().mean().to_dict())


@pytest.mark.exhaustive
def test_a_page_about_a_sample_of_a_file(
    prepare: Callable[..., Any], tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explore_features, "MAX_ROWS", 40)
    table = shared_data / "gtzan" / "features_30_sec.csv"
    asked = ["--features", "gtzan", "--labels", "table", "--table", table]
    job, run = prepare(explore_features, *asked, "--out", tmp_path / "page")
    job.body(run)
    assert run.counts == {"rows": 1000, "genres": 10, "features": 57, "rows_explored": 40, "files_written": 15}
    page = (tmp_path / "page" / "index.html").read_text("utf-8")
    assert "gtzan × features_30_sec.csv" in page
    assert "a sample of 40 rows" in page
    assert {row[1] for row in read(tmp_path / "page" / "balance.csv")[1:]} == {"100"}


def test_what_cannot_be_explored(refusal: Callable[..., str], tmp_path: Path) -> None:
    file, page = tmp_path / "a", tmp_path / "page"
    file.write_text("")
    assert "is a file: name a folder" in refusal(explore_features, "--out", file)
    said = refusal(explore_features, "--labels", "tagtraum_cd1", "--out", page)
    assert "run extract-genre-features first" in said
    assert "--labels is missing" in refusal(explore_features, "--out", page)
    said = refusal(explore_features, "--labels", "table", "--out", page)
    assert "--table FILE and --labels table go together" in said
    assert not page.exists()
