"""Learners: told from plain ways to compute the same, and fit for data that lacks what they would like."""

import json
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics.pairwise import laplacian_kernel
from sklearn.neighbors import KNeighborsClassifier

from reprise.lib.errors import InputError
from reprise.lib.genres import pipelines
from reprise.lib.genres.gaussians import Gaussians
from reprise.lib.genres.learners import LEARNERS, Setting
from reprise.lib.genres.models import GenreModel, fit_model
from reprise.lib.genres.neighbours import Neighbours
from reprise.lib.genres.pipelines import SCALINGS, SELECTIONS, Selection
from reprise.lib.genres.svm import LeastSquares, PairwiseSvm
from reprise.lib.genres.trees import Forest, GradientBoosting, check_branches

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


def test_candidates_can_be_written_down_and_begin_with_the_default() -> None:
    assert list(LEARNERS) == [
        *("knn", "svm", "random_forest", "logistic_regression", "naive_bayes"),
        *("gradient_boosting", "xgboost", "voting", "stacking"),
    ]
    for name, learner in LEARNERS.items():
        assert learner.name == name
        assert learner.grid[0] == {}
        assert json.loads(json.dumps(learner.grid)) == list(learner.grid)
        for params in learner.grid:
            learner.build(params, Setting(3, balanced=True, seed=0))


