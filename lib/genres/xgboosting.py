"""XGBoost learner. XGBoost fits the trees; predictions do not need it."""

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.svm import compute_row_weights
from reprise.lib.genres.trees import BoostedTrees, Nodes


class XgBoost(BoostedTrees):
    """Gradient boosting by XGBoost (Chen & Guestrin 2016); NaN is a missing value.

    Parameters
    ----------
    rounds
        Number of trees for each genre.
    rate
        Learning rate.
    depth
        Maximum depth of a tree.
    share
        Each tree is fitted to this share of the rows and to this share of the features, both drawn at random.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the trees.
    """

    def __init__(self, rounds: int, rate: float, depth: int, share: float, balanced: bool, seed: int) -> None:
        self.rounds = rounds
        self.rate = rate
        self.depth = depth
        self.share = share
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Fit to rows of shape (n, d), NaN for missing values, and codes of shape (n,), every integer from 0 to k - 1.

        Raises
        ------
        InputError
            ``missing_extra``: XGBoost is not installed.
        """
        xgboost = _import_xgboost()
        k = int(codes.max()) + 1
        data = xgboost.DMatrix(rows, label=codes, weight=compute_row_weights(codes, self.balanced), nthread=1)
        params = {
            "objective": "multi:softprob",
            "num_class": k,
            "eta": self.rate,
            "max_depth": self.depth,
            "subsample": self.share,
            "colsample_bytree": self.share,
            "tree_method": "hist",
            "seed": self.seed,
            "nthread": 1,
            "verbosity": 0,
        }
        booster = xgboost.train(params, data, num_boost_round=self.rounds)
        trees = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
        self._store(rows.shape[1], k, [_read_nodes(tree) for tree in trees])
        # leaves have their values in the place of thresholds
        self.value_ = np.concatenate([tree["split_conditions"] for tree in trees])
        self.unknown_left_ = np.concatenate([tree["default_left"] for tree in trees]).astype(np.bool_)
        self.baseline_ = np.zeros(k)
        (logits,) = booster.predict(xgboost.DMatrix(rows[:1], nthread=1), output_margin=True)
        self.baseline_ = logits - self._sum_trees(_round(rows[:1]))[0]
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        return super().predict_proba(_round(rows))


def _read_nodes(tree: Mapping[str, Any]) -> Nodes:
    threshold = np.array(tree["split_conditions"], dtype=np.float32)
    # XGBoost sends rows below a threshold to the left, our trees also rows equal to it
    below = np.nextafter(threshold, np.float32(-np.inf))
    return np.array(tree["left_children"]), np.array(tree["right_children"]), np.array(tree["split_indices"]), below


def _round(rows: Float64Array) -> Float64Array:
    """Round rows to float32, as XGBoost does."""
    return rows.astype(np.float32).astype(np.float64)


def _import_xgboost() -> Any:
    try:
        import xgboost
    except ImportError:
        raise InputError(
            "missing_extra",
            'the learner xgboost needs XGBoost, which is not installed: run pip install "reprise[xgboost]" or use the'
            " learner gradient_boosting",
        ) from None
    return xgboost
