"""How good a ranking of covers is: average precision, first rank, triplets, areas and curves.

Ranks come as flat arrays with one entry a (query, mate) pair, a mate being another version of the query's work: the
label of the query, and the 1-based rank of the mate among everything but the query and its known duplicates. A pair
whose query or mate has no vector has no rank and holds 0. Nothing else is needed, so that ranks can be counted in a
stream and no distance is kept.

Every figure can be counted both ways (specs/cover_2dftm, F):

- ``worst=None``: pairs without a rank are left out, and with them the queries that have no other. The published
  figures are counted so, which flatters them.
- ``worst=N``: pairs without a rank are misses. Such a mate counts among the R of its query and is never found: it adds
  nothing to the average precision and stands at rank N, the last one, for the first and the average rank. A query
  without a vector has average precision 0 and rank N throughout. N is the number of tracks ranked for a query when
  every one has a vector.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, Int64Array, IntpArray

PAGE = 10
"""Results of the first page: those that P@10 looks at."""
LEVELS = 100
"""Steps of recall of a precision-recall curve."""


@dataclass(frozen=True)
class QueryScores:
    """Scores of each query that counts, in ascending order of the label; arrays of shape (n,)."""

    query: NDArray[Any]  # the label
    mates: Int64Array  # R
    average_precision: Float64Array
    first_rank: Int64Array
    rank_sum: Int64Array  # over the mates
    precision_at_10: Float64Array


@dataclass(frozen=True)
class Retrieval:
    """Figures over all queries. The means are NaN where nothing counts."""

    queries: int
    pairs: int
    mean_average_precision: float
    mean_first_rank: float  # MR1
    average_rank: float  # over pairs
    precision_at_10: float


@dataclass(frozen=True)
class CliqueScores:
    """Scores of each clique that has a query that counts, in ascending order of its label; arrays of shape (n,)."""

    clique: NDArray[Any]
    queries: Int64Array
    mean_average_precision: Float64Array
    mean_first_rank: Float64Array


@dataclass(frozen=True)
class PrecisionRecall:
    """A curve: precision (101,) at each recall of 0, 0.01 … 1 (101,)."""

    recall: Float64Array
    precision: Float64Array


@dataclass(frozen=True)
class RankHistogram:
    """How many ranks lie in ``edges[i] <= rank < edges[i + 1]``: edges (n + 1,) at 1, 2, 5, 10, 20 …, counts (n,)."""

    edges: Int64Array
    counts: Int64Array


@dataclass(frozen=True)
class TripletScore:
    """How many (query, cover, other) triplets there are, how many have all three vectors, and how many are right."""

    triplets: int
    compared: int
    right: int

    @property
    def accuracy(self) -> float:
        """Share of the compared triplets that are right; NaN where there is none."""
        return self.right / self.compared if self.compared else float("nan")

    @property
    def accuracy_of_all(self) -> float:
        """The same over all triplets, one that could not be compared being wrong; NaN where there is none."""
        return self.right / self.triplets if self.triplets else float("nan")


def score_queries(query: ArrayLike, rank: ArrayLike, *, worst: int | None = None) -> QueryScores:
    """Score each query by the ranks of its mates.

    Average precision is ``(1/R) Σ_j #{r_i <= r_j} / r_j`` over the R mates; P@10 is the number of mates among the first
    ten results over ten, whatever R is.

    Parameters
    ----------
    query
        Shape (pairs,): the query's label, of any type that sorts.
    rank
        Shape (pairs,), whole numbers: the mate's 1-based rank; 0 where query or mate has no vector.
    worst
        None leaves pairs without a rank out; a number counts them as misses that stand there. See the module.

    Raises
    ------
    ValueError
        A negative rank, one beyond ``worst``, or two mates of a query at one rank: ties must have been broken.
    """
    pairs = _sort_pairs(query, rank, worst)
    found = np.add.reduceat(pairs.precision, pairs.start) if len(pairs.label) else np.empty(0)
    rank_sum = np.add.reduceat(pairs.rank, pairs.start) if len(pairs.label) else np.empty(0, dtype=np.int64)
    on_page = (pairs.precision > 0) & (pairs.rank <= PAGE)
    hits = np.add.reduceat(on_page.astype(np.int64), pairs.start) if len(pairs.label) else np.empty(0)
    return QueryScores(
        query=pairs.label,
        mates=pairs.mates,
        average_precision=found / pairs.mates,
        first_rank=pairs.rank[pairs.start],
        rank_sum=rank_sum,
        precision_at_10=hits / PAGE,
    )


def summarise(scores: QueryScores) -> Retrieval:
    """Mean average precision, MR1, average rank and P@10 over all queries."""
    pairs = int(scores.mates.sum())
    return Retrieval(
        queries=len(scores.query),
        pairs=pairs,
        mean_average_precision=_mean(scores.average_precision),
        mean_first_rank=_mean(scores.first_rank),
        average_rank=int(scores.rank_sum.sum()) / pairs if pairs else float("nan"),
        precision_at_10=_mean(scores.precision_at_10),
    )


def score_cliques(scores: QueryScores, clique: ArrayLike) -> CliqueScores:
    """Mean scores of each clique; ``clique`` of shape (n,) names the clique of each scored query."""
    label, place, queries = np.unique(_labels(clique, len(scores.query)), return_inverse=True, return_counts=True)
    return CliqueScores(
        clique=label,
        queries=queries.astype(np.int64),
        mean_average_precision=np.bincount(place, scores.average_precision, len(label)) / queries,
        mean_first_rank=np.bincount(place, scores.first_rank, len(label)) / queries,
    )


def precision_recall(query: ArrayLike, rank: ArrayLike, *, worst: int | None = None) -> PrecisionRecall:
    """Precision at each recall, averaged over the queries.

    A query's precision at a recall is the best that it has there or beyond (interpolated, as in TREC); 0 at a recall it
    never reaches. Parameters and errors as in `score_queries`; without a query, precision is NaN.
    """
    pairs = _sort_pairs(query, rank, worst)
    recall = np.arange(LEVELS + 1) / LEVELS
    if not len(pairs.label):
        return PrecisionRecall(recall, np.full(LEVELS + 1, np.nan))
    # reduceat takes slices as pairs of bounds, the last of which must lie within the array
    padded = np.append(pairs.precision, 0.0)
    bounds = np.empty(2 * len(pairs.label), dtype=np.int64)
    bounds[1::2] = pairs.start + pairs.mates
    precision = np.empty(LEVELS + 1)
    for level in range(LEVELS + 1):
        needed = np.maximum(-(-level * pairs.mates // LEVELS), 1)  # mates that must be found, rounded up
        bounds[::2] = pairs.start + needed - 1
        precision[level] = np.maximum.reduceat(padded, bounds)[::2].mean()
    return PrecisionRecall(recall, precision)


def rank_histogram(rank: ArrayLike) -> RankHistogram:
    """Count ranks in bins that grow as 1, 2, 5, 10, 20 …; the last bin holds the largest rank.

    Raises
    ------
    ValueError
        A rank below 1.
    """
    ranks = np.asarray(rank, dtype=np.int64)
    if ranks.size and ranks.min() < 1:
        raise ValueError(f"ranks are counted from 1, got {ranks.min()}")
    largest = int(ranks.max(initial=1))
    edges = [1]
    while edges[-1] <= largest:
        # 1 -> 2 -> 5 -> 10: only a 2 is followed by more than its double
        edges.append(edges[-1] * 5 // 2 if str(edges[-1])[0] == "2" else edges[-1] * 2)
    counts = np.histogram(ranks, bins=edges)[0]
    # numpy's last bin holds its upper edge too, which no rank reaches here
    return RankHistogram(np.array(edges, dtype=np.int64), counts.astype(np.int64))


def score_triplets(to_cover: ArrayLike, to_other: ArrayLike) -> TripletScore:
    """Count the triplets whose query is strictly nearer to the cover than to the other track.

    Parameters
    ----------
    to_cover, to_other
        Shape (triplets,): distances of the query; NaN where one of the two tracks has no vector. A tie is wrong.
    """
    cover, other = np.asarray(to_cover, dtype=np.float64), np.asarray(to_other, dtype=np.float64)
    if cover.shape != other.shape or cover.ndim != 1:
        raise ValueError(f"expected two arrays of shape (triplets,), got {cover.shape} and {other.shape}")
    compared = ~(np.isnan(cover) | np.isnan(other))
    return TripletScore(len(cover), int(compared.sum()), int((cover[compared] < other[compared]).sum()))


def roc_area(of_covers: ArrayLike, of_others: ArrayLike) -> float:
    """Area under the ROC curve of distances: the share of (cover, other) pairs in which the cover is nearer.

    A tie counts half (Mann-Whitney). NaN where one of the two is empty.

    Raises
    ------
    ValueError
        A distance is NaN; infinity is a distance.
    """
    covers, others = np.asarray(of_covers, dtype=np.float64).ravel(), np.asarray(of_others, dtype=np.float64).ravel()
    if np.isnan(covers).any() or np.isnan(others).any():
        raise ValueError("a distance is NaN")
    if not covers.size or not others.size:
        return float("nan")
    others = np.sort(others)
    beyond = len(others) - np.searchsorted(others, covers, side="right")
    tied = len(others) - np.searchsorted(others, covers, side="left") - beyond
    return float((beyond + tied / 2).mean() / len(others))


@dataclass(frozen=True)
class _Pairs:
    """Pairs that count, by query and rank: those of query i are ``start[i] … start[i] + mates[i] - 1``."""

    label: NDArray[Any]
    start: IntpArray
    mates: Int64Array
    rank: Int64Array
    precision: Float64Array  # at this pair's rank; 0 for a miss


def _sort_pairs(query: ArrayLike, rank: ArrayLike, worst: int | None) -> _Pairs:
    ranks = np.asarray(rank, dtype=np.int64)
    queries = _labels(query, len(ranks))
    if ranks.size and ranks.min() < 0:
        raise ValueError(f"ranks are counted from 1, and 0 is none, got {ranks.min()}")
    found = ranks > 0
    if worst is None:
        queries, ranks, found = queries[found], ranks[found], found[found]
    else:
        if ranks.max(initial=0) > worst:
            raise ValueError(f"rank {ranks.max()} lies beyond the last one, {worst}")
        ranks = np.where(found, ranks, worst)
    label, place, mates = np.unique(queries, return_inverse=True, return_counts=True)
    order = np.lexsort((~found, ranks, place))  # a miss comes after a mate that was found at the last rank
    ranks, found, place = ranks[order], found[order], place[order]
    if np.any((place[1:] == place[:-1]) & (ranks[1:] == ranks[:-1]) & found[1:]):
        raise ValueError("two mates of one query stand at one rank: break ties before counting")
    start = np.cumsum(mates) - mates
    position = np.arange(len(ranks)) - start[place] + 1
    return _Pairs(label, start, mates.astype(np.int64), ranks, np.where(found, position / ranks, 0.0))


def _labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"expected labels of shape ({n},), got {array.shape}")
    return array


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else float("nan")
