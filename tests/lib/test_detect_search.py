"""Tests of the exact search against brute force in float64: any blocks and order, ties, extreme magnitudes."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Int64Array
from reprise.lib.detect.search import NO_GROUP, Matches, MateRanks, TopK, measure_distances

Gallery = tuple[Float32Array, list[str], Int64Array]


def measure_literally(query: Float32Array, vector: Float32Array) -> float:
    """Compute the formula of the docstring of `measure_distances`, one number at a time."""
    terms = [(float(a) - float(b)) ** 2 for a, b in zip(query, vector, strict=True)]
    while len(terms) > 1:
        half = math.ceil(len(terms) / 2)
        terms = [terms[i] + terms[i + half] if i + half < len(terms) else terms[i] for i in range(half)]
    return math.sqrt(terms[0])


def rank_all(query: Float32Array, name: str, group: int, gallery: Gallery) -> list[tuple[float, bytes]]:
    """Return the full ranking of one query."""
    vectors, ids, groups = gallery
    distances = measure_distances(np.broadcast_to(query, vectors.shape), vectors)
    return sorted(
        (float(distance), other.encode())
        for distance, other, theirs in zip(distances, ids, groups, strict=True)
        if other != name and (group == NO_GROUP or theirs != group)
    )


def cut(gallery: Gallery, random: np.random.Generator, largest: int) -> Iterator[Gallery]:
    """Yield the shuffled gallery in blocks of 0 to ``largest`` items."""
    vectors, ids, groups = gallery
    order = random.permutation(len(ids))
    start = 0
    while start < len(ids):
        size = int(random.integers(0, largest + 1))
        rows = order[start : start + size]
        yield vectors[rows], [ids[row] for row in rows], groups[rows]
        start += size


def assert_equal(found: Matches, expected: list[list[tuple[float, bytes]]], k: int) -> None:
    assert found.ids.shape == found.distances.shape == (len(expected), k)
    for row, ranking in enumerate(expected):
        count = min(k, len(ranking))
        assert found.counts[row] == count
        pairs = zip(found.distances[row].tolist(), found.ids[row].tolist(), strict=True)
        assert list(pairs) == ranking[:count] + [(math.inf, b"")] * (k - count)


def check(queries: Gallery, gallery: Gallery, k: int, seed: int, largest: int = 50) -> None:
    """Check the nearest items and the ranks of some mates against brute force."""
    random = np.random.default_rng(seed)
    expected = [rank_all(vector, name, int(group), gallery) for vector, name, group in zip(*queries, strict=True)]
    top = TopK(*queries, k)
    for block in cut(gallery, random, largest):
        top.add(*block)
    assert_equal(top.matches(), expected, k)

    mates = [(row, rank) for row, ranking in enumerate(expected) for rank in range(0, len(ranking), 3)]
    random.shuffle(mates)
    rows = np.array([row for row, _ in mates], np.int64)
    ids = np.array([expected[row][rank][1] for row, rank in mates], "S24")
    distances = np.array([expected[row][rank][0] for row, rank in mates])
    ranks = MateRanks(*queries, rows, ids, distances)
    for block in cut(gallery, random, largest):
        ranks.add(*block)
    assert ranks.counts.tolist() == [rank for _, rank in mates]


def make(random: np.random.Generator, vectors: NDArray[Any], groups: int = 0, first: int = 0) -> Gallery:
    names = [f"TR{number:04d}" for number in random.permutation(len(vectors)) + first]
    marks = random.integers(-1, groups, len(vectors)) if groups else np.full(len(vectors), NO_GROUP)
    return vectors.astype(np.float32), names, marks


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(0, 6), st.integers(0, 80), st.integers(1, 19)),
    span=st.sampled_from([1, 2, 9]),
    groups=st.integers(0, 4),
    k=st.integers(1, 90),
)
@settings(max_examples=100, deadline=None)
def test_ties_groups_and_blocks(seed: int, shape: tuple[int, int, int], span: int, groups: int, k: int) -> None:
    random = np.random.default_rng(seed)
    count, size, width = shape
    gallery = make(random, random.integers(0, span, (size, width)), groups)
    queries = make(random, random.integers(0, span, (count, width)), groups)
    check(queries, gallery, k, seed, largest=int(random.integers(1, 90)))


@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-40, 1e-20, 1e-6, 1.0, 1e4, 1e16]),
    near=st.sampled_from([0.0, 1e-7, 1e-3]),
    width=st.integers(1, 70),
)
@settings(max_examples=60, deadline=None)
def test_magnitudes_where_float32_cancels(seed: int, scale: float, near: float, width: int) -> None:
    """All vectors are close to one point far from the origin, so float32 products cannot distinguish them."""
    random = np.random.default_rng(seed)
    centre = random.standard_normal(width)
    gallery = make(random, scale * (centre + near * random.standard_normal((60, width))))
    queries = make(random, scale * (centre + near * random.standard_normal((3, width))))
    check(queries, gallery, 7, seed)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_mixed_magnitudes(seed: int) -> None:
    random = np.random.default_rng(seed)
    gallery = make(random, random.standard_normal((70, 9)) * 10.0 ** random.integers(-6, 5, (70, 1)))
    queries = make(random, random.standard_normal((5, 9)) * 10.0 ** random.integers(-6, 5, (5, 1)))
    check(queries, gallery, 5, seed)


@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_more_than_one_tile_of_queries_and_items(spread: float) -> None:
    """2,100 × 1,500 pairs of 200 components; duplicate vectors give ties across tiles."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((30, 200))
    gallery = make(random, centres[random.integers(0, 30, 2_100)] + spread * random.integers(-1, 2, (2_100, 1)), 9)
    # queries are items of the gallery, so each query must be excluded from its own ranking
    vectors, names, groups = gallery
    queries = vectors[:1_500], names[:1_500], groups[:1_500]
    top = TopK(*queries, 20)
    top.add(vectors[::-1], names[::-1], groups[::-1])
    found = top.matches()
    mates = np.arange(0, 1_500, 50)
    ranks = MateRanks(*queries, mates, found.ids[mates, 13], found.distances[mates, 13])
    ranks.add(*gallery)
    assert (ranks.counts == 13).all()
    for row in mates:
        expected = rank_all(vectors[row], names[row], int(groups[row]), gallery)
        one = Matches(found.ids[[row]], found.distances[[row]], found.counts[[row]])
        assert_equal(one, [expected], 20)


