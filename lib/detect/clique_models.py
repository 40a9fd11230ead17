"""Two published models for cliques: predict the clique of a track, and decide between two works for a track.

Model 1 predicts the clique of a track by a vote of the nearest neighbours. Model 2 compares the distances of a track to
the known versions of two works. Both models call a `DistanceFunction`, so they work with embeddings and with
alignments. `reprise.lib.detect.calibration` converts the results of Model 2 to probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.detect.ranking_metrics import mean_or_nan, roc_area

DistanceFunction = Callable[[Int64Array, Int64Array], Float64Array]
"""Function that maps two arrays of row numbers, both (n,), to the distances (n,) of these pairs of tracks.

The distances must be finite. The function need not be symmetric: the first row is the track to be classified, and the
second row is the track with which it is compared.
"""

NEAREST_VERSIONS = 3
"""Number of nearest versions of a work; the distance to the work is the mean of their distances.

The accuracy of Model 2 was measured on 180 synthetic cliques of 2 to 53 versions, with two embedding models. It is
0.889 with the first embedding model and 0.937 with the second. With the nearest version alone, it is 0.872 and 0.924,
because works with many versions are favoured. With the mean over all versions, it is 0.866 and 0.913, because a track
can be near to only one version. With two versions, the accuracy is the same overall, but lower for works with one known
version.
"""

_MIN_DISTANCE = 1e-12
"""Smaller distances are replaced by this value before taking logarithms, because the logarithm of 0 is undefined."""


@dataclass(frozen=True)
class VoteMetrics:
    """Metrics of Model 1. The accuracy is the share of test tracks whose clique is predicted correctly.

    The accuracy is NaN if there are no test tracks.
    """

    accuracy: float
    cliques: int
    tracks: int  # number of training and test tracks together
    tested: int


@dataclass(frozen=True)
class Checks:
    """Answers of Model 2 to n questions: the distances of the track to the proposed work and to the other work.

    All arrays have shape (n,).
    """

    to_work: Float64Array
    to_other: Float64Array

    @property
    def margin(self) -> Float64Array:
        """Relative difference of the two distances, -1 to 1; positive if the proposed work is nearer, 0 for a tie."""
        total = self.to_work + self.to_other
        return np.asarray((self.to_other - self.to_work) / np.where(total > 0, total, 1.0))

    @property
    def is_version(self) -> BoolArray:
        """The decision: True if the proposed work is strictly nearer than the other work."""
        return np.asarray(self.to_work < self.to_other)

    @property
    def features(self) -> Float64Array:
        """Scores for `reprise.lib.detect.calibration`, (n, 2): log of the distance to the proposed work, and -margin.

        The margin alone cannot show that a track belongs to neither work. The log loss was measured on cliques outside
        the training data, with two embedding models. With the margin alone, it is 0.383 and 0.307. With the margin and
        the log of the distance, it is 0.362 and 0.276. With the margin and the distance, it is 0.367 and 0.278.
        """
        return np.column_stack([np.log(np.maximum(self.to_work, _MIN_DISTANCE)), -self.margin])


@dataclass(frozen=True)
class CheckQuestions:
    """Questions for Model 2: whether a track is a version of the proposed work, rather than of the other work.

    All arrays have shape (n,). ``track`` holds row numbers. ``work`` holds the clique labels of the proposed works, and
    ``other`` those of the other works. ``is_version`` is the correct answer: True if the track is a version of
    ``work``.
    """

    track: Int64Array
    work: NDArray[Any]
    other: NDArray[Any]
    is_version: BoolArray


@dataclass(frozen=True)
class CheckMetrics:
    """Metrics of Model 2. A metric is NaN if there are no questions for it.

    ``accuracy`` is computed only on the questions in which the proposed work is the track's own work. ``roc_area`` is
    the ROC area of the margin over all questions.
    """

    accuracy: float
    roc_area: float
    questions: int


def split_large_cliques(
    cliques: ArrayLike, *, seed: int, more_than: int = 15, test_share: float = 0.1
) -> tuple[Int64Array, Int64Array]:
    """Split the tracks of large cliques for Model 1, stratified by clique.

    Return the row numbers of the training tracks and of the test tracks, ascending. Both arrays are empty if no clique
    is large enough.

    Parameters
    ----------
    cliques
        Shape (n,): the clique of each track.
    seed
        Seed of the split.
    more_than
        Only cliques with more versions than this are used.
    test_share
        Share of the tracks in the test set, 0 to 1.

    Raises
    ------
    ValueError
        From scikit-learn: the training set or the test set is too small to contain a track of each clique.
    """
    from sklearn.model_selection import train_test_split

    _names, code, sizes = np.unique(np.asarray(cliques), return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes[code] > more_than).astype(np.int64)
    if not len(large):
        return large, large
    train, test = train_test_split(large, test_size=test_share, random_state=seed, stratify=code[large])
    return np.sort(train), np.sort(test)


def evaluate_vote(
    measure: DistanceFunction, cliques: ArrayLike, train: Int64Array, test: Int64Array, *, neighbours: int = 25
) -> VoteMetrics:
    """Evaluate Model 1: predict the clique of each test track by a vote of its nearest training tracks.

    Parameters
    ----------
    measure
        Function that is called once, with all pairs (test track, training track), grouped by test track. It is not
        called if ``test`` is empty.
    cliques
        Shape (n,): the clique of each track.
    train, test
        Row numbers, from `split_large_cliques`.
    neighbours
        Number of nearest training tracks that vote, with equal weights. If there are fewer training tracks, all vote.

    Raises
    ------
    ValueError
        From scikit-learn: a distance is not finite.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if not len(test):
        return VoteMetrics(float("nan"), 0, 0, 0)
    labels = np.asarray(cliques)
    names, code = np.unique(labels[np.concatenate([train, test])], return_inverse=True)
    distances = measure(np.repeat(test, len(train)), np.tile(train, len(test))).reshape(len(test), len(train))
    # scikit-learn requires the distances between training tracks, but reads only the shape of that matrix
    unused = np.broadcast_to(0.0, (len(train), len(train)))
    voters = KNeighborsClassifier(min(neighbours, len(train)), metric="precomputed").fit(unused, code[: len(train)])
    accuracy = float(np.mean(voters.predict(distances) == code[len(train) :]))
    return VoteMetrics(accuracy, len(names), len(code), len(test))


