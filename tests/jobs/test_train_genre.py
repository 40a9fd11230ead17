"""From labelled features to genre models: what is learned from, what stays apart, what is kept and what is said."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise import conf
from reprise.jobs import evaluate_covers, train_genre
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._genres.datasets import Dataset, find_labelled
from reprise.lib.errors import InputError
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.genres.gtzan_table import COLUMNS, read_table
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import load
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_LABELS,
    LIBRARY_TRACKS,
    MODELS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.genre_scores import load_genre_model
from tests.jobs.chain import CHAIN, LEARNED, NUMBERS, ONE_CANDIDATE, Chain, copy_warehouse, versions

RunJob = Callable[..., dict[str, Any]]
Prepare = Callable[..., Any]
Refusal = Callable[..., str]
Rows = Callable[[Warehouse, Table], pd.DataFrame]


def read_all(run: Run, feature_set: str, labels: str, table: str | None = None) -> Dataset:
    found = find_labelled(run, feature_set, labels, table)
    return found.take(np.arange(len(found.ids)))


@pytest.fixture
def trained(chain: Chain) -> Warehouse:
    """The warehouse with the chain's genre model, to be read."""
    return Warehouse(str(chain.after("train-genre")))


@pytest.fixture
def warehouse(chain: Chain, tmp_path: Path) -> Warehouse:
    """A copy of the warehouse with features and labels, and without models."""
    return copy_warehouse(chain.after("extract-genre-features"), tmp_path / "warehouse")


@pytest.fixture
def run(warehouse: Warehouse, spark: Any) -> Run:
    """What jobs hand on."""
    return Run("test", Namespace(json=True), conf.load(environ={}), warehouse)


def the_model(warehouse: Warehouse) -> dict[str, Any]:
    rows = Warehouse(warehouse.root).lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    (row,) = (row for row in rows if row["kind"].startswith("genre/"))
    return {**row, **{name: json.loads(row[name]) for name in ("params", "metrics", "trained_on")}}


def put(warehouse: Warehouse, table: Table, rows: list[dict[str, Any]]) -> None:
    warehouse.merge(table, pa.Table.from_pylist(rows, arrow_schema(table)), force=True)


def test_model_row_says_what_was_trained_on_what(chain: Chain, trained: Warehouse, rows_of: Rows) -> None:
    warehouse, before = trained, versions(Warehouse(str(chain.before("train-genre"))))
    counts = chain.summary(CHAIN[NUMBERS["train-genre"]])["counts"]
    row = the_model(warehouse)
    labels = rows_of(warehouse, GENRE_LABELS).query("source == 'msd_tagtraum' and rank == 0").set_index("track_id")
    labels = labels[labels.index.isin(rows_of(warehouse, MSD_GENRE_FEATURES)["track_id"])]
    artists = rows_of(warehouse, MSD_TRACKS).set_index("track_id")["artist_id"]
    of = labels.join(artists).groupby("genre")["artist_id"].nunique()
    assert row["params"]["genres"] == sorted(of[of >= 3].index)
    assert row["params"]["genres_left_out"] == sorted(of[of < 3].index)
    assert row["trained_on"] == {name: before[name] for name in ("genre_labels", "msd_genre_features", "msd_tracks")}
    assert row["kind"] == "genre/naive_bayes"
    assert row["params"]["candidate"] == {**LEARNERS["naive_bayes"].defaults, "scaling": "quantile", "smoothing": 0.1}
    assert {name: row["params"][name] for name in ("features", "labels", "split", "learner")} == {
        "features": "msd_scalars", "labels": "msd_tagtraum", "split": "folds", "learner": "naive_bayes"
    }  # fmt: skip
    artifact = Path(warehouse.root, row["artifact"])
    assert hashlib.sha256(artifact.read_bytes()).hexdigest() == row["sha256"]
    assert artifact.name == f"{row['sha256']}.safetensors"
    model = load(artifact.read_bytes())
    assert row["input"] == "analyses"
    assert row["quality"] == row["metrics"]["honest"]["macro_f1"]
    assert model.domain is not None
    assert list(json.loads(row["domain"])) == list(model.domain.features) == list(model.features)
    assert model.features == FEATURE_SETS["msd_scalars"].columns
    assert list(model.genres) == row["params"]["genres"]
    report = Path(warehouse.root, row["metrics"]["report"])
    assert report == artifact.with_suffix("") / row["model_id"]
    names = {"per_genre", "confusion", "calibration", "learning_curve", "features", "shap"}
    assert {f"{name}{end}" for name in names for end in (".csv", ".png")} | {"report.json", "card.md"} == {
        path.name for path in report.iterdir()
    }
    figures = json.loads((report / "report.json").read_text("utf-8"))
    for which, key in (("honest", "figures"), ("leaky", "leaky")):
        assert {name: figures[key][name] for name in row["metrics"][which]} == row["metrics"][which]
    assert row["model_id"] in (report / "card.md").read_text("utf-8")
    kept = labels[labels["genre"].isin(row["params"]["genres"])]
    assert figures["figures"]["rows"] == counts["rows"] == len(kept)
    assert counts["tracks_of_rare_genres"] == len(labels) - len(kept)
    assert counts["genres_left_out"] == (of < 3).sum()
    assert [len(figures["splits"]["each"]), len(figures["learning_curve"])] == [3, 5]


