"""Trained models and searches among the vectors they made: what the cover jobs share."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reprise.jobs._engine.run import Run, UsageError
from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.calibration import Calibration
from reprise.lib.detect.search import NO_GROUP, measure_distances
from reprise.lib.tables import BEAT_CHROMA, COVER_CLIQUES, COVER_VECTORS, MODELS, MSD_TRACKS
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.cover_search import (
    ALIGNED_DDL,
    COUNTS_DDL,
    NEAREST_DDL,
    Mates,
    Queries,
    align_candidates,
    count_before,
    find_nearest,
    read_block,
)

QUERIES_AT_ONCE = 2048
"""Queries searched in one pass over the tracks; their chroma takes about 50 MB."""

NO_RERANKER = "none"
MEASURES = (*RERANKERS, NO_RERANKER)


@dataclass(frozen=True)
class Model:
    """A row of ``models`` that makes vectors; ``calibrations`` by reranker, where there were covers to learn from."""

    model_id: str
    kind: str
    params: Mapping[str, Any]
    artifact: str
    sha256: str
    trained_on: Mapping[str, int]
    calibrations: Mapping[str, Calibration]

    def probability(self, reranker: str, distances: Float64Array) -> Float64Array:
        """Probability of being a version at each distance; NaN where nothing was learned about the measure."""
        calibration = self.calibrations.get(reranker)
        if calibration is None:
            return np.full(len(distances), np.nan)
        return calibration.probability(distances)


def load_model(run: Run, model_id: str | None) -> Model:
    """The model of this id, or the one trained last.

    Raises
    ------
    UsageError
        There is no such model, or none at all.
    """
    rows = run.warehouse.lookup(MODELS, "model_id", "", "\U0010ffff").to_pandas()
    rows = rows[~rows["kind"].str.startswith("genre/")]
    if rows.empty:
        raise UsageError("there is no model: run train-cover-index first")
    if model_id is not None and model_id not in set(rows["model_id"]):
        raise UsageError(f"there is no model {model_id}; there are: {', '.join(sorted(rows['model_id']))}")
    rows = rows.sort_values("trained_at") if model_id is None else rows[rows["model_id"] == model_id]
    row = rows.iloc[-1]
    metrics = json.loads(row["metrics"])
    return Model(
        model_id=row["model_id"],
        kind=row["kind"],
        params=json.loads(row["params"]),
        artifact=f"{run.warehouse.root}/{row['artifact']}",
        sha256=row["sha256"],
        trained_on=json.loads(row["trained_on"]),
        calibrations={
            reranker: Calibration(tuple(found["weights"]), found["intercept"])
            for reranker, found in metrics.get("calibration", {}).items()
        },
    )


def gallery(run: Run, model: Model) -> DataFrame:
    """Vectors of a model: ``track_id``, ``vector``, ``duplicates`` (tracks of one MSD song have one number)."""
    # without its id a song is no song that several tracks share
    songs = run.warehouse.read(run.spark, MSD_TRACKS).where("song_id IS NOT NULL").select("track_id", "song_id")
    repeated = songs.groupBy("song_id").agg(F.collect_list("track_id").alias("ids")).where("size(ids) > 1")
    groups = repeated.select(F.explode("ids").alias("track_id"), F.abs(F.xxhash64("song_id")).alias("duplicates"))
    # few songs have several tracks; found once here, and not again by every search
    found = run.spark.createDataFrame(groups.toArrow(), "track_id string, duplicates bigint")
    vectors = run.warehouse.read(run.spark, COVER_VECTORS).where(F.col("model_id") == model.model_id)
    return (
        vectors.select("track_id", "vector")
        .join(F.broadcast(found), "track_id", "left")
        .fillna({"duplicates": NO_GROUP})
    )


def clique_members(run: Run, source: str) -> pd.DataFrame:
    """``track_id`` and ``clique_id`` of the tracks of a clique list, each once, by ``track_id``.

    Raises
    ------
    UsageError
        There is no such list.
    """
    columns = ["track_id", "clique_id", "source"]
    rows: pd.DataFrame = run.warehouse.lookup(COVER_CLIQUES, "clique_id", "", "\U0010ffff", columns).to_pandas()
    listed = rows[rows["source"] == source]
    if listed.empty:
        lists = ", ".join(sorted(rows["source"].unique())) or "none: run ingest-annotations first"
        raise UsageError(f"there is no clique list {source}; there are: {lists}")
    once = listed.sort_values(["track_id", "clique_id"]).drop_duplicates("track_id")
    return once[["track_id", "clique_id"]].reset_index(drop=True)


def fetch_queries(run: Run, tracks: DataFrame, track_ids: Sequence[str]) -> Queries:
    """Those of the tracks that have a vector, in ascending order."""
    ids = run.spark.createDataFrame([(i,) for i in track_ids], "track_id string")
    found = tracks.join(F.broadcast(ids), "track_id", "left_semi").toArrow().sort_by("track_id").combine_chunks()
    if not len(found):
        return Queries([], np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64))
    vectors, names, groups = read_block(found.to_batches()[0])
    return Queries(names, vectors, groups)


def search(tracks: DataFrame, queries: Queries, k: int) -> pd.DataFrame:
    """The k nearest of each query: ``query`` (its row), ``candidate_id``, ``distance``; by query and rank."""
    parts = tracks.mapInArrow(partial(find_nearest, queries=queries, k=k), NEAREST_DDL)
    place = F.row_number().over(Window.partitionBy("query").orderBy("distance", "candidate_id"))
    found = parts.withColumn("place", place).where(F.col("place") <= k).toPandas()
    return found.sort_values(["query", "place"]).drop(columns="place").reset_index(drop=True)


def rank_mates(tracks: DataFrame, queries: Queries, mate_queries: Int64Array, mates: Queries) -> Int64Array:
    """Rank of each mate among all tracks, when those are ordered by their distance from the mate's query."""
    distances = measure_distances(queries.vectors[mate_queries], mates.vectors)
    sought = Mates(mate_queries, mates.ids, distances)
    counts = tracks.mapInArrow(partial(count_before, queries=queries, mates=sought), COUNTS_DDL)
    before = counts.groupBy("mate").agg(F.sum("before").alias("before")).toPandas()
    ranks = np.ones(len(mates.ids), dtype=np.int64)
    ranks[before["mate"]] += before["before"].to_numpy()
    return ranks


