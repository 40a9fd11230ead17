"""Batches of features into probabilities of genres: what the model says, whatever the batches."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reprise.lib.errors import InputError
from reprise.lib.genres.default_model import DEFAULT_SHA256, load_default
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK, pool
from reprise.lib.genres.models import GenreModel, dump
from reprise.lib.tables import GENRE_SCORES
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.genre_scores import ROWS_AT_ONCE, columns_of, load_genre_model, score_tracks

GENRES = ("Blues", "Été", "нойз", "音楽")
LENGTHS = (25, 1, 0, 10, 3, 40)
"""Windows of the tracks; that without any is too short for one."""


def train(feature_set: str, seed: int, features: Sequence[str] = ()) -> GenreModel:
    """A model of random numbers, another one for every seed: workers keep what they have loaded."""
    columns = tuple(features) or FEATURE_SETS[feature_set].columns
    rng = np.random.default_rng(seed)
    rows, codes = rng.standard_normal((80, len(columns))), np.arange(80) % len(GENRES)
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.01))
    return GenreModel("logistic_regression", columns, feature_set, GENRES, estimator.fit(rows, codes))


def keep(model: GenreModel, folder: Path) -> dict[str, str]:
    """Write the model's file; gives the arguments that name it."""
    data = dump(model)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / f"{sha256}.skops").write_bytes(data)
    return {"artifact": str(folder / f"{sha256}.skops"), "artifact_sha256": sha256}


