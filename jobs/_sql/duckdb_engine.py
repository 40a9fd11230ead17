"""Query engine that reads the Parquet files of the tables with DuckDB.

It starts no Spark session, so a short query takes about a second.
"""

import re
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.quoting import duckdb_string
from reprise.jobs._sql.statements import (
    QueryError,
    check_parameters,
    find_names,
    to_duckdb_parameters,
    tokenize,
)
from reprise.lib.tables import TABLES, Table
from reprise.lib.tables.views import VIEWS, View
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import filesystem

_ROWS_PER_BATCH = 10_000
_CONFIGURATION: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # if True, a query could read Python variables of this program
}
_READ_KINDS = {"SELECT", "MULTI"}  # a PIVOT is MULTI: DuckDB first queries the values that become columns
_DUCKDB_TYPES = {"string": "VARCHAR", "int": "INTEGER", "timestamp": "TIMESTAMPTZ"}
_GLOB = re.compile(r"[*?\[]")


class DuckDB:
    """Query engine on DuckDB.

    Each query reads the newest versions of the tables. Without ``write``, a query can read only the files
    of the tables.
    """

    name = "duckdb"

    def __init__(self, warehouse: Warehouse, *, write: bool) -> None:
        self._warehouse = warehouse
        self._write = write

    def query(self, sql: str, parameters: Mapping[str, str]) -> Iterator[pa.RecordBatchReader]:
        """Run the statements in ``sql`` and yield the result of each statement.

        Each result must be read completely before the next one is taken.

        Raises
        ------
        QueryError
            A statement is not allowed. All statements are checked before the first one runs.
        UsageError
            A parameter in ``sql`` has no value, or a name in ``parameters`` does not occur in ``sql``.
        duckdb.Error, OSError
            A statement cannot be parsed, or fails.
        """
        check_parameters(sql, self.name, parameters.keys())
        sql = to_duckdb_parameters(sql)
        statements = duckdb.extract_statements(sql)
        for statement in statements:
            self._check(statement)
        with self._connect(find_names(sql)) as connection:
            for statement in statements:
                used = {name: value for name, value in parameters.items() if name in statement.named_parameters}
                result = connection.sql(statement.query, params=used or None)
                with result.to_arrow_reader(_ROWS_PER_BATCH) as reader:
                    yield reader

    def _check(self, statement: "duckdb.Statement") -> None:
        kind = statement.type.name
        if kind == "EXPLAIN":  # EXPLAIN ANALYZE also runs the statement that it explains
            code = "".join(" " if kind == "comment" else text for kind, text in tokenize(statement.query, self.name))
            explained = re.sub(r"(?i)^\s*explain\s*(\([^()]*\)\s*|analyze\s+)?", "", code)
            kind = "+".join(inner.type.name for inner in duckdb.extract_statements(explained))
        if kind in _READ_KINDS or (self._write and kind == "COPY"):
            return
        if kind == "COPY":
            raise QueryError("COPY writes files: give --write to allow it, or save a result with --format and --out")
        raise QueryError(f"{kind} is not a read-only statement: to change tables, give --write --engine spark")

    def _connect(self, names: list[str]) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect(":memory:", config=_CONFIGURATION)
        connection.execute("SET TimeZone = 'UTC'")
        # access is limited before the views are created, because creating a view reads the columns of its files
        paths = {name: self._warehouse.paths(TABLES[name]) for name in names if name in TABLES}
        if not self._write:
            allowed = [path for table_paths in paths.values() for path in table_paths]
            connection.execute(f"SET allowed_paths = [{', '.join(map(duckdb_string, allowed))}]")
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        for name in names:
            if name in TABLES:
                _create_table_view(connection, TABLES[name], paths[name])
            else:
                connection.execute(_render_create_view(VIEWS[name]))
        return connection


def column_types(view: View) -> list[str]:
    """Return the DuckDB types of a view's columns. DuckDB derives the types from empty tables, so no data are read."""
    with duckdb.connect(":memory:", config=_CONFIGURATION) as connection:
        for name in find_names(f"{view.name} {view.sql}"):
            if name in TABLES:
                _create_table_view(connection, TABLES[name], [])
            else:
                connection.execute(_render_create_view(VIEWS[name]))
        arguments = f"({', '.join('NULL' for _ in view.parameters)})" if view.parameters else ""
        return [str(type_) for type_ in connection.sql(f"FROM {view.name}{arguments}").types]


def _create_table_view(connection: duckdb.DuckDBPyConnection, table: Table, paths: list[str]) -> None:
    """Create a view with the table's name over its Parquet files. If there are no files, the view is empty."""
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    if not paths:
        connection.execute(f"CREATE VIEW {table.name} AS SELECT {_null_columns(table)} WHERE false")
    elif any("://" in path or _GLOB.search(path) for path in paths):
        # DuckDB can read remote files only with a downloaded extension, and treats a path with *, ? or [ as a pattern
        import pyarrow.dataset as ds

        fs = filesystem(paths[0])[0]
        files = [filesystem(path)[1] for path in paths]
        connection.register(table.name, ds.dataset(files, arrow_schema(table), format="parquet", filesystem=fs))
    else:
        listed = f"[{', '.join(map(duckdb_string, paths))}]"
        source = f"read_parquet({listed})"
        if any(column.added for column in table.columns):  # files written by an older version lack these columns
            empty = f"SELECT {_null_columns(table)} WHERE false"
            source = f"(FROM read_parquet({listed}, union_by_name = true) UNION ALL BY NAME {empty})"
        view = f"SELECT {columns} FROM {source}"  # noqa: S608 - names from contracts, and quoted paths
        connection.execute(f"CREATE VIEW {table.name} AS {view}")


def _null_columns(table: Table) -> str:
    return ", ".join(f'CAST(NULL AS {_duckdb_type(column.type)}) AS "{column.name}"' for column in table.columns)


def _render_create_view(view: View) -> str:
    if view.parameters:
        return f"CREATE MACRO {view.name}({', '.join(view.parameters)}) AS TABLE {view.sql}"
    return f"CREATE TEMPORARY VIEW {view.name} AS {view.sql}"


def _duckdb_type(sql_type: str) -> str:
    element = sql_type.removeprefix("array<").removesuffix(">")
    return _DUCKDB_TYPES.get(element, element) + ("[]" if element != sql_type else "")
