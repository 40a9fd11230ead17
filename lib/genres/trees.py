"""Forests and gradient boosting of scikit-learn, kept as a few arrays instead of thousands of objects.

Compiled code follows the branches of a tree without looking where they lead, so what is kept is checked before it is
followed. Rows are float64 (n, d); codes are int64 (n,), 0 to k - 1, each there.
"""

from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import NODE_DTYPE, Tree

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.genres.svm import softmax

_LEAF = -1


def check_branches(
    starts: NDArray[Any], left: NDArray[Any], right: NDArray[Any], feature: NDArray[Any], d: int
) -> Int64Array:
    """Check trees whose nodes stand one after the other: each tree's from its start on, with branches counted from it.

    Returns
    -------
    ndarray
        ``starts``, and the number of nodes.

    Raises
    ------
    ValueError
        A tree is empty, or has a branch that leads to no later node of it, or asks for a feature that is none of d.
    """
    n = len(left)
    if not (left.shape == right.shape == feature.shape == (n,) and starts.ndim == 1 and len(starts)):
        raise ValueError("arrays of trees that do not fit")
    bounds = np.append(starts.astype(np.int64), n)
    if bounds[0] != 0 or (np.diff(bounds) < 1).any():
        raise ValueError("a tree without nodes")
    place = np.arange(n) - np.repeat(bounds[:-1], np.diff(bounds))
    size = np.repeat(np.diff(bounds), np.diff(bounds))
    inner = left != _LEAF
    for branch in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if ((branch <= place[inner]) | (branch >= size[inner])).any():
            raise ValueError("a branch that leads nowhere")
    if ((feature[inner] < 0) | (feature[inner] >= d)).any():
        raise ValueError("a tree that asks for a feature that is not there")
    return bounds


class _Trees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Keeps ``starts_``, ``left_``, ``right_``, ``feature_``, ``threshold_`` of nodes; trees are made of them once."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_made"}

    def _keep(self, left: list[Any], right: list[Any], feature: list[Any], threshold: list[Any]) -> None:
        self.starts_ = np.cumsum([0, *map(len, left)])[:-1].astype(np.int32)
        self.left_, self.right_ = (np.concatenate(side).astype(np.int32) for side in (left, right))
        self.feature_ = np.concatenate(feature).astype(np.int32)
        self.threshold_ = np.concatenate(threshold).astype(np.float64)

    def _trees(self) -> list[Any]:
        if getattr(self, "_made", None) is None:
            bounds = check_branches(self.starts_, self.left_, self.right_, self.feature_, int(self.n_features_in_))
            if len(self.threshold_) != len(self.left_):
                raise ValueError("thresholds of trees that do not fit")
            self._made = [self._make(slice(first, stop)) for first, stop in pairwise(bounds.tolist())]
        return self._made

    def _make(self, nodes: slice) -> Any:
        raise NotImplementedError


