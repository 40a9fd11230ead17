"""What every job that writes tables guarantees, shown for each job of the chain."""

import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import functions as F

from reprise.jobs._engine import run as engine
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import JOB_RUNS, MANIFEST, MODELS, QUARANTINE, TABLES, Table
from tests.jobs.chain import (
    CHAIN,
    EVERYTHING,
    Chain,
    Job,
    assert_same_content,
    copy_warehouse,
    counted_commits,
    versions,
)
from tests.jobs.processes import Start, count_files, kill_at

RunJob = Callable[..., dict[str, Any]]
EACH_JOB = pytest.mark.parametrize("job", CHAIN, ids=[job.command for job in CHAIN])
WITH_BAD_INPUT = [job for job in CHAIN if job.bad]
SEED = 20110211
MANY_WRITES = [job for job in CHAIN if job.command.startswith(("ingest", "extract"))]
"""Jobs that write several tables, or one in several parts."""

SHARED = (MANIFEST, MODELS, QUARANTINE)
"""Tables that several jobs write."""


def rows(warehouse: Path, table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = Warehouse(str(warehouse)).lookup(table, table.key[0], *EVERYTHING).to_pylist()
    return found


def read_files(folder: Path) -> dict[str, bytes]:
    """Content of each file below a folder, which may be absent, by its place in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@EACH_JOB
def test_a_rerun_changes_no_table_and_does_no_work(
    job: Job, chain: Chain, warehouse: Warehouse, run_job: RunJob
) -> None:
    """Nor does it fail where bad inputs are allowed that were too many in the first run."""
    first = chain.summary(job)["counts"]
    assert all(first[name] > 0 for name in job.work), first
    copy_warehouse(chain.after(job.command), Path(warehouse.root))
    before = versions(warehouse)
    counts = run_job(job.module.main, *chain.arguments(job), "--max-bad", 1)["counts"]
    assert {name: counts.get(name, 0) for name in job.work} == dict.fromkeys(job.work, 0)
    assert versions(warehouse) == before


@EACH_JOB
def test_force_does_all_of_it_again_and_ends_in_the_same_rows(
    job: Job, chain: Chain, warehouse: Warehouse, run_job: RunJob
) -> None:
    """And files: what a model is and what is reported of it are made again, byte for byte."""
    first, done = chain.summary(job)["counts"], chain.after(job.command)
    copy_warehouse(done, Path(warehouse.root))
    if MODELS in job.writes:  # only what it reads stays
        shutil.rmtree(Path(warehouse.root, "_artifacts"))
        if Path(chain.before(job.command), "_artifacts").exists():
            shutil.copytree(Path(chain.before(job.command), "_artifacts"), Path(warehouse.root, "_artifacts"))
    summary = run_job(job.module.main, *chain.arguments(job), "--force", "--max-bad", 1)
    assert {name: summary["counts"][name] for name in job.work} == {name: first[name] for name in job.work}
    assert_same_content(Warehouse(str(done)), warehouse, job.writes, "attempts")
    made = {row["run_id"] for row in rows(Path(warehouse.root), job.writes[0])}
    assert made == {summary["run_id"]} if job.writes[0] not in SHARED else summary["run_id"] in made
    assert read_files(Path(warehouse.root, "_artifacts")) == read_files(Path(done, "_artifacts"))


@pytest.mark.parametrize("job", MANY_WRITES, ids=[job.command for job in MANY_WRITES])
def test_interrupted_between_two_writes_and_started_again_it_ends_in_the_same_rows(
    job: Job, chain: Chain, warehouse: Warehouse, run_job: RunJob
) -> None:
    copy_warehouse(chain.before(job.command), Path(warehouse.root))
    arguments = (*chain.arguments(job), "--max-bad", 1)
    with counted_commits(interrupt_at=chain.summary(job)["commits"] // 2 + 1):
        run_job(job.module.main, *arguments, exit_code=130)
    run_job(job.module.main, *arguments)
    assert_same_content(Warehouse(str(chain.after(job.command))), warehouse, job.writes)


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(job, marks=() if job.command == "ingest-msd" else pytest.mark.exhaustive, id=job.command)
        for job in CHAIN
    ],
)
def test_killed_at_a_random_moment_and_started_again_it_ends_in_the_same_rows(
    job: Job, chain: Chain, warehouse: Warehouse, start: Start, run_job: RunJob, tmp_path: Path
) -> None:
    """As a process, with the Spark that it has started or, one time in two, without it."""
    quiet = Warehouse(str(chain.after(job.command)))
    copy_warehouse(chain.before(job.command), Path(warehouse.root))
    arguments = (*chain.arguments(job), "--max-bad", 1)
    chance = random.Random(f"{SEED} {job.command}")
    before, most = count_files(warehouse), count_files(quiet)
    files = chance.randint(before + 1, before + max(1, 3 * (most - before) // 4))
    delay_s, alone = chance.uniform(0, 0.05), chance.random() < 0.5
    process = start(job.command, *arguments, "--warehouse", warehouse.root)
    killed = kill_at(process, warehouse, files, delay_s, alone=alone)
    there = count_files(warehouse) - before
    print(f"seed {SEED}: killed after {files - before} files and {delay_s:.3f} s, then {there}, of {most - before}")
    assert killed, (tmp_path / "said.txt").read_text()
    run_job(job.module.main, *arguments)
    assert_same_content(quiet, warehouse, job.writes)


@pytest.mark.parametrize("job", WITH_BAD_INPUT, ids=[job.command for job in WITH_BAD_INPUT])
def test_a_bad_input_is_one_row_of_quarantine_and_the_others_are_read(job: Job, chain: Chain) -> None:
    """Here it is more than is allowed: the job exits 3, and has written what was good."""
    summary = chain.summary(job)
    assert summary["status"] == "too_many_bad"
    rejected = [row for row in rows(chain.after(job.command), QUARANTINE) if row["stage"] == job.name]
    assert [row["uri"] for row in rejected] == [chain.bad(job)]
    assert summary["counts"]["quarantined"] == 1
    (row,) = rejected
    assert len(row["message"]) > 10
    assert row["message"].isprintable()
    assert (row["run_id"], row["attempts"]) == (summary["run_id"], 1)
    assert len(rows(chain.after(job.command), job.writes[0])) == job.rows


@EACH_JOB
def test_what_it_refuses_is_one_line(
    job: Job, spark: Any, warehouse: Warehouse, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a warehouse with nothing in it; where tables are missing the line says what to run first."""

    def start(_: Any) -> Any:
        assert not job.refuses_without_spark, "Spark was started"
        return spark

    monkeypatch.setattr(engine, "get_session", start)
    code = job.module.main([*job.refused, "--warehouse", warehouse.root])
    printed = capsys.readouterr()
    assert printed.err == f"reprise {job.command}: {job.says}\n"
    assert (code, printed.out) == (2, "")
    (record,) = rows(Path(warehouse.root), JOB_RUNS)
    assert (record["status"], record["error"]) == ("failed", job.says)


@EACH_JOB
def test_the_run_and_its_rows_are_on_record(job: Job, chain: Chain) -> None:
    summary, warehouse = chain.summary(job), chain.after(job.command)
    (record,) = (row for row in rows(warehouse, JOB_RUNS) if row["job"] == job.name)
    assert record["run_id"] == summary["run_id"]
    assert record["status"] == summary["status"] == ("too_many_bad" if job.bad else "succeeded")
    assert record["error"] is None
    assert json.loads(record["counts"]) == summary["counts"]
    assert record["seconds"] == summary["seconds"] > 0
    left = json.loads(record["output_versions"])
    assert left == summary["output_versions"]
    assert {name: version for name, version in left.items() if name != JOB_RUNS.name} == versions(
        Warehouse(str(warehouse))
    )
    before = versions(Warehouse(str(chain.before(job.command))))
    assert json.loads(record["input_versions"]).items() >= before.items()
    for table in job.writes:
        made = {row["run_id"] for row in rows(warehouse, table)}
        assert summary["run_id"] in made, table.name
        if table not in SHARED and table.name not in before:
            assert made == {summary["run_id"]}, table.name


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_row_keeps_the_contract_of_its_table(table: Table, spark: Any, chain: Chain) -> None:
    """The arrow writer does not evaluate constraints: its rows satisfy them by construction."""
    frame = Warehouse(str(chain.after(CHAIN[-1].command))).read(spark, table)
    broken = [F.count_if(~F.coalesce(F.expr(check), F.lit(False))).alias(name) for name, check in table.checks.items()]
    nulls = [F.count_if(F.col(c.name).isNull()).alias(c.name) for c in table.columns if not c.nullable]
    keys = F.count_distinct(*[F.col(k) for k in table.key]).alias("distinct_keys")
    row = frame.select(F.count("*").alias("all_rows"), keys, *broken, *nulls).first()
    assert row
    found = row.asDict()
    assert found.pop("all_rows") == found.pop("distinct_keys") > 0
    assert {name: n for name, n in found.items() if n} == {}


def test_every_table_is_written_by_a_job_of_the_chain() -> None:
    assert {table.name for job in CHAIN for table in job.writes} == TABLES.keys() - {JOB_RUNS.name}


def test_the_chain_has_every_job_that_writes_tables() -> None:
    """As the docstring of a job says; a job that writes none says that it writes nothing, or files."""
    said = {}
    for path in Path(engine.__file__).parents[1].glob("[a-z]*.py"):
        docstring = path.read_text("utf-8").partition('"""')[2].partition('"""')[0]
        writes = docstring.partition("\nWrites: ")[2].partition("\nGrain: ")[0].partition("\nRerun: ")[0]
        tables = set(re.findall("[a-z_]+", writes)) & (TABLES.keys() - {JOB_RUNS.name})
        if tables:
            said[path.stem] = tables
    assert said == {job.name: {table.name for table in job.writes} for job in CHAIN}