def test_identifiers_break_ties() -> None:
    """Identifiers are compared as bytes, also after characters 8 and 16; a shorter one comes before its extensions."""
    names = ["b", "a", "aa", "A" * 8 + "b", "A" * 8 + "a", "A" * 16 + "z", "A" * 16 + "b", "A" * 23 + "B", "A" * 24, ""]
    vectors = np.ones((len(names), 3), np.float32)
    no_group = np.full(len(names), NO_GROUP)
    for k in (1, 4, len(names)):
        top = TopK(vectors[:1], ["query"], no_group[:1], k)
        for row in range(len(names)):
            top.add(vectors[row : row + 1], names[row : row + 1], no_group[:1])
        assert top.matches().ids[0].tolist() == sorted(name.encode() for name in names)[:k]
        assert not top.matches().distances.any()


def test_query_and_its_group_are_excluded() -> None:
    vectors = np.zeros((6, 2), np.float32)
    names = ["a", "b", "c", "d", "e", "f"]
    groups = np.array([-1, 4, 4, -1, 5, -1])
    top = TopK(vectors, names, groups, 6)
    top.add(vectors, names, groups)
    found = [b"".join(row.tolist()).decode() for row in top.matches().ids]
    assert found == ["bcdef", "adef", "adef", "abcef", "abcdf", "abcde"]
    ranks = MateRanks(vectors, names, groups, np.array([5, 1, 0]), ["e", "f", "z"], np.zeros(3))
    ranks.add(vectors, names, groups)
    assert ranks.counts.tolist() == [4, 3, 5]


