"""Forests and gradient boosting of scikit-learn, stored as a few arrays instead of thousands of objects.

scikit-learn's compiled code follows the branches of a tree without bounds checks, so arrays from a file are checked
before they become trees. Rows are float64 of shape (n, d). Codes are int64 of shape (n,) and contain every integer from
0 to k - 1.
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
    """Check the branches and features of concatenated trees.

    Parameters
    ----------
    starts
        Shape (trees,): index of the first node of each tree.
    left, right, feature
        Shape (nodes,). ``left`` and ``right`` are the children of each node, counted from the start of its tree.
        ``left`` is -1 for a leaf. ``feature`` is the index of the feature on which a node splits.
    d
        Number of features.

    Returns
    -------
    ndarray, int64, shape (trees + 1,)
        ``starts``, followed by the number of nodes.

    Raises
    ------
    ValueError
        The arrays have different lengths, there is no tree, the first start is not 0, a tree is empty, a branch does
        not lead to a later node of its tree, or a feature index is not in 0 to d - 1.
    """
    n = len(left)
    if not (left.shape == right.shape == feature.shape == (n,) and starts.ndim == 1 and len(starts)):
        raise ValueError("the arrays of the trees have different lengths")
    bounds = np.append(starts.astype(np.int64), n)
    if bounds[0] != 0 or (np.diff(bounds) < 1).any():
        raise ValueError("the first nodes of the trees do not start at 0 and increase")
    node = np.arange(n) - np.repeat(bounds[:-1], np.diff(bounds))
    size = np.repeat(np.diff(bounds), np.diff(bounds))
    inner = left != _LEAF
    for branch in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        if ((branch <= node[inner]) | (branch >= size[inner])).any():
            raise ValueError("a branch of a tree does not lead to a later node")
    if ((feature[inner] < 0) | (feature[inner] >= d)).any():
        raise ValueError("a tree splits on an unknown feature")
    return bounds


class _Trees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base class that stores the nodes of all trees as arrays. The first prediction builds the trees from them.

    The arrays are ``starts_``, ``left_``, ``right_``, ``feature_`` and ``threshold_``.
    """

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_built"}

    def _store(self, left: list[Any], right: list[Any], feature: list[Any], threshold: list[Any]) -> None:
        self.starts_ = np.cumsum([0, *map(len, left)])[:-1].astype(np.int32)
        self.left_, self.right_ = (np.concatenate(side).astype(np.int32) for side in (left, right))
        self.feature_ = np.concatenate(feature).astype(np.int32)
        self.threshold_ = np.concatenate(threshold).astype(np.float64)

    def _build_trees(self) -> list[Any]:
        if getattr(self, "_built", None) is None:
            bounds = check_branches(self.starts_, self.left_, self.right_, self.feature_, int(self.n_features_in_))
            if len(self.threshold_) != len(self.left_):
                raise ValueError("the trees have different numbers of thresholds and nodes")
            self._built = [self._build_tree(slice(first, stop)) for first, stop in pairwise(bounds.tolist())]
        return self._built

    def _build_tree(self, nodes: slice) -> Any:
        raise NotImplementedError


