"""Ask the tables in SQL: one query, a file of them, or a prompt.

Tables and views have the names that --describe lists. In a query :name stands for the text given with --param
name=text; CAST(:name AS INT) makes a number of it. A query only reads, and leaves no row in job_runs. With --write
DuckDB may COPY to files, and in Spark statements may change the tables themselves.
"""

import argparse
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.conf import SettingsError, load
from reprise.jobs._engine.run import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
)
from reprise.jobs._sql.descriptions import describe, error_line
from reprise.jobs._sql.engine import Engine, open_engine
from reprise.jobs._sql.output import FORMATS, write

if TYPE_CHECKING:
    pass


def parser() -> argparse.ArgumentParser:
    """Parser of ``reprise sql``."""
    first_line, _, rest = (__doc__ or "").partition("\n")
    made = Parser(
        prog="reprise sql",
        description=first_line,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("query", nargs="?", metavar="SQL", help="statements; without them and --file a prompt")
    made.add_argument("--file", metavar="FILE", help="read the statements from a file, - for stdin")
    made.add_argument("--engine", choices=("duckdb", "spark"), default="duckdb", help="default: duckdb")
    made.add_argument("--format", choices=FORMATS, default="table", help="default: table, the first rows for people")
    made.add_argument("--out", metavar="FILE", help="write the answer to a file; parquet needs one")
    made.add_argument("--param", metavar="NAME=VALUE", action="append", default=[], help="text for :NAME")
    made.add_argument(
        "--describe", metavar="TABLE", nargs="?", const="", help="list tables and views, or one's columns"
    )
    made.add_argument("--write", action="store_true", help="let statements write")
    made.add_argument("--warehouse", metavar="DIR", help="root of the tables: a folder or any URI")
    made.add_argument("--conf", metavar="KEY=VALUE", action="append", default=[], help="any setting, or spark.*")
    made.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARN or ERROR")
    return made


def main(argv: list[str] | None = None) -> int:
    """Answer as the command line says and return the exit code: 1 for a query that fails, 2 for bad usage."""
    try:
        return _run(parser().parse_args(argv))
    except (SettingsError, UsageError) as error:
        return _fail(str(error), EXIT_USAGE)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:  # as when piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        return _fail(error_line(error), EXIT_FAILED)


def _run(args: argparse.Namespace) -> int:
    if args.describe is not None:
        describe(args.describe)
        return EXIT_OK
    if args.query is not None and args.file is not None:
        raise UsageError("give a query or --file, not both")
    if args.format == "parquet" and args.out is None:
        raise UsageError("--format parquet needs --out FILE")
    parameters = _parameters(args.param)
    with tempfile.TemporaryDirectory(prefix="reprise-sql-") as folder:
        level = [] if args.log_level is None else [f"log_level={args.log_level}"]
        place = [] if args.warehouse is None else [f"warehouse={args.warehouse}"]
        # else Spark makes a folder for tables of its own below the current one
        settings = load([f"spark.sql.warehouse.dir={folder}", *args.conf, *level, *place])
        logging.basicConfig()
        logging.getLogger("reprise").setLevel(settings.log_level.replace("WARN", "WARNING"))
        sql = _text(args)
        with open_engine(settings, args.engine, args.write) as engine:
            if sql is None:
                from reprise.jobs._sql.prompt import run_prompt

                run_prompt(engine, parameters)
            else:
                _answer(engine, sql, parameters, args.format, args.out)
    return EXIT_OK


def _parameters(given: Iterable[str]) -> dict[str, str]:
    parameters = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"--param takes NAME=VALUE, not {text!r}")
        parameters[name] = value
    return parameters


def _text(args: argparse.Namespace) -> str | None:
    """Return the statements, None where none are given."""
    if args.file is None:
        return None if args.query is None else str(args.query)
    try:
        data = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--file {args.file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--file {args.file} is not a text in utf-8") from None


def _answer(engine: Engine, sql: str, parameters: Mapping[str, str], form: str, out: str | None) -> None:
    count = 0
    for reader in engine.query(sql, parameters):
        count += 1
        if count > 1 and (form != "table" or out is not None):
            raise UsageError(f"--format {form} and --out take the answer of one statement")
        write(reader, form, out)
    if not count:
        raise UsageError("there is no statement in the query")


def _fail(message: str, code: int) -> int:
    print(f"reprise sql: {' '.join(message.encode('utf-8', 'replace').decode().split())}", file=sys.stderr)
    return code
