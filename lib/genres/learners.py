"""Learners for genre classification: their hyperparameters, defaults, and candidates for model selection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from reprise.lib.errors import InputError
from reprise.lib.genres.discriminant_analysis import DiscriminantAnalysis
from reprise.lib.genres.ensembles import Stacking, Voting
from reprise.lib.genres.gaussians import Gaussians
from reprise.lib.genres.neighbours import Neighbours
from reprise.lib.genres.pipelines import SCALINGS, SELECTIONS, make_pipeline
from reprise.lib.genres.svm import LeastSquares, PairwiseSvm
from reprise.lib.genres.trees import Forest, GradientBoosting
from reprise.lib.genres.xgboosting import XgBoost


@dataclass(frozen=True)
class TrainingContext:
    """Properties of a training run that a learner needs in addition to its hyperparameters.

    Parameters
    ----------
    n_genres
        Number of genres.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the learner's random numbers.
    """

    n_genres: int
    balanced: bool
    seed: int


Params = Mapping[str, Any]


@dataclass(frozen=True)
class Learner:
    """A classification method with its hyperparameters.

    Parameters
    ----------
    name
        Key in ``LEARNERS``.
    title
        Name to display.
    defaults
        All hyperparameters with their default values. Every learner has ``scaling``, ``selection`` and ``kept``.
        ``kept`` is the share of the features that the selection keeps.
    make_estimator
        Function that creates the estimator, which is the last step of the pipeline.
    alternatives
        Further candidates for model selection. Each maps the hyperparameters that differ from the defaults to values.
    max_rows
        Maximum number of rows to fit. A fit to this number of rows takes some minutes and a few GiB of memory. Callers
        sample larger datasets.
    accepts_nan
        Whether the learner accepts NaN.
    """

    name: str
    title: str
    defaults: Params
    make_estimator: Callable[[Params, TrainingContext], Any]
    alternatives: tuple[Params, ...]
    max_rows: int
    accepts_nan: bool = False

    @property
    def grid(self) -> tuple[dict[str, Any], ...]:
        """Candidates for model selection, serialisable as JSON.

        A candidate maps the hyperparameters that differ from the defaults to values. The first candidate is an empty
        dict, which means the defaults.
        """
        return tuple(dict(one) for one in ({}, *self.alternatives))

    def build(self, params: Params, context: TrainingContext) -> Pipeline:
        """Build an unfitted pipeline that maps rows, which can contain NaN, to probabilities.

        Parameters
        ----------
        params
            Hyperparameters that differ from the defaults, by their current or old names.
        context
            Number of genres, weights and seed of the training run.

        Raises
        ------
        InputError
            ``bad_params``: a hyperparameter is unknown, a value has the wrong type, ``kept`` is not above 0 and at most
            1, or a scaling, a selection or a member is unknown. The ranges of other values are checked in ``fit``.
        """
        params = {_RENAMED_PARAMS.get(name, name): value for name, value in params.items()}
        faults = [f"unknown parameter {name}" for name in params.keys() - self.defaults.keys()]
        merged = {**self.defaults, **params}
        faults += [
            f"unknown {name} {merged[name]!r}, choose from {', '.join(known)}"
            for name, known in (("scaling", SCALINGS), ("selection", SELECTIONS))
            if merged[name] not in known
        ]
        faults += [
            f"{name} cannot be {value!r}"
            for name, value in params.items()
            if name in self.defaults and not _has_type_of(value, self.defaults[name])
        ]
        if not faults and not 0 < merged["kept"] <= 1:
            faults.append(f"kept must be above 0 and at most 1, not {merged['kept']}")
        if faults:
            defaults = ", ".join(f"{name}={value}" for name, value in self.defaults.items())
            raise InputError("bad_params", f"{self.name}: {sorted(faults)[0]}; parameters and defaults: {defaults}")
        return make_pipeline(
            self.make_estimator(merged, context),
            scaling=merged["scaling"],
            selection=merged["selection"],
            kept=float(merged["kept"]),
            seed=context.seed,
            accepts_nan=self.accepts_nan,
        )


_RENAMED_PARAMS = {"features_a_split": "max_features", "rows_a_leaf": "min_leaf_rows"}
"""New names of hyperparameters by their old names. Old rows of the table ``models`` have the old names."""


def with_former_names(params: Params) -> dict[str, Any]:
    """Return hyperparameters under their old names. Model ids are computed from the old names, so ids stay the same."""
    former = {current: former for former, current in _RENAMED_PARAMS.items()}
    return {former.get(name, name): value for name, value in params.items()}


def _has_type_of(value: object, default: object) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, type(default))


def _class_weight(context: TrainingContext) -> str | None:
    return "balanced" if context.balanced else None


def _make_knn(params: Params, _: TrainingContext) -> Any:
    return Neighbours(params["neighbours"], params["weighted"])


def _make_svm(params: Params, context: TrainingContext) -> Any:
    if params["loss"] == "hinge":
        return PairwiseSvm(params["c"], params["gamma"], context.balanced, context.seed)
    return LeastSquares(
        params["loss"], params["width"], params["ridge"], params["whitening"], context.balanced, context.seed
    )


def _make_forest(params: Params, context: TrainingContext) -> Any:
    return Forest(
        params["trees"],
        params["max_features"],
        params["min_leaf_rows"],
        params["random_splits"],
        context.balanced,
        context.seed,
    )


def _make_logistic_regression(params: Params, context: TrainingContext) -> Any:
    return LogisticRegression(C=params["c"], max_iter=3000, class_weight=_class_weight(context))


def _make_discriminant_analysis(_: Params, context: TrainingContext) -> Any:
    return DiscriminantAnalysis(context.balanced, context.seed)


def _make_naive_bayes(params: Params, context: TrainingContext) -> Any:
    uniform = np.full(context.n_genres, 1 / context.n_genres)
    return GaussianNB(priors=uniform if context.balanced else None, var_smoothing=params["smoothing"])


def _make_gradient_boosting(params: Params, context: TrainingContext) -> Any:
    return GradientBoosting(
        params["rounds"],
        params["rate"],
        params["leaves"],
        params["l2"],
        params["max_features"],
        context.balanced,
        context.seed,
    )


def _make_xgboost(params: Params, context: TrainingContext) -> Any:
    return XgBoost(params["rounds"], params["rate"], params["depth"], params["share"], context.balanced, context.seed)


def _make_voting(params: Params, context: TrainingContext) -> Any:
    return Voting(_make_members(params, context), context.balanced, context.seed)


def _make_stacking(params: Params, context: TrainingContext) -> Any:
    return Stacking(_make_members(params, context), context.balanced, context.seed)


def _make_members(params: Params, context: TrainingContext) -> list[Pipeline]:
    names = params["members"].split("+")
    if unknown := [name for name in names if name not in MEMBERS]:
        raise InputError("bad_params", f"unknown member {unknown[0]}; choose from: {', '.join(MEMBERS)}")
    return [MEMBERS[name](context) for name in names]


def _member_from_learner(learner: str, **params: Any) -> Callable[[TrainingContext], Pipeline]:
    return lambda context: LEARNERS[learner].build(params, context)


def _member_from_gaussians(scaling: str, pooling: float, shrinkage: float) -> Callable[[TrainingContext], Pipeline]:
    def make(context: TrainingContext) -> Pipeline:
        learner = Gaussians(pooling, shrinkage, context.balanced)
        return make_pipeline(learner, scaling=scaling, selection="none", kept=1.0, seed=context.seed)

    return make


MEMBERS: Mapping[str, Callable[[TrainingContext], Pipeline]] = {
    "laplace": _member_from_learner("svm", loss="laplace"),
    "unturned": _member_from_learner("svm", loss="laplace", whitening=0.0),
    "whitened": _member_from_learner("svm", loss="laplace", whitening=1.0),
    "gaussian": _member_from_learner("svm", loss="gaussian", width=1.0, ridge=0.2, whitening=0.0),
    "normal": _member_from_gaussians("quantile", 0.2, 0.1),
    "linear": _member_from_learner("logistic_regression"),
    "discriminant": _member_from_gaussians("quantile", 1.0, 0.1),
    "discriminant2": _member_from_gaussians("power", 1.0, 0.1),
    "svm": _member_from_learner("svm"),
    "forest": _member_from_learner("random_forest", random_splits=True),
    "boosting": _member_from_learner("gradient_boosting"),
    "knn": _member_from_learner("knn"),
}
"""Functions that build the possible members of voting and stacking, by name of the member.

