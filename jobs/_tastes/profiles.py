"""Taste profiles as expressions over data frames. The formulas are in `reprise.lib.tables.taste_formulas`."""

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reprise.lib.tables import TASTE_PROFILES
from reprise.lib.tables.taste_formulas import (
    EVIDENCE_WEIGHT,
    GENRE_SUMS,
    IS_COUNTED,
    IS_HELD_OUT,
    LISTENER_WEIGHT,
    MATCH_STATUSES,
    PROFILE_COLUMNS,
    SONG_FACTS,
    SONG_WEIGHT,
)

_ROWS_PER_PARTITION = 500_000  # the sums over this many rows fit into the memory of one task


def tune_session(spark: SparkSession) -> None:
    """Set options of a session that shorten the computation of the profiles by one sixth."""
    # nearly every row is its own group, so the small hash map that Spark tries before the large one only costs time
    spark.conf.set("spark.sql.codegen.aggregate.map.twolevel.enabled", "false")
    # nearly all values of these columns are distinct, so Parquet would build dictionaries and then discard them
    for column in TASTE_PROFILES.columns:
        if column.type == "double":
            spark.conf.set(f"parquet.enable.dictionary#{column.name}", "false")


def gather_evidence(plays: DataFrame, library_copies: DataFrame) -> DataFrame:
    """Return the union of ``plays`` and ``library_copies``; each copy counts as one play.

    Returns
    -------
    DataFrame
        Columns user_id and song_id (string) and play_count (int). A listener can have several rows for the same song.
    """
    owned = library_copies.select("user_id", F.col("track_id").alias("song_id"), F.lit(1).alias("play_count"))
    return plays.select("user_id", "song_id", "play_count").unionAll(owned)


def replace_versions(evidence: DataFrame, library_versions: DataFrame) -> DataFrame:
    """Replace each song that is a version of a work by the representative of the work, see ``library_versions``.

    So the plays of all versions of a work are summed, and the work counts as one song, with the facts of its
    representative. Songs that are in no group stay.
    """
    others = library_versions.where("track_id <> representative_id")
    works = F.broadcast(others.select(F.col("track_id").alias("song_id"), "representative_id"))
    song_id = F.coalesce("representative_id", "song_id").alias("song_id")
    return evidence.join(works, "song_id", "left").select("user_id", song_id, "play_count")


def select_facts(song_tracks: DataFrame) -> DataFrame:
    """Select the facts of the songs that have a genre and whose track is not a known mismatch.

    Parameters
    ----------
    song_tracks
        Rows of the view ``song_tracks``.

    Returns
    -------
    DataFrame
        song_id, genre (string); is_label, is_tag, is_model and is_major, each 0 or 1; tempo in tenths of BPM; loudness
        in hundredths of dB; year; key_x and key_y, the coordinates of the key on the circle of fifths, whose radius is
        1024. All numbers are integers. A missing or impossible value is NULL.
    """
    return song_tracks.where(IS_COUNTED).selectExpr(*(f"{value} AS {name}" for name, value in SONG_FACTS.items()))


def count_matches(evidence: DataFrame, song_tracks: DataFrame) -> dict[str, int]:
    """Return the number of evidence rows for each of ``MATCH_STATUSES``, and their total as ``rows_read``."""
    rows = evidence.groupBy("song_id").agg(F.count("*").alias("rows"))
    known = song_tracks.select("song_id", "is_mismatch", "genre")
    sums = [F.sum(F.when(F.expr(status), F.col("rows")).otherwise(0)).alias(n) for n, status in MATCH_STATUSES.items()]
    (found,) = rows.join(known, "song_id", "left").agg(F.sum("rows").alias("rows_read"), *sums).collect()
    return {name: int(count or 0) for name, count in found.asDict().items()}


def compute_profiles(evidence: DataFrame, facts: DataFrame, rows: int) -> DataFrame:
    """Compute the taste profiles of all listeners in ``evidence``.

    The means, population standard deviations and shares of a genre are weighted by ``SONG_WEIGHT``. Each of them
    ignores songs whose value is NULL. Keys are averaged as vectors on the circle of fifths.

    Parameters
    ----------
    evidence
        Result of `gather_evidence`. Songs that are not in ``facts`` count only in ``unknown_share``.
    facts
        Result of `select_facts`, with one row per song.
    rows
        Approximate number of rows in ``evidence``.

    Returns
    -------
    DataFrame
        The columns of ``taste_profiles`` without run_id. Each partition is sorted by the key of that table.
    """
    songs = (
        evidence.repartition(1 + rows // _ROWS_PER_PARTITION, "user_id")  # the only shuffle
        .groupBy("user_id", "song_id")
        .agg(F.sum("play_count").alias("plays"))
        .join(F.broadcast(facts), "song_id", "left")
        .withColumn("weight", F.expr(SONG_WEIGHT))
        .withColumn("is_held_out", F.expr(IS_HELD_OUT))
    )
    genres = songs.groupBy("user_id", "genre").agg(*(F.expr(value).alias(n) for n, value in GENRE_SUMS.items()))
    in_order = genres.sortWithinPartitions(
        *TASTE_PROFILES.key
    )  # so the window below, which needs rows sorted by user_id, adds no second sort
    listener = Window.partitionBy("user_id")
    sums = in_order.withColumns(
        {
            LISTENER_WEIGHT: F.sum(F.when(F.col("genre").isNotNull(), F.col("weight_sum"))).over(listener),
            EVIDENCE_WEIGHT: F.sum("weight_sum").over(listener),
        }
    )
    return sums.where("genre IS NOT NULL").select(
        *(
            F.expr(PROFILE_COLUMNS.get(c.name, c.name)).cast(c.type).alias(c.name)
            for c in TASTE_PROFILES.columns
            if c.name != "run_id"
        )
    )
