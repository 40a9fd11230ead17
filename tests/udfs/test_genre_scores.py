"""Genre probabilities from batches of features: equal to the model's predictions for any batch sizes."""

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
from reprise.udfs.genre_scores import MIN_BATCH_ROWS, input_columns, load_genre_model, score_tracks

GENRES = ("Blues", "Été", "нойз", "音楽")
LENGTHS = (25, 1, 0, 10, 3, 40)
"""Number of windows of each track; the track with 0 windows is shorter than one window."""


def train(feature_set: str, seed: int, features: Sequence[str] = ()) -> GenreModel:
    """Train on random numbers. Each test uses another seed: a process keeps loaded models, so equal ones are reused."""
    columns = tuple(features) or FEATURE_SETS[feature_set].columns
    rng = np.random.default_rng(seed)
    rows, codes = rng.standard_normal((80, len(columns))), np.arange(80) % len(GENRES)
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(C=0.01))
    return GenreModel("logistic_regression", columns, feature_set, GENRES, estimator.fit(rows, codes))


def write(model: GenreModel, folder: Path) -> dict[str, str]:
    """Write the model's file; return the arguments of `score_tracks` that identify it."""
    data = dump(model)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / f"{sha256}.skops").write_bytes(data)
    return {"artifact": str(folder / f"{sha256}.skops"), "artifact_sha256": sha256}


