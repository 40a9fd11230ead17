"""Tests of ranking metrics against literal formulas and scikit-learn."""

import math
from collections import defaultdict
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from reprise.lib.detect import ranking_metrics

MISS_RANK = 60
# for each query: distinct ranks of mates, and the number of mates without an embedding
queries = st.lists(
    st.tuples(st.lists(st.integers(1, MISS_RANK), max_size=8, unique=True), st.integers(0, 3)), max_size=12
)  # fmt: skip


def as_pairs(made: list[tuple[list[int], int]], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(f"TR{q:02d}", rank) for q, (ranks, missing) in enumerate(made) for rank in ranks + [0] * missing]
    order = np.random.default_rng(seed).permutation(len(pairs))
    return np.array([pairs[i][0] for i in order], dtype="<U4"), np.array([pairs[i][1] for i in order], dtype=np.int64)


def literal_average_precision(ranks: list[int], mates: int) -> float:
    return sum(sum(other <= rank for other in ranks) / rank for rank in ranks) / mates


@settings(deadline=None)
@given(queries, st.integers(0, 5))
def test_metrics_against_literal_formulas(made: list[tuple[list[int], int]], seed: int) -> None:
    query, rank = as_pairs(made, seed)
    for miss_rank in (None, MISS_RANK):
        expected = []
        for number, (ranks, absent) in enumerate(made):
            missing = 0 if miss_rank is None else absent
            mates = len(ranks) + missing
            if mates:
                with_misses = ranks + [MISS_RANK] * missing
                expected.append((f"TR{number:02d}", mates, literal_average_precision(ranks, mates), min(with_misses),
                               sum(with_misses), sum(r <= 10 for r in ranks) / 10))  # fmt: skip
        scores = ranking_metrics.score_queries(query, rank, miss_rank=miss_rank)
        got = list(zip(*(column.tolist() for column in astuple(scores)), strict=True))
        assert [row[:2] + row[3:5] for row in got] == [row[:2] + row[3:5] for row in expected]
        assert [row[2::3] for row in got] == [pytest.approx(row[2::3]) for row in expected]
        total = ranking_metrics.summarise(scores)
        assert (total.queries, total.pairs) == (len(expected), sum(row[1] for row in expected))
        if expected:
            assert total.mean_average_precision == pytest.approx(np.mean([row[2] for row in expected]))
            assert total.mean_first_rank == pytest.approx(np.mean([row[3] for row in expected]))
            assert total.average_rank == pytest.approx(sum(row[4] for row in expected) / total.pairs)
            assert total.precision_at_10 == pytest.approx(np.mean([row[5] for row in expected]))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40, unique=True))
def test_average_precision_against_sklearn(ranks: list[int]) -> None:
    labels = np.isin(np.arange(1, 41), ranks)
    scores = ranking_metrics.score_queries(np.zeros(len(ranks)), ranks)
    assert scores.average_precision == pytest.approx(average_precision_score(labels, -np.arange(40.0)))


def test_metrics_of_a_small_example() -> None:
    # three versions of one work; c has no embedding, a finds b at rank 2, b finds a at rank 1
    query, rank = ["a", "a", "b", "b", "c", "c"], [2, 0, 1, 0, 0, 0]
    among_present = ranking_metrics.summarise(ranking_metrics.score_queries(query, rank))
    assert among_present == ranking_metrics.RetrievalMetrics(2, 2, 0.75, 1.5, 1.5, 0.1)
    counted_all = ranking_metrics.summarise(ranking_metrics.score_queries(query, rank, miss_rank=100))
    assert counted_all.queries == 3
    assert counted_all.pairs == 6
    assert counted_all.mean_average_precision == pytest.approx((0.25 + 0.5 + 0) / 3)
    assert counted_all.mean_first_rank == pytest.approx((2 + 1 + 100) / 3)
    assert counted_all.average_rank == pytest.approx((2 + 100 + 1 + 300) / 6)
    assert counted_all.precision_at_10 == pytest.approx(0.2 / 3)


def test_miss_is_not_counted_by_precision_at_10() -> None:
    scores = ranking_metrics.score_queries([1, 1], [4, 0], miss_rank=4)
    assert (scores.precision_at_10[0], scores.average_precision[0], scores.rank_sum[0]) == (0.1, 1 / 8, 8)


@pytest.mark.parametrize("rank", [[], [0, 0]])
def test_metrics_without_ranked_pairs(rank: list[int]) -> None:
    scores = ranking_metrics.score_queries(["a"] * len(rank), rank)
    total = ranking_metrics.summarise(scores)
    assert (total.queries, total.pairs) == (0, 0)
    assert all(math.isnan(value) for value in astuple(total)[2:])
    assert len(ranking_metrics.score_cliques(scores, []).clique) == 0
    curve = ranking_metrics.precision_recall(["a"] * len(rank), rank)
    assert len(curve.recall) == 101
    assert np.isnan(curve.precision).all()


def test_all_pairs_missed() -> None:
    total = ranking_metrics.summarise(ranking_metrics.score_queries([1, 1, 2], [0, 0, 0], miss_rank=9))
    assert total == ranking_metrics.RetrievalMetrics(2, 3, 0.0, 9.0, 9.0, 0.0)
    assert not ranking_metrics.precision_recall([1, 1, 2], [0, 0, 0], miss_rank=9).precision.any()


