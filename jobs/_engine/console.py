"""Terminal output: tables and one-line errors."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

from reprise.lib.errors import RepriseError

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without py4j
    from py4j.protocol import Py4JJavaError

_PAGE_WIDTH = 120


def print_grid(grid: Grid) -> None:
    """Print a table. Its maximum width is that of the terminal, or 120 characters if the output is not a terminal."""
    console = Console()
    (console if console.is_terminal else Console(width=_PAGE_WIDTH)).print(grid)


def print_error(command: str, message: str) -> None:
    """Print one line to stderr: the command and the message."""
    print(f"reprise {command}: {_on_one_line(message)}", file=sys.stderr)


def error_line(error: BaseException) -> str:
    """Return the message of an exception as one line."""
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import PySparkException

    if isinstance(error, RepriseError):
        return _on_one_line(str(error))
    text = _root_cause(error) if isinstance(error, Py4JJavaError) else str(error)
    if isinstance(error, (PySparkException, Py4JError)):
        lines = [line for line in re.sub(r" ?SQLSTATE: \w+", "", text).splitlines() if line.strip()]
        text = (lines[-1] if "Traceback" in text else lines[0]) if lines else ""
    return _on_one_line(f"{type(error).__name__}: {' '.join(text.split())[:500]} (--log-level DEBUG shows more)")


def _on_one_line(text: str) -> str:
    """Return ``text`` as one line of valid UTF-8. Paths in ``text`` can contain line breaks and invalid UTF-8."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").splitlines())


def _root_cause(error: Py4JJavaError) -> str:
    """Return the text of the innermost Java exception that has a message.

    The outer exceptions say only in which thread or task of Spark it was raised.
    """
    java, text = error.java_exception, str(error)
    while java is not None:
        text = java.toString() if java.getMessage() else text
        java = java.getCause()
    return text
