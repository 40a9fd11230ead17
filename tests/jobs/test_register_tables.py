"""Other doors to the tables: what spark-sql, a Thrift server and beeline see after register-tables."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from reprise.jobs import register_tables
from reprise.jobs._engine import cli as _cli
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.quoting import spark_string
from reprise.lib.tables import GENRE_LABELS, JOB_RUNS, PLAYS, TABLES
from reprise.lib.tables.views import VIEWS
from reprise.udfs.arrow import arrow_schema

SPARK = ["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2", "--driver-memory", "1g"]
SPARK += ["--conf", "spark.databricks.delta.snapshotPartitions=2", "--conf", "spark.driver.host=127.0.0.1"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A warehouse of two tables in a folder of hostile name."""
    folder = tmp_path / 'it\'s; --"a" ${x} é' / "w"
    rows = [{"user_id": "u", "song_id": "S", "source": "s", "play_count": 2, "run_id": "r"}]
    Warehouse(str(folder)).merge(PLAYS, pa.Table.from_pylist(rows, schema=arrow_schema(PLAYS)))
    label = {"track_id": "T", "source": "s", "rank": 0, "genre": "Rock", "run_id": "r"}
    Warehouse(str(folder)).merge(GENRE_LABELS, pa.Table.from_pylist([label], schema=arrow_schema(GENRE_LABELS)))
    return folder


def versions(root: Path) -> dict[str, int]:
    return {name: version for name, version in Warehouse(str(root)).versions().items() if name != JOB_RUNS.name}


def environment() -> dict[str, str]:
    """As in an environment that is activated."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def write_ddl(root: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert _cli.main(["register-tables", "--warehouse", str(root)]) == 0
    text = capsys.readouterr().out
    file.write_text(text, "utf-8")
    return text


def test_the_ddl_names_everything_and_is_the_same_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[..., Any]
) -> None:
    text = write_ddl(root, tmp_path / "a.sql", capsys)
    made = versions(root)
    assert made.keys() == TABLES.keys() - {JOB_RUNS.name}
    assert text.startswith("CREATE DATABASE IF NOT EXISTS `reprise`;\nUSE `reprise`;\n")
    assert text.endswith(";\n")
    assert all(f"CREATE TABLE IF NOT EXISTS `{name}` USING delta LOCATION '" in text for name in TABLES)
    assert all(f" {name}" in text for name in VIEWS)
    assert "succeeded" not in text
    assert "$" not in text
    job, again = prepare(register_tables)
    again.warehouse = Warehouse(str(root))
    job.body(again)
    assert capsys.readouterr().out == text
    assert again.counts["made_empty"] == 0
    assert versions(root) == made


def test_a_name_that_no_database_has(refusal: Callable[..., str]) -> None:
    assert "--database takes letters, digits and _" in refusal(register_tables, "--database", "a`b; DROP")


def test_run_registers_in_the_session_twice_as_well_as_once(
    spark: SparkSession, root: Path, capsys: pytest.CaptureFixture[str], prepare: Callable[..., Any]
) -> None:
    name = "registered_here"
    try:
        assert _cli.main(["register-tables", "--warehouse", str(root), "--run", "--database", name, "--json"]) == 0
        assert "CREATE" not in capsys.readouterr().out
        job, again = prepare(register_tables, "--run", "--database", name)
        again.warehouse = Warehouse(str(root))
        job.body(again)
        listed = {row["tableName"] for row in spark.sql(f"SHOW TABLES IN {name}").collect()}
        assert listed >= TABLES.keys() | {view.name for view in VIEWS.values() if not view.parameters}
        assert [row["play_count"] for row in spark.sql(f"SELECT * FROM {name}.plays").collect()] == [2]
        assert spark.sql(f"SELECT genre FROM {name}.track_genres").collect() == [("Rock",)]
        assert spark.sql(f"SELECT * FROM {name}.taste_overlap('a', 'b')").collect() == []
    finally:
        spark.sql("USE default")
        spark.sql(f"DROP DATABASE IF EXISTS {name} CASCADE")
    assert versions(root)["plays"] >= 0


@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("text", ["it's", "a\\b", "a\nb", "${x} $y", 'é "quoted"; --', "\\u0041", ""])
def test_a_text_comes_through_as_it_is(spark: SparkSession, text: str) -> None:
    assert spark.sql(f"SELECT {spark_string(text)}").collect() == [(text,)]


@pytest.mark.jvm
@pytest.mark.exhaustive
def test_spark_sql_sees_them(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = write_ddl(root, tmp_path / "ddl.sql", capsys)
    questions = "SHOW TABLES; SELECT genre, tracks FROM genre_tempo; DESCRIBE genre_tempo; DESCRIBE plays;"
    questions += " SELECT count(*) AS n FROM taste_overlap('a', 'b'); SELECT user_id, play_count FROM plays;"
    (tmp_path / "all.sql").write_text(text + questions, "utf-8")
    done = subprocess.run(
        ["spark-sql", *SPARK, "-f", str(tmp_path / "all.sql")],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("plays") >= 1
    assert "mean tempo in BPM" in done.stdout  # of a view
    assert "number of plays" in done.stdout  # of a table
    assert done.stdout.rstrip().endswith("u\t2")


@pytest.mark.exhaustive
@pytest.mark.jvm
def test_beeline_sees_them_in_other_processes_through_a_thrift_server(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_ddl(root, tmp_path / "ddl.sql", capsys)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["spark-submit", *SPARK, "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
         "--hiveconf", f"hive.server2.thrift.port={port}", "--hiveconf", "hive.server2.thrift.bind.host=127.0.0.1",
         "spark-internal"],
        cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        beeline = ["beeline", "-u", f"jdbc:hive2://127.0.0.1:{port}", "--silent=true", "--outputformat=csv2"]
        wait_for(port, server)
        for argv in (["-f", str(tmp_path / "ddl.sql")], ["-f", str(write_questions(tmp_path))]):
            done = subprocess.run([*beeline, *argv], env=environment(), capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        assert "Error" not in done.stderr
        assert "genre_tempo" in done.stdout
        assert "mean tempo in BPM" in done.stdout
        assert "u,2" in done.stdout
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def write_questions(folder: Path) -> Path:
    file = folder / "questions.sql"
    file.write_text(
        "USE reprise;\nSHOW TABLES;\nSELECT * FROM quarantine_overview;\nDESCRIBE genre_tempo;\n"
        "SELECT * FROM taste_overlap('a', 'b');\nSELECT user_id, play_count FROM plays;\n"
    )
    return file


def wait_for(port: int, server: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + 300
    while time.monotonic() < ends:
        assert server.poll() is None, "the server has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the server does not answer")
