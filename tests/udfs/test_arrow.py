"""Arrow schemas and record batches of the table contracts."""

from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import from_arrow_schema

from reprise.lib.tables import JOB_RUNS, TABLES, Column, Table, Type
from reprise.udfs.arrow import arrow_schema, arrow_type, spark_schema, to_batch

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("count", pa.int32()),
        pa.field("values", pa.list_(pa.field("element", pa.float32()))),
    ]
)


@pytest.mark.parametrize("sql_type", get_args(Type))
def test_every_contract_type_has_an_arrow_type(sql_type: str) -> None:
    column = Column("a", sql_type, "something")  # type: ignore[arg-type]
    table = Table("things", "Things.", "one thing", ("a",), (column,), {})
    assert arrow_schema(table).field("a").type == arrow_type(sql_type)
    assert from_arrow_schema(pa.schema([("a", arrow_type(sql_type))]))["a"].dataType.simpleString() == sql_type


def test_unknown_type_is_an_error() -> None:
    with pytest.raises(KeyError):
        arrow_type("decimal(1,1)")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_ddl_and_arrow_schema_have_the_same_columns(table: Table) -> None:
    """A writer gets either the DDL or the Arrow schema."""
    fields = from_arrow_schema(arrow_schema(table)).fields
    assert spark_schema(table) == ", ".join(f"`{f.name}` {f.dataType.simpleString()}" for f in fields)


def test_batch_of_scalars_lists_and_arrays() -> None:
    matrix = np.arange(6, dtype=np.float64).reshape(2, 3)
    empty = np.zeros(0, dtype=np.float32)
    batch = to_batch(SCHEMA, {"name": ["a", "b"], "values": [matrix, empty]})
    assert batch.schema == SCHEMA
    assert batch.to_pylist() == [
        {"name": "a", "count": None, "values": [0, 1, 2, 3, 4, 5]},
        {"name": "b", "count": None, "values": []},
    ]
    mixed = to_batch(SCHEMA, {"name": ["a", "b", "c"], "count": [1, None, 3], "values": [[1.5, None], None, empty]})
    assert mixed.column("values").to_pylist() == [[1.5, None], None, []]
    assert mixed.column("count").to_pylist() == [1, None, 3]


def test_empty_batch() -> None:
    batch = to_batch(SCHEMA, {"name": [], "values": []})
    assert (batch.num_rows, batch.schema) == (0, SCHEMA)


def test_columns_have_the_order_of_the_schema() -> None:
    batch = to_batch(SCHEMA, {"values": [[1.0]], "count": [1], "name": ["a"]})
    assert batch.schema.names == ["name", "count", "values"]


@pytest.mark.parametrize("columns", [{"count": [1]}, {"name": [None], "count": [1]}, {"name": ["a", None]}])
def test_null_in_a_required_column_is_an_error_with_its_name(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(ValueError, match="column name must not be NULL"):
        to_batch(SCHEMA, columns)


def test_values_out_of_range_or_of_unequal_length_are_errors() -> None:
    with pytest.raises(pa.ArrowInvalid):
        to_batch(SCHEMA, {"name": ["a"], "count": [2**31]})
    with pytest.raises(ValueError, match="same length"):
        to_batch(SCHEMA, {"name": ["a", "b"], "count": [1]})


def test_times_are_utc() -> None:
    moment = datetime(2011, 2, 11, 12, tzinfo=UTC)
    column = pa.array([moment], arrow_schema(JOB_RUNS).field("started_at").type)
    assert column.to_pylist() == [moment]