def test_a_model_is_made_again_from_its_row(trained: Warehouse, prepare: Prepare, refusal: Refusal) -> None:
    row = the_model(trained)
    job, run = prepare(train_genre, "--reproduce", row["model_id"])
    run.warehouse = trained
    job.body(run)
    assert run.counts["models_reproduced"] == 1


@pytest.mark.usefixtures("spark")
def test_a_model_in_a_former_format_is_replaced(trained: Warehouse, tmp_path: Path, prepare: Prepare) -> None:
    warehouse = copy_warehouse(Path(trained.root), tmp_path / "with a former model")
    row = the_model(warehouse)
    former = row | {name: json.dumps(row[name]) for name in ("params", "metrics", "trained_on")}
    former |= {"artifact": "_artifacts/former.skops", "sha256": hashlib.sha256(b"PK").hexdigest(), "quality": None}
    Path(warehouse.root, former["artifact"]).write_bytes(b"PK")
    put(warehouse, MODELS, [former])
    with pytest.raises(InputError, match="train-genre --reproduce ID --force"):
        load_genre_model(f"{warehouse.root}/{former['artifact']}", former["sha256"])
    job, run = prepare(train_genre, "--reproduce", row["model_id"], "--force")
    run.warehouse = warehouse
    job.body(run)
    replaced = the_model(warehouse)
    for name in ("sha256", "quality", "input", "domain", "params", "metrics"):
        assert replaced[name] == row[name]


def test_a_model_that_is_not_known_is_not_made_again(
    warehouse: Warehouse, trained: Warehouse, refusal: Refusal
) -> None:
    warehouse.merge(MODELS, trained.lookup(MODELS, "model_id", "", "\U0010ffff"))
    said = refusal(train_genre, "--reproduce", "genre-no")
    assert said == f"there is no genre model genre-no; choose from: {the_model(trained)['model_id']}"


def test_cover_jobs_take_no_genre_model(warehouse: Warehouse, trained: Warehouse, refusal: Refusal) -> None:
    model_id = the_model(trained)["model_id"]
    warehouse.merge(MODELS, trained.lookup(MODELS, "model_id", model_id, model_id))
    assert refusal(evaluate_covers) == "there is no cover embedding model yet: run train-cover-index first"


@pytest.mark.parametrize("source", ["msd_tagtraum_cd1", "msd_tagtraum_cd2", "msd_tagtraum_cd2c"])
def test_every_kind_of_label_file_is_learned_from(source: str, trained: Warehouse, run: Run, rows_of: Rows) -> None:
    run.warehouse = trained
    found = read_all(run, "msd", source)
    labels = rows_of(run.warehouse, GENRE_LABELS).query("source == @source and rank == 0").set_index("track_id")
    features = rows_of(run.warehouse, MSD_GENRE_FEATURES).set_index("track_id")
    assert len(labels) >= 20
    assert found.ids.tolist() == sorted(set(labels.index) & set(features.index))
    assert found.genres.tolist() == labels.loc[found.ids.tolist(), "genre"].tolist()
    assert "Metal" not in found.genres
    np.testing.assert_array_equal(
        found.rows, features.loc[found.ids.tolist(), list(found.features)].to_numpy(np.float32)
    )
    artists = rows_of(run.warehouse, MSD_TRACKS).set_index("track_id")["artist_id"]
    assert found.groups.tolist() == ("artist " + artists.loc[found.ids.tolist()]).tolist()


