"""Statistics of Parquet files: a reader that skips files by them finds all rows; tests/jobs shows it for Spark."""

import json
import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.tables import TABLES, Column, Table, Type
from reprise.lib.tables.contract import key
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import Stager

TYPES: tuple[Type, ...] = ("string", "int", "bigint", "float", "double", "timestamp")
TABLE = Table(
    name="things",
    doc="Things.",
    grain="one thing",
    key=("number",),
    columns=(
        key("number", "n", "int"),
        *(Column(f"a_{type_}", type_, "a value") for type_ in TYPES),
        Column("empty", "double", "always NULL"),
        Column("list", "array<float>", "values"),
    ),
    checks={},
)
MAX_CHARACTER = "\U0010ffff"
TEXTS = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=3),
    st.sampled_from(
        ["", "é", "z" * 31, "z" * 32, "z" * 33, "z" * 32 + MAX_CHARACTER, "z" * 32 + MAX_CHARACTER * 3 + "a"]
    ),
    st.text("z" + MAX_CHARACTER, min_size=30, max_size=36),
)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda t: t.replace(tzinfo=UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "int": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "timestamp": MOMENTS,
}
ROW = st.fixed_dictionaries({f"a_{type_}": st.none() | values for type_, values in VALUES.items()})
FILES = st.lists(st.lists(ROW, min_size=1, max_size=4), min_size=1, max_size=3)


def store(folder: Path, files: list[list[dict[str, Any]]]) -> pa.Table:
    """Write each of ``files`` with a stager and commit it; return all rows as stored."""
    schema = arrow_schema(TABLE)
    delta = DeltaTable.create(str(folder), schema)
    number = 0
    written = []
    for rows in files:
        stager = Stager(TABLE, str(folder))
        for row in rows:
            record = {**row, "number": number, "empty": None, "list": [math.nan]}
            stager.write(pa.RecordBatch.from_pylist([record], schema=schema))
            number += 1
        file = stager.close()
        assert file is not None
        written.append(pq.read_table(folder / file.path))
        action = AddAction(file.path, file.size, {}, 0, data_change=True, stats=file.stats)
        delta.create_write_transaction([action], "append", delta.schema())
    return pa.concat_tables(written)


