"""What every job does around its work: arguments, settings, progress, the summary, ``job_runs`` and exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as Grid

from reprise import __version__
from reprise.conf import Settings, SettingsError, load
from reprise.jobs._engine.session import get_session
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.errors import RepriseError
from reprise.lib.tables import JOB_RUNS
from reprise.udfs.arrow import arrow_schema

if TYPE_CHECKING:  # a query in DuckDB does not wait for these
    from py4j.protocol import Py4JJavaError
    from pyspark.sql import SparkSession

# "spark.hadoop.fs.s3a.secret.key": "…" in the settings, "spark.hadoop.fs.s3a.secret.key=…" among the arguments
_SECRET = re.compile(r"""((?:secret|password|token|access\.?key)[^"=]*(?:": "|=))(?:\\.|[^"\\])*""", re.IGNORECASE)
_PAGE_WIDTH = 120
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_TOO_MANY_BAD, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class UsageError(RepriseError):
    """Arguments that make no sense; the job exits 2 with this line."""


@dataclass(frozen=True)
class Job:
    """A job as the command line sees it.

    Parameters
    ----------
    name
        Module name, verb_noun.
    doc
        Module docstring; its first line is the help.
    add_arguments
        Adds the job's own arguments to the parser.
    body
        The work. It leaves its figures in ``Run.counts``.
    prints_for_programs
        What the body prints is for another program to read: the summary goes to stderr, unless it is JSON.
    """

    name: str
    doc: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    body: Callable[[Run], None]
    prints_for_programs: bool = False


@dataclass
class Run:
    """One run of a job: what it was told, where it writes, and what it counted."""

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
        """The session, started when it is first needed."""
        with Console(stderr=True).status("starting Spark"):  # shows on a terminal only
            return get_session(self.settings)

    def count(self, **figures: int) -> None:
        """Add ``figures`` to the summary."""
        for name, figure in figures.items():
            self.counts[name] = self.counts.get(name, 0) + figure

    def progress(self, unit: str) -> Progress:
        """Progress bar on a terminal, silent elsewhere."""
        console = Console(stderr=True)
        return Progress(
            TextColumn(self.job), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal or self.args.json,
        )  # fmt: skip

    @property
    def status(self) -> str:
        """``too_many_bad`` when more than ``max_bad`` of the inputs are quarantined, else ``succeeded``."""
        too_many = self.bad_inputs > self.settings.max_bad * self.inputs
        return "too_many_bad" if too_many else "succeeded"


def parser_of(job: Job) -> argparse.ArgumentParser:
    """Parser of a job: its own arguments and those every job takes."""
    first_line, _, rest = job.doc.partition("\n")
    parser = Parser(
        prog=f"reprise {job.name.replace('_', '-')}",
        description=first_line,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    job.add_arguments(parser)
    common = parser.add_argument_group("every job")
    common.add_argument("--warehouse", metavar="DIR", help="root of the tables: a folder or any URI")
    common.add_argument("--max-bad", metavar="SHARE", help="exit 3 when more than this share of the inputs is bad")
    common.add_argument("--conf", metavar="KEY=VALUE", action="append", default=[], help="any setting, or spark.*")
    common.add_argument("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARN or ERROR")
    common.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run_job(job: Job, argv: Sequence[str] | None = None) -> int:
    """Run a job as its command line says and return the exit code.

    0: done. 1: failed, with one line that says why. 2: bad usage. 3: done, but more than ``--max-bad`` of the inputs
    are in quarantine. One ``job_runs`` row is written at the start and completed at the end.
    """
    try:
        args = parser_of(job).parse_args(argv)
        flags = {"warehouse": args.warehouse, "max_bad": args.max_bad, "log_level": args.log_level}
        settings = load([*args.conf, *(f"{key}={value}" for key, value in flags.items() if value is not None)])
        logging.basicConfig()
        logging.getLogger("reprise").setLevel(settings.log_level.replace("WARN", "WARNING"))
        run = Run(job.name, args, settings, Warehouse(absolute(settings.warehouse)))
        return _run_recorded(job, run)
    except (SettingsError, UsageError) as error:
        return _fail(job, str(error), EXIT_USAGE)
    except KeyboardInterrupt:
        return _fail(job, "interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        return _fail(job, one_line(error), EXIT_FAILED)


def absolute(place: str) -> str:
    """``place`` as workers in any folder understand it: an absolute path, or the URI that it is."""
    if place.startswith("file:"):
        place = "/" + place.removeprefix("file:").lstrip("/")
    return place if "://" in place else str(Path(place).absolute())


def existing(place: str) -> str:
    """``absolute(place)``, checked to exist where that takes no Hadoop.

    Raises
    ------
    UsageError
        When there is no such file or folder.
    """
    place = absolute(place)
    if "://" not in place and not os.path.lexists(place):
        raise UsageError(f"--source {place} does not exist")
    return place


def one_line(error: BaseException) -> str:
    """An exception as one line for a person."""
    from py4j.protocol import Py4JError, Py4JJavaError
    from pyspark.errors import PySparkException

    if isinstance(error, RepriseError):
        return _on_one_line(str(error))
    text = _reason(error) if isinstance(error, Py4JJavaError) else str(error)
    if isinstance(error, (PySparkException, Py4JError)):
        lines = [line for line in re.sub(r" ?SQLSTATE: \w+", "", text).splitlines() if line.strip()]
        text = (lines[-1] if "Traceback" in text else lines[0]) if lines else ""
    return _on_one_line(f"{type(error).__name__}: {' '.join(text.split())[:500]} (--log-level DEBUG shows more)")


def _on_one_line(text: str) -> str:
    """``text`` as a table can hold it: a path in it may have line breaks, or be no utf-8."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").splitlines())