def test_a_track_is_grouped_by_artist_else_song_else_itself(warehouse: Warehouse, run: Run) -> None:
    ids = read_all(run, "msd", "msd_tagtraum").ids.tolist()
    rows = warehouse.lookup(MSD_TRACKS, "track_id", "", "\U0010ffff").to_pylist()
    for row in rows:
        place = ids.index(row["track_id"]) if row["track_id"] in ids else 0
        row["artist_id"] = None if place in (1, 2) else row["artist_id"]
        row["song_id"] = None if place == 2 else row["song_id"]
    warehouse.merge(MSD_TRACKS, pa.Table.from_pylist(rows, arrow_schema(MSD_TRACKS)), force=True)
    groups = read_all(run, "msd", "msd_tagtraum").groups
    song = {row["track_id"]: row["song_id"] for row in rows}
    assert groups[1:3].tolist() == [f"song {song[ids[1]]}", f"track {ids[2]}"]
    shutil.rmtree(warehouse.uri(MSD_TRACKS))
    run.warehouse = Warehouse(warehouse.root)
    assert read_all(run, "msd", "msd_tagtraum").groups.tolist() == [f"track {i}" for i in ids]


def fill_library(warehouse: Warehouse) -> None:
    """Ten tracks of two windows, in place of those that the chain has."""
    for table in (LIBRARY_TRACKS, AUDIO_GENRE_FEATURES):
        shutil.rmtree(warehouse.uri(table))
    tags = [
        ["Rock"],
        ["rock "],
        [" ", "Rock", "Pop"],
        ["ROCK"],
        ["Drum & Bass"],
        ["drum  & bass"],
        [],
        None,
        [""],
        ["x"],
    ]
    mbids = ["m1", "m1", None, None, None, None, "m1", None, None, "m2"]
    names = ["The Cure", "Cure, The", "cure", "Björk", "Bjork", None, None, None, None, "Björk"]
    tracks, features = [], []
    for n, (tag, mbid, name) in enumerate(zip(tags, mbids, names, strict=True)):
        same = {"track_id": f"LB{n:016x}", "sha256": f"{n}", "run_id": "r"}
        tracks.append(
            {**same, "genre_tags": tag, "artist_mbid": mbid, "artist_name": name, "codec": "flac", "sample_rate": 8000}
            | {"channel_count": 1, "length_status": "ok"}
        )
        for window in (-1, 0, 1):
            values = {"tempo": None if window >= 0 else 100.0 + n, "rms_mean": n + window / 10}
            features.append({**same, "window": window, "start_s": 0.0, "length_s": 3.0, **values})
    put(warehouse, LIBRARY_TRACKS, tracks)
    put(warehouse, AUDIO_GENRE_FEATURES, features)


