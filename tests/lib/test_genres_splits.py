"""Splits: whole groups on one side, genres in their shares, and nothing lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.genres.splits import align, folds, random_split, rare_genres, sample_rows

ROWS = st.lists(st.tuples(st.sampled_from(["rock", "jazz", "レゲエ"]), st.integers(0, 12)), max_size=60)
SEEDS = st.integers(0, 2**32 - 1)


def split(rows: list[tuple[str, int]]) -> tuple[list[str], list[str]]:
    return [genre for genre, _ in rows], [f"artist {number}" for _, number in rows]


@given(rows=ROWS, k=st.integers(2, 6), seed=SEEDS)
def test_every_row_is_tested_once_and_no_group_stands_on_both_sides(
    rows: list[tuple[str, int]], k: int, seed: int
) -> None:
    genres, groups = split(rows)
    if len(set(groups)) < k:
        with pytest.raises(InputError) as caught:
            folds(genres, groups, k, seed)
        assert caught.value.kind == "not_learnable"
        return
    found = folds(genres, groups, k, seed)
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
def test_folds_of_single_rows_have_genres_in_their_shares(counts: list[int], k: int, seed: int) -> None:
    genres = np.repeat([f"genre {place}" for place in range(len(counts))], counts)
    for _, test in folds(genres, np.arange(len(genres)).astype(str), k, seed):
        found = Counter(genres[test].tolist())
        assert all(abs(found[f"genre {place}"] - count / k) < 1 for place, count in enumerate(counts))
        assert abs(len(test) - len(genres) / k) <= len(counts)


def test_a_genre_of_k_groups_is_in_every_test() -> None:
    genres = ["rock"] * 50 + ["jazz"] * 4 + ["jazz"] * 30
    groups = [f"a{row}" for row in range(50)] + ["j1", "j2", "j3", "j4"] + ["j5"] * 30
    for _, test in folds(genres, groups, 5, 1):
        assert {genres[row] for row in test} == {"rock", "jazz"}


def test_folds_are_those_of_their_seed_alone() -> None:
    genres, groups = np.array(["a", "b"] * 40), np.arange(80).astype(str)
    one, same, other = (np.concatenate([test for _, test in folds(genres, groups, 4, seed)]) for seed in (3, 3, 4))
    assert one.tolist() == same.tolist() != other.tolist()


def test_no_rows_and_one_fold_are_no_split() -> None:
    with pytest.raises(InputError):
        folds([], [], 2, 0)
    with pytest.raises(ValueError, match="1 folds"):
        folds(["a", "b"], ["1", "2"], 1, 0)
    with pytest.raises(ValueError, match="do not fit"):
        folds(["a", "b"], ["1"], 2, 0)


@given(count=st.integers(0, 50), share=st.floats(0, 1), seed=SEEDS)
def test_a_random_split_has_its_share_and_all_rows(count: int, share: float, seed: int) -> None:
    genres = ["x"] * count
    if count < 2:
        with pytest.raises(InputError):
            random_split(genres, share, seed)
        return
    train, test = random_split(genres, share, seed)
    assert sorted([*train, *test]) == list(range(count))
    assert len(train) >= 1 <= len(test)
    assert abs(len(test) - count * share) <= 1


@given(rows=ROWS, limit=st.integers(0, 70), seed=SEEDS)
def test_a_sample_has_whole_groups_and_no_more_rows_than_wanted(
    rows: list[tuple[str, int]], limit: int, seed: int
) -> None:
    genres, groups = split(rows)
    found = sample_rows(genres, groups, limit, seed)
    assert (np.diff(found) > 0).all()
    assert len(found) <= max(limit, 0)
    if len(rows) <= limit:
        assert found.tolist() == list(range(len(rows)))
    drawn = {groups[row] for row in found}
    assert found.tolist() == [row for row, group in enumerate(groups) if group in drawn]


def test_a_sample_has_genres_in_their_shares_and_the_rare_one() -> None:
    genres = np.array(["rock"] * 700 + ["jazz"] * 299 + ["polka"])
    found = Counter(genres[sample_rows(genres, np.arange(1000).astype(str), 100, 5)].tolist())
    assert found == {"rock": 70, "jazz": 29, "polka": 1}


def test_genres_of_too_few_groups_are_rare() -> None:
    genres = ["rock", "rock", "rock", "jazz", "jazz", "jazz", "folk"]
    groups = ["a", "b", "c", "d", "d", "e", "a"]
    assert rare_genres(genres, groups, 3) == {"jazz", "folk"}
    assert rare_genres(genres, groups, 1) == set()
    assert rare_genres([], [], 5) == set()


def test_columns_are_aligned_by_name() -> None:
    found = align(np.array([[0.2, 0.3, 0.5]]), ("a", "b", "c"), ("c", "x", "a"))
    assert found.tolist() == [[0.5, 0.0, 0.2]]
    assert align(np.zeros((0, 2)), ("a", "b"), ("b",)).shape == (0, 1)
