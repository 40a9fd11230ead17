"""Genre probabilities from batches of features: equal to the model's predictions for any batch sizes.

Outside the domain of a model, they are averaged with a guess, and the model abstains.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
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
from reprise.lib.genres.default_models import list_default_models, read_default_model
from reprise.lib.genres.domains import Domain, fit_domain
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK, FeatureSet, pool, pool_tags
from reprise.lib.genres.models import GenreModel, dump
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MSD_GENRE_FEATURES, TRACK_TAGS
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.genre_scores import MIN_BATCH_ROWS, input_columns, load_genre_model, pool_tracks, score_tracks

GENRES = ("Blues", "Été", "нойз", "音楽")
LENGTHS = (25, 1, 0, 10, 3, 40)
"""Number of windows of each track; the track with 0 windows is shorter than one window."""


def train(feature_set: str, seed: int, features: Sequence[str] = (), **more: Any) -> GenreModel:
    """Train on random numbers. Each test uses another seed: a process keeps loaded models, so equal ones are reused."""
    columns = tuple(features) or FEATURE_SETS[feature_set].features
    rng = np.random.default_rng(seed)
    rows, codes = rng.standard_normal((80, len(columns))), np.arange(80) % len(GENRES)
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    estimator = make_pipeline(fill, StandardScaler(), LogisticRegression(C=0.01))
    return GenreModel("logistic_regression", columns, feature_set, GENRES, estimator.fit(rows, codes), **more)


def write(model: GenreModel, folder: Path) -> dict[str, str]:
    """Write the model's file; return the arguments of `score_tracks` that identify it."""
    data = dump(model)
    sha256 = hashlib.sha256(data).hexdigest()
    (folder / f"{sha256}.safetensors").write_bytes(data)
    return {"artifact": str(folder / f"{sha256}.safetensors"), "artifact_sha256": sha256}


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
        part.insert(4, "source", AUDIO_GENRE_FEATURES.name)
        part.loc[1:, "tempo"] = np.nan
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def make_tags(lengths: Sequence[int], seed: int = 0) -> pd.DataFrame:
    """Make rows of ``track_tags`` of tracks with ``lengths`` windows, and of ``audio_genre_features`` with others.

    The windows of both differ in their number, as they differ in their length.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for number, length in enumerate(lengths):
        values = rng.random((length + 1, len(FEATURE_SETS["track_tags"].columns))).astype(np.float32)
        part = pd.DataFrame(values, columns=list(FEATURE_SETS["track_tags"].columns))
        part.insert(0, "track_id", f"LB{number:03d}")
        part.insert(1, "window", np.arange(WHOLE_TRACK, length, dtype=np.int32))
        part.insert(2, "length_s", np.float32(2.992))
        part.insert(3, "sha256", f"content {number}")
        part.insert(4, "source", TRACK_TAGS.name)
        parts.append(part)
    audio = make_audio([max(length - 2, 0) for length in lengths], seed)
    return order(pd.concat([*parts, audio], ignore_index=True))


def order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["track_id", "source", "window"], ignore_index=True)


def make_analyses(count: int) -> pd.DataFrame:
    """Make rows of ``msd_genre_features``; some values are unknown, and in one row all."""
    values = np.random.default_rng(1).standard_normal((count, len(FEATURE_SETS["msd"].columns))).astype(np.float32)
    values[::7, ::5] = np.nan
    values[count // 2] = np.nan
    rows = pd.DataFrame(values, columns=list(FEATURE_SETS["msd"].columns))
    rows.insert(0, "track_id", [f"TR{number:06d}" for number in range(count)])
    rows.insert(1, "sha256", [f"content {number}" for number in range(count)])
    rows.insert(2, "source", MSD_GENRE_FEATURES.name)
    return rows


def split(rows: pd.DataFrame, columns: Sequence[str], sizes: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Yield batches of ``sizes`` rows, and a last batch of all other rows."""
    (whole,) = pa.Table.from_pandas(rows[list(columns)], preserve_index=False).combine_chunks().to_batches() or [None]
    start = 0
    for size in (*sizes, len(rows)):
        yield whole.slice(start, size)
        start = min(start + size, len(rows))


def columns_of(model: GenreModel) -> list[str]:
    """Return the columns that the batches for a model must have."""
    feature_set = FEATURE_SETS[model.feature_set]
    sets = (feature_set, feature_set.domain_set if model.domain else feature_set)
    return list(dict.fromkeys(["source", *(name for one in sets for name in input_columns(one))]))


