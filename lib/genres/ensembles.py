"""Learners that combine several member pipelines: soft voting and stacking."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.genres.pipelines import LEARNER
from reprise.lib.genres.svm import compute_row_weights, fit_temperature, softmax, split_inner_folds

_MIN_PROBABILITY = 1e-3
"""Lower limit of a member's probabilities, so that one confident but wrong member cannot outvote the other members."""


def fit_pipeline(pipeline: Pipeline, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Pipeline:
    """Fit a pipeline. A learner that splits the rows into folds also gets the groups of the rows."""
    needs_groups = getattr(pipeline.named_steps[LEARNER], "needs_groups", False)
    return pipeline.fit(rows, codes, **({f"{LEARNER}__groups": groups} if needs_groups else {}))


class _Ensemble(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of ensembles.

    Parameters
    ----------
    members
        Unfitted pipelines.
    balanced
        Whether all genres have the same total weight when the combination is fitted.
    seed
        Seed of the inner splits.
    """

    needs_groups = True

    def __init__(self, members: Sequence[Pipeline], balanced: bool, seed: int) -> None:
        self.members = members
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Fit to rows of shape (n, d), NaN for missing values, and to codes and groups, both of shape (n,).

        The codes contain every integer from 0 to k - 1.
        """
        k = int(codes.max()) + 1
        answers, truth = [np.zeros((0, len(self.members), k))], [np.zeros(0, dtype=np.int64)]
        for train, test in split_inner_folds(codes, groups, self.seed):
            if len(np.unique(codes[train])) == k:
                members = [fit_pipeline(clone(one), rows[train], codes[train], groups[train]) for one in self.members]
                answers.append(_log_probabilities(members, rows[test]))
                truth.append(codes[test])
        self.classes_ = np.arange(k)
        held_out, held_out_codes = np.concatenate(answers), np.concatenate(truth)
        self._fit_combination(held_out, held_out_codes, compute_row_weights(held_out_codes, self.balanced))
        self.fitted_ = [fit_pipeline(clone(one), rows, codes, groups) for one in self.members]
        # a saved model needs only the fitted members
        self.members = []
        return self

    def _fit_combination(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        """Fit the combination to the log probabilities ``answers`` of held-out rows, shape (n, members, k), n >= 0."""
        raise NotImplementedError


class Voting(_Ensemble):
    """Soft voting: average the members' log probabilities, each multiplied by a factor (inverse temperature).

    The factors of the members, and one more factor for the average, are calibrated on held-out rows. Apart from these
    factors, all members have equal weight, because learned weights improved the results only for songs by artists of
    the training rows.
    """

    def _fit_combination(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        count = len(self.members)
        self.weights_ = np.full(count, 1 / count)
        if len(codes):
            self.weights_ *= [fit_temperature(answers[:, member], codes, weights) for member in range(count)]
            self.weights_ *= fit_temperature(np.einsum("nmk,m->nk", answers, self.weights_), codes, weights)

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        return softmax(np.einsum("nmk,m->nk", _log_probabilities(self.fitted_, rows), self.weights_))


class Stacking(_Ensemble):
    """Stacking: a logistic regression on the members' log probabilities (Wolpert 1992).

    If the held-out rows do not contain all genres, the log probabilities of the members are averaged instead.
    """

    def _fit_combination(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        self.top_ = None
        if len(np.unique(codes)) == len(self.classes_):
            top = LogisticRegression(C=0.02, max_iter=2000)
            self.top_ = top.fit(answers.reshape(len(answers), -1), codes, sample_weight=weights)

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Return the probabilities of the genres, shape (n, k)."""
        answers = _log_probabilities(self.fitted_, rows)
        if self.top_ is None:
            return softmax(answers.mean(axis=1))
        return np.asarray(self.top_.predict_proba(answers.reshape(len(rows), -1)), dtype=np.float64)


def _log_probabilities(members: Sequence[Pipeline], rows: Float64Array) -> Float64Array:
    """Return the members' log probabilities, at least the logarithm of `_MIN_PROBABILITY`, shape (n, members, k)."""
    probabilities = np.stack([one.predict_proba(rows) for one in members], axis=1)
    return np.asarray(np.log(np.maximum(probabilities, _MIN_PROBABILITY)), dtype=np.float64)