def fetch_chroma(run: Run, track_ids: Sequence[str]) -> dict[str, Float32Array]:
    """Beat chroma of some tracks."""
    ids = run.spark.createDataFrame([(i,) for i in track_ids], "track_id string")
    chroma = run.warehouse.read(run.spark, BEAT_CHROMA).select("track_id", "beat_chroma")
    found: dict[str, Float32Array] = {}
    for batch in chroma.join(F.broadcast(ids), "track_id", "left_semi").toArrow().to_batches():
        found |= zip(batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True)
    return found


def align(run: Run, queries: Queries, candidates: pd.DataFrame, reranker: str) -> pd.DataFrame:
    """``candidates`` in the order of their alignment with the query.

    Takes what `search` gives and adds ``alignment_distance``, ``transposition`` and ``tempo_ratio``, NULL where there
    is no reranker.

    Raises
    ------
    UsageError
        A query has no chroma: it was removed since its vector was made.
    """
    if reranker == NO_RERANKER or candidates.empty:
        empty = pd.DataFrame(index=candidates.index, columns=["alignment_distance", "transposition", "tempo_ratio"])
        return candidates.join(empty.astype("float64"))
    parts = []
    for start in range(0, len(queries.ids), QUERIES_AT_ONCE):
        some = candidates[candidates["query"].between(start, start + QUERIES_AT_ONCE - 1)]
        asked = dict(enumerate(queries.ids[start : start + QUERIES_AT_ONCE], start))
        parts.append(some.merge(_align_some(run, asked, some, reranker), on=["query", "candidate_id"]))
    order = ["query", "alignment_distance", "distance", "candidate_id"]
    return pd.concat(parts).sort_values(order, kind="stable").reset_index(drop=True)


def _align_some(run: Run, asked: Mapping[int, str], candidates: pd.DataFrame, reranker: str) -> pd.DataFrame:
    """What the workers say of candidates of the queries ``asked``, whose ids are given by their numbers."""
    chromas = fetch_chroma(run, list(asked.values()))
    if missing := sorted(set(asked.values()) - set(chromas)):
        raise UsageError(f"{missing[0]} has a vector and no chroma any more: run train-cover-index, which forgets it")
    wanted = candidates.groupby("candidate_id")["query"].agg(list).rename("queries").reset_index()
    schema = pa.schema([("candidate_id", pa.string()), ("queries", pa.list_(pa.int32()))])
    sought = run.spark.createDataFrame(pa.Table.from_pandas(wanted, schema, preserve_index=False))
    pairs = (
        run.warehouse.read(run.spark, BEAT_CHROMA)
        .select("track_id", "beat_chroma")
        .join(F.broadcast(sought.withColumnRenamed("candidate_id", "track_id")), "track_id")
        # found candidates are no more evenly spread over the files than any others
        .repartition(4 * run.spark.sparkContext.defaultParallelism, "track_id")
    )
    numbered = {number: chromas[track_id] for number, track_id in asked.items()}
    return pairs.mapInArrow(partial(align_candidates, chromas=numbered, reranker=reranker), ALIGNED_DDL).toPandas()


def search_id(run: Run, model: Model, **settings: object) -> str:
    """Hash of everything that an answer depends on."""
    versions = run.warehouse.versions()
    read = {t.name: versions.get(t.name) for t in (COVER_VECTORS, BEAT_CHROMA, MSD_TRACKS)}
    text = json.dumps([model.model_id, model.sha256, repr(model.calibrations), read, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
