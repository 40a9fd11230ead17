"""Forests and gradient boosting, fitted by scikit-learn and stored as a few arrays.

Predictions need only the arrays. The compiled code that follows the branches of a tree checks no bounds, so the arrays
of a file are checked first. Rows are float64 of shape (n, d). Codes are int64 of shape (n,) and contain every integer
from 0 to k - 1.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier

from reprise.lib.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from reprise.lib.genres.svm import softmax

_LEAF = -1

Nodes = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Nodes of one tree: left and right children, features and thresholds."""


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


@njit(cache=True, nogil=True)
def _find_leaves(
    rows: Float64Array,
    left: Int32Array,
    right: Int32Array,
    feature: Int32Array,
    threshold: Float64Array,
    unknown_left: BoolArray,
) -> Int64Array:
    """Return the leaf of a tree that each row (n, d) reaches. Rows up to a threshold go left, as in scikit-learn."""
    leaves = np.empty(len(rows), dtype=np.int64)
    for row in range(len(rows)):
        node = 0
        while left[node] != _LEAF:
            value = rows[row, feature[node]]
            goes_left = unknown_left[node] if np.isnan(value) else value <= threshold[node]
            node = left[node] if goes_left else right[node]
        leaves[row] = node
    return leaves


class _Trees(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base class that stores the nodes of all trees in arrays.

    The arrays are ``starts_``, the first node of each tree, and for each node ``left_``, ``right_``, ``feature_`` and
    ``threshold_``.
    """

    def _store(self, d: int, k: int, trees: Sequence[Nodes]) -> None:
        left, right, feature, threshold = (np.concatenate(arrays) for arrays in zip(*trees, strict=True))
        self.starts_ = np.cumsum([0, *(len(tree[0]) for tree in trees)])[:-1].astype(np.int32)
        self.left_, self.right_, self.feature_ = (one.astype(np.int32) for one in (left, right, feature))
        self.threshold_ = threshold.astype(np.float64)
        self.n_features_in_ = d
        self.classes_ = np.arange(k)

    def _iterate_leaves(self, rows: Float64Array, unknown_left: BoolArray) -> Iterator[tuple[slice, Int64Array]]:
        """Yield for each tree the slice of its nodes, and the leaf of each row, counted from the start of the tree."""
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"expected rows of {self.n_features_in_} features, got {rows.shape[1]}")
        arrays: tuple[Any, ...] = (self.left_, self.right_, self.feature_, self.threshold_, unknown_left)
        bounds = check_branches(self.starts_, self.left_, self.right_, self.feature_, int(self.n_features_in_))
        if not all(array.shape == self.left_.shape for array in arrays):
            raise ValueError("the arrays of the trees have different lengths")
        contiguous = np.ascontiguousarray(rows, dtype=np.float64)
        for first, stop in pairwise(bounds.tolist()):
            nodes = slice(first, stop)
            yield nodes, _find_leaves(contiguous, *(array[nodes] for array in arrays))


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
            max_leaf_nodes=2_000,  # without this, a forest fitted to 100,000 rows exceeds the size limit of a file
            class_weight="balanced" if self.balanced else None,
            random_state=self.seed,
        ).fit(rows, codes)
        trees = [member.tree_ for member in forest.estimators_]
        nodes = [(one.children_left, one.children_right, one.feature, one.threshold) for one in trees]
        self._store(rows.shape[1], int(codes.max()) + 1, nodes)
        values = np.concatenate([tree.value[:, 0, :] for tree in trees])
        self.leaves_ = values[self.left_ == _LEAF].astype(np.float32)
        return self

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        leaf_of_node = np.cumsum(self.left_ == _LEAF) - 1
        total = np.zeros((len(rows), len(self.classes_)))
        # scikit-learn compares float32 values with the thresholds
        rounded = rows.astype(np.float32).astype(np.float64)
        for nodes, leaves in self._iterate_leaves(rounded, np.zeros(len(self.left_), dtype=np.bool_)):
            total += self.leaves_[leaf_of_node[nodes][leaves]]
        return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)


class BoostedTrees(_Trees):
    """Base class of gradient boosting. A tree adds its values to the logits of one genre.

    Further arrays are ``value_`` and, for rows whose feature is NaN, ``unknown_left_``, both for each node, and
    ``baseline_``, the logits without trees. For two genres there is one logit, which belongs to the second genre.
    """

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        logits = self._sum_trees(rows) + self.baseline_
        return softmax(logits if logits.shape[1] > 1 else np.hstack([np.zeros_like(logits), logits]))

    def _sum_trees(self, rows: Float64Array) -> Float64Array:
        width = len(self.baseline_)
        logits = np.zeros((len(rows), width))
        for number, (nodes, leaves) in enumerate(self._iterate_leaves(rows, self.unknown_left_)):
            logits[:, number % width] += self.value_[nodes][leaves]
        return logits


class GradientBoosting(BoostedTrees):
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
        trees = [predictor.nodes for predictors in boosting._predictors for predictor in predictors]
        # scikit-learn marks a leaf of these trees with a flag, and a leaf of a forest with the child -1
        left = [np.where(one["is_leaf"], _LEAF, one["left"].astype(np.int64)) for one in trees]
        nodes = [
            (to, one["right"], one["feature_idx"], one["num_threshold"]) for to, one in zip(left, trees, strict=True)
        ]
        self._store(rows.shape[1], int(codes.max()) + 1, nodes)
        self.value_ = np.concatenate([one["value"] for one in trees])
        self.unknown_left_ = np.concatenate([one["missing_go_to_left"] for one in trees]).astype(np.bool_)
        self.baseline_ = boosting._baseline_prediction.reshape(-1)
        return self
