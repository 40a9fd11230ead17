"""Queries in DuckDB over the tables' Parquet files: an answer in about a second, and nothing to set up."""

import re
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.jobs._sql.statements import QueryError, check_parameters, named_in, tokens, with_dollars
from reprise.lib.tables import TABLES, Table
from reprise.lib.tables.views import VIEWS, View
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import filesystem

_ROWS_AT_ONCE = 10_000
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # else a query sees the variables of this program
}
_READS = {"SELECT", "MULTI"}  # MULTI is a PIVOT, which looks at its values first
_TYPES = {"string": "VARCHAR", "int": "INTEGER", "timestamp": "TIMESTAMPTZ"}
_GLOB = re.compile(r"[*?\[]")


class DuckDB:
    """Answers queries. Each sees the newest versions of the tables, and no other file unless ``write``."""

    name = "duckdb"

    def __init__(self, warehouse: Warehouse, *, write: bool) -> None:
        self._warehouse = warehouse
        self._write = write

    def query(self, sql: str, parameters: Mapping[str, str]) -> Iterator[pa.RecordBatchReader]:
        """Answer each statement of ``sql``; take all of an answer before the next.

        Raises
        ------
        QueryError
            When a statement is not one that reads: none has been run then.
        UsageError
            For a parameter too many or too few.
        duckdb.Error, OSError
            When a statement fails.
        """
        check_parameters(sql, self.name, parameters.keys())
        sql = with_dollars(sql)
        statements = duckdb.extract_statements(sql)
        for statement in statements:
            self._check(statement)
        with self._connect(named_in(sql)) as connection:
            for statement in statements:
                used = {name: value for name, value in parameters.items() if name in statement.named_parameters}
                answer = connection.sql(statement.query, params=used or None)
                with answer.to_arrow_reader(_ROWS_AT_ONCE) as reader:
                    yield reader

    def _check(self, statement: "duckdb.Statement") -> None:
        kind = statement.type.name
        if kind == "EXPLAIN":  # which with ANALYZE also does what it explains
            said = "".join(" " if kind == "comment" else text for kind, text in tokens(statement.query, self.name))
            explained = re.sub(r"(?i)^\s*explain\s*(\([^()]*\)\s*|analyze\s+)?", "", said)
            kind = "+".join(inner.type.name for inner in duckdb.extract_statements(explained))
        if kind in _READS or (self._write and kind == "COPY"):
            return
        if kind == "COPY":
            raise QueryError("COPY writes: give --write, or --format and --out for the result of a query")
        raise QueryError(f"{kind} is not a statement that reads; what changes tables takes --write --engine spark")

    def _connect(self, names: list[str]) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=_CONFIGURATION)
        connection.execute("SET TimeZone = 'UTC'")
        # before a view is made over files, whose columns are looked at then
        paths = {name: self._warehouse.paths(TABLES[name]) for name in names if name in TABLES}
        if not self._write:
            allowed = [path for found in paths.values() for path in found]
            connection.execute(f"SET allowed_paths = [{', '.join(map(_quote, allowed))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        for name in names:
            if name in TABLES:
                _name_table(connection, TABLES[name], paths[name])
            else:
                connection.execute(_define(VIEWS[name]))
        return connection


def column_types(view: View) -> list[str]:
    """Types of the columns of a view, in words of DuckDB."""
    with duckdb.connect(":memory:", config=_CONFIGURATION) as connection:
        for name in named_in(f"{view.name} {view.sql}"):
            if name in TABLES:
                _name_table(connection, TABLES[name], [])
            else:
                connection.execute(_define(VIEWS[name]))
        arguments = f"({', '.join('NULL' for _ in view.parameters)})" if view.parameters else ""
        return [str(type_) for type_ in connection.sql(f"FROM {view.name}{arguments}").types]


def _name_table(connection: duckdb.DuckDBPyConnection, table: Table, paths: list[str]) -> None:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    if not paths:
        nulls = ", ".join(f'CAST(NULL AS {_type(column.type)}) AS "{column.name}"' for column in table.columns)
        connection.execute(f"CREATE VIEW {table.name} AS SELECT {nulls} WHERE false")
    elif any("://" in path or _GLOB.search(path) for path in paths):
        # DuckDB itself reads remote files with an extension that it would have to fetch, and takes [ for a pattern
        import pyarrow.dataset as ds

        fs = filesystem(paths[0])[0]
        files = [filesystem(path)[1] for path in paths]
        connection.register(table.name, ds.dataset(files, arrow_schema(table), format="parquet", filesystem=fs))
    else:
        quoted = ", ".join(map(_quote, paths))
        view = f"SELECT {columns} FROM read_parquet([{quoted}])"  # noqa: S608 - of contracts and quoted paths
        connection.execute(f"CREATE VIEW {table.name} AS {view}")


def _define(view: View) -> str:
    if view.parameters:
        return f"CREATE MACRO {view.name}({', '.join(view.parameters)}) AS TABLE {view.sql}"
    return f"CREATE TEMPORARY VIEW {view.name} AS {view.sql}"


def _type(sql_type: str) -> str:
    element = sql_type.removeprefix("array<").removesuffix(">")
    return _TYPES.get(element, element) + ("[]" if element != sql_type else "")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
