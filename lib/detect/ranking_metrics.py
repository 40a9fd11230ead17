"""Metrics of rankings: average precision, first rank, triplet accuracy, ROC area and precision-recall curves.

A mate of a query is another version of the query's work. Ranks are given as two flat arrays with one element per
(query, mate) pair. One array holds the label of the query. The other array holds the rank of the mate, counted from 1,
among all tracks except the query and its known duplicates. A pair has no rank if its query or its mate has no
embedding; its element is then 0. The metrics need only the ranks, so distances need not be kept.

Every metric can be computed in two ways:

- ``miss_rank=None``: pairs without a rank are ignored, and queries without a ranked mate are ignored. The published
  results were computed in this way, so they are too optimistic.
- ``miss_rank=N``: pairs without a rank are misses. A missed mate is one of the R mates of its query, but adds nothing
  to the average precision. For the first rank and the average rank, a missed mate has rank N. A query without an
  embedding has average precision 0 and rank N for every mate. N is the number of tracks in the ranking of a query if
  every track has an embedding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, Int64Array, IntpArray

PAGE_SIZE = 10
"""Number of top-ranked results on which P@10 is computed."""
RECALL_STEPS = 100
"""Number of steps from recall 0 to recall 1 in a precision-recall curve."""


@dataclass(frozen=True)
class QueryScores:
    """Metrics of the n queries that are not ignored: arrays of shape (n,), sorted by the label of the query."""

    query: NDArray[Any]  # label of the query
    mates: Int64Array  # R, the number of mates that are not ignored
    average_precision: Float64Array
    first_rank: Int64Array
    rank_sum: Int64Array  # sum of the ranks of all mates
    precision_at_10: Float64Array


@dataclass(frozen=True)
class RetrievalMetrics:
    """Metrics over all queries that are not ignored. The means are NaN if there are no such queries."""

    queries: int
    pairs: int
    mean_average_precision: float
    mean_first_rank: float  # MR1: mean over the queries of the rank of the first mate
    average_rank: float  # mean rank over all pairs
    precision_at_10: float


@dataclass(frozen=True)
class CliqueScores:
    """Mean metrics of n cliques: arrays of shape (n,), sorted by the label of the clique.

    Cliques whose queries are all ignored are left out.
    """

    clique: NDArray[Any]
    queries: Int64Array
    mean_average_precision: Float64Array
    mean_first_rank: Float64Array


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision-recall curve: the recalls 0, 0.01 … 1, and the precision at each recall; both (101,)."""

    recall: Float64Array
    precision: Float64Array


@dataclass(frozen=True)
class RankHistogram:
    """Histogram of ranks: counts (n,) and bin edges (n + 1,). The edges are 1, 2, 5, 10, 20 ….

    ``counts[i]`` is the number of ranks with ``edges[i] <= rank < edges[i + 1]``.
    """

    edges: Int64Array
    counts: Int64Array


