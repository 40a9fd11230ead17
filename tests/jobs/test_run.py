"""What every job does around its work: exit codes, ``job_runs``, the summary, and errors of one line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql.functions import udf

from reprise import __version__
from reprise.jobs._engine import run as engine
from reprise.jobs._engine.command_line import UsageError, absolute_location, existing_location
from reprise.jobs._engine.console import error_line
from reprise.jobs._engine.run import Job, Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.errors import InputError
from reprise.lib.tables import JOB_RUNS, QUARANTINE, TABLES

DOC = """Do a thing.

Reads:  nothing.
Writes: nothing.
"""
Body = Callable[[Run], None]
Records = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("REPRISE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    """What runs put on record, kept here instead of in a warehouse."""
    kept: Records = []
    monkeypatch.setattr(engine, "_record", lambda _, record: kept.append(record))
    return kept


def rows(warehouse: Warehouse) -> Records:
    found: Records = Warehouse(warehouse.root).lookup(JOB_RUNS, "run_id", "", "~").to_pylist()
    return found


def run(warehouse: Warehouse, body: Body, *args: str) -> int:
    def add_arguments(parser: Any) -> None:
        parser.add_argument("--colour", default="red")

    return engine.run_job(Job("do_thing", DOC, add_arguments, body), ["--warehouse", warehouse.root, *args])


def one_line_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What is on stderr, which is one line and no traceback."""
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    assert err.startswith("reprise do-thing: ")
    assert "Traceback" not in err
    return err.removeprefix("reprise do-thing: ").rstrip("\n")


def test_a_run_has_a_row_from_its_start_and_the_next_run_another(warehouse: Warehouse) -> None:
    before = datetime.now(UTC)
    seen: Records = []

    def body(run: Run) -> None:
        seen.extend(rows(warehouse))
        assert seen[0]["run_id"] == run.run_id
        warehouse.lookup(QUARANTINE, "uri", "", "")

    assert run(warehouse, body) == 0
    (start,) = seen
    assert (start["job"], start["status"], start["reprise_version"]) == ("do_thing", "running", __version__)
    assert [start[name] for name in ("seconds", "output_versions", "counts", "error")] == [None] * 4
    assert before <= start["started_at"] <= datetime.now(UTC)
    (end,) = rows(warehouse)
    changed = {name for name in end if end[name] != start[name]}
    assert changed == {"status", "seconds", "output_versions", "counts"}
    assert end["status"] == "succeeded"
    assert end["seconds"] >= 0
    assert json.loads(start["input_versions"]) == {}
    assert json.loads(end["output_versions"]).keys() == {JOB_RUNS.name, QUARANTINE.name}
    assert run(warehouse, lambda _: None) == 0
    (second,) = (row for row in rows(warehouse) if row["run_id"] != end["run_id"])
    assert len(rows(warehouse)) == 2
    assert json.loads(second["input_versions"]).keys() == {JOB_RUNS.name, QUARANTINE.name}
    assert json.loads(second["input_versions"])[JOB_RUNS.name] > 0


