"""Fixtures of the jobs' tests: the chain, jobs that refuse, and rows as the tables and views of both SQL engines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from reprise import conf
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Job, Run, make_parser
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.spark_views import create_temporary_views
from reprise.lib.tables import TABLES
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import arrow_schema, spark_schema
from tests.jobs.chain import chain as chain
from tests.jobs.chain import real as real
from tests.jobs.processes import start as start

Rows = list[dict[str, Any]]
Data = Mapping[str, Rows | pa.Table]
Ask = Callable[..., Rows]


def job_of(module: ModuleType) -> Job:
    """What the module of a job hands to the engine."""
    jobs: list[Job] = []

    def keep(job: Job, argv: object) -> int:
        jobs.append(job)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_job", keep)
        module.main([])
    return jobs[0]


@pytest.fixture
def prepare(warehouse: Warehouse) -> Callable[..., tuple[Job, Run]]:
    """A job with some arguments, and a run of it on ``warehouse`` that is not started: to call parts of the job."""

    def make(module: ModuleType, *arguments: object) -> tuple[Job, Run]:
        job = job_of(module)
        args = make_parser(job).parse_args([*map(str, arguments)])
        return job, Run(job.name, args, conf.load(args.conf, environ={}), Warehouse(warehouse.root))

    return make


@pytest.fixture
def refusal(prepare: Callable[..., tuple[Job, Run]]) -> Callable[..., str]:
    """Why a job refuses some arguments, without a run of it: the engine makes one line and an exit code of it."""

    def run_body(module: ModuleType, *arguments: object) -> None:
        job, run = prepare(module, *arguments)
        job.body(run)

    def ask(module: ModuleType, *arguments: object) -> str:
        with pytest.raises(UsageError) as refused:
            run_body(module, *arguments)
        return str(refused.value)

    return ask


@pytest.fixture
def shown(prepare: Callable[..., tuple[Job, Run]], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a job prints for a person, without a run of it: the engine adds its summary to that."""

    def ask(module: ModuleType, *arguments: object) -> str:
        capsys.readouterr()
        job, run = prepare(module, *arguments)
        job.body(run)
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return ask


def _to_arrow(name: str, rows: Rows | pa.Table) -> pa.Table:
    """Rows of a table; what must not be NULL and is not given is empty."""
    if isinstance(rows, pa.Table):
        return rows
    table = TABLES[name]
    blank = {"string": "", "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    fill = {c.name: blank.get(c.type, 0) for c in table.columns if not c.nullable}
    return pa.Table.from_pylist([{**fill, **row} for row in rows], schema=arrow_schema(table))


@pytest.fixture(scope="session")
def in_duckdb() -> Callable[[Data], AbstractContextManager[Ask]]:
    """A DuckDB database with the tables and views of some rows: asks it, and gives the rows of the answer."""

    @contextmanager
    def connect(data: Data) -> Iterator[Ask]:
        with duckdb.connect() as connection:
            for name in TABLES:
                connection.register(name, _to_arrow(name, data.get(name, [])))
            for view in VIEWS.values():
                parameters = f"({', '.join(view.parameters)}) AS TABLE" if view.parameters else " AS"
                kind = "MACRO" if view.parameters else "VIEW"
                connection.execute(f"CREATE TEMPORARY {kind} {view.name}{parameters} {view.sql}")

            def ask(query: str, **parameters: str) -> Rows:
                cursor = connection.execute(query.replace(":", "$"), parameters or None)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

            yield ask

    return connect


@pytest.fixture(scope="session")
def ask_spark(spark: Any) -> Callable[[Data], Ask]:
    """A Spark session with the tables and views of some rows: asks it, and gives the rows of the answer."""

    def prepare(data: Data) -> Ask:
        session = spark.newSession()
        # Delta's parser passes no parameters on
        session.conf.set("spark.sql.legacy.parameterSubstitution.constantsOnly", "true")
        frames = {
            name: session.createDataFrame(_to_arrow(name, rows), spark_schema(TABLES[name]))
            for name, rows in data.items()
        }
        create_temporary_views(session, frames)

        def ask(query: str, **parameters: str) -> Rows:
            return [row.asDict() for row in session.sql(query, parameters).collect()]

        return ask

    return prepare
