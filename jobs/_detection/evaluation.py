"""Evaluation of the distance measures of cover detection on the tracks of a clique list."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from reprise.jobs._detection.models import NO_RERANKER, EmbeddingModel
from reprise.jobs._detection.search import QUERIES_PER_BATCH, fetch_queries, rank_mates, rerank, search_gallery
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.lib.annotations import open_annotation, read_cover_triplets
from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.detect import clique_models, ranking_metrics
from reprise.lib.detect.calibration import Calibration, Reliability, measure_reliability
from reprise.lib.detect.search import NO_GROUP, measure_distances
from reprise.udfs.cover_search import Queries

N_TRIPLETS = 500


@dataclass(frozen=True)
class MeasureResult:
    """Result of the evaluation of one measure.

    Parameters
    ----------
    metrics
        For each of the keys ``published`` and ``misses``, a dictionary of metrics by name. ``published`` ignores tracks
        without an embedding. ``misses`` includes them: a mate that has no rank gets the last rank.
    clique_table
        Result of `_make_clique_table`.
    curve, histogram
        Precision-recall curve, and histogram of each query's best rank. The best rank is that of the mate nearest to
        the query; a mate is another version of the query's work. Both ignore tracks without an embedding.
    """

    metrics: dict[str, dict[str, float | int | None]]
    clique_table: pd.DataFrame
    curve: ranking_metrics.PrecisionRecall
    histogram: ranking_metrics.RankHistogram


@dataclass(frozen=True)
class Evaluation:
    """Data that the evaluations of all measures share: the tracks of a clique list, the gallery, and random draws.

    Parameters
    ----------
    run
        Run that reads the tables. Its seed determines the triplets, the questions for Model 2, and the split for
        Model 1 (see `clique_models`).
    model
        Embedding model.
    tracks
        Gallery: the result of `read_gallery`.
    members
        ``track_id`` and ``clique_id`` of those tracks of the list that are in ``chroma_patches``.
    n_tracks
        Number of tracks that would be ranked if every track had an embedding. A mate without a rank gets this rank.
    n_candidates
        Number of nearest tracks that a reranker orders.
    given_triplets
        Triplets of the binary queries, with the columns ``query_id``, ``cover_id`` and ``other_id``. If None, triplets
        are drawn at random.
    """

    run: Run
    model: EmbeddingModel
    tracks: DataFrame
    members: pd.DataFrame
    n_tracks: int
    n_candidates: int
    given_triplets: pd.DataFrame | None

    @cached_property
    def queries(self) -> Queries:
        """Members that have an embedding, in ascending order of track id."""
        queries: Queries = fetch_queries(self.run, self.tracks, self.members["track_id"].tolist())
        if not queries.ids:
            model_id = self.model.model_id
            raise UsageError(
                f"no track of the clique list has an embedding by model {model_id}:"
                f" run train-cover-index --model {model_id}"
            )
        return queries

    @cached_property
    def cliques(self) -> ObjectArray:
        """Clique ids of ``queries``, in the same order."""
        labels: ObjectArray = self.members.set_index("track_id")["clique_id"].loc[self.queries.ids].to_numpy()
        return labels

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Pairs of versions of one work that are not known duplicates.

        The columns are ``query_id``, ``mate_id``, ``clique_id``, ``query``, ``mate`` and ``rank``. ``query`` and
        ``mate`` are the tracks' row numbers in ``queries``, or -1 for a track without an embedding. ``rank`` is the
        rank of the mate among all tracks by embedding distance from the query, or 0 if either track has no embedding.
        """
        pairs: pd.DataFrame = self.members.merge(self.members, on="clique_id", suffixes=("", "_mate"))
        pairs = pairs.rename(columns={"track_id": "query_id", "track_id_mate": "mate_id"})
        rows = {track_id: row for row, track_id in enumerate(self.queries.ids)}
        for side in ("query", "mate"):
            pairs[side] = [rows.get(track_id, -1) for track_id in pairs[f"{side}_id"]]
        groups = np.append(self.queries.groups, NO_GROUP)  # row number -1 indexes this last element
        duplicate = (groups[pairs["query"]] == groups[pairs["mate"]]) & (groups[pairs["query"]] != NO_GROUP)
        pairs = pairs[(pairs["query_id"] != pairs["mate_id"]) & ~duplicate].reset_index(drop=True)
        pairs["rank"] = 0
        embedded = pairs[(pairs["query"] >= 0) & (pairs["mate"] >= 0)]
        for start in range(0, len(self.queries.ids), QUERIES_PER_BATCH):
            part = embedded[(embedded["query"] >= start) & (embedded["query"] < start + QUERIES_PER_BATCH)]
            queries = _take(self.queries, np.arange(start, min(start + QUERIES_PER_BATCH, len(self.queries.ids))))
            mates = _take(self.queries, part["mate"].to_numpy())
            ranks = rank_mates(self.tracks, queries, part["query"].to_numpy() - start, mates)
            pairs.loc[part.index, "rank"] = ranks
        return pairs

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """The ``n_candidates`` nearest tracks of each query: the result of `search_gallery`."""
        return search_gallery(self.tracks, self.queries, self.n_candidates)

    @cached_property
    def triplets(self) -> pd.DataFrame:
        """Triplets of the binary queries, with the columns ``query``, ``cover`` and ``other``.

        ``cover`` is a mate of the query, and ``other`` is not. The values are the tracks' row numbers in ``queries``,
        or -1 for a track without an embedding.
        """
        ids = self.given_triplets if self.given_triplets is not None else self._draw_triplets()
        rows = {track_id: row for row, track_id in enumerate(self.queries.ids)}
        columns = {c.removesuffix("_id"): [rows.get(i, -1) for i in ids[c]] for c in ids.columns}
        return pd.DataFrame(columns, dtype=np.int64)

    def _draw_triplets(self) -> pd.DataFrame:
        """Draw up to 500 triplets. A triplet contains a query, one of its mates, and a track of another clique.

        If there is only one clique, the third id is an empty string.
        """
        rng = np.random.default_rng(self.run.settings.seed)
        pairs = self.pairs.iloc[np.sort(rng.permutation(len(self.pairs))[:N_TRIPLETS])]
        ids, labels = self.members["track_id"].to_numpy(), self.members["clique_id"].to_numpy()
        others = [rng.choice(ids[labels != own]) if (labels != own).any() else "" for own in pairs["clique_id"]]
        return pd.DataFrame({"query_id": pairs["query_id"], "cover_id": pairs["mate_id"], "other_id": others})

    @cached_property
    def questions(self) -> clique_models.CheckQuestions:
        """Questions for Model 2 (see `clique_models`)."""
        return clique_models.draw_questions(self.cliques, seed=self.run.settings.seed)

    @cached_property
    def vote_split(self) -> tuple[Int64Array, Int64Array]:
        """Row numbers in ``queries`` of the training tracks and of the test tracks of Model 1 (see `clique_models`)."""
        return clique_models.split_large_cliques(self.cliques, seed=self.run.settings.seed)


