"""Preprocessing of feature rows before a learner: imputation, scaling, feature selection."""

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_selection import RFE, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from reprise.lib.arrays import Float64Array, Int64Array

SCALINGS = ("standard", "quantile", "power", "none")
SELECTIONS = ("none", "univariate", "recursive", "embedded")

LEARNER = "learner"
"""Name of the last step of every pipeline."""

_MAX_DEVIATIONS = 8.0
"""Limit in standard deviations at which scaled values are clipped, so that an outlier in one feature does not outweigh
all other features."""
_QUANTILES = 200
_RIDGE = 1.0
_DROP_SHARE = 0.1
_MAX_TREE_ROWS = 20_000
"""Maximum number of rows to which the trees that rank features are fitted.

Trees fitted to a million rows need 10 GiB of memory and select the same features.
"""


class Bounds(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip scaled values to ±8 standard deviations."""

    def fit(self, rows: Float64Array, codes: Int64Array | None = None) -> Self:  # noqa: ARG002 - the signature that scikit-learn calls
        """Set the number of features."""
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows: Float64Array) -> Float64Array:
        """Return the clipped rows."""
        return np.clip(rows, -_MAX_DEVIATIONS, _MAX_DEVIATIONS)


class Selection(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Keep the features that are most informative about the genre.

    Parameters
    ----------
    method
        ``univariate`` keeps the features with the highest F values. The F value of a feature does not depend on the
        other features. ``recursive`` is recursive feature elimination (Guyon et al. 2002): each round drops 10 % of the
        features, those with the smallest weights in a ridge regression that predicts the genres. ``embedded``
        keeps the features with the highest importance in a forest of extremely randomised trees.
    share
        Share of the features to keep, above 0 and at most 1. At least one feature is kept. A constant feature is kept
        only if all features are constant.
    seed
        Seed of the trees.
    """

    def __init__(self, method: str, share: float, seed: int) -> None:
        self.method = method
        self.share = share
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Select features from rows (n, d), float64 and finite, and their genre codes (n,)."""
        varies = np.flatnonzero(np.ptp(rows, axis=0) > 0)
        if not len(varies):
            varies = np.arange(rows.shape[1])
        count = min(max(round(self.share * rows.shape[1]), 1), len(varies))
        select = {
            "univariate": _select_by_f_value,
            "recursive": _eliminate_recursively,
            "embedded": self._select_by_importance,
        }[self.method]
        self.n_features_in_ = rows.shape[1]
        self.kept_ = np.sort(varies[select(_standardise(rows[:, varies]), codes, count)])
        return self

    def transform(self, rows: Float64Array) -> Float64Array:
        """Return the kept columns in their original order."""
        kept: Float64Array = rows[:, self.kept_]
        return kept

    def _select_by_importance(self, rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
        from sklearn.ensemble import ExtraTreesClassifier

        if len(rows) > _MAX_TREE_ROWS:
            drawn = np.random.default_rng(self.seed).choice(len(rows), _MAX_TREE_ROWS, replace=False)
            rows, codes = rows[drawn], codes[drawn]
        forest = ExtraTreesClassifier(200, min_samples_leaf=2, random_state=self.seed).fit(rows, codes)
        return np.argsort(-forest.feature_importances_, kind="stable")[:count]


def make_pipeline(
    learner: Any, *, scaling: str, selection: str, kept: float, seed: int, accepts_nan: bool = False
) -> Pipeline:
    """Build an unfitted pipeline that ends with a learner.

    Parameters
    ----------
    learner
        Estimator of the step ``LEARNER``.
    scaling
        One of ``SCALINGS``. ``quantile`` maps each feature to a normal distribution by the ranks of its values.
        ``power`` applies a power transform to each feature (Yeo & Johnson 2000). Except for ``none``, the features are
        then standardised and clipped.
    selection
        One of ``SELECTIONS``.
    kept
        Share of the features that the selection keeps.
    seed
        Seed of the scaling and of the selection.
    accepts_nan
        Whether the learner accepts NaN. Missing values are replaced by the median of the feature if the learner does
        not accept NaN, or if ``selection`` is not ``none``.
    """
    steps: list[tuple[str, Any]] = []
    if not accepts_nan or selection != "none":
        # keep columns in which all values are missing, because dropping one would shift the columns after it
        steps.append(("fill", SimpleImputer(strategy="median", keep_empty_features=True)))
    if scaling == "quantile":
        quantiles = QuantileTransformer(n_quantiles=_QUANTILES, output_distribution="normal", random_state=seed)
        steps.append(("scale", quantiles))
    elif scaling == "power":
        # standardise first, because the fitted powers overflow for values far from 0
        steps += [("near", StandardScaler()), ("scale", PowerTransformer(standardize=False))]
    if scaling != "none":
        steps += [("level", StandardScaler()), ("bound", Bounds())]
    if selection != "none":
        steps.append(("select", Selection(selection, kept, seed)))
    return Pipeline([*steps, (LEARNER, learner)])


def _standardise(rows: Float64Array) -> Float64Array:
    deviation = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, 1), dtype=np.float64)


def _select_by_f_value(rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # features that are constant within the genres
        scores = f_classif(rows, codes)[0]
    return np.argsort(-np.nan_to_num(scores), kind="stable")[:count]


def _eliminate_recursively(rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
    elimination = RFE(RidgeClassifier(alpha=_RIDGE), n_features_to_select=count, step=_DROP_SHARE)
    return np.flatnonzero(elimination.fit(rows, codes).support_)
