"""Learners that ask several others, each with a pipeline of its own."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.genres.pipelines import LEARNER
from reprise.lib.genres.svm import find_temperature, held_out, softmax, weigh

_LEAST = 1e-3
"""Probability that a member's answer counts as at least: one that is wrong and sure is not to outvote the others."""


def fit_pipeline(pipeline: Pipeline, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Pipeline:
    """Fit a pipeline, with the groups of its rows for learners that split them."""
    asks = getattr(pipeline.named_steps[LEARNER], "by_groups", False)
    return pipeline.fit(rows, codes, **({f"{LEARNER}__groups": groups} if asks else {}))


class _Members(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Parameters: ``members``, pipelines not yet fitted; ``balanced``; ``seed`` of the splits."""

    by_groups = True

    def __init__(self, members: Sequence[Pipeline], balanced: bool, seed: int) -> None:
        self.members = members
        self.balanced = balanced
        self.seed = seed

    def fit(self, rows: Float64Array, codes: Int64Array, groups: ObjectArray) -> Self:
        """Learn from rows (n, d), NaN = unknown, codes (n,), 0 to k - 1, each there, and groups (n,)."""
        k = int(codes.max()) + 1
        answers, truth = [np.zeros((0, len(self.members), k))], [np.zeros(0, dtype=np.int64)]
        for train, part in held_out(codes, groups, self.seed):
            if len(np.unique(codes[train])) == k:
                members = [fit_pipeline(clone(one), rows[train], codes[train], groups[train]) for one in self.members]
                answers.append(_ask(members, rows[part]))
                truth.append(codes[part])
        self.classes_ = np.arange(k)
        unseen, codes_seen = np.concatenate(answers), np.concatenate(truth)
        self._combine(unseen, codes_seen, weigh(codes_seen, self.balanced))
        self.fitted_ = [fit_pipeline(clone(one), rows, codes, groups) for one in self.members]
        # they have done: a model that is kept has no use for them
        self.members = []
        return self

    def _combine(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        """Learn what to make of answers to rows that no member saw."""
        raise NotImplementedError


class Voting(_Members):
    """Soft voting: the mean of the logarithms of the members' probabilities.

    Held-out rows say how sure each member may be, and how sure all of them together: an answer is raised to that power
    first. Beyond that all votes are equal: weights that were learned held for other songs of the same artists only.
    """

    def _combine(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        count = len(self.members)
        self.weights_ = np.full(count, 1 / count)
        if len(codes):
            self.weights_ *= [find_temperature(answers[:, member], codes, weights) for member in range(count)]
            self.weights_ *= find_temperature(np.einsum("nmk,m->nk", answers, self.weights_), codes, weights)

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        return softmax(np.einsum("nmk,m->nk", _ask(self.fitted_, rows), self.weights_))


class Stacking(_Members):
    """Stacking: a logistic regression reads the logarithms of the members' probabilities (Wolpert 1992)."""

    def _combine(self, answers: Float64Array, codes: Int64Array, weights: Float64Array) -> None:
        self.top_ = None
        if len(np.unique(codes)) == len(self.classes_):
            top = LogisticRegression(C=0.02, max_iter=2000)
            self.top_ = top.fit(answers.reshape(len(answers), -1), codes, sample_weight=weights)

    def predict_proba(self, rows: Float64Array) -> Float64Array:
        """Probabilities (n, k)."""
        answers = _ask(self.fitted_, rows)
        if self.top_ is None:
            return softmax(answers.mean(axis=1))
        return np.asarray(self.top_.predict_proba(answers.reshape(len(rows), -1)), dtype=np.float64)


def _ask(members: Sequence[Pipeline], rows: Float64Array) -> Float64Array:
    """Logarithms of the members' probabilities, (n, members, k)."""
    answers = np.stack([one.predict_proba(rows) for one in members], axis=1)
    return np.asarray(np.log(np.maximum(answers, _LEAST)), dtype=np.float64)
