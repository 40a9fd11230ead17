"""What rows of features go through before a learner sees them: filling in, scaling, a choice of features."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

from reprise.lib.arrays import Float64Array, Int64Array

SCALINGS = ("standard", "quantile", "power", "none")
SELECTIONS = ("none", "univariate", "recursive", "embedded")

LEARNER = "learner"
"""The last step of every pipeline."""

_FARTHEST = 8.0
"""Standard deviations at which a scaled value ends: one wild number is not to outweigh all other features."""
_QUANTILES = 200
_RIDGE = 1.0
_DROPPED_A_ROUND = 0.1
_ROWS_OF_TREES = 20_000
"""Rows that trees choose features by: those of a million would fill ten GiB and choose the same."""


class Bounds(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Cuts scaled values off where they are farther out than any that can be learned from."""

    def fit(self, rows: Float64Array, codes: Int64Array | None = None) -> Self:  # noqa: ARG002 - as scikit-learn calls it
        """Learn nothing."""
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows: Float64Array) -> Float64Array:
        """Rows within the bounds."""
        return np.clip(rows, -_FARTHEST, _FARTHEST)


class Quantiles(QuantileTransformer):  # type: ignore[misc]
    """Gives every feature a normal distribution, by no more quantiles than there are rows."""

    def fit(self, rows: Float64Array, codes: Int64Array | None = None) -> Self:  # noqa: ARG002 - as scikit-learn calls it
        """Learn."""
        self.n_quantiles: int = min(self.n_quantiles, len(rows))
        super().fit(rows)
        return self


class Selection(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps the features that say most about the genre.

    Parameters
    ----------
    method
        ``univariate``: by the F value of each alone. ``recursive``: by what is left when a tenth of the features, those
        of the least weight in a ridge regression on the genres, is dropped again and again (Guyon et al. 2002).
        ``embedded``: by their importance to a forest of random trees.
    share
        Of the features that are kept, above 0 and at most 1; one at least. None is kept that never varies, as long
        as another does.
    seed
        Of the trees.
    """

    def __init__(self, method: str, share: float, seed: int) -> None:
        self.method = method
        self.share = share
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Choose by rows (n, d), float64 and finite, and their genres (n,)."""
        varies = np.flatnonzero(np.ptp(rows, axis=0) > 0)
        if not len(varies):
            varies = np.arange(rows.shape[1])
        count = min(max(round(self.share * rows.shape[1]), 1), len(varies))
        choose = {"univariate": _by_variance, "recursive": _by_dropping, "embedded": self._by_trees}[self.method]
        self.n_features_in_ = rows.shape[1]
        self.kept_ = np.sort(varies[choose(_standardise(rows[:, varies]), codes, count)])
        return self

    def transform(self, rows: Float64Array) -> Float64Array:
        """Columns that are kept, in their order."""
        kept: Float64Array = rows[:, self.kept_]
        return kept

    def _by_trees(self, rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
        from sklearn.ensemble import ExtraTreesClassifier

        if len(rows) > _ROWS_OF_TREES:
            drawn = np.random.default_rng(self.seed).choice(len(rows), _ROWS_OF_TREES, replace=False)
            rows, codes = rows[drawn], codes[drawn]
        forest = ExtraTreesClassifier(200, min_samples_leaf=2, random_state=self.seed).fit(rows, codes)
        return np.argsort(-forest.feature_importances_, kind="stable")[:count]


def make_pipeline(
    learner: Any, *, scaling: str, selection: str, kept: float, seed: int, takes_unknown: bool = False
) -> Pipeline:
    """Pipeline up to a learner, not yet fitted.

    Parameters
    ----------
    learner
        An estimator, the step ``LEARNER``.
    scaling
        Of ``SCALINGS``: ``quantile`` gives every feature a normal distribution by its ranks, ``power`` by the power of
        Yeo and Johnson (2000).
    selection, kept
        Of ``SELECTIONS``, and the share of features that it keeps.
    takes_unknown
        The learner can make something of NaN itself.
    """
    steps: list[tuple[str, Any]] = []
    if not takes_unknown or selection != "none":
        # an unknown column stays where it is, else all columns after it would move
        steps.append(("fill", SimpleImputer(strategy="median", keep_empty_features=True)))
    if scaling == "quantile":
        quantiles = Quantiles(n_quantiles=_QUANTILES, output_distribution="normal", random_state=seed)
        steps.append(("scale", quantiles))
    elif scaling == "power":
        # numbers far from 0 would ask for powers that no float holds
        steps += [("near", StandardScaler()), ("scale", PowerTransformer(standardize=False))]
    if scaling != "none":
        steps += [("level", StandardScaler()), ("bound", Bounds())]
    if selection != "none":
        steps.append(("select", Selection(selection, kept, seed)))
    return Pipeline([*steps, (LEARNER, learner)])


def _standardise(rows: Float64Array) -> Float64Array:
    spread = rows.std(axis=0)
    return np.asarray((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1), dtype=np.float64)


def _by_variance(rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
    sizes = np.bincount(codes)[:, None]
    means = np.stack([np.bincount(codes, weights=column) for column in rows.T], axis=1) / np.maximum(sizes, 1)
    between = (sizes * means**2).sum(axis=0)
    within = np.maximum((rows**2).sum(axis=0) - between, 1e-12)
    return np.argsort(-between / within, kind="stable")[:count]


def _by_dropping(rows: Float64Array, codes: Int64Array, count: int) -> Int64Array:
    targets = np.eye(codes.max() + 1)[codes]
    targets -= targets.mean(axis=0)
    moments, products = rows.T @ rows / len(rows), rows.T @ targets / len(rows)
    left = np.arange(rows.shape[1])
    while len(left) > count:
        ridge = moments[np.ix_(left, left)] + np.eye(len(left)) * (_RIDGE / len(rows))
        weight = np.linalg.norm(np.linalg.solve(ridge, products[left]), axis=1)
        dropped = min(max(int(len(left) * _DROPPED_A_ROUND), 1), len(left) - count)
        left = np.sort(left[np.argsort(weight, kind="stable")[dropped:]])
    return left
