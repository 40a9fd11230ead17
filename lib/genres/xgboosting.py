"""XGBoost learner. Its trees are stored as JSON, so that it can be saved without pickle."""

import json
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.svm import compute_row_weights
from reprise.lib.genres.trees import check_branches


class XgBoost(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
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
        self.trees_ = np.frombuffer(bytes(booster.save_raw("json")), dtype=np.uint8)
        self.classes_ = np.arange(k)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        xgboost = _import_xgboost()
        if getattr(self, "_booster", None) is None:
            self._check_trees(rows.shape[1])
            self._booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(self.trees_.tobytes()))
        data = xgboost.DMatrix(rows, nthread=1)
        return np.asarray(self._booster.predict(data), dtype=np.float64).reshape(len(rows), len(self.classes_))

    def _check_trees(self, d: int) -> None:
        """Check the trees, because they can come from a file and XGBoost follows branches without bounds checks."""
        model = json.loads(self.trees_.tobytes())["learner"]
        trees = model["gradient_booster"]["model"]["trees"]
        genres = model["gradient_booster"]["model"]["tree_info"]
        k = len(self.classes_)
        if int(model["learner_model_param"]["num_feature"]) != d or int(model["learner_model_param"]["num_class"]) != k:
            raise ValueError("the numbers of features or genres of the XGBoost trees differ from those of the model")
        if len(genres) != len(trees) or not all(0 <= int(genre) < k for genre in genres):
            raise ValueError("the genre of an XGBoost tree is not in the model, or a tree has no genre")
        for tree in trees:
            left, right, feature = (
                np.array(tree[name], dtype=np.int64) for name in ("left_children", "right_children", "split_indices")
            )
            check_branches(np.zeros(1), left, right, feature, d)
            sizes = {len(tree[name]) for name in ("split_conditions", "split_type", "default_left", "base_weights")}
            if sizes != {len(left)} or int(tree["tree_param"]["num_nodes"]) != len(left):
                raise ValueError("the arrays of an XGBoost tree have different lengths")
            if any(tree["split_type"]) or any(tree["categories_nodes"]):
                raise ValueError("an XGBoost tree has categorical splits")

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_booster"}


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