def read_triplets(path: str) -> pd.DataFrame:
    """Read the triplets of the binary queries from a file. Triplets that cannot be parsed are left out.

    Returns
    -------
    pandas.DataFrame
        Columns ``query_id``, ``cover_id`` (a version of the same work) and ``other_id`` (an unrelated track).

    Raises
    ------
    InputError
        The file cannot be read.
    UsageError
        The file contains no triplet.
    """
    with open_annotation(path) as stream:
        frames = [pd.DataFrame(chunk.rows) for chunk in read_cover_triplets(stream)]
    if not any(len(frame) for frame in frames):
        raise UsageError(
            f"--triplets {path} contains no triplet: give a file with % lines, each followed by three lines with one"
            " track id each"
        )
    return pd.concat(frames, ignore_index=True)


def _take(queries: Queries, rows: Int64Array) -> Queries:
    return Queries([queries.ids[row] for row in rows], queries.vectors[rows], queries.groups[rows])


class PairDistances:
    """Lookup table of the distances of given pairs of tracks by one measure.

    The constructor computes all distances. It computes the distance of a repeated pair only once.

    Parameters
    ----------
    evaluation
        Data of the evaluation. Tracks are identified by their row numbers in ``evaluation.queries``.
    reranker
        Alignment measure, or `NO_RERANKER` for the embedding distance.
    pairs
        Tuples of two arrays of row numbers, each of shape (n,), where n can differ between tuples. Tracks at the same
        index of the two arrays form a pair.
    """

    def __init__(self, evaluation: Evaluation, reranker: str, pairs: Sequence[tuple[Int64Array, Int64Array]]) -> None:
        self._n = len(evaluation.queries.ids)
        keys = np.unique(np.concatenate([rows * self._n + others for rows, others in pairs]))
        rows, others = keys // self._n, keys % self._n
        vectors, ids = evaluation.queries.vectors, np.array(evaluation.queries.ids, dtype=object)
        plain = measure_distances(vectors[rows], vectors[others])
        self._keys, self._distances = keys, plain
        if reranker != NO_RERANKER:
            table = pd.DataFrame({"query": rows, "candidate_id": ids[others], "distance": plain})
            aligned = rerank(evaluation.run, evaluation.queries, table, reranker)
            merged = table.merge(aligned, on=["query", "candidate_id"], how="left")
            self._distances = merged["alignment_distance"].to_numpy()

    def __call__(self, rows: Int64Array, others: Int64Array) -> Float64Array:
        """Return the distance of each track in ``rows`` (n,) from the track at the same index of ``others`` (n,).

        The result is float64 (n,). Each pair must be one of the ``pairs`` given to the constructor.
        """
        return self._distances[np.searchsorted(self._keys, rows * self._n + others)]