class Forest(_Trees):
    """Random forest (Breiman 2001), or extremely randomised trees (Geurts et al. 2006).

    Parameters
    ----------
    trees, max_features, min_leaf_rows
        How many trees; the share of features that a split chooses from; rows that a leaf has at least.
    random_splits
        Thresholds are drawn, and not searched for.
    """

    def __init__(
        self,
        trees: int,
        max_features: float,
        min_leaf_rows: int,
        random_splits: bool,
        balanced: bool,
        seed: int,
    ) -> None:
        self.trees = trees
        self.max_features = max_features
        self.min_leaf_rows = min_leaf_rows
        self.random_splits = random_splits
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Learn from finite rows."""
        kind = ExtraTreesClassifier if self.random_splits else RandomForestClassifier
        forest = kind(
            self.trees,
            max_features=self.max_features,
            min_samples_leaf=self.min_leaf_rows,
            max_leaf_nodes=2_000,  # a forest of a hundred thousand rows would not fit into a file otherwise
            class_weight="balanced" if self.balanced else None,
            random_state=self.seed,
        ).fit(rows, codes)
        trees = [member.tree_ for member in forest.estimators_]
        self._keep(*([getattr(tree, name) for tree in trees] for name in _FOREST_FIELDS))
        self.n_features_in_ = rows.shape[1]
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.leaves_ = values[self.left_ == _LEAF].astype(np.float32)
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        trees = self._trees()
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"{rows.shape[1]} features for a forest of {self.n_features_in_}")
        near = np.ascontiguousarray(rows, dtype=np.float32)
        total = np.zeros((len(rows), len(self.classes_)))
        for tree in trees:
            total += tree.predict(near)
        return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)

    def _make(self, nodes: slice) -> Any:
        left = self.left_[nodes]
        d = int(self.n_features_in_)
        k, n = len(self.classes_), len(left)
        first = int(np.count_nonzero(self.left_[: nodes.start] == _LEAF))
        leaf = left == _LEAF
        values = np.zeros((n, 1, k))
        values[leaf, 0] = self.leaves_[first : first + int(leaf.sum())]
        records = np.zeros(n, dtype=NODE_DTYPE)
        records["left_child"], records["right_child"] = left, self.right_[nodes]
        records["feature"], records["threshold"] = self.feature_[nodes], self.threshold_[nodes]
        tree = Tree(d, np.array([k], dtype=np.intp), 1)
        tree.__setstate__({"max_depth": 0, "node_count": n, "nodes": records, "values": values})
        return tree


_FOREST_FIELDS = ("children_left", "children_right", "feature", "threshold")


class GradientBoosting(_Trees):
    """Gradient boosting on histograms (Ke et al. 2017); takes NaN as unknown.

    Parameters
    ----------
    rounds, rate
        How many trees for each genre, and how far each goes.
    leaves, l2
        Of a tree, at most; and what its leaves' values are held back by.
    max_features
        Share of features that a split chooses from.
    """

    def __init__(
        self,
        rounds: int,
        rate: float,
        leaves: int,
        l2: float,
        max_features: float,
        balanced: bool,
        seed: int,
    ) -> None:
        self.rounds = rounds
        self.rate = rate
        self.leaves = leaves
        self.l2 = l2
        self.max_features = max_features
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array) -> Self:
        """Learn."""
        # bins of a feature that nobody knows cannot be made; one that never varies is never asked for
        rows = np.where(np.isnan(rows).all(axis=0), 0, rows)
        boosting = HistGradientBoostingClassifier(
            learning_rate=self.rate,
            max_iter=self.rounds,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=10,
            l2_regularization=self.l2,
            max_features=self.max_features,
            early_stopping=False,
            class_weight="balanced" if self.balanced else None,
            random_state=self.seed,
        ).fit(rows, codes)
        nodes = [predictor.nodes for found in boosting._predictors for predictor in found]
        # a leaf says so by a flag, where the branches of other trees say it
        left = [np.where(one["is_leaf"], _LEAF, one["left"].astype(np.int64)) for one in nodes]
        self._keep(left, *([one[name] for one in nodes] for name in ("right", "feature_idx", "num_threshold")))
        self.value_, self.unknown_left_ = (
            np.concatenate([one[name] for one in nodes]) for name in ("value", "missing_go_to_left")
        )
        self.baseline_ = boosting._baseline_prediction.reshape(-1)
        self.n_features_in_ = rows.shape[1]
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        trees = self._trees()
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"{rows.shape[1]} features for a boosting of {self.n_features_in_}")
        near = np.ascontiguousarray(rows, dtype=np.float64)
        none, places = np.zeros((0, 8), dtype=np.uint32), np.zeros(rows.shape[1], dtype=np.uint32)
        logits = np.tile(self.baseline_, (len(rows), 1))
        width = logits.shape[1]
        for number, tree in enumerate(trees):
            logits[:, number % width] += tree.predict(near, none, places, 1)
        # of two genres there is one number, for the second of them
        return softmax(logits if width > 1 else np.hstack([np.zeros_like(logits), logits]))

    def _make(self, nodes: slice) -> Any:
        left = self.left_[nodes]
        leaf = left == _LEAF
        records = np.zeros(len(left), dtype=PREDICTOR_RECORD_DTYPE)
        records["left"], records["right"] = np.where(leaf, 0, left), np.where(leaf, 0, self.right_[nodes])
        records["is_leaf"], records["feature_idx"] = leaf, self.feature_[nodes]
        records["num_threshold"], records["value"] = self.threshold_[nodes], self.value_[nodes]
        records["missing_go_to_left"] = self.unknown_left_[nodes]
        none = np.zeros((0, 8), dtype=np.uint32)
        return TreePredictor(records, none, none)