def test_repeated_query_gets_the_same_result() -> None:
    random = np.random.default_rng(3)
    gallery = make(random, random.standard_normal((40, 5)))
    queries = gallery[0][[4, 4]], [gallery[1][4]] * 2, np.full(2, NO_GROUP)
    check(queries, gallery, 9, 3)


def test_distances_follow_the_formula() -> None:
    random = np.random.default_rng(5)
    for width in (1, 2, 3, 7, 8, 9, 200, 451, 2_048):
        a, b = random.standard_normal((2, 6, width)).astype(np.float32)
        distances = measure_distances(a, b)
        assert distances.tolist() == [measure_literally(x, y) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(distances, np.linalg.norm(a.astype(float) - b, axis=1), rtol=1e-13)


def test_empty_queries_gallery_and_mates() -> None:
    no_rows, empty = np.zeros(0, np.int64), np.zeros((0, 4), np.float32)
    vectors = np.ones((2, 4), np.float32)
    top = TopK(empty, [], no_rows, 3)
    top.add(vectors, ["a", "b"], np.array([1, 1]))
    assert top.matches().ids.shape == (0, 3)
    top = TopK(vectors, ["a", "b"], np.array([1, 1]), 3)
    top.add(empty, [], no_rows)
    assert top.matches().counts.tolist() == [0, 0]
    assert np.isinf(top.matches().distances).all()
    ranks = MateRanks(vectors, ["a", "b"], np.array([1, 1]), no_rows, [], np.zeros(0))
    ranks.add(vectors, ["c", "d"], np.array([1, 2]))
    assert ranks.counts.shape == (0,)


def test_refused_block_changes_nothing() -> None:
    """The invalid row is the last one, so the test fails if rows are checked while they are added."""
    vectors = np.ones((3, 2), np.float32)
    top = TopK(vectors[:1], ["q"], np.array([NO_GROUP]), 2)
    for bad in (np.nan, np.inf, -np.inf, 2e18):
        invalid = vectors.copy()
        invalid[2, 1] = bad
        with pytest.raises(ValueError, match="not finite, or its norm"):
            top.add(invalid, ["a", "b", "c"], np.zeros(3, np.int64))
        with pytest.raises(ValueError, match="not finite, or its norm"):
            TopK(invalid, ["a", "b", "c"], np.zeros(3, np.int64), 2)
    assert top.matches().counts.tolist() == [0]


def test_invalid_arguments_are_refused() -> None:
    vectors, names, groups = np.ones((2, 3), np.float32), ["a", "b"], np.array([1, 2])
    with pytest.raises(ValueError, match="k must be"):
        TopK(vectors, names, groups, 0)
    with pytest.raises(ValueError, match="got 2, 1 and 2"):
        TopK(vectors, ["a"], groups, 1)
    with pytest.raises(ValueError, match="at most 24"):
        TopK(vectors, ["a", "b" * 25], groups, 1)
    with pytest.raises(ValueError, match="ascii"):
        TopK(vectors, ["a", "é"], groups, 1)
    with pytest.raises(ValueError, match="float32"):
        TopK(vectors.astype(np.float64), names, groups, 1)
    top = TopK(vectors, names, groups, 1)
    with pytest.raises(ValueError, match="got 2"):
        top.add(vectors[:, :2], names, groups)
    with pytest.raises(ValueError, match="differ"):
        measure_distances(vectors, vectors[:1])
    for owner, distance, message in [
        (2, 0.0, "row numbers of queries"),
        (0, np.nan, "not finite"),
        (0, -1.0, "negative"),
    ]:
        with pytest.raises(ValueError, match=message):
            MateRanks(vectors, names, groups, np.array([owner]), ["c"], np.array([distance]))
