"""One run of a job: settings, session, progress, the summary, its ``job_runs`` row and the exit code."""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from reprise import __version__
from reprise.conf import Settings, SettingsError
from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TOO_MANY_BAD,
    EXIT_USAGE,
    Parser,
    UsageError,
    absolute_location,
    add_settings_options,
    read_settings,
)
from reprise.jobs._engine.console import error_line, print_error, print_grid
from reprise.jobs._engine.session import get_session
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import JOB_RUNS
from reprise.udfs.arrow import arrow_schema

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pyspark
    from pyspark.sql import SparkSession

# Matches "spark.hadoop.fs.s3a.secret.key": "…" in the settings and "spark.hadoop.fs.s3a.secret.key=…" in arguments.
_SECRET = re.compile(r"""((?:secret|password|token|access\.?key)[^"=]*(?:": "|=))(?:\\.|[^"\\])*""", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """Definition of a job. `make_parser` and `run_job` make its sub-command from it.

    Parameters
    ----------
    name
        Module name: a verb and its object, in lower case with underscores, e.g. ``train_cover_index``.
    doc
        Module docstring. ``--help`` prints its first line as the description, and the rest after the options.
    add_arguments
        Function that adds the job's own arguments to the parser.
    body
        Function that does the work. It adds its counts to ``Run.counts``.
    prints_for_programs
        Whether the body prints output for another program. If so, the summary goes to stderr, unless it is JSON.
    needs_warehouse
        Function of the arguments. If it returns False, the run is recorded only in a warehouse that exists already.
    """

    name: str
    doc: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    body: Callable[[Run], None]
    prints_for_programs: bool = False
    needs_warehouse: Callable[[argparse.Namespace], bool] = lambda _: True

    @property
    def command(self) -> str:
        """Name of the subcommand of ``reprise``."""
        return self.name.replace("_", "-")


@dataclass
class Run:
    """One run of a job: its arguments, settings, warehouse and counts."""

    job: str
    args: argparse.Namespace
    settings: Settings
    warehouse: Warehouse
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    counts: dict[str, int] = field(default_factory=dict)
    inputs: int = 0
    bad_inputs: int = 0

    @cached_property
    def spark(self) -> SparkSession:
        """The Spark session. It is started when this property is first read."""
        with Console(stderr=True).status("starting Spark"):  # shown only on a terminal
            return get_session(self.settings)

    def count(self, **counts: int) -> None:
        """Add ``counts`` to the counts that the summary shows."""
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count

    def progress(self, unit: str) -> Progress:
        """Return a progress bar. It is hidden if stderr is not a terminal, and with ``--json``."""
        console = Console(stderr=True)
        return Progress(
            TextColumn(self.job), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal or self.args.json,
        )  # fmt: skip

    @property
    def status(self) -> str:
        """``too_many_bad`` if the share of inputs in quarantine exceeds ``max_bad``, otherwise ``succeeded``."""
        too_many = self.bad_inputs > self.settings.max_bad * self.inputs
        return "too_many_bad" if too_many else "succeeded"


def make_parser(job: Job) -> argparse.ArgumentParser:
    """Make the argument parser of a job, with the job's own arguments and those that all jobs share."""
    parser = Parser(job.command, job.doc)
    job.add_arguments(parser)
    common = parser.add_argument_group("every job")
    common.add_argument("--max-bad", metavar="SHARE", help="exit with 3 if a larger share of inputs is bad")
    add_settings_options(common)
    common.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run_job(job: Job, argv: Sequence[str] | None = None) -> int:
    """Run a job with the command line ``argv`` and return the exit code.

    The exit codes are:

    - 0: the job is done.
    - 1: the job failed. One line on stderr gives the reason.
    - 2: bad usage.
    - 3: the job is done, but the share of inputs in quarantine exceeds ``--max-bad``.
    - 130: the job was interrupted.

    A ``job_runs`` row is written at the start of the job, and updated at its end.
    """
    try:
        args = make_parser(job).parse_args(argv)
        settings = read_settings(args)
        run = Run(job.name, args, settings, Warehouse(absolute_location(settings.warehouse)))
        return _run_recorded(job, run)
    except (SettingsError, UsageError) as error:
        print_error(job.command, str(error))
        return EXIT_USAGE
    except KeyboardInterrupt:
        print_error(job.command, "interrupted")
        return EXIT_INTERRUPTED
    except Exception as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        print_error(job.command, error_line(error))
        return EXIT_FAILED


def _run_recorded(job: Job, run: Run) -> int:
    started, clock = datetime.now(UTC), time.monotonic()
    arguments = json.dumps({**vars(run.args), "settings": run.settings.model_dump()})
    record: dict[str, Any] = {
        "run_id": run.run_id,
        "job": run.job,
        "arguments": _SECRET.sub(r"\1(not shown)", arguments),
        "status": "running",
        "started_at": started,
        "input_versions": json.dumps(run.warehouse.versions()),
        "reprise_version": __version__,
    }
    is_recorded = job.needs_warehouse(run.args) or run.warehouse.exists(JOB_RUNS)
    if is_recorded:
        _record(run, record)
    outcome: dict[str, Any] = {"status": "failed"}
    try:
        job.body(run)
        outcome = {"status": run.status}
    except BaseException as error:
        outcome["error"] = error_line(error)
        raise
    finally:
        outcome["seconds"] = round(time.monotonic() - clock, 3)
        outcome["counts"] = json.dumps(run.counts)
        outcome["output_versions"] = json.dumps(run.warehouse.versions())
        if is_recorded:
            _record(run, record | outcome)
    with redirect_stdout(sys.stderr if job.prints_for_programs and not run.args.json else sys.stdout):
        _print_summary(run, outcome)
    if run.status == "too_many_bad":
        print_error(
            job.command,
            f"{run.bad_inputs} of {run.inputs} inputs are in quarantine, more than --max-bad {run.settings.max_bad:g};"
            " the other inputs are written: see the table quarantine for the reasons",
        )
        return EXIT_TOO_MANY_BAD
    return EXIT_OK


def _record(run: Run, record: dict[str, Any]) -> None:
    run.warehouse.merge(JOB_RUNS, pa.Table.from_pylist([record], schema=arrow_schema(JOB_RUNS)))


def _print_summary(run: Run, outcome: dict[str, Any]) -> None:
    if run.args.json:
        summary = {"job": run.job, "run_id": run.run_id, **outcome, "counts": run.counts}
        summary["output_versions"] = json.loads(outcome["output_versions"])
        print(json.dumps(summary))
        return
    print(f"{run.job}: {outcome['status'].replace('_', ' ')} in {outcome['seconds']:.1f} s")
    if not run.counts:
        return
    grid = Grid()
    grid.add_column("what")
    grid.add_column("count", justify="right")
    for name, count in run.counts.items():
        grid.add_row(name.replace("_", " "), f"{count:,}")
    print_grid(grid)
