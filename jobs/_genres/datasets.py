"""Labelled features: what genre models learn from, gathered from the tables or from a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.run import Run, UsageError
from reprise.lib.arrays import Float32Array, Int64Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.files import sha256_of
from reprise.lib.genres.feature_sets import FEATURE_SETS, TEMPO, WHOLE_TRACK, FeatureSet
from reprise.lib.genres.gtzan_table import COLUMNS, GtzanTable, read_table, track_of
from reprise.lib.genres.splits import sample_rows
from reprise.lib.playlists import normalise
from reprise.lib.tables import GENRE_LABELS, LIBRARY_TRACKS, MSD_TRACKS, Table

GENRE_KIND = "genre/"
"""What the ``kind`` of a genre model begins with in ``models``; the learner follows."""

TAGS, TABLE = "tags", "table"
"""Labels that are no ``source`` of ``genre_labels``: the genre tags of library tracks, and those of a file."""

FILE_SHA256 = "table_sha256"
"""What stands in ``trained_on``, in the place of tables and their versions, for a file of features."""


_ARTIST = ["track_id", "group", "artist_name"]


@dataclass(frozen=True)
class Dataset:
    """Features with genres, in the order of their ids.

    Parameters
    ----------
    ids
        Shape (n,): track ids, of windows with ``#`` and their number, or names in a file.
    rows
        Shape (n, d), float32; NaN = unknown.
    features
        The d columns.
    genres, groups
        Shape (n,): the label, and whose rows stand together on one side of a split: the artist's, where that is not
        known the song's, else the track's.
    """

    ids: ObjectArray
    rows: Float32Array
    features: tuple[str, ...]
    genres: ObjectArray
    groups: ObjectArray


@dataclass(frozen=True)
class Labelled:
    """Rows that have features and a genre, before the features are fetched; as `Dataset`.

    Parameters
    ----------
    tracks
        Shape (n,): the track, or the file, that a row is of.
    trained_on
        Tables and their versions, or the SHA-256 of the file.
    fetch
        Features of some rows, told by their ascending places.
    """

    ids: ObjectArray
    tracks: ObjectArray
    genres: ObjectArray
    groups: ObjectArray
    features: tuple[str, ...]
    trained_on: Mapping[str, int | str]
    fetch: Callable[[Int64Array], Float32Array]

    def take(self, places: Int64Array) -> Dataset:
        """Some of the rows with their features, told by their ascending places."""
        rows = self.fetch(places)
        return Dataset(self.ids[places], rows, self.features, self.genres[places], self.groups[places])


def read_dataset(
    run: Run, feature_set: str, labels: str, table: str | None = None, *, limit: int | None = None
) -> Dataset:
    """Features of a set, of the tracks that have a label.

    Parameters
    ----------
    feature_set
        Key in ``FEATURE_SETS``.
    labels
        A ``source`` of ``genre_labels``, whose first genre of a track counts, ``tags`` or ``table``.
    table
        File in the format of the GTZAN table, which has both.
    limit
        Of more rows whole groups are drawn, genres in their shares.

    Raises
    ------
    UsageError
        There is no such set, label source or file, or no row that has both.
    """
    found = find_labelled(run, feature_set, labels, table)
    count = len(found.ids)
    drawn = np.arange(count)
    if limit is not None and count > limit:
        drawn = sample_rows(found.genres, found.groups, limit, run.settings.seed % 2**32)
    return found.take(drawn)


def name_labels(labels: str | None, table: str | None) -> str:
    """What ``--labels`` stands for; a file has its own.

    Raises
    ------
    UsageError
        Neither is given.
    """
    if labels is None and table is None:
        raise UsageError(f"--labels is missing: give a source of genre_labels, {TAGS} or {TABLE}")
    return labels or TABLE


def find_labelled(
    run: Run, feature_set: str, labels: str, table: str | None = None, versions: Mapping[str, int] | None = None
) -> Labelled:
    """What `read_dataset` reads, without the features of rows that nobody wants; of recorded versions of the tables."""
    if feature_set not in FEATURE_SETS:
        raise UsageError(f"there is no feature set {feature_set}; there are: {', '.join(FEATURE_SETS)}")
    if (table is None) == (labels == TABLE):
        raise UsageError("--table FILE and --labels table go together")
    chosen = FEATURE_SETS[feature_set]
    if table is not None:
        return _find_in_file(chosen, table)
    return _find_in_tables(run, chosen, labels, run.warehouse.versions() if versions is None else versions)


def _find_in_file(feature_set: FeatureSet, path: str) -> Labelled:
    if not set(feature_set.columns) <= set(COLUMNS):
        able = ", ".join(name for name, one in FEATURE_SETS.items() if set(one.columns) <= set(COLUMNS))
        raise UsageError(f"a file has no features {feature_set.name}; it has: {able}")
    try:
        found = read_table(path)
    except InputError as error:
        raise UsageError(f"--table: {error}") from None
    order = np.argsort(found.names, kind="stable")
    names = found.names[order]
    tracks = np.array([track_of(name) if feature_set.by_window else name for name in names], dtype=object)
    places = [COLUMNS.index(column) for column in feature_set.columns]
    return Labelled(
        names, tracks, found.genres[order], tracks, feature_set.columns, {FILE_SHA256: sha256_of(path)},
        partial(_fetch_from_file, found, order, places),
    )  # fmt: skip


def _fetch_from_file(found: GtzanTable, order: Int64Array, columns: list[int], places: Int64Array) -> Float32Array:
    rows: Float32Array = found.rows[order[places]][:, columns]
    return rows


@dataclass(frozen=True)
class _Tables:
    """Recorded versions of the tables."""

    run: Run
    versions: Mapping[str, int]

    def read(self, table: Table) -> DataFrame:
        return self.run.warehouse.read(self.run.spark, table, version=self.versions[table.name])


def _find_in_tables(run: Run, feature_set: FeatureSet, labels: str, versions: Mapping[str, int]) -> Labelled:
    tables = _Tables(run, versions)
    if feature_set.table.name not in versions:
        raise UsageError(f"there is no {feature_set.table.name} yet: run extract-genre-features first")
    keys = _keys(tables, feature_set)
    named = _read_tags(tables) if labels == TAGS else _read_labels(tables, labels)
    found = keys.join(named, "track_id").toArrow().sort_by([(name, "ascending") for name in keys.columns])
    if not len(found):
        raise UsageError(
            f"no track with a label of {labels} has a row in {feature_set.table.name}:"
            " run extract-genre-features on those tracks first"
        )
    frame = found.to_pandas()
    genres, groups = frame["genre"], frame["group"]
    if labels == TAGS:
        genres, groups = _unify_spelling(genres), pd.Series(_group_library(frame), dtype=object)
    tracks = frame["track_id"].to_numpy(dtype=object)
    ids = tracks
    if feature_set.by_window:
        ids = (frame["track_id"] + "#" + frame["window"].astype(str)).to_numpy(dtype=object)
    read = {
        feature_set.table.name,
        *((LIBRARY_TRACKS.name,) if labels == TAGS else (GENRE_LABELS.name, MSD_TRACKS.name)),
    }
    return Labelled(
        ids, tracks, genres.to_numpy(dtype=object), groups.to_numpy(dtype=object), feature_set.columns,
        {name: versions[name] for name in sorted({*read, feature_set.table.name} & versions.keys())},
        partial(_fetch_from_tables, tables, feature_set, found.select(keys.columns)),
    )  # fmt: skip


def _keys(tables: _Tables, feature_set: FeatureSet) -> DataFrame:
    rows = tables.read(feature_set.table)
    if "window" not in feature_set.table.key:
        return rows.select("track_id")
    if feature_set.by_window:
        return rows.where(F.col("window") != WHOLE_TRACK).select("track_id", "window")
    return rows.where(F.col("window") == WHOLE_TRACK).select("track_id")


def _read_labels(tables: _Tables, source: str) -> DataFrame:
    """``track_id``, ``genre``, ``group`` of an annotation."""
    known: set[str] = set()
    if GENRE_LABELS.name in tables.versions:
        known = {row.source for row in tables.read(GENRE_LABELS).select("source").distinct().collect()}
    if source not in known:
        there = ", ".join([*sorted(known), TAGS, TABLE])
        first = "" if known else "; run ingest-annotations first for those of a dataset"
        raise UsageError(f"there are no labels {source}; there are: {there}{first}")
    labels = tables.read(GENRE_LABELS).where((F.col("source") == source) & (F.col("rank") == 0))
    labels = labels.select("track_id", "genre")
    alone = F.concat(F.lit("track "), "track_id")
    if MSD_TRACKS.name not in tables.versions:
        return labels.withColumn("group", alone)
    of = [F.concat(F.lit(f"{name} "), F.col(f"{name}_id")) for name in ("artist", "song")]
    who = tables.read(MSD_TRACKS).select("track_id", F.coalesce(*of).alias("group"))
    joined: DataFrame = labels.join(who, "track_id", "left").withColumn("group", F.coalesce("group", alone))
    return joined


def _read_tags(tables: _Tables) -> DataFrame:
    """``track_id``, ``genre`` (the first tag), ``group`` (the artist's MusicBrainz id) and ``artist_name``."""
    if LIBRARY_TRACKS.name not in tables.versions:
        raise UsageError("there is no library_tracks yet: run ingest-library first")
    tags = F.filter("genre_tags", lambda tag: F.trim(tag) != "")
    rows = tables.read(LIBRARY_TRACKS).where(F.size(tags) > 0)
    return rows.select("track_id", F.trim(tags[0]).alias("genre"), F.col("artist_mbid").alias("group"), "artist_name")


def _unify_spelling(genres: "pd.Series[str]") -> "pd.Series[str]":
    """Give tags that differ in case and blanks alone the spelling that is used most."""
    key = genres.str.split().str.join(" ").str.casefold()
    counts = genres.groupby([key.rename("key"), genres.rename("genre")]).size().rename("count").reset_index()
    usual = counts.sort_values(["count", "genre"], ascending=[False, True]).drop_duplicates("key")
    spelled: pd.Series[str] = key.map(usual.set_index("key")["genre"])
    return spelled


def _group_library(frame: pd.DataFrame) -> list[str]:
    """Artists by their MusicBrainz ids; names without one have that of a track with this name, where there is one."""
    names = {name: normalise(name, "")[0] if name else "" for name in frame["artist_name"].unique()}
    rows = [(f"track {track_id}", mbid, names[name]) for track_id, mbid, name in frame[_ARTIST].to_numpy().tolist()]
    mbid_of: dict[str, str] = {}
    for _, mbid, name in rows:
        if mbid and name:
            mbid_of[name] = min(mbid, mbid_of.get(name, mbid))
    who = [(track, mbid or mbid_of.get(name, name)) for track, mbid, name in rows]
    return [f"artist {artist}" if artist else track for track, artist in who]


def _fetch_from_tables(tables: _Tables, feature_set: FeatureSet, keys: pa.Table, places: Int64Array) -> Float32Array:
    wanted = keys.take(pa.array(places))
    rows = tables.read(feature_set.table)
    if "window" in keys.column_names:
        tempo = rows.where(F.col("window") == WHOLE_TRACK).select("track_id", TEMPO)
        rows = rows.where(F.col("window") != WHOLE_TRACK).drop(TEMPO).join(tempo, "track_id", "left")
    elif "window" in feature_set.table.key:
        rows = rows.where(F.col("window") == WHOLE_TRACK)
    ids = tables.run.spark.createDataFrame(wanted)
    rows = rows.select(*keys.column_names, *feature_set.columns).join(F.broadcast(ids), keys.column_names, "left_semi")
    found = rows.toArrow().sort_by([(name, "ascending") for name in keys.column_names])
    return np.column_stack([found[column].to_numpy(zero_copy_only=False) for column in feature_set.columns]).astype(
        np.float32, copy=False
    )
