"""From labelled features to genre models: what is learned from, what stays apart, what is kept and what is said."""

import csv
import gzip
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
from reprise.jobs import evaluate_covers, extract_genre_features, ingest_annotations, ingest_msd, train_genre
from reprise.jobs._engine.run import Run, UsageError
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.jobs._genres.datasets import find_labelled, read_dataset
from reprise.lib.genres.feature_sets import FEATURE_SETS
from reprise.lib.genres.gtzan_table import COLUMNS, read_table
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.models import load
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_LABELS,
    JOB_RUNS,
    LIBRARY_TRACKS,
    MODELS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    Table,
)
from reprise.udfs.arrow import arrow_schema

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

MAIN = train_genre.main
ONE = (
    "--learner",
    "naive_bayes",
    "--param",
    "scaling=quantile",
    "--param",
    "selection=none",
    "--param",
    "smoothing=0.1",
)
"""A learner with one candidate."""
SAMPLE = ("--features", "msd_scalars", "--labels", "msd_tagtraum", "--folds", "3")
FIVE = tuple(LEARNERS["naive_bayes"].grid)


@pytest.fixture(scope="module")
def prepared(sample_dir: Path, tmp_path_factory: pytest.TempPathFactory, spark: Any) -> Path:
    """Sixty tracks with features, and labels of the three kinds of files that there are."""
    folder = tmp_path_factory.mktemp("genres")
    lines = [line.split("\t") for line in (sample_dir / "annotations/msd_tagtraum.cls").read_text().splitlines()]
    lines = [line for line in lines if not line[0].startswith("#")]
    given = folder / "annotations"
    given.mkdir()
    shutil.copy(sample_dir / "annotations/msd_tagtraum.cls", given)
    one = "".join(f"{line[0]}\t{line[1]}\n" for line in lines)
    (given / "msd_tagtraum_cd1.cls").write_text(f"# genres of tracks\n{one}")
    two = "".join(f"{line[0]}\t{line[1]}\tMetal\n" for line in lines[::2])
    (given / "msd_tagtraum_cd2.cls").write_text(f"# genres of tracks\r\n{two}")
    (given / "msd_tagtraum_cd2c.cls.gz").write_bytes(gzip.compress(one.encode()))
    root = ["--warehouse", str(folder / "warehouse")]
    assert ingest_msd.main(["--source", str(sample_dir / "msd"), *root]) == 0
    assert ingest_annotations.main(["--source", str(given), *root]) == 0
    assert extract_genre_features.main(root) == 0
    return folder / "warehouse"


@pytest.fixture
def warehouse(prepared: Path, tmp_path: Path) -> Warehouse:
    """A copy of the prepared warehouse."""
    shutil.copytree(prepared, tmp_path / "warehouse")
    return Warehouse(str(tmp_path / "warehouse"))


@pytest.fixture
def run(warehouse: Warehouse, spark: Any) -> Run:
    """What jobs hand on."""
    return Run("test", Namespace(json=True), conf.load(environ={}), warehouse)


def versions(warehouse: Warehouse) -> dict[str, int]:
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def the_model(warehouse: Warehouse) -> dict[str, Any]:
    (row,) = Warehouse(warehouse.root).lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    return {**row, **{name: json.loads(row[name]) for name in ("params", "metrics", "trained_on")}}


def put(warehouse: Warehouse, table: Table, rows: list[dict[str, Any]]) -> None:
    warehouse.merge(table, pa.Table.from_pylist(rows, arrow_schema(table)), force=True)


def test_model_row_says_what_was_trained_on_what(warehouse: Warehouse, run_job: RunJob, rows_of: Rows) -> None:
    before = versions(warehouse)
    counts = run_job(MAIN, *SAMPLE, *ONE)["counts"]
    row = the_model(warehouse)
    labels = rows_of(warehouse, GENRE_LABELS).query("source == 'msd_tagtraum' and rank == 0").set_index("track_id")
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
    assert artifact.name == f"{row['sha256']}.skops"
    model = load(artifact.read_bytes())
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


