"""Fixtures of the jobs' tests: rows as the tables and views of both SQL engines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from reprise.jobs._sql.spark_views import name_tables
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import arrow_schema, spark_schema

Rows = list[dict[str, Any]]
Data = Mapping[str, Rows | pa.Table]
Ask = Callable[..., Rows]


def _to_arrow(name: str, rows: Rows | pa.Table) -> pa.Table:
    """Rows of a table; what must not be NULL and is not given is empty."""
    if isinstance(rows, pa.Table):
        return rows
    table = TABLES[name]
    blank = {"string": "", "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    fill = {c.name: blank.get(c.type, 0) for c in table.columns if not c.nullable}
    return pa.Table.from_pylist([{**fill, **row} for row in rows], schema=arrow_schema(table))


@pytest.fixture(scope="session")
def in_duckdb() -> Callable[[Data], AbstractContextManager[Ask]]:
    """A DuckDB database with the tables and views of some rows: asks it, and gives the rows of the answer."""

    @contextmanager
    def connect(data: Data) -> Iterator[Ask]:
        with duckdb.connect() as connection:
            for name in TABLES:
                connection.register(name, _to_arrow(name, data.get(name, [])))
            for view in VIEWS.values():
                parameters = f"({', '.join(view.parameters)}) AS TABLE" if view.parameters else " AS"
                kind = "MACRO" if view.parameters else "VIEW"
                connection.execute(f"CREATE TEMPORARY {kind} {view.name}{parameters} {view.sql}")

            def ask(query: str, **parameters: str) -> Rows:
                cursor = connection.execute(query.replace(":", "$"), parameters or None)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

            yield ask

    return connect


@pytest.fixture(scope="session")
def ask_spark(spark: Any) -> Callable[[Data], Ask]:
    """A Spark session with the tables and views of some rows: asks it, and gives the rows of the answer."""

    def prepare(data: Data) -> Ask:
        session = spark.newSession()
        # Delta's parser passes no parameters on
        session.conf.set("spark.sql.legacy.parameterSubstitution.constantsOnly", "true")
        frames = {
            name: session.createDataFrame(_to_arrow(name, rows), spark_schema(TABLES[name]))
            for name, rows in data.items()
        }
        name_tables(session, frames)

        def ask(query: str, **parameters: str) -> Rows:
            return [row.asDict() for row in session.sql(query, parameters).collect()]

        return ask

    return prepare
