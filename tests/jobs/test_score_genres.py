"""Scores of tracks: those of the models that are asked, once, and of nothing that is gone."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reprise.jobs import score_genres
from reprise.jobs._engine.models import write_artifact
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.errors import RepriseError
from reprise.lib.genres.default_model import DEFAULT_SHA256, load_default
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK, pool
from reprise.lib.genres.models import GenreModel, dump
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MODELS, MSD_GENRE_FEATURES, Table
from reprise.udfs.arrow import arrow_schema

RunJob = Callable[..., dict[str, Any]]
Prepare = Callable[..., Any]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

GENRES = ("Blues", "Été [live]", "音楽")
LIBRARY = {"LB0001": 14, "LB0002": 3, "LB0003": 0}
"""Library tracks and their windows."""
DATASET = [f"TR{number:04d}" for number in range(12)]
OWN = f"embedded-gtzan-{DEFAULT_SHA256[:12]}"


def make_audio(track_id: str, windows: int, content: str = "c") -> pd.DataFrame:
    """Rows of ``audio_genre_features`` of one track."""
    columns = list(FEATURE_SETS["audio"].columns)
    seed = int(hashlib.sha256(f"{track_id}{content}".encode()).hexdigest()[:8], 16)
    values = np.abs(np.random.default_rng(seed).standard_normal((windows + 1, len(columns))))
    rows = pd.DataFrame(values, columns=columns).assign(
        track_id=track_id,
        window=np.arange(WHOLE_TRACK, windows),
        start_s=0.0,
        length_s=3.0,
        sha256=f"{content} of {track_id}",
        run_id="r",
    )
    rows.loc[1:, "tempo"] = None
    return rows


def make_analysis(track_id: str, content: str = "c") -> pd.DataFrame:
    """One row of ``msd_genre_features``."""
    columns = list(FEATURE_SETS["msd"].columns)
    seed = int(hashlib.sha256(f"{track_id}{content}".encode()).hexdigest()[:8], 16)
    values = np.random.default_rng(seed).standard_normal((1, len(columns)))
    values[:, seed % 9 :: 9] = np.nan
    return pd.DataFrame(values, columns=columns).assign(
        track_id=track_id, sha256=f"{content} of {track_id}", run_id="r"
    )


def put(warehouse: Warehouse, table: Table, rows: pd.DataFrame) -> None:
    names = [column.name for column in table.columns]
    warehouse.merge(table, pa.Table.from_pandas(rows[names], arrow_schema(table), preserve_index=False))


def fit(feature_set: str, seed: int) -> GenreModel:
    columns = FEATURE_SETS[feature_set].columns
    rows = np.random.default_rng(seed).standard_normal((60, len(columns)))
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.01))
    return GenreModel("logistic_regression", columns, feature_set, GENRES, estimator.fit(rows, np.arange(60) % 3))


def add_model(warehouse: Warehouse, model_id: str, feature_set: str, seed: int, **columns: object) -> GenreModel:
    """Keep a model as train-genre does; the seed is the day it was trained on."""
    model = fit(feature_set, seed)
    path, sha256 = write_artifact(warehouse.root, dump(model), ".skops")
    row = {
        "model_id": model_id,
        "kind": f"genre/{model.learner}",
        "trained_at": datetime(2026, 1, seed, tzinfo=UTC),
        "params": json.dumps({"features": feature_set}),
        "metrics": "{}",
        "artifact": path,
        "sha256": sha256,
        "trained_on": "{}",
        "run_id": "r",
    }
    warehouse.merge(MODELS, pa.Table.from_pylist([row | columns], arrow_schema(MODELS)))
    return model


@pytest.fixture(scope="module")
def featured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of three library tracks and twelve of the dataset in several files, and a model of each table."""
    warehouse = Warehouse(str(tmp_path_factory.mktemp("genres") / "warehouse"))
    for track_id, windows in LIBRARY.items():
        put(warehouse, AUDIO_GENRE_FEATURES, make_audio(track_id, windows))
    put(warehouse, MSD_GENRE_FEATURES, pd.concat([make_analysis(i) for i in [*LIBRARY, *DATASET[:5]]]))
    put(warehouse, MSD_GENRE_FEATURES, pd.concat([make_analysis(i) for i in DATASET[5:]]))
    return Path(warehouse.root)


@pytest.fixture
def warehouse(featured: Path, tmp_path: Path) -> Warehouse:
    """A copy of it."""
    shutil.copytree(featured, tmp_path / "warehouse")
    return Warehouse(str(tmp_path / "warehouse"))


