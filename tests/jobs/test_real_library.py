"""Genres of real recordings in a warehouse that also has a model of the dataset's analyses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.jobs import (
    extract_genre_features,
    ingest_annotations,
    ingest_library,
    ingest_msd,
    score_genres,
    tag_tracks,
    train_genre,
)
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.genres.default_models import list_default_models

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
KNOWN = {"ragtime": "Jazz", "Sugar_Plum": "Classical"}
"""Genres of recordings, by a part of the file's name."""


@pytest.mark.exhaustive
@pytest.mark.usefixtures("spark")
@pytest.mark.skipif(not SHARED.exists(), reason=f"needs the folder {SHARED}, which is not in the repository")
def test_no_recording_gets_its_genre_from_a_model_of_analyses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "warehouse")
    library = tmp_path / "library" / "ann"
    shutil.copytree(SHARED / "audio", library, ignore=shutil.ignore_patterns("*.txt"))

    def run(main: Callable[[list[str]], int], *arguments: object, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*map(str, arguments), "--json", "--warehouse", root]) == code
        summary: dict[str, Any] = json.loads(capsys.readouterr().out)
        return summary

    run(ingest_library.main, "--source", library.parent)
    run(ingest_msd.main, "--source", SHARED / "msd")
    run(ingest_annotations.main, "--source", SHARED / "annotations")
    run(extract_genre_features.main)
    run(tag_tracks.main)
    labels = ("--labels", "msd_tagtraum_cd1", "--learner", "logistic_regression", "--folds", 2)
    run(train_genre.main, "--features", "msd", *labels)
    run(score_genres.main)

    def ask(sql: str) -> list[dict[str, Any]]:
        (rows,) = (reader.read_all().to_pylist() for reader in DuckDB(Warehouse(root), write=False).query(sql, {}))
        return list(rows)

    own = list_default_models()["track_tags"].model_id
    genres = ask("SELECT c.uri, g.* FROM library_copies c LEFT JOIN track_genres g ON g.track_id = c.track_id")
    assert len(genres) == 6
    assert {row["source"] for row in genres} <= {own, "genre_tags", None}
    assert sum(row["source"] is not None for row in genres) >= 4
    for name, genre in KNOWN.items():
        (found,) = [row["genre"] for row in genres if name in row["uri"]]
        assert found == genre
    assert len(ask("SELECT DISTINCT model_id FROM genre_scores")) == 2
    assert ask("SELECT * FROM genre_scores WHERE coalesce(outside > 1, TRUE) AND probability > 0.9") == []
    assert ask("SELECT * FROM genre_scores WHERE coalesce(outside > 1, TRUE) AND NOT abstains") == []
