"""Taste profiles as expressions over data frames: what a song says of who plays it, and what all their songs say.

Everything is summed as integers, so that the same evidence gives the same bits in whatever order its rows come.
"""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reprise.lib.tables import TASTE_PROFILES

_WEIGHT = 4096  # units of a weight of 1
_TEMPO, _LOUDNESS, _YEAR = 10, 100, 1  # units of 1 BPM, of 1 dB and of a year
_CIRCLE = 1024  # units of the radius of the circle of fifths
_HALF_EVIDENCE = 10  # the weight at which the confidence is 0.5
_ROWS_A_PARTITION = 500_000  # what is summed of so many fits into the memory of a task

_FACTS = {
    "song_id": "song_id",
    "genre": "genre",
    "is_label": "CAST(is_label AS INT)",
    "tempo": f"CAST(round({_TEMPO} * CASE WHEN tempo BETWEEN 0 AND 1000 THEN tempo END) AS BIGINT)",
    "loudness": f"CAST(round({_LOUDNESS} * CASE WHEN loudness BETWEEN -200 AND 200 THEN loudness END) AS BIGINT)",
    # 7 semitones are a step on the circle of fifths
    "key_x": f"CASE WHEN key BETWEEN 0 AND 11 THEN CAST(round({_CIRCLE} * cos(7 * key * pi() / 6)) AS BIGINT) END",
    "key_y": f"CASE WHEN key BETWEEN 0 AND 11 THEN CAST(round({_CIRCLE} * sin(7 * key * pi() / 6)) AS BIGINT) END",
    "is_major": "CASE WHEN mode IN (0, 1) THEN mode END",
    "year": "CASE WHEN year BETWEEN 1 AND 9999 THEN CAST(year AS BIGINT) END",
}
_COUNTED = "genre IS NOT NULL AND NOT is_mismatch"
_MEASURED = ("tempo", "loudness", "year")

STATUSES: Mapping[str, str] = {
    "counted": f"is_mismatch IS NOT NULL AND {_COUNTED}",
    "no_genre": "genre IS NULL AND NOT is_mismatch",
    "mismatched": "is_mismatch",
    "unmatched": "is_mismatch IS NULL",
}
"""What becomes of a row of evidence, one of these, as conditions on its row of ``song_tracks``, if it has one."""


def tune(spark: SparkSession) -> None:
    """Set what makes a session quick at profiles: it saves a sixth of the time."""
    # nearly every row has a group of its own, so that the small map before the great one only costs
    spark.conf.set("spark.sql.codegen.aggregate.map.twolevel.enabled", "false")
    # nearly every mean differs, so that a dictionary is built to be thrown away
    for column in TASTE_PROFILES.columns:
        if column.type == "double":
            spark.conf.set(f"parquet.enable.dictionary#{column.name}", "false")


def gather_evidence(plays: DataFrame, library_copies: DataFrame) -> DataFrame:
    """Who played what: rows of ``plays``, and of ``library_copies`` as one play each.

    Returns
    -------
    DataFrame
        user_id and song_id (string), play_count (int); a listener and song can have several rows.
    """
    owned = library_copies.select("user_id", F.col("track_id").alias("song_id"), F.lit(1).alias("play_count"))
    return plays.select("user_id", "song_id", "play_count").unionAll(owned)


def find_facts(song_tracks: DataFrame) -> DataFrame:
    """What a profile takes from the songs that count: those with a genre and a track that is theirs.

    Parameters
    ----------
    song_tracks
        Rows of the view of this name.

    Returns
    -------
    DataFrame
        song_id, genre (string); is_label, is_major (0 or 1); tempo in tenths of BPM, loudness in hundredths of dB,
        year; key_x and key_y, the key on the circle of fifths, of radius 1024. Whole numbers; NULL where the value is
        unknown or impossible.
    """
    return song_tracks.where(_COUNTED).selectExpr(*(f"{value} AS {name}" for name, value in _FACTS.items()))


def count_matches(evidence: DataFrame, song_tracks: DataFrame) -> dict[str, int]:
    """Count rows of evidence by what becomes of them; the sum of ``STATUSES`` is ``rows_read``."""
    rows = evidence.groupBy("song_id").agg(F.count("*").alias("rows"))
    known = song_tracks.select("song_id", "is_mismatch", "genre")
    sums = [F.sum(F.when(F.expr(status), F.col("rows")).otherwise(0)).alias(n) for n, status in STATUSES.items()]
    (found,) = rows.join(known, "song_id", "left").agg(F.sum("rows").alias("rows_read"), *sums).collect()
    return {name: int(figure or 0) for name, figure in found.asDict().items()}


