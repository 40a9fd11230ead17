"""Judging one measure of cover detection on the tracks of a clique list."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame

from reprise.jobs._detection.search import (
    NO_RERANKER,
    QUERIES_AT_ONCE,
    Model,
    align,
    fetch_queries,
    rank_mates,
    search,
)
from reprise.jobs._engine.run import Run, UsageError
from reprise.lib.annotations import open_annotation, read_cover_triplets
from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray
from reprise.lib.detect import clique_models, ranking_metrics
from reprise.lib.detect.calibration import Calibration, Reliability, measure_reliability
from reprise.lib.detect.search import NO_GROUP, measure_distances
from reprise.udfs.cover_search import Queries

N_TRIPLETS = 500


@dataclass(frozen=True)
class Measured:
    """What one measure reached.

    ``figures`` are by way of counting: ``published`` leaves tracks without a vector out, ``misses`` counts them.
    """

    figures: dict[str, dict[str, float | int | None]]
    cliques: pd.DataFrame
    curve: ranking_metrics.PrecisionRecall
    histogram: ranking_metrics.RankHistogram


@dataclass(frozen=True)
class Evaluation:
    """What is judged: the tracks of a list that are there (``members``: ``track_id``, ``clique_id``), and among what.

    ``tracks`` is the gallery, ``n_tracks`` what would be ranked if every track had a vector; ``triplets`` has columns
    ``query_id``, ``cover_id`` and ``other_id``, or is None to draw them.
    """

    run: Run
    model: Model
    tracks: DataFrame
    members: pd.DataFrame
    n_tracks: int
    n_candidates: int
    given_triplets: pd.DataFrame | None

    @cached_property
    def queries(self) -> Queries:
        """Members that have a vector, by id."""
        found: Queries = fetch_queries(self.run, self.tracks, self.members["track_id"].tolist())
        if not found.ids:
            raise UsageError(f"no track of the list has a vector of {self.model.model_id}")
        return found

    @cached_property
    def cliques(self) -> ObjectArray:
        """Clique of each of ``queries``."""
        labels: ObjectArray = self.members.set_index("track_id")["clique_id"].loc[self.queries.ids].to_numpy()
        return labels

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every (``query_id``, ``mate_id``) of one clique, their rows in ``queries`` or -1, and the plain ``rank``.

        Known duplicates are no pairs. The rank is 0 where one of the two has no vector.
        """
        pairs: pd.DataFrame = self.members.merge(self.members, on="clique_id", suffixes=("", "_mate"))
        pairs = pairs.rename(columns={"track_id": "query_id", "track_id_mate": "mate_id"})
        rows = {track_id: row for row, track_id in enumerate(self.queries.ids)}
        for side in ("query", "mate"):
            pairs[side] = [rows.get(track_id, -1) for track_id in pairs[f"{side}_id"]]
        groups = np.append(self.queries.groups, NO_GROUP)  # the last one for tracks that are not among the queries
        same = (groups[pairs["query"]] == groups[pairs["mate"]]) & (groups[pairs["query"]] != NO_GROUP)
        pairs = pairs[(pairs["query_id"] != pairs["mate_id"]) & ~same].reset_index(drop=True)
        pairs["rank"] = 0
        both = pairs[(pairs["query"] >= 0) & (pairs["mate"] >= 0)]
        for start in range(0, len(self.queries.ids), QUERIES_AT_ONCE):
            some = both[(both["query"] >= start) & (both["query"] < start + QUERIES_AT_ONCE)]
            asked = _take(self.queries, np.arange(start, min(start + QUERIES_AT_ONCE, len(self.queries.ids))))
            mates = _take(self.queries, some["mate"].to_numpy())
            ranks = rank_mates(self.tracks, asked, some["query"].to_numpy() - start, mates)
            pairs.loc[some.index, "rank"] = ranks
        return pairs

    @cached_property
    def nearest(self) -> pd.DataFrame:
        """The candidates of every query, by plain distance."""
        return search(self.tracks, self.queries, self.n_candidates)

    @cached_property
    def triplets(self) -> pd.DataFrame:
        """Binary queries, as rows of ``queries`` or -1: ``query``, ``cover``, ``other``."""
        named = self.given_triplets if self.given_triplets is not None else self._draw_triplets()
        rows = {track_id: row for row, track_id in enumerate(self.queries.ids)}
        found = {c.removesuffix("_id"): [rows.get(i, -1) for i in named[c]] for c in named.columns}
        return pd.DataFrame(found, dtype=np.int64)

    def _draw_triplets(self) -> pd.DataFrame:
        """A query, a mate, and a track of another clique, up to 500 times."""
        rng = np.random.default_rng(self.run.settings.seed)
        pairs = self.pairs.iloc[np.sort(rng.permutation(len(self.pairs))[:N_TRIPLETS])]
        ids, labels = self.members["track_id"].to_numpy(), self.members["clique_id"].to_numpy()
        others = [rng.choice(ids[labels != one]) if (labels != one).any() else "" for one in pairs["clique_id"]]
        return pd.DataFrame({"query_id": pairs["query_id"], "cover_id": pairs["mate_id"], "other_id": others})

    @cached_property
    def questions(self) -> clique_models.CheckQuestions:
        """What Model 2 is asked."""
        return clique_models.draw_questions(self.cliques, seed=self.run.settings.seed)

    @cached_property
    def vote(self) -> tuple[Int64Array, Int64Array]:
        """Rows that Model 1 is trained on, and those it is tested on."""
        return clique_models.split_large_cliques(self.cliques, seed=self.run.settings.seed)


