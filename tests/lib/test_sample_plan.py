"""Plan of a synthetic dataset: ids, cliques, listeners, annotation files and their agreement with the ground truth."""

import collections
import csv
import gzip
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.annotations import (
    read_cover_cliques,
    read_genre_labels,
    read_plays,
    read_song_mismatches,
    read_unique_tracks,
)
from reprise.lib.music.compose.plan import SHS_CLIQUE_SIZES, make_layout
from reprise.lib.music.sample import (
    GENRE_NAMES,
    Audience,
    SamplePlan,
    compose,
    compute_msd_columns,
    song_id,
    track_id,
    truth,
    truth_columns,
    write_annotations,
)
from reprise.lib.music.sample.metadata import describe, make_ids

PLAN = SamplePlan(1500, seed=8)


def truth_rows_of(plan: SamplePlan) -> list[dict]:
    columns = truth_columns(plan, np.arange(plan.n_tracks))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def rows_of(chunks) -> list[dict]:
    rows = []
    for chunk in chunks:
        assert chunk.rejects == []
        rows += [dict(zip(chunk.rows, values, strict=True)) for values in zip(*chunk.rows.values(), strict=True)]
    return rows


@pytest.fixture(scope="module")
def annotations(tmp_path_factory) -> dict[str, Path]:
    return {path.name: path for path in write_annotations(PLAN, tmp_path_factory.mktemp("annotations"))}


@pytest.fixture(scope="module")
def truth_by_id() -> dict[str, dict]:
    return {row["track_id"]: row for row in truth_rows_of(PLAN)}


def test_a_million_ids_are_unique_and_fill_the_folders():
    ids = make_ids(PLAN, "TR", np.arange(1_000_000))
    assert len({name[:7] for name in ids}) == 1_000_000
    assert all(re.fullmatch("TR[A-Z]{5}1[0-9A-F]{10}", name) for name in ids[:2000])
    folders = collections.Counter(name[2:5] for name in ids)
    assert len(folders) == 26**3
    assert max(folders.values()) < 120
    assert ids[77] == track_id(PLAN, 77)
    assert make_ids(PLAN, "SO", np.array([5])) == [song_id(PLAN, 5)]


@pytest.mark.parametrize(
    ("n_tracks", "n_cliques", "n_covers"), [(12960, 4128, 12960), (20000, 500, 1700), (20000, 500, 1000), (10, 1, 10)]
)
def test_number_and_size_of_cliques_are_as_requested(n_tracks, n_cliques, n_covers):
    plan = SamplePlan(n_tracks, n_cliques=n_cliques, n_covers=n_covers)
    tracks = plan.tracks(np.arange(n_tracks))
    sizes = np.bincount(tracks.clique[tracks.clique >= 0])
    assert len(sizes) == n_cliques
    assert sizes.sum() == n_covers
    assert sizes.min() >= 2
    assert len(set(tracks.work.tolist())) == n_cliques + n_tracks - n_covers
    if (n_cliques, n_covers) == (4128, 12960):
        assert dict(collections.Counter(sizes.tolist())) == SHS_CLIQUE_SIZES


def test_default_plan_has_a_fifth_of_the_tracks_in_cliques():
    plan = SamplePlan(3000)
    assert plan.n_covers == 600
    assert plan.n_cliques is not None
    assert 150 < plan.n_cliques < 250
    assert SamplePlan(20000, n_cliques=500).n_covers == 1570


def test_truth_describes_how_versions_differ(truth_by_id):
    cliques = collections.defaultdict(list)
    for row in truth_by_id.values():
        if row["clique"] is not None:
            cliques[row["clique"]].append(row)
    assert len(cliques) == PLAN.n_cliques
    for rows in cliques.values():
        rows.sort(key=lambda row: row["version"])
        assert [row["version"] for row in rows] == list(range(len(rows)))
        original = rows[0]
        assert original["transposition"] == 0
        assert original["tempo_ratio"] == 1.0
        assert len({row["work"] for row in rows}) == 1
        for row in rows:
            assert row["key"] == (original["key"] + row["transposition"]) % 12
            assert row["tempo_bpm"] == pytest.approx(original["tempo_bpm"] * row["tempo_ratio"])
            assert row["meter"] == original["meter"]
            assert row["year"] >= original["year"] or row["genre"] != original["genre"]
        artists = [row["artist_id"] for row in rows if row["genre"] == original["genre"]]
        assert len(set(artists)) >= min(len(artists), 3)
    versions = [row for rows in cliques.values() for row in rows[1:]]
    assert np.mean([row["transposition"] != 0 for row in versions]) == pytest.approx(0.8, abs=0.08)
    assert np.mean([row["genre"] != row["work_genre"] for row in versions]) > 0.3
    assert np.mean([row["form"] != cliques[row["clique"]][0]["form"] for row in versions]) > 0.7