def _reason(error: Py4JJavaError) -> str:
    """The innermost exception that says anything: what it is wrapped in tells of Spark's threads."""
    java, text = error.java_exception, str(error)
    while java is not None:
        text = java.toString() if java.getMessage() else text
        java = java.getCause()
    return text


def _run_recorded(job: Job, run: Run) -> int:
    started, clock = datetime.now(UTC), time.monotonic()
    record: dict[str, Any] = {
        "run_id": run.run_id,
        "job": run.job,
        "arguments": _SECRET.sub(
            r"\1(not shown)", json.dumps({**vars(run.args), "settings": run.settings.model_dump()})
        ),
        "status": "running",
        "started_at": started,
        "input_versions": json.dumps(run.warehouse.versions()),
        "reprise_version": __version__,
    }
    _record(run, record)
    outcome: dict[str, Any] = {"status": "failed"}
    try:
        job.body(run)
        outcome = {"status": run.status}
    except BaseException as error:
        outcome["error"] = one_line(error)
        raise
    finally:
        outcome["seconds"] = round(time.monotonic() - clock, 3)
        outcome["counts"] = json.dumps(run.counts)
        outcome["output_versions"] = json.dumps(run.warehouse.versions())
        _record(run, record | outcome)
    with redirect_stdout(sys.stderr if job.prints_for_programs and not run.args.json else sys.stdout):
        _print_summary(run, outcome)
    if run.status == "too_many_bad":
        return _fail(
            job,
            f"{run.bad_inputs} of {run.inputs} inputs are in quarantine, more than --max-bad {run.settings.max_bad:g};"
            " the rest is written",
            EXIT_TOO_MANY_BAD,
        )
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
    for name, figure in run.counts.items():
        grid.add_row(name.replace("_", " "), f"{figure:,}")
    print_grid(grid)


def print_grid(grid: Grid) -> None:
    """Print a table, as wide as the terminal or where there is none as a page."""
    console = Console()
    (console if console.is_terminal else Console(width=_PAGE_WIDTH)).print(grid)


def _fail(job: Job, message: str, code: int) -> int:
    print(f"reprise {job.name.replace('_', '-')}: {_on_one_line(message)}", file=sys.stderr)
    return code


class Parser(argparse.ArgumentParser):
    """One whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        """One line, where argparse would print the whole usage first."""
        raise UsageError(f"{message} (see --help)")
