"""Tokenizer for SQL texts: find statements and parameters outside of strings, quoted names and comments."""

import re
from collections.abc import Collection, Iterator

from reprise.jobs._engine.command_line import UsageError
from reprise.lib.errors import RepriseError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

# :name is a parameter, unless the character before it shows that the colon belongs to a slice, a cast or a struct
_PARAMETER = r"(?<![\w\])\"'`:]):(?P<parameter>[A-Za-z_]\w*)"
_DUCKDB = re.compile(
    rf"""(?P<comment>--[^\n]*|/\*)|(?P<end>;)|{_PARAMETER}
    |(?P<quoted>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<open>['"])""",
    re.DOTALL | re.VERBOSE,
)
_SPARK = re.compile(
    rf"""(?P<comment>--[^\n]*|/\*)|(?P<end>;)|{_PARAMETER}
    |(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`]|``)*`)
    |(?P<open>['"`])""",
    re.DOTALL | re.VERBOSE,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")
# a query with one of these words can list every table without naming it
_CATALOG_WORDS = {"show", "information_schema", "duckdb_tables", "duckdb_views", "duckdb_columns", "sqlite_master"}


class QueryError(RepriseError):
    """A query cannot run. The message gives the reason in one line."""


def tokenize(sql: str, engine: str) -> Iterator[tuple[str, str]]:
    """Split ``sql`` into tokens; yield the kind and the text of each token.

    The kinds are ``code``, ``quoted`` (a string or a quoted name), ``comment``, ``parameter``, ``end`` (a semicolon)
    and ``open`` (a string, quoted name or comment that is not closed). The text of a parameter is its name without
    ``:``. A token ``open`` is always the last one.

    Parameters
    ----------
    sql
        SQL statements, separated by semicolons.
    engine
        SQL dialect, ``duckdb`` or ``spark``.
    """
    pattern = _DUCKDB if engine == "duckdb" else _SPARK
    position = 0
    while match := pattern.search(sql, position):
        if match.start() > position:
            yield "code", sql[position : match.start()]
        kind, position = str(match.lastgroup), match.end()
        kind = "quoted" if match["quoted"] is not None else kind
        if match[0] == "/*":
            position = _find_comment_end(sql, match.start())
            kind = "comment" if position else "open"
        if kind == "open":
            yield "open", sql[match.start() :]
            return
        yield kind, match["parameter"] if kind == "parameter" else sql[match.start() : position]
    if position < len(sql):
        yield "code", sql[position:]


def _find_comment_end(sql: str, start: int) -> int:
    """Return the end index of the comment that starts at ``start``, or 0 if it is not closed. Comments can nest."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return 0


def is_complete(sql: str, engine: str) -> bool:
    """Return whether ``sql`` ends with a semicolon. White space and comments after the semicolon are ignored."""
    kinds = [kind for kind, text in tokenize(sql, engine) if kind != "comment" and text.strip()]
    return kinds[-1:] == ["end"]


def split_statements(sql: str, engine: str) -> list[str]:
    """Split ``sql`` into statements, without the semicolons.

    Statements that are empty or consist only of comments are dropped.
    """
    statements, current, has_code = [], "", False
    for kind, text in [*tokenize(sql, engine), ("end", "")]:
        if kind != "end":
            current += f":{text}" if kind == "parameter" else text
            has_code = has_code or (kind != "comment" and bool(text.strip()))
            continue
        if has_code:
            statements.append(current.strip())
        current, has_code = "", False
    return statements


def check_parameters(sql: str, engine: str, given: Collection[str]) -> None:
    """Check that the parameters in ``sql`` are exactly the ``given`` names.

    Raises
    ------
    UsageError
        A parameter in ``sql`` is not among the ``given`` names, or a given name is not a parameter in ``sql``.
    """
    wanted = [text for kind, text in tokenize(sql, engine) if kind == "parameter"]
    for name in wanted:
        if name not in given:
            raise UsageError(f"the query's :{name} has no value: give --param {name}=VALUE")
    for name in given:
        if name not in wanted:
            raise UsageError(f"--param {name}: the query has no parameter :{name}; remove the option")


def to_duckdb_parameters(sql: str) -> str:
    """Return ``sql`` with the parameters in DuckDB's syntax: ``$name`` instead of ``:name``."""
    return "".join(f"${text}" if kind == "parameter" else text for kind, text in tokenize(sql, "duckdb"))


def find_names(sql: str) -> list[str]:
    """Return the names of the tables and views that occur in ``sql`` or that a view in the result reads.

    The names are in dependency order: a view comes after the tables and views that it reads.

    The result can contain tables that the query does not read, because a column can have the name of a table.
    """
    words = set(re.findall(r"\w+", sql.lower()))
    known = [*TABLES, *VIEWS]
    if words & _CATALOG_WORDS:
        return known
    for name in reversed(list(VIEWS)):
        if name in words:
            words |= set(re.findall(r"\w+", VIEWS[name].sql))
    return [name for name in known if name in words]
