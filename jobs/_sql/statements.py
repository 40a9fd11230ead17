"""Where in a text of SQL its parameters and its statements are: not in strings, quoted names and comments."""

import re
from collections.abc import Collection, Iterator

from reprise.jobs._engine.run import UsageError
from reprise.lib.errors import RepriseError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

# :name is a parameter where no slice, cast or key of a struct ends before it
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
_BLOCK = re.compile(r"/\*|\*/")
# what asks for tables without naming them
_CATALOGS = {"show", "information_schema", "duckdb_tables", "duckdb_views", "duckdb_columns", "sqlite_master"}


class QueryError(RepriseError):
    """A query that cannot be answered; the text is the one line that says why."""


def tokens(sql: str, engine: str) -> Iterator[tuple[str, str]]:
    """Cut ``sql`` into pieces: ``code``, ``quoted``, ``comment``, ``parameter`` (its name), ``end`` and ``open``.

    ``open`` is a string, quoted name or comment that has no end; it is the last piece.
    """
    pattern = _DUCKDB if engine == "duckdb" else _SPARK
    position = 0
    while match := pattern.search(sql, position):
        if match.start() > position:
            yield "code", sql[position : match.start()]
        kind, position = str(match.lastgroup), match.end()
        kind = "quoted" if match["quoted"] is not None else kind
        if match[0] == "/*":
            position = _end_of_block(sql, match.start())
            kind = "comment" if position else "open"
        if kind == "open":
            yield "open", sql[match.start() :]
            return
        yield kind, match["parameter"] if kind == "parameter" else sql[match.start() : position]
    if position < len(sql):
        yield "code", sql[position:]


def _end_of_block(sql: str, start: int) -> int:
    """Where the comment ends that starts with ``/*``, and may have others in it; 0 when it does not."""
    depth = 0
    for mark in _BLOCK.finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return 0


def is_complete(sql: str, engine: str) -> bool:
    """Whether ``sql`` ends with a statement's semicolon."""
    kinds = [kind for kind, text in tokens(sql, engine) if kind != "comment" and text.strip()]
    return kinds[-1:] == ["end"]


def split(sql: str, engine: str) -> list[str]:
    """Statements in ``sql`` that say something, without their semicolons."""
    statements, current, says = [], "", False
    for kind, text in [*tokens(sql, engine), ("end", "")]:
        if kind != "end":
            current += f":{text}" if kind == "parameter" else text
            says = says or (kind != "comment" and bool(text.strip()))
            continue
        if says:
            statements.append(current.strip())
        current, says = "", False
    return statements


def check_parameters(sql: str, engine: str, given: Collection[str]) -> None:
    """Hold the parameters in ``sql`` against those that are ``given``.

    Raises
    ------
    UsageError
        When one of either is not among the others.
    """
    wanted = [text for kind, text in tokens(sql, engine) if kind == "parameter"]
    for name in wanted:
        if name not in given:
            raise UsageError(f"the query's :{name} has no value: give --param {name}=VALUE")
    for name in given:
        if name not in wanted:
            raise UsageError(f"--param {name}: the query has no :{name}")


def with_dollars(sql: str) -> str:
    """``sql`` with its parameters as DuckDB has them, ``$name`` for ``:name``."""
    return "".join(f"${text}" if kind == "parameter" else text for kind, text in tokens(sql, "duckdb"))


def named_in(sql: str) -> list[str]:
    """Tables and views that ``sql`` can mean, with those that stand behind the views, each after those it needs."""
    words = set(re.findall(r"\w+", sql.lower()))
    known = [*TABLES, *VIEWS]
    if words & _CATALOGS:
        return known
    for name in reversed(list(VIEWS)):
        if name in words:
            words |= set(re.findall(r"\w+", VIEWS[name].sql))
    return [name for name in known if name in words]
