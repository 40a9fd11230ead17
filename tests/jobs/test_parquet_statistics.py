"""Spark skips files by their statistics only where no row matches; tests/udfs shows the same for other readers."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reprise.lib.tables import Column, Table, Type
from reprise.lib.tables.contract import key
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import Stager

TYPES: tuple[Type, ...] = ("string", "int", "bigint", "float", "double", "boolean", "timestamp")
TABLE = Table(
    name="things",
    doc="Things.",
    grain="one thing",
    key=("number",),
    columns=(
        key("number", "n", "int"),
        *(Column(f"a_{type_}", type_, "a value") for type_ in TYPES),
        Column("empty", "double", "always NULL"),
    ),
    checks={},
)
SCHEMA = arrow_schema(TABLE)
MAX_CHARACTER = "\U0010ffff"


def store(folder: Path, files: list[list[dict[str, Any]]]) -> pa.Table:
    """Write each of ``files`` with a stager and commit it; return all rows as stored."""
    delta = DeltaTable.create(str(folder), SCHEMA)
    tables, number = [], 0
    for rows in files:
        stager = Stager(TABLE, str(folder))
        for row in rows:
            stager.write(pa.RecordBatch.from_pylist([{**row, "number": number}], schema=SCHEMA))
            number += 1
        file = stager.close()
        assert file is not None
        tables.append(pq.read_table(folder / file.path))
        action = AddAction(file.path, file.size, {}, 0, data_change=True, stats=file.stats)
        delta.create_write_transaction([action], "append", delta.schema())
    return pa.concat_tables(tables)


def test_filters_find_all_rows_of_a_full_scan(spark: SparkSession, tmp_path: Path) -> None:
    moment = datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    columns: dict[str, list[Any]] = {
        "a_string": ["z" * 32 + MAX_CHARACTER * 2 + "a", None, "é'\\", "z" * 40],
        "a_int": [1, None, -5, 2**31 - 1],
        "a_bigint": [-(2**63), None, 2**63 - 1, 0],
        "a_float": [0.1, math.nan, math.inf, None],
        "a_double": [math.nan, -math.inf, 1e-300, None],
        "a_boolean": [True, None, False, True],
        "a_timestamp": [moment, None, moment + timedelta(microseconds=1), datetime(1960, 1, 1, 0, 0, 0, 1, tzinfo=UTC)],
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    stored = store(tmp_path / "t", [[row] for row in rows] + [rows[:2], rows[2:]])
    frame = spark.read.format("delta").load(str(tmp_path / "t"))
    for field in SCHEMA:
        name, column = field.name, ds.field(field.name)
        for value in dict.fromkeys(stored[name].drop_null().to_pylist()):
            literal, scalar = F.lit(value).cast(frame.schema[name].dataType), pa.scalar(value, field.type)
            found = frame.where((F.col(name) == literal) | F.col(name).isNull()).select("number").collect()
            expected = stored.filter((column == scalar) | column.is_null())["number"].to_pylist()
            assert sorted(row[0] for row in found) == expected, (name, value)
    assert frame.where("empty IS NULL").count() == len(stored)
    assert frame.where("a_int < 0 AND a_double >= 1e-300 OR a_string > 'z'").count() == 2 + 4
