"""The learners of genres by their names, the settings that each knows, and those that are tried when one is chosen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from reprise.lib.errors import InputError
from reprise.lib.genres.ensembles import Stacking, Voting
from reprise.lib.genres.gaussians import Gaussians
from reprise.lib.genres.neighbours import Neighbours
from reprise.lib.genres.pipelines import SCALINGS, SELECTIONS, make_pipeline
from reprise.lib.genres.svm import LeastSquares, PairwiseSvm
from reprise.lib.genres.trees import Forest, GradientBoosting
from reprise.lib.genres.xgboosting import XgBoost


@dataclass(frozen=True)
class Setting:
    """What a learner is made for.

    Parameters
    ----------
    genres
        How many there are.
    balanced
        Each genre is to weigh the same.
    seed
        Of all that is random in it.
    """

    genres: int
    balanced: bool
    seed: int


Params = Mapping[str, Any]


@dataclass(frozen=True)
class Learner:
    """A way to learn genres.

    Parameters
    ----------
    name
        Key in ``LEARNERS``.
    title
        For people.
    defaults
        Every parameter and what it is unless said otherwise. All have ``scaling``, ``selection`` and ``kept``, the
        share of features that a selection keeps.
    make
        Makes the estimator that follows the preparation.
    tried
        Parameters to try besides the defaults.
    max_rows
        Rows that it can take in some minutes and a few GiB; more are to be sampled away.
    takes_unknown
        NaN can stay.
    """

    name: str
    title: str
    defaults: Params
    make: Callable[[Params, Setting], Any]
    tried: tuple[Params, ...]
    max_rows: int
    takes_unknown: bool = False

    @property
    def grid(self) -> tuple[dict[str, Any], ...]:
        """Candidates to choose from, ready for JSON; the first is the default."""
        return tuple(dict(one) for one in ({}, *self.tried))

    def build(self, params: Params, setting: Setting) -> Pipeline:
        """Pipeline from rows with unknown values to probabilities, not yet fitted.

        Raises
        ------
        InputError
            ``bad_params``: a parameter that the learner has not, or of a type that it cannot have.
        """
        params = {_FORMER_NAMES.get(name, name): value for name, value in params.items()}
        wrong = [f"no parameter {name}" for name in params.keys() - self.defaults.keys()]
        merged = {**self.defaults, **params}
        wrong += [
            f"no {name} {merged[name]!r}"
            for name, known in (("scaling", SCALINGS), ("selection", SELECTIONS))
            if merged[name] not in known
        ]
        wrong += [
            f"no {name} {value!r}"
            for name, value in params.items()
            if name in self.defaults and not _like(value, self.defaults[name])
        ]
        if not wrong and not 0 < merged["kept"] <= 1:
            wrong.append("no kept outside 0 to 1")
        if wrong:
            there = ", ".join(f"{name}={value}" for name, value in self.defaults.items())
            raise InputError("bad_params", f"{self.name} has {sorted(wrong)[0]}; it has: {there}")
        return make_pipeline(
            self.make(merged, setting),
            scaling=merged["scaling"],
            selection=merged["selection"],
            kept=float(merged["kept"]),
            seed=setting.seed,
            takes_unknown=self.takes_unknown,
        )


_FORMER_NAMES = {"features_a_split": "max_features", "rows_a_leaf": "min_leaf_rows"}
"""Names of parameters in rows of ``models`` that former versions wrote."""


def _like(value: object, default: object) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _weights(setting: Setting) -> str | None:
    return "balanced" if setting.balanced else None


def _make_knn(params: Params, _: Setting) -> Any:
    return Neighbours(params["neighbours"], params["weighted"])


def _make_svm(params: Params, setting: Setting) -> Any:
    if params["loss"] == "hinge":
        return PairwiseSvm(params["c"], params["gamma"], setting.balanced, setting.seed)
    return LeastSquares(
        params["loss"], params["width"], params["ridge"], params["whitening"], setting.balanced, setting.seed
    )


def _make_forest(params: Params, setting: Setting) -> Any:
    return Forest(
        params["trees"],
        params["max_features"],
        params["min_leaf_rows"],
        params["random_splits"],
        setting.balanced,
        setting.seed,
    )


def _make_logistic_regression(params: Params, setting: Setting) -> Any:
    return LogisticRegression(C=params["c"], max_iter=3000, class_weight=_weights(setting))


def _make_naive_bayes(params: Params, setting: Setting) -> Any:
    even = np.full(setting.genres, 1 / setting.genres)
    return GaussianNB(priors=even if setting.balanced else None, var_smoothing=params["smoothing"])


def _make_gradient_boosting(params: Params, setting: Setting) -> Any:
    return GradientBoosting(
        params["rounds"],
        params["rate"],
        params["leaves"],
        params["l2"],
        params["max_features"],
        setting.balanced,
        setting.seed,
    )


def _make_xgboost(params: Params, setting: Setting) -> Any:
    return XgBoost(params["rounds"], params["rate"], params["depth"], params["share"], setting.balanced, setting.seed)


def _make_voting(params: Params, setting: Setting) -> Any:
    return Voting(_make_members(params, setting), setting.balanced, setting.seed)


def _make_stacking(params: Params, setting: Setting) -> Any:
    return Stacking(_make_members(params, setting), setting.balanced, setting.seed)


def _make_members(params: Params, setting: Setting) -> list[Pipeline]:
    names = params["members"].split("+")
    if unknown := [name for name in names if name not in MEMBERS]:
        raise InputError("bad_params", f"there is no member {unknown[0]}; there are: {', '.join(MEMBERS)}")
    return [MEMBERS[name](setting) for name in names]


def _member(learner: str, **params: Any) -> Callable[[Setting], Pipeline]:
    return lambda setting: LEARNERS[learner].build(params, setting)


def _make_gaussians(scaling: str, pooling: float, shrinkage: float) -> Callable[[Setting], Pipeline]:
    def make(setting: Setting) -> Pipeline:
        learner = Gaussians(pooling, shrinkage, setting.balanced)
        return make_pipeline(learner, scaling=scaling, selection="none", kept=1.0, seed=setting.seed)

    return make


MEMBERS: Mapping[str, Callable[[Setting], Pipeline]] = {
    "laplace": _member("svm", loss="laplace"),
    "unturned": _member("svm", loss="laplace", whitening=0.0),
    "whitened": _member("svm", loss="laplace", whitening=1.0),
    "gaussian": _member("svm", loss="gaussian", width=1.0, ridge=0.2, whitening=0.0),
    "normal": _make_gaussians("quantile", 0.2, 0.1),
    "linear": _member("logistic_regression"),
    "discriminant": _make_gaussians("quantile", 1.0, 0.1),
    "discriminant2": _make_gaussians("power", 1.0, 0.1),
    "svm": _member("svm"),
    "forest": _member("random_forest", random_splits=True),
    "boosting": _member("gradient_boosting"),
    "knn": _member("knn"),
}
"""What voting and stacking can ask, each with its own preparation."""

_ASKED = "laplace+unturned+whitened+gaussian+normal+linear"
_TRIED = (
    {"members": f"{_ASKED}+boosting"},
    {"members": "whitened+discriminant+discriminant2+knn"},
)
_NONE = {"selection": "none", "kept": 0.5}

LEARNERS: Mapping[str, Learner] = {
    one.name: one
    for one in (
        Learner(
            "knn",
            "k nearest neighbours",
            {"scaling": "quantile", **_NONE, "neighbours": 9, "weighted": True},
            _make_knn,
            (
                {"neighbours": 5},
                {"neighbours": 15},
                {"scaling": "power"},
                {"selection": "univariate", "kept": 0.7},
                {"selection": "embedded", "kept": 0.5},
            ),
            max_rows=20_000,
        ),
        Learner(
            "svm",
            "support vector machine",
            {
                "scaling": "quantile",
                **_NONE,
                "loss": "hinge",
                "c": 3.0,
                "gamma": 1.0,
                "width": 0.5,
                "ridge": 0.03,
                "whitening": 0.5,
            },
            _make_svm,
            (
                {"c": 10.0},
                {"loss": "laplace"},
                {"loss": "laplace", "whitening": 1.0},
                {"loss": "gaussian", "width": 1.0, "ridge": 0.2, "whitening": 0.0},
            ),
            max_rows=6_000,
        ),
        Learner(
            "random_forest",
            "random forest",
            {
                "scaling": "none",
                **_NONE,
                "trees": 300,
                "random_splits": False,
                "min_leaf_rows": 1,
                "max_features": 0.15,
            },
            _make_forest,
            (
                {"random_splits": True},
                {"random_splits": True, "max_features": 0.4},
                {"min_leaf_rows": 3},
                {"selection": "recursive", "kept": 0.6},
            ),
            max_rows=20_000,
        ),
        Learner(
            "logistic_regression",
            "logistic regression",
            {"scaling": "quantile", **_NONE, "c": 0.3},
            _make_logistic_regression,
            (
                {"c": 0.03},
                {"c": 0.1},
                {"c": 1.0},
                {"scaling": "power"},
                {"scaling": "power", "c": 0.1},
                {"selection": "recursive", "kept": 0.7},
            ),
            max_rows=200_000,
        ),
        Learner(
            "naive_bayes",
            "naive Bayes",
            {"scaling": "power", **_NONE, "smoothing": 1e-9},
            _make_naive_bayes,
            (
                {"scaling": "quantile"},
                {"smoothing": 0.1},
                {"selection": "univariate", "kept": 0.5},
                {"selection": "embedded", "kept": 0.5},
            ),
            max_rows=2_000_000,
        ),
        Learner(
            "gradient_boosting",
            "gradient boosting",
            {
                "scaling": "none",
                **_NONE,
                "rounds": 120,
                "rate": 0.08,
                "leaves": 8,
                "l2": 1.0,
                "max_features": 0.3,
            },
            _make_gradient_boosting,
            ({"rounds": 250, "rate": 0.05, "leaves": 5}, {"leaves": 16, "l2": 5.0}),
            max_rows=1_000_000,
            takes_unknown=True,
        ),
        Learner(
            "xgboost",
            "XGBoost",
            {"scaling": "none", **_NONE, "rounds": 150, "rate": 0.1, "depth": 3, "share": 0.5},
            _make_xgboost,
            ({"rounds": 300, "rate": 0.05}, {"depth": 5}),
            max_rows=1_000_000,
            takes_unknown=True,
        ),
        Learner(
            "voting",
            "soft voting",
            {"scaling": "none", **_NONE, "members": _ASKED},
            _make_voting,
            _TRIED,
            max_rows=6_000,
            takes_unknown=True,
        ),
        Learner(
            "stacking",
            "stacking",
            {"scaling": "none", **_NONE, "members": _ASKED},
            _make_stacking,
            _TRIED,
            max_rows=6_000,
            takes_unknown=True,
        ),
    )
}