@dataclass(frozen=True)
class TripletScore:
    """Numbers of triplets (query, mate, track of another work): all triplets, compared triplets, and correct triplets.

    A triplet is compared if all three tracks have an embedding.
    """

    triplets: int
    compared: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The number of correct triplets divided by the number of compared triplets; NaN if no triplet was compared."""
        return self.correct / self.compared if self.compared else float("nan")

    @property
    def accuracy_of_all(self) -> float:
        """The number of correct triplets divided by the number of all triplets; NaN if there are no triplets."""
        return self.correct / self.triplets if self.triplets else float("nan")


def score_queries(query: ArrayLike, rank: ArrayLike, *, miss_rank: int | None = None) -> QueryScores:
    """Compute the metrics of each query from the ranks of its mates.

    The average precision is ``(1/R) Σ_j #{i: r_i <= r_j} / r_j``, where r_1 … r_R are the ranks of the R mates and #
    is the number of elements. P@10 is the number of mates in the first ten results, divided by ten for any R.

    Parameters
    ----------
    query
        Shape (pairs,): the label of the query, of any sortable dtype.
    rank
        Shape (pairs,), integers: the rank of the mate, counted from 1; 0 if query or mate has no embedding.
    miss_rank
        If it is None, pairs without a rank are ignored. If it is a number, they are misses with this rank. See the
        module docstring.

    Raises
    ------
    ValueError
        A rank is negative or greater than ``miss_rank``, two mates of a query have the same rank, or the arrays differ
        in length. Break ties before the call.
    """
    pairs = _sort_pairs(query, rank, miss_rank)
    found = np.add.reduceat(pairs.precision, pairs.start) if len(pairs.label) else np.empty(0)
    rank_sum = np.add.reduceat(pairs.rank, pairs.start) if len(pairs.label) else np.empty(0, dtype=np.int64)
    on_page = (pairs.precision > 0) & (pairs.rank <= PAGE_SIZE)
    hits = np.add.reduceat(on_page.astype(np.int64), pairs.start) if len(pairs.label) else np.empty(0)
    return QueryScores(
        query=pairs.label,
        mates=pairs.mates,
        average_precision=found / pairs.mates,
        first_rank=pairs.rank[pairs.start],
        rank_sum=rank_sum,
        precision_at_10=hits / PAGE_SIZE,
    )


def summarise(scores: QueryScores) -> RetrievalMetrics:
    """Compute the mean average precision, MR1, average rank and P@10 over all queries."""
    pairs = int(scores.mates.sum())
    return RetrievalMetrics(
        queries=len(scores.query),
        pairs=pairs,
        mean_average_precision=mean_or_nan(scores.average_precision),
        mean_first_rank=mean_or_nan(scores.first_rank),
        average_rank=int(scores.rank_sum.sum()) / pairs if pairs else float("nan"),
        precision_at_10=mean_or_nan(scores.precision_at_10),
    )


def score_cliques(scores: QueryScores, clique: ArrayLike) -> CliqueScores:
    """Average the metrics over the queries of each clique.

    ``clique`` (n,) holds the clique of each query, in the order of ``scores.query``.

    Raises
    ------
    ValueError
        ``clique`` does not have one element per query.
    """
    label, code, queries = np.unique(_check_labels(clique, len(scores.query)), return_inverse=True, return_counts=True)
    return CliqueScores(
        clique=label,
        queries=queries.astype(np.int64),
        mean_average_precision=np.bincount(code, scores.average_precision, len(label)) / queries,
        mean_first_rank=np.bincount(code, scores.first_rank, len(label)) / queries,
    )


def precision_recall(query: ArrayLike, rank: ArrayLike, *, miss_rank: int | None = None) -> PrecisionRecall:
    """Compute the precision at each recall, averaged over the queries.

    The precision of a query is interpolated as in TREC. At each recall, it is the maximum of the precision at this
    recall and at all higher recalls. At a recall that the query does not reach, it is 0. Parameters and errors are
    those of `score_queries`. If there are no queries, the precision is NaN.
    """
    pairs = _sort_pairs(query, rank, miss_rank)
    recall = np.arange(RECALL_STEPS + 1) / RECALL_STEPS
    if not len(pairs.label):
        return PrecisionRecall(recall, np.full(RECALL_STEPS + 1, np.nan))
    # reduceat takes each slice as a pair of bounds; the padding keeps the last bound inside the array
    padded = np.append(pairs.precision, 0.0)
    bounds = np.empty(2 * len(pairs.label), dtype=np.int64)
    bounds[1::2] = pairs.start + pairs.mates
    precision = np.empty(RECALL_STEPS + 1)
    for step in range(RECALL_STEPS + 1):
        needed = np.maximum(-(-step * pairs.mates // RECALL_STEPS), 1)  # number of mates to find, rounded up
        bounds[::2] = pairs.start + needed - 1
        precision[step] = np.maximum.reduceat(padded, bounds)[::2].mean()
    return PrecisionRecall(recall, precision)


def rank_histogram(rank: ArrayLike) -> RankHistogram:
    """Count ranks in bins with the edges 1, 2, 5, 10, 20 …. The last bin contains the largest rank.

    Raises
    ------
    ValueError
        A rank is less than 1.
    """
    ranks = np.asarray(rank, dtype=np.int64)
    if ranks.size and ranks.min() < 1:
        raise ValueError(f"ranks are counted from 1, got rank {ranks.min()}")
    largest = int(ranks.max(initial=1))
    edges = [1]
    while edges[-1] <= largest:
        # 1, 2, 5, 10 …: the next edge is 2.5 times an edge that starts with 2, and 2 times any other edge
        edges.append(edges[-1] * 5 // 2 if str(edges[-1])[0] == "2" else edges[-1] * 2)
    counts = np.histogram(ranks, bins=edges)[0]
    # numpy includes the last edge in the last bin, but here no rank equals the last edge
    return RankHistogram(np.array(edges, dtype=np.int64), counts.astype(np.int64))


def score_triplets(to_cover: ArrayLike, to_other: ArrayLike) -> TripletScore:
    """Count the triplets. A triplet is correct if the query is strictly nearer to its mate than to the other track.

    Parameters
    ----------
    to_cover, to_other
        Shape (triplets,): distances from the query to its mate, and from the query to the other track. A distance is
        NaN if one of its two tracks has no embedding.

    Raises
    ------
    ValueError
        The arrays differ in length, or do not have one dimension.
    """
    cover, other = np.asarray(to_cover, dtype=np.float64), np.asarray(to_other, dtype=np.float64)
    if cover.shape != other.shape or cover.ndim != 1:
        raise ValueError(f"expected two arrays of shape (triplets,), got {cover.shape} and {other.shape}")
    compared = ~(np.isnan(cover) | np.isnan(other))
    return TripletScore(len(cover), int(compared.sum()), int((cover[compared] < other[compared]).sum()))


def roc_area(of_covers: ArrayLike, of_others: ArrayLike) -> float:
    """Compute the ROC area of distances: the probability that a version is nearer than a track of another work.

    A version and another track are drawn at random; equal distances count as one half (Mann-Whitney). ``of_covers``
    holds the distances of versions, and ``of_others`` those of other tracks. The result is NaN if an array is empty.

    Raises
    ------
    ValueError
        A distance is NaN. Infinite distances are allowed.
    """
    covers, others = np.asarray(of_covers, dtype=np.float64).ravel(), np.asarray(of_others, dtype=np.float64).ravel()
    if np.isnan(covers).any() or np.isnan(others).any():
        raise ValueError("a distance is NaN: leave out pairs without a distance")
    if not covers.size or not others.size:
        return float("nan")
    others = np.sort(others)
    beyond = len(others) - np.searchsorted(others, covers, side="right")
    tied = len(others) - np.searchsorted(others, covers, side="left") - beyond
    return float((beyond + tied / 2).mean() / len(others))


@dataclass(frozen=True)
class _Pairs:
    """Pairs that are not ignored, sorted by query and rank.

    The pairs of query i have the indices ``start[i]`` to ``start[i] + mates[i]`` (exclusive).
    """

    label: NDArray[Any]
    start: IntpArray
    mates: Int64Array
    rank: Int64Array
    precision: Float64Array  # precision at the rank of the pair; 0 for a miss


def _sort_pairs(query: ArrayLike, rank: ArrayLike, miss_rank: int | None) -> _Pairs:
    ranks = np.asarray(rank, dtype=np.int64)
    queries = _check_labels(query, len(ranks))
    if ranks.size and ranks.min() < 0:
        raise ValueError(f"ranks are counted from 1, and 0 means no rank, got rank {ranks.min()}")
    found = ranks > 0
    if miss_rank is None:
        queries, ranks, found = queries[found], ranks[found], found[found]
    else:
        if ranks.max(initial=0) > miss_rank:
            raise ValueError(f"rank {ranks.max()} is beyond the last rank, miss_rank={miss_rank}")
        ranks = np.where(found, ranks, miss_rank)
    label, code, mates = np.unique(queries, return_inverse=True, return_counts=True)
    order = np.lexsort((~found, ranks, code))  # a miss is sorted after a mate that is found at rank miss_rank
    ranks, found, code = ranks[order], found[order], code[order]
    if np.any((code[1:] == code[:-1]) & (ranks[1:] == ranks[:-1]) & found[1:]):
        raise ValueError("two mates of one query have the same rank: break ties before counting")
    start = np.cumsum(mates) - mates
    position = np.arange(len(ranks)) - start[code] + 1
    return _Pairs(label, start, mates.astype(np.int64), ranks, np.where(found, position / ranks, 0.0))


def _check_labels(labels: ArrayLike, n: int) -> NDArray[Any]:
    array = np.asarray(labels)
    if array.shape != (n,):
        raise ValueError(f"expected labels of shape ({n},), got {array.shape}")
    return array


def mean_or_nan(values: NDArray[Any]) -> float:
    """Return the mean of a numeric or boolean array; NaN for an empty array."""
    return float(values.mean()) if values.size else float("nan")
