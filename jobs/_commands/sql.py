"""Query the tables in SQL: one query, a file of statements, or a prompt.

--describe lists the names of tables and views. In a query, :name stands for the text given with --param name=text; use
CAST(:name AS INT) for a number. Without --write, a query only reads. With --write, DuckDB may COPY to files, and Spark
statements may change the tables. The command adds no row to job_runs.
"""

import argparse
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from reprise.conf import SettingsError
from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
    add_settings_options,
    read_settings,
)
from reprise.jobs._engine.console import print_error
from reprise.jobs._sql.descriptions import describe, query_error_line
from reprise.jobs._sql.engine import Engine, open_engine
from reprise.jobs._sql.output import FORMATS, write_result


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise sql``."""
    parser = Parser("sql", __doc__ or "")
    parser.add_argument(
        "query", nargs="?", metavar="SQL", help="statements; opens a prompt if neither SQL nor --file is given"
    )
    parser.add_argument("--file", metavar="FILE", help="read the statements from FILE, or from stdin if FILE is -")
    parser.add_argument(
        "--engine", choices=("duckdb", "spark"), default="duckdb", help="query engine (default: duckdb)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="table",
        help="output format (default: table, which shows only the first 100 rows)",
    )
    parser.add_argument("--out", metavar="FILE", help="write the result to a file; required with --format parquet")
    parser.add_argument(
        "--param", metavar="NAME=VALUE", action="append", default=[], help="value of the parameter :NAME"
    )
    parser.add_argument(
        "--describe", metavar="TABLE", nargs="?", const="", help="list all tables and views, or the columns of TABLE"
    )
    parser.add_argument("--write", action="store_true", help="allow statements that write files or change tables")
    add_settings_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise sql`` with the command line ``argv`` and return the exit code.

    The exit code is 1 for a failed query, 2 for bad usage and 130 for an interrupted command.
    """
    try:
        return _run(make_parser().parse_args(argv))
    except (SettingsError, UsageError) as error:
        print_error("sql", str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        print_error("sql", "interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the program that reads the output, e.g. head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except Exception as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        print_error("sql", query_error_line(error))
        return EXIT_FAILED


def _run(args: argparse.Namespace) -> int:
    if args.describe is not None:
        describe(args.describe)
        return EXIT_OK
    if args.query is not None and args.file is not None:
        raise UsageError("give a query or --file, not both")
    if args.format == "parquet" and args.out is None:
        raise UsageError("--format parquet needs --out FILE")
    parameters = _parse_parameters(args.param)
    with tempfile.TemporaryDirectory(prefix="reprise-sql-") as folder:
        # without this setting, Spark creates a folder spark-warehouse in the current folder
        settings = read_settings(args, [f"spark.sql.warehouse.dir={folder}"])
        sql = _read_sql(args)
        with open_engine(settings, args.engine, args.write) as engine:
            if sql is None:
                from reprise.jobs._sql.prompt import run_prompt

                run_prompt(engine, parameters)
            else:
                _run_query(engine, sql, parameters, args.format, args.out)
    return EXIT_OK


def _parse_parameters(given: Iterable[str]) -> dict[str, str]:
    parameters = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"--param takes NAME=VALUE, not {text!r}")
        parameters[name] = value
    return parameters


def _read_sql(args: argparse.Namespace) -> str | None:
    """Return the statements from the command line or from the file. Return None if neither is given."""
    if args.file is None:
        return None if args.query is None else str(args.query)
    try:
        data = sys.stdin.buffer.read() if args.file == "-" else Path(args.file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"--file {args.file}: {error.strerror or error}; name a readable file") from None
    except UnicodeDecodeError:
        raise UsageError(f"--file {args.file} is not UTF-8 text: save it as UTF-8") from None


def _run_query(engine: Engine, sql: str, parameters: Mapping[str, str], output_format: str, out: str | None) -> None:
    count = 0
    for reader in engine.query(sql, parameters):
        count += 1
        if count > 1 and (output_format != "table" or out is not None):
            raise UsageError(f"--format {output_format} and --out take the result of one statement: give one statement")
        write_result(reader, output_format, out)
    if not count:
        raise UsageError("the query contains no statement: give at least one")
