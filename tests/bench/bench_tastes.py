"""Profiles of a million listeners, beside DuckDB and polars that aggregate the same Parquet files."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import PeakMemory, Row

LISTENERS, SONGS = 1_008_000, 384_000
GENRES = 21
_AT_ONCE = 50_000  # listeners whose plays are drawn at once


def song_names(count: int) -> list[str]:
    """Ids as the Million Song Dataset has them: SO and 16 characters."""
    return ["SO" + hashlib.md5(b"%d" % number).hexdigest()[:16].upper() for number in range(count)]  # noqa: S324


def listener_names(least: int, most: int) -> list[str]:
    """Ids as the taste profile has them: 40 hexadecimal digits."""
    return [hashlib.sha1(b"%d" % number).hexdigest() for number in range(least, most)]  # noqa: S324


def write_songs(path: Path, count: int, rng: np.random.Generator) -> None:
    """What is known of songs: of 99 % anything, of 85 % the genre, some of another track.

    Which songs are held out stands there for the other tools, which have no CRC.
    """
    here = np.flatnonzero(rng.random(count) < 0.99)
    n = len(here)
    weights = 1 / np.arange(1, GENRES + 1)
    genre = rng.choice(GENRES, n, p=weights / weights.sum())
    has_genre = rng.random(n) < 0.85
    names = np.array([f"genre {number:02}" for number in range(GENRES)])
    bases = np.array(["label", "tag", "model"])
    song_ids = np.array(song_names(count))[here]

    def some(values: np.ndarray, share: float, type_: pa.DataType) -> pa.Array:
        return pa.array(values, type_, mask=rng.random(n) > share)

    table = pa.table(
        {
            "song_id": pa.array(song_ids),
            "is_held_out": pa.array([zlib.crc32(song_id.encode()) % 5 == 0 for song_id in song_ids]),
            "is_mismatch": rng.random(n) < 0.01,
            "genre": pa.array(names[genre], mask=~has_genre),
            "basis": pa.array(bases[rng.choice(3, n, p=(0.6, 0.1, 0.3))], mask=~has_genre),
            "tempo": some(rng.normal(123, 35, n).clip(30, 260), 0.97, pa.float64()),
            "loudness": some(rng.normal(-10, 5, n), 1.0, pa.float64()),
            "key": some(rng.integers(0, 12, n), 0.98, pa.int32()),
            "mode": some(rng.integers(0, 2, n), 0.98, pa.int32()),
            "year": some(2010 - rng.exponential(14, n).astype(np.int64).clip(0, 88), 0.5, pa.int32()),
        }
    )
    pq.write_table(table, path)


def write_triplets(folder: Path, n_listeners: int, rng: np.random.Generator) -> int:
    """Plays as triplets' files name them, listener by listener; returns how many.

    Skewed as the taste profile: half of the listeners have 10 to 27 songs, some thousands; one song in 400 plays is the
    favourite of all; four of ten songs are played more than once.
    """
    folder.mkdir(parents=True)
    popularity = np.cumsum((np.arange(SONGS) + 20.0) ** -0.9)
    place = rng.permutation(SONGS)  # popular songs are all over the ids
    songs = pa.array(song_names(SONGS))
    total = 0
    for least in range(0, n_listeners, _AT_ONCE):
        names = listener_names(least, min(least + _AT_ONCE, n_listeners))
        counts = rng.lognormal(np.log(27.5), 1.06, len(names)).clip(10, 4_400).astype(np.int64)
        listener = np.repeat(np.arange(len(names)), counts)
        song = place[np.searchsorted(popularity, rng.random(len(listener)) * popularity[-1])]
        pairs = np.unique(listener * SONGS + song)
        rng.shuffle(pairs)
        pairs = pairs[np.argsort(pairs // SONGS, kind="stable")]  # songs of a listener in any order
        plays = np.minimum(rng.random(len(pairs)) ** (-1 / 1.3), 9_999).astype(np.int32)
        table = pa.table(
            {
                "user_id": pa.array(names).take(pa.array(pairs // SONGS)),
                "song_id": songs.take(pa.array(pairs % SONGS)),
                "source": pa.array(["train_triplets"]).take(pa.array(np.zeros(len(pairs), np.int8))),
                "play_count": plays,
                "run_id": pa.array(["bench"]).take(pa.array(np.zeros(len(pairs), np.int8))),
            }
        )
        pq.write_table(table, folder / f"{least:08}.parquet")
        total += len(pairs)
    return total


def make(folder: Path, n_listeners: int) -> int:
    """Songs, and the table of plays as `ingest_annotations` leaves it; returns the count of its rows."""
    from reprise import conf
    from reprise.jobs._engine.session import get_session
    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.jobs.ingest_annotations import transform_plays
    from reprise.lib.tables import PLAYS

    rng = np.random.default_rng(7)
    write_songs(folder / "songs.parquet", SONGS, rng)
    count = write_triplets(folder / "triplets", n_listeners, rng)
    spark = get_session(conf.load())
    plays = transform_plays(spark.read.parquet(str(folder / "triplets")))
    Warehouse(str(folder / "warehouse")).append(PLAYS, plays, transaction="bench")
    return count


def aggregate_in_spark(folder: Path, out: Path) -> None:
    """Make profiles as `build_taste_profiles` does: with its expressions, into a new Delta table."""
    from pyspark.sql import functions as F

    from reprise import conf
    from reprise.jobs._engine.session import get_session
    from reprise.jobs._engine.warehouse import Warehouse
    from reprise.jobs._tastes.profiles import compute_profiles, gather_evidence, select_facts, tune_session
    from reprise.lib.tables import LIBRARY_COPIES, PLAYS, TASTE_PROFILES

    spark = get_session(conf.load()).newSession()
    tune_session(spark)
    warehouse = Warehouse(str(folder / "warehouse"))
    evidence = gather_evidence(warehouse.read(spark, PLAYS), warehouse.read(spark, LIBRARY_COPIES))
    facts = select_facts(spark.read.parquet(str(folder / "songs.parquet")))
    profiles = compute_profiles(evidence, facts, warehouse.sizes(PLAYS)[0])
    profiles = profiles.withColumn("run_id", F.lit("bench"))
    Warehouse(str(out)).append(TASTE_PROFILES, profiles, transaction="bench")


_MEASURED = {"tempo": 10, "loudness": 100, "year": 1}
"""Units in which the facts of songs are summed: tenths of BPM, hundredths of dB, years."""


def duckdb_query(plays: str, songs: str) -> str:
    """The same profiles in DuckDB's SQL."""
    sums = {"w": "w", "plays": "plays", "tracks": "1", "key_1": "w * key_x"}
    sums |= {basis: f"w * CAST(basis = '{basis}' AS INT)" for basis in ("label", "tag", "model")}
    sums |= {"kept": "w * CAST(NOT is_held_out AS INT)", "held_out": "CAST(is_held_out AS INT)"}
    sums |= {"key_2": "w * key_y", "key_w": "CASE WHEN key_x IS NOT NULL THEN w END", "major": "w * is_major"}
    sums |= {"mode_w": "CASE WHEN is_major IS NOT NULL THEN w END"}
    means = []
    for name, units in _MEASURED.items():
        w, s1, s2, m = f"{name}_w", f"{name}_1", f"{name}_2", f"({name}_1 // {name}_w)"
        sums |= {w: f"CASE WHEN {name} IS NOT NULL THEN w END", s1: f"w * {name}", s2: f"w * {name} * {name}"}
        d1, d2 = f"({s1} - {m} * {w})", f"({s2} - {m} * (2 * {s1} - {m} * {w}))"
        means.append(f"{s1} / ({units} * {w}) AS {name}_mean")
        means.append(f"sqrt({d2} / {w} - ({d1} / {w}) * ({d1} / {w})) / {units} AS {name}_std")
    tempo, loudness, year = (", ".join(means[at : at + 2]) for at in (0, 2, 4))
    return f"""
        WITH facts AS (
          SELECT song_id, genre, basis, is_held_out, CAST(round(10 * tempo) AS BIGINT) AS tempo,
            CAST(round(100 * loudness) AS BIGINT) AS loudness, CAST(year AS BIGINT) AS year, mode AS is_major,
            CAST(round(1024 * cos(7 * key * pi() / 6)) AS BIGINT) AS key_x,
            CAST(round(1024 * sin(7 * key * pi() / 6)) AS BIGINT) AS key_y
          FROM '{songs}' WHERE genre IS NOT NULL AND NOT is_mismatch
        ), played AS (
          SELECT user_id, song_id, CAST(sum(play_count) AS BIGINT) AS plays FROM '{plays}' GROUP BY ALL
        ), weighed AS (
          SELECT *, CAST(floor(4096 * log2(1 + plays) + 0.5) AS BIGINT) AS w FROM played LEFT JOIN facts USING (song_id)
        ), genres AS (
          SELECT user_id, genre, {", ".join(f"CAST(sum({value}) AS BIGINT) AS {name}" for name, value in sums.items())}
          FROM weighed GROUP BY user_id, genre
        ), listeners AS (
          SELECT user_id, CAST(sum(w) FILTER (genre IS NOT NULL) AS BIGINT) AS whole, CAST(sum(w) AS BIGINT) AS heard
          FROM genres GROUP BY user_id
        )
        SELECT user_id, genre, w / whole AS share, w / 4096 AS weight, plays, tracks,
          whole / (whole + 40960) AS confidence, label / w AS label_share, tag / w AS tag_share,
          model / w AS model_share, 1 - whole / heard AS unknown_share, kept / 4096 AS kept_weight,
          held_out AS held_out_tracks, {tempo}, {loudness},
          CASE WHEN key_1 <> 0 OR key_2 <> 0 THEN CAST(
            (7 * CAST(floor(atan2(key_2, key_1) * 6 / pi() + 0.5 + 1e-9) AS INT) % 12 + 12) % 12 AS INT) END AS key,
          CASE WHEN key_w > 0 THEN
            least(sqrt(CAST(key_1 AS DOUBLE) * key_1 + CAST(key_2 AS DOUBLE) * key_2) / (1024 * key_w), 1)
          END AS key_concentration,
          major / mode_w AS major_share, {year}, CAST(year_1 // (10 * year_w) * 10 AS INT) AS decade, 'bench' AS run_id
        FROM genres JOIN listeners USING (user_id) WHERE genre IS NOT NULL"""