def expect_audio(model: GenreModel, tracks: Mapping[str, int], content: str = "c") -> dict[str, np.ndarray]:
    """Probabilities of the windows of tracks: the oracle."""
    expected = {}
    for track_id, windows in tracks.items():
        rows = make_audio(track_id, windows, content)
        asked = (rows[1:] if windows else rows).assign(tempo=rows["tempo"].iloc[0])
        columns = list(FEATURE_SETS[model.feature_set].columns)
        values = asked[columns].astype("f4").to_numpy("f8")
        expected[track_id] = model.predict(pool(values, asked["length_s"], columns))
    return expected


def expect_analyses(model: GenreModel, track_ids: Sequence[str], content: str = "c") -> dict[str, np.ndarray]:
    rows = pd.concat([make_analysis(i, content) for i in track_ids])
    found = model.predict(rows[list(model.features)].astype("f4").to_numpy("f8"))
    return {track_id: row[None] for track_id, row in zip(track_ids, found, strict=True)}


def check(stored: pd.DataFrame, model_id: str, model: GenreModel, expected: Mapping[str, np.ndarray]) -> None:
    """The rows of a model are those, and no others."""
    of_model = stored[stored["model_id"] == model_id]
    assert set(of_model["track_id"]) == set(expected)
    for track_id, windows in expected.items():
        rows = of_model[of_model["track_id"] == track_id].set_index("genre").loc[list(model.genres)]
        assert len(rows) == len(model.genres)
        # workers multiply other batches
        np.testing.assert_allclose(rows["probability"], windows.mean(axis=0), rtol=1e-6, atol=1e-9)
        assert abs(rows["probability"].sum() - 1) <= 1e-9
        assert rows.sort_values("rank")["rank"].tolist() == list(range(1, len(rows) + 1))
        if rows["window_probabilities"].notna().all():
            np.testing.assert_allclose(np.stack(rows["window_probabilities"].tolist()).T, windows, rtol=1e-5, atol=1e-7)
        else:
            assert len(windows) == 1


def test_newcomers_audio_is_scored_by_the_packages_own_and_models_that_are_named_score_beside_it(
    warehouse: Warehouse, run_job: RunJob, prepare: Prepare, rows_of: Rows
) -> None:
    counts = run_job(score_genres.main)["counts"]
    assert counts == {"tracks": 3, "skipped": 0, "scored": 3, f"scored_by_{OWN}": 3}
    own, model = rows_of(warehouse, GENRE_SCORES), load_default()
    check(own, OWN, model, expect_audio(model, LIBRARY))
    assert set(own["model_id"]) == {OWN}
    assert set(own["sha256"]) == {f"c of {track_id}" for track_id in LIBRARY}
    courses = own.groupby("track_id")["window_probabilities"].first()
    assert [0 if course is None else len(course) for course in courses] == list(LIBRARY.values())

    one, other = add_model(warehouse, "one", "msd", 6), add_model(warehouse, "other", "gtzan", 7)
    named = ("--model", "one", "--model", "other", "--model", "one")
    counts = run_job(score_genres.main, *named)["counts"]
    assert counts == {"tracks": 18, "skipped": 0, "scored": 18, "scored_by_one": 15, "scored_by_other": 3}
    stored = rows_of(warehouse, GENRE_SCORES)
    check(stored, "one", one, expect_analyses(one, [*LIBRARY, *DATASET]))
    check(stored, "other", other, expect_audio(other, LIBRARY))
    pd.testing.assert_frame_equal(stored[stored["model_id"] == OWN].reset_index(drop=True), own)
    job, again = prepare(score_genres, "--model", OWN)
    job.body(again)
    assert again.counts["skipped"] == 3


