"""Scores of tracks: those of the models that are asked, once, and of nothing that is gone."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
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
from reprise.jobs._engine.external_models import TAGGER, make_external_id
from reprise.jobs._engine.models import write_artifact
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.errors import RepriseError
from reprise.lib.genres.default_models import list_default_models, read_default_model
from reprise.lib.genres.domains import Domain, fit_domain
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK, name_input, pool, pool_tags
from reprise.lib.genres.models import GenreModel, dump, load
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MODELS, MSD_GENRE_FEATURES, TRACK_TAGS, Table
from reprise.udfs.arrow import arrow_schema

RunJob = Callable[..., dict[str, Any]]
Prepare = Callable[..., Any]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

GENRES = ("Blues", "Été [live]", "音楽")
LIBRARY = {"LB0001": 14, "LB0002": 3, "LB0003": 0}
"""Library tracks and their windows."""
DATASET = [f"TR{number:04d}" for number in range(12)]
OWN = list_default_models()["gtzan"].model_id
OWN_OF_TAGS = list_default_models()["track_tags"].model_id
Expected = dict[str, tuple[np.ndarray, float]]
"""Probabilities of the windows of tracks, and how far the tracks lie outside: NaN if this cannot be told."""


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


def make_tags(track_id: str, windows: int, content: str = "c", tagger: str = "") -> pd.DataFrame:
    """Rows of ``track_tags`` of one track."""
    columns = list(FEATURE_SETS["track_tags"].columns)
    seed = int(hashlib.sha256(f"{track_id}{content}{tagger} tags".encode()).hexdigest()[:8], 16)
    return pd.DataFrame(np.random.default_rng(seed).random((windows + 1, len(columns))), columns=columns).assign(
        track_id=track_id,
        model_id=tagger or make_external_id(TAGGER),
        window=np.arange(WHOLE_TRACK, windows),
        start_s=0.0,
        length_s=2.992,
        sha256=f"{content} of {track_id}",
        run_id="r",
    )


def put(warehouse: Warehouse, table: Table, rows: pd.DataFrame) -> None:
    names = [column.name for column in table.columns]
    warehouse.merge(table, pa.Table.from_pandas(rows[names], arrow_schema(table), preserve_index=False))


def fit(feature_set: str, seed: int) -> GenreModel:
    one = FEATURE_SETS[feature_set]
    rows = np.random.default_rng(seed).standard_normal((60, len(one.features)))
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    estimator = make_pipeline(fill, StandardScaler(), LogisticRegression(C=0.01))
    codes = np.arange(60) % 3
    return GenreModel("logistic_regression", one.features, feature_set, GENRES, estimator.fit(rows, codes))


@cache
def describe() -> Domain:
    """Describe a domain that contains audio like that of `make_audio`."""
    columns, parts = FEATURE_SETS["gtzan"].columns, []
    for number in range(40):
        rows = make_audio(f"song {number}", 12)
        rows = rows[1:].assign(tempo=rows["tempo"].iloc[0])
        parts.append(pool(rows[list(columns)].to_numpy("f8"), rows["length_s"], columns))
    songs = np.repeat([f"song {number}" for number in range(40)], 12).astype(object)
    return fit_domain(np.concatenate(parts), songs, columns, seed=0)


def add_model(
    warehouse: Warehouse, model_id: str, feature_set: str, seed: int, model: GenreModel | None = None, **columns: object
) -> GenreModel:
    """Keep a model as train-genre does; with a higher seed, it is trained later and has a higher quality."""
    model = model or fit(feature_set, seed)
    path, sha256 = write_artifact(warehouse.root, dump(model), ".safetensors")
    row = {
        "model_id": model_id,
        "kind": f"genre/{model.learner}",
        "task": "genre",
        "input": name_input(feature_set, from_library=False),
        "quality": 0.9 + seed / 1000,
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


@pytest.fixture
def tagged(warehouse: Warehouse) -> Warehouse:
    """The same warehouse with tags of the library; their windows are shorter, so a track can have one more."""
    for track_id, windows in LIBRARY.items():
        put(warehouse, TRACK_TAGS, make_tags(track_id, windows + 1))
    return warehouse


def find_clips(feature_set: str, track_id: str, windows: int, content: str) -> pd.DataFrame:
    """Features of the clips of a track of audio, by plain pooling."""
    one = FEATURE_SETS[feature_set]
    if one.table is TRACK_TAGS:
        rows = make_tags(track_id, windows + 1, content)[1:]
        return pd.DataFrame(pool_tags(rows[list(one.columns)].astype("f4").to_numpy("f8")), columns=list(one.features))
    rows = make_audio(track_id, windows, content)
    asked = (rows[1:] if windows else rows).assign(tempo=rows["tempo"].iloc[0])
    values = asked[list(one.columns)].astype("f4").to_numpy("f8")
    return pd.DataFrame(pool(values, asked["length_s"], one.columns), columns=list(one.columns))


def expect_audio(model: GenreModel, tracks: Mapping[str, int], content: str = "c") -> Expected:
    """What to expect of tracks with some numbers of windows: the oracle."""
    expected = {}
    for track_id, windows in tracks.items():
        clips = find_clips(model.feature_set, track_id, windows, content)
        outside = np.nan
        if model.domain is not None:
            described = find_clips("gtzan", track_id, windows, content)[list(model.domain.features)]
            outside = float(model.domain.measure(described.to_numpy()).mean())
        expected[track_id] = (model.predict(clips[list(model.features)].to_numpy()), outside)
    return expected


def expect_analyses(model: GenreModel, track_ids: Sequence[str], content: str = "c") -> Expected:
    rows = pd.concat([make_analysis(i, content) for i in track_ids])
    found = model.predict(rows[list(model.features)].astype("f4").to_numpy("f8"))
    return {track_id: (row[None], np.nan) for track_id, row in zip(track_ids, found, strict=True)}


def check(stored: pd.DataFrame, model_id: str, model: GenreModel, expected: Expected) -> None:
    """The rows of a model are those, and no others."""
    of_model = stored[stored["model_id"] == model_id]
    assert set(of_model["track_id"]) == set(expected)
    for track_id, (windows, outside) in expected.items():
        rows = of_model[of_model["track_id"] == track_id].set_index("genre").loc[list(model.genres)]
        assert len(rows) == len(model.genres)
        probabilities = windows.mean(axis=0)
        is_outside = model.domain is not None and not outside <= 1
        abstains = is_outside or probabilities.max() < model.min_probability
        if is_outside:
            probabilities = (probabilities + 1 / len(model.genres)) / 2
        # workers multiply other batches
        np.testing.assert_allclose(rows["probability"], probabilities, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(rows["outside"].astype(float), [outside] * len(rows), rtol=1e-6)
        assert rows["abstains"].tolist() == [abstains] * len(rows)
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
    own, model = rows_of(warehouse, GENRE_SCORES), load(read_default_model("gtzan"))
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


def test_the_packages_own_models_are_kept_among_the_models_once(
    tagged: Warehouse, prepare: Prepare, refusal: Callable[..., str], rows_of: Rows
) -> None:
    """Those of a table without rows are not."""
    shutil.move(tagged.uri(TRACK_TAGS), f"{tagged.root}-tags")
    refusal(score_genres, "--model", "none")
    assert rows_of(tagged, MODELS)["model_id"].tolist() == [OWN]
    shutil.move(f"{tagged.root}-tags", tagged.uri(TRACK_TAGS))
    refusal(score_genres, "--model", "none")
    models = rows_of(tagged, MODELS).set_index("model_id")
    assert set(models.index) == {OWN, OWN_OF_TAGS}
    for name, listed in list_default_models().items():
        row = models.loc[listed.model_id]
        assert Path(tagged.root, row["artifact"]).read_bytes() == read_default_model(name)
        assert Path(row["artifact"]).name == f"{listed.sha256}.safetensors"
        assert (row["task"], row["kind"], row["sha256"]) == ("genre", listed.kind, listed.sha256)
        assert (row["input"], row["quality"]) == (listed.input, listed.quality)
        for column in ("params", "metrics", "trained_on", "domain"):
            assert json.loads(str(row[column])) == getattr(listed, column)
    refusal(score_genres, "--model", "none")
    pd.testing.assert_frame_equal(rows_of(tagged, MODELS).set_index("model_id"), models)
    assert len(list(Path(tagged.root, "_artifacts").iterdir())) == 2


def test_tags_are_scored_where_there_are_features_of_the_domain_too(
    tagged: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    """A track without them stays pending."""
    put(tagged, TRACK_TAGS, pd.concat([make_tags("LB0004", 5), make_tags("LB0005", 1)]))
    counts = run_job(score_genres.main)["counts"]
    assert counts == {
        "tracks": 5, "skipped": 0, "without_features": 2, "scored": 3, f"scored_by_{OWN_OF_TAGS}": 3,
    }  # fmt: skip
    model = load(read_default_model("track_tags"))
    stored = rows_of(tagged, GENRE_SCORES)
    assert set(stored["model_id"]) == {OWN_OF_TAGS}
    check(stored, OWN_OF_TAGS, model, expect_audio(model, LIBRARY))
    put(tagged, AUDIO_GENRE_FEATURES, make_audio("LB0004", 4))
    counts = run_job(score_genres.main)["counts"]
    assert counts == {
        "tracks": 5, "skipped": 3, "without_features": 1, "scored": 1, f"scored_by_{OWN_OF_TAGS}": 1,
    }  # fmt: skip
    check(rows_of(tagged, GENRE_SCORES), OWN_OF_TAGS, model, expect_audio(model, {**LIBRARY, "LB0004": 4}))
    counts = run_job(score_genres.main)["counts"]
    assert (counts["scored"], counts["skipped"], counts["without_features"]) == (0, 4, 1)


def test_models_with_a_domain_abstain_from_what_lies_outside(tagged: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    """One track is strange, and one has no known feature; the others are like those of the domain."""
    usual = expect_audio(fit("track_tags", 20), LIBRARY)
    least = sorted(windows.mean(axis=0).max() for windows, _ in usual.values())[1]
    tags = replace(fit("track_tags", 20), domain=describe(), min_probability=float(least))
    add_model(tagged, "tags", "track_tags", 20, tags)
    audio = add_model(tagged, "audio", "gtzan", 21, replace(fit("gtzan", 21), domain=describe()))
    columns = list(FEATURE_SETS["audio"].columns)
    strange, empty = make_audio("LB0006", 12), make_audio("LB0007", 12)
    strange[columns] *= 40
    empty[columns] = np.nan
    put(tagged, AUDIO_GENRE_FEATURES, pd.concat([strange, empty]))
    put(tagged, TRACK_TAGS, pd.concat([make_tags("LB0006", 13), make_tags("LB0007", 13)]))
    run_job(score_genres.main, "--model", "tags", "--model", "audio")
    stored = rows_of(tagged, GENRE_SCORES)
    for model_id, model in (("tags", tags), ("audio", audio)):
        known = stored[stored["track_id"].isin(LIBRARY)]
        check(known, model_id, model, expect_audio(model, LIBRARY))
        of_model = stored[stored["model_id"] == model_id]
        inside, far, unknown = (of_model[of_model["track_id"] == name] for name in ("LB0001", "LB0006", "LB0007"))
        assert (inside["outside"] <= 1).all()
        assert (far["outside"] > 1).all()
        assert unknown["outside"].isna().all()
        for rows in (far, unknown):
            assert len(rows) == len(GENRES)
            assert rows["abstains"].all()
            assert (rows["probability"] >= 1 / 6).all()


def test_tags_of_another_tagger_do_not_count(tagged: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    others = [make_tags(track_id, windows + 1, tagger="another-tagger") for track_id, windows in LIBRARY.items()]
    put(tagged, TRACK_TAGS, pd.concat(others))
    model = add_model(tagged, "tags", "track_tags", 22, replace(fit("track_tags", 22), domain=describe()))
    counts = run_job(score_genres.main, "--model", "tags")["counts"]
    assert (counts["tracks"], counts["scored"]) == (3, 3)
    check(rows_of(tagged, GENRE_SCORES), "tags", model, expect_audio(model, LIBRARY))


def test_the_best_for_each_kind_of_music_score_and_what_is_missing_is_scored_alone(
    warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    """The date of the training does not count, and a model of unknown quality is not chosen."""
    add_model(warehouse, "z-worse", "msd", 12, quality=0.2)
    analyses = add_model(warehouse, "genre-m", "msd_scalars", 2, quality=0.6)
    audio = add_model(warehouse, "genre-a", "audio", 3, quality=0.8)
    library = add_model(warehouse, "genre-l", "msd_segments", 17, quality=0.3, input="library analyses")
    add_model(warehouse, "z-worse-of-library", "msd", 18, quality=0.1, input="library analyses")
    add_model(warehouse, "z-worse-audio", "gtzan_windows", 13, quality=0.79)
    add_model(warehouse, "z-unknown-quality", "gtzan", 14, quality=None)
    add_model(warehouse, "z-unknown-quality-of-analyses", "msd", 15, quality=None)
    add_model(warehouse, "of-tags", "track_tags", 16, quality=0.99)
    add_model(warehouse, "a-cover-model", "msd", 4, kind="median_pca", task="cover_embedding", params="{}")
    add_model(warehouse, "of-the-future", "msd", 5, params='{"features": "future"}')
    counts = run_job(score_genres.main)["counts"]
    scored = {"scored_by_genre-a": 3, "scored_by_genre-l": 15, "scored_by_genre-m": 15}
    assert counts == {"tracks": 33, "skipped": 0, "scored": 33, **scored}
    stored = rows_of(warehouse, GENRE_SCORES)
    assert set(stored["model_id"]) == {"genre-a", "genre-l", "genre-m"}
    check(stored, "genre-l", library, expect_analyses(library, [*LIBRARY, *DATASET]))
    check(stored, "genre-a", audio, expect_audio(audio, LIBRARY))
    check(stored, "genre-m", analyses, expect_analyses(analyses, [*LIBRARY, *DATASET]))
    keys = stored[stored["track_id"].isin(DATASET[3:6])][list(GENRE_SCORES.key)]
    warehouse.merge(GENRE_SCORES, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    assert run_job(score_genres.main)["counts"]["scored"] == 6
    pd.testing.assert_frame_equal(rows_of(warehouse, GENRE_SCORES), stored, rtol=1e-9)


def test_models_of_older_versions_are_named(warehouse: Warehouse, prepare: Prepare) -> None:
    add_model(warehouse, "former", "msd", 1, quality=None)
    add_model(warehouse, "genre-m", "msd", 2)
    assert score_genres._list_former_models(prepare(score_genres)[1]) == ["former"]


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


@pytest.mark.parametrize("damage", ["exchanged", "missing", "no model", "former format"])
def test_a_damaged_model_is_named(damage: str, warehouse: Warehouse, prepare: Prepare, rows_of: Rows) -> None:
    add_model(warehouse, "genre-m", "msd", 10)
    (row,) = warehouse.lookup(MODELS, "model_id", "genre-m", "genre-m").to_pylist()
    file = Path(warehouse.root, row["artifact"])
    data = {"exchanged": dump(fit("msd", 11)), "no model": b"no model", "former format": b"PK\3\4"}.get(damage)
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    if damage in ("no model", "former format"):
        row["sha256"] = hashlib.sha256(data or b"").hexdigest()
        warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    job, run = prepare(score_genres, "--model", "genre-m")
    with pytest.raises(RepriseError, match=r"(?s)^genre-m cannot be loaded: .*train") as failed:
        job.body(run)
    assert "\n" not in str(failed.value)
    assert ("train-genre --reproduce ID --force" in str(failed.value)) == (damage == "former format")
    assert len(rows_of(warehouse, GENRE_SCORES)) == 0


def test_what_cannot_be_scored(warehouse: Warehouse, refusal: Callable[..., str]) -> None:
    assert refusal(score_genres, "--model", "none") == f"there is no genre model none; choose from: {OWN}"
    shutil.rmtree(warehouse.uri(AUDIO_GENRE_FEATURES))
    assert refusal(score_genres) == "no genre model reads msd_genre_features: run train-genre first"
    said = refusal(score_genres, "--model", OWN)
    assert said == "there are no rows in audio_genre_features: run extract-genre-features first"
    shutil.rmtree(warehouse.uri(MSD_GENRE_FEATURES))
    said = refusal(score_genres)
    assert said == "there are no tags and no features: run tag-tracks or extract-genre-features first"


def test_tags_without_features_of_any_track_cannot_be_scored(tagged: Warehouse, refusal: Callable[..., str]) -> None:
    shutil.rmtree(tagged.uri(AUDIO_GENRE_FEATURES))
    said = refusal(score_genres, "--model", OWN_OF_TAGS)
    assert said == "there are no rows in audio_genre_features: run extract-genre-features first"


def test_a_file_of_the_package_that_was_changed_is_named(
    warehouse: Warehouse, prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {name: replace(one, sha256="0" * 64) for name, one in list_default_models().items()}
    monkeypatch.setattr("reprise.lib.genres.default_models.list_default_models", lambda: changed)
    job, run = prepare(score_genres)
    with pytest.raises(RepriseError, match="the genre model gtzan was changed after installation: install reprise"):
        job.body(run)
    assert list(warehouse.lookup_all(MODELS, ["model_id"])["model_id"]) == []


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