def aggregate_in_duckdb(folder: Path, out: Path) -> None:
    """Make the same profiles in DuckDB, into one Parquet file."""
    out.mkdir()
    with duckdb.connect() as db:
        db.execute(f"SET threads = 2; SET preserve_insertion_order = false; SET temp_directory = '{out}/spilled'")
        query = duckdb_query(f"{folder}/warehouse/plays/*.parquet", f"{folder}/songs.parquet")
        db.execute(f"COPY ({query}) TO '{out}/profiles.parquet' (COMPRESSION snappy)")


def aggregate_in_polars(folder: Path, out: Path) -> None:
    """Make the same profiles in polars, streaming, into one Parquet file."""
    out.mkdir()
    col, w = pl.col, pl.col("w")
    angle = 7 * col("key") * np.pi / 6
    facts = (
        pl.scan_parquet(folder / "songs.parquet")
        .filter(col("genre").is_not_null() & ~col("is_mismatch"))
        .select(
            "song_id",
            "genre",
            "basis",
            "is_held_out",
            col("mode").cast(pl.Int64).alias("is_major"),
            (1024 * angle.cos()).round().cast(pl.Int64).alias("key_x"),
            (1024 * angle.sin()).round().cast(pl.Int64).alias("key_y"),
            *((units * col(name)).round().cast(pl.Int64).alias(name) for name, units in _MEASURED.items()),
        )
    )
    bases = ("label", "tag", "model")
    measured = [
        sum_
        for name in _MEASURED
        for sum_ in (
            w.filter(col(name).is_not_null()).sum().alias(f"{name}_w"),
            (w * col(name)).sum().alias(f"{name}_1"),
            (w * col(name) * col(name)).sum().alias(f"{name}_2"),
        )
    ]
    genres = (
        pl.scan_parquet(f"{folder}/warehouse/plays/*.parquet")
        .group_by("user_id", "song_id")
        .agg(plays=col("play_count").cast(pl.Int64).sum())
        .join(facts, on="song_id", how="left")
        .with_columns(w=(4096 * (1 + col("plays")).log(2) + 0.5).floor().cast(pl.Int64))
        .group_by("user_id", "genre")
        .agg(
            w.sum(),
            col("plays").sum(),
            pl.len().cast(pl.Int64).alias("tracks"),
            *(w.filter(col("basis") == basis).sum().alias(basis) for basis in bases),
            w.filter(~col("is_held_out")).sum().alias("kept"),
            col("is_held_out").sum().cast(pl.Int64).alias("held_out"),
            *measured,
            w.filter(col("key_x").is_not_null()).sum().alias("key_w"),
            (w * col("key_x")).sum().alias("key_1"),
            (w * col("key_y")).sum().alias("key_2"),
            w.filter(col("is_major").is_not_null()).sum().alias("mode_w"),
            (w * col("is_major")).sum().alias("major"),
        )
    )
    whole, heard = col("whole"), col("heard")
    listeners = genres.group_by("user_id").agg(whole=w.filter(col("genre").is_not_null()).sum(), heard=w.sum())
    steps = (pl.arctan2("key_2", "key_1") * 6 / np.pi + 0.5 + 1e-9).floor().cast(pl.Int32)
    x, y = col("key_1").cast(pl.Float64), col("key_2").cast(pl.Float64)
    described = [
        value
        for name, units in _MEASURED.items()
        for value in _describe(col(f"{name}_w"), col(f"{name}_1"), col(f"{name}_2"), name, units)
    ]
    has_key, year_w = col("key_w") > 0, col("year_w")
    profiles = genres.filter(col("genre").is_not_null()).join(listeners, on="user_id").select(
        "user_id",
        "genre",
        (w / whole).alias("share"),
        (w / 4096).alias("weight"),
        "plays",
        "tracks",
        (whole / (whole + 40960)).alias("confidence"),
        *((col(basis) / w).alias(f"{basis}_share") for basis in bases),
        (1 - whole / heard).alias("unknown_share"),
        (col("kept") / 4096).alias("kept_weight"),
        col("held_out").alias("held_out_tracks"),
        *described,
        pl.when((x != 0) | (y != 0)).then((7 * steps) % 12).alias("key"),
        pl.when(has_key).then(pl.min_horizontal((x * x + y * y).sqrt() / (1024 * col("key_w")), 1.0))
        .alias("key_concentration"),
        pl.when(col("mode_w") > 0).then(col("major") / col("mode_w")).alias("major_share"),
        pl.when(year_w > 0).then(col("year_1") // (10 * year_w) * 10).cast(pl.Int32).alias("decade"),
        pl.lit("bench").alias("run_id"),
    )  # fmt: skip
    profiles.sink_parquet(out / "profiles.parquet", compression="snappy", engine="streaming")


def _describe(w: pl.Expr, s1: pl.Expr, s2: pl.Expr, name: str, units: int) -> tuple[pl.Expr, pl.Expr]:
    """Mean and deviation, from whole numbers around one near the mean, as the job's SQL says them."""
    middle = s1.sign() * (s1.abs() // w)
    d1, d2 = s1 - middle * w, s2 - middle * (2 * s1 - middle * w)
    # by a column: polars multiplies by the inverse of a constant, which has another last bit
    spread = (d2 / w - (d1 / w) * (d1 / w)).sqrt() / (units * w / w)
    mean = s1 / (units * w)
    known = pl.when(w > 0)
    return known.then(mean).alias(f"{name}_mean"), known.then(spread).alias(f"{name}_std")


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "reprise": aggregate_in_spark,
    "duckdb": aggregate_in_duckdb,
    "polars": aggregate_in_polars,
}


def fingerprint(out: Path) -> tuple[int, ...]:
    """Rows of a result and sums over hashes of them, the same for the same rows in any order."""
    from reprise.lib.tables import TASTE_PROFILES

    columns = ", ".join(column.name for column in TASTE_PROFILES.columns)
    sums = "count(*), sum(hash(one)::HUGEINT)::VARCHAR, bit_xor(hash(one))"
    with duckdb.connect() as db:
        found = db.execute(f"SELECT {sums} FROM (SELECT row({columns}) AS one FROM '{out}/**/*.parquet')").fetchone()
    assert found is not None
    return tuple(map(int, found))


def in_a_process(what: str, *arguments: object) -> dict[str, float]:
    """Run a part of this file in a process of its own; gives what it printed last, and its seconds."""
    start = time.perf_counter()
    command = [sys.executable, __file__, what, *map(str, arguments)]
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    printed: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return printed | {"seconds": time.perf_counter() - start}


def measure_tastes(n_listeners: int = LISTENERS) -> list[Row]:
    """Our aggregation beside DuckDB's and polars', each in a fresh process, on the same files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plays = in_a_process("make", folder, n_listeners)["rows"]
        os.sync()  # or the measurement shares the disk with the writing of the plays
        found = {tool: in_a_process("aggregate", tool, folder, folder / tool) for tool in TOOLS}
        results = {tool: fingerprint(folder / tool) for tool in TOOLS}
    assert len(set(results.values())) == 1, f"not the same profiles: {results}"
    best = min(("duckdb", "polars"), key=lambda tool: found[tool]["seconds"])
    count, *_ = results[best]
    return [
        {
            "what": f"{count:,} profiles of {n_listeners:,} listeners from {plays:,.0f} plays: {tool}",
            "measured": f"{figures['seconds']:.0f} s, its start included, peak {figures['mib']:,.0f} MiB",
            "ratio": figures["seconds"] / found[best]["seconds"],
            "beside": f"{best}, the faster of the others; all rows are the same",
            "goal": "≤ 3.00" if tool == "reprise" else "",
        }
        for tool, figures in found.items()
    ]


def main() -> None:
    """What runs in processes of their own."""
    match sys.argv[1:]:
        case ["make", folder, n_listeners]:
            print(json.dumps({"rows": make(Path(folder), int(n_listeners))}))
        case ["aggregate", tool, folder, out]:
            with PeakMemory() as peak:
                TOOLS[tool](Path(folder), Path(out))
            print(json.dumps({"mib": peak.mib}))


if __name__ == "__main__":
    main()
