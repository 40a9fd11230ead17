"""Spark's own command line reads the tables with no jar option and nothing but what set-up left."""

import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from reprise.jobs._engine import jars as _jars
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MSD_TRACKS
from tests.jobs.chain import Chain


@pytest.mark.exhaustive  # spark-sql is tried with all tables after register-tables
def test_spark_sql_reads_tables_and_comments(chain: Chain, tmp_path: Path) -> None:
    table = f"delta.`{Warehouse(str(chain.after('ingest-msd'))).uri(MSD_TRACKS)}`"
    done = subprocess.run(
        [
            str(Path(pyspark.__file__).parent / "bin/spark-sql"),
            *("--conf", "spark.sql.ansi.enabled=true", "-e"),
            f"SELECT count(*), count(DISTINCT track_id) FROM {table}; DESCRIBE {table}",
        ],
        cwd=tmp_path,  # Derby leaves its files in the current folder
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *described = done.stdout.splitlines()
    assert first.split() == ["80", "80"]
    comments = {line.split("\t")[0].strip(): line.split("\t")[2].strip() for line in described if line.count("\t") == 2}
    assert {c.name: comments.get(c.name) for c in MSD_TRACKS.columns} == {c.name: c.comment for c in MSD_TRACKS.columns}


def test_set_up_has_put_the_five_jars_where_spark_finds_them() -> None:
    assert len(_jars.list_coordinates()) == 5
    assert _jars.list_missing_jars() == []


def test_missing_jars_are_told_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "jars").mkdir()
    monkeypatch.setattr(_jars, "SPARK_HOME", tmp_path)
    assert _jars.list_missing_jars() == _jars.list_coordinates()
    for coordinate in _jars.list_coordinates()[1:]:
        (tmp_path / "jars" / "{1}-{2}.jar".format(*coordinate.split(":"))).touch()
    assert _jars.list_missing_jars() == _jars.list_coordinates()[:1]