def test_second_run_trains_nothing_and_force_gives_the_same_bytes(warehouse: Warehouse, run_job: RunJob) -> None:
    assert run_job(MAIN, *SAMPLE, *ONE)["counts"]["models_trained"] == 1
    row, before = the_model(warehouse), versions(warehouse)
    folder = Path(warehouse.root, row["metrics"]["report"])
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run_job(MAIN, *SAMPLE, *ONE)["counts"] == {"models_trained": 0}
    assert versions(warehouse) == before
    shutil.rmtree(Path(warehouse.root, "_artifacts"))
    assert run_job(MAIN, *SAMPLE, *ONE, "--force")["counts"]["models_trained"] == 1
    again = the_model(warehouse)
    assert {k: v for k, v in again.items() if k not in ("trained_at", "run_id")} == {
        k: v for k, v in row.items() if k not in ("trained_at", "run_id")
    }
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    assert run_job(MAIN, "--reproduce", row["model_id"])["counts"]["models_reproduced"] == 1
    said = run_job(MAIN, "--reproduce", "genre-no", exit_code=2)["error"]
    assert said == f"reprise train-genre: there is no genre model genre-no; there are: {row['model_id']}\n"


def test_cover_jobs_take_no_genre_model(warehouse: Warehouse, run_job: RunJob) -> None:
    run_job(MAIN, *SAMPLE, *ONE)
    said = run_job(evaluate_covers.main, exit_code=2)["error"]
    assert said == "reprise evaluate-covers: there is no model: run train-cover-index first\n"


@pytest.mark.parametrize("source", ["msd_tagtraum_cd1", "msd_tagtraum_cd2", "msd_tagtraum_cd2c"])
def test_every_kind_of_label_file_is_learned_from(source: str, prepared: Path, run: Run, rows_of: Rows) -> None:
    found = read_dataset(run, "msd", source)
    labels = rows_of(run.warehouse, GENRE_LABELS).query("source == @source and rank == 0").set_index("track_id")
    features = rows_of(run.warehouse, MSD_GENRE_FEATURES).set_index("track_id")
    assert len(labels) >= 20
    assert found.ids.tolist() == sorted(set(labels.index) & set(features.index))
    assert found.genres.tolist() == labels.loc[found.ids, "genre"].tolist()
    assert "Metal" not in found.genres
    np.testing.assert_array_equal(found.rows, features.loc[found.ids, list(found.features)].to_numpy(np.float32))
    artists = rows_of(run.warehouse, MSD_TRACKS).set_index("track_id")["artist_id"]
    assert found.groups.tolist() == ("artist " + artists[found.ids]).tolist()
    few = read_dataset(run, "msd", source, limit=10)
    assert 0 < len(few.ids) <= 10
    places = np.searchsorted(found.ids, few.ids)
    np.testing.assert_array_equal(few.rows, found.rows[places])
    assert few.genres.tolist() == found.genres[places].tolist()


def test_a_track_is_grouped_by_artist_else_song_else_itself(warehouse: Warehouse, run: Run) -> None:
    ids = read_dataset(run, "msd", "msd_tagtraum").ids.tolist()
    rows = warehouse.lookup(MSD_TRACKS, "track_id", "", "\U0010ffff").to_pylist()
    for row in rows:
        place = ids.index(row["track_id"]) if row["track_id"] in ids else 0
        row["artist_id"] = None if place in (1, 2) else row["artist_id"]
        row["song_id"] = None if place == 2 else row["song_id"]
    warehouse.merge(MSD_TRACKS, pa.Table.from_pylist(rows, arrow_schema(MSD_TRACKS)), force=True)
    groups = read_dataset(run, "msd", "msd_tagtraum").groups
    song = {row["track_id"]: row["song_id"] for row in rows}
    assert groups[1:3].tolist() == [f"song {song[ids[1]]}", f"track {ids[2]}"]
    shutil.rmtree(warehouse.uri(MSD_TRACKS))
    run.warehouse = Warehouse(warehouse.root)
    assert read_dataset(run, "msd", "msd_tagtraum").groups.tolist() == [f"track {i}" for i in ids]