def test_tags_of_libraries_are_labels(warehouse: Warehouse, run: Run) -> None:
    fill_library(warehouse)
    found = read_all(run, "gtzan", "tags")
    assert [int(i[2:], 16) for i in found.ids] == [0, 1, 2, 3, 4, 5, 9]
    assert found.genres.tolist() == ["Rock"] * 4 + ["Drum & Bass"] * 2 + ["x"]
    # a name that an id is known of stands for the id
    assert found.groups.tolist() == ["artist m1"] * 3 + ["artist m2"] * 2 + [f"track {found.ids[5]}", "artist m2"]
    tempo, rms = (found.rows[:, found.features.index(name)] for name in ("tempo", "rms_mean"))
    assert tempo.tolist() == [100, 101, 102, 103, 104, 105, 109]
    np.testing.assert_allclose(rms, tempo - 100.1, atol=1e-5)
    assert np.isnan(np.delete(found.rows, [found.features.index(n) for n in ("tempo", "rms_mean")], axis=1)).all()
    windows = read_all(run, "gtzan_windows", "tags")
    assert windows.ids.tolist() == [f"{i}#{n}" for i in found.ids for n in (0, 1)]
    assert windows.groups.tolist() == np.repeat(found.groups, 2).tolist()
    tempo, rms = (windows.rows[:, windows.features.index(name)] for name in ("tempo", "rms_mean"))
    assert tempo.tolist() == np.repeat([100, 101, 102, 103, 104, 105, 109], 2).tolist()
    np.testing.assert_allclose(rms - tempo + 100, [0, 0.1] * 7, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            ("--labels", "cd3"),
            "--labels cd3: unknown source of labels; choose from: msd_tagtraum, msd_tagtraum_cd1, msd_tagtraum_cd2",
        ),
        (
            ("--features", "gtzan"),
            "no track with a label of msd_tagtraum has a row in audio_genre_features: run extract-",
        ),
        (("--features", "mfcc"), "argument --features: invalid choice: 'mfcc'"),
        (("--learner", "magic"), "argument --learner: invalid choice: 'magic'"),
        (("--labels", "table"), "--table FILE and --labels table go together: give both or neither"),
        (("--table", "x.csv"), "--table FILE and --labels table go together: give both or neither"),
        (("--folds", "1"), "--folds must be at least 2, not 1"),
        (("--folds", "40"), "no genre has 40 artists or songs, one for each fold"),
        (("--split", "lists"), "--split lists and --lists TRAIN VALID TEST go together: give both or neither"),
        (("--lists", "a", "b", "c"), "--split lists and --lists TRAIN VALID TEST go together: give both or neither"),
        (("--split", "lists", "--lists", "a", "b", "c"), "--lists: cannot open a: No such file"),
        (("--param", "magic=1"), "--param magic=1: naive_bayes takes NAME=VALUE, where NAME is one of scaling, "),
        (("--param", "smoothing"), "--param smoothing: naive_bayes takes NAME=VALUE, where NAME is one of scaling, "),
        (("--param", "smoothing=much"), "--param smoothing=much: expected a number, true or false, got 'much'"),
        (("--param", "scaling=odd"), "--param: naive_bayes: unknown scaling 'odd', choose from "),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, refusal: Refusal
) -> None:
    before = versions(warehouse)
    assert refusal(train_genre, *LEARNED, "--learner", "naive_bayes", *arguments).startswith(reason)
    assert versions(warehouse).items() <= {**before, MODELS.name: 0}.items()


def write_table(path: Path, genres: list[str], *, apart: float = 3.0) -> Path:
    """A row a genre given; of each genre the first feature is ``apart`` from that of the next."""
    rng = np.random.default_rng(0)
    names = sorted(set(genres))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "length", *COLUMNS, "label"])
        for n, genre in enumerate(genres):
            values = rng.standard_normal(len(COLUMNS))
            values[0] += apart * names.index(genre)
            cells = ["" if value > 2 else value for value in values.tolist()]
            writer.writerow([f"{genre}.{n:05}.wav", 1, *cells, genre])
    return path


def test_table_of_one_genre_cannot_be_learned(tmp_path: Path, refusal: Refusal) -> None:
    table = write_table(tmp_path / "table.csv", ["rock"] * 12)
    arguments = ("--features", "gtzan", "--table", table, *ONE_CANDIDATE)
    said = refusal(train_genre, *arguments)
    assert said == "all rows have the genre rock: label tracks of another genre, because a model needs two"
    write_table(table, ["rock"] * 12 + ["jazz"])
    said = refusal(train_genre, *arguments)
    assert said.startswith("of the genres jazz, rock, only rock has 10 artists or songs")
    said = refusal(train_genre, *arguments, "--features", "msd")
    assert said.startswith(
        "--table: the file has no features of the set msd; choose --features from: gtzan, gtzan_windows"
    )
    table.write_text("nothing")
    said = refusal(train_genre, *arguments)
    assert said.startswith("--table: table.csv is not a table in GTZAN's format: missing column ")


