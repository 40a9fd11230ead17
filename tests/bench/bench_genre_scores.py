"""Tracks whose genres are scored in a second, by the function that Spark runs, beside scikit-learn on one frame."""

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import Row
from threadpoolctl import threadpool_limits

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.genres.default_models import read_default_model
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK, WINDOW_S, pool
from reprise.lib.genres.models import GenreModel, dump, fit_model, load
from reprise.udfs.genre_scores import input_columns, score_tracks

ROUNDS = 5
BATCH = 10_000  # rows that Spark gives at a time
N_GENRES, N_TRAINING = 10, 1000
ANALYSES, RECORDINGS, WINDOWS = 40_000, 400, 80  # tracks of the dataset; tracks of four minutes and their windows
OWN = "the package's own"
ASKED = (("msd", "logistic_regression"), ("msd", "random_forest"), ("gtzan", "logistic_regression"), ("gtzan", OWN))


def make_rows(genres: Int64Array, d: int) -> Float32Array:
    """Rows about a centre a genre, positive as variances are."""
    centres = np.random.default_rng(1).standard_normal((N_GENRES, d))
    noise = np.random.default_rng(len(genres)).standard_normal((len(genres), d))
    rows: Float32Array = np.exp(0.5 * (centres[genres] + 2 * noise)).astype(np.float32)
    return rows


def fit(learner: str, feature_set: str) -> GenreModel:
    """A model of as many rows as the GTZAN table has, or the one that comes with the package."""
    if learner == OWN:
        return load(read_default_model(feature_set))
    columns, codes = FEATURE_SETS[feature_set].columns, np.arange(N_TRAINING) % N_GENRES
    names = np.array([f"genre {code}" for code in codes])
    groups = np.array([f"artist {row // 20}" for row in range(N_TRAINING)])
    rows = make_rows(codes, len(columns))
    return fit_model(
        learner, {}, rows, names, groups, features=columns, feature_set=feature_set, balanced=False, seed=1
    )


def make_tracks(model: GenreModel) -> tuple[pa.RecordBatch, Float64Array]:
    """What Spark reads of the tracks, and the frame that the model is asked about."""
    is_audio = model.feature_set == "gtzan"
    tracks, rows_each = (RECORDINGS, WINDOWS + 1) if is_audio else (ANALYSES, 1)
    track = np.repeat(np.arange(tracks), rows_each)
    values = make_rows(track % N_GENRES, len(model.features))
    ids = [f"TRAAAAA{number:011d}" for number in track]
    feature_set = FEATURE_SETS[model.feature_set]
    columns: dict[str, Any] = {"track_id": ids, "sha256": [f"{number:064x}" for number in track]}
    columns |= {"source": [feature_set.table.name] * len(track)}
    columns |= {name: values[:, place] for place, name in enumerate(model.features)}
    frame = values.astype(np.float64)
    if is_audio:
        window = np.tile(np.arange(WHOLE_TRACK, WINDOWS, dtype=np.int32), tracks)
        lengths_s = np.full(len(track), WINDOW_S, dtype=np.float32)
        columns |= {"window": window, "length_s": lengths_s}
        tempo = model.features.index("tempo")
        frame[:, tempo] = np.repeat(frame[::rows_each, tempo], rows_each)
        inside = window != WHOLE_TRACK
        frame = pool(frame[inside], lengths_s[inside], model.features, starts=np.arange(tracks) * WINDOWS)
    return pa.RecordBatch.from_pydict(columns).select(["source", *input_columns(feature_set)]), frame


def run_udf(rows: pa.RecordBatch, named: Mapping[str, str]) -> Float64Array:
    """Probabilities (tracks · genres,) through the function that Spark runs."""

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows.num_rows, BATCH):
            yield rows.slice(start, BATCH)

    return np.concatenate([scores.column("probability").to_numpy() for _, scores in score_tracks(batches(), **named)])


def run_plain(model: GenreModel, frame: Float64Array, tracks: int) -> Float64Array:
    """Probabilities (tracks · genres,) of one frame, averaged with a guess where a model with a domain abstains."""
    probabilities = model.estimator.predict_proba(frame).reshape(tracks, -1, N_GENRES).mean(axis=1)
    if model.domain is not None:
        outside = model.domain.measure(frame).reshape(tracks, -1).mean(axis=1)
        probabilities[~(outside <= 1)] = (probabilities[~(outside <= 1)] + 1 / N_GENRES) / 2
    return np.asarray(probabilities.reshape(-1), dtype=np.float64)


def measure_one(learner: str, feature_set: str, folder: Path) -> Row:
    """One line: tracks a second of one core, which is what its clock counts, whatever else the machine does."""
    model = fit(learner, feature_set)
    data = dump(model)
    artifact, sha256 = folder / f"{learner} {feature_set}", hashlib.sha256(data).hexdigest()
    artifact.write_bytes(data)
    named = {"artifact": str(artifact), "artifact_sha256": sha256, "model_id": "m", "run_id": "r"}
    rows, frame = make_tracks(model)
    tracks = RECORDINGS if feature_set == "gtzan" else ANALYSES
    ways: dict[str, Callable[[], Float64Array]] = {
        "reprise": lambda: run_udf(rows, named),
        "plain": lambda: run_plain(model, frame, tracks),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Float64Array] = {}
    run_udf(rows.slice(0, BATCH), named)  # loads the model
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            found[name] = way()
            spent[name].append(time.process_time() - start)
    np.testing.assert_allclose(found["reprise"], found["plain"], atol=1e-9)
    seconds = {name: statistics.median(times) for name, times in spent.items()}
    what = "recordings of 4 min, 80 windows each" if feature_set == "gtzan" else "analyses"
    return {
        "what": f"{tracks:,} {what}, {learner.replace('_', ' ')}",
        "measured": f"{tracks / seconds['reprise']:,.0f} tracks a second",
        "ratio": seconds["plain"] / seconds["reprise"],
        "beside": f"its scikit-learn pipeline on one frame, {tracks / seconds['plain']:,.0f} tracks a second",
        "goal": "≥ 0.90",
    }


def measure_scores() -> list[Row]:
    """Both kinds of tracks by a model that is fast and by one that is not, on one core."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        return [measure_one(learner, feature_set, Path(folder)) for feature_set, learner in ASKED]