@pytest.mark.parametrize(
    ("query", "rank", "miss_rank", "match"),
    [
        ([1, 1], [3, 3], None, "break ties"),
        ([1], [-1], None, "counted from 1"),
        ([1], [11], 10, "beyond"),
        ([1, 2], [1], None, "shape"),
    ],
)
def test_invalid_ranks_are_refused(query: list[int], rank: list[int], miss_rank: int | None, match: str) -> None:
    for count in (ranking_metrics.score_queries, ranking_metrics.precision_recall):
        with pytest.raises(ValueError, match=match):
            count(query, rank, miss_rank=miss_rank)


@given(queries, st.lists(st.sampled_from(["x", "y", "z"]), min_size=12, max_size=12))
def test_metrics_of_cliques(made: list[tuple[list[int], int]], names: list[str]) -> None:
    query, rank = as_pairs(made)
    scores = ranking_metrics.score_queries(query, rank, miss_rank=MISS_RANK)
    clique = [names[int(label[2:])] for label in scores.query.tolist()]
    groups = defaultdict(list)
    for name, precision, first in zip(clique, scores.average_precision, scores.first_rank, strict=True):
        groups[name].append((precision, first))
    got = ranking_metrics.score_cliques(scores, clique)
    assert got.clique.tolist() == sorted(groups)
    assert got.queries.tolist() == [len(groups[name]) for name in sorted(groups)]
    expected = np.array([np.mean(groups[name], axis=0) for name in sorted(groups)]).reshape(-1, 2)
    np.testing.assert_allclose(got.mean_average_precision, expected[:, 0])
    np.testing.assert_allclose(got.mean_first_rank, expected[:, 1])


@settings(deadline=None)
@given(queries)
def test_precision_recall_against_the_definition(made: list[tuple[list[int], int]]) -> None:
    query, rank = as_pairs(made)
    for miss_rank in (None, MISS_RANK):
        curves = []
        for ranks, missing in made:
            mates = len(ranks) + (missing if miss_rank else 0)
            if mates:
                points = [(i / mates, i / r) for i, r in enumerate(sorted(ranks), 1)]
                # a recall equal to the level may differ from it by a rounding error
                curves.append(
                    [max([p for r, p in points if r >= level / 100 - 1e-9], default=0) for level in range(101)]
                )
        got = ranking_metrics.precision_recall(query, rank, miss_rank=miss_rank).precision
        if curves:
            np.testing.assert_allclose(got, np.mean(curves, axis=0))
            assert np.all(np.diff(got) <= 1e-12)


def test_rank_histogram() -> None:
    got = ranking_metrics.rank_histogram([1, 1, 2, 4, 5, 9, 10, 19, 20, 49, 50, 1000])
    assert got.edges.tolist() == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert got.counts.tolist() == [2, 2, 2, 2, 2, 1, 0, 0, 0, 1]
    assert ranking_metrics.rank_histogram([]).edges.tolist() == [1, 2]
    assert ranking_metrics.rank_histogram([1]).counts.tolist() == [1]
    assert ranking_metrics.rank_histogram([2]).counts.tolist() == [0, 1]
    with pytest.raises(ValueError, match="from 1"):
        ranking_metrics.rank_histogram([3, 0])


@given(st.lists(st.integers(1, 10**7)))
def test_rank_histogram_counts_every_rank(ranks: list[int]) -> None:
    got = ranking_metrics.rank_histogram(ranks)
    assert got.counts.sum() == len(ranks)
    assert len(got.edges) == len(got.counts) + 1
    assert got.edges[-2] <= max(ranks, default=1) < got.edges[-1]


def test_triplet_accuracy() -> None:
    nan, inf = math.nan, math.inf
    got = ranking_metrics.score_triplets([1, 2, 2, nan, 1, inf, 0], [2, 1, 2, 1, nan, inf, inf])
    assert got == ranking_metrics.TripletScore(7, 5, 2)
    assert (got.accuracy, got.accuracy_of_all) == (2 / 5, 2 / 7)
    for nothing in (ranking_metrics.score_triplets([], []), ranking_metrics.score_triplets([nan], [1])):
        assert math.isnan(nothing.accuracy)
    assert ranking_metrics.score_triplets([nan], [1]).accuracy_of_all == 0
    assert math.isnan(ranking_metrics.score_triplets([], []).accuracy_of_all)
    with pytest.raises(ValueError, match="shape"):
        ranking_metrics.score_triplets([1], [1, 2])


distances = st.lists(st.integers(0, 6).map(float) | st.just(math.inf), min_size=1, max_size=20)


@given(distances, distances)
def test_roc_area_against_sklearn(covers: list[float], others: list[float]) -> None:
    labels = [1] * len(covers) + [0] * len(others)
    finite = np.minimum(covers + others, 99)
    assert ranking_metrics.roc_area(covers, others) == pytest.approx(roc_auc_score(labels, -finite))
    assert ranking_metrics.roc_area(others, covers) == pytest.approx(1 - ranking_metrics.roc_area(covers, others))


def test_roc_area_edges() -> None:
    assert math.isnan(ranking_metrics.roc_area([], [1]))
    assert math.isnan(ranking_metrics.roc_area([1], []))
    assert ranking_metrics.roc_area([1, 2], [3]) == 1
    with pytest.raises(ValueError, match="NaN"):
        ranking_metrics.roc_area([1, math.nan], [3])