def make_audio(lengths: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Make rows of ``audio_genre_features`` of tracks with ``lengths`` windows; some values are unknown."""
    rng = np.random.default_rng(seed)
    parts = []
    for number, length in enumerate(lengths):
        values = rng.standard_normal((length + 1, len(FEATURE_SETS["audio"].columns))).astype(np.float32)
        values[rng.random(values.shape) < 0.02] = np.nan
        part = pd.DataFrame(np.abs(values), columns=list(FEATURE_SETS["audio"].columns))
        part.insert(0, "track_id", f"LB{number:03d}")
        part.insert(1, "window", np.arange(WHOLE_TRACK, length, dtype=np.int32))
        part.insert(2, "length_s", np.float32(3))
        part.loc[part.index[-1], "length_s"] = 1.75  # the last window, or a track shorter than one window
        part.insert(3, "sha256", f"content {number}")
        part.loc[1:, "tempo"] = np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def make_analyses(count: int) -> pd.DataFrame:
    """Make rows of ``msd_genre_features``; some values are unknown, and in one row all."""
    values = np.random.default_rng(1).standard_normal((count, len(FEATURE_SETS["msd"].columns))).astype(np.float32)
    values[::7, ::5] = np.nan
    values[count // 2] = np.nan
    rows = pd.DataFrame(values, columns=list(FEATURE_SETS["msd"].columns))
    rows.insert(0, "track_id", [f"TR{number:06d}" for number in range(count)])
    rows.insert(1, "sha256", [f"content {number}" for number in range(count)])
    return rows


def split(rows: pd.DataFrame, columns: Sequence[str], sizes: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Yield batches of ``sizes`` rows, and a last batch of all other rows."""
    (whole,) = pa.Table.from_pandas(rows[list(columns)], preserve_index=False).combine_chunks().to_batches() or [None]
    start = 0
    for size in (*sizes, len(rows)):
        yield whole.slice(start, size)
        start = min(start + size, len(rows))


def score(model: GenreModel, rows: pd.DataFrame, folder: Path, sizes: Sequence[int] = ()) -> pd.DataFrame:
    named = {**write(model, folder), "model_id": "m", "run_id": "r"}
    return collect(score_tracks(split(rows, input_columns(model), sizes), **named))


def collect(scored: Iterator[tuple[str, pa.RecordBatch]]) -> pd.DataFrame:
    made = list(scored)
    assert {name for name, _ in made} == {GENRE_SCORES.name}
    assert all(batch.schema.equals(arrow_schema(GENRE_SCORES)) for _, batch in made)
    return pa.Table.from_batches([batch for _, batch in made]).to_pandas()


def predict_windows(model: GenreModel, track: pd.DataFrame) -> np.ndarray:
    """Predict one track in a straightforward way: (windows, genres), or (1, genres) for a track without windows."""
    feature_set = FEATURE_SETS[model.feature_set]
    whole, windows = track.iloc[:1], track.iloc[1:]
    used = (windows if len(windows) else whole).assign(tempo=whole["tempo"].item())
    values = used[list(feature_set.columns)].to_numpy(np.float64)
    if not feature_set.by_window:
        values = pool(values, used["length_s"], feature_set.columns)
    return model.predict(pd.DataFrame(values, columns=list(feature_set.columns))[list(model.features)].to_numpy())


def check_rows(scores: pd.DataFrame, tracks: Sequence[str]) -> None:
    """Check keys, sums of probabilities, and ranks."""
    assert scores["track_id"].tolist() == [track for track in tracks for _ in GENRES]
    assert scores["genre"].tolist() == list(GENRES) * len(tracks)
    assert set(scores["model_id"]) | set(scores["run_id"]) == {"m", "r"}
    for _, rows in scores.groupby("track_id"):
        assert abs(rows["probability"].sum() - 1) <= 1e-9
        assert rows["probability"].between(0, 1).all()
        assert sorted(rows["rank"]) == [1, 2, 3, 4]
        assert rows.sort_values("rank")["probability"].is_monotonic_decreasing


@pytest.mark.parametrize("feature_set", ["gtzan", "gtzan_windows", "audio"])
def test_audio_gets_probabilities_of_windows_and_their_mean(feature_set: str, tmp_path: Path) -> None:
    model, rows = train(feature_set, 1), make_audio(LENGTHS)
    scores = score(model, rows, tmp_path)
    check_rows(scores, sorted(rows["track_id"].unique()))
    for (track_id, track), length in zip(rows.groupby("track_id"), LENGTHS, strict=True):
        expected = predict_windows(model, track)
        found = scores[scores["track_id"] == track_id]
        np.testing.assert_allclose(found["probability"], expected.mean(axis=0), rtol=1e-9)
        assert set(found["sha256"]) == {track["sha256"].iloc[0]}
        if length:
            np.testing.assert_allclose(np.stack(found["window_probabilities"].tolist()).T, expected, rtol=1e-6)
        else:
            assert found["window_probabilities"].isna().all()


def test_window_is_predicted_with_the_tempo_of_its_track(tmp_path: Path) -> None:
    """Tracks that differ only in their tempo differ in every window."""
    model, rows = train("gtzan_windows", 2), make_audio((4,))
    other = rows.assign(track_id="LB999")
    other.loc[other["window"] == WHOLE_TRACK, "tempo"] = 9.0
    scores = score(model, pd.concat([rows, other]), tmp_path)
    one, two = (np.stack(track["window_probabilities"].tolist()) for _, track in scores.groupby("track_id"))
    assert (one != two).all()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Arguments for a stored model of clips."""
    return {**write(train("gtzan", 3), tmp_path_factory.mktemp("stored")), "model_id": "m", "run_id": "r"}


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    sizes=st.lists(st.integers(0, 12), max_size=8),
    min_rows=st.sampled_from([1, 5, MIN_BATCH_ROWS]),
)
def test_scores_do_not_depend_on_batches(
    lengths: list[int], sizes: list[int], min_rows: int, stored: dict[str, str]
) -> None:
    rows = make_audio(lengths)
    columns = input_columns(load_genre_model(stored["artifact"], stored["artifact_sha256"]))
    whole = collect(score_tracks(split(rows, columns, ()), **stored))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reprise.udfs.genre_scores.MIN_BATCH_ROWS", min_rows)
        parts = collect(score_tracks(split(rows, columns, sizes), **stored))
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-9)


@pytest.mark.parametrize("feature_set", ["msd", "msd_scalars", "msd_segments"])
def test_scores_of_analyses_equal_the_predictions(feature_set: str, tmp_path: Path) -> None:
    model, rows = train(feature_set, 4), make_analyses(60)
    scores = score(model, rows, tmp_path, (1, 0, 25))
    check_rows(scores, rows["track_id"].tolist())
    expected = model.predict(rows[list(model.features)].to_numpy())
    np.testing.assert_allclose(scores["probability"], expected.reshape(-1), rtol=1e-9)
    assert scores["window_probabilities"].isna().all()


def test_model_of_some_columns_in_another_order(tmp_path: Path) -> None:
    features = ("mfcc2_var", "tempo", "rms_mean")
    model, rows = train("gtzan", 5, features), make_audio((3,))
    scores = score(model, rows, tmp_path)
    expected = predict_windows(model, rows)
    np.testing.assert_allclose(scores["probability"], expected.mean(axis=0), rtol=1e-9)


def test_equally_likely_genres_keep_their_order(tmp_path: Path) -> None:
    columns = FEATURE_SETS["msd"].columns
    flat = LogisticRegression(C=1e-12).fit(np.zeros((4, len(columns))), range(4))
    model = GenreModel("logistic_regression", columns, "msd", GENRES, make_pipeline(SimpleImputer(), flat))
    model.estimator.steps[0][1].fit(np.zeros((4, len(columns))))
    scores = score(model, make_analyses(3), tmp_path)
    assert set(scores["probability"]) == {0.25}
    assert scores["rank"].tolist() == [1, 2, 3, 4] * 3


def test_no_rows_give_no_rows(tmp_path: Path) -> None:
    named = {**write(train("msd", 6), tmp_path), "model_id": "m", "run_id": "r"}
    empty = pa.RecordBatch.from_pandas(make_analyses(1)[:0], preserve_index=False)
    assert list(score_tracks([], **named)) == []
    assert list(score_tracks([empty, empty], **named)) == []


def test_memory_is_bounded(tmp_path: Path) -> None:
    """A full batch is scored before more rows are read."""
    named = {**write(train("msd", 7), tmp_path), "model_id": "m", "run_id": "r"}
    rows = pa.RecordBatch.from_pandas(make_analyses(1000), preserve_index=False)
    read: list[int] = []

    def feed() -> Iterator[pa.RecordBatch]:
        for number in range(50):
            read.append(number)
            ids = pa.array([f"TR{number:03d}{row:04d}" for row in range(rows.num_rows)])
            yield rows.set_column(0, "track_id", ids)

    n_scored = 0
    for _, batch in score_tracks(feed(), **named):
        n_scored += batch.num_rows // len(GENRES)
        assert n_scored <= len(read) * 1000 <= n_scored + MIN_BATCH_ROWS + 1000
        assert batch.num_rows // len(GENRES) <= MIN_BATCH_ROWS + 1000
    assert n_scored == 50_000


def test_default_model_of_the_package() -> None:
    rows = make_audio((3,))
    model = load_genre_model(None, DEFAULT_SHA256)
    assert model.genres == load_default().genres
    named: dict[str, Any] = {"artifact": None, "artifact_sha256": DEFAULT_SHA256, "model_id": "own", "run_id": "r"}
    ((_, scores),) = score_tracks(split(rows, input_columns(model), ()), **named)
    assert scores.column("genre").to_pylist() == list(model.genres)
    with pytest.raises(InputError, match="install the same version") as caught:
        load_genre_model(None, "0" * 64)
    assert caught.value.kind == "checksum"


def test_replaced_file_is_rejected(tmp_path: Path) -> None:
    named = write(train("msd", 8), tmp_path)
    Path(named["artifact"]).write_bytes(dump(train("msd", 9)))
    with pytest.raises(InputError, match="train the model again") as caught:
        load_genre_model(named["artifact"], named["artifact_sha256"])
    assert caught.value.kind == "checksum"


@pytest.mark.parametrize("fault", ["feature_set", "features"])
def test_model_with_unknown_features_is_rejected(fault: str, tmp_path: Path) -> None:
    model = train("msd", 10, ("tempo", "loudness" if fault == "feature_set" else "louder"))
    if fault == "feature_set":
        model = GenreModel(model.learner, model.features, "future", model.genres, model.estimator)
    with pytest.raises(InputError, match="needs features that this version of reprise does not have") as caught:
        load_genre_model(**{name.removeprefix("artifact_"): value for name, value in write(model, tmp_path).items()})
    assert caught.value.kind == "not_a_model"
