"""Fitted pipelines as arrays and JSON, independent of the version of scikit-learn that fitted them.

Of each estimator, a file contains the kind and the attributes that predictions need, no other object. The attributes
of scikit-learn's estimators are public ones. So a file can be loaded with another version of scikit-learn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from reprise.lib.genres.discriminant_analysis import DiscriminantAnalysis
from reprise.lib.genres.domains import Distances
from reprise.lib.genres.ensembles import Stacking, Voting
from reprise.lib.genres.gaussians import Gaussians
from reprise.lib.genres.neighbours import Neighbours
from reprise.lib.genres.pipelines import Bounds, Selection
from reprise.lib.genres.svm import LeastSquares, PairwiseSvm
from reprise.lib.genres.trees import Forest, GradientBoosting
from reprise.lib.genres.xgboosting import XgBoost

_MAX_DEPTH = 8
"""Maximum depth of estimators in estimators. A stacking of pipelines has three."""


@dataclass(frozen=True)
class _Kind:
    """A kind of estimator: its class, its attributes in a file, and how to make an estimator without attributes."""

    estimator: type
    attributes: tuple[str, ...]
    make: Callable[[], Any]


def _own(estimator: type, *attributes: str) -> _Kind:
    # a file does not contain the parameters that only fit() needs
    return _Kind(estimator, attributes, partial(estimator, **dict.fromkeys(signature(estimator).parameters)))


_SCALED = ("n_features_in_", "scale_", "mean_", "var_")
_TREES = ("n_features_in_", "classes_", "starts_", "left_", "right_", "feature_", "threshold_")
_BOOSTED = (*_TREES, "value_", "unknown_left_", "baseline_")

KINDS: Mapping[str, _Kind] = {
    "median": _Kind(SimpleImputer, ("statistics_",), lambda: None),
    "standard": _Kind(StandardScaler, _SCALED, StandardScaler),
    "quantile": _Kind(
        QuantileTransformer,
        ("n_features_in_", "quantiles_", "references_"),
        lambda: QuantileTransformer(output_distribution="normal"),
    ),
    "power": _Kind(PowerTransformer, ("n_features_in_", "lambdas_"), lambda: PowerTransformer(standardize=False)),
    "bounds": _own(Bounds, "n_features_in_"),
    "selection": _own(Selection, "n_features_in_", "kept_"),
    "logistic_regression": _Kind(
        LogisticRegression, ("n_features_in_", "classes_", "coef_", "intercept_"), LogisticRegression
    ),
    "naive_bayes": _Kind(GaussianNB, ("n_features_in_", "classes_", "theta_", "var_", "class_prior_"), GaussianNB),
    "discriminant_analysis": _own(DiscriminantAnalysis, "classes_", "weights_", "offsets_"),
    "distances": _own(Distances, "mean_", "precision_"),
    "gaussians": _own(Gaussians, "classes_", "means_", "whitening_", "heights_"),
    "neighbours": _own(Neighbours, "classes_", "neighbours", "weighted", "rows_", "codes_"),
    "least_squares": _own(
        LeastSquares, "classes_", "kernel", "width", "turn_", "rows_", "dual_", "offset_", "temperature_"
    ),
    "pairwise_svm": _own(
        PairwiseSvm, "classes_", "gamma", "vectors_", "counts_", "dual_", "intercepts_", "slope_", "power_"
    ),
    "forest": _own(Forest, *_TREES, "leaves_"),
    "gradient_boosting": _own(GradientBoosting, *_BOOSTED),
    "xgboost": _own(XgBoost, *_BOOSTED),
    "voting": _own(Voting, "classes_", "weights_", "fitted_"),
    "stacking": _own(Stacking, "classes_", "top_", "fitted_"),
}
"""Kinds of estimators by their names in files."""

_NAMES = {kind.estimator: name for name, kind in KINDS.items()}


def to_tree(pipeline: Pipeline, name: str) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Return a fitted pipeline as a tree, which JSON can express, and the arrays to which the tree refers.

    The names of the arrays start with ``name``.
    """
    arrays: dict[str, NDArray[Any]] = {}
    return _to_tree(pipeline, name, arrays), arrays


def _to_tree(value: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[path] = np.ascontiguousarray(value)
        return {"array": path}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_to_tree(one, f"{path}/{number}", arrays) for number, one in enumerate(value)]
    if isinstance(value, Pipeline):
        return {"steps": [[name, _to_tree(step, f"{path}/{name}", arrays)] for name, step in value.steps]}
    name = _NAMES[type(value)]
    state = {one: _to_tree(getattr(value, one), f"{path}/{one}", arrays) for one in KINDS[name].attributes}
    return {"kind": name, "state": state}


def from_tree(tree: Any, arrays: Mapping[str, NDArray[Any]]) -> Pipeline:
    """Return the pipeline of a tree that `to_tree` returned.

    The shapes of the arrays are not checked here: the estimators check them where compiled code would not.

    Raises
    ------
    ValueError, KeyError, TypeError
        The tree is not that of a pipeline, or an array is missing.
    """
    pipeline = _from_tree(tree, arrays, 0)
    if not isinstance(pipeline, Pipeline):
        raise ValueError("it does not contain a pipeline")
    return pipeline


def _from_tree(tree: Any, arrays: Mapping[str, NDArray[Any]], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError("its estimators are nested too deeply")
    if isinstance(tree, list):
        return [_from_tree(one, arrays, depth + 1) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "steps" in tree:
        return Pipeline([(str(name), _from_tree(step, arrays, depth + 1)) for name, step in tree["steps"]])
    kind = KINDS[tree["kind"]]
    state = {name: _from_tree(tree["state"][name], arrays, depth + 1) for name in kind.attributes}
    if kind.estimator is SimpleImputer:
        # its attributes are not all public; but the median of one row is this row
        return SimpleImputer(strategy="median", keep_empty_features=True).fit(state["statistics_"][None])
    estimator = kind.make()
    for name, value in state.items():
        setattr(estimator, name, value)
    return estimator
