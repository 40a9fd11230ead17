"""Reader of the data source ``msd``, called directly; tests/jobs shows its use by Spark."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import from_arrow_schema

from reprise.lib import msd
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS
from reprise.udfs.arrow import arrow_type
from reprise.udfs.msd_source import MsdSource


def read(path: Path, ddl: str | None = None, **options: str) -> list[dict[str, Any]]:
    """Read all partitions of the source with the schema ``ddl``; without it, with the default schema."""
    source = MsdSource({"path": str(path), **options})
    columns = [column.split() for column in (ddl or source.schema()).split(", ")]
    schema = pa.schema([(name.strip("`"), arrow_type(type_)) for name, type_ in columns])
    reader = source.reader(from_arrow_schema(schema))
    batches = [batch for partition in reader.partitions() for batch in reader.read(partition)]
    assert all(batch.schema.equals(schema) for batch in batches)
    return pa.Table.from_batches(batches, schema).to_pylist()


def test_default_columns_are_those_of_the_tables(sample_dir: Path) -> None:
    rows = {row["track_id"]: row for row in read(sample_dir / "msd")}
    names = [c.name for table in (MSD_TRACKS, MSD_ANALYSIS) for c in table.columns if c.name in msd.FIELDS]
    assert len(rows) == 60
    for track_id, row in rows.items():
        assert list(row) == ["path", *dict.fromkeys(names)]
        songs = msd.read(sample_dir / "msd" / msd.track_path(track_id))
        assert row["title"] == songs["title"][0]
        assert row["artist_terms"] == songs["artist_terms"][0]
        np.testing.assert_array_equal(np.array(row["segments_timbre"], "f4"), songs["segments_timbre"][0].ravel())


def test_given_schema_is_read(sample_dir: Path) -> None:
    schema = "tempo double, energy double, idx_beats_start int, path string, beats_start array<float>"
    rows = read(sample_dir / "msd", schema)
    assert len({row["path"] for row in rows}) == 60
    for row in rows:
        assert list(row) == ["tempo", "energy", "idx_beats_start", "path", "beats_start"]
        songs = msd.read(row["path"])
        assert row["tempo"] == songs["tempo"][0]
        assert row["energy"] == songs["energy"][0]
        assert row["beats_start"] == songs["beats_start"][0].tolist()


def test_only_columns_of_the_schema_are_read(sample_dir: Path, tmp_path: Path) -> None:
    source = next((sample_dir / "msd").rglob("*.h5"))
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["analysis/segments_timbre"]
    assert len(read(path, "title string")) == 1
    with pytest.raises(RuntimeError, match="segments_timbre"):
        read(path, "segments_timbre array<float>")


def test_bad_file_ends_the_reading_or_is_skipped(sample_dir: Path, tmp_path: Path) -> None:
    source = next((sample_dir / "msd").rglob("*.h5"))
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "bad.h5").write_bytes(b"nonsense")
    with pytest.raises(RuntimeError, match=r"bad\.h5.*DROPMALFORMED") as caught:
        read(tmp_path, "track_id string")
    assert "\n" not in str(caught.value)
    assert read(tmp_path, "track_id string", mode="dropmalformed") == [{"track_id": source.stem}]


@pytest.mark.parametrize(
    ("options", "schema", "message"),
    [
        ({"mode": "maybe"}, "title string", "unknown mode 'maybe': choose FAILFAST or DROPMALFORMED"),
        ({}, "colour string", "unknown field 'colour'"),
        ({"path": "/nowhere/at/all"}, "title string", "cannot find file or folder '/nowhere/at/all'"),
    ],
)
def test_bad_usage_is_an_error(sample_dir: Path, options: dict[str, str], schema: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(Path(options.pop("path", sample_dir / "msd")), schema, **options)
