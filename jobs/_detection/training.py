"""Training of embeddings: samples drawn with Spark from recorded versions of the tables, and what is fitted on them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float32Array, Int64Array
from reprise.lib.detect.dictionary_lda import Dictionary, DictionaryLda
from reprise.lib.detect.embeddings import Embedding
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, COVER_CLIQUES, Table
from reprise.udfs.arrow import to_vectors
from reprise.udfs.beat_chroma import WINDOWS_DDL, cut_windows, to_features
from reprise.udfs.cover_vectors import CODES_DDL, encode_tracks

HELD_OUT = 5
"""Of so many cliques of the list one is kept from training, to learn afterwards what distances mean."""

TABLE_OF = {"median_patch": CHROMA_PATCHES, "beat_chroma": BEAT_CHROMA}
"""Table that has the column an embedding reads."""


@dataclass(frozen=True)
class Samples:
    """Training data as it was at recorded versions of the tables; what is drawn depends on ids and seed alone."""

    run: Run
    versions: Mapping[str, int]
    cliques: str
    seed: int

    @cached_property
    def members(self) -> pd.DataFrame:
        """``track_id`` and ``clique_id`` of the tracks of the list that have a patch, each once; by ``track_id``."""
        listed = self._table(COVER_CLIQUES).where(F.col("source") == self.cliques)
        table = next(t for t in TABLE_OF.values() if t.name in self.versions)
        present = self._table(table).where("status = 'ok'").select("track_id")
        once = listed.groupBy("track_id").agg(F.min("clique_id").alias("clique_id"))
        return once.join(present, "track_id", "left_semi").orderBy("track_id").toPandas()

    @property
    def training(self) -> pd.DataFrame:
        """Members of the cliques to train on, of which there are at least two tracks."""
        rows = self.members[~is_held_out(self.members["clique_id"])]
        together = rows.groupby("clique_id")["track_id"].transform("size") > 1
        return rows[together].reset_index(drop=True)

    def others(self, column: str, count: int) -> list[Float32Array]:
        """Features of up to ``count`` tracks that stand in no clique list at all."""
        table = TABLE_OF[column]
        covers = self._table(COVER_CLIQUES).select("track_id")
        able = self._table(table).where("status = 'ok'").select("track_id").join(covers, "track_id", "left_anti")
        drawn = able.orderBy(F.xxhash64("track_id", F.lit(self.seed)), "track_id").limit(count)
        ids = [row.track_id for row in drawn.collect()]
        return list(self.features(column, sorted(ids)).values())

    def features(self, column: str, track_ids: Sequence[str]) -> dict[str, Float32Array]:
        """Features of tracks by their ids, in the order of the ids."""
        found: dict[str, Float32Array] = {}
        for batch in self._rows(column, track_ids).toArrow().to_batches():
            found |= zip(batch.column("track_id").to_pylist(), to_features(batch, column), strict=True)
        return {track_id: found[track_id] for track_id in track_ids}

    def windows(self, track_ids: Sequence[str], hop_beats: int) -> Float32Array:
        """Half patches of tracks, one every ``hop_beats`` beats: float32 (n, 451)."""
        rows = self._rows("beat_chroma", track_ids)
        cut = rows.mapInArrow(partial(cut_windows, hop_beats=hop_beats), WINDOWS_DDL)
        found = cut.toArrow().sort_by([("track_id", "ascending"), ("first_beat", "ascending")])
        return np.stack(to_vectors(found.column("patch").combine_chunks()))

    def codes(self, dictionary: Dictionary, track_ids: Sequence[str]) -> Float32Array:
        """Codes of tracks in the order of their ids: float32 (n, words)."""
        rows = self._rows("beat_chroma", track_ids).repartition(self.run.spark.sparkContext.defaultParallelism)
        coded = rows.mapInArrow(partial(encode_tracks, dictionary=dictionary), CODES_DDL).toArrow()
        return np.stack(to_vectors(coded.sort_by("track_id").column("code").combine_chunks()))

    def _rows(self, column: str, track_ids: Sequence[str]) -> DataFrame:
        ids = self.run.spark.createDataFrame(pa.table({"track_id": pa.array(track_ids, pa.string())}))
        rows = self._table(TABLE_OF[column]).select("track_id", column)
        return rows.join(F.broadcast(ids), "track_id", "left_semi")

    def _table(self, table: Table) -> DataFrame:
        return self.run.warehouse.read(self.run.spark, table, version=self.versions[table.name])


def is_held_out(clique_id: pd.Series) -> pd.Series:
    """Whether cliques are kept from training: told by their id alone, so that every model keeps the same ones out."""
    digests = (hashlib.sha256(one.encode()).digest() for one in clique_id)
    return pd.Series([digest[0] % HELD_OUT == 0 for digest in digests], index=clique_id.index, dtype=bool)


Fit = Callable[[Samples, Mapping[str, Any]], Embedding]


@dataclass(frozen=True)
class Trainer:
    """How to train one kind of embedding: what it reads, its parameters with their defaults, and the training."""

    reads: str
    defaults: Mapping[str, Any]
    fit: Fit


def _fit_patch(_: Samples, __: Mapping[str, Any]) -> Embedding:
    return MedianPatch()


def _fit_pca(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    return MedianPca.fit(samples.others("median_patch", params["n_tracks"]), params["dimensions"])


def _fit_lda(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    rows = samples.training
    if rows.empty:
        raise ValueError("there is no clique of two tracks to learn from")
    patches = samples.windows(rows["track_id"].tolist(), params["hop_beats"])
    rng = np.random.default_rng(samples.seed)
    drawn = np.sort(rng.choice(len(patches), min(params["n_patches"], len(patches)), replace=False))
    dictionary = Dictionary.fit(patches[drawn], seed=samples.seed % 2**32)
    codes = samples.codes(dictionary, rows["track_id"].tolist())
    return DictionaryLda.fit(dictionary, codes, rows["clique_id"].to_numpy(), params["dimensions"])


def _fit_learned(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    rows = samples.training
    labels: Int64Array = np.unique(rows["clique_id"], return_inverse=True)[1]
    chromas = list(samples.features("beat_chroma", rows["track_id"].tolist()).values())
    others = samples.others("beat_chroma", params["n_tracks"])
    labels = np.append(labels, np.full(len(others), -1))
    return Learned.fit([*chromas, *others], labels, steps=params["steps"], seed=samples.seed % 2**32)


TRAINERS: Mapping[str, Trainer] = {
    "median_patch": Trainer("median_patch", {}, _fit_patch),
    "median_pca": Trainer("median_patch", {"dimensions": 200, "n_tracks": 20_000}, _fit_pca),
    "dictionary_lda": Trainer("beat_chroma", {"dimensions": 200, "hop_beats": 30, "n_patches": 50_000}, _fit_lda),
    "learned": Trainer("beat_chroma", {"n_tracks": 4_000, "steps": 100}, _fit_learned),
}
