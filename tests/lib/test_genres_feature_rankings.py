"""Feature rankings and SHAP values, compared with exact values, scikit-learn and shap."""

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from sklearn.feature_selection import f_classif, mutual_info_classif

from reprise.lib.genres import feature_rankings as rankings
from reprise.lib.genres.feature_rankings import compute_mean_shap, compute_shap_values, rank_features, sample_evenly

if TYPE_CHECKING:
    from reprise.lib.genres.models import GenreModel


@dataclass(frozen=True)
class FormulaModel:
    """A model that predicts by a formula."""

    predict: Callable[[np.ndarray], np.ndarray]
    genres: tuple[str, ...] = ("a", "b")


def make_model(score: Callable[[np.ndarray], np.ndarray]) -> "GenreModel":
    """Return a model of two genres; ``score`` gives the probability of the first."""

    def predict(rows: np.ndarray) -> np.ndarray:
        first = score(rows)
        return np.column_stack([first, 1 - first])

    return cast("GenreModel", FormulaModel(predict))


def three_genres(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    genres = rng.choice(["c", "ä", "b"], n).astype(object)
    rows = rng.standard_normal((n, 4))
    rows[:, 2] += 3 * (genres == "b")
    rows[:, 1] += 1.5 * (genres == "c")
    return rows, genres


def shapley(predict: Callable[[np.ndarray], np.ndarray], row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Compute Shapley values by the definition: over every subset of the other features."""
    d = len(row)

    def value(members: tuple[int, ...]) -> np.ndarray:
        mixed = background.copy()
        mixed[:, list(members)] = row[list(members)]
        return predict(mixed).mean(axis=0)

    found = []
    for feature in range(d):
        others = [i for i in range(d) if i != feature]
        found.append(
            sum(
                math.factorial(size)
                * math.factorial(d - size - 1)
                / math.factorial(d)
                * (value((*members, feature)) - value(members))
                for size in range(d)
                for members in itertools.combinations(others, size)
            )
        )
    return np.array(found)


def test_ranking_equals_scikit_learn() -> None:
    rows, genres = three_genres()
    found = rank_features(rows, genres, ["w", "x", "y", "z"], seed=3)
    assert [one["feature"] for one in found][:2] == ["y", "x"]
    by_name = {one["feature"]: one for one in found}
    expected = f_classif(rows, genres.astype(str))[0]
    np.testing.assert_allclose([by_name[name]["f_value"] for name in "wxyz"], expected)
    information = mutual_info_classif(rows, genres.astype(str), random_state=3)
    np.testing.assert_allclose([by_name[name]["mutual_information"] for name in "wxyz"], information, atol=0.03)
    assert all(one["missing"] == 0 for one in found)


def test_unknown_values_of_a_feature_are_ignored() -> None:
    rows, genres = three_genres()
    gaps = rows.copy()
    gaps[::3, 2] = np.nan
    gaps[1, 2] = np.inf
    found = {one["feature"]: one for one in rank_features(gaps, genres, list("wxyz"), seed=3)}
    known = np.isfinite(gaps[:, 2])
    assert found["y"]["missing"] == pytest.approx(101 / 300)
    assert found["y"]["f_value"] == pytest.approx(f_classif(rows[known][:, 2:3], genres[known].astype(str))[0][0])


def test_uninformative_features_come_last() -> None:
    rows, genres = three_genres(60)
    odd = np.column_stack(
        [rows[:, 2], np.full(60, np.nan), np.full(60, 0.1), np.where(np.arange(60) == 7, 1.0, np.nan)]
    )
    found = rank_features(odd, genres, ["good", "unknown", "constant", "single"], seed=0)
    assert [one["feature"] for one in found] == ["good", "constant", "single", "unknown"]
    assert found[1] == {"feature": "constant", "f_value": None, "mutual_information": 0.0, "missing": 0.0}
    assert found[2]["f_value"] is found[2]["mutual_information"] is None
    assert found[3] == {"feature": "unknown", "f_value": None, "mutual_information": None, "missing": 1.0}


def test_values_of_any_size_and_genres_of_one_row() -> None:
    rows, genres = three_genres()
    genres[0] = "alone"
    plain = rank_features(rows, genres, list("wxyz"), seed=0)
    moved = rank_features(rows * 1e-9 + 1, genres, list("wxyz"), seed=0)
    for first, second in ((one, next(o for o in moved if o["feature"] == one["feature"])) for one in plain):
        assert second["f_value"] == pytest.approx(first["f_value"], rel=1e-3)
    huge = rank_features(rows * 1e300, genres, list("wxyz"), seed=0)
    assert [one["feature"] for one in huge] == [one["feature"] for one in plain]


@pytest.mark.parametrize("genres", [["a"], ["a", "b"], ["a", "a", "a"], ["a", "a", "b"], []])
def test_few_rows_and_genres(genres: list[str]) -> None:
    rows = np.arange(2.0 * len(genres)).reshape(-1, 2)
    found = rank_features(rows, genres, ["x", "y"], seed=0)
    assert sorted(one["feature"] for one in found) == ["x", "y"]
    assert all(one["f_value"] is None or one["f_value"] > 0 for one in found)


def test_many_rows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, genres = three_genres()
    rows[:2, 0] = np.nan
    monkeypatch.setattr(rankings, "MAX_RANKED", 100)
    found = rank_features(rows, genres, list("wxyz"), seed=0)
    assert found[0]["feature"] == "y"
    assert {one["feature"]: one["missing"] for one in found}["w"] == pytest.approx(2 / 300)  # counted on all rows
    assert found == rank_features(rows, genres, list("wxyz"), seed=0)
    assert found != rank_features(rows, genres, list("wxyz"), seed=1)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="do not match"):
        rank_features(np.zeros((3, 2)), ["a", "b", "c"], ["x"], seed=0)


def test_shap_of_a_linear_model_is_each_term_minus_its_mean() -> None:
    rng = np.random.default_rng(1)
    rows, background = rng.uniform(size=(6, 4)), rng.uniform(size=(9, 4))
    weights = np.array([0.3, -0.2, 0.1, 0.0])
    found = compute_shap_values(make_model(lambda x: 0.4 + x @ weights), rows, background=background, seed=0)
    np.testing.assert_allclose(found[:, :, 0], weights * (rows - background.mean(axis=0)), atol=1e-12)
    np.testing.assert_allclose(found[:, :, 1], -found[:, :, 0], atol=1e-12)
    assert np.all(found[:, 3] == 0)


def test_shap_of_pairwise_interactions_equals_the_definition() -> None:
    rng = np.random.default_rng(2)
    rows, background = rng.uniform(size=(5, 4)), rng.uniform(size=(7, 4))
    model = make_model(lambda x: 0.5 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] * (1 - x[:, 3]))
    found = compute_shap_values(model, rows, background=background, seed=0)
    for values, row in zip(found, rows, strict=True):
        np.testing.assert_allclose(values, shapley(model.predict, row, background), atol=1e-12)


def softmax_of(x: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(x, nan=-2.0)
    scores = np.exp(np.column_stack([known[:, 0] * known[:, 1], known.sum(axis=1), np.sin(3 * known[:, 2])]))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


@pytest.mark.slow
def test_shap_equals_the_package_shap() -> None:
    with warnings.catch_warnings():
        # importing shap builds colour maps by a function that matplotlib deprecates
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        import shap
    rng = np.random.default_rng(6)
    rows, background = rng.uniform(size=(5, 4)), rng.uniform(size=(7, 4))
    model = make_model(lambda x: 0.5 * x[:, 0] * x[:, 1] + 0.4 * x[:, 1] * (1 - x[:, 3]))
    masker = shap.maskers.Independent(background, max_samples=len(background))
    expected = shap.PermutationExplainer(model.predict, masker, seed=0)(rows, silent=True).values
    np.testing.assert_allclose(compute_shap_values(model, rows, background=background, seed=0), expected, atol=1e-12)


def test_shap_sums_to_the_prediction_also_with_unknown_values() -> None:
    rng = np.random.default_rng(3)
    rows, background = rng.standard_normal((8, 5)), rng.standard_normal((6, 5))
    rows[0, 1] = rows[2, :] = background[3, 2] = background[:, 4] = np.nan
    model = cast("GenreModel", FormulaModel(softmax_of, ("a", "b", "c")))
    found = compute_shap_values(model, rows, background=background, seed=0)
    assert found.shape == (8, 5, 3)
    base = softmax_of(background).mean(axis=0)
    np.testing.assert_allclose(found.sum(axis=1) + base, softmax_of(rows), atol=1e-12)
    assert np.all(found[2, 4] == 0)  # unknown in the row and in the background


def test_shap_depends_on_the_seed_and_limits_its_predictions() -> None:
    rng = np.random.default_rng(4)
    rows, background = rng.standard_normal((7, 6)), rng.standard_normal((5, 6))
    predicted: list[int] = []

    def predict(x: np.ndarray) -> np.ndarray:
        predicted.append(len(x))
        return softmax_of(x)

    model = cast("GenreModel", FormulaModel(predict, ("a", "b", "c")))
    first = compute_shap_values(model, rows, background=background, seed=0)
    assert sum(predicted) <= 7 * 5 * 2 * 6
    np.testing.assert_array_equal(first, compute_shap_values(model, rows, background=background, seed=0))
    assert not np.array_equal(first, compute_shap_values(model, rows, background=background, seed=1))


def test_shap_without_rows_or_background() -> None:
    model = make_model(lambda x: np.full(len(x), 0.5))
    assert compute_shap_values(model, np.empty((0, 3)), background=np.zeros((2, 3)), seed=0).shape == (0, 3, 2)
    for background in (np.empty((0, 3)), np.zeros((2, 4))):
        with pytest.raises(ValueError, match="do not match"):
            compute_shap_values(model, np.zeros((1, 3)), background=background, seed=0)


def test_mean_shap_finds_the_important_features() -> None:
    rows, genres = three_genres(2000)
    predicted: list[int] = []

    def predict(x: np.ndarray) -> np.ndarray:
        predicted.append(len(x))
        first = 1 / (1 + np.exp(-2 * x[:, 2] + 0.5 * x[:, 0]))
        return np.column_stack([first, 1 - first])

    found = compute_mean_shap(cast("GenreModel", FormulaModel(predict)), rows, genres, seed=0)
    assert found.shape == (4, 2)
    assert found[2, 0] > 3 * found[0, 0] > 0
    assert np.all(found[[1, 3]] == 0)
    assert sum(predicted) <= rankings.MAX_EXPLAINED * rankings.MAX_BACKGROUND * 2 * 4
    assert compute_mean_shap(cast("GenreModel", FormulaModel(predict)), rows[:1], genres[:1], seed=0).shape == (4, 2)


def test_samples_are_balanced_over_genres() -> None:
    genres = np.array(["big"] * 1000 + ["small"] * 3 + ["middle"] * 50, dtype=object)
    drawn = sample_evenly(genres, 60, seed=1)
    assert np.all(np.diff(drawn) > 0)
    names, counts = np.unique(genres[drawn].astype(str), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) in (
        {"big": 28, "middle": 29, "small": 3},
        {"big": 29, "middle": 28, "small": 3},
    )
    assert sample_evenly(genres, 5000, seed=1).tolist() == list(range(1053))
    assert sample_evenly([], 5, seed=1).tolist() == []
