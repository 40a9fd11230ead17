"""Splits: groups stay together, genres keep their proportions, and every row is used."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.genres.splits import find_rare_genres, reorder_columns, sample_rows, split_at_random, split_folds

ROWS = st.lists(st.tuples(st.sampled_from(["rock", "jazz", "レゲエ"]), st.integers(0, 12)), max_size=60)
SEEDS = st.integers(0, 2**32 - 1)


def split(rows: list[tuple[str, int]]) -> tuple[list[str], list[str]]:
    return [genre for genre, _ in rows], [f"artist {number}" for _, number in rows]


@given(rows=ROWS, k=st.integers(2, 6), seed=SEEDS)
def test_every_row_is_tested_once_and_no_group_is_on_both_sides(rows: list[tuple[str, int]], k: int, seed: int) -> None:
    genres, groups = split(rows)
    if len(set(groups)) < k:
        with pytest.raises(InputError) as caught:
            split_folds(genres, groups, k, seed)
        assert caught.value.kind == "not_learnable"
        return
    found = split_folds(genres, groups, k, seed)
    assert len(found) == k
    assert sorted(np.concatenate([test for _, test in found]).tolist()) == list(range(len(rows)))
    for train, test in found:
        assert len(test)
        assert train.dtype == test.dtype == np.int64
        assert sorted([*train, *test]) == list(range(len(rows)))
        assert (np.diff(train) > 0).all()
        assert (np.diff(test) > 0).all()
        assert not {groups[row] for row in train} & {groups[row] for row in test}


@given(counts=st.lists(st.integers(10, 60), min_size=1, max_size=4), k=st.integers(2, 10), seed=SEEDS)
def test_folds_of_single_rows_keep_genre_proportions(counts: list[int], k: int, seed: int) -> None:
    genres = np.repeat([f"genre {place}" for place in range(len(counts))], counts)
    for _, test in split_folds(genres, np.arange(len(genres)).astype(str), k, seed):
        found = Counter(genres[test].tolist())
        assert all(abs(found[f"genre {place}"] - count / k) < 1 for place, count in enumerate(counts))
        assert abs(len(test) - len(genres) / k) <= len(counts)


def test_a_genre_of_k_groups_is_in_every_test_set() -> None:
    genres = ["rock"] * 50 + ["jazz"] * 4 + ["jazz"] * 30
    groups = [f"a{row}" for row in range(50)] + ["j1", "j2", "j3", "j4"] + ["j5"] * 30
    for _, test in split_folds(genres, groups, 5, 1):
        assert {genres[row] for row in test} == {"rock", "jazz"}


def test_folds_depend_only_on_the_seed() -> None:
    genres, groups = np.array(["a", "b"] * 40), np.arange(80).astype(str)
    one, same, other = (
        np.concatenate([test for _, test in split_folds(genres, groups, 4, seed)]) for seed in (3, 3, 4)
    )
    assert one.tolist() == same.tolist() != other.tolist()


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(InputError):
        split_folds([], [], 2, 0)
    with pytest.raises(ValueError, match="1 folds"):
        split_folds(["a", "b"], ["1", "2"], 1, 0)
    with pytest.raises(ValueError, match="do not match"):
        split_folds(["a", "b"], ["1"], 2, 0)


@given(count=st.integers(0, 50), share=st.floats(0, 1), seed=SEEDS)
def test_a_random_split_has_the_requested_share_and_all_rows(count: int, share: float, seed: int) -> None:
    genres = ["x"] * count
    if count < 2:
        with pytest.raises(InputError):
            split_at_random(genres, share, seed)
        return
    train, test = split_at_random(genres, share, seed)
    assert sorted([*train, *test]) == list(range(count))
    assert len(train) >= 1 <= len(test)
    assert abs(len(test) - count * share) <= 1


@given(rows=ROWS, limit=st.integers(0, 70), seed=SEEDS)
def test_a_sample_has_whole_groups_and_at_most_limit_rows(rows: list[tuple[str, int]], limit: int, seed: int) -> None:
    genres, groups = split(rows)
    found = sample_rows(genres, groups, limit, seed)
    assert (np.diff(found) > 0).all()
    assert len(found) <= max(limit, 0)
    if len(rows) <= limit:
        assert found.tolist() == list(range(len(rows)))
    drawn = {groups[row] for row in found}
    assert found.tolist() == [row for row, group in enumerate(groups) if group in drawn]


def test_a_sample_keeps_genre_proportions_and_a_rare_genre() -> None:
    genres = np.array(["rock"] * 700 + ["jazz"] * 299 + ["polka"])
    found = Counter(genres[sample_rows(genres, np.arange(1000).astype(str), 100, 5)].tolist())
    assert found == {"rock": 70, "jazz": 29, "polka": 1}


def test_genres_of_too_few_groups_are_rare() -> None:
    genres = ["rock", "rock", "rock", "jazz", "jazz", "jazz", "folk"]
    groups = ["a", "b", "c", "d", "d", "e", "a"]
    assert find_rare_genres(genres, groups, 3) == {"jazz", "folk"}
    assert find_rare_genres(genres, groups, 1) == set()
    assert find_rare_genres([], [], 5) == set()


def test_columns_are_reordered_by_name() -> None:
    found = reorder_columns(np.array([[0.2, 0.3, 0.5]]), ("a", "b", "c"), ("c", "x", "a"))
    assert found.tolist() == [[0.5, 0.0, 0.2]]
    assert reorder_columns(np.zeros((0, 2)), ("a", "b"), ("b",)).shape == (0, 1)