def comparisons(rows: pa.Table) -> list[tuple[str, Any]]:
    """Column names and values to compare the columns with: some values of each column."""
    pairs: list[tuple[str, Any]] = []
    for field in arrow_schema(TABLE):
        if not pa.types.is_list(field.type):
            pairs += [(field.name, value) for value in dict.fromkeys(rows[field.name].drop_null().to_pylist()[:3])]
    return [*pairs, ("empty", 1.0)]


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(FILES)
def test_filters_of_arrow_datasets_find_all_rows_of_a_full_scan(files: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = store(Path(folder) / "t", files)
        dataset = DeltaTable(f"{folder}/t").to_pyarrow_dataset()
        for name, value in comparisons(rows):
            column, scalar = ds.field(name), pa.scalar(value, rows.schema.field(name).type)
            for wanted in (
                column == scalar, column != scalar, column < scalar, column >= scalar, ~(column == scalar),
                column.is_null(), column.is_valid(), (column == scalar) | column.is_null(),
                # pyarrow's isin does not find 0.0 in Parquet files, also without Delta
                *([column.isin([scalar])] if value != 0 else []),
            ):  # fmt: skip
                found = dataset.to_table(filter=wanted)["number"].to_pylist()
                assert sorted(found) == rows.filter(wanted)["number"].to_pylist(), f"{wanted}"


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(FILES)
def test_filters_of_duckdb_find_all_rows_of_a_full_scan(files: list[list[dict[str, Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        rows = store(Path(folder) / "t", files)
        connection.register("things", DeltaTable(f"{folder}/t").to_pyarrow_dataset())
        connection.register("all_rows", rows)
        connection.execute("CREATE TABLE scanned AS SELECT * FROM all_rows")
        for name, value in comparisons(rows):
            for comparison in ("= $v", "<> $v", "< $v", ">= $v", "IS NULL", "IS NOT NULL", "IS DISTINCT FROM $v"):
                sql = f'SELECT number FROM {{}} WHERE "{name}" {comparison} ORDER BY number'
                given_value = {"v": value} if "$v" in sql else None
                answers = [
                    connection.sql(sql.format(table), params=given_value).fetchall() for table in ("things", "scanned")
                ]
                assert answers[0] == answers[1], (name, comparison, value)


def statistics(*rows: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        stager = Stager(TABLE, folder)
        for number, row in enumerate(rows):
            stager.write(pa.RecordBatch.from_pylist([{"number": number, **row}], schema=arrow_schema(TABLE)))
        file = stager.close()
        assert file is not None
        return json.loads(file.stats)


def test_statistics_have_the_form_of_the_delta_protocol() -> None:
    found = statistics(
        {"a_string": "y" * 40, "a_float": 0.5, "a_timestamp": datetime(2026, 1, 1, 0, 0, 0, 999999, tzinfo=UTC)},
        {"a_string": "é", "a_float": math.inf, "a_timestamp": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)},
        {"a_float": math.nan},
    )
    assert found == {
        "numRecords": 3,
        "minValues": {"number": 0, "a_string": "y" * 32, "a_float": 0.5, "a_timestamp": "1969-12-31T23:59:59.999Z"},
        "maxValues": {
            "number": 2, "a_string": "é", "a_float": "Infinity", "a_timestamp": "2026-01-01T00:00:01.000Z",
        },
        "nullCount": {
            "number": 0, "a_string": 1, "a_int": 3, "a_bigint": 3, "a_float": 1, "a_double": 3, "a_timestamp": 1,
            "empty": 3,
        },
    }  # fmt: skip


def test_nan_is_stored_as_null() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = store(Path(folder) / "t", [[{"a_double": math.nan, "a_float": math.nan}, {"a_double": 1.0}]])
    assert rows["a_double"].to_pylist() == [None, 1.0]
    assert rows["a_float"].null_count == 2
    assert pc.all(pc.is_nan(rows["list"].combine_chunks().values)).as_py()  # arrays keep NaN


def test_nan_in_a_required_column_is_an_error(tmp_path: Path) -> None:
    table = TABLES["genre_scores"]
    fill: dict[str, Any] = {"double": math.nan, "int": 1, "boolean": True}
    values = {c.name: fill.get(c.type, "x") for c in table.columns}
    values |= {c.name: None for c in table.columns if c.type.startswith("array")}
    with pytest.raises(ValueError, match="column probability must not be NaN"):
        Stager(table, str(tmp_path)).write(pa.RecordBatch.from_pylist([values], schema=arrow_schema(table)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_all_scalar_columns_that_readers_filter_by_have_statistics(table: Table, tmp_path: Path) -> None:
    """Where bounds are missing in an indexed column, a filter of the deltalake package finds no row at all."""
    values: dict[str, Any] = {"string": "x", "int": 1, "bigint": 1, "float": 1.0, "double": 1.0}
    values |= {"boolean": True}
    values |= {"timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    row = {c.name: values.get(c.type, []) for c in table.columns}
    delta = DeltaTable.create(str(tmp_path), arrow_schema(table))
    stager = Stager(table, str(tmp_path))
    stager.write(pa.RecordBatch.from_pylist([row], schema=arrow_schema(table)))
    file = stager.close()
    assert file is not None
    action = AddAction(file.path, file.size, {}, 0, data_change=True, stats=file.stats)
    delta.create_write_transaction([action], "append", delta.schema())
    dataset = DeltaTable(str(tmp_path)).to_pyarrow_dataset()
    for field in arrow_schema(table):
        if not pa.types.is_list(field.type):
            wanted = ds.field(field.name) == pa.scalar(row[field.name], field.type)
            assert dataset.count_rows(filter=wanted) == 1, field.name
