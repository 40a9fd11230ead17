"""Descriptions of tables and views, and one-line messages for failed queries, with suggestions for unknown names."""

import difflib
import re
from collections.abc import Callable

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.console import error_line, print_grid
from reprise.jobs._sql.statements import QueryError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

_MISSING = re.compile(r"Table(?: Function)? with name (\S+) does not exist|The table or view `([^`]+)` cannot be found")


def describe(name: str, show: Callable[[Grid], None] = print_grid) -> None:
    """Print the columns of the table or view ``name``. If ``name`` is empty, list all tables and views.

    Raises
    ------
    QueryError
        There is no table or view with this name.
    """
    if not name:
        overview = Grid("name", "what it holds", "one row is")
        for table in TABLES.values():
            overview.add_row(table.name, Text(table.doc), Text(table.grain))
        for view in VIEWS.values():
            overview.add_row(_signature(view.name), Text(view.doc), "view" if not view.parameters else "table function")
        show(overview)
        return
    if name not in TABLES and name not in VIEWS:
        raise QueryError(f"unknown table or view {name}{_suggest(name)}")
    doc = TABLES[name].doc if name in TABLES else VIEWS[name].doc
    grid = Grid(title=Text(f"{_signature(name)}: {doc}"), title_justify="left")
    for heading in ("column", "type", "meaning"):
        grid.add_column(heading, no_wrap=heading == "column")
    if name in TABLES:
        table = TABLES[name]
        for column in table.columns:
            suffix = " (key)" if column.name in table.key else ""
            grid.add_row(column.name, Text(column.type), Text(column.comment + suffix))
        example = f"SELECT * FROM {name} LIMIT 10"  # noqa: S608 - the name of a table contract
    else:
        from reprise.jobs._sql.duckdb_engine import column_types

        view = VIEWS[name]
        for (column_name, comment), type_ in zip(view.columns.items(), column_types(view), strict=True):
            grid.add_row(column_name, Text(type_.lower()), Text(comment))
        example = view.example
    show(grid)
    print(f"example: {example}")


def _signature(name: str) -> str:
    """Return the name of a table or view. For a table function, add its parameters."""
    parameters = VIEWS[name].parameters if name in VIEWS else ()
    return f"{name}({', '.join(parameters)})" if parameters else name


def _suggest(name: str) -> str:
    """Return the end of an error message. It suggests similar names, or the option that lists all names."""
    similar = difflib.get_close_matches(name.lower(), [*TABLES, *VIEWS], 3)
    return f"; did you mean {' or '.join(map(_signature, similar))}?" if similar else "; --describe lists all names"


def query_error_line(error: Exception) -> str:
    """Return the message of a failed query as one line."""
    text = str(error)
    if missing := _MISSING.search(text):
        name = (missing[1] or missing[2]).strip('"')
        return f"unknown table or view {name}{_suggest(name)}"
    if type(error).__module__ in ("_duckdb", "duckdb") or (isinstance(error, OSError) and "Error:" in text):
        # DuckDB describes the error in the first paragraph; the rest quotes the query
        return " ".join(text.partition("\n\n")[0].split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return error_line(error)