def score(model: GenreModel, rows: pd.DataFrame, folder: Path, sizes: Sequence[int] = ()) -> pd.DataFrame:
    named = {**write(model, folder), "model_id": "m", "run_id": "r"}
    return collect(score_tracks(split(rows, columns_of(model), sizes), **named))


def collect(scored: Iterator[tuple[str, pa.RecordBatch]]) -> pd.DataFrame:
    made = list(scored)
    assert {name for name, _ in made} == {GENRE_SCORES.name}
    assert all(batch.schema.equals(arrow_schema(GENRE_SCORES)) for _, batch in made)
    return pa.Table.from_batches([batch for _, batch in made]).to_pandas()


def find_clips(feature_set: FeatureSet, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the features of the clips of one track in a straightforward way: one row, if it has no windows."""
    track = rows[rows["source"] == feature_set.table.name]
    if "window" not in feature_set.table.key:
        return track[list(feature_set.features)].astype(np.float64)
    whole, windows = track[track["window"] == WHOLE_TRACK], track[track["window"] != WHOLE_TRACK]
    used = windows if len(windows) else whole
    if "tempo" in feature_set.columns:
        used = used.assign(tempo=whole["tempo"].item())
    values = used[list(feature_set.columns)].to_numpy(np.float64)
    if feature_set.table is TRACK_TAGS:
        values = pool_tags(values)
    elif not feature_set.by_window:
        values = pool(values, used["length_s"], feature_set.columns)
    return pd.DataFrame(values, columns=list(feature_set.features))


def predict_windows(model: GenreModel, track: pd.DataFrame) -> np.ndarray:
    """Predict one track in a straightforward way: (windows, genres), or (1, genres) for a track without windows."""
    clips = find_clips(FEATURE_SETS[model.feature_set], track)
    return model.predict(clips[list(model.features)].to_numpy())


def measure_track(model: GenreModel, track: pd.DataFrame) -> float:
    """Measure in a straightforward way how far one track lies outside; NaN if this cannot be told."""
    if model.domain is None:
        return np.nan
    domain_set = FEATURE_SETS[model.feature_set].domain_set
    if not (track["source"] == domain_set.table.name).any():
        return np.nan
    clips = find_clips(domain_set, track)[list(model.domain.features)].to_numpy()
    return float(np.mean([model.domain.measure(clip[None])[0] for clip in clips]))


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


@pytest.mark.parametrize("feature_set", ["gtzan", "gtzan_windows", "audio", "track_tags"])
def test_audio_gets_probabilities_of_windows_and_their_mean(feature_set: str, tmp_path: Path) -> None:
    model = train(feature_set, 1)
    rows = make_tags(LENGTHS) if feature_set == "track_tags" else make_audio(LENGTHS)
    scores = score(model, rows, tmp_path)
    check_rows(scores, sorted(rows["track_id"].unique()))
    assert scores["outside"].isna().all()
    assert not scores["abstains"].any()
    for (track_id, track), length in zip(rows.groupby("track_id"), LENGTHS, strict=True):
        expected = predict_windows(model, track)
        assert len(expected) == max(length, 1)
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


@cache
def describe(feature_set: str, features: Sequence[str] = ()) -> Domain:
    """Describe the domain of a model by clips of many tracks."""
    domain_set = FEATURE_SETS[feature_set].domain_set
    names = tuple(features) or domain_set.features
    if "window" in domain_set.table.key:
        tracks = [track for _, track in make_audio([12] * 40, 99).groupby("track_id")]
    else:
        tracks = [track for _, track in make_analyses(200).groupby("track_id")]
    clips = [find_clips(domain_set, track)[list(names)].to_numpy() for track in tracks]
    songs = np.repeat([f"song {number}" for number in range(len(clips))], [len(one) for one in clips])
    return fit_domain(np.concatenate(clips), songs.astype(object), names, seed=0)


def make_strange(feature_set: str) -> pd.DataFrame:
    """Make rows of tracks inside the domain, of one far outside, and of one without a known feature of the domain."""
    if feature_set in ("gtzan", "gtzan_windows", "audio"):
        rows = make_audio([12, 30, 0, 12, 12], 98)
    elif feature_set == "track_tags":
        rows = make_tags([14, 30, 3, 14, 14], 98)
    else:
        rows = make_analyses(20)
    tracks = rows["track_id"].unique()
    domain_set = FEATURE_SETS[feature_set].domain_set
    columns, described = list(domain_set.columns), rows["source"] == domain_set.table.name
    rows.loc[described & (rows["track_id"] == tracks[3]), columns] *= 40
    rows.loc[described & (rows["track_id"] == tracks[4]), columns] = np.nan
    return rows


def check_answers(model: GenreModel, rows: pd.DataFrame, scores: pd.DataFrame) -> dict[str, float]:
    """Check the scores of each track against the plain loops. Return how far the tracks lie outside."""
    check_rows(scores, rows["track_id"].unique().tolist())
    outside = {}
    for track_id, track in rows.groupby("track_id"):
        found = scores[scores["track_id"] == track_id]
        predicted = predict_windows(model, track)
        outside[str(track_id)] = measure_track(model, track)
        is_inside = model.domain is None or outside[str(track_id)] <= 1
        expected = predicted.mean(axis=0)
        abstains = not is_inside or expected.max() < model.min_probability
        if not is_inside:
            expected = (expected + 1 / len(GENRES)) / 2
        np.testing.assert_allclose(found["probability"], expected, rtol=1e-6)
        np.testing.assert_allclose(found["outside"], [outside[str(track_id)]] * len(GENRES), rtol=1e-6)
        assert found["abstains"].tolist() == [abstains] * len(GENRES)
        if found["window_probabilities"].notna().all():  # these are never averaged with a guess
            windows = np.stack(found["window_probabilities"].tolist()).T
            np.testing.assert_allclose(windows, predicted, rtol=1e-5, atol=1e-30)
    return outside


@pytest.mark.parametrize("feature_set", ["gtzan", "gtzan_windows", "track_tags", "msd_scalars"])
def test_outside_the_domain_a_guess_is_mixed_in(feature_set: str, tmp_path: Path) -> None:
    model, rows = train(feature_set, 11, domain=describe(feature_set)), make_strange(feature_set)
    outside = check_answers(model, rows, score(model, rows, tmp_path))
    inside = [value <= 1 for value in outside.values()]
    assert inside[:5] == [True, True, inside[2], False, False]
    tracks = list(outside)
    assert outside[tracks[3]] > 1
    assert np.isnan(outside[tracks[4]])


def test_domain_of_other_features_than_those_of_the_model(tmp_path: Path) -> None:
    """The domain has some features in an order of its own."""
    domain = describe("gtzan", ("rms_var", "tempo", "mfcc1_mean", "mfcc1_var"))
    model, rows = train("gtzan", 12, ("mfcc2_var", "tempo", "rms_mean"), domain=domain), make_strange("gtzan")
    outside = list(check_answers(model, rows, score(model, rows, tmp_path)).values())
    assert outside[0] <= 1 < outside[3]
    assert np.isnan(outside[4])


def test_clips_are_measured_and_then_averaged(tmp_path: Path) -> None:
    """A track of which one part is usual and another strange lies between them."""
    rows = make_audio([40], 97)
    rows.loc[rows["window"] >= 20, list(FEATURE_SETS["gtzan"].columns)] *= 3
    model = train("gtzan", 13, domain=describe("gtzan"))
    assert model.domain is not None
    clips = find_clips(FEATURE_SETS["gtzan"], rows).to_numpy()
    measured = model.domain.measure(clips)
    assert measured[:10].max() < measured[-10:].min()
    (outside,) = check_answers(model, rows, score(model, rows, tmp_path)).values()
    assert outside == pytest.approx(measured.mean())
    assert abs(outside - model.domain.measure(clips.mean(axis=0)[None])[0]) > 0.01


def test_domain_with_music_of_another_kind(tmp_path: Path) -> None:
    """Tracks that are as near as others, but of the other kind, lie outside."""
    columns, rows = list(FEATURE_SETS["msd_scalars"].columns), make_analyses(150)
    own = rows[columns].fillna(0)
    songs = rows["track_id"].to_numpy(dtype=object)
    # the same rows, all shifted in one direction
    other = own + 1.0
    domain = fit_domain(own.to_numpy(), songs, columns, seed=0, other=other.to_numpy(), other_groups=songs)
    rows[columns] = pd.concat([own[:75], other[75:]]).astype(np.float32)
    assert (replace(domain, other=None).measure(rows[columns].to_numpy())[75:] > 1).mean() < 0.5
    model = train("msd_scalars", 14, domain=domain)
    outside = np.array(list(check_answers(model, rows, score(model, rows, tmp_path)).values()))
    assert (outside[:75] > 1).mean() < 0.1
    assert (outside[75:] > 1).mean() > 0.9


@pytest.mark.parametrize("with_domain", [False, True])
def test_model_abstains_if_no_genre_is_likely_enough(with_domain: bool, tmp_path: Path) -> None:
    rows = make_strange("gtzan")
    model = train("gtzan", 15, domain=describe("gtzan") if with_domain else None)
    one, other = (
        predict_windows(model, rows[rows["track_id"] == name]).mean(axis=0).max() for name in ("LB000", "LB001")
    )
    model = replace(model, min_probability=float(np.mean([one, other])))
    scores = score(model, rows, tmp_path)
    outside = check_answers(model, rows, scores)
    abstains = scores.groupby("track_id")["abstains"].first()
    assert abstains[["LB000", "LB001"]].tolist() == [bool(one < other), bool(other < one)]
    assert sorted(abstains[["LB000", "LB001"]]) == [False, True]
    if with_domain:
        assert max(outside["LB000"], outside["LB001"]) <= 1
        assert abstains[["LB003", "LB004"]].all()
    else:
        assert scores["outside"].isna().all()


def test_tagged_track_without_features_of_the_domain_gets_no_answer(tmp_path: Path) -> None:
    rows = make_tags([12, 12, 3], 96)
    missing = (rows["track_id"] == "LB001") & (rows["source"] == AUDIO_GENRE_FEATURES.name)
    model = train("track_tags", 16, domain=describe("track_tags"))
    outside = check_answers(model, rows[~missing], score(model, rows[~missing], tmp_path))
    assert outside["LB000"] <= 1
    assert np.isnan(outside["LB001"])


def test_tagged_tracks_of_which_none_has_features_of_the_domain_get_no_answer(tmp_path: Path) -> None:
    rows = make_tags([12, 3], 95)
    rows = rows[rows["source"] == TRACK_TAGS.name]
    model = train("track_tags", 17, domain=describe("track_tags"))
    outside = check_answers(model, rows, score(model, rows, tmp_path))
    assert np.isnan(list(outside.values())).all()


def test_rows_of_other_tables_do_not_count(tmp_path: Path) -> None:
    """A model of features of audio ignores rows of tags, and a model of tags without a domain ignores features."""
    rows = make_tags([12, 3, 0], 94)
    for feature_set, seed in (("gtzan", 18), ("track_tags", 19)):
        model = train(feature_set, seed)
        own = rows[rows["source"] == FEATURE_SETS[feature_set].table.name]
        pd.testing.assert_frame_equal(score(model, rows, tmp_path), score(model, own, tmp_path))


@pytest.fixture(scope="module", params=["gtzan", "track_tags"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Arguments for a stored model of clips, with a domain."""
    model = train(request.param, 3, domain=describe(request.param), min_probability=0.26)
    return {**write(model, tmp_path_factory.mktemp("stored")), "model_id": "m", "run_id": "r"}


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    sizes=st.lists(st.integers(0, 12), max_size=8),
    min_rows=st.sampled_from([1, 5, MIN_BATCH_ROWS]),
)
def test_scores_do_not_depend_on_batches(
    lengths: list[int], sizes: list[int], min_rows: int, stored: dict[str, str]
) -> None:
    model = load_genre_model(stored["artifact"], stored["artifact_sha256"])
    rows, columns = (make_tags if model.feature_set == "track_tags" else make_audio)(lengths), columns_of(model)
    whole = collect(score_tracks(split(rows, columns, ()), **stored))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reprise.udfs.genre_scores.MIN_BATCH_ROWS", min_rows)
        parts = collect(score_tracks(split(rows, columns, sizes), **stored))
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 14), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 12), max_size=8),
    min_rows=st.sampled_from([1, 5, MIN_BATCH_ROWS]),
)
def test_tags_of_whole_tracks_are_pooled_over_all_windows(lengths: list[int], sizes: list[int], min_rows: int) -> None:
    tags, rows = FEATURE_SETS["track_tags"], make_tags(lengths)
    windows = rows[(rows["source"] == TRACK_TAGS.name) & (rows["window"] != WHOLE_TRACK)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reprise.udfs.genre_scores.MIN_BATCH_ROWS", min_rows)
        made = list(pool_tracks(split(windows, ["track_id", "window", *tags.columns], sizes)))
    pooled = pa.Table.from_batches(made).to_pandas()
    assert pooled.columns.tolist() == ["track_id", *tags.features]
    assert pooled["track_id"].tolist() == sorted(windows["track_id"].unique())
    for (_, track), (_, found) in zip(windows.groupby("track_id"), pooled.iterrows(), strict=True):
        values = track[list(tags.columns)].to_numpy(np.float64)
        logits = np.log(values / (1 - values))
        expected = np.concatenate([logits.mean(axis=0), logits.std(axis=0), values.mean(axis=0)])
        np.testing.assert_allclose(found[1:].astype(float), expected, rtol=1e-5, atol=1e-6)


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
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    model = GenreModel("logistic_regression", columns, "msd", GENRES, make_pipeline(fill, flat))
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


@pytest.mark.parametrize("name", ["track_tags", "gtzan"])
def test_default_models_of_the_package(name: str, tmp_path: Path) -> None:
    sha256, data, rows = list_default_models()[name].sha256, read_default_model(name), make_tags((12, 3))
    (tmp_path / "default").write_bytes(data)
    named = {"artifact": str(tmp_path / "default"), "artifact_sha256": sha256, "model_id": "own", "run_id": "r"}
    model = load_genre_model(named["artifact"], sha256)
    assert model.domain is not None
    scores = collect(score_tracks(split(rows, columns_of(model), ()), **named))
    assert scores["genre"].tolist() == list(model.genres) * 2
    # random numbers are not music
    assert (scores["outside"] > 1).all()
    assert scores["abstains"].all()
    for track_id, track in rows.groupby("track_id"):
        found = scores[scores["track_id"] == track_id]
        predicted = predict_windows(model, track).mean(axis=0)
        np.testing.assert_allclose(found["probability"], (predicted + 0.1) / 2, rtol=1e-6)
        np.testing.assert_allclose(found["outside"], measure_track(model, track), rtol=1e-6)


@pytest.mark.parametrize("data", [b"PK", b"PK\3\4" + bytes(100)])
def test_model_of_the_former_format_names_the_command(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(data)
    with pytest.raises(InputError, match="train-genre --reproduce ID --force") as caught:
        load_genre_model(str(tmp_path / "model.skops"), hashlib.sha256(data).hexdigest())
    assert caught.value.kind == "not_a_model"


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone is missing: train the model again") as caught:
        load_genre_model(str(tmp_path / "gone"), "0" * 64)
    assert caught.value.kind == "checksum"


def test_replaced_file_is_rejected(tmp_path: Path) -> None:
    named = write(train("msd", 8), tmp_path)
    Path(named["artifact"]).write_bytes(dump(train("msd", 9)))
    with pytest.raises(InputError, match="train the model again") as caught:
        load_genre_model(named["artifact"], named["artifact_sha256"])
    assert caught.value.kind == "checksum"


UNKNOWN: dict[str, Callable[[GenreModel], GenreModel]] = {
    "feature_set": lambda model: replace(model, feature_set="future"),
    "features": lambda model: replace(model, features=("tempo", "louder")),
    "features of another set": lambda model: replace(model, feature_set="gtzan", domain=describe("gtzan")),
    "domain": lambda model: replace(model, domain=describe("gtzan")),
    "domain of tags": lambda model: replace(
        model,
        feature_set="track_tags",
        features=FEATURE_SETS["track_tags"].features[:2],
        domain=replace(describe("gtzan", ("tempo", "rms_var")), features=FEATURE_SETS["track_tags"].features[:2]),
    ),
}


@pytest.mark.parametrize("fault", UNKNOWN)
def test_model_with_unknown_features_is_rejected(fault: str, tmp_path: Path) -> None:
    model = UNKNOWN[fault](train("msd", 10, ("tempo", "loudness")))
    with pytest.raises(InputError, match="needs features that this version of reprise does not have") as caught:
        load_genre_model(**{name.removeprefix("artifact_"): value for name, value in write(model, tmp_path).items()})
    assert caught.value.kind == "not_a_model"
