"""Tests of the two models of the clique paper and of calibration, against scikit-learn and the definitions."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.neighbors import KNeighborsClassifier

from reprise.lib.detect import clique_models as cl
from reprise.lib.detect.calibration import Calibration, measure_reliability


def random_cliques(sizes: list[int], *, spread: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return shuffled random vectors around one centre per clique, float32 (n, 8), and their cliques."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = rng.standard_normal((len(sizes), 8))
    vectors = centres[labels] + spread * rng.standard_normal((len(labels), 8))
    return vectors.astype(np.float32), np.array([f"shs:{label}" for label in labels])


class Euclid:
    """Euclidean distance of vectors; records the pairs of every call."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = np.asarray(vectors, dtype=np.float64)
        self.calls: list[list[tuple[int, int]]] = []

    def __call__(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        assert rows.dtype == others.dtype == np.int64
        self.calls.append(list(zip(rows.tolist(), others.tolist(), strict=True)))
        return np.sqrt(np.sum((self.vectors[rows] - self.vectors[others]) ** 2, axis=1))


# ---------------------------------------------------------------- Model 1


def split_and_vote(vectors: np.ndarray, labels: np.ndarray, *, seed: int, neighbours: int = 25) -> cl.VoteMetrics:
    return cl.evaluate_vote(Euclid(vectors), labels, *cl.split_large_cliques(labels, seed=seed), neighbours=neighbours)


def test_only_large_cliques_are_split() -> None:
    vectors, labels = random_cliques([15, 16, 30, 2], spread=0.1)
    train, test = cl.split_large_cliques(labels, seed=1)
    both = np.concatenate([train, test])
    assert np.array_equal(np.sort(both), np.flatnonzero(np.isin(labels, ["shs:1", "shs:2"])))
    assert split_and_vote(vectors, labels, seed=1) == cl.VoteMetrics(1.0, 2, 46, 5)
    assert len(np.concatenate(cl.split_large_cliques(labels, seed=1, more_than=14))) == 61


@settings(deadline=None)
@given(st.lists(st.integers(1, 60), max_size=5), st.integers(0, 9), st.sampled_from([0.1, 0.25]))
def test_split_is_stratified_and_repeatable(sizes: list[int], seed: int, share: float) -> None:
    _, labels = random_cliques(sizes, seed=seed)
    train, test = cl.split_large_cliques(labels.astype(object), seed=seed, test_share=share)
    assert train.dtype == test.dtype == np.int64
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(test) > 0)
    assert not set(train) & set(test)
    large = {f"shs:{i}": size for i, size in enumerate(sizes) if size > 15}
    assert Counter(labels[np.concatenate([train, test])].tolist()) == large
    assert len(test) == math.ceil(share * sum(large.values()))
    tested = Counter(labels[test].tolist())
    assert all(abs(tested[label] - share * size) <= 1 + 1e-9 for label, size in large.items())
    again = cl.split_large_cliques(labels, seed=seed, test_share=share)
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], test)


def test_different_seeds_give_different_splits() -> None:
    _, labels = random_cliques([40] * 5)
    assert len({tuple(cl.split_large_cliques(labels, seed=seed)[1].tolist()) for seed in range(8)}) == 8


@pytest.mark.parametrize("neighbours", [1, 25, 400])
@pytest.mark.parametrize("spread", [0.1, 1.5])
def test_vote_against_sklearn(neighbours: int, spread: float) -> None:
    vectors, labels = random_cliques([40] * 5 + [20, 3], spread=spread)
    train, test = cl.split_large_cliques(labels, seed=3)
    measure = Euclid(vectors)
    vote = cl.evaluate_vote(measure, labels, train, test, neighbours=neighbours)
    oracle = KNeighborsClassifier(min(neighbours, 198)).fit(vectors[train].astype(np.float64), labels[train])
    accuracy = oracle.score(vectors[test].astype(np.float64), labels[test])
    assert vote == cl.VoteMetrics(accuracy, 6, 220, 22)
    assert measure.calls == [[(row, other) for row in test.tolist() for other in train.tolist()]]
    # only the order of the distances matters, and large values are allowed
    huge = cl.evaluate_vote(lambda *rows: 1e300 * measure(*rows), labels, train, test, neighbours=neighbours)
    assert huge == vote


def test_vote_on_noise_has_chance_accuracy() -> None:
    _, labels = random_cliques([40] * 5)
    noise = np.random.default_rng(0).standard_normal((200, 8))
    assert 0.05 < np.mean([split_and_vote(noise, labels, seed=seed).accuracy for seed in range(8)]) < 0.4


