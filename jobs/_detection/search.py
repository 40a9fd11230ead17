"""Search the gallery of embeddings for candidates, and align the candidates with their queries."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reprise.jobs._detection.models import NO_RERANKER, EmbeddingModel
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float32Array, Int64Array
from reprise.lib.detect.part_network import N_TRANSPOSITIONS
from reprise.lib.detect.search import NO_GROUP, measure_distances
from reprise.lib.tables import BEAT_CHROMA, COVER_CLIQUES, COVER_VECTORS, MSD_TRACKS
from reprise.udfs.arrow import to_vectors
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.cover_search import (
    ALIGNED_DDL,
    COUNTS_DDL,
    NEAREST_DDL,
    Mates,
    Queries,
    align_candidates,
    count_ranked_before,
    find_nearest,
    read_block,
)
from reprise.udfs.cover_vectors import QUERIES_DDL, embed_transpositions

QUERIES_PER_BATCH = 2048
"""Number of queries in a batch. The chroma of this many queries takes about 50 MB."""

_DELETED = "{} has an embedding but its chroma was deleted: run train-cover-index to remove it"


def read_gallery(run: Run, model: EmbeddingModel) -> DataFrame:
    """Read the gallery of an embedding model, with the columns ``track_id``, ``vector`` and ``duplicates``.

    ``duplicates`` is an integer that identifies the MSD song of the track. It is `NO_GROUP` if the song
    is unknown or no other track is of the same song.
    """
    # two tracks without a song id are not duplicates, although both ids are NULL
    songs = run.warehouse.read(run.spark, MSD_TRACKS).where("song_id IS NOT NULL").select("track_id", "song_id")
    repeated = songs.groupBy("song_id").agg(F.collect_list("track_id").alias("ids")).where("size(ids) > 1")
    groups = repeated.select(F.explode("ids").alias("track_id"), F.abs(F.xxhash64("song_id")).alias("duplicates"))
    # computed here so that not every search repeats it; the table is small, because few songs have several tracks
    duplicates = run.spark.createDataFrame(groups.toArrow(), "track_id string, duplicates bigint")
    vectors = run.warehouse.read(run.spark, COVER_VECTORS).where(F.col("model_id") == model.model_id)
    return (
        vectors.select("track_id", "vector")
        .join(F.broadcast(duplicates), "track_id", "left")
        .fillna({"duplicates": NO_GROUP})
    )


def clique_members(run: Run, source: str) -> pd.DataFrame:
    """Return ``track_id`` and ``clique_id`` of the tracks in the clique list ``source``, in order of ``track_id``.

    A track that is in several cliques has one row, with the smallest clique id.

    Raises
    ------
    UsageError
        The list is unknown.
    """
    columns = ["track_id", "clique_id", "source"]
    rows: pd.DataFrame = run.warehouse.lookup_all(COVER_CLIQUES, columns).to_pandas()
    listed = rows[rows["source"] == source]
    if listed.empty:
        lists = ", ".join(sorted(rows["source"].unique()))
        advice = f"choose from: {lists}" if lists else "run ingest-annotations first"
        raise UsageError(f"unknown clique list {source}; {advice}")
    once = listed.sort_values(["track_id", "clique_id"]).drop_duplicates("track_id")
    return once[["track_id", "clique_id"]].reset_index(drop=True)


def fetch_queries(run: Run, tracks: DataFrame, track_ids: Sequence[str]) -> Queries:
    """Fetch the embeddings of ``track_ids`` from the gallery ``tracks``, in ascending order of track id.

    Tracks without an embedding are left out.
    """
    ids = run.spark.createDataFrame([(i,) for i in track_ids], "track_id string")
    found = tracks.join(F.broadcast(ids), "track_id", "left_semi").toArrow().sort_by("track_id").combine_chunks()
    if not len(found):
        return Queries([], np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.int64))
    vectors, names, groups = read_block(found.to_batches()[0])
    return Queries(names, vectors, groups)


def transpose_queries(run: Run, model: EmbeddingModel, queries: Queries) -> Queries:
    """Replace the embeddings of queries by their embeddings in all transpositions, if the model needs them.

    Models that are invariant to the key do not need them: their queries are returned unchanged.

    Raises
    ------
    UsageError
        As in `rerank`.
    """
    if not model.is_shipped or not queries.ids:
        return queries
    ids = run.spark.createDataFrame([(i,) for i in queries.ids], "track_id string")
    rows = run.warehouse.read(run.spark, BEAT_CHROMA).select("track_id", "beat_chroma")
    make = partial(embed_transpositions, artifact=model.artifact, artifact_sha256=model.sha256)
    embedded = rows.join(F.broadcast(ids), "track_id", "left_semi").mapInArrow(make, QUERIES_DDL).toArrow()
    embedded = embedded.sort_by([("track_id", "ascending"), ("transposition", "ascending")])
    if missing := sorted(set(queries.ids) - set(embedded["track_id"].to_pylist())):
        raise UsageError(_DELETED.format(missing[0]))
    return Queries(queries.ids, np.stack(to_vectors(embedded["vector"].combine_chunks())), queries.groups)


def search_indexes(
    run: Run, models: Sequence[EmbeddingModel], track_ids: Sequence[str], k: int
) -> tuple[Queries, pd.DataFrame]:
    """Find the k nearest tracks of each query in the gallery of each model.

    Parameters
    ----------
    run
        Run that reads the tables.
    models
        Models whose embeddings are searched.
    track_ids
        Query tracks. Tracks without an embedding by any of the models are left out.
    k
        Number of candidates by each model.

    Returns
    -------
    tuple of Queries and pandas.DataFrame
        Ids of the found queries, in ascending order, and groups; ``vectors`` is empty. The candidates have the columns
        of `search_gallery` and ``model_id``. A candidate that several models find has the row of the first of them.
    """
    parts: list[pd.DataFrame] = []
    groups: dict[str, int] = {}
    for model in models:
        tracks = read_gallery(run, model)
        found = fetch_queries(run, tracks, track_ids)
        groups.update(zip(found.ids, found.groups.tolist(), strict=True))
        step = max(1, QUERIES_PER_BATCH // (N_TRANSPOSITIONS if model.is_shipped else 1))
        for start in range(0, len(found.ids), step):
            rows = slice(start, start + step)
            queries = transpose_queries(run, model, Queries(found.ids[rows], found.vectors[rows], found.groups[rows]))
            nearest = search_gallery(tracks, queries, k).assign(model_id=model.model_id)
            nearest["query"] = np.array(queries.ids, dtype=object)[nearest["query"]]
            parts.append(nearest)
    ids = sorted(groups)
    every = Queries(ids, np.empty((0, 0), dtype=np.float32), np.array([groups[i] for i in ids], dtype=np.int64))
    if not parts:
        return every, pd.DataFrame(columns=["query", "candidate_id", "distance", "model_id"])
    candidates = pd.concat(parts, ignore_index=True).drop_duplicates(["query", "candidate_id"])
    candidates["query"] = candidates["query"].map({track_id: row for row, track_id in enumerate(ids)}).astype(np.int64)
    return every, candidates.sort_values("query", kind="stable").reset_index(drop=True)


def search_gallery(tracks: DataFrame, queries: Queries, k: int) -> pd.DataFrame:
    """Find the k nearest tracks of each query in the gallery ``tracks``, except the query and its known duplicates.

    The result has the columns ``query`` (row number in ``queries``), ``candidate_id`` and ``distance``. It is sorted by
    these columns in the order ``query``, ``distance``, ``candidate_id``.
    """
    parts = tracks.mapInArrow(partial(find_nearest, queries=queries, k=k), NEAREST_DDL)
    place = F.row_number().over(Window.partitionBy("query").orderBy("distance", "candidate_id"))
    found = parts.withColumn("place", place).where(F.col("place") <= k).toPandas()
    return found.sort_values(["query", "place"]).drop(columns="place").reset_index(drop=True)


def rank_mates(tracks: DataFrame, queries: Queries, mate_queries: Int64Array, mates: Queries) -> Int64Array:
    """Return the rank of each mate by embedding distance from its query: int64 (n,), counted from 1.

    All tracks of the gallery are ranked, except the query and its known duplicates.

    Parameters
    ----------
    tracks
        Gallery: the result of `read_gallery`.
    queries
        Query tracks.
    mate_queries
        Shape (n,): for each mate, the row number of its query in ``queries``.
    mates
        The n mates. A mate is another version of its query's work.
    """
    distances = measure_distances(queries.vectors[mate_queries], mates.vectors)
    ranked = Mates(mate_queries, mates.ids, distances)
    counts = tracks.mapInArrow(partial(count_ranked_before, queries=queries, mates=ranked), COUNTS_DDL)
    before = counts.groupBy("mate").agg(F.sum("before").alias("before")).toPandas()
    ranks = np.ones(len(mates.ids), dtype=np.int64)
    ranks[before["mate"]] += before["before"].to_numpy()
    return ranks


def fetch_chroma(run: Run, track_ids: Sequence[str]) -> dict[str, Float32Array]:
    """Fetch the beat chroma of tracks by track id, float32 (12, beats). Tracks without chroma are left out."""
    ids = run.spark.createDataFrame([(i,) for i in track_ids], "track_id string")
    chroma = run.warehouse.read(run.spark, BEAT_CHROMA).select("track_id", "beat_chroma")
    found: dict[str, Float32Array] = {}
    for batch in chroma.join(F.broadcast(ids), "track_id", "left_semi").toArrow().to_batches():
        found |= zip(batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True)
    return found


def rerank(run: Run, queries: Queries, candidates: pd.DataFrame, reranker: str) -> pd.DataFrame:
    """Order the candidates of each query by their alignment distance from the query.

    Parameters
    ----------
    run
        Run that reads the chroma.
    queries
        Query tracks.
    candidates
        Result of `search_gallery`, or another table with the same columns.
    reranker
        Name of the alignment measure, or `NO_RERANKER` to keep the order of ``candidates``.

    Returns
    -------
    pandas.DataFrame
        ``candidates`` with the added columns ``alignment_distance``, ``transposition`` and ``tempo_ratio``. With
        `NO_RERANKER`, these columns are NaN. Otherwise, candidates without chroma are left out.

    Raises
    ------
    UsageError
        A query has an embedding but no chroma: its chroma was deleted after the embedding was computed.
    """
    if reranker == NO_RERANKER or candidates.empty:
        empty = pd.DataFrame(index=candidates.index, columns=["alignment_distance", "transposition", "tempo_ratio"])
        return candidates.join(empty.astype("float64"))
    parts = []
    for start in range(0, len(queries.ids), QUERIES_PER_BATCH):
        part = candidates[candidates["query"].between(start, start + QUERIES_PER_BATCH - 1)]
        ids = dict(enumerate(queries.ids[start : start + QUERIES_PER_BATCH], start))
        parts.append(part.merge(_align_batch(run, ids, part, reranker), on=["query", "candidate_id"]))
    order = ["query", "alignment_distance", "distance", "candidate_id"]
    return pd.concat(parts).sort_values(order, kind="stable").reset_index(drop=True)


def _align_batch(run: Run, query_ids: Mapping[int, str], candidates: pd.DataFrame, reranker: str) -> pd.DataFrame:
    """Align candidates with their queries on the workers.

    ``query_ids`` maps the row number of each query to its track id. The result has the columns of ``ALIGNED_DDL``. The
    order of its rows is undefined.
    """
    chromas = fetch_chroma(run, list(query_ids.values()))
    if missing := sorted(set(query_ids.values()) - set(chromas)):
        raise UsageError(_DELETED.format(missing[0]))
    queries_of = candidates.groupby("candidate_id")["query"].agg(list).rename("queries").reset_index()
    schema = pa.schema([("candidate_id", pa.string()), ("queries", pa.list_(pa.int32()))])
    frame = run.spark.createDataFrame(pa.Table.from_pandas(queries_of, schema, preserve_index=False))
    pairs = (
        run.warehouse.read(run.spark, BEAT_CHROMA)
        .select("track_id", "beat_chroma")
        .join(F.broadcast(frame.withColumnRenamed("candidate_id", "track_id")), "track_id")
        # candidates are unevenly distributed over the files, and aligning them takes most of the time
        .repartition(4 * run.spark.sparkContext.defaultParallelism, "track_id")
    )
    chroma_of = {row: chromas[track_id] for row, track_id in query_ids.items()}
    return pairs.mapInArrow(partial(align_candidates, chromas=chroma_of, reranker=reranker), ALIGNED_DDL).toPandas()


def make_search_id(run: Run, model: EmbeddingModel, **settings: object) -> str:
    """Return a hash of the inputs that determine the result of a search: model, table versions and ``settings``."""
    versions = run.warehouse.versions()
    read = {t.name: versions.get(t.name) for t in (COVER_VECTORS, BEAT_CHROMA, MSD_TRACKS)}
    text = json.dumps([model.model_id, model.sha256, repr(model.calibrations), read, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
