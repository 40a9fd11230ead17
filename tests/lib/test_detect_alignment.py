"""Tests of the three alignment measures: against slow versions written from the papers, and their invariances."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.detect import alignment
from reprise.lib.detect.alignment import RERANKERS, Alignment
from reprise.lib.detect.transposition import optimal_transposition, rank_transpositions

MEASURES = pytest.mark.parametrize("name", RERANKERS)
NEEDED = {"dtw": 21, "qmax": 15, "simple": 31}
MAX_DISTANCE = {"dtw": 2.0, "qmax": 100.0, "simple": 2.0}


def tune(seed: int, beats: int) -> np.ndarray:
    """Return a random chroma with changing triads and some noise."""
    rng = np.random.default_rng(seed)
    chroma = 0.3 * rng.random((12, beats))
    tonic = np.array([0, 0, 0, 2, 4, 5, 5, 7, 7, 9])[rng.integers(0, 10, beats // 2 + 1)]
    for step in (0, 4, 7):
        chroma[(np.repeat(tonic, 2)[:beats] + step) % 12, np.arange(beats)] += 0.7
    return (chroma / chroma.max(axis=0, keepdims=True, initial=1e-9)).astype(np.float32)


def version(chroma: np.ndarray, seed: int = 99) -> np.ndarray:
    """Return a version of a chroma: with other noise, a new beginning and some beats removed."""
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(chroma.shape[1])[: chroma.shape[1] - 4])
    played = np.concatenate([tune(seed, 12), chroma[:, kept]], axis=1)
    return np.clip(played + 0.15 * rng.random(played.shape), 0, None).astype(np.float32)


# --- slow versions, written from the papers


def oracle_features(chroma: np.ndarray, pooled: int) -> np.ndarray:
    columns = []
    for column in chroma.T.astype(np.float64):
        length = np.linalg.norm(column)
        columns.append(column / length if length else column)
    columns = [sum(columns[i : i + pooled]) / pooled for i in range(0, len(columns) - pooled + 1, pooled)]
    columns = [column - column.mean() for column in columns]
    mean = sum(columns) / len(columns)
    return np.array([(column - mean) / np.linalg.norm(column - mean) for column in columns])


def oracle_similarity(query: np.ndarray, candidate: np.ndarray, window: int) -> np.ndarray:
    rows, columns = len(query) - window + 1, len(candidate) - window + 1
    cosine = (query @ candidate.T).tolist()
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = sum(cosine[i + k][j + k] for k in range(window)) / window
    return out


def oracle_dtw(similarity: np.ndarray) -> float:
    """Subsequence DTW by its recursion, excerpt by excerpt; an excerpt without any path costs 2 per window."""
    bounds = np.linspace(0, len(similarity), max(1, len(similarity) // 80) + 1).astype(int)
    return sum(oracle_excerpt(1 - similarity[first:end]) for first, end in pairwise(bounds)) / len(similarity)


def oracle_excerpt(cost: np.ndarray) -> float:
    @cache
    def best(i: int, j: int) -> float:
        if i < 0 or j < 0:
            return np.inf
        if i == 0:
            return cost[0, j]
        return min(
            best(i - 1, j - 1) + cost[i, j], best(i - 2, j - 1) + 2 * cost[i, j], best(i - 1, j - 2) + cost[i, j]
        )

    fits = min(best(len(cost) - 1, j) for j in range(cost.shape[1]))
    return fits if np.isfinite(fits) else 2.0 * len(cost)


def oracle_qmax(similarity: np.ndarray, kappa: float = 0.05, onset: float = 5.0, extension: float = 0.5) -> float:
    """Serrà, Serra & Andrzejak 2009: recurrence by mutual nearest neighbours, then the equation for Q."""
    rows, columns = similarity.shape
    near_row, near_column = max(1, int(kappa * columns)), max(1, int(kappa * rows))
    recurs = np.zeros((rows + 2, columns + 2), dtype=bool)
    for i in range(rows):
        for j in range(columns):
            rank_in_row = sum(similarity[i] >= similarity[i, j])
            rank_in_column = sum(similarity[:, j] >= similarity[i, j])
            recurs[i + 2, j + 2] = rank_in_row <= near_row and rank_in_column <= near_column
    q = np.zeros((rows + 2, columns + 2))

    def gamma(i: int, j: int) -> float:
        return onset if recurs[i, j] else extension

    for i in range(2, rows + 2):
        for j in range(2, columns + 2):
            before = [(i - 1, j - 1), (i - 2, j - 1), (i - 1, j - 2)]
            if recurs[i, j]:
                q[i, j] = max(q[b] for b in before) + 1
            else:
                q[i, j] = max(0.0, *(q[b] - gamma(*b) for b in before))
    return min(np.sqrt(columns) / q.max(), 100.0) if q.max() else 100.0


def oracle_simple(similarity: np.ndarray) -> float:
    return float(np.median([1 - max(row) for row in similarity]))


ORACLES = {"dtw": (20, oracle_dtw), "qmax": (14, oracle_qmax), "simple": (30, oracle_simple)}


def oracle(name: str, query: np.ndarray, candidate: np.ndarray) -> float:
    """Return the distance of the better of the two best pairings of three rates and two transpositions."""
    window, measure = ORACLES[name]
    likely = sorted(
        range(12), key=lambda t: -sum(query[(p - t) % 12].sum() * candidate[p].sum(dtype=float) for p in range(12))
    )[:2]
    pairings = []
    for ours, theirs in ((1, 1), (2, 1), (1, 2)):
        a = oracle_features(query, ours)
        if len(a) <= window:
            continue
        for t in likely:
            b = oracle_features(np.array([candidate[(p + t) % 12] for p in range(12)]), theirs)
            if len(b) <= window:
                continue
            similarity = oracle_similarity(a, b, window)
            pairings.append((similarity.max(axis=1).mean() + similarity.max(axis=0).mean(), similarity))
    pairings.sort(key=lambda pairing: -pairing[0])
    return min(measure(similarity) for _, similarity in pairings[:2])


# --- tests


@MEASURES
@pytest.mark.parametrize(("beats", "other"), [(70, 50), (64, 101), (130, 70)])
def test_distance_equals_the_formula_of_the_paper(name: str, beats: int, other: int) -> None:
    song = tune(beats, beats)
    for candidate in (tune(other, other), np.roll(version(song), 3, axis=0)):
        expected = oracle(name, song, candidate)
        assert RERANKERS[name](song, candidate).distance == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_long_queries_are_cut_into_excerpts() -> None:
    song, other = tune(1, 210), tune(2, 150)
    assert RERANKERS["dtw"](song, other).distance == pytest.approx(oracle("dtw", song, other), rel=1e-4)


@MEASURES
def test_version_is_nearer_than_other_songs(name: str) -> None:
    song = tune(5, 200)
    others = [RERANKERS[name](song, tune(seed, 200)).distance for seed in range(10, 20)]
    assert RERANKERS[name](song, np.roll(version(song), 4, axis=0)).distance < min(others)


@MEASURES
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10**6), semitones=st.integers(0, 11))
def test_transposing_the_candidate_changes_only_the_transposition(name: str, seed: int, semitones: int) -> None:
    song = tune(seed, 90)
    candidate = version(song)
    there, moved = RERANKERS[name](song, candidate), RERANKERS[name](song, np.roll(candidate, semitones, axis=0))
    assert moved.transposition == (there.transposition + semitones) % 12
    assert moved.distance == pytest.approx(there.distance, rel=1e-5, abs=1e-6)
    assert moved.tempo_ratio == there.tempo_ratio
    np.testing.assert_array_equal(moved.path, there.path)


@MEASURES
def test_distance_of_a_song_to_itself_is_minimal(name: str) -> None:
    song = tune(3, 160)
    same = RERANKERS[name](song, song)
    best = 0.0 if name != "qmax" else 1 / np.sqrt(160 - 14 + 1)
    assert same.distance == pytest.approx(best, abs=2e-6)
    assert (same.transposition, same.tempo_ratio) == (0, 1.0)
    np.testing.assert_array_equal(same.path[:, 0], same.path[:, 1])


def test_qmax_is_symmetric_except_for_the_length() -> None:
    song = tune(8, 150)
    other = np.roll(version(song), 7, axis=0)
    there, back = RERANKERS["qmax"](song, other), RERANKERS["qmax"](other, song)
    windows = np.sqrt(other.shape[1] - 13), np.sqrt(song.shape[1] - 13)
    assert there.distance / windows[0] == pytest.approx(back.distance / windows[1])
    assert (there.transposition + back.transposition) % 12 == 0
    assert there.tempo_ratio == pytest.approx(1 / back.tempo_ratio, rel=0.03)


@MEASURES
@pytest.mark.parametrize("semitones", [0, 5])
def test_doubled_beats_double_the_tempo_ratio(name: str, semitones: int) -> None:
    song = tune(4, 150)
    double = np.roll(np.repeat(song, 2, axis=1), semitones, axis=0)
    there, back = RERANKERS[name](song, double), RERANKERS[name](double, song)
    assert (there.tempo_ratio, there.transposition) == (2.0, semitones)
    assert (back.tempo_ratio, back.transposition) == (0.5, -semitones % 12)
    np.testing.assert_allclose(np.diff(there.path[:, 1]) / np.diff(there.path[:, 0]), 2)
    assert there.distance == pytest.approx(RERANKERS[name](song, song).distance, abs=2e-6)


@pytest.mark.parametrize("name", ["dtw", "qmax"])
def test_a_slower_version_has_fewer_beats_along_the_path(name: str) -> None:
    song = tune(6, 240)
    slower = song[:, np.arange(240) % 5 != 2]
    assert RERANKERS[name](song, slower).tempo_ratio == pytest.approx(0.8, abs=0.05)


@MEASURES
@pytest.mark.parametrize("beats", [0, 1, 5, 14])
def test_too_short_tracks_have_the_maximum_distance(name: str, beats: int) -> None:
    for query, candidate in ((tune(1, beats), tune(2, 100)), (tune(1, 100), tune(2, beats))):
        found = RERANKERS[name](query, candidate)
        assert (found.distance, found.tempo_ratio, found.path.shape) == (MAX_DISTANCE[name], 1.0, (0, 2))


@MEASURES
def test_shortest_tracks_that_are_aligned(name: str) -> None:
    song = tune(1, NEEDED[name])
    assert RERANKERS[name](song, song).distance < MAX_DISTANCE[name]
    assert RERANKERS[name](song[:, 1:], song).distance == MAX_DISTANCE[name]
    assert_valid(RERANKERS[name](song, tune(2, 400)), song.shape[1], 400)
    assert_valid(RERANKERS[name](tune(2, 400), song), 400, song.shape[1])


@MEASURES
def test_silence_is_similar_to_nothing(name: str) -> None:
    silent, flat = np.zeros((12, 100), dtype=np.float32), np.ones((12, 100), dtype=np.float32)
    song = tune(1, 100)
    with_gap = song.copy()
    with_gap[:, 40:60] = 0
    for query in (silent, flat, song):
        for candidate in (silent, flat):
            found = RERANKERS[name](query, candidate)
            assert_valid(found, 100, 100)
            assert found.distance == (100.0 if name == "qmax" else pytest.approx(1.0))
    assert_valid(RERANKERS[name](song, with_gap), 100, 100)
    assert RERANKERS[name](song, with_gap).distance < RERANKERS[name](song, tune(2, 100)).distance


@MEASURES
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 130), st.integers(0, 130), st.floats(0, 1))
def test_random_input_gives_a_valid_alignment(name: str, seed: int, beats: int, other: int, silent: float) -> None:
    rng = np.random.default_rng(seed)
    query, candidate = (np.round(rng.random((12, n)), 1).astype(np.float32) for n in (beats, other))
    query[:, rng.random(beats) < silent] = 0
    candidate[:, rng.random(other) < silent] = 0
    assert_valid(RERANKERS[name](query, candidate), beats, other)


def assert_valid(found: Alignment, beats: int, other: int) -> None:
    assert np.isfinite(found.distance)
    assert found.distance >= 0
    assert found.transposition in range(12)
    assert 0 < found.tempo_ratio < 8
    assert found.path.dtype == np.int32
    assert found.path.min(initial=0) >= 0
    assert (found.path < (beats, other)).all()
    assert (np.diff(found.path[:, 0]) > 0).all()


def test_transposition_equals_the_rotation_of_the_candidate() -> None:
    song = tune(2, 80)
    for semitones in range(12):
        candidate = np.roll(song, semitones, axis=0)
        assert optimal_transposition(song, candidate) == semitones
        np.testing.assert_array_equal(np.roll(candidate, -semitones, axis=0), song)
        assert sorted(rank_transpositions(song, candidate)) == list(range(12))


def test_transpositions_of_silence_are_in_ascending_order() -> None:
    assert rank_transpositions(np.zeros((12, 0), np.float32), tune(1, 9)) == list(range(12))


def test_diagonal_averages_do_not_drift() -> None:
    """Each row is updated from the one above; after thousands of rows it must still be the mean of its products."""
    rng = np.random.default_rng(0)
    products = rng.uniform(-1, 1, (3000, 60)).astype(np.float32)
    means = alignment._average_diagonals(products, 20)
    last = [np.mean([products[2980 + k, j + k] for k in range(20)], dtype=np.float64) for j in range(41)]
    np.testing.assert_allclose(means[-1], last, atol=1e-6)
