"""How well sets of features of analyses tell genres: real tracks of the dataset, and composed ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from bench_genres import DATA as GTZAN
from measuring import Row
from sklearn.metrics import accuracy_score, f1_score

from reprise.lib import msd
from reprise.lib.annotations import open_annotation, read_genre_labels
from reprise.lib.arrays import Float32Array, ObjectArray
from reprise.lib.features.msd import ARRAYS, SCALARS, measure
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import fit_model
from reprise.lib.genres.splits import find_rare_genres, reorder_columns, split_folds
from reprise.lib.music.sample import SamplePlan, compose, compute_msd_columns, truth

SHARED = GTZAN.parent
COMPOSED, SEED = 4_000, 0
SETS = ("msd_scalars", "msd_segments", "msd")
ASKED = ("knn", "naive_bayes", "logistic_regression", "svm", "random_forest", "gradient_boosting")


@dataclass(frozen=True)
class Labelled:
    """Features by name, genres and artists of n tracks, and the folds that they are dealt into."""

    features: Mapping[str, Float32Array]
    genres: ObjectArray
    artists: ObjectArray
    k: int


def measure_feature_sets() -> list[Row]:
    """Each learner's defaults on each set, by folds that part artists."""
    sources = {f"composed, {COMPOSED:,} tracks": gather(_compose(), 5)}
    if (SHARED / "msd").is_dir():
        real = gather(_read_real(), 3)
        sources[f"real, {len(real.genres)} tracks in {len(set(real.genres))} genres"] = real
    return [
        {
            "tracks": name,
            "learner": LEARNERS[learner].title,
            **{f"{which}: accuracy, macro F1": _tell(labelled, learner, which) for which in SETS},
        }
        for name, labelled in sources.items()
        for learner in ASKED
    ]


def gather(tracks: Iterator[tuple[Mapping[str, Any], str, str]], k: int) -> Labelled:
    """Measure songs, which come with their genre and artist; genres of fewer artists than folds are left out."""
    songs = [(measure({n: s[n] for n in SCALARS}, {n: s[n] for n in ARRAYS}), genre, who) for s, genre, who in tracks]
    genres, artists = (np.array([song[place] for song in songs], dtype=object) for place in (1, 2))
    kept = ~np.isin(genres.astype(str), sorted(find_rare_genres(genres, artists, k)))
    names = FEATURE_SETS["msd"].columns
    features = {name: np.array([song[0][name] for song in songs], dtype=np.float32)[kept] for name in names}
    return Labelled(features, genres[kept], artists[kept], k)


def _compose() -> Iterator[tuple[Mapping[str, Any], str, str]]:
    plan = SamplePlan(n_tracks=COMPOSED, seed=SEED)
    for index in range(COMPOSED):
        song = compute_msd_columns(compose(plan, index))
        yield song, str(truth(plan, index)["genre"]), str(song["artist_id"])


def _read_real() -> Iterator[tuple[Mapping[str, Any], str, str]]:
    (path,) = (SHARED / "annotations").glob("*cd1.cls")
    labels: dict[str, str] = {}
    with open_annotation(path) as stream:
        for chunk in read_genre_labels(stream, source="cd1"):
            rows = zip(chunk.rows["track_id"], chunk.rows["genre"], chunk.rows["rank"], strict=True)
            labels.update((track_id, genre) for track_id, genre, rank in rows if rank == 0)
    for file in sorted((SHARED / "msd").rglob("*.h5")):
        if file.stem in labels:
            song = {name: values[0] for name, values in msd.read(file).items()}
            yield song, labels[file.stem], str(song["artist_id"])


def _tell(labelled: Labelled, learner: str, which: str) -> str:
    columns = FEATURE_SETS[which].columns
    rows = np.column_stack([labelled.features[name] for name in columns])
    names = tuple(sorted(set(labelled.genres.tolist())))
    found = np.empty(len(rows), dtype=object)
    for train, test in split_folds(labelled.genres, labelled.artists, labelled.k, SEED):
        model = fit_model(
            learner, {}, rows[train], labelled.genres[train], labelled.artists[train],
            features=columns, feature_set=which, balanced=False, seed=SEED,
        )  # fmt: skip
        told = reorder_columns(model.predict(rows[test]), model.genres, names)
        found[test] = np.array(names, dtype=object)[told.argmax(axis=1)]
    truth_, said = labelled.genres.astype(str), found.astype(str)
    return f"{accuracy_score(truth_, said):.3f}, {f1_score(truth_, said, average='macro'):.3f}"