def read_triplets(path: str) -> pd.DataFrame:
    """Triplets of a file; those that cannot be read are left out."""
    with open_annotation(path) as stream:
        frames = [pd.DataFrame(chunk.rows) for chunk in read_cover_triplets(stream)]
    if not any(len(frame) for frame in frames):
        raise UsageError(f"--triplets {path} holds no triplet")
    return pd.concat(frames, ignore_index=True)


def _take(queries: Queries, rows: Int64Array) -> Queries:
    return Queries([queries.ids[row] for row in rows], queries.vectors[rows], queries.groups[rows])


class PairDistances:
    """Distances, by one measure, of pairs of rows that were announced before: measured once, all together."""

    def __init__(self, evaluation: Evaluation, reranker: str, pairs: Sequence[tuple[Int64Array, Int64Array]]) -> None:
        self._n = len(evaluation.queries.ids)
        keys = np.unique(np.concatenate([one * self._n + other for one, other in pairs]))
        rows, others = keys // self._n, keys % self._n
        vectors, ids = evaluation.queries.vectors, np.array(evaluation.queries.ids, dtype=object)
        plain = measure_distances(vectors[rows], vectors[others])
        self._keys, self._distances = keys, plain
        if reranker != NO_RERANKER:
            table = pd.DataFrame({"query": rows, "candidate_id": ids[others], "distance": plain})
            aligned = align(evaluation.run, evaluation.queries, table, reranker)
            both = table.merge(aligned, on=["query", "candidate_id"], how="left")
            self._distances = both["alignment_distance"].to_numpy()

    def __call__(self, rows: Int64Array, others: Int64Array) -> Float64Array:
        """Distance of each pair of rows."""
        return self._distances[np.searchsorted(self._keys, rows * self._n + others)]


