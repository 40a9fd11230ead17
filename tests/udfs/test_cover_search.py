"""Search in blocks of vectors and alignment of candidates, for any division of the gallery into blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.search import NO_GROUP
from reprise.udfs.cover_search import Mates, Queries, align_candidates, count_ranked_before, find_nearest, read_block

RNG = np.random.default_rng(5)
N, D = 90, 6
VECTORS = RNG.integers(-2, 3, (N, D)).astype(np.float32)  # few distinct values, so that many distances are equal
IDS = [f"TR{i:05d}" for i in RNG.permutation(N)]
GROUPS = np.where(np.arange(N) % 10 < 2, np.arange(N) // 10, NO_GROUP).astype(np.int64)  # nine pairs of duplicates
QUERY_ROWS = np.array([0, 1, 7, 40])
QUERIES = Queries([IDS[i] for i in QUERY_ROWS], VECTORS[QUERY_ROWS], GROUPS[QUERY_ROWS])


def block(rows: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {
            "track_id": pa.array([IDS[i] for i in rows], pa.string()),
            "vector": pa.array([VECTORS[i] for i in rows], pa.list_(pa.float32())),
            "duplicates": pa.array(GROUPS[rows], pa.int64()),
        }
    )


def parts(sizes: tuple[int, ...]) -> Iterator[pa.RecordBatch]:
    start = 0
    for size in sizes:
        yield block(np.arange(start, start + size))
        start += size


def rankings() -> list[list[tuple[float, str]]]:
    """All tracks except the query and its duplicates, by distance and then id."""
    found = []
    for query in QUERY_ROWS:
        others = [i for i in range(N) if i != query and not (GROUPS[i] == GROUPS[query] != NO_GROUP)]
        found.append(
            sorted((float(np.linalg.norm((VECTORS[i] - VECTORS[query]).astype("f8"))), IDS[i]) for i in others)
        )
    return found


SIZES = [(90,), (0, 1, 88, 1), (30, 30, 30)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("k", [1, 10, 200])
def test_nearest_tracks_equal_brute_force(k: int, sizes: tuple[int, ...]) -> None:
    (found,) = find_nearest(parts(sizes), queries=QUERIES, k=k)
    rows = found.to_pylist()
    for number, ranking in enumerate(rankings()):
        ours = [(row["distance"], row["candidate_id"]) for row in rows if row["query"] == number]
        assert ours == [(pytest.approx(distance), track_id) for distance, track_id in ranking[:k]]


def test_nearest_tracks_of_two_parts_contain_the_nearest_of_all() -> None:
    """The results of two workers together contain the k nearest tracks."""
    halves = [find_nearest([block(rows)], queries=QUERIES, k=5) for rows in np.array_split(np.arange(N), 2)]
    rows = [row for half in halves for batch in half for row in batch.to_pylist()]
    for number, ranking in enumerate(rankings()):
        ours = sorted((row["distance"], row["candidate_id"]) for row in rows if row["query"] == number)
        assert [track_id for _, track_id in ours[:5]] == [track_id for _, track_id in ranking[:5]]


def test_empty_part_finds_nothing() -> None:
    for batches in ([], [block(np.arange(0))]):
        (found,) = find_nearest(iter(batches), queries=QUERIES, k=3)
        assert found.num_rows == 0
        assert found.schema.names == ["query", "candidate_id", "distance"]


@pytest.mark.parametrize("sizes", SIZES)
def test_counts_of_tracks_ranked_before_equal_the_ranks(sizes: tuple[int, ...]) -> None:
    pairs = [(q, rank) for q in range(len(QUERY_ROWS)) for rank in (0, 3, 50)]
    tracks = [rankings()[q][rank] for q, rank in pairs]
    mates = Mates(
        np.array([q for q, _ in pairs]),
        [track_id for _, track_id in tracks],
        np.array([distance for distance, _ in tracks]),
    )
    (counts,) = count_ranked_before(parts(sizes), queries=QUERIES, mates=mates)
    assert counts.column("mate").to_pylist() == list(range(len(pairs)))
    assert counts.column("before").to_pylist() == [rank for _, rank in pairs]


def test_block_is_read_as_written() -> None:
    vectors, ids, groups = read_block(block(np.arange(10, 20)).slice(3, 4))
    np.testing.assert_array_equal(vectors, VECTORS[13:17])
    assert vectors.dtype == np.float32
    assert ids == IDS[13:17]
    np.testing.assert_array_equal(groups, GROUPS[13:17])


@pytest.mark.parametrize("reranker", list(RERANKERS))
def test_candidate_is_aligned_with_the_queries_that_found_it(reranker: str) -> None:
    chromas = [RNG.random((12, beats), dtype=np.float32) for beats in (80, 95, 120, 76)]
    batch = pa.RecordBatch.from_pydict(
        {
            "track_id": ["a", "b", "none"],
            "beat_chroma": [chromas[2].ravel(), chromas[3].ravel(), chromas[0].ravel()],
            "queries": pa.array([[1, 0], [1], []], pa.list_(pa.int32())),
        }
    )
    made = align_candidates([batch], chromas={0: chromas[0], 1: chromas[1]}, reranker=reranker)
    rows = [row for found in made for row in found.to_pylist()]
    assert [(row["query"], row["candidate_id"]) for row in rows] == [(1, "a"), (0, "a"), (1, "b")]
    for row in rows:
        expected = RERANKERS[reranker](chromas[row["query"]], chromas[{"a": 2, "b": 3}[row["candidate_id"]]])
        assert row["alignment_distance"] == pytest.approx(expected.distance)
        assert row["transposition"] == expected.transposition
        assert row["tempo_ratio"] == pytest.approx(expected.tempo_ratio)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("k", [1, 10, 200])
def test_a_query_with_several_embeddings_is_as_near_as_its_nearest(k: int, sizes: tuple[int, ...]) -> None:
    """Each candidate occurs once, however many embeddings find it."""
    each = 3
    vectors = RNG.integers(-2, 3, (len(QUERY_ROWS) * each, D)).astype(np.float32)
    queries = Queries(QUERIES.ids, vectors, QUERIES.groups)
    assert queries.vectors_per_query == each
    (found,) = find_nearest(parts(sizes), queries=queries, k=k)
    rows = found.to_pylist()
    for number, query in enumerate(QUERY_ROWS):
        own = vectors[number * each : (number + 1) * each].astype("f8")
        others = [i for i in range(N) if i != query and not (GROUPS[i] == GROUPS[query] != NO_GROUP)]
        expected = sorted((float(np.linalg.norm(own - VECTORS[i], axis=1).min()), IDS[i]) for i in others)[:k]
        ours = [(row["distance"], row["candidate_id"]) for row in rows if row["query"] == number]
        assert [name for _, name in sorted(ours)] == [name for _, name in expected]
        np.testing.assert_allclose(sorted(distance for distance, _ in ours), [distance for distance, _ in expected])


def test_no_query_finds_nothing() -> None:
    none = Queries([], np.empty((0, D), dtype=np.float32), np.empty(0, dtype=np.int64))
    (found,) = find_nearest(parts((90,)), queries=none, k=3)
    assert found.num_rows == 0
