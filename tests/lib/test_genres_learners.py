"""Learners compared with direct computations and scikit-learn, and fitted to difficult data."""

import json
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from reprise.lib.errors import InputError
from reprise.lib.genres import pipelines
from reprise.lib.genres.gaussians import Gaussians
from reprise.lib.genres.learners import LEARNERS, TrainingContext
from reprise.lib.genres.models import GenreModel, fit_model
from reprise.lib.genres.neighbours import Neighbours
from reprise.lib.genres.pipelines import SCALINGS, SELECTIONS, Selection
from reprise.lib.genres.svm import LeastSquares, PairwiseSvm, fit_temperature, split_inner_folds
from reprise.lib.genres.trees import Forest, GradientBoosting, check_branches
from reprise.lib.genres.xgboosting import XgBoost

RNG = np.random.default_rng(5)
N, D = 120, 6
CODES = np.arange(N) % 3
ROWS = RNG.normal(size=(N, D)) + np.where(np.arange(D) < 3, CODES[:, None] * 0.9, 0)
OTHERS = RNG.normal(size=(50, D)) + 0.5
GROUPS = np.array([f"artist {row // 3}" for row in range(N)], dtype=object)
QUICK: dict[str, dict[str, Any]] = {
    "random_forest": {"trees": 5},
    "gradient_boosting": {"rounds": 4},
    "xgboost": {"rounds": 4},
    "voting": {"members": "laplace+normal+linear"},
    "stacking": {"members": "laplace+normal+linear"},
}


def fit(learner: str, rows: Any, genres: Any, groups: Any = None, **more: Any) -> GenreModel:
    names = np.array([f"row {row}" for row in range(len(rows))], dtype=object) if groups is None else groups
    return fit_model(
        learner,
        {**QUICK.get(learner, {}), **more.pop("params", {})},
        rows,
        np.asarray(genres, dtype=object),
        names,
        features=tuple(f"f{column}" for column in range(np.shape(rows)[1])),
        feature_set="toy",
        balanced=more.pop("balanced", False),
        seed=3,
    )


def test_candidates_are_json_and_start_with_the_default() -> None:
    assert list(LEARNERS) == [
        *("knn", "svm", "random_forest", "logistic_regression", "discriminant_analysis", "naive_bayes"),
        *("gradient_boosting", "xgboost", "voting", "stacking"),
    ]
    for name, learner in LEARNERS.items():
        assert learner.name == name
        assert learner.grid[0] == {}
        assert json.loads(json.dumps(learner.grid)) == list(learner.grid)
        for params in learner.grid:
            learner.build(params, TrainingContext(3, balanced=True, seed=0))


