"""Metrics of predicted genres, compared with scikit-learn."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from reprise.lib.genres.metrics import SCALARS, compute_metrics, summarise_metrics

NAMES = ("blues", "électro", "pop", "ロック", "=1+1")


def make_case(seed: int, n: int = 400, k: int = 5, others: tuple[str, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    genres = rng.choice([*NAMES[:k], *others], n).astype(object)
    return genres, rng.dirichlet(np.full(k, 0.4), n)


def check(genres: np.ndarray, probabilities: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    found = compute_metrics(genres, probabilities, names)
    predicted = np.array(names, dtype=object)[np.argmax(probabilities, axis=1)]
    true, answers = genres.tolist(), predicted.tolist()
    assert found["rows"] == len(true)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, answers))
    for name in ("macro", "weighted"):
        expected = metrics.f1_score(true, answers, average=name, zero_division=0)
        assert found[f"{name}_f1"] == pytest.approx(expected)
    each = metrics.precision_recall_fscore_support(true, answers, labels=list(names), zero_division=0)
    found_each = [[one[key] for one in found["per_genre"].values()] for key in ("precision", "recall", "f1", "support")]
    np.testing.assert_allclose(found_each, each)
    assert list(found["per_genre"]) == found["names"] == list(names)
    # the extra label avoids a warning of scikit-learn about a single label
    table = metrics.confusion_matrix(true, answers, labels=[*names, *sorted(set(true) - set(names)), "nothing"])
    assert found["confusion"] == table[: len(names), : len(names)].tolist()
    return found


@pytest.mark.parametrize("others", [(), ("unknown", "new")])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn(seed: int, others: tuple[str, ...]) -> None:
    genres, probabilities = make_case(seed, others=others)
    found = check(genres, probabilities, NAMES)
    predicted = np.array(NAMES, dtype=object)[probabilities.argmax(axis=1)].tolist()
    recall = metrics.recall_score(genres.tolist(), predicted, average=None, labels=sorted(set(genres)), zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(recall.mean())
    # genres unknown to the model get columns of zeros
    columns = sorted({*NAMES, *others})
    wide = np.zeros((len(genres), len(columns)))
    wide[:, [columns.index(name) for name in NAMES]] = probabilities
    assert found["log_loss"] == pytest.approx(metrics.log_loss(genres.tolist(), wide, labels=columns))
    assert found["unknown"] == {name: int((genres == name).sum()) for name in sorted(others)}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("seed", range(3))
def test_calibration_equals_scikit_learn(seed: int) -> None:
    genres, probabilities = make_case(seed, n=3000, k=3)
    found = compute_metrics(genres, probabilities, NAMES[:3])["calibration"]
    right = np.array(NAMES, dtype=object)[probabilities.argmax(axis=1)] == genres
    share, mean = calibration_curve(right, probabilities.max(axis=1), n_bins=10)
    filled = [one for one in found["bins"] if one["rows"]]
    np.testing.assert_allclose([one["accuracy"] for one in filled], share)
    np.testing.assert_allclose([one["confidence"] for one in filled], mean)
    rows = np.array([one["rows"] for one in filled])
    assert rows.sum() == 3000
    assert found["expected_calibration_error"] == pytest.approx(np.sum(rows * np.abs(share - mean)) / 3000)


def test_certain_and_correct_predictions_are_perfect() -> None:
    found = compute_metrics(["a", "b", "a"], [[1, 0], [0, 1], [1, 0]], ("a", "b"))
    assert [found[name] for name in SCALARS] == [1, 1, 1, 1, 0]
    assert found["calibration"]["expected_calibration_error"] == 0
    assert found["calibration"]["bins"][-1] == {"low": 0.9, "high": 1.0, "rows": 3, "confidence": 1.0, "accuracy": 1.0}
    assert found["calibration"]["bins"][0]["confidence"] is None


def test_ties_go_to_the_first_name() -> None:
    found = compute_metrics(["b", "a"], [[0.5, 0.5], [0.5, 0.5]], ("a", "b"))
    assert found["confusion"] == [[1, 0], [1, 0]]
    assert found["per_genre"]["b"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1, "predicted": 0}


def test_one_row_of_an_unknown_genre() -> None:
    found = check(np.array(["new"], dtype=object), np.array([[0.3, 0.7]]), ("a", "b"))
    assert found["accuracy"] == found["macro_f1"] == found["balanced_accuracy"] == 0
    assert found["unknown"] == {"new": 1}
    assert found["log_loss"] == pytest.approx(36.04, abs=0.01)


def test_a_genre_that_does_not_occur_is_left_out_of_the_means() -> None:
    found = check(np.array(["a", "a"], dtype=object), np.array([[0.9, 0.0, 0.1]] * 2), ("a", "b", "c"))
    assert found["macro_f1"] == found["balanced_accuracy"] == 1
    assert found["per_genre"]["b"]["support"] == 0


@pytest.mark.parametrize(
    ("genres", "probabilities", "names", "message"),
    [
        ([], np.empty((0, 2)), "ab", "with at least one row"),
        (["a"], [[0.5, 0.5]], "a", "expected probabilities"),
        (["a", "b"], [[0.5, 0.5]], "ab", "expected genres"),
        (["a"], [[np.nan, 0.5]], "ab", "not NaN"),
        (["a"], [[0.5, np.inf]], "ab", "sum to at most 1"),
        (["a"], [[-0.1, 1.0]], "ab", "at least 0"),
        (["a"], [[0.9, 0.2]], "ab", "sum to at most 1"),
        (["a"], [[0.5, 0.5]], "aa", "duplicate"),
    ],
)
def test_invalid_predictions_are_rejected(genres: Any, probabilities: Any, names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compute_metrics(genres, probabilities, tuple(names))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 5), st.booleans())
def test_the_order_of_rows_and_names_does_not_matter(seed: int, n: int, k: int, unknown: bool) -> None:
    genres, probabilities = make_case(seed, n, k, ("?",) if unknown else ())
    names, rng = NAMES[:k], np.random.default_rng(seed)
    rows, columns = rng.permutation(n), rng.permutation(k)
    first = check(genres, probabilities, names)
    second = compute_metrics(genres[rows], probabilities[rows][:, columns], [names[i] for i in columns])
    for name in SCALARS:
        assert second[name] == pytest.approx(first[name])
    assert second["per_genre"] == first["per_genre"]


def test_mean_and_deviation_over_splits() -> None:
    metrics_of_splits = [compute_metrics(*make_case(seed), NAMES) for seed in range(4)]
    found = summarise_metrics(metrics_of_splits)
    for name in SCALARS:
        values = [one[name] for one in metrics_of_splits]
        assert found[name] == pytest.approx({"mean": np.mean(values), "deviation": np.std(values, ddof=1)})
    assert summarise_metrics(metrics_of_splits[:1])["accuracy"]["deviation"] == 0
    with pytest.raises(ValueError, match="no metrics"):
        summarise_metrics([])