def test_rare_cases_are_as_frequent_as_in_real_files():
    plan = SamplePlan(6000, seed=1)
    rows = truth_rows_of(plan)
    states = collections.Counter(row["state"] for row in rows)
    assert states["short"] + states["beatless"] == pytest.approx(6000 * 7 / 282, rel=0.3)
    assert states["beatless"] == pytest.approx(6000 / 282, rel=0.6)
    songs = [describe(plan, plan.track(index)) for index in range(1500)]
    for name, share in (("artist_latitude", 0.6), ("artist_mbid", 0.06), ("song_hotttnesss", 0.46), ("year", 0.5)):
        assert np.mean([song[name] is None for song in songs]) == pytest.approx(share, abs=0.06), name
    assert any(not song["artist_name"].isascii() for song in songs)
    assert any(not song["title"].isascii() for song in songs)
    assert {row["genre"] for row in rows} == set(GENRE_NAMES)


def test_plan_is_small_and_can_be_pickled(truth_by_id):
    pickled = pickle.dumps(PLAN)
    assert len(pickled) < 1500
    assert pickle.loads(pickled) == PLAN  # noqa: S301  # pickled by this test
    row = next(iter(truth_by_id.values()))
    assert all(value is None or isinstance(value, str | int | float | bool) for value in row.values())


def test_annotation_files_agree_with_the_truth(annotations, truth_by_id):
    cliques = []
    for name in ("shs_dataset_train.txt", "shs_dataset_test.txt"):
        with annotations[name].open("rb") as stream:
            cliques.append(rows_of(read_cover_cliques(stream, source=name)))
    members = collections.defaultdict(set)
    for row in cliques[0] + cliques[1]:
        members[(row["clique_id"], row["title"])].add(row["track_id"])
        assert truth_by_id[row["track_id"]]["artist_id"] == row["artist_id"]
    expected = collections.defaultdict(set)
    for row in truth_by_id.values():
        if row["clique"] is not None:
            expected[row["clique"]].add(row["track_id"])
    assert sorted(map(sorted, members.values())) == sorted(map(sorted, expected.values()))
    assert len({row["clique_id"] for row in cliques[0]}) == round((PLAN.n_cliques or 0) * 4128 / 5854)
    assert any(row["performance"] is None for row in cliques[0])
    assert any(len(row["work_ids"]) == 2 for row in cliques[0])

    with annotations["msd_tagtraum.cls"].open("rb") as stream:
        labels = rows_of(read_genre_labels(stream, source="cls"))
    first = {row["track_id"]: row["genre"] for row in labels if row["rank"] == 0}
    second = {row["track_id"]: row["genre"] for row in labels if row["rank"] == 1}
    assert first == {name: row["genre"] for name, row in truth_by_id.items() if row["labelled"]}
    assert second == {
        name: row["second_genre"] for name, row in truth_by_id.items() if row["labelled"] and row["second_genre"]
    }

    with annotations["unique_tracks.txt"].open("rb") as stream:
        unique = rows_of(read_unique_tracks(stream))
    assert [(row["track_id"], row["song_id"]) for row in unique] == [(n, r["song_id"]) for n, r in truth_by_id.items()]
    with annotations["sid_mismatches.txt"].open("rb") as stream:
        mismatches = rows_of(read_song_mismatches(stream))
    assert {row["track_id"] for row in mismatches} == {name for name, row in truth_by_id.items() if row["mismatched"]}
    assert len(mismatches) > 5
    titles = {row["track_id"]: (row["artist_name"], row["title"]) for row in unique}
    assert all(titles[row["track_id"]] == (row["track_artist"], row["track_title"]) for row in mismatches)

    with annotations["truth_tracks.csv"].open(encoding="utf-8", newline="") as stream:
        truth_rows = list(csv.DictReader(stream))
    assert [row["track_id"] for row in truth_rows] == list(truth_by_id)
    assert [float(row["tempo_bpm"]) for row in truth_rows] == [row["tempo_bpm"] for row in truth_by_id.values()]


