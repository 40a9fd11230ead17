"""Spark and other engines on the tables: the ``spark`` writer, constraints, and what an ingested sample looks like."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyspark.sql import DataFrame

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._engine.warehouse.commits import Note
from reprise.jobs._engine.warehouse.merging import find_changed
from reprise.lib.tables import GENRE_LABELS, PLAYS, TABLES, Table
from reprise.udfs.arrow import arrow_schema, spark_schema
from reprise.udfs.staging import Stager
from tests.jobs.chain import CHAIN, Chain

EVERYTHING = ("", "\U0010ffff")
EACH_TABLE = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
Play = tuple[str, str, str, int, str]


def plays(spark: Any, *rows: Play) -> DataFrame:
    frame: DataFrame = spark.createDataFrame(
        list(rows), "user_id string, song_id string, source string, play_count int, run_id string"
    )
    return frame


def stored(warehouse: Warehouse) -> list[Play]:
    rows = Warehouse(warehouse.root).lookup(PLAYS, "user_id", *EVERYTHING).to_pylist()
    return sorted(tuple(row[c.name] for c in PLAYS.columns) for row in rows)


A, B, C = ("ann", "SO1", "s", 1, "r1"), ("bob", "SO1", "s", 2, "r1"), ("cy", "SO2", "t", 3, "r1")


def test_append_of_one_name_adds_once(spark: Any, warehouse: Warehouse) -> None:
    warehouse.append(PLAYS, plays(spark, A, B), transaction="first")
    warehouse.append(PLAYS, plays(spark, A, B), transaction="first")
    Warehouse(warehouse.root).append(PLAYS, plays(spark, A, B), transaction="first")
    assert stored(warehouse) == [A, B]
    warehouse.append(PLAYS, plays(spark, C), transaction="second")
    warehouse.append(PLAYS, plays(spark, A, B), transaction="first")
    assert stored(warehouse) == [A, B, C]


def test_append_of_one_name_by_two_writers_at_once_adds_once(spark: Any, warehouse: Warehouse) -> None:
    warehouse.append(PLAYS, plays(spark, C), transaction="before")
    with ThreadPoolExecutor(3) as pool:
        each = [Warehouse(warehouse.root) for _ in range(3)]
        list(pool.map(lambda one: one.append(PLAYS, plays(spark, A, B), transaction="same"), each))
    assert stored(warehouse) == [A, B, C]


def test_merge_inserts_updates_what_changed_and_deletes_in_scope(spark: Any, warehouse: Warehouse) -> None:
    warehouse.merge(PLAYS, plays(spark, A, B, C))
    assert stored(warehouse) == [A, B, C]
    more = ("bob", "SO1", "s", 9, "r2")
    new = ("dee", "SO1", "s", 1, "r2")
    other_source = ("ann", "SO1", "t", 1, "r2")
    warehouse.merge(PLAYS, plays(spark, (*A[:4], "r2"), more, new, other_source))
    assert stored(warehouse) == [A, other_source, more, C, new]  # what did not change keeps its run
    warehouse.merge(PLAYS, plays(spark, more), scope=("source", ["s", "unknown"]))
    assert stored(warehouse) == [other_source, more, C]
    warehouse.merge(PLAYS, plays(spark), scope=("source", ["t"]))
    assert stored(warehouse) == [more]


def test_merges_at_once_wait_for_each_other(spark: Any, warehouse: Warehouse) -> None:
    warehouse.merge(PLAYS, plays(spark, A))

    def merge(writer: int) -> None:
        rows = [("ann", "SO1", "s", 10 + writer, f"w{writer}"), (f"user{writer}", "SO1", "s", 1, f"w{writer}")]
        Warehouse(warehouse.root).merge(PLAYS, plays(spark, *rows))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(merge, range(2)))
    rows = stored(warehouse)
    assert [row[0] for row in rows] == ["ann", "user0", "user1"]
    assert rows[0][3] in (10, 11)


def test_merge_deletes_keys_in_the_same_commit(spark: Any, warehouse: Warehouse) -> None:
    warehouse.merge(PLAYS, plays(spark, A, B, C))
    version = warehouse.versions()[PLAYS.name]
    new = ("dee", "SO1", "s", 1, "r2")
    unknown = ("eve", "SO1", "s", 1, "r2")
    warehouse.merge(PLAYS, plays(spark, new, (*A[:4], "r2")), delete=plays(spark, C, unknown))
    assert stored(warehouse) == [A, B, new]
    assert warehouse.versions()[PLAYS.name] == version + 1


def test_what_changed_is_whose_rows_differ(spark: Any, warehouse: Warehouse) -> None:
    def changed(since: int | None, until: int, column: str = "user_id") -> list[str]:
        rows = Warehouse(warehouse.root).changed(spark, PLAYS, column, since, until)
        return sorted(value for (value,) in rows.collect())

    warehouse.merge(PLAYS, plays(spark, A, B))
    first = warehouse.versions()[PLAYS.name]
    more, later = ("bob", "SO1", "s", 9, "r2"), ("ann", "SO1", "s", 1, "another run")
    warehouse.merge(PLAYS, plays(spark, more, C))
    second = warehouse.versions()[PLAYS.name]
    warehouse.merge(PLAYS, plays(spark), delete=plays(spark, A))
    warehouse.merge(PLAYS, plays(spark, later))  # the same row in another file
    third = warehouse.versions()[PLAYS.name]
    assert changed(first, second) == ["bob", "cy"]
    assert changed(first, second, "song_id") == ["SO1", "SO2"]
    assert changed(second, third) == changed(second, second) == []
    assert changed(None, third) == ["ann", "bob", "cy"]
    assert warehouse.is_readable(PLAYS, first)
    assert not warehouse.is_readable(PLAYS, third + 1)


def test_a_null_in_another_column_is_a_change(spark: Any) -> None:
    before = spark.createDataFrame([("a", None, 1), ("b", None, 2), ("c", None, None)], "id string, x int, y int")
    now = spark.createDataFrame([("a", 1, None), ("b", None, 2), ("d", None, None)], "id string, x int, y int")
    assert sorted(i for (i,) in find_changed(before.unionAll(now), "id").collect()) == ["a", "c", "d"]


def test_notes_stand_in_their_commits_alone(spark: Any, warehouse: Warehouse) -> None:
    assert warehouse.note(PLAYS) == Note(0, {})
    warehouse.replace(PLAYS, plays(spark, A, B), note=Note(1, {"made_from": "'ä\""}))
    warehouse.replace(PLAYS, plays(spark, C), note=Note(1, {"made_from": "too late"}))
    assert stored(warehouse) == [A, B]
    warehouse.merge(PLAYS, plays(spark, C))
    DeltaTable(warehouse.uri(PLAYS)).delete("user_id = 'bob'")
    assert Warehouse(warehouse.root).note(PLAYS) == Note(1, {"made_from": "'ä\""})
    second = Note(2, {"made_from": [1, None]})
    warehouse.merge(PLAYS, plays(spark), delete=plays(spark, A), note=second)
    warehouse.merge(PLAYS, plays(spark, B), note=Note(2, {}))
    warehouse.merge(PLAYS, plays(spark), note=Note(3, {}))  # nothing to write is noted too
    assert (stored(warehouse), warehouse.note(PLAYS)) == ([C], Note(3, {}))
    warehouse.merge(PLAYS, plays(spark, B))
    assert "userMetadata" not in DeltaTable(warehouse.uri(PLAYS)).history(1)[0]


def test_staged_rows_of_the_spark_writer_are_read_and_discarded(spark: Any, warehouse: Warehouse) -> None:
    assert warehouse.staged_frame(spark, PLAYS, []).count() == 0
    folder = Path(warehouse.root) / "_staging" / PLAYS.name
    stager = Stager(PLAYS, str(folder))
    names = [c.name for c in PLAYS.columns]
    rows = [dict(zip(names, row, strict=True)) for row in (A, B)]
    stager.write(pa.RecordBatch.from_pylist(rows, schema=arrow_schema(PLAYS)))
    file = stager.close()
    assert file is not None
    (folder / "part-of-another-run.parquet").touch()
    frame = warehouse.staged_frame(spark, PLAYS, [file])
    assert sorted(map(tuple, frame.select(names).collect())) == [A, B]
    warehouse.discard(PLAYS, [file])
    assert [path.name for path in folder.iterdir()] == ["part-of-another-run.parquet"]


def test_what_spark_wrote_is_seen(spark: Any, warehouse: Warehouse) -> None:
    assert not warehouse.may_hold(PLAYS, "source", ["s"])
    assert warehouse.sizes(PLAYS) == (0, 0)
    warehouse.append(PLAYS, plays(spark, A, C), transaction="one")
    assert warehouse.may_hold(PLAYS, "source", ["s"])
    assert not warehouse.may_hold(PLAYS, "source", ["u", "v"])
    assert warehouse.sizes(PLAYS)[0] == 2
    assert warehouse.lookup(PLAYS, "user_id", "b", "d")["song_id"].to_pylist() == ["SO2"]
    assert len(warehouse.head(PLAYS, ["user_id", "play_count"], 1)) == 1
    assert warehouse.versions() == {PLAYS.name: DeltaTable(warehouse.uri(PLAYS)).version()}


GOOD: dict[str, Any] = {
    "string": "x", "int": 1, "bigint": 1, "double": 1.0, "timestamp": datetime(2011, 2, 11, tzinfo=UTC),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wrong", "says"),
    [
        ("msd_tracks", {"track_id": "TR1"}, "track_id_shape"),
        ("msd_tracks", {"track_id": "TRAAAAA128F42D8ABC", "mode": 2}, "mode_known"),
        ("msd_analysis", {"segments_start": [0.0], "segments_pitches": [1.0] * 11}, "segments_agree"),
        ("genre_labels", {"rank": 2}, "rank_known"),
        ("library_tracks", {"track_id": "TRAAAAA128F42D8ABC"}, "track_id_shape"),
        ("library_tracks", {"track_id": "LB0123456789abcdef", "mode": 2}, "mode_known"),
        ("plays", {"play_count": 0}, "play_count_positive"),
        ("unmatched_plays", {"play_count": 0}, "play_count_positive"),
        ("genre_images", {"depth": 2, "height": 2, "width": 2, "image": [0.0] * 7}, "image_agrees"),
        ("genre_scores", {"rank": 0}, "rank_positive"),
        ("taste_profiles", {"share": 1.1}, "share_bounded"),
        ("manifest", {"status": "lost"}, "status_known"),
        ("job_runs", {"status": "lost"}, "status_known"),
        ("plays", {"run_id": None}, "NOT NULL"),
        ("quarantine", {"message": None}, "NOT NULL"),
    ],
)
def test_spark_rejects_a_row_that_breaks_the_contract(
    name: str, wrong: dict[str, Any], says: str, spark: Any, warehouse: Warehouse
) -> None:
    table = TABLES[name]
    good = {"track_id": "TRAAAAA128F42D8ABC", "status": "running" if name == "job_runs" else "done"}
    row = {c.name: good.get(c.name, GOOD.get(c.type)) for c in table.columns} | wrong
    frame = spark.createDataFrame([tuple(row[c.name] for c in table.columns)], spark_schema(table))
    warehouse.lookup(table, table.key[0], "", "")
    with pytest.raises(Exception, match=says):
        frame.write.format("delta").mode("append").save(warehouse.uri(table))
    assert warehouse.sizes(table)[0] == 0


@pytest.fixture
def filled(chain: Chain) -> Warehouse:
    """A warehouse with rows in every table, to be read."""
    return Warehouse(str(chain.after(CHAIN[-1].command)))


def duck(warehouse: Warehouse, table: Table, query: str) -> tuple[Any, ...]:
    """One row from DuckDB, which sees the table as ``t``."""
    with duckdb.connect() as connection:
        connection.register("t", DeltaTable(warehouse.uri(table)).to_pyarrow_dataset())
        (row,) = connection.sql(query).fetchall()
    return tuple(row)


@EACH_TABLE
def test_duckdb_and_spark_agree(table: Table, spark: Any, filled: Warehouse) -> None:
    numbers = [c.name for c in table.columns if c.type in ("int", "bigint", "float", "double")]
    lists = [c.name for c in table.columns if c.type.startswith("array")]
    floats = [c.name for c in table.columns if c.type == "array<float>"]
    texts = [c.name for c in table.columns if c.type == "string"]
    select = [
        "count(*)", f"count(DISTINCT ({', '.join(f'`{k}`' for k in table.key)}))",
        *(f"count(`{c.name}`)" for c in table.columns), *(f"sum(length(`{name}`))" for name in texts),
        *(f"sum(CAST(`{name}` AS double))" for name in numbers), *(f"sum(size(`{name}`))" for name in lists),
    ]  # fmt: skip
    sums = [f"sum(aggregate(`{name}`, 0D, (s, x) -> s + x))" for name in floats]
    ours = filled.read(spark, table).selectExpr(*select, *sums).first()
    assert ours
    select += [f"sum(list_sum(CAST(`{name}` AS double[])))" for name in floats]
    query = ", ".join(select).replace("size(", "len(").replace("`", '"')
    theirs = duck(filled, table, f"SELECT {query} FROM t")
    assert ours[0] > 0
    sums_of_nothing = [x is None for x in ours]
    assert [x is None for x in theirs] == sums_of_nothing
    assert [float(x or 0) for x in ours] == pytest.approx([float(x or 0) for x in theirs], rel=1e-9, abs=1e-6)


@EACH_TABLE
def test_comments_are_seen_by_every_reader(table: Table, spark: Any, filled: Warehouse) -> None:
    expected = {c.name: c.comment for c in table.columns}
    described = spark.sql(f"DESCRIBE delta.`{filled.uri(table)}`").collect()
    assert {row.col_name: row.comment for row in described if row.col_name in expected} == expected
    types = {c.name: c.type for c in table.columns}
    assert {row.col_name: row.data_type for row in described if row.col_name in expected} == types
    detail = spark.sql(f"DESCRIBE DETAIL delta.`{filled.uri(table)}`").first()
    assert (detail.name, detail.description) == (table.name, table.doc)
    fields = json.loads(DeltaTable(filled.uri(table)).schema().to_json())["fields"]
    assert {f["name"]: f["metadata"]["comment"] for f in fields} == expected


def test_statistics_of_files_hold_their_rows(filled: Warehouse) -> None:
    """Lookups leave files out by these; a wrong bound would lose rows."""
    for table in TABLES.values():
        files = pa.table(DeltaTable(filled.uri(table)).get_add_actions(flatten=True)).to_pylist()
        for file in files:
            rows = pa.parquet.read_table(Path(filled.uri(table)) / file["path"], partitioning=None).to_pylist()
            assert file["num_records"] == len(rows)
            for name in {*table.key, table.owner or table.key[0]}:
                values = [row[name] for row in rows]
                assert file[f"min.{name}"] <= min(values)
                assert max(values) <= file[f"max.{name}"]


def test_time_travel(spark: Any, warehouse: Warehouse) -> None:
    """Training records (table, version): an older version must stay readable after a merge."""
    row = {"track_id": "T", "source": "s", "rank": 0, "genre": "old", "run_id": "r"}
    warehouse.merge(GENRE_LABELS, pa.Table.from_pylist([row], schema=arrow_schema(GENRE_LABELS)))
    version = warehouse.versions()[GENRE_LABELS.name]
    changed = row | {"genre": "new"}
    warehouse.merge(GENRE_LABELS, pa.Table.from_pylist([changed], schema=arrow_schema(GENRE_LABELS)))
    old = spark.read.format("delta").option("versionAsOf", version).load(warehouse.uri(GENRE_LABELS))
    assert [r.genre for r in old.collect()] == ["old"]
    assert [r.genre for r in warehouse.read(spark, GENRE_LABELS).collect()] == ["new"]