@pytest.mark.parametrize(
    "params",
    [{"colour": 1}, {"scaling": "log"}, {"selection": 2}, {"kept": 0.0}, {"c": "much"}, {"c": True}, {"c": -1.0}],
)
def test_invalid_parameters_are_rejected(params: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        fit("logistic_regression", ROWS, CODES.astype(str), params=params)
    assert caught.value.kind == "bad_params"
    assert next(iter(params)) in caught.value.message.lower()


def test_unknown_members_and_learners_are_named() -> None:
    with pytest.raises(InputError, match="member nobody"):
        fit("voting", ROWS, CODES.astype(str), params={"members": "linear+nobody"})
    with pytest.raises(InputError, match="learner guess"):
        fit("guess", ROWS, CODES.astype(str))


def test_a_missing_xgboost_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(InputError, match="pip install") as caught:
        fit("xgboost", ROWS, CODES.astype(str))
    assert caught.value.kind == "missing_extra"


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_preprocessing_handles_extreme_columns(scaling: str, selection: str) -> None:
    rows = np.column_stack(
        [ROWS, np.full(N, np.nan), np.full(N, 7.0), np.exp(ROWS[:, 0] * 12), 1e5 + ROWS[:, 1] * 1e-3]
    )
    rows[RNG.random(rows.shape) < 0.1] = np.nan
    params = {"scaling": scaling, "selection": selection, "kept": 0.5, "trees": 20}
    model = fit("random_forest", rows, CODES.astype(str), params=params)
    found = model.predict(rows)
    assert np.isfinite(found).all()
    assert (found.argmax(axis=1) == CODES).mean() > 0.5


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("balanced", [False, True])
def test_two_genres_and_a_genre_with_one_row_can_be_learned(learner: str, balanced: bool) -> None:
    genres = np.array(["a", "b"], dtype=object)[CODES % 2]
    assert fit(learner, ROWS, genres, GROUPS, balanced=balanced).predict(OTHERS).shape == (50, 2)
    genres[0] = "alone"
    found = fit(learner, ROWS, genres, GROUPS, balanced=balanced)
    assert found.genres == ("a", "alone", "b")
    assert np.isfinite(found.predict(OTHERS)).all()


@pytest.mark.parametrize("learner", LEARNERS)
def test_few_rows_and_one_group_can_be_learned(learner: str) -> None:
    found = fit(learner, ROWS[:4], ["a", "b", "a", "b"], np.full(4, "one artist", dtype=object))
    assert np.isfinite(found.predict(OTHERS)).all()


@pytest.mark.parametrize("learner", [name for name in LEARNERS if name not in ("knn", "stacking")])
def test_balancing_raises_the_probability_of_rare_genres(learner: str) -> None:
    rng = np.random.default_rng(1)
    genres = np.array(["rare"] * 40 + ["usual"] * 400, dtype=object)
    rows = rng.normal(size=(440, 2)) + np.where(genres == "rare", 1.0, 0)[:, None]
    shares = [fit(learner, rows, genres, balanced=balanced).predict(rows)[:, 0].mean() for balanced in (False, True)]
    assert shares[1] > shares[0] * 1.5


def test_a_fit_is_deterministic() -> None:
    for learner in LEARNERS:
        one, same = (fit(learner, ROWS, CODES.astype(str), GROUPS).predict(OTHERS) for _ in range(2))
        np.testing.assert_array_equal(one, same)


def test_held_out_predictions_of_least_squares_equal_those_of_separate_fits() -> None:
    """The learner uses a closed form for the temperature; this test fits ten machines."""
    machine = LeastSquares("laplace", 0.5, 0.1, 0.0, False, 3).fit(ROWS, CODES, GROUPS)
    held_out = np.zeros((N, 3))
    targets = np.eye(3)[CODES] - machine.offset_
    for train, test in split_inner_folds(CODES, GROUPS, 3, 10):
        rows = ROWS.astype(np.float32).astype(np.float64)
        gram = laplacian_kernel(rows[train], gamma=1 / (0.5 * D)) + 0.1 * np.eye(len(train))
        held_out[test] = laplacian_kernel(rows[test], rows[train], gamma=1 / (0.5 * D)) @ np.linalg.solve(
            gram, targets[train]
        )
    assert machine.temperature_ == pytest.approx(
        fit_temperature(held_out + machine.offset_, CODES, np.ones(N)), rel=1e-4
    )


def test_whitening_equalises_the_variance_within_genres() -> None:
    mixed = ROWS @ RNG.normal(size=(D, D))
    machine = LeastSquares("gaussian", 1.0, 0.1, 1.0, False, 3).fit(mixed, CODES, GROUPS)
    whitened = mixed @ machine.turn_
    np.testing.assert_allclose(whitened.std(axis=0), 1)
    centred = whitened - np.stack([whitened[code == CODES].mean(axis=0) for code in range(3)])[CODES]
    before, after = (np.linalg.cond(np.cov(rows.T)) for rows in (mixed, centred))
    assert after < before / 10


def test_probabilities_of_the_pairwise_svm_agree_with_its_decisions() -> None:
    machine = PairwiseSvm(3.0, 1.0, False, 3).fit(ROWS, CODES, GROUPS)
    found = machine.predict_proba(ROWS)
    reference = SVC(C=3.0, gamma=1 / D, random_state=3).fit(ROWS, CODES)
    assert (found.argmax(axis=1) == reference.predict(ROWS)).mean() > 0.95
    held_out = PairwiseSvm(3.0, 1.0, False, 3).fit(ROWS[::2], CODES[::2], GROUPS[::2]).predict_proba(ROWS[1::2])
    confidence, accuracy = held_out.max(axis=1).mean(), (held_out.argmax(axis=1) == CODES[1::2]).mean()
    assert abs(confidence - accuracy) < 0.15


def test_pooled_gaussians_equal_linear_discriminant_analysis() -> None:
    expected = LinearDiscriminantAnalysis(solver="lsqr").fit(ROWS, CODES).predict_proba(OTHERS)
    np.testing.assert_allclose(Gaussians(1.0, 0.0, False).fit(ROWS, CODES).predict_proba(OTHERS), expected, atol=1e-9)


def test_neighbours_equal_scikit_learn_plus_half_a_vote_for_each_genre() -> None:
    for weighted in (False, True):
        reference = KNeighborsClassifier(7, weights="distance" if weighted else "uniform", metric="manhattan")
        rows = ROWS.astype(np.float32).astype(np.float64)
        votes = reference.fit(rows, CODES).predict_proba(OTHERS.astype(np.float32).astype(np.float64)) * 7
        found = Neighbours(7, weighted).fit(ROWS, CODES).predict_proba(OTHERS)
        np.testing.assert_allclose(found, (votes + 0.5) / 8.5, atol=1e-9)


def test_stored_trees_predict_like_the_original_ones() -> None:
    reference = ExtraTreesClassifier(9, max_features=0.5, max_leaf_nodes=2_000, random_state=3).fit(ROWS, CODES)
    forest = Forest(9, 0.5, 1, True, False, 3).fit(ROWS, CODES)
    np.testing.assert_allclose(forest.predict_proba(OTHERS), reference.predict_proba(OTHERS), atol=1e-7)
    gaps = np.where(RNG.random(OTHERS.shape) < 0.3, np.nan, OTHERS)
    for codes in (CODES, CODES % 2):
        boosting = HistGradientBoostingClassifier(
            learning_rate=0.1, max_iter=6, max_leaf_nodes=4, min_samples_leaf=10, l2_regularization=1.0,
            early_stopping=False, random_state=3,
        ).fit(ROWS, codes)  # fmt: skip
        stored = GradientBoosting(6, 0.1, 4, 1.0, 1.0, False, 3).fit(ROWS, codes)
        np.testing.assert_allclose(stored.predict_proba(gaps), boosting.predict_proba(gaps), atol=1e-12)


def test_stored_trees_predict_like_xgboost() -> None:
    xgboost = pytest.importorskip("xgboost")
    gaps = np.where(RNG.random(OTHERS.shape) < 0.3, np.nan, OTHERS)
    params = {
        "objective": "multi:softprob",
        "num_class": 3,
        "eta": 0.1,
        "max_depth": 3,
        "tree_method": "hist",
        "subsample": 0.5,
        "colsample_bytree": 0.5,
        "seed": 3,
        "nthread": 1,
    }
    # steps make many rows equal to a threshold
    rows: Any = np.round(ROWS, 1)
    booster = xgboost.train(params, xgboost.DMatrix(rows, label=CODES), num_boost_round=20)
    stored = XgBoost(20, 0.1, 3, 0.5, False, 3).fit(rows, CODES)
    for queries in (rows, np.round(gaps, 1), gaps):
        expected = booster.predict(xgboost.DMatrix(queries))
        np.testing.assert_allclose(stored.predict_proba(np.asarray(queries)), expected, atol=1e-6)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_stored_machines_decide_like_scikit_learn(k: int) -> None:
    codes = np.arange(N) % k
    stored = PairwiseSvm(3.0, 1.0, False, 3).fit(ROWS, codes, GROUPS)
    expected = SVC(C=3.0, gamma=1 / D, decision_function_shape="ovo", random_state=3).fit(ROWS, codes)
    decisions = expected.decision_function(OTHERS)
    if k == 2:  # a positive decision means the second genre
        decisions = -decisions[:, None]
    np.testing.assert_allclose(stored._compute_margins(OTHERS), decisions, atol=1e-9)


@pytest.mark.parametrize(
    ("starts", "left", "right", "feature"),
    [
        ([0], [1, -1, -1], [3, -1, -1], [0, 0, 0]),  # beyond the last node
        ([0], [0, -1, -1], [2, -1, -1], [0, 0, 0]),  # to itself: an endless loop
        ([0], [1, -1, -1], [-1, -1, -1], [0, 0, 0]),
        ([0], [1, -1, -1], [2, -1, -1], [2, 0, 0]),  # no such feature
        ([0], [1, -1, -1], [2, -1, -1], [-1, 0, 0]),
        ([0, 2], [1, -1, -1], [2, -1, -1], [0, 0, 0]),  # into the next tree
        ([0, 3], [1, -1, -1], [2, -1, -1], [0, 0, 0]),  # an empty tree
        ([1], [1, -1, -1], [2, -1, -1], [0, 0, 0]),
        ([], [], [], []),
        ([0], [1, -1, -1], [2, -1], [0, 0, 0]),
    ],
)
def test_invalid_branches_are_rejected(
    starts: list[int], left: list[int], right: list[int], feature: list[int]
) -> None:
    invalid = [np.array(one, dtype=np.int64) for one in (starts, left, right, feature)]
    with pytest.raises(ValueError, match=r"tree|branch"):
        check_branches(invalid[0], invalid[1], invalid[2], invalid[3], 2)
    valid = [np.array(one) for one in ([0], [1, -1, -1], [2, -1, -1], [1, 9, 9])]
    assert check_branches(valid[0], valid[1], valid[2], valid[3], 2).tolist() == [0, 3]


def test_selections_keep_the_informative_features() -> None:
    for method in ("univariate", "recursive", "embedded"):
        assert Selection(method, 0.5, 0).fit(ROWS, CODES).kept_.tolist() == [0, 1, 2]
    # recursive elimination drops one of two redundant features, although each alone scores highest
    redundant = np.column_stack([ROWS[:, 0] * 3 + ROWS[:, 1] * 3, ROWS[:, 0], ROWS[:, 3:]])
    assert len(Selection("recursive", 0.4, 0).fit(redundant, CODES).kept_) == 2
    assert Selection("univariate", 0.01, 0).fit(np.ones((N, 3)), CODES).kept_.tolist() == [0]


def test_trees_rank_features_by_a_limited_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of a million rows took 10 GiB."""
    n_rows = []
    fit = ExtraTreesClassifier.fit

    def count(forest: ExtraTreesClassifier, rows: Any, codes: Any) -> Any:
        n_rows.append(len(rows))
        return fit(forest, rows, codes)

    monkeypatch.setattr(ExtraTreesClassifier, "fit", count)
    monkeypatch.setattr(pipelines, "_MAX_TREE_ROWS", N - 10)
    assert Selection("embedded", 0.5, 0).fit(ROWS, CODES).kept_.tolist() == [0, 1, 2]
    assert n_rows == [N - 10]