def evaluate_measure(evaluation: Evaluation, reranker: str) -> MeasureResult:
    """Evaluate one measure: the embedding distance (`NO_RERANKER`), or an alignment that reranks the candidates."""
    pairs = evaluation.pairs.assign(rank=_rank_mates(evaluation, reranker))
    train, test = evaluation.vote_split
    known = clique_models.pair_known_versions(evaluation.cliques, evaluation.questions)
    triplets = evaluation.triplets
    compared = triplets[(triplets >= 0).all(axis=1)]
    distance = PairDistances(
        evaluation,
        reranker,
        [
            (np.repeat(test, len(train)), np.tile(train, len(test))),
            known,
            (compared["query"].to_numpy(), compared["cover"].to_numpy()),
            (compared["query"].to_numpy(), compared["other"].to_numpy()),
        ],
    )
    vote = clique_models.evaluate_vote(distance, evaluation.cliques, train, test)
    checks = clique_models.check_versions(distance, evaluation.cliques, evaluation.questions)
    check_metrics = clique_models.score_checks(checks, evaluation.questions)
    reliability = _measure_check_reliability(evaluation, checks)
    to_cover, to_other = np.full((2, len(triplets)), np.nan)
    to_cover[compared.index] = distance(compared["query"].to_numpy(), compared["cover"].to_numpy())
    to_other[compared.index] = distance(compared["query"].to_numpy(), compared["other"].to_numpy())
    binary = ranking_metrics.score_triplets(to_cover, to_other)
    common = {
        "triplets": binary.triplets,
        "triplets_compared": binary.compared,
        "model_1_accuracy": vote.accuracy,
        "model_1_cliques": vote.cliques,
        "model_1_tracks": vote.tracks,
        "model_2_accuracy": check_metrics.accuracy,
        "model_2_roc_area": check_metrics.roc_area,
        "model_2_questions": check_metrics.questions,
        "model_2_false_positive_rate": reliability.false_positive_rate,
        "model_2_true_positive_rate": reliability.true_positive_rate,
        "model_2_calibration_error": reliability.expected_calibration_error,
    }
    metrics = {}
    for name, miss_rank, accuracy in (
        ("published", None, binary.accuracy),
        ("misses", evaluation.n_tracks, binary.accuracy_of_all),
    ):
        scores = ranking_metrics.score_queries(
            pairs["query_id"].to_numpy(), pairs["rank"].to_numpy(), miss_rank=miss_rank
        )
        summary = {**asdict(ranking_metrics.summarise(scores)), "binary_accuracy": accuracy, **common}
        metrics[name] = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in summary.items()}
    return MeasureResult(
        metrics,
        _make_clique_table(evaluation, pairs),
        ranking_metrics.precision_recall(pairs["query_id"].to_numpy(), pairs["rank"].to_numpy()),
        ranking_metrics.rank_histogram(pairs.loc[pairs["rank"] > 0].groupby("query_id")["rank"].min().to_numpy()),
    )


def _measure_check_reliability(evaluation: Evaluation, checks: clique_models.Checks) -> Reliability:
    """Measure the reliability of Model 2's probabilities.

    The cliques are divided into two halves. The probabilities for each half come from a fit on the other half.
    """
    truth, features = evaluation.questions.is_version, checks.features
    half = pd.factorize(evaluation.cliques[evaluation.questions.track])[0] % 2 == 0
    probability = np.full(len(truth), np.nan)
    for tested in (half, ~half):
        if truth[~tested].any() and not truth[~tested].all():
            probability[tested] = Calibration.fit(features[~tested], truth[~tested]).probability(features[tested])
    predicted = np.isfinite(probability)
    return measure_reliability(probability[predicted], truth[predicted])


def _rank_mates(evaluation: Evaluation, reranker: str) -> Int64Array:
    """Return the rank of the mate in each pair. A reranker changes only the ranks of mates that are candidates."""
    pairs = evaluation.pairs
    plain: Int64Array = pairs["rank"].to_numpy()
    if reranker == NO_RERANKER:
        return plain
    aligned = rerank(evaluation.run, evaluation.queries, evaluation.candidates, reranker)
    aligned["place"] = aligned.groupby("query").cumcount() + 1
    merged = pairs.merge(aligned, left_on=["query", "mate_id"], right_on=["query", "candidate_id"], how="left")
    return np.where(merged["place"].notna(), merged["place"], plain).astype(np.int64)


def _make_clique_table(evaluation: Evaluation, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return a table of cliques: the number of tracks, the number of queries, MAP and MR1.

    All but the number of tracks ignore tracks without an embedding. A clique without a ranked mate has no row.
    """
    scores = ranking_metrics.score_queries(pairs["query_id"].to_numpy(), pairs["rank"].to_numpy())
    clique_of: pd.Series[Any] = evaluation.members.set_index("track_id")["clique_id"]
    table = pd.DataFrame(asdict(ranking_metrics.score_cliques(scores, clique_of.loc[scores.query].to_numpy())))
    sizes = evaluation.members.groupby("clique_id").size().rename("tracks").reset_index()
    return table.merge(sizes, left_on="clique", right_on="clique_id").drop(columns="clique_id")