def test_summary_for_a_person(warehouse: Warehouse, records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    def body(run: Run) -> None:
        run.count(tracks_read=1200, skipped=0)
        run.count(tracks_read=34)

    assert run(warehouse, body) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith("do_thing: succeeded in ")
    assert "tracks read" in printed.out
    assert "1,234" in printed.out
    assert json.loads(records[-1]["counts"]) == {"tracks_read": 1234, "skipped": 0}


def test_summary_for_a_program(warehouse: Warehouse, records: Records, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(warehouse, lambda run: run.count(rows=2), "--json") == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert (summary["job"], summary["status"], summary["counts"]) == ("do_thing", "succeeded", {"rows": 2})
    assert (summary["run_id"], summary["seconds"]) == (records[-1]["run_id"], records[-1]["seconds"])
    assert summary["output_versions"] == json.loads(records[-1]["output_versions"])
    assert printed.err == ""


@pytest.mark.parametrize(
    ("inputs", "bad", "max_bad", "code"),
    [(100, 5, None, 0), (100, 6, None, 3), (0, 0, "0", 0), (9, 1, "0", 3), (3, 3, "1", 0), (10, 1, "0.1", 0)],
)
def test_too_many_bad_inputs(
    inputs: int,
    bad: int,
    max_bad: str | None,
    code: int,
    warehouse: Warehouse,
    records: Records,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(run: Run) -> None:
        run.inputs, run.bad_inputs = inputs, bad

    assert run(warehouse, body, "--json", *(["--max-bad", max_bad] if max_bad else [])) == code
    assert records[-1]["status"] == ("too_many_bad" if code else "succeeded")
    assert "error" not in records[-1]
    printed = capsys.readouterr()
    assert json.loads(printed.out)["status"] == records[-1]["status"]
    assert printed.err.count("\n") == bool(code)
    assert (f"{bad} of {inputs} inputs are in quarantine" in printed.err) == bool(code)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("no such\n  chord\n"), 1, "ValueError: no such chord (--log-level DEBUG shows more)"),
        (InputError("not_hdf5", "song.h5 is no HDF5 file"), 1, "song.h5 is no HDF5 file"),
        (UsageError("--colour is red or blue"), 2, "--colour is red or blue"),
        (UsageError("no folder a\nb"), 2, "no folder a b"),
        (UsageError("no folder caf\udce9"), 2, "no folder caf"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "MemoryError"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    says: str,
    warehouse: Warehouse,
    records: Records,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(run: Run) -> None:
        run.count(rows=1)
        raise error

    assert run(warehouse, body, "--json") == code
    assert says in one_line_of(capsys)
    assert [record["status"] for record in records] == ["running", "failed"]
    assert json.loads(records[-1]["counts"]) == {"rows": 1}
    assert records[-1]["error"]
    assert "\n" not in records[-1]["error"]
    assert "Traceback" not in records[-1]["error"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--shape", "x"], "unrecognized arguments: --shape x (see --help)"),
        (["a\nb"], "unrecognized arguments: a b"),
        (["--col", "blue"], "unrecognized arguments: --col blue"),
        (["--conf", "seed"], "--conf takes KEY=VALUE, not 'seed'"),
        (["--conf", "sed=1"], "unknown setting 'sed'"),
        (["--conf", "profile=moon"], "unknown profile 'moon'"),
        (["--conf"], "expected one argument"),
        (["--max-bad", "2"], "setting 'max_bad'"),
        (["--max-bad", "-1"], "max_bad"),
        (["--max-bad", "few"], "setting 'max_bad'"),
        (["--log-level", "LOUD"], "setting 'log_level'"),
        (["--warehouse", ""], "setting 'warehouse'"),
    ],
)
def test_bad_usage(args: list[str], says: str, warehouse: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(warehouse, lambda _: pytest.fail("the job ran"), *args) == 2
    assert says in one_line_of(capsys)
    assert not Path(warehouse.root).exists()


def test_a_warehouse_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert run(Warehouse(str(tmp_path / "file")), lambda _: pytest.fail("the job ran")) == 1
    assert "file" in one_line_of(capsys)


def test_settings_reach_the_run(warehouse: Warehouse, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRISE_FILES_PER_TASK", "7")
    monkeypatch.setenv("REPRISE_SEED", "1")
    runs: list[Run] = []
    flags = ["--conf", "seed=5", "--conf", "max_bad=0.1", "--max-bad", "0.2", "--conf", "spark.extra=x=y"]
    assert run(warehouse, runs.append, *flags, "--log-level", "WARN", "--colour", "blue") == 0
    settings = runs[0].settings
    assert (settings.files_per_task, settings.seed, settings.max_bad, settings.log_level) == (7, 5, 0.2, "WARN")
    assert settings.spark["spark.extra"] == "x=y"
    assert (runs[0].args.colour, runs[0].warehouse.root) == ("blue", warehouse.root)
    arguments = json.loads(records[-1]["arguments"])
    assert arguments["colour"] == "blue"
    assert arguments["settings"] == json.loads(settings.model_dump_json())


def test_a_warehouse_is_absolute_for_workers_in_any_folder(
    tmp_path: Path, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs: list[Run] = []
    assert engine.run_job(Job("do_thing", DOC, lambda _: None, runs.append), []) == 0
    assert runs[0].warehouse.root == str(tmp_path / "warehouse")
    assert len(records) == 2


def test_a_killed_run_stays_running(warehouse: Warehouse) -> None:
    code = """if True:
        import os, signal, sys
        from reprise.jobs._engine.run import Job, run_job
        kill = lambda run: os.kill(os.getpid(), signal.SIGKILL)
        run_job(Job("do_thing", "Do a thing.", lambda parser: None, kill), ["--warehouse", sys.argv[1]])
    """
    killed = subprocess.run([sys.executable, "-c", code, warehouse.root], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [row["status"] for row in rows(warehouse)] == ["running"]


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/data/msd", "/data/msd"),
        ("file:/data/msd", "/data/msd"),
        ("file:///data/msd", "/data/msd"),
        ("hdfs://name:8020/msd", "hdfs://name:8020/msd"),
        ("s3a://bucket/msd", "s3a://bucket/msd"),
        ("here", f"{Path.cwd()}/here"),
        ("./a b", f"{Path.cwd()}/a b"),
    ],
)
def test_absolute_location(location: str, expected: str) -> None:
    assert absolute_location(location) == expected


def test_existing_location(tmp_path: Path) -> None:
    assert existing_location(str(tmp_path)) == existing_location(tmp_path.as_uri()) == str(tmp_path)
    assert existing_location("s3a://bucket/nowhere") == "s3a://bucket/nowhere"  # only Hadoop can tell


@pytest.mark.parametrize("source", ["nowhere", "file:/nowhere/at all", "no\nwhere", "caf\udce9"])
def test_a_source_that_does_not_exist(
    source: str, tmp_path: Path, warehouse: Warehouse, records: Records, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(warehouse, lambda _: print(existing_location(source))) == 2
    said = one_line_of(capsys)
    assert said.startswith("--source /")
    assert said.endswith(" does not exist: name an existing file or folder")


def test_spark_s_errors_are_one_line_that_says_why(spark: Any, warehouse: Warehouse) -> None:
    def chord(number):  # Spark takes a function with type hints for another kind
        raise ValueError(f"no chord {number}")

    with pytest.raises(Exception, match="no chord") as caught:
        spark.range(1).select(udf(chord, "int")("id")).collect()
    assert "ValueError: no chord 0" in error_line(caught.value)
    assert "\n" not in error_line(caught.value)
    with pytest.raises(Exception, match="nowhere") as caught:
        spark.read.parquet(f"{warehouse.root}/nowhere")
    assert f"{warehouse.root}/nowhere" in error_line(caught.value)
    assert "JVM stacktrace" not in error_line(caught.value)


def test_statuses_are_those_of_the_contract() -> None:
    for status in ("running", "succeeded", "too_many_bad", "failed"):
        assert f"'{status}'" in TABLES["job_runs"].checks["status_known"]


def test_secrets_stay_out_of_the_record(warehouse: Warehouse, records: Records) -> None:
    settings = [
        'spark.hadoop.fs.s3a.secret.key=qzq\\c"qzz',
        "spark.hadoop.fs.s3a.access.key=efgh",
        "spark.my.password=ijkl",
    ]
    flags = [flag for setting in settings for flag in ("--conf", setting)]
    assert run(warehouse, lambda _: None, *flags, "--conf", "spark.plain=seen") == 0
    for record in records:
        arguments = json.loads(record["arguments"])
        assert not any(part in record["arguments"] for part in ("qzq", "qzz", "efgh", "ijkl"))
        assert arguments["settings"]["spark"]["spark.plain"] == "seen"
        assert arguments["settings"]["spark"]["spark.my.password"] == "(not shown)"