def test_vote_of_the_majority() -> None:
    # two clusters far apart; if a third of each has the label of the other, the majority of the cluster decides
    vectors = np.repeat([[0.0], [100.0]], 60, axis=0)
    labels = np.repeat(["a", "b"], 60)
    assert split_and_vote(vectors, labels, seed=0).accuracy == 1
    mislabelled = np.where(np.arange(120) % 3 == 0, labels[::-1], labels)
    vote = split_and_vote(vectors, mislabelled, seed=0, neighbours=54)
    assert vote.accuracy == pytest.approx(2 / 3, abs=0.1)


@pytest.mark.parametrize("sizes", [[], [3], [15, 15]])
def test_no_vote_without_large_cliques(sizes: list[int]) -> None:
    vectors, labels = random_cliques(sizes)
    train, test = cl.split_large_cliques(labels, seed=0)
    assert (len(train), len(test)) == (0, 0)
    assert train.dtype == test.dtype == np.int64
    measure = Euclid(vectors)
    vote = cl.evaluate_vote(measure, labels, train, test)
    assert math.isnan(vote.accuracy)
    assert (vote.cliques, vote.tracks, vote.tested) == (0, 0, 0)
    assert measure.calls == []


def test_vote_with_fewer_tracks_than_neighbours() -> None:
    assert split_and_vote(*random_cliques([16]), seed=0) == cl.VoteMetrics(1.0, 1, 16, 2)


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_vote_requires_finite_distances(distance: float) -> None:
    _, labels = random_cliques([20])
    train, test = cl.split_large_cliques(labels, seed=0)
    with pytest.raises(ValueError, match="contains"):
        cl.evaluate_vote(lambda rows, _others: np.full(len(rows), distance), labels, train, test)


# ---------------------------------------------------------------- Model 2


def literal_distance(point: np.ndarray, versions: np.ndarray) -> float:
    distances = sorted(math.sqrt(sum((a - b) ** 2 for a, b in zip(point, row, strict=True))) for row in versions)
    return sum(distances[:3]) / len(distances[:3])


def ask(track: int, work: object, other: object, *, is_version: bool = True) -> cl.CheckQuestions:
    return cl.CheckQuestions(np.array([track]), np.array([work]), np.array([other]), np.array([is_version]))


@given(hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=st.floats(-9, 9, width=16)))
def test_one_check_against_the_definition(rows: np.ndarray) -> None:
    labels = ["own"] * (len(rows) - 1) + ["other"]
    check = cl.check_versions(Euclid(rows), labels, ask(0, "own", "other"))
    assert check.to_work[0] == pytest.approx(literal_distance(rows[0], rows[1:-1]))
    assert check.to_other[0] == pytest.approx(literal_distance(rows[0], rows[-1:]))
    assert -1 <= check.margin[0] <= 1
    assert check.is_version[0] == (check.margin[0] > 0)
    opposite = cl.check_versions(Euclid(rows), labels, ask(0, "other", "own"))
    assert opposite.margin[0] == -check.margin[0]
    assert np.isfinite(check.features).all()


def test_ties_and_identical_tracks() -> None:
    def check(*vectors: list[float]) -> cl.Checks:
        return cl.check_versions(Euclid(np.array(vectors)), ["a", "a", "b"], ask(0, "a", "b"))

    same = check([0, 0], [1, 0], [0, 1])
    assert (same.margin[0], same.is_version[0]) == (0, False)
    copies = check([1, 2], [1, 2], [1, 2])
    assert (copies.margin[0], copies.is_version[0]) == (0, False)
    assert np.isfinite(copies.features).all()
    assert check([1, 2], [1, 2], [1, 3]).margin[0] == 1


@pytest.mark.parametrize(("work", "other"), [("a", "b"), ("b", "a"), ("b", "unknown"), ("", "b"), ("zzz", "b")])
def test_works_without_known_versions_are_refused(work: str, other: str) -> None:
    measure = Euclid(np.eye(3))
    with pytest.raises(ValueError, match="at least one known version"):
        cl.check_versions(measure, ["a", "b", "b"], ask(0, work, other))
    with pytest.raises(ValueError, match="at least one known version"):
        cl.pair_known_versions(["a", "b", "b"], ask(0, work, other))
    assert measure.calls == []


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 9), st.integers(1, 3))
def test_questions_follow_their_definition(sizes: list[int], seed: int, per_track: int) -> None:
    _, labels = random_cliques(sizes, seed=seed)
    asked = cl.draw_questions(labels, seed=seed, per_track=per_track)
    own = labels[asked.track]
    assert np.array_equal(asked.is_version, asked.work == own)
    assert np.all(asked.work != asked.other)
    draws = sum(size for size in sizes if size > 1) * per_track * (len(sizes) > 1)
    assert asked.is_version.sum() == draws
    assert len(asked.track) == draws * min(len(sizes), 3)
    assert np.sum(asked.other == own) == draws
    again = cl.draw_questions(labels, seed=seed, per_track=per_track)
    assert all(np.array_equal(getattr(asked, name), getattr(again, name)) for name in ("track", "work", "other"))