def make_audio(lengths: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Rows of ``audio_genre_features`` of tracks with so many windows, some values unknown."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, length in enumerate(lengths):
        values = rng.standard_normal((length + 1, len(FEATURE_SETS["audio"].columns))).astype(np.float32)
        values[rng.random(values.shape) < 0.02] = np.nan
        part = pd.DataFrame(np.abs(values), columns=list(FEATURE_SETS["audio"].columns))
        part.insert(0, "track_id", f"LB{number:03d}")
        part.insert(1, "window", np.arange(WHOLE_TRACK, length, dtype=np.int32))
        part.insert(2, "length_s", np.float32(3))
        part.loc[part.index[-1], "length_s"] = 1.75  # the last window, or a track too short for one
        part.insert(3, "sha256", f"content {number}")
        part.loc[1:, "tempo"] = np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def make_analyses(count: int) -> pd.DataFrame:
    """Rows of ``msd_genre_features``, some values unknown and one row without any."""
    values = np.random.default_rng(1).standard_normal((count, len(FEATURE_SETS["msd"].columns))).astype(np.float32)
    values[::7, ::5] = np.nan
    values[count // 2] = np.nan
    rows = pd.DataFrame(values, columns=list(FEATURE_SETS["msd"].columns))
    rows.insert(0, "track_id", [f"TR{number:06d}" for number in range(count)])
    rows.insert(1, "sha256", [f"content {number}" for number in range(count)])
    return rows


def cut(rows: pd.DataFrame, columns: Sequence[str], sizes: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Batches of so many rows, the last one of what is left."""
    (whole,) = pa.Table.from_pandas(rows[list(columns)], preserve_index=False).combine_chunks().to_batches() or [None]
    start = 0
    for size in (*sizes, len(rows)):
        yield whole.slice(start, size)
        start = min(start + size, len(rows))


def score(model: GenreModel, rows: pd.DataFrame, folder: Path, sizes: Sequence[int] = ()) -> pd.DataFrame:
    named = {**keep(model, folder), "model_id": "m", "run_id": "r"}
    return gather(score_tracks(cut(rows, columns_of(model), sizes), **named))


def gather(scored: Iterator[tuple[str, pa.RecordBatch]]) -> pd.DataFrame:
    made = list(scored)
    assert {name for name, _ in made} == {GENRE_SCORES.name}
    assert all(batch.schema.equals(arrow_schema(GENRE_SCORES)) for _, batch in made)
    return pa.Table.from_batches([batch for _, batch in made]).to_pandas()


def ask_about_windows(model: GenreModel, track: pd.DataFrame) -> np.ndarray:
    """Probabilities (windows, genres) of one track, or of all of it where it has no window: the plain way."""
    known = FEATURE_SETS[model.feature_set]
    whole, windows = track.iloc[:1], track.iloc[1:]
    asked = (windows if len(windows) else whole).assign(tempo=whole["tempo"].item())
    values = asked[list(known.columns)].to_numpy(np.float64)
    if not known.by_window:
        values = pool(values, asked["length_s"], known.columns)
    return model.predict(pd.DataFrame(values, columns=list(known.columns))[list(model.features)].to_numpy())


def check_rows(scores: pd.DataFrame, tracks: Sequence[str]) -> None:
    """Keys, sums and ranks."""
    assert scores["track_id"].tolist() == [track for track in tracks for _ in GENRES]
    assert scores["genre"].tolist() == list(GENRES) * len(tracks)
    assert set(scores["model_id"]) | set(scores["run_id"]) == {"m", "r"}
    for _, some in scores.groupby("track_id"):
        assert abs(some["probability"].sum() - 1) <= 1e-9
        assert some["probability"].between(0, 1).all()
        assert sorted(some["rank"]) == [1, 2, 3, 4]
        assert some.sort_values("rank")["probability"].is_monotonic_decreasing


@pytest.mark.parametrize("feature_set", ["gtzan", "gtzan_windows", "audio"])
def test_audio_is_scored_by_window_and_as_their_mean(feature_set: str, tmp_path: Path) -> None:
    model, rows = train(feature_set, 1), make_audio(LENGTHS)
    scores = score(model, rows, tmp_path)
    check_rows(scores, sorted(rows["track_id"].unique()))
    for (track_id, track), length in zip(rows.groupby("track_id"), LENGTHS, strict=True):
        expected = ask_about_windows(model, track)
        found = scores[scores["track_id"] == track_id]
        np.testing.assert_allclose(found["probability"], expected.mean(axis=0), rtol=1e-9)
        assert set(found["sha256"]) == {track["sha256"].iloc[0]}
        if length:
            np.testing.assert_allclose(np.stack(found["window_probabilities"]).T, expected, rtol=1e-6)
        else:
            assert found["window_probabilities"].isna().all()


def test_a_window_is_asked_about_with_the_tempo_of_its_track(tmp_path: Path) -> None:
    """Tracks that differ in their tempo alone differ in every window."""
    model, rows = train("gtzan_windows", 2), make_audio((4,))
    other = rows.assign(track_id="LB999")
    other.loc[other["window"] == WHOLE_TRACK, "tempo"] = 9.0
    scores = score(model, pd.concat([rows, other]), tmp_path)
    one, two = (np.stack(some["window_probabilities"]) for _, some in scores.groupby("track_id"))
    assert (one != two).all()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model of clips, in its file."""
    return {**keep(train("gtzan", 3), tmp_path_factory.mktemp("kept")), "model_id": "m", "run_id": "r"}


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    sizes=st.lists(st.integers(0, 12), max_size=8),
    least=st.sampled_from([1, 5, ROWS_AT_ONCE]),
)
def test_batches_make_no_difference(lengths: list[int], sizes: list[int], least: int, kept: dict[str, str]) -> None:
    rows = make_audio(lengths)
    columns = columns_of(load_genre_model(kept["artifact"], kept["artifact_sha256"]))
    whole = gather(score_tracks(cut(rows, columns, ()), **kept))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reprise.udfs.genre_scores.ROWS_AT_ONCE", least)
        parts = gather(score_tracks(cut(rows, columns, sizes), **kept))
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-9)


@pytest.mark.parametrize("feature_set", ["msd", "msd_scalars", "msd_segments"])
def test_analyses_are_scored_as_the_model_says(feature_set: str, tmp_path: Path) -> None:
    model, rows = train(feature_set, 4), make_analyses(60)
    scores = score(model, rows, tmp_path, (1, 0, 25))
    check_rows(scores, rows["track_id"].tolist())
    expected = model.predict(rows[list(model.features)].to_numpy())
    np.testing.assert_allclose(scores["probability"], expected.reshape(-1), rtol=1e-9)
    assert scores["window_probabilities"].isna().all()


def test_a_model_of_some_columns_in_an_order_of_its_own(tmp_path: Path) -> None:
    features = ("mfcc2_var", "tempo", "rms_mean")
    model, rows = train("gtzan", 5, features), make_audio((3,))
    scores = score(model, rows, tmp_path)
    expected = ask_about_windows(model, rows)
    np.testing.assert_allclose(scores["probability"], expected.mean(axis=0), rtol=1e-9)


def test_genres_that_are_as_likely_stand_in_their_order(tmp_path: Path) -> None:
    columns = FEATURE_SETS["msd"].columns
    flat = LogisticRegression(C=1e-12).fit(np.zeros((4, len(columns))), range(4))
    model = GenreModel("logistic_regression", columns, "msd", GENRES, make_pipeline(SimpleImputer(), flat))
    model.estimator.steps[0][1].fit(np.zeros((4, len(columns))))
    scores = score(model, make_analyses(3), tmp_path)
    assert set(scores["probability"]) == {0.25}
    assert scores["rank"].tolist() == [1, 2, 3, 4] * 3


def test_no_rows_give_no_rows(tmp_path: Path) -> None:
    named = {**keep(train("msd", 6), tmp_path), "model_id": "m", "run_id": "r"}
    empty = pa.RecordBatch.from_pandas(make_analyses(1)[:0], preserve_index=False)
    assert list(score_tracks([], **named)) == []
    assert list(score_tracks([empty, empty], **named)) == []


def test_rows_are_held_no_longer_than_needed(tmp_path: Path) -> None:
    """A million rows go through in bounded memory: what is full is given before more is read."""
    named = {**keep(train("msd", 7), tmp_path), "model_id": "m", "run_id": "r"}
    rows = pa.RecordBatch.from_pandas(make_analyses(1000), preserve_index=False)
    taken: list[int] = []

    def feed() -> Iterator[pa.RecordBatch]:
        for number in range(50):
            taken.append(number)
            ids = pa.array([f"TR{number:03d}{row:04d}" for row in range(rows.num_rows)])
            yield rows.set_column(0, "track_id", ids)

    asked = 0
    for _, batch in score_tracks(feed(), **named):
        asked += batch.num_rows // len(GENRES)
        assert asked <= len(taken) * 1000 <= asked + ROWS_AT_ONCE + 1000
        assert batch.num_rows // len(GENRES) <= ROWS_AT_ONCE + 1000
    assert asked == 50_000


def test_the_package_has_a_model_of_its_own() -> None:
    rows = make_audio((3,))
    model = load_genre_model(None, DEFAULT_SHA256)
    assert model.genres == load_default().genres
    named: dict[str, Any] = {"artifact": None, "artifact_sha256": DEFAULT_SHA256, "model_id": "own", "run_id": "r"}
    ((_, scores),) = score_tracks(cut(rows, columns_of(model), ()), **named)
    assert scores.column("genre").to_pylist() == list(model.genres)
    with pytest.raises(InputError, match="install one version") as caught:
        load_genre_model(None, "0" * 64)
    assert caught.value.kind == "checksum"


def test_a_file_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    named = keep(train("msd", 8), tmp_path)
    Path(named["artifact"]).write_bytes(dump(train("msd", 9)))
    with pytest.raises(InputError, match="train the model again") as caught:
        load_genre_model(named["artifact"], named["artifact_sha256"])
    assert caught.value.kind == "checksum"


@pytest.mark.parametrize("fault", ["feature_set", "features"])
def test_a_model_of_features_that_are_not_known_is_refused(fault: str, tmp_path: Path) -> None:
    model = train("msd", 10, ("tempo", "loudness" if fault == "feature_set" else "louder"))
    if fault == "feature_set":
        model = GenreModel(model.learner, model.features, "future", model.genres, model.estimator)
    with pytest.raises(InputError, match="reads features that this version has not") as caught:
        load_genre_model(**{name.removeprefix("artifact_"): value for name, value in keep(model, tmp_path).items()})
    assert caught.value.kind == "not_a_model"