def fill_library(warehouse: Warehouse) -> None:
    """Ten tracks of two windows."""
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
    found = read_dataset(run, "gtzan", "tags")
    assert [int(i[2:], 16) for i in found.ids] == [0, 1, 2, 3, 4, 5, 9]
    assert found.genres.tolist() == ["Rock"] * 4 + ["Drum & Bass"] * 2 + ["x"]
    # a name that an id is known of stands for the id
    assert found.groups.tolist() == ["artist m1"] * 3 + ["artist m2"] * 2 + [f"track {found.ids[5]}", "artist m2"]
    tempo, rms = (found.rows[:, found.features.index(name)] for name in ("tempo", "rms_mean"))
    assert tempo.tolist() == [100, 101, 102, 103, 104, 105, 109]
    np.testing.assert_allclose(rms, tempo - 100.1, atol=1e-5)
    assert np.isnan(np.delete(found.rows, [found.features.index(n) for n in ("tempo", "rms_mean")], axis=1)).all()
    windows = read_dataset(run, "gtzan_windows", "tags")
    assert windows.ids.tolist() == [f"{i}#{n}" for i in found.ids for n in (0, 1)]
    assert windows.groups.tolist() == np.repeat(found.groups, 2).tolist()
    tempo, rms = (windows.rows[:, windows.features.index(name)] for name in ("tempo", "rms_mean"))
    assert tempo.tolist() == np.repeat([100, 101, 102, 103, 104, 105, 109], 2).tolist()
    np.testing.assert_allclose(rms - tempo + 100, [0, 0.1] * 7, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--labels", "cd3"), "there are no labels cd3; there are: msd_tagtraum, msd_tagtraum_cd1, msd_tagtraum_cd2, "),
        (("--labels", "tags"), "there is no library_tracks yet: run ingest-library first"),
        (
            ("--features", "gtzan"),
            "no track with a label of msd_tagtraum has a row in audio_genre_features: run extract-",
        ),
        (("--features", "mfcc"), "argument --features: invalid choice: 'mfcc'"),
        (("--learner", "magic"), "argument --learner: invalid choice: 'magic'"),
        (("--labels", "table"), "--table FILE and --labels table go together"),
        (("--table", "x.csv"), "--table FILE and --labels table go together"),
        (("--folds", "1"), "--folds must be at least 2, not 1"),
        (("--folds", "40"), "no genre has 40 artists or songs to be spread over as many folds"),
        (("--split", "lists"), "--split lists and --lists TRAIN VALID TEST go together"),
        (("--lists", "a", "b", "c"), "--split lists and --lists TRAIN VALID TEST go together"),
        (("--split", "lists", "--lists", "a", "b", "c"), "--lists: cannot open a: No such file"),
        (("--param", "magic=1"), "--param magic=1: naive_bayes takes NAME=VALUE of scaling, "),
        (("--param", "smoothing"), "--param smoothing: naive_bayes takes NAME=VALUE of scaling, "),
        (("--param", "smoothing=much"), "--param smoothing=much: much is no number, true or false"),
        (("--param", "scaling=odd"), "--param: naive_bayes has no scaling 'odd'"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: tuple[str, ...], reason: str, warehouse: Warehouse, run_job: RunJob
) -> None:
    before = versions(warehouse)
    said = run_job(MAIN, *SAMPLE, "--learner", "naive_bayes", *arguments, exit_code=2)["error"]
    assert said.startswith(f"reprise train-genre: {reason}")
    assert said.count("\n") == 1
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


def test_table_of_one_genre_cannot_be_learned(tmp_path: Path, run_job: RunJob, warehouse: Warehouse) -> None:
    table = write_table(tmp_path / "table.csv", ["rock"] * 12)
    arguments = ("--features", "gtzan", "--table", table, *ONE)
    said = run_job(MAIN, *arguments, exit_code=2)["error"]
    assert said == "reprise train-genre: there is one genre only, rock: a model needs two\n"
    write_table(table, ["rock"] * 12 + ["jazz"])
    said = run_job(MAIN, *arguments, exit_code=2)["error"]
    assert said.startswith("reprise train-genre: of jazz, rock only rock has 10 artists or songs")
    assert run_job(MAIN, *arguments[:-1], "smoothing=0.1", "--features", "msd", exit_code=2)["error"].startswith(
        "reprise train-genre: a file has no features msd; it has: gtzan, gtzan_windows"
    )
    table.write_text("nothing")
    said = run_job(MAIN, *arguments, exit_code=2)["error"]
    assert said.startswith("reprise train-genre: --table: table.csv is no table in GTZAN's format: column ")


def test_lists_say_what_trains_and_what_tests(tmp_path: Path, run_job: RunJob, warehouse: Warehouse) -> None:
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
    counts = run_job(MAIN, "--features", "gtzan", *ONE, *arguments)["counts"]
    assert {name: counts[name] for name in ("listed", "listed_absent", "rows_unlisted", "rows", "genres")} == {
        "listed": 24, "listed_absent": 1, "rows_unlisted": 2, "rows": 23, "genres": 2
    }  # fmt: skip
    row = the_model(warehouse)
    assert row["metrics"]["honest"]["rows"] == 5
    assert row["params"]["genres"] == ["jazz", "rock"]
    report = json.loads(Path(warehouse.root, row["metrics"]["report"], "report.json").read_text("utf-8"))
    assert report["figures"]["unknown"] == {"new": 1}
    assert row["trained_on"] == {"table_sha256": hashlib.sha256(table.read_bytes()).hexdigest()}
    assert run_job(MAIN, "--reproduce", row["model_id"])["counts"]["models_reproduced"] == 1
    (tmp_path / "test").write_text(f"{names[0]}\n")
    for more in (("--features", "gtzan", *arguments), ("--reproduce", row["model_id"])):
        said = run_job(MAIN, *ONE, *more, exit_code=2)["error"]
        assert "stands on two of them" in said or "is not the list that" in said


def test_random_split_is_what_the_papers_make(tmp_path: Path, run_job: RunJob, warehouse: Warehouse) -> None:
    table = write_table(tmp_path / "table.csv", ["jazz", "rock", "pop"] * 12, apart=1.0)
    run_job(MAIN, "--features", "gtzan", "--table", table, "--split", "random", "--folds", "5", *ONE)
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
def test_a_cluster_trains_the_same_model(prepared: Path, tmp_path: Path, run_job: RunJob, warehouse: Warehouse) -> None:
    there = Warehouse(str(tmp_path / "there"))
    shutil.copytree(prepared, there.root)
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    submit = [Path(packages, "pyspark/bin/spark-submit"), "--master", "local-cluster[2,1,1024]", train_genre.__file__]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME")}
    env |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
    command = [*submit, *SAMPLE, *ONE, "--warehouse", there.root, "--json"]
    done = subprocess.run(map(str, command), cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    run_job(MAIN, *SAMPLE, *ONE)
    here, elsewhere = the_model(warehouse), the_model(there)
    same = ("model_id", "sha256", "params", "metrics", "trained_on", "artifact")
    assert {name: elsewhere[name] for name in same} == {name: here[name] for name in same}


def test_what_no_track_has_both_of_is_said(warehouse: Warehouse, run: Run) -> None:
    fill_library(warehouse)
    with pytest.raises(UsageError, match=r"^no track with a label of msd_tagtraum has a row in audio_genre_features"):
        find_labelled(run, "gtzan", "msd_tagtraum")
    shutil.rmtree(warehouse.uri(GENRE_LABELS))
    run.warehouse = Warehouse(warehouse.root)
    with pytest.raises(UsageError, match="there are: tags, table; run ingest-annotations first"):
        find_labelled(run, "gtzan", "msd_tagtraum")