def draw_questions(cliques: ArrayLike, *, seed: int, per_track: int = 1) -> CheckQuestions:
    """Draw questions about every track whose clique contains another track.

    Each draw takes a track, its work A and two other works, B and C. It gives three questions with these works:

    - The proposed work is A and the other work is B. The correct answer is yes.
    - The proposed work is B and the other work is A. The correct answer is no.
    - The proposed work is B and the other work is C. The correct answer is no, and the track belongs to neither work.

    If there are only two works, a draw gives the first two questions. If there is only one work, there are no
    questions.

    Parameters
    ----------
    cliques
        Shape (n,): the clique of each track.
    seed
        Equal seeds and cliques give equal questions.
    per_track
        Number of draws per track.
    """
    labels = np.asarray(cliques)
    names, code, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    track = np.repeat(np.flatnonzero(sizes[code] > 1), per_track)
    if len(names) < 2:
        track = track[:0]
    own = code[track]
    # choose B and C by random steps from A through the cyclic list of works, so that A, B and C differ
    step = rng.integers(1, max(len(names), 2), len(track))
    further = rng.integers(1, max(len(names) - 1, 2), len(track))
    further += further >= step
    b, c = (own + step) % len(names), (own + further) % len(names)
    kinds = [(own, b, True), (b, own, False), *([(b, c, False)] if len(names) > 2 else [])]
    return CheckQuestions(
        track=np.tile(track, len(kinds)),
        work=names[np.concatenate([work for work, _, _ in kinds])],
        other=names[np.concatenate([other for _, other, _ in kinds])],
        is_version=np.repeat([answer for _, _, answer in kinds], len(track)),
    )


def pair_known_versions(cliques: ArrayLike, questions: CheckQuestions) -> tuple[Int64Array, Int64Array]:
    """Return the pairs (track, known version) whose distances `check_versions` needs, as two arrays of row numbers.

    Each pair occurs once.

    Raises
    ------
    ValueError
        As in `check_versions`.
    """
    _question, _pair, pairs = _compare(cliques, questions)
    return pairs


def check_versions(measure: DistanceFunction, cliques: ArrayLike, questions: CheckQuestions) -> Checks:
    """Answer questions by Model 2.

    The distance of a track to a work is the mean of the distances to the `NEAREST_VERSIONS` nearest known versions. If
    there are fewer known versions, it is the mean over all of them. A track does not count as a known version of its
    own work.

    Parameters
    ----------
    measure
        Function that is called once, with the pairs from `pair_known_versions`.
    cliques
        Shape (n,): the clique of each track. The known versions of a work are the tracks of its clique. The row numbers
        in ``questions`` refer to this array.
    questions
        From `draw_questions`.

    Raises
    ------
    ValueError
        A work in ``questions`` has no known version other than the track.
    """
    question, pair, pairs = _compare(cliques, questions)
    distances = measure(*pairs)[pair]
    nearest = np.lexsort((distances, question))  # grouped by question, smallest distance first
    known = np.bincount(question, minlength=2 * len(questions.track))
    counted = nearest[_count_up(known) < NEAREST_VERSIONS]
    sums = np.bincount(question[counted], distances[counted], minlength=len(known))
    return Checks(*(sums / np.minimum(known, NEAREST_VERSIONS)).reshape(2, -1))


def score_checks(checks: Checks, questions: CheckQuestions) -> CheckMetrics:
    """Compute the metrics of Model 2 from its answers and the questions."""
    truth = questions.is_version
    return CheckMetrics(
        mean_or_nan(checks.is_version[truth]), roc_area(-checks.margin[truth], -checks.margin[~truth]), len(truth)
    )


def _compare(
    cliques: ArrayLike, questions: CheckQuestions
) -> tuple[Int64Array, Int64Array, tuple[Int64Array, Int64Array]]:
    """List the comparisons of tracks with known versions. Return (question numbers, pair numbers, pairs).

    The first two arrays have shape (m,) for m comparisons. ``pairs`` holds the distinct pairs (track, known version),
    as two arrays of row numbers. If there are n questions, a comparison with a version of ``work`` in question i has
    the question number i, and a comparison with a version of ``other`` has the question number n + i.
    """
    labels, works = np.asarray(cliques), np.concatenate([questions.work, questions.other])
    by_clique = np.argsort(labels, kind="stable")
    first, end = (np.searchsorted(labels, works, side, by_clique) for side in ("left", "right"))
    question = np.repeat(np.arange(len(works)), end - first)
    track, version = np.tile(questions.track, 2)[question], by_clique[first[question] + _count_up(end - first)]
    others = version != track
    if len(np.unique(question[others])) < len(works):
        raise ValueError("expected at least one known version of every work, other than the track of the question")
    # encode each pair as one number, because sorting single numbers is much faster than sorting pairs
    pairs, pair = np.unique(track[others] * len(labels) + version[others], return_inverse=True)
    return question[others], pair, (pairs // len(labels), pairs % len(labels))


def _count_up(sizes: Int64Array) -> Int64Array:
    """Return the concatenation of 0, 1, … size - 1 over all elements of ``sizes``."""
    return np.asarray(np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes))
