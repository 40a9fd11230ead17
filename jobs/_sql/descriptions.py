"""Descriptions of tables and views, and errors of queries as one line with the nearest names."""

import difflib
import re
from collections.abc import Callable

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.run import one_line, print_grid
from reprise.jobs._sql.statements import QueryError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

_MISSING = re.compile(r"Table(?: Function)? with name (\S+) does not exist|The table or view `([^`]+)` cannot be found")


def describe(name: str, show: Callable[[Grid], None] = print_grid) -> None:
    """Print all tables and views, or the columns of one.

    Raises
    ------
    QueryError
        When there is none of that name.
    """
    if not name:
        overview = Grid("name", "what it holds", "one row is")
        for table in TABLES.values():
            overview.add_row(table.name, Text(table.doc), Text(table.grain))
        for view in VIEWS.values():
            overview.add_row(_called(view.name), Text(view.doc), "view" if not view.parameters else "table function")
        show(overview)
        return
    if name not in TABLES and name not in VIEWS:
        raise QueryError(f"there is no table or view {name}{_hint(name)}")
    doc = TABLES[name].doc if name in TABLES else VIEWS[name].doc
    grid = Grid(title=Text(f"{_called(name)}: {doc}"), title_justify="left")
    for heading in ("column", "type", "what it says"):
        grid.add_column(heading, no_wrap=heading == "column")
    if name in TABLES:
        table = TABLES[name]
        for column in table.columns:
            mark = " (key)" if column.name in table.key else ""
            grid.add_row(column.name, Text(column.type), Text(column.comment + mark))
        example = f"SELECT * FROM {name} LIMIT 10"  # noqa: S608 - of a contract
    else:
        from reprise.jobs._sql.duckdb_engine import column_types

        view = VIEWS[name]
        for (column_name, comment), type_ in zip(view.columns.items(), column_types(view), strict=True):
            grid.add_row(column_name, Text(type_.lower()), Text(comment))
        example = view.example
    show(grid)
    print(f"example: {example}")


def _called(name: str) -> str:
    parameters = VIEWS[name].parameters if name in VIEWS else ()
    return f"{name}({', '.join(parameters)})" if parameters else name


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), [*TABLES, *VIEWS], 3)
    return f"; did you mean {' or '.join(map(_called, near))}?" if near else "; --describe lists them"


def error_line(error: Exception) -> str:
    """Return what went wrong as one line."""
    text = str(error)
    if missing := _MISSING.search(text):
        name = (missing[1] or missing[2]).strip('"')
        return f"there is no table or view {name}{_hint(name)}"
    if type(error).__module__ in ("_duckdb", "duckdb") or (isinstance(error, OSError) and "Error:" in text):
        # its first line says it, and what follows shows where
        return " ".join(text.partition("\n\n")[0].split())
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return one_line(error)
