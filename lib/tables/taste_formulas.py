"""SQL formulas of the taste profiles for Spark: facts and weight of a song, sums over songs, and profile columns.

All sums are sums of integers, so the order of the rows does not change a single bit of the results.
"""

from collections.abc import Mapping

WEIGHT_UNIT = 4096
"""Factor that converts a weight to an integer."""
TEMPO_UNIT, LOUDNESS_UNIT, YEAR_UNIT = 10, 100, 1
"""Factors that convert tempo in BPM, loudness in dB and year to integers."""
CIRCLE_RADIUS = 1024
"""Radius of the circle of fifths. A key is a point on this circle with integer coordinates."""
HALF_CONFIDENCE_WEIGHT = 10
"""Total weight of a listener at which the confidence is 0.5."""

IS_COUNTED = "genre IS NOT NULL AND NOT is_mismatch"
"""SQL condition on a row of ``song_tracks``: true if the song is included in profiles."""

MATCH_STATUSES: Mapping[str, str] = {
    "counted": f"is_mismatch IS NOT NULL AND {IS_COUNTED}",
    "no_genre": "genre IS NULL AND NOT is_mismatch",
    "mismatched": "is_mismatch",
    "unmatched": "is_mismatch IS NULL",
}
"""SQL condition of each match status of an evidence row. Exactly one condition is true for each row.

The conditions apply to evidence rows after a left join with ``song_tracks``.
"""

SONG_FACTS: Mapping[str, str] = {
    "song_id": "song_id",
    "genre": "genre",
    **{f"is_{basis}": f"CAST(basis = '{basis}' AS INT)" for basis in ("label", "tag", "model")},
    "tempo": f"CAST(round({TEMPO_UNIT} * CASE WHEN tempo BETWEEN 0 AND 1000 THEN tempo END) AS BIGINT)",
    "loudness": f"CAST(round({LOUDNESS_UNIT} * CASE WHEN loudness BETWEEN -200 AND 200 THEN loudness END) AS BIGINT)",
    # one step on the circle of fifths is 7 semitones
    **{
        name: f"CASE WHEN key BETWEEN 0 AND 11"
        f" THEN CAST(round({CIRCLE_RADIUS} * {function}(7 * key * pi() / 6)) AS BIGINT) END"
        for name, function in (("key_x", "cos"), ("key_y", "sin"))
    },
    "is_major": "CASE WHEN mode IN (0, 1) THEN mode END",
    "year": "CASE WHEN year BETWEEN 1 AND 9999 THEN CAST(year AS BIGINT) END",
}
"""SQL formulas of a song's facts from its row of ``song_tracks``.

Tempo, loudness and year are multiplied by the factors above and rounded. The key is a point on the circle of fifths. A
fact is NULL if its value is missing or out of range.
"""

# floor(x + 0.5) is faster than round(), which would convert each of the millions of values to a decimal
SONG_WEIGHT = f"CAST(floor({WEIGHT_UNIT} * log2(1 + plays) + 0.5) AS BIGINT)"
"""SQL formula of a song's weight for a listener: log2(1 + plays), as an integer in units of 1 / `WEIGHT_UNIT`.

The logarithm limits the influence of a song with very many plays.
"""

_MEASURED = {"tempo": TEMPO_UNIT, "loudness": LOUDNESS_UNIT, "year": YEAR_UNIT}

GENRE_SUMS: Mapping[str, str] = {
    "weight_sum": "sum(weight)",
    "plays": "sum(plays)",
    "tracks": "sum(1)",
    **{f"{basis}_weight": f"sum(weight * is_{basis})" for basis in ("label", "tag", "model")},
    "kept_weight_sum": "sum(CASE WHEN is_held_out THEN 0 ELSE weight END)",
    "held_out_tracks": "sum(CASE WHEN is_held_out THEN 1 ELSE 0 END)",
    **{
        name: value
        for fact in _MEASURED
        for name, value in (
            (f"{fact}_weight", f"sum(CASE WHEN {fact} IS NOT NULL THEN weight END)"),
            (f"{fact}_sum", f"sum(weight * {fact})"),
            (f"{fact}_squares", f"sum(weight * {fact} * {fact})"),
        )
    },
    "key_weight": "sum(CASE WHEN key_x IS NOT NULL THEN weight END)",
    "key_x_sum": "sum(weight * key_x)",
    "key_y_sum": "sum(weight * key_y)",
    "mode_weight": "sum(CASE WHEN is_major IS NOT NULL THEN weight END)",
    "major_weight": "sum(weight * is_major)",
}
"""SQL formulas of the sums over all songs of one listener and one genre."""

LISTENER_WEIGHT = "listener_weight"
"""Name of the column with the sum of ``weight_sum`` over all genres of a listener."""

EVIDENCE_WEIGHT = "evidence_weight"
"""Name of the column with the same sum, songs without a genre included."""

IS_HELD_OUT = "crc32(CAST(song_id AS BINARY)) % 5 = 0"
"""SQL condition on a song: it is held out to measure how well a profile predicts, see the view ``taste_evidence``."""


def _profile_columns() -> dict[str, str]:
    fifths = "atan2(key_y_sum, key_x_sum) * 6 / pi()"
    # hypot() is not used, because the last bit of its result differs between engines
    length = "sqrt(key_x_sum * CAST(key_x_sum AS DOUBLE) + key_y_sum * CAST(key_y_sum AS DOUBLE))"
    columns = {
        "share": f"weight_sum / {LISTENER_WEIGHT}",
        "weight": f"weight_sum / {WEIGHT_UNIT}",
        "confidence": f"{LISTENER_WEIGHT} / ({LISTENER_WEIGHT} + {WEIGHT_UNIT * HALF_CONFIDENCE_WEIGHT})",
        **{f"{basis}_share": f"{basis}_weight / weight_sum" for basis in ("label", "tag", "model")},
        "unknown_share": f"1 - {LISTENER_WEIGHT} / {EVIDENCE_WEIGHT}",
        "kept_weight": f"kept_weight_sum / {WEIGHT_UNIT}",
        # without 1e-9, the last bit of the arc tangent would decide the rounding of a value halfway between two keys
        "key": f"CASE WHEN key_x_sum <> 0 OR key_y_sum <> 0"
        f" THEN pmod(7 * CAST(floor({fifths} + 0.5 + 1e-9) AS INT), 12) END",
        # least(): if all songs have the same key, the ratio can slightly exceed 1, because coordinates are rounded
        "key_concentration": f"CASE WHEN key_weight > 0 THEN least({length} / ({CIRCLE_RADIUS} * key_weight), 1D) END",
        "major_share": "major_weight / mode_weight",
        "decade": f"year_sum div ({10 * YEAR_UNIT} * year_weight) * 10",
    }
    for fact, unit in _MEASURED.items():
        weight, total, squares = f"{fact}_weight", f"{fact}_sum", f"{fact}_squares"
        # deviations are taken from an integer near the mean, to avoid cancellation: equal values give exactly 0
        middle = f"({total} div {weight})"
        deviations = f"({total} - {middle} * {weight})"
        square_deviations = f"({squares} - {middle} * (2 * {total} - {middle} * {weight}))"
        columns[f"{fact}_mean"] = f"{total} / ({unit} * {weight})"
        columns[f"{fact}_std"] = (
            f"sqrt({square_deviations} / {weight} - ({deviations} / {weight}) * ({deviations} / {weight})) / {unit}"
        )
    return columns


PROFILE_COLUMNS: Mapping[str, str] = _profile_columns()
"""SQL formulas of columns of ``taste_profiles``.

Each remaining column except ``run_id`` is a key column or a sum of the same name.
"""