@pytest.mark.parametrize(
    "params",
    [{"colour": 1}, {"scaling": "log"}, {"selection": 2}, {"kept": 0.0}, {"c": "much"}, {"c": True}, {"c": -1.0}],
)
def test_parameters_that_there_are_not_are_said_to_be_none(params: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        fit("logistic_regression", ROWS, CODES.astype(str), params=params)
    assert caught.value.kind == "bad_params"
    assert next(iter(params)) in caught.value.message.lower()


def test_unknown_members_and_learners_are_named() -> None:
    with pytest.raises(InputError, match="member nobody"):
        fit("voting", ROWS, CODES.astype(str), params={"members": "linear+nobody"})
    with pytest.raises(InputError, match="learner guess"):
        fit("guess", ROWS, CODES.astype(str))


def test_xgboost_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(InputError, match="pip install") as caught:
        fit("xgboost", ROWS, CODES.astype(str))
    assert caught.value.kind == "missing_extra"


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("selection", SELECTIONS)
def test_every_preparation_takes_wild_columns(scaling: str, selection: str) -> None:
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
def test_a_genre_with_one_row_and_two_genres_alone_can_be_learned(learner: str, balanced: bool) -> None:
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
def test_balanced_genres_are_found_where_they_are_rare(learner: str) -> None:
    rng = np.random.default_rng(1)
    genres = np.array(["rare"] * 40 + ["usual"] * 400, dtype=object)
    rows = rng.normal(size=(440, 2)) + np.where(genres == "rare", 1.0, 0)[:, None]
    shares = [fit(learner, rows, genres, balanced=balanced).predict(rows)[:, 0].mean() for balanced in (False, True)]
    assert shares[1] > shares[0] * 1.5


def test_a_fit_is_that_of_its_seed() -> None:
    for learner in LEARNERS:
        one, same = (fit(learner, ROWS, CODES.astype(str), GROUPS).predict(OTHERS) for _ in range(2))
        np.testing.assert_array_equal(one, same)


def test_held_out_rows_of_least_squares_are_those_of_fits_without_them() -> None:
    """The temperature follows from the closed form; here it is made of ten fits."""
    machine = LeastSquares("laplace", 0.5, 0.1, 0.0, False, 3).fit(ROWS, CODES, GROUPS)
    from reprise.lib.genres.svm import find_temperature, held_out

    unseen = np.zeros((N, 3))
    targets = np.eye(3)[CODES] - machine.offset_
    for train, part in held_out(CODES, GROUPS, 3, 10):
        rows = ROWS.astype(np.float32).astype(np.float64)
        gram = laplacian_kernel(rows[train], gamma=1 / (0.5 * D)) + 0.1 * np.eye(len(train))
        unseen[part] = laplacian_kernel(rows[part], rows[train], gamma=1 / (0.5 * D)) @ np.linalg.solve(
            gram, targets[train]
        )
    assert machine.temperature_ == pytest.approx(
        find_temperature(unseen + machine.offset_, CODES, np.ones(N)), rel=1e-4
    )


def test_whitened_rows_of_a_genre_vary_alike_in_all_directions() -> None:
    mixed = ROWS @ RNG.normal(size=(D, D))
    machine = LeastSquares("gaussian", 1.0, 0.1, 1.0, False, 3).fit(mixed, CODES, GROUPS)
    turned = mixed @ machine.turn_
    np.testing.assert_allclose(turned.std(axis=0), 1)
    apart = turned - np.stack([turned[code == CODES].mean(axis=0) for code in range(3)])[CODES]
    before, after = (np.linalg.cond(np.cov(rows.T)) for rows in (mixed, apart))
    assert after < before / 10


def test_probabilities_of_the_machine_of_pairs_tell_what_its_decisions_tell() -> None:
    machine = PairwiseSvm(3.0, 1.0, False, 3).fit(ROWS, CODES, GROUPS)
    found = machine.predict_proba(ROWS)
    assert (found.argmax(axis=1) == machine.svm_.predict(ROWS)).mean() > 0.95
    unseen = PairwiseSvm(3.0, 1.0, False, 3).fit(ROWS[::2], CODES[::2], GROUPS[::2]).predict_proba(ROWS[1::2])
    sure, right = unseen.max(axis=1).mean(), (unseen.argmax(axis=1) == CODES[1::2]).mean()
    assert abs(sure - right) < 0.15


def test_pooled_gaussians_are_linear_discriminants() -> None:
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(ROWS, CODES).predict_proba(OTHERS)
    np.testing.assert_allclose(Gaussians(1.0, 0.0, False).fit(ROWS, CODES).predict_proba(OTHERS), theirs, atol=1e-9)


def test_neighbours_are_those_of_scikit_learn_with_half_a_vote_for_each_genre() -> None:
    for weighted in (False, True):
        theirs = KNeighborsClassifier(7, weights="distance" if weighted else "uniform", metric="manhattan")
        rows = ROWS.astype(np.float32).astype(np.float64)
        votes = theirs.fit(rows, CODES).predict_proba(OTHERS.astype(np.float32).astype(np.float64)) * 7
        ours = Neighbours(7, weighted).fit(ROWS, CODES).predict_proba(OTHERS)
        np.testing.assert_allclose(ours, (votes + 0.5) / 8.5, atol=1e-9)


def test_kept_trees_answer_as_those_they_were_made_of() -> None:
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

    theirs = ExtraTreesClassifier(9, max_features=0.5, max_leaf_nodes=2_000, random_state=3).fit(ROWS, CODES)
    ours = Forest(9, 0.5, 1, True, False, 3).fit(ROWS, CODES)
    np.testing.assert_allclose(ours.predict_proba(OTHERS), theirs.predict_proba(OTHERS), atol=1e-7)
    holes = np.where(RNG.random(OTHERS.shape) < 0.3, np.nan, OTHERS)
    for codes in (CODES, CODES % 2):
        boosting = HistGradientBoostingClassifier(
            learning_rate=0.1, max_iter=6, max_leaf_nodes=4, min_samples_leaf=10, l2_regularization=1.0,
            early_stopping=False, random_state=3,
        ).fit(ROWS, codes)  # fmt: skip
        kept = GradientBoosting(6, 0.1, 4, 1.0, 1.0, False, 3).fit(ROWS, codes)
        np.testing.assert_allclose(kept.predict_proba(holes), boosting.predict_proba(holes), atol=1e-12)


@pytest.mark.parametrize(
    ("starts", "left", "right", "feature"),
    [
        ([0], [1, -1, -1], [3, -1, -1], [0, 0, 0]),  # behind the last
        ([0], [0, -1, -1], [2, -1, -1], [0, 0, 0]),  # to itself, for ever
        ([0], [1, -1, -1], [-1, -1, -1], [0, 0, 0]),
        ([0], [1, -1, -1], [2, -1, -1], [2, 0, 0]),  # no such feature
        ([0], [1, -1, -1], [2, -1, -1], [-1, 0, 0]),
        ([0, 2], [1, -1, -1], [2, -1, -1], [0, 0, 0]),  # into the next tree
        ([0, 3], [1, -1, -1], [2, -1, -1], [0, 0, 0]),  # a tree of nothing
        ([1], [1, -1, -1], [2, -1, -1], [0, 0, 0]),
        ([], [], [], []),
        ([0], [1, -1, -1], [2, -1], [0, 0, 0]),
    ],
)
def test_branches_that_lead_out_of_a_tree_are_seen(
    starts: list[int], left: list[int], right: list[int], feature: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"tree|branch"):
        check_branches(*(np.array(one, dtype=np.int64) for one in (starts, left, right, feature)), 2)
    assert check_branches(*(np.array(one) for one in ([0], [1, -1, -1], [2, -1, -1], [1, 9, 9])), 2).tolist() == [0, 3]


def test_selections_keep_what_tells_genres_apart() -> None:
    for method in ("univariate", "recursive", "embedded"):
        assert Selection(method, 0.5, 0).fit(ROWS, CODES).kept_.tolist() == [0, 1, 2]
    # a copy says nothing new: dropped again and again, one of both goes, where each alone looks best
    copied = np.column_stack([ROWS[:, 0] * 3 + ROWS[:, 1] * 3, ROWS[:, 0], ROWS[:, 3:]])
    assert len(Selection("recursive", 0.4, 0).fit(copied, CODES).kept_) == 2
    assert Selection("univariate", 0.01, 0).fit(np.ones((N, 3)), CODES).kept_.tolist() == [0]


def test_trees_choose_features_by_no_more_rows_than_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forest of a million rows took ten GiB."""
    asked = []
    fit = ExtraTreesClassifier.fit

    def count(forest: ExtraTreesClassifier, rows: Any, codes: Any) -> Any:
        asked.append(len(rows))
        return fit(forest, rows, codes)

    monkeypatch.setattr(ExtraTreesClassifier, "fit", count)
    monkeypatch.setattr(pipelines, "_ROWS_OF_TREES", N - 10)
    assert Selection("embedded", 0.5, 0).fit(ROWS, CODES).kept_.tolist() == [0, 1, 2]
    assert asked == [N - 10]
