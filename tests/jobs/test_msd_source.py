"""The data source ``msd`` in Spark: registration, schemas and errors. tests/udfs tests the reader itself."""

from pathlib import Path
from typing import Any

import pytest
from pyspark.errors import AnalysisException, PythonException

from reprise.lib import msd
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS


def test_default_columns(spark: Any, sample_dir: Path) -> None:
    frame = spark.read.format("msd").load(str(sample_dir / "msd"))
    columns = [c.name for table in (MSD_TRACKS, MSD_ANALYSIS) for c in table.columns if c.name in msd.FIELDS]
    assert frame.columns == ["path", *dict.fromkeys(columns)]
    rows = {row["track_id"]: row for row in frame.collect()}
    assert len(rows) == 60
    for track_id, row in rows.items():
        songs = msd.read(sample_dir / "msd" / msd.track_path(track_id))
        assert row["title"] == songs["title"][0]
        assert row["segments_timbre"] == songs["segments_timbre"][0].ravel().tolist()


def test_given_schema(spark: Any, sample_dir: Path) -> None:
    frame = spark.read.format("msd").schema("tempo double, path string").load(str(sample_dir / "msd"))
    assert frame.columns == ["tempo", "path"]
    row = frame.where("path like '%.h5'").first()
    assert row["tempo"] == msd.read(row["path"])["tempo"][0]
    assert frame.select("path").distinct().count() == 60


def test_bad_file_ends_the_query_or_is_skipped(spark: Any, sample_dir: Path, tmp_path: Path) -> None:
    source = next((sample_dir / "msd").rglob("*.h5"))
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "bad.h5").write_bytes(b"nonsense")
    reader = spark.read.format("msd").schema("track_id string")
    with pytest.raises(PythonException, match=r"bad\.h5.*DROPMALFORMED"):
        reader.load(str(tmp_path)).collect()
    rows = reader.option("mode", "dropmalformed").load(str(tmp_path)).collect()
    assert [row["track_id"] for row in rows] == [source.stem]


@pytest.mark.parametrize(
    ("options", "schema", "message"),
    [
        ({"mode": "maybe"}, "title string", "FAILFAST"),
        ({}, "colour string", "colour"),
        ({"path": "/nowhere/at/all"}, "title string", "cannot find file or folder"),
    ],
)
def test_bad_usage_is_an_analysis_error(
    spark: Any, sample_dir: Path, options: dict[str, str], schema: str, message: str
) -> None:
    options = {"path": str(sample_dir / "msd"), **options}
    with pytest.raises(AnalysisException, match=message):
        spark.read.format("msd").schema(schema).options(**options).load().collect()