def test_unique_tracks_agree_with_the_hdf5_files(annotations):
    with annotations["unique_tracks.txt"].open("rb") as stream:
        unique = rows_of(read_unique_tracks(stream))
    for index in (0, 700, 1499):
        song = compute_msd_columns(compose(PLAN, index))
        assert {name: song[name] for name in unique[index]} == unique[index]


def test_top_genre_of_listeners_is_that_of_their_plays(annotations, truth_by_id):
    genre = {row["song_id"]: row["genre"] for row in truth_by_id.values()}
    with gzip.open(annotations["train_triplets.txt.gz"], "rb") as stream:
        plays = rows_of(read_plays(stream, source="triplets"))
    keys = [(row["user_id"], row["song_id"]) for row in plays]
    assert len(keys) == len(set(keys))
    assert all(re.fullmatch("[0-9a-f]{40}", row["user_id"]) for row in plays)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    totals: collections.Counter[str] = collections.Counter()
    for row in plays:
        counts[row["user_id"]][genre[row["song_id"]]] += np.sqrt(row["play_count"])
        totals[row["user_id"]] += row["play_count"]
    with annotations["truth_listeners.csv"].open(encoding="utf-8", newline="") as stream:
        listeners = {row["user_id"]: row for row in csv.DictReader(stream)}
    assert len(listeners) == PLAN.n_listeners
    assert {user: int(row["plays"]) for user, row in listeners.items()} == dict(totals)
    active = [user for user, total in totals.items() if total >= 20]
    assert len(active) > 200
    correct = [counts[user].most_common(1)[0][0] == listeners[user]["top_genre"] for user in active]
    assert np.mean(correct) >= 0.95


def test_listeners_do_not_depend_on_the_chunk():
    audience = Audience(PLAN)
    whole, plays = audience.draw_listeners(0, 50)
    part, part_plays = audience.draw_listeners(30, 50)
    assert whole.user_id[30:] == part.user_id
    is_late = plays.listener >= 30
    np.testing.assert_array_equal(plays.track[is_late], part_plays.track)
    np.testing.assert_array_equal(plays.count[is_late], part_plays.count)


def test_annotations_are_reproducible(annotations, tmp_path):
    for path in write_annotations(PLAN, tmp_path):
        assert path.read_bytes() == annotations[path.name].read_bytes()


@pytest.mark.parametrize("n_tracks", [0, 1, 2])
def test_smallest_datasets(n_tracks, tmp_path):
    plan = SamplePlan(n_tracks, seed=3)
    assert len(write_annotations(plan, tmp_path)) == 8
    with (tmp_path / "unique_tracks.txt").open("rb") as stream:
        assert len(rows_of(read_unique_tracks(stream))) == n_tracks
    for index in range(n_tracks):
        assert compute_msd_columns(compose(plan, index))["track_id"] == truth(plan, index)["track_id"]
    for function in (compose, truth):
        with pytest.raises(IndexError):
            function(plan, n_tracks)


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_tracks": -1},
        {"n_tracks": 26**5 + 1},
        {"n_tracks": 10, "n_cliques": 6, "n_covers": 10},
        {"n_tracks": 10, "n_cliques": 2, "n_covers": 11},
        {"n_tracks": 10, "n_cliques": 0, "n_covers": 5},
        {"n_tracks": 10, "n_cliques": -1},
    ],
)
def test_contradictory_plans_are_rejected(arguments):
    with pytest.raises(ValueError, match=r"cannot hold|choose a number"):
        SamplePlan(**arguments)


def test_every_genre_has_at_least_three_artists():
    starts = make_layout(SamplePlan(1)).artist_starts
    assert (np.diff(starts) >= 3).all()