class Forest(_Trees):
    """Random forest (Breiman 2001), or extremely randomised trees (Geurts et al. 2006).

    Parameters
    ----------
    trees
        Number of trees.
    max_features
        Share of the features that are drawn at random for each split. The split uses one of them.
    min_leaf_rows
        Minimum number of rows in a leaf.
    random_splits
        Whether thresholds are random (extremely randomised trees) or optimised.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the trees.
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
        """Fit the forest to rows without NaN or infinite values."""
        kind = ExtraTreesClassifier if self.random_splits else RandomForestClassifier
        forest = kind(
            self.trees,
            max_features=self.max_features,
            min_samples_leaf=self.min_leaf_rows,
            max_leaf_nodes=2_000,  # without this, a forest fitted to 100,000 rows exceeds the size limit of an archive
            class_weight="balanced" if self.balanced else None,
            random_state=self.seed,
        ).fit(rows, codes)
        trees = [member.tree_ for member in forest.estimators_]
        self._store(*([getattr(tree, name) for tree in trees] for name in _FOREST_FIELDS))
        self.n_features_in_ = rows.shape[1]
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.leaves_ = values[self.left_ == _LEAF].astype(np.float32)
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        trees = self._build_trees()
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"expected rows of {self.n_features_in_} features, got {rows.shape[1]}")
        rows32 = np.ascontiguousarray(rows, dtype=np.float32)
        total = np.zeros((len(rows), len(self.classes_)))
        for tree in trees:
            total += tree.predict(rows32)
        return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)

    def _build_tree(self, nodes: slice) -> Any:
        left = self.left_[nodes]
        d = int(self.n_features_in_)
        k, n = len(self.classes_), len(left)
        first_leaf = int(np.count_nonzero(self.left_[: nodes.start] == _LEAF))
        leaf = left == _LEAF
        values = np.zeros((n, 1, k))
        values[leaf, 0] = self.leaves_[first_leaf : first_leaf + int(leaf.sum())]
        records = np.zeros(n, dtype=NODE_DTYPE)
        records["left_child"], records["right_child"] = left, self.right_[nodes]
        records["feature"], records["threshold"] = self.feature_[nodes], self.threshold_[nodes]
        tree = Tree(d, np.array([k], dtype=np.intp), 1)
        tree.__setstate__({"max_depth": 0, "node_count": n, "nodes": records, "values": values})
        return tree


_FOREST_FIELDS = ("children_left", "children_right", "feature", "threshold")


class GradientBoosting(_Trees):
    """Gradient boosting on histograms (Ke et al. 2017); NaN is a missing value.

    Parameters
    ----------
    rounds
        Number of rounds. A round adds one tree for each genre, or a single tree if there are two genres.
    rate
        Learning rate.
    leaves
        Maximum number of leaves of a tree.
    l2
        L2 regularisation of the leaf values.
    max_features
        Share of the features that are drawn at random for each split. The split uses one of them.
    balanced
        Whether all genres have the same total weight.
    seed
        Seed of the trees.
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
        """Fit the trees to rows that can contain NaN."""
        # scikit-learn cannot bin a feature whose values are all missing: set them to 0; a constant is never split on
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
        nodes = [predictor.nodes for predictors in boosting._predictors for predictor in predictors]
        # scikit-learn marks a leaf of these trees with a flag, and a leaf of a forest with the child -1
        left = [np.where(one["is_leaf"], _LEAF, one["left"].astype(np.int64)) for one in nodes]
        self._store(left, *([one[name] for one in nodes] for name in ("right", "feature_idx", "num_threshold")))
        self.value_, self.unknown_left_ = (
            np.concatenate([one[name] for one in nodes]) for name in ("value", "missing_go_to_left")
        )
        self.baseline_ = boosting._baseline_prediction.reshape(-1)
        self.n_features_in_ = rows.shape[1]
        self.classes_ = np.arange(int(codes.max()) + 1)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        trees = self._build_trees()
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"expected rows of {self.n_features_in_} features, got {rows.shape[1]}")
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        no_categories, feature_map = np.zeros((0, 8), dtype=np.uint32), np.zeros(rows.shape[1], dtype=np.uint32)
        logits = np.tile(self.baseline_, (len(rows), 1))
        width = logits.shape[1]
        for number, tree in enumerate(trees):
            logits[:, number % width] += tree.predict(rows, no_categories, feature_map, 1)
        # for two genres there is one column of logits, which belongs to the second genre
        return softmax(logits if width > 1 else np.hstack([np.zeros_like(logits), logits]))

    def _build_tree(self, nodes: slice) -> Any:
        left = self.left_[nodes]
        leaf = left == _LEAF
        records = np.zeros(len(left), dtype=PREDICTOR_RECORD_DTYPE)
        records["left"], records["right"] = np.where(leaf, 0, left), np.where(leaf, 0, self.right_[nodes])
        records["is_leaf"], records["feature_idx"] = leaf, self.feature_[nodes]
        records["num_threshold"], records["value"] = self.threshold_[nodes], self.value_[nodes]
        records["missing_go_to_left"] = self.unknown_left_[nodes]
        no_categories = np.zeros((0, 8), dtype=np.uint32)
        return TreePredictor(records, no_categories, no_categories)
