"""Interactive SQL prompt with a history and completion of names."""

import atexit
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from reprise.jobs._sql.descriptions import describe, query_error_line
from reprise.jobs._sql.engine import Engine
from reprise.jobs._sql.output import write_result
from reprise.jobs._sql.statements import is_complete, tokenize
from reprise.lib.errors import RepriseError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

_PROMPT, _CONTINUATION = "reprise> ", "    ...> "
_HISTORY_LENGTH = 2000
_KEYWORDS = """
    select from where group by order having limit distinct as on and or not in is null like between case when then
    else end join left right full inner outer cross union all with count sum avg min max median round coalesce cast
    desc asc over partition explain describe show tables
"""
_HELP = r"end a statement with ;   \d lists tables and views   \d TABLE lists its columns   \q or Ctrl-D quits"


def run_prompt(engine: Engine, parameters: Mapping[str, str], read_line: Callable[[str], str] | None = None) -> None:
    """Read and run statements until the user quits or ``read_line`` raises EOFError. Print each error as one line.

    Parameters
    ----------
    engine
        Engine that runs the statements.
    parameters
        Values of the query parameters, by name.
    read_line
        Function that takes a prompt and returns the next line. The default is ``input``.
    """
    if read_line is None:
        read_line = input
        if sys.stdin.isatty():
            _enable_history()
            print(_HELP)
    text = ""
    while True:
        try:
            line = read_line(_CONTINUATION if text else _PROMPT)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            text = ""
            continue
        if not text and line.strip().startswith("\\"):
            if line.strip() == r"\q":
                return
            _run_and_print_error(lambda line=line: _run_command(line.strip()))  # type: ignore[misc]
            continue
        text = f"{text}\n{line}" if text else line.strip()
        if is_complete(text, engine.name):
            sql, text = text, ""
            _run_and_print_error(lambda sql=sql: _run_query(engine, sql, parameters))  # type: ignore[misc]


def _run_and_print_error(action: Callable[[], None]) -> None:
    try:
        action()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    except Exception as error:
        print(query_error_line(error), file=sys.stderr)


def _run_query(engine: Engine, sql: str, parameters: Mapping[str, str]) -> None:
    used = {text for kind, text in tokenize(sql, engine.name) if kind == "parameter"}
    for reader in engine.query(sql, {name: value for name, value in parameters.items() if name in used}):
        write_result(reader, "table", None)


def _run_command(line: str) -> None:
    command, _, rest = line.partition(" ")
    if command != r"\d":
        raise RepriseError(rf"unknown command {command}: {_HELP}")
    describe(rest.strip().rstrip(";"))


def complete(text: str) -> list[str]:
    """Return the table, view and column names and the SQL keywords that begin with ``text``."""
    names = {*TABLES, *VIEWS}
    names |= {column.name for table in TABLES.values() for column in table.columns}
    names |= {name for view in VIEWS.values() for name in view.columns}
    keywords = [word.upper() if text.isupper() else word for word in _KEYWORDS.split()]
    return sorted(name for name in {*names, *keywords} if name.startswith(text))


def _enable_history() -> None:
    """Enable completion of names, and a history in a file in the user's state folder."""
    import readline

    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    history = Path(state) / "reprise" / "sql_history"
    readline.set_completer_delims(re.sub(r"[\\]", "", " \t\n()=<>,;'\"+-*/."))
    readline.set_completer(lambda text, index: [*complete(text), None][index])
    readline.parse_and_bind("tab: complete")
    readline.set_history_length(_HISTORY_LENGTH)
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        history.touch(mode=0o600)
        readline.read_history_file(history)
    except OSError:  # the folder cannot be written, so the prompt works without a history
        return
    atexit.register(readline.write_history_file, history)