A member is a pipeline with its own preprocessing.
"""

_DEFAULT_MEMBERS = "laplace+unturned+whitened+gaussian+normal+linear"
_OTHER_MEMBERS = (
    {"members": f"{_DEFAULT_MEMBERS}+boosting"},
    {"members": "whitened+discriminant+discriminant2+knn"},
)
_NO_SELECTION = {"selection": "none", "kept": 0.5}

LEARNERS: Mapping[str, Learner] = {
    one.name: one
    for one in (
        Learner(
            "knn",
            "k nearest neighbours",
            {"scaling": "quantile", **_NO_SELECTION, "neighbours": 9, "weighted": True},
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
                **_NO_SELECTION,
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
                **_NO_SELECTION,
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
            {"scaling": "quantile", **_NO_SELECTION, "c": 0.3},
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
            "discriminant_analysis",
            "linear discriminant analysis",
            {"scaling": "standard", **_NO_SELECTION},
            _make_discriminant_analysis,
            ({"scaling": "quantile"}, {"scaling": "power"}),
            max_rows=200_000,
        ),
        Learner(
            "naive_bayes",
            "naive Bayes",
            {"scaling": "power", **_NO_SELECTION, "smoothing": 1e-9},
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
                **_NO_SELECTION,
                "rounds": 120,
                "rate": 0.08,
                "leaves": 8,
                "l2": 1.0,
                "max_features": 0.3,
            },
            _make_gradient_boosting,
            ({"rounds": 250, "rate": 0.05, "leaves": 5}, {"leaves": 16, "l2": 5.0}),
            max_rows=1_000_000,
            accepts_nan=True,
        ),
        Learner(
            "xgboost",
            "XGBoost",
            {"scaling": "none", **_NO_SELECTION, "rounds": 150, "rate": 0.1, "depth": 3, "share": 0.5},
            _make_xgboost,
            ({"rounds": 300, "rate": 0.05}, {"depth": 5}),
            max_rows=1_000_000,
            accepts_nan=True,
        ),
        Learner(
            "voting",
            "soft voting",
            {"scaling": "none", **_NO_SELECTION, "members": _DEFAULT_MEMBERS},
            _make_voting,
            _OTHER_MEMBERS,
            max_rows=6_000,
            accepts_nan=True,
        ),
        Learner(
            "stacking",
            "stacking",
            {"scaling": "none", **_NO_SELECTION, "members": _DEFAULT_MEMBERS},
            _make_stacking,
            _OTHER_MEMBERS,
            max_rows=6_000,
            accepts_nan=True,
        ),
    )
}
