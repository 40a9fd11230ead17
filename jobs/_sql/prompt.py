"""A prompt for SQL, with a history and completion of names."""

import atexit
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from reprise.jobs._sql.descriptions import describe, error_line
from reprise.jobs._sql.engine import Engine
from reprise.jobs._sql.output import write
from reprise.jobs._sql.statements import is_complete, tokens
from reprise.lib.errors import RepriseError
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS

_PROMPT, _MORE = "reprise> ", "    ...> "
_HISTORY_LENGTH = 2000
_WORDS = """
    select from where group by order having limit distinct as on and or not in is null like between case when then
    else end join left right full inner outer cross union all with count sum avg min max median round coalesce cast
    desc asc over partition explain describe show tables
"""
_HELP = r"a statement ends with ;   \d lists tables and views   \d TABLE its columns   \q or Ctrl-D ends"


def run_prompt(engine: Engine, parameters: Mapping[str, str], read: Callable[[str], str] | None = None) -> None:
    """Answer statements until their reader says there are no more; one that fails is a line, and on it goes.

    Parameters
    ----------
    read
        Gives a line for a prompt, as ``input`` does, which is taken when omitted.
    """
    if read is None:
        read = input
        if sys.stdin.isatty():
            _remember()
            print(_HELP)
    text = ""
    while True:
        try:
            line = read(_MORE if text else _PROMPT)
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
            _attempt(lambda line=line: _command(line.strip()))  # type: ignore[misc]
            continue
        text = f"{text}\n{line}" if text else line.strip()
        if is_complete(text, engine.name):
            statements, text = text, ""
            _attempt(lambda statements=statements: _answer(engine, statements, parameters))  # type: ignore[misc]


def _attempt(do: Callable[[], None]) -> None:
    try:
        do()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    except Exception as error:
        print(error_line(error), file=sys.stderr)


def _answer(engine: Engine, sql: str, parameters: Mapping[str, str]) -> None:
    named = {text for kind, text in tokens(sql, engine.name) if kind == "parameter"}
    for reader in engine.query(sql, {name: value for name, value in parameters.items() if name in named}):
        write(reader, "table", None)


def _command(line: str) -> None:
    command, _, rest = line.partition(" ")
    if command != r"\d":
        raise RepriseError(rf"there is no command {command}: {_HELP}")
    describe(rest.strip().rstrip(";"))


def complete(text: str) -> list[str]:
    """Names and words of SQL that begin with ``text``."""
    names = {*TABLES, *VIEWS}
    names |= {column.name for table in TABLES.values() for column in table.columns}
    names |= {name for view in VIEWS.values() for name in view.columns}
    words = [word.upper() if text.isupper() else word for word in _WORDS.split()]
    return sorted(name for name in {*names, *words} if name.startswith(text))


def _remember() -> None:
    """Turn completion and the history on, which is kept from one prompt to the next."""
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
    except OSError:  # a home that cannot be written: then there is none
        return
    atexit.register(readline.write_history_file, history)
