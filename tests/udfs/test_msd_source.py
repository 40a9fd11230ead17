"""``spark.read.format("msd")``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.errors import AnalysisException, PythonException

from reprise.lib import msd
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS


def test_default_columns_are_those_of_the_tables(spark: Any, sample_dir: Path) -> None:
    frame = spark.read.format("msd").load(str(sample_dir / "msd"))
    columns = [c.name for table in (MSD_TRACKS, MSD_ANALYSIS) for c in table.columns if c.name in msd.FIELDS]
    assert frame.columns == ["path", *dict.fromkeys(columns)]
    rows = {row["track_id"]: row for row in frame.collect()}
    assert len(rows) == 60
    for track_id, row in rows.items():
        songs = msd.read(sample_dir / "msd" / msd.track_path(track_id))
        assert row["title"] == songs["title"][0]
        assert row["artist_terms"] == songs["artist_terms"][0]
        np.testing.assert_array_equal(np.array(row["segments_timbre"], "f4"), songs["segments_timbre"][0].ravel())


def test_schema_given_is_honoured(spark: Any, sample_dir: Path) -> None:
    schema = "tempo double, energy double, idx_beats_start int, path string, beats_start array<float>"
    frame = spark.read.format("msd").schema(schema).load(str(sample_dir / "msd"))
    assert frame.columns == ["tempo", "energy", "idx_beats_start", "path", "beats_start"]
    row = frame.where("path like '%.h5'").first()
    songs = msd.read(row["path"])
    assert row["tempo"] == songs["tempo"][0]
    assert row["energy"] == songs["energy"][0]
    assert row["beats_start"] == songs["beats_start"][0].tolist()
    assert frame.select("path").distinct().count() == 60


def test_only_wanted_columns_are_read(spark: Any, sample_dir: Path, tmp_path: Path) -> None:
    import h5py

    source = next((sample_dir / "msd").rglob("*.h5"))
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["analysis/segments_timbre"]
    frame = spark.read.format("msd").schema("title string").load(str(path))
    assert frame.count() == 1
    with pytest.raises(PythonException, match="segments_timbre"):
        spark.read.format("msd").schema("segments_timbre array<float>").load(str(path)).collect()


def test_bad_files_end_the_query_or_are_left_out(spark: Any, sample_dir: Path, tmp_path: Path) -> None:
    source = next((sample_dir / "msd").rglob("*.h5"))
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "bad.h5").write_bytes(b"nonsense")
    reader = spark.read.format("msd").schema("track_id string")
    with pytest.raises(PythonException, match=r"bad\.h5.*DROPMALFORMED"):
        reader.load(str(tmp_path)).collect()
    rows = reader.option("mode", "dropmalformed").load(str(tmp_path)).collect()
    assert [row["track_id"] for row in rows] == [source.stem]


@pytest.mark.parametrize(
    ("options", "schema", "says"),
    [
        ({"mode": "maybe"}, "title string", "FAILFAST"),
        ({}, "colour string", "colour"),
        ({"path": "/nowhere/at/all"}, "title string", "no file or folder"),
    ],
)
def test_bad_usage_is_refused(spark: Any, sample_dir: Path, options: dict[str, str], schema: str, says: str) -> None:
    options = {"path": str(sample_dir / "msd"), **options}
    with pytest.raises(AnalysisException, match=says):
        spark.read.format("msd").schema(schema).options(**options).load().collect()