def test_the_last_trained_of_each_table_score_and_what_is_missing_is_scored_alone(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    add_model(warehouse, "z-older", "msd", 1)
    analyses = add_model(warehouse, "genre-m", "msd_scalars", 2)
    audio = add_model(warehouse, "genre-a", "audio", 3)
    add_model(warehouse, "a-cover-model", "msd", 4, kind="median_pca", task="cover_embedding", params="{}")
    add_model(warehouse, "of-the-future", "msd", 5, params='{"features": "future"}')
    counts = run_job(score_genres.main)["counts"]
    assert counts == {"tracks": 18, "skipped": 0, "scored": 18, "scored_by_genre-a": 3, "scored_by_genre-m": 15}
    stored = rows_of(warehouse, GENRE_SCORES)
    assert set(stored["model_id"]) == {"genre-a", "genre-m"}
    check(stored, "genre-a", audio, expect_audio(audio, LIBRARY))
    check(stored, "genre-m", analyses, expect_analyses(analyses, [*LIBRARY, *DATASET]))
    keys = stored[stored["track_id"].isin(DATASET[3:6])][list(GENRE_SCORES.key)]
    warehouse.merge(GENRE_SCORES, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    assert run_job(score_genres.main)["counts"]["scored"] == 3
    pd.testing.assert_frame_equal(rows_of(warehouse, GENRE_SCORES), stored, rtol=1e-9)


def test_new_content_replaces_and_what_is_gone_is_forgotten(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    analyses, audio = add_model(warehouse, "genre-m", "msd", 8), add_model(warehouse, "genre-a", "gtzan", 9)
    run_job(score_genres.main)
    # LB0001 gets shorter, LB0002 goes, one track of the dataset changes and one goes
    for table in (AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES):
        rows = rows_of(warehouse, table)
        gone = rows[rows["track_id"].isin(["LB0001", "LB0002", *DATASET[:2]])][list(table.key)]
        warehouse.merge(table, [], delete=pa.Table.from_pandas(gone, preserve_index=False))
    put(warehouse, AUDIO_GENRE_FEATURES, make_audio("LB0001", 2, "new"))
    put(warehouse, MSD_GENRE_FEATURES, pd.concat([make_analysis("LB0001"), make_analysis(DATASET[0], "new")]))
    counts = run_job(score_genres.main)["counts"]
    assert counts == {"tracks": 15, "skipped": 13, "scored": 2, "scored_by_genre-a": 1, "scored_by_genre-m": 1}
    stored = rows_of(warehouse, GENRE_SCORES)
    assert "LB0002" not in set(stored["track_id"])
    changed = expect_audio(audio, {"LB0001": 2}, "new")
    check(stored, "genre-a", audio, expect_audio(audio, {"LB0003": 0}) | changed)
    changed = expect_analyses(analyses, DATASET[:1], "new")
    check(stored, "genre-m", analyses, expect_analyses(analyses, ["LB0001", "LB0003", *DATASET[2:]]) | changed)
    assert set(stored[stored["track_id"] == DATASET[0]]["sha256"]) == {f"new of {DATASET[0]}"}


@pytest.mark.parametrize("damage", ["exchanged", "missing", "no model"])
def test_a_damaged_model_is_named(damage: str, warehouse: Warehouse, prepare: Prepare, rows_of: Rows) -> None:
    add_model(warehouse, "genre-m", "msd", 10)
    (row,) = warehouse.lookup(MODELS, "model_id", "", "~").to_pylist()
    file = Path(warehouse.root, row["artifact"])
    data = {"exchanged": dump(fit("msd", 11)), "no model": b"no model"}.get(damage)
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    if damage == "no model":
        row["sha256"] = hashlib.sha256(b"no model").hexdigest()
        warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    job, run = prepare(score_genres, "--model", "genre-m")
    with pytest.raises(RepriseError, match=r"(?s)^genre-m cannot be loaded: .*train") as failed:
        job.body(run)
    assert "\n" not in str(failed.value)
    assert len(rows_of(warehouse, GENRE_SCORES)) == 0


def test_what_cannot_be_scored(warehouse: Warehouse, refusal: Callable[..., str]) -> None:
    assert refusal(score_genres, "--model", "none") == f"there is no genre model none; choose from: {OWN}"
    shutil.rmtree(warehouse.uri(AUDIO_GENRE_FEATURES))
    assert refusal(score_genres) == "no genre model reads msd_genre_features: run train-genre first"
    said = refusal(score_genres, "--model", OWN)
    assert said == "there are no rows in audio_genre_features: run extract-genre-features first"


def test_a_table_of_an_older_version_is_refused(warehouse: Warehouse, refusal: Callable[..., str]) -> None:
    folder = Path(warehouse.uri(AUDIO_GENRE_FEATURES))
    shutil.rmtree(folder)
    folder.mkdir()
    schema = arrow_schema(AUDIO_GENRE_FEATURES)
    older = pa.schema([field for field in schema if field.name != "mfcc20_var"])
    rows = make_audio("LB0001", 3)[older.names]
    DeltaTable.create(str(folder), older)
    warehouse.merge(AUDIO_GENRE_FEATURES, pa.Table.from_pandas(rows, older, preserve_index=False).append_column(
        schema.field("mfcc20_var"), pa.nulls(4, pa.float32())
    ).select(schema.names))  # fmt: skip
    assert refusal(score_genres) == (
        "audio_genre_features was written by an older version of reprise and has no column mfcc20_var: remove"
        f" {folder} and run extract-genre-features again"
    )