def test_other_works_are_drawn_uniformly() -> None:
    asked = cl.draw_questions([0, 0, 1, 2, 3, 4], seed=0, per_track=4000)
    neither = (asked.work != 0) & (asked.other != 0)
    pairs = Counter(zip(asked.work[neither].tolist(), asked.other[neither].tolist(), strict=True))
    assert len(pairs) == 12
    assert min(pairs.values()) > 0.8 * 8000 / 12


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 6), max_size=6),
    st.integers(0, 9),
    st.integers(1, 3),
    st.sampled_from(["str", "object", "int"]),
)
def test_checks_against_loops(sizes: list[int], seed: int, per_track: int, kind: str) -> None:
    labels = random_cliques(sizes, seed=seed)[1]
    labels = np.array([int(label[4:]) for label in labels], dtype=int) if kind == "int" else labels.astype(kind)
    n = len(labels)
    # asymmetric distances, so that the test fails if the two rows of a pair are swapped
    matrix = np.random.default_rng(seed).random((n, n))
    asked = cl.draw_questions(labels, seed=seed, per_track=per_track)
    calls = []

    def measure(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        calls.append((rows, others))
        return matrix[rows, others]

    got = cl.check_versions(measure, labels, asked)
    compared = set()
    for side, works in ((got.to_work, asked.work), (got.to_other, asked.other)):
        assert side.shape == (len(asked.track),)
        for i, (track, work) in enumerate(zip(asked.track.tolist(), works.tolist(), strict=True)):
            known = [row for row in range(n) if labels[row] == work and row != track]
            smallest = sorted(matrix[track, row] for row in known)[:3]
            assert side[i] == pytest.approx(sum(smallest) / len(smallest))
            compared |= {(track, row) for row in known}
    rows, others = cl.pair_known_versions(labels, asked)
    assert rows.dtype == others.dtype == np.int64
    pairs = list(zip(rows.tolist(), others.tolist(), strict=True))
    assert len(pairs) == len(compared)
    assert set(pairs) == compared
    assert len(calls) == 1
    assert np.array_equal(calls[0], (rows, others))


def test_metrics_of_checks() -> None:
    vectors, labels = random_cliques([6] * 30, spread=0.9)
    asked = cl.draw_questions(labels, seed=1, per_track=3)
    checks = cl.check_versions(Euclid(vectors), labels, asked)
    score = cl.score_checks(checks, asked)
    assert score.questions == 30 * 6 * 3 * 3
    correct = [
        literal_distance(vectors[t], vectors[(labels == work) & (np.arange(180) != t)])
        < literal_distance(vectors[t], vectors[labels == other])
        for t, work, other in zip(asked.track[:540], asked.work[:540], asked.other[:540], strict=True)
    ]
    assert score.accuracy == np.mean(correct)
    assert 0.8 < score.accuracy < 1
    assert 0.8 < score.roc_area < 1
    nothing = cl.draw_questions([], seed=0)
    empty = cl.score_checks(cl.check_versions(Euclid(np.empty((0, 3))), [], nothing), nothing)
    assert math.isnan(empty.accuracy)
    assert math.isnan(empty.roc_area)


def test_probability_of_checks_on_other_cliques() -> None:
    parts = [random_cliques([5] * 40, spread=0.6, seed=seed) for seed in (1, 2)]
    asked = [cl.draw_questions(labels, seed=7, per_track=5) for _, labels in parts]
    checks = [
        cl.check_versions(Euclid(vectors), labels, questions)
        for (vectors, labels), questions in zip(parts, asked, strict=True)
    ]
    model = Calibration.fit(checks[0].features, asked[0].is_version)
    found = measure_reliability(model.probability(checks[1].features), asked[1].is_version)
    assert found.expected_calibration_error < 0.05
    assert found.false_positive_rate < 0.05
    assert found.true_positive_rate > 0.7


# ---------------------------------------------------------------- calibration


def random_scores(
    n: int, k: int, *, seed: int, scale: float = 1.0, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((n, k))
    truth = rng.random(n) < 1 / (1 + np.exp(1 + scores @ np.arange(1, k + 1)))
    return shift + scale * scores, truth


@pytest.mark.parametrize(("k", "scale", "shift"), [(1, 1, 0), (1, 1e-6, 3), (1, 1e6, -1e7), (2, 1, 0), (2, 0.01, 5)])
def test_calibration_against_sklearn(k: int, scale: float, shift: float) -> None:
    scores, truth = random_scores(800, k, seed=4, scale=scale, shift=shift)
    model = Calibration.fit(scores, truth)
    centre, spread = scores.mean(axis=0), scores.std(axis=0)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit((scores - centre) / spread, truth)
    np.testing.assert_allclose(np.array(model.weights) * spread, oracle.coef_[0], rtol=1e-4)
    expected = oracle.predict_proba((scores - centre) / spread)[:, 1]
    np.testing.assert_allclose(model.probability(scores), expected, atol=1e-5)
    if k == 1:
        assert Calibration.fit(scores[:, 0], truth) == model


def test_perfectly_separating_scores_give_finite_weights() -> None:
    for n in (1, 1000):
        scores, truth = np.repeat([1.0, 2.0], n), np.repeat([True, False], n)
        model = Calibration.fit(scores, truth)
        assert np.isfinite([*model.weights, model.intercept]).all()
        yes, no = model.probability([1.0, 2.0])
        assert 0.5 < yes < 1
        assert 0 < no < 0.5


def test_misleading_score_has_weight_zero() -> None:
    scores, truth = random_scores(300, 1, seed=1)
    model = Calibration.fit(-scores, truth)
    assert model.weights == (0.0,)
    np.testing.assert_allclose(model.probability([-5.0, 0, 5]), truth.mean(), rtol=1e-4)
    both = Calibration.fit(np.column_stack([scores, -scores]), truth)
    assert both.weights[0] < 0
    assert both.weights[1] == 0


def test_constant_score_gives_the_share_of_versions() -> None:
    model = Calibration.fit([0.1 + 0.2] * 3 + [0.3], [True, False, False, False])
    np.testing.assert_allclose(model.probability([0.3, -1.0, 7]), 0.25, atol=1e-4)


@pytest.mark.parametrize("truth", [[], [True, True], [False, False]])
def test_one_class_cannot_be_fitted(truth: list[bool]) -> None:
    with pytest.raises(ValueError, match="versions and other tracks"):
        Calibration.fit(np.arange(float(len(truth))), truth)


def test_calibration_with_scores_that_are_not_finite() -> None:
    nan, inf = math.nan, math.inf
    model = Calibration.fit([0.0, 1, 2, 3, nan, inf, -inf], [True, True, False, False, True, True, False])
    assert model == Calibration.fit([0.0, 1, 2, 3], [True, True, False, False])
    got = model.probability([nan, inf, -inf, 1e308, -1e308, 0])
    np.testing.assert_allclose(got[:5], [0, 0, 1, 0, 1])
    assert model.probability([]).shape == (0,)
    two = Calibration((-1.0, 0.0), 0.0)
    np.testing.assert_allclose(two.probability([[0, nan], [inf, 0], [0, inf], [0, -inf], [-inf, 5]]), [0, 0, 0, 0.5, 1])
    with pytest.raises(ValueError, match="versions and other tracks"):
        Calibration.fit([1.0, nan], [True, False])


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False), min_size=2, max_size=20),
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=20),
    st.data(),
)
def test_probability_never_rises_with_the_score(scores: list[float], seen: list[float], data: st.DataObject) -> None:
    truth = [True, False] + [data.draw(st.booleans()) for _ in seen[2:]]
    model = Calibration.fit(seen, truth)
    p = model.probability(np.sort(scores))
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(np.diff(p) <= 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Calibration.fit([1.0, 2.0], [True]),
        lambda: Calibration.fit(np.zeros((2, 2, 2)), [True, False]),
        lambda: Calibration((-1.0,), 0.0).probability([[1.0, 2.0]]),
        lambda: measure_reliability([0.5], [True, False]),
        lambda: measure_reliability([1.5], [True]),
        lambda: measure_reliability([math.nan], [True]),
    ],
)
def test_invalid_arguments_are_refused(call: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        call()  # type: ignore[operator]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_reliability_against_the_definitions(rows: list[tuple[float, bool]]) -> None:
    p, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    got = measure_reliability(p, truth)
    error = 0.0
    for i in range(10):
        inside = [row for row in rows if min(int(row[0] * 10), 9) == i]
        if inside:
            gap = np.mean([r[0] for r in inside]) - np.mean([r[1] for r in inside])
            error += len(inside) / len(rows) * abs(float(gap))
    assert got.expected_calibration_error == pytest.approx(error, abs=1e-12)
    assert got.brier == pytest.approx(brier_score_loss(truth, p, pos_label=True, labels=[False, True]))
    for rate, kind in ((got.false_positive_rate, False), (got.true_positive_rate, True)):
        of_kind = [probability >= 0.5 for probability, is_version in rows if is_version == kind]
        assert rate == pytest.approx(np.mean(of_kind)) if of_kind else math.isnan(rate)


def test_reliability_without_rows() -> None:
    got = measure_reliability([], [])
    assert got.rows == 0
    assert math.isnan(got.expected_calibration_error)
    assert math.isnan(got.brier)