def test_lists_say_what_trains_and_what_tests(
    tmp_path: Path, run_job: RunJob, prepare: Prepare, refusal: Refusal, warehouse: Warehouse
) -> None:
    genres = ["jazz"] * 12 + ["rock"] * 12 + ["new"]
    table = write_table(tmp_path / "table.csv", genres)
    names = read_table(table).names.tolist()
    lists = {
        "train": [*names[:8], *names[12:20], "gone.wav"],
        "valid": names[8:10],
        "test": [*names[10:12], *names[22:]],
    }
    for name, listed in lists.items():
        (tmp_path / name).write_text("".join(f"folder/{one}\n" for one in listed))
    arguments = ("--table", table, "--split", "lists", "--lists", *(tmp_path / name for name in lists))
    counts = run_job(train_genre.main, "--features", "gtzan", *ONE_CANDIDATE, *arguments)["counts"]
    assert {name: counts[name] for name in ("listed", "listed_absent", "rows_unlisted", "rows", "genres")} == {
        "listed": 24, "listed_absent": 1, "rows_unlisted": 2, "rows": 23, "genres": 2
    }  # fmt: skip
    row = the_model(warehouse)
    assert row["metrics"]["honest"]["rows"] == 5
    assert row["params"]["genres"] == ["jazz", "rock"]
    report = json.loads(Path(warehouse.root, row["metrics"]["report"], "report.json").read_text("utf-8"))
    assert report["figures"]["unknown"] == {"new": 1}
    assert row["trained_on"] == {"table_sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
    job, again = prepare(train_genre, "--reproduce", row["model_id"])
    job.body(again)
    assert again.counts["models_reproduced"] == 1
    (tmp_path / "test").write_text(f"{names[0]}\n")
    assert "is on two lists" in refusal(train_genre, "--features", "gtzan", *ONE_CANDIDATE, *arguments)
    assert "is not the list that" in refusal(train_genre, "--reproduce", row["model_id"])


def test_random_split_is_what_the_papers_make(tmp_path: Path, run_job: RunJob, warehouse: Warehouse) -> None:
    table = write_table(tmp_path / "table.csv", ["jazz", "rock", "pop"] * 12, apart=1.0)
    run_job(
        train_genre.main, "--features", "gtzan", "--table", table, "--split", "random", "--folds", "5", *ONE_CANDIDATE
    )
    row = the_model(warehouse)
    assert row["metrics"]["honest"]["rows"] == 20 * 7
    assert row["metrics"]["leaky"] is None  # every row is a group of its own
    report = json.loads(Path(warehouse.root, row["metrics"]["report"], "report.json").read_text("utf-8"))
    each = [one["macro_f1"] for one in report["splits"]["each"]]
    assert len(each) == 20
    assert row["metrics"]["splits"]["macro_f1"] == pytest.approx(
        {"mean": np.mean(each), "deviation": np.std(each, ddof=1)}
    )


@pytest.mark.exhaustive
def test_a_cluster_trains_the_same_model(chain: Chain, trained: Warehouse, tmp_path: Path) -> None:
    there = copy_warehouse(chain.before("train-genre"), tmp_path / "there")
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    submit = [Path(packages, "pyspark/bin/spark-submit"), "--master", "local-cluster[2,1,1024]", train_genre.__file__]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME")}
    env |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    command = [*submit, *LEARNED, *ONE_CANDIDATE, "--warehouse", there.root, "--json"]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    here, elsewhere = the_model(trained), the_model(there)
    same = ("model_id", "sha256", "params", "metrics", "trained_on", "artifact")
    assert {name: elsewhere[name] for name in same} == {name: here[name] for name in same}


def test_what_no_track_has_both_of_is_said(warehouse: Warehouse, run: Run) -> None:
    fill_library(warehouse)
    with pytest.raises(UsageError, match=r"^no track with a label of msd_tagtraum has a row in audio_genre_features"):
        find_labelled(run, "gtzan", "msd_tagtraum")
    for table in (GENRE_LABELS, LIBRARY_TRACKS):
        shutil.rmtree(warehouse.uri(table))
    run.warehouse = Warehouse(warehouse.root)
    with pytest.raises(UsageError, match="the table library_tracks does not exist: run ingest-library first"):
        find_labelled(run, "gtzan", "tags")
    with pytest.raises(UsageError, match="choose from: tags, table; run ingest-annotations first"):
        find_labelled(run, "gtzan", "msd_tagtraum")
