"""Train embedding models on samples that Spark draws from fixed Delta versions of the tables."""

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
"""About one in five cliques is held out from the training. The held-out cliques serve to calibrate the distances."""

TABLE_OF = {"median_patch": CHROMA_PATCHES, "beat_chroma": BEAT_CHROMA}
"""Maps each column that an embedding model can read to its table."""


@dataclass(frozen=True)
class Samples:
    """Training data from fixed Delta versions of the tables. Random draws depend only on the track ids and the seed.

    Parameters
    ----------
    run
        Run that reads the tables.
    versions
        Delta version of each table, by table name.
    cliques
        Name of the clique list.
    seed
        Seed of all draws.
    """

    run: Run
    versions: Mapping[str, int]
    cliques: str
    seed: int

    @cached_property
    def members(self) -> pd.DataFrame:
        """``track_id`` and ``clique_id`` of those tracks of the clique list that have a median patch.

        Each track occurs once, with its smallest clique id. The rows are in ascending order of ``track_id``.
        """
        listed = self._table(COVER_CLIQUES).where(F.col("source") == self.cliques)
        table = next(t for t in TABLE_OF.values() if t.name in self.versions)
        present = self._table(table).where("status = 'ok'").select("track_id")
        once = listed.groupBy("track_id").agg(F.min("clique_id").alias("clique_id"))
        return once.join(present, "track_id", "left_semi").orderBy("track_id").toPandas()

    @property
    def training(self) -> pd.DataFrame:
        """Members of the cliques that are not held out and have at least two members."""
        rows = self.members[~is_held_out(self.members["clique_id"])]
        has_mate = rows.groupby("clique_id")["track_id"].transform("size") > 1
        return rows[has_mate].reset_index(drop=True)

    def draw_others(self, column: str, count: int) -> list[Float32Array]:
        """Draw up to ``count`` tracks that are not in any clique list. Return their features in ``column``.

        The features have the shapes given in `fetch_features`, and are in ascending order of track id.
        """
        table = TABLE_OF[column]
        listed = self._table(COVER_CLIQUES).select("track_id")
        others = self._table(table).where("status = 'ok'").select("track_id").join(listed, "track_id", "left_anti")
        drawn = others.orderBy(F.xxhash64("track_id", F.lit(self.seed)), "track_id").limit(count)
        ids = [row.track_id for row in drawn.collect()]
        return list(self.fetch_features(column, sorted(ids)).values())

    def fetch_features(self, column: str, track_ids: Sequence[str]) -> dict[str, Float32Array]:
        """Return a dictionary that maps each of ``track_ids``, in the same order, to the features in ``column``.

        The features are float32, of shape (451,) for ``median_patch`` and (12, beats) for ``beat_chroma``.
        """
        features: dict[str, Float32Array] = {}
        for batch in self._rows(column, track_ids).toArrow().to_batches():
            features |= zip(batch.column("track_id").to_pylist(), to_features(batch, column), strict=True)
        return {track_id: features[track_id] for track_id in track_ids}

    def cut_patches(self, track_ids: Sequence[str], hop_beats: int) -> Float32Array:
        """Cut the chroma of tracks into patches that start every ``hop_beats`` beats.

        Return float32 (n, 451): a half patch for each of the n patches (see `reprise.lib.detect.patches`), in ascending
        order of track id and time.
        """
        rows = self._rows("beat_chroma", track_ids)
        windows = rows.mapInArrow(partial(cut_windows, hop_beats=hop_beats), WINDOWS_DDL).toArrow()
        windows = windows.sort_by([("track_id", "ascending"), ("first_beat", "ascending")])
        return np.stack(to_vectors(windows.column("patch").combine_chunks()))

    def encode(self, dictionary: Dictionary, track_ids: Sequence[str]) -> Float32Array:
        """Encode n tracks with a dictionary. Return the codes, float32 (n, words), in ascending order of track id."""
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
    """Return a boolean Series: for each clique id, whether the clique is held out.

    The result depends only on the clique id, so it is the same for every model.
    """
    digests = (hashlib.sha256(name.encode()).digest() for name in clique_id)
    return pd.Series([digest[0] % HELD_OUT == 0 for digest in digests], index=clique_id.index, dtype=bool)


Fit = Callable[[Samples, Mapping[str, Any]], Embedding]


@dataclass(frozen=True)
class Trainer:
    """Trainer of one kind of embedding model: its input column, default parameters, and fit function."""

    reads: str
    defaults: Mapping[str, Any]
    fit: Fit


def _fit_patch(_: Samples, __: Mapping[str, Any]) -> Embedding:
    return MedianPatch()


def _fit_pca(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    return MedianPca.fit(samples.draw_others("median_patch", params["n_tracks"]), params["dimensions"])


def _fit_lda(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    rows = samples.training
    if rows.empty:
        raise ValueError("no clique with at least two tracks is left for the training: ingest more tracks")
    patches = samples.cut_patches(rows["track_id"].tolist(), params["hop_beats"])
    rng = np.random.default_rng(samples.seed)
    drawn = np.sort(rng.choice(len(patches), min(params["n_patches"], len(patches)), replace=False))
    dictionary = Dictionary.fit(patches[drawn], seed=samples.seed % 2**32)
    codes = samples.encode(dictionary, rows["track_id"].tolist())
    return DictionaryLda.fit(dictionary, codes, rows["clique_id"].to_numpy(), params["dimensions"])


def _fit_learned(samples: Samples, params: Mapping[str, Any]) -> Embedding:
    rows = samples.training
    labels: Int64Array = np.unique(rows["clique_id"], return_inverse=True)[1]
    chromas = list(samples.fetch_features("beat_chroma", rows["track_id"].tolist()).values())
    others = samples.draw_others("beat_chroma", params["n_tracks"])
    labels = np.append(labels, np.full(len(others), -1))
    return Learned.fit([*chromas, *others], labels, steps=params["steps"], seed=samples.seed % 2**32)


TRAINERS: Mapping[str, Trainer] = {
    "median_patch": Trainer("median_patch", {}, _fit_patch),
    "median_pca": Trainer("median_patch", {"dimensions": 200, "n_tracks": 20_000}, _fit_pca),
    "dictionary_lda": Trainer("beat_chroma", {"dimensions": 200, "hop_beats": 30, "n_patches": 50_000}, _fit_lda),
    "learned": Trainer("beat_chroma", {"n_tracks": 4_000, "steps": 100}, _fit_learned),
}