def profile(evidence: DataFrame, facts: DataFrame, rows: int) -> DataFrame:
    """Make the taste profiles of all listeners in some evidence.

    The weight of a song is log2(1 + plays) for a listener, so that one song on repeat is not a taste. Means, spreads
    and shares of a genre are by weight, over the songs where the value is known; spreads are of the population.
    Directions on the circle of fifths are averaged as vectors.

    Parameters
    ----------
    evidence
        See ``gather_evidence``; its rows of songs that are not in ``facts`` do not count.
    facts
        See ``find_facts``; one row a song.
    rows
        How many of evidence there are, about.

    Returns
    -------
    DataFrame
        The columns of ``taste_profiles`` without run_id, sorted by its key within partitions.
    """
    songs = (
        evidence.repartition(1 + rows // _ROWS_A_PARTITION, "user_id")  # no other step moves rows
        .groupBy("user_id", "song_id")
        .agg(F.sum("play_count").alias("plays"))
        .join(F.broadcast(facts), "song_id")
        # not round(), which goes through decimals for each of millions of rows
        .withColumn("w", F.expr(f"CAST(floor({_WEIGHT} * log2(1 + plays) + 0.5) AS BIGINT)"))
    )
    sums = {
        "w": "w",
        "plays": "plays",
        "tracks": "1",
        "label": "w * is_label",
        **{f"{name}_{part}": value for name in _MEASURED for part, value in _measure(name).items()},
        "key_w": "CASE WHEN key_x IS NOT NULL THEN w END",
        "key_1": "w * key_x",
        "key_2": "w * key_y",
        "mode_w": "CASE WHEN is_major IS NOT NULL THEN w END",
        "major": "w * is_major",
    }
    genres = songs.groupBy("user_id", "genre").agg(*(F.expr(f"sum({value})").alias(n) for n, value in sums.items()))
    in_order = genres.sortWithinPartitions(*TASTE_PROFILES.key)  # which is also the window's
    whole = in_order.withColumn("all", F.sum("w").over(Window.partitionBy("user_id")))
    values = _describe()
    return whole.select(
        *(
            F.expr(values.get(c.name, c.name)).cast(c.type).alias(c.name)
            for c in TASTE_PROFILES.columns
            if c.name != "run_id"
        )
    )


def _measure(name: str) -> dict[str, str]:
    return {
        "w": f"CASE WHEN {name} IS NOT NULL THEN w END",
        "1": f"w * {name}",
        "2": f"w * {name} * {name}",
    }


def _describe() -> dict[str, str]:
    """Columns of the contract from the sums, as SQL."""
    turns = "atan2(key_2, key_1) * 6 / pi()"  # in steps of a fifth
    # not hypot(), of which every engine has its own last bit
    length = "sqrt(key_1 * CAST(key_1 AS DOUBLE) + key_2 * CAST(key_2 AS DOUBLE))"
    described = {
        "share": "w / all",
        "weight": f"w / {_WEIGHT}",
        "confidence": f"all / (all + {_WEIGHT * _HALF_EVIDENCE})",
        "label_share": "label / w",
        # halfway between two keys both are as near, and the last bit of an arc tangent must not choose
        "key": f"CASE WHEN key_1 <> 0 OR key_2 <> 0 THEN pmod(7 * CAST(floor({turns} + 0.5 + 1e-9) AS INT), 12) END",
        # one key has a length of a little more than 1: its place on the circle was rounded
        "key_concentration": f"CASE WHEN key_w > 0 THEN least({length} / ({_CIRCLE} * key_w), 1D) END",
        "major_share": "major / mode_w",
        "decade": f"year_1 div ({10 * _YEAR} * year_w) * 10",
    }
    for name, units in zip(_MEASURED, (_TEMPO, _LOUDNESS, _YEAR), strict=True):
        w, s1, s2 = (f"{name}_{part}" for part in ("w", "1", "2"))
        # around a whole number near the mean, so that no digits cancel: what is always the same has no spread at all
        middle = f"({s1} div {w})"
        d1, d2 = f"({s1} - {middle} * {w})", f"({s2} - {middle} * (2 * {s1} - {middle} * {w}))"
        described[f"{name}_mean"] = f"{s1} / ({units} * {w})"
        described[f"{name}_std"] = f"sqrt({d2} / {w} - ({d1} / {w}) * ({d1} / {w})) / {units}"
    return described