def evaluate_measure(evaluation: Evaluation, reranker: str) -> Measured:
    """Judge one measure; with a reranker, of the ranking in which it has ordered the candidates anew."""
    pairs = evaluation.pairs.assign(rank=_ranks(evaluation, reranker))
    train, test = evaluation.vote
    known = clique_models.known_versions(evaluation.cliques, evaluation.questions)
    triplets = evaluation.triplets
    asked = triplets[(triplets >= 0).all(axis=1)]
    distance = PairDistances(
        evaluation,
        reranker,
        [
            (np.repeat(test, len(train)), np.tile(train, len(test))),
            known,
            (asked["query"].to_numpy(), asked["cover"].to_numpy()),
            (asked["query"].to_numpy(), asked["other"].to_numpy()),
        ],
    )
    vote = clique_models.vote_cliques(distance, evaluation.cliques, train, test)
    answers = clique_models.check_versions(distance, evaluation.cliques, evaluation.questions)
    checks = clique_models.score_checks(answers, evaluation.questions)
    trust = _judge_probabilities(evaluation, answers)
    to_cover, to_other = np.full((2, len(triplets)), np.nan)
    to_cover[asked.index] = distance(asked["query"].to_numpy(), asked["cover"].to_numpy())
    to_other[asked.index] = distance(asked["query"].to_numpy(), asked["other"].to_numpy())
    binary = ranking_metrics.score_triplets(to_cover, to_other)
    common = {
        "triplets": binary.triplets,
        "triplets_compared": binary.compared,
        "model_1_accuracy": vote.accuracy,
        "model_1_cliques": vote.cliques,
        "model_1_tracks": vote.tracks,
        "model_2_accuracy": checks.accuracy,
        "model_2_roc_area": checks.roc_area,
        "model_2_questions": checks.questions,
        "model_2_false_positive_rate": trust.false_positive_rate,
        "model_2_true_positive_rate": trust.true_positive_rate,
        "model_2_calibration_error": trust.expected_calibration_error,
    }
    figures = {}
    for name, worst, accuracy in (
        ("published", None, binary.accuracy),
        ("misses", evaluation.n_tracks, binary.accuracy_of_all),
    ):
        scores = ranking_metrics.score_queries(pairs["query_id"].to_numpy(), pairs["rank"].to_numpy(), worst=worst)
        summary = {**asdict(ranking_metrics.summarise(scores)), "binary_accuracy": accuracy, **common}
        figures[name] = {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in summary.items()}
    return Measured(
        figures,
        _clique_table(evaluation, pairs),
        ranking_metrics.precision_recall(pairs["query_id"].to_numpy(), pairs["rank"].to_numpy()),
        ranking_metrics.rank_histogram(pairs.loc[pairs["rank"] > 0].groupby("query_id")["rank"].min().to_numpy()),
    )


def _judge_probabilities(evaluation: Evaluation, answers: clique_models.Checks) -> Reliability:
    """How far Model 2's probabilities hold, each half of the cliques judged by a calibration on the other half."""
    truth, features = evaluation.questions.is_version, answers.features
    half = pd.factorize(evaluation.cliques[evaluation.questions.track])[0] % 2 == 0
    probability = np.full(len(truth), np.nan)
    for here in (half, ~half):
        if truth[~here].any() and not truth[~here].all():
            probability[here] = Calibration.fit(features[~here], truth[~here]).probability(features[here])
    judged = np.isfinite(probability)
    return measure_reliability(probability[judged], truth[judged])


def _ranks(evaluation: Evaluation, reranker: str) -> Int64Array:
    """Rank of each mate; what stands beyond the candidates keeps its place."""
    pairs = evaluation.pairs
    plain: Int64Array = pairs["rank"].to_numpy()
    if reranker == NO_RERANKER:
        return plain
    aligned = align(evaluation.run, evaluation.queries, evaluation.nearest, reranker)
    aligned["place"] = aligned.groupby("query").cumcount() + 1
    both = pairs.merge(aligned, left_on=["query", "mate_id"], right_on=["query", "candidate_id"], how="left")
    return np.where(both["place"].notna(), both["place"], plain).astype(np.int64)


def _clique_table(evaluation: Evaluation, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a clique: tracks, queries, MAP and MR1; tracks without a vector left out."""
    scores = ranking_metrics.score_queries(pairs["query_id"].to_numpy(), pairs["rank"].to_numpy())
    clique_of: pd.Series[Any] = evaluation.members.set_index("track_id")["clique_id"]
    table = pd.DataFrame(asdict(ranking_metrics.score_cliques(scores, clique_of.loc[scores.query].to_numpy())))
    sizes = evaluation.members.groupby("clique_id").size().rename("tracks").reset_index()
    return table.merge(sizes, left_on="clique", right_on="clique_id").drop(columns="clique_id")
