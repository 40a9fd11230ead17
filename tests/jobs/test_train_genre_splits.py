"""What each fit of a genre model may see, told by the splits, and how many rows a learner is given."""

import csv
import json
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise import conf
from reprise.jobs import train_genre
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._genres.datasets import Dataset, Labelled, find_labelled
from reprise.jobs._genres.training import TrainingRequest, make_problem
from reprise.lib.features import gtzan
from reprise.lib.genres.gtzan_table import COLUMNS
from reprise.lib.genres.learners import LEARNERS
from reprise.lib.genres.split_plans import TEST, TRAIN
from reprise.lib.music.render import SAMPLE_RATE, render
from reprise.lib.music.sample import GENRE_NAMES, Notes, SamplePlan, compose
from reprise.lib.tables import MODELS
from reprise.udfs.genre_fits import COUNTS, PROBABILITIES, FitTask, run_task

RunJob = Callable[..., dict[str, Any]]

FIVE = tuple(LEARNERS["naive_bayes"].grid)


def read_all(run: Run, feature_set: str, labels: str, table: str | None = None) -> Dataset:
    found = find_labelled(run, feature_set, labels, table)
    return found.take(np.arange(len(found.ids)))


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of twelve seconds of composed and rendered songs, four a genre, as the published table of windows."""
    plan, path = SamplePlan(400, seed=5), tmp_path_factory.mktemp("songs") / "features_3_sec.csv"
    wanted = ("Rap", "Folk", "Electronic")
    rows: list[list[object]] = [["filename", "length", *COLUMNS, "label"]]
    taken = dict.fromkeys(wanted, 0)
    for index in range(plan.n_tracks):
        track = plan.track(index)
        genre = GENRE_NAMES[track.genre]
        if track.state or taken.get(genre, 4) == 4:
            continue
        song = compose(plan, index)
        early = song.notes.start_s < 11
        notes = Notes(**{name: values[early] for name, values in vars(song.notes).items()})
        stems = render(replace(song, notes=notes, duration_s=12.0))
        signal = soxr.resample(np.sum(list(stems.values()), axis=0).mean(axis=1), SAMPLE_RATE, 22_050).astype(
            np.float32
        )
        whole, *windows = gtzan.measure(signal)
        for number, window in enumerate(windows):
            cells = [window[column] if column != "tempo" else whole["tempo"] for column in COLUMNS]
            rows.append([f"{genre}.{taken[genre]:05}.{number}.wav", 66_150, *cells, genre])
        taken[genre] += 1
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_windows_of_a_song_stay_together_and_leak_where_they_do_not(
    songs: Path, run_job: RunJob, warehouse: Warehouse
) -> None:
    run = Run("test", Namespace(), conf.load(environ={}), warehouse)
    data = read_all(run, "gtzan_windows", "table", str(songs))
    assert len(set(data.groups)) == 12
    assert len(data.ids) >= 48
    plan = TrainingRequest("naive_bayes", FIVE, "gtzan_windows", False, 3, "folds", 4).plan_splits(data)
    song = np.array([name.rsplit(".", 2)[0] for name in data.ids])
    for place, roles in enumerate(plan.splits):
        both = set(song[roles == TRAIN]) & set(song[roles == TEST])
        assert bool(both) == (place in plan.leaky)
    fixed = [word for text in ("scaling=quantile", "selection=none", "neighbours=5") for word in ("--param", text)]
    asked = ("--features", "gtzan_windows", "--table", songs, "--folds", "4", "--learner", "knn", *fixed)
    run_job(train_genre.main, *asked)
    (row,) = warehouse.lookup(MODELS, "model_id", "", "\U0010ffff").to_pylist()
    metrics = json.loads(row["metrics"])
    print("windows of rendered songs, macro F1:", metrics["honest"]["macro_f1"], "leaky:", metrics["leaky"]["macro_f1"])
    assert metrics["leaky"]["macro_f1"] > metrics["honest"]["macro_f1"] + 0.1


def make_dataset(genres: list[int], groups: list[int]) -> Dataset:
    n = len(genres)
    rows = np.random.default_rng(1).standard_normal((n, 2)).astype(np.float32)
    rows[:, 0] += genres
    ids = np.array([f"{i:04}" for i in range(n)], dtype=object)
    names = [np.array([f"{word}{i}" for i in some], dtype=object) for word, some in (("g", genres), ("a", groups))]
    return Dataset(ids, rows, ("a", "b"), names[0], names[1], rows, ("a", "b"))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 7)), max_size=30),
    st.sampled_from(["folds", "random", "lists"]),
    st.integers(0, 2**32 - 1),
)
def test_no_fit_sees_what_it_must_not(pairs: list[tuple[int, int]], split: str, seed: int) -> None:
    pairs += [(genre, group) for genre in range(3) for group in range(8)]
    data = make_dataset(*map(list, zip(*pairs, strict=True)))
    lists = None
    if split == "lists":
        test = np.array([group % 4 == 0 for _, group in pairs])
        lists = np.flatnonzero(~test), np.flatnonzero(test)
    plan = TrainingRequest("naive_bayes", FIVE, "msd", False, seed, split, 3).plan_splits(data, lists)
    sides = [(np.flatnonzero(roles == TRAIN), np.flatnonzero(roles == TEST)) for roles in plan.splits]
    apart = {*plan.honest, *plan.curve, *(inner for place in (*plan.honest, plan.final) for inner in plan.inner[place])}
    for place in apart:
        train, test = sides[place]
        assert len(train) or place in plan.curve  # whole groups may be more than a small share
        assert not set(data.groups[train]) & set(data.groups[test])
    for outer, chosen_by in plan.inner.items():
        train, test = sides[outer]
        for place in chosen_by:
            assert set(np.concatenate(sides[place])) <= set(train)
        assert sorted(np.concatenate([sides[place][1] for place in chosen_by])) == sorted(train)
    assert plan.inner.keys() == {*plan.honest, plan.final, *(plan.leaky if split == "random" else ())}
    tested = np.concatenate([sides[place][1] for place in plan.honest])
    wanted = np.arange(len(pairs)) if lists is None else lists[1]
    assert sorted(tested) == wanted.tolist()
    assert sides[plan.final][0].tolist() == (np.arange(len(pairs)) if lists is None else lists[0]).tolist()
    assert not len(sides[plan.final][1])


def test_choosing_does_not_depend_on_what_is_tested() -> None:
    """Genres planted in the rows that test an outer fold change neither its choice nor its model."""
    data = make_dataset([0, 1, 2] * 24, [n // 6 for n in range(72)])
    request = TrainingRequest("naive_bayes", FIVE, "msd", False, 7, "folds", 3)
    plan = request.plan_splits(data)
    outer = plan.honest[1]
    tests = plan.splits[outer] == TEST
    problem = make_problem(data, request, plan.splits)
    planted = replace(problem, genres=np.where(tests, 0, problem.genres), rows=problem.rows + 100 * tests[:, None])
    for inner in plan.inner[outer]:
        for params in FIVE:
            counts = [run_task(one, FitTask(inner, params, COUNTS)).tolist() for one in (problem, planted)]
            assert counts[0] == counts[1]
    away = replace(planted, rows=problem.rows)
    found = [run_task(one, FitTask(outer, FIVE[0], PROBABILITIES)) for one in (problem, away)]
    assert found[0] == found[1]


def test_of_many_rows_a_learner_gets_what_it_can_take(tmp_path: Path) -> None:
    run = Run("test", Namespace(), conf.load(environ={}), Warehouse(str(tmp_path)))
    n, asked = 100_000, []

    def fetch(places: np.ndarray) -> np.ndarray:
        asked.append(places)
        return np.zeros((len(places), 2), dtype=np.float32)

    numbers = np.arange(n)
    ids, genres, groups = (
        np.array([f"{word}{i}" for i in some], dtype=object)
        for word, some in (("t", numbers), ("g", numbers % 10), ("a", numbers // 5))
    )
    labelled = Labelled(ids, ids, genres, groups, ("a", "b"), {}, fetch)
    params = {"folds": 10, "learner": "svm", "lists": [], "seed": 1}
    started = time.monotonic()
    rows = train_genre._Rows(run, labelled, params)
    print(f"{n:,} rows: {time.monotonic() - started:.2f} s")
    limit = LEARNERS["svm"].max_rows
    assert 0.9 * limit < len(rows.indices) <= limit
    assert run.counts["tracks"] == n
    assert run.counts["tracks_left_out"] == n - len(rows.indices)
    taken = pd.Series(groups[rows.indices]).value_counts()
    assert set(taken) == {5}  # whole artists
    assert set(labelled.take(rows.indices).genres) == {f"g{i}" for i in range(10)}
    assert asked[0].tolist() == rows.indices.tolist()
