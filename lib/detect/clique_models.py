"""The two models of the clique paper: which clique is a track of, and is it a version of this work or of that one.

Model 1 lets the nearest neighbours vote for a clique. Model 2 compares how near a track is to the known versions of two
works. Both ask a `Measure` for the distances they need, so that those of vectors and of alignments serve alike.
`reprise.lib.detect.calibration` makes probabilities of the answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.detect.calibration import share_of
from reprise.lib.detect.ranking_metrics import roc_area

Measure = Callable[[Int64Array, Int64Array], Float64Array]
"""Distances (n,) of corresponding row numbers (n,) and (n,) of a set of tracks: finite, however large; not +inf.

It need not be symmetric: the first row is that of the track asked about, the second that of one it is compared with.
"""

NEAREST = 3
"""Versions of a work whose mean distance tells how near it is.

Measured on 180 composed cliques of 2 to 53 versions and two kinds of vectors: right in 0.889 and 0.937 of the checks.
The nearest version alone (0.872, 0.924) favours the work that has many; the mean over all (0.866, 0.913) forgets that
one close version is enough; two versions do as well overall, and worse for a work of which one is known.
"""

_COPY = 1e-12
"""Distance that is as good as none, since 0 has no logarithm."""


@dataclass(frozen=True)
class CliqueVote:
    """What Model 1 reached: share of test tracks put into their own clique, NaN where no clique is large enough."""

    accuracy: float
    cliques: int
    tracks: int  # trained on and tested
    tested: int


@dataclass(frozen=True)
class Checks:
    """Answers of Model 2, arrays of shape (n,): how near each track is to the work asked for and to the other one."""

    to_work: Float64Array
    to_other: Float64Array

    @property
    def margin(self) -> Float64Array:
        """From -1 to 1: above 0 means nearer to the work asked for; 0 where both are equally near."""
        total = self.to_work + self.to_other
        return np.asarray((self.to_other - self.to_work) / np.where(total > 0, total, 1.0))

    @property
    def is_version(self) -> BoolArray:
        """The decision: the work asked for is strictly nearer."""
        return np.asarray(self.to_work < self.to_other)

    @property
    def features(self) -> Float64Array:
        """Scores for `reprise.lib.detect.calibration`, (n, 2): log distance to the work, and -margin.

        The margin alone cannot tell a track of neither work; on cliques that were not fitted on, the log loss falls
        from 0.383 to 0.362 with the distance beside it (0.367 without the log), and with better vectors from 0.307 to
        0.276 (0.278).
        """
        return np.column_stack([np.log(np.maximum(self.to_work, _COPY)), -self.margin])


@dataclass(frozen=True)
class CheckQuestions:
    """Questions for Model 2, arrays of shape (n,): is the track a version of the work, or of the other one.

    ``track`` is a row number; works are clique labels. ``is_version`` is the true answer.
    """

    track: Int64Array
    work: NDArray[Any]
    other: NDArray[Any]
    is_version: BoolArray


@dataclass(frozen=True)
class CheckScore:
    """What Model 2 reached; NaN where nothing was asked.

    ``accuracy`` is over the questions whose answer is one of the two works, ``roc_area`` over all by their margin.
    """

    accuracy: float
    roc_area: float
    questions: int


def split_large_cliques(
    cliques: ArrayLike, *, seed: int, more_than: int = 15, test_share: float = 0.1
) -> tuple[Int64Array, Int64Array]:
    """Row numbers that Model 1 is trained on and those it is tested on, ascending: a stratified split of large cliques.

    Both are empty where no clique is large enough.

    Parameters
    ----------
    cliques
        Shape (n,): each track's clique.
    seed
        Of the split.
    more_than
        Cliques of so many versions or fewer are left out.
    test_share
        Share of the tracks that is tested.

    Raises
    ------
    ValueError
        From scikit-learn: a split that cannot hold a track of each clique.
    """
    from sklearn.model_selection import train_test_split

    _names, place, sizes = np.unique(np.asarray(cliques), return_inverse=True, return_counts=True)
    large = np.flatnonzero(sizes[place] > more_than).astype(np.int64)
    if not len(large):
        return large, large
    train, test = train_test_split(large, test_size=test_share, random_state=seed, stratify=place[large])
    return np.sort(train), np.sort(test)


def vote_cliques(
    measure: Measure, cliques: ArrayLike, train: Int64Array, test: Int64Array, *, neighbours: int = 25
) -> CliqueVote:
    """Model 1: predict the clique of each test track by its nearest neighbours among the others.

    Parameters
    ----------
    measure
        Asked once, for the distance from every test track to every one trained on, in that order.
    cliques
        Shape (n,): each track's clique.
    train, test
        Row numbers, from `split_large_cliques`.
    neighbours
        Tracks that vote, each with one voice; fewer where fewer are trained on.

    Raises
    ------
    ValueError
        From scikit-learn: distances that are not finite.
    """
    from sklearn.neighbors import KNeighborsClassifier

    if not len(test):
        return CliqueVote(float("nan"), 0, 0, 0)
    labels = np.asarray(cliques)
    names, place = np.unique(labels[np.concatenate([train, test])], return_inverse=True)
    distances = measure(np.repeat(test, len(train)), np.tile(train, len(test))).reshape(len(test), len(train))
    # scikit-learn wants the distances among those trained on, and looks at their number only
    unseen = np.broadcast_to(0.0, (len(train), len(train)))
    voters = KNeighborsClassifier(min(neighbours, len(train)), metric="precomputed").fit(unseen, place[: len(train)])
    accuracy = float(np.mean(voters.predict(distances) == place[len(train) :]))
    return CliqueVote(accuracy, len(names), len(place), len(test))


def draw_questions(cliques: ArrayLike, *, seed: int, per_track: int = 1) -> CheckQuestions:
    """Draw questions about every track whose clique has another version.

    Each draw takes two works B and C that are not the track's own, A, and asks three: is it of A, or of B (yes); of B,
    or of A (no); of B, or of C (no). The last one is what a track of neither work meets. With two works in all there is
    no C and two questions; with one there is none.

    Parameters
    ----------
    cliques
        Shape (n,): each track's clique.
    seed
        Same seed and cliques, same questions.
    per_track
        Draws a track.
    """
    labels = np.asarray(cliques)
    names, place, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.default_rng(seed)
    track = np.repeat(np.flatnonzero(sizes[place] > 1), per_track)
    if len(names) < 2:
        track = track[:0]
    own = place[track]
    # steps from A on, around the list of works: B and C differ from A and from each other
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


def known_versions(cliques: ArrayLike, questions: CheckQuestions) -> tuple[Int64Array, Int64Array]:
    """Every pair of row numbers whose distance `check_versions` asks for, each once: tracks and known versions.

    Raises ValueError where `check_versions` does.
    """
    _question, _pair, pairs = _compare(cliques, questions)
    return pairs


def check_versions(measure: Measure, cliques: ArrayLike, questions: CheckQuestions) -> Checks:
    """Model 2 for questions about the tracks of a set; a track is never one of its own work's known versions.

    A work is as near as the mean of the `NEAREST` smallest distances to its known versions, of all where it has fewer.

    Parameters
    ----------
    measure
        Asked once, for the pairs of `known_versions`.
    cliques
        Shape (n,): the clique of each known version of all works, among them the tracks asked about.
    questions
        From `draw_questions`.

    Raises
    ------
    ValueError
        A work without a known version other than the track.
    """
    question, pair, pairs = _compare(cliques, questions)
    distances = measure(*pairs)[pair]
    nearest = np.lexsort((distances, question))  # question after question, each with its smallest distances first
    known = np.bincount(question, minlength=2 * len(questions.track))
    counted = nearest[_count_up(known) < NEAREST]
    near = np.bincount(question[counted], distances[counted], minlength=len(known)) / np.minimum(known, NEAREST)
    return Checks(*near.reshape(2, -1))


def score_checks(checks: Checks, questions: CheckQuestions) -> CheckScore:
    """Accuracy where one of the two works is the track's own, and the area under the ROC curve of the margin."""
    truth = questions.is_version
    return CheckScore(
        share_of(checks.is_version[truth]), roc_area(-checks.margin[truth], -checks.margin[~truth]), len(truth)
    )


def _compare(
    cliques: ArrayLike, questions: CheckQuestions
) -> tuple[Int64Array, Int64Array, tuple[Int64Array, Int64Array]]:
    """Return the comparisons, by question: its number, that of the pair compared, both (m,); and the pairs, each once.

    Question i of n has number i for the work asked for and n + i for the other one.
    """
    labels, works = np.asarray(cliques), np.concatenate([questions.work, questions.other])
    by_clique = np.argsort(labels, kind="stable")
    first, end = (np.searchsorted(labels, works, side, by_clique) for side in ("left", "right"))
    question = np.repeat(np.arange(len(works)), end - first)
    track, version = np.tile(questions.track, 2)[question], by_clique[first[question] + _count_up(end - first)]
    others = version != track
    if len(np.unique(question[others])) < len(works):
        raise ValueError("expected at least one known version of every work, other than the track asked about")
    # one number a pair is sorted much faster than two
    pairs, pair = np.unique(track[others] * len(labels) + version[others], return_inverse=True)
    return question[others], pair, (pairs // len(labels), pairs % len(labels))


def _count_up(sizes: Int64Array) -> Int64Array:
    """0, 1, 2 … for each size."""
    return np.asarray(np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes))
