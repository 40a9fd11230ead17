"""Labelled features for the training of genre models, from the tables or from a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.external_models import TAGGER, make_external_id
from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float32Array, Int64Array, ObjectArray
from reprise.lib.errors import InputError
from reprise.lib.files import sha256_of
from reprise.lib.genres.feature_sets import FEATURE_SETS, TEMPO, WHOLE_TRACK, FeatureSet
from reprise.lib.genres.gtzan_table import COLUMNS, GtzanTable, read_table, track_of
from reprise.lib.playlists import normalise
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_LABELS,
    LIBRARY_TRACKS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    TRACK_TAGS,
    Table,
)
from reprise.udfs.genre_scores import POOLED_DDL, pool_tracks

TAGS, TABLE = "tags", "table"
"""Values of ``--labels`` that are not a ``source`` in ``genre_labels``.

``TAGS`` selects the genre tags of library tracks. ``TABLE`` selects the labels in a file.
"""

MADE_BY = {
    TRACK_TAGS.name: "tag-tracks",
    AUDIO_GENRE_FEATURES.name: "extract-genre-features",
    MSD_GENRE_FEATURES.name: "extract-genre-features",
}
"""Commands that fill the tables of feature sets, for messages."""

FILE_SHA256 = "table_sha256"
"""Key in ``trained_on`` of a model that was trained on a file instead of tables."""

_ARTIST = ["track_id", "group", "artist_name"]


@dataclass(frozen=True)
class Dataset:
    """Features and genres of labelled rows, ordered by track id and window, or by the names in a file.

    Parameters
    ----------
    ids
        Shape (n,): track ids, or names in a file. The id of a window is the track id, ``#`` and the window's number.
    rows
        Shape (n, d), float32. NaN marks a missing value.
    features
        Names of the d columns.
    genres
        Shape (n,): genre labels.
    groups
        Shape (n,): group of each row. No honest split divides a group (see `SplitPlan`). The group is the artist. If
        the artist is unknown, the group is the song. If the song is unknown too, the group is the track. In a file,
        artists and songs are unknown.
    domain_rows, domain_features
        Shape (n, e), float32, and the names of the e columns: features that describe the domain of a model, see
        `reprise.lib.genres.domains`. They are ``rows`` and ``features``, unless the rows are tags.
    """

    ids: ObjectArray
    rows: Float32Array
    features: tuple[str, ...]
    genres: ObjectArray
    groups: ObjectArray
    domain_rows: Float32Array
    domain_features: tuple[str, ...]


@dataclass(frozen=True)
class Labelled:
    """Labelled rows whose features are loaded on demand. Attributes that are not listed here are as in `Dataset`.

    Parameters
    ----------
    tracks
        Shape (n,): the track id of each row. If the rows come from a file, the name of the track's audio file.
    trained_on
        Versions of the tables by name, or the SHA-256 of the file under the key `FILE_SHA256`.
    fetch
        Function that takes m ascending row indices, shape (m,), and loads the features of these rows, float32 (m, d).
    domain_features, fetch_domain
        The same for the features that describe the domain of a model; None if they are ``features``.
    """

    ids: ObjectArray
    tracks: ObjectArray
    genres: ObjectArray
    groups: ObjectArray
    features: tuple[str, ...]
    trained_on: Mapping[str, int | str]
    fetch: Callable[[Int64Array], Float32Array]
    domain_features: tuple[str, ...] | None = None
    fetch_domain: Callable[[Int64Array], Float32Array] | None = None

    def take(self, indices: Int64Array) -> Dataset:
        """Load the features of the rows at ``indices``, which must be ascending, and return these rows."""
        rows = self.fetch(indices)
        domain_rows = self.fetch_domain(indices) if self.fetch_domain else rows
        domain_features = self.domain_features or self.features
        genres, groups = self.genres[indices], self.groups[indices]
        return Dataset(self.ids[indices], rows, self.features, genres, groups, domain_rows, domain_features)


def name_labels(labels: str | None, table: str | None) -> str:
    """Return ``labels``, the value of ``--labels``. If it is None, return `TABLE`: the labels in the file ``--table``.

    Raises
    ------
    UsageError
        Neither option is given.
    """
    if labels is None and table is None:
        raise UsageError(f"--labels is missing: name a source in genre_labels, or give {TAGS}, or give --table FILE")
    return labels or TABLE


def find_labelled(
    run: Run, feature_set: str, labels: str, table: str | None = None, versions: Mapping[str, int] | None = None
) -> Labelled:
    """Find the rows of a feature set that have a label.

    Parameters
    ----------
    feature_set
        Key in ``FEATURE_SETS``.
    labels
        `TAGS`, `TABLE`, or a ``source`` in ``genre_labels``. If a track has several genres, the first is used.
    table
        Path of a file with features and labels, in the format of the GTZAN table.
    versions
        Versions of the tables to read, by name; by default, the current versions.

    Raises
    ------
    UsageError
        The feature set, the label source, a table or the file does not exist, or the file is invalid. Or ``labels`` and
        ``table`` do not match: `TABLE` needs a file, and a file needs `TABLE`. Or no row has both features and a label.
    """
    if feature_set not in FEATURE_SETS:
        raise UsageError(f"unknown feature set {feature_set}; choose from: {', '.join(FEATURE_SETS)}")
    if (table is None) == (labels == TABLE):
        raise UsageError("--table FILE and --labels table go together: give both or neither")
    chosen = FEATURE_SETS[feature_set]
    if table is not None:
        return _find_in_file(chosen, table)
    return _find_in_tables(run, chosen, labels, run.warehouse.versions() if versions is None else versions)


def _find_in_file(feature_set: FeatureSet, path: str) -> Labelled:
    if not set(feature_set.columns) <= set(COLUMNS):
        possible = ", ".join(name for name, one in FEATURE_SETS.items() if set(one.columns) <= set(COLUMNS))
        raise UsageError(
            f"--table: the file has no features of the set {feature_set.name}; choose --features from: {possible}"
        )
    try:
        found = read_table(path)
    except InputError as error:
        raise UsageError(f"--table: {error}") from None
    order = np.argsort(found.names, kind="stable")
    names = found.names[order]
    tracks = np.array([track_of(name) if feature_set.by_window else name for name in names], dtype=object)
    indices = [COLUMNS.index(column) for column in feature_set.columns]
    return Labelled(
        names, tracks, found.genres[order], tracks, feature_set.columns, {FILE_SHA256: sha256_of(path)},
        partial(_fetch_from_file, found, order, indices),
    )  # fmt: skip


def _fetch_from_file(found: GtzanTable, order: Int64Array, columns: list[int], indices: Int64Array) -> Float32Array:
    rows: Float32Array = found.rows[order[indices]][:, columns]
    return rows


@dataclass(frozen=True)
class _Tables:
    """Reader of the tables at given Delta versions."""

    run: Run
    versions: Mapping[str, int]

    def read(self, table: Table) -> DataFrame:
        return self.run.warehouse.read(self.run.spark, table, version=self.versions[table.name])


def _find_in_tables(run: Run, feature_set: FeatureSet, labels: str, versions: Mapping[str, int]) -> Labelled:
    tables = _Tables(run, versions)
    domain_set = feature_set.domain_set
    for table in (feature_set.table, domain_set.table):
        if table.name not in versions:
            raise UsageError(f"the table {table.name} does not exist: run {MADE_BY[table.name]} first")
    keys = _read_keys(tables, feature_set)
    if domain_set is not feature_set:
        keys = keys.join(_read_keys(tables, domain_set), "track_id", "left_semi")
    named = _read_tags(tables) if labels == TAGS else _read_labels(tables, labels)
    found = keys.join(named, "track_id").toArrow().sort_by([(name, "ascending") for name in keys.columns])
    if not len(found):
        raise UsageError(
            f"no track with a label of {labels} has a row in {feature_set.table.name}:"
            f" run {MADE_BY[feature_set.table.name]} on those tracks first"
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
        domain_set.table.name,
        *((LIBRARY_TRACKS.name,) if labels == TAGS else (GENRE_LABELS.name, MSD_TRACKS.name)),
    }
    return Labelled(
        ids, tracks, genres.to_numpy(dtype=object), groups.to_numpy(dtype=object), feature_set.features,
        {name: versions[name] for name in sorted(read & versions.keys())},
        partial(_fetch_from_tables, tables, feature_set, found.select(keys.columns)),
        *(
            (domain_set.features, partial(_fetch_from_tables, tables, domain_set, found.select(keys.columns)))
            if domain_set is not feature_set
            else ()
        ),
    )  # fmt: skip


def _read_keys(tables: _Tables, feature_set: FeatureSet) -> DataFrame:
    rows = tables.read(feature_set.table)
    if feature_set.table is TRACK_TAGS:
        rows = rows.where(F.col("model_id") == make_external_id(TAGGER))
    if "window" not in feature_set.table.key:
        return rows.select("track_id")
    if feature_set.by_window:
        return rows.where(F.col("window") != WHOLE_TRACK).select("track_id", "window")
    return rows.where(F.col("window") == WHOLE_TRACK).select("track_id")


def _read_labels(tables: _Tables, source: str) -> DataFrame:
    """Return the labels of one source, with the columns ``track_id``, ``genre`` and ``group``."""
    known: set[str] = set()
    if GENRE_LABELS.name in tables.versions:
        known = {row.source for row in tables.read(GENRE_LABELS).select("source").distinct().collect()}
    if source not in known:
        there = ", ".join([*sorted(known), TAGS, TABLE])
        first = "" if known else "; run ingest-annotations first for labels of a dataset"
        raise UsageError(f"--labels {source}: unknown source of labels; choose from: {there}{first}")
    labels = tables.read(GENRE_LABELS).where((F.col("source") == source) & (F.col("rank") == 0))
    labels = labels.select("track_id", "genre")
    track_group = F.concat(F.lit("track "), "track_id")
    if MSD_TRACKS.name not in tables.versions:
        return labels.withColumn("group", track_group)
    of = [F.concat(F.lit(f"{name} "), F.col(f"{name}_id")) for name in ("artist", "song")]
    groups_of_tracks = tables.read(MSD_TRACKS).select("track_id", F.coalesce(*of).alias("group"))
    joined: DataFrame = labels.join(groups_of_tracks, "track_id", "left").withColumn(
        "group", F.coalesce("group", track_group)
    )
    return joined


def _read_tags(tables: _Tables) -> DataFrame:
    """Return ``track_id``, ``genre`` (the first tag), ``group`` (the artist's MusicBrainz id) and ``artist_name``."""
    if LIBRARY_TRACKS.name not in tables.versions:
        raise UsageError("the table library_tracks does not exist: run ingest-library first")
    tags = F.filter("genre_tags", lambda tag: F.trim(tag) != "")
    rows = tables.read(LIBRARY_TRACKS).where(F.size(tags) > 0)
    return rows.select("track_id", F.trim(tags[0]).alias("genre"), F.col("artist_mbid").alias("group"), "artist_name")


def _unify_spelling(genres: "pd.Series[str]") -> "pd.Series[str]":
    """Replace each tag by the most frequent spelling among the tags that differ from it only in case and spaces."""
    key = genres.str.split().str.join(" ").str.casefold()
    counts = genres.groupby([key.rename("key"), genres.rename("genre")]).size().rename("count").reset_index()
    most_frequent = counts.sort_values(["count", "genre"], ascending=[False, True]).drop_duplicates("key")
    spelled: pd.Series[str] = key.map(most_frequent.set_index("key")["genre"])
    return spelled


def _group_library(frame: pd.DataFrame) -> list[str]:
    """Return the group of each row.

    The group is the MusicBrainz id of the track's artist. If this id is missing, the group is the smallest artist id of
    the tracks with the same normalised artist name. If no track with this name has an artist id, the group is the
    name itself. If the artist name is missing too, the group is the track.
    """
    names = {name: normalise(name, "")[0] if name else "" for name in frame["artist_name"].unique()}
    rows = [(f"track {track_id}", mbid, names[name]) for track_id, mbid, name in frame[_ARTIST].to_numpy().tolist()]
    mbid_of: dict[str, str] = {}
    for _, mbid, name in rows:
        if mbid and name:
            mbid_of[name] = min(mbid, mbid_of.get(name, mbid))
    groups_of_tracks = [(track, mbid or mbid_of.get(name, name)) for track, mbid, name in rows]
    return [f"artist {artist}" if artist else track for track, artist in groups_of_tracks]


def _fetch_from_tables(tables: _Tables, feature_set: FeatureSet, keys: pa.Table, indices: Int64Array) -> Float32Array:
    wanted = keys.take(pa.array(indices))
    rows = tables.read(feature_set.table)
    if feature_set.table is TRACK_TAGS:
        windows = rows.where((F.col("window") != WHOLE_TRACK) & (F.col("model_id") == make_external_id(TAGGER)))
        windows = windows.select("track_id", "window", *feature_set.columns).repartition("track_id")
        rows = windows.sortWithinPartitions("track_id", "window").mapInArrow(pool_tracks, POOLED_DDL)
    elif "window" in keys.column_names:
        tempo = rows.where(F.col("window") == WHOLE_TRACK).select("track_id", TEMPO)
        rows = rows.where(F.col("window") != WHOLE_TRACK).drop(TEMPO).join(tempo, "track_id", "left")
    elif "window" in feature_set.table.key:
        rows = rows.where(F.col("window") == WHOLE_TRACK)
    ids = tables.run.spark.createDataFrame(wanted)
    rows = rows.select(*keys.column_names, *feature_set.features).join(F.broadcast(ids), keys.column_names, "left_semi")
    found = rows.toArrow().sort_by([(name, "ascending") for name in keys.column_names])
    return np.column_stack([found[column].to_numpy(zero_copy_only=False) for column in feature_set.features]).astype(
        np.float32, copy=False
    )
