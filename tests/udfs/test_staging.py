"""Staging: Parquet files that workers write and the driver commits."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from reprise.lib.tables import MSD_TRACKS, SONG_MISMATCHES, TABLES
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.staging import RESULT_SCHEMA, StagedFile, Stager, filesystem, stage

TABLE = SONG_MISMATCHES
FILLED_COLUMNS = {"song_id", "track_id", "source", "run_id"}


def pairs(*songs: str, track: str = "T") -> pa.RecordBatch:
    columns = {"song_id": songs, "track_id": [track] * len(songs), "source": ["s"] * len(songs)}
    return to_batch(arrow_schema(TABLE), columns | {"run_id": ["r"] * len(songs)})


def test_description_matches_the_file(tmp_path: Path) -> None:
    stager = Stager(TABLE, str(tmp_path / "new" / "folder"))
    for batch in (pairs("m", "b"), pairs("z", "é", track="U"), pairs("a")):
        stager.write(batch)
    file = stager.close()
    assert file is not None
    path = tmp_path / "new" / "folder" / file.path
    assert (file.size, file.row_count) == (path.stat().st_size, 5)
    assert json.loads(file.stats) == {
        "numRecords": 5,
        "minValues": {"song_id": "a", "track_id": "T", "source": "s", "run_id": "r"},
        "maxValues": {"song_id": "é", "track_id": "U", "source": "s", "run_id": "r"},
        "nullCount": {column.name: 0 if column.name in FILLED_COLUMNS else 5 for column in TABLE.columns},
    }
    stored = pq.read_table(path)
    assert stored.schema.equals(arrow_schema(TABLE))
    assert stored["song_id"].to_pylist() == ["m", "b", "z", "é", "a"]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_owner_column_has_statistics(tmp_path: Path) -> None:
    """The writer looks up the rows of one input by the owner column."""
    values = {c.name: ["x" if c.type == "string" else None] for c in MSD_TRACKS.columns}
    stager = Stager(MSD_TRACKS, str(tmp_path))
    stager.write(to_batch(arrow_schema(MSD_TRACKS), values))
    file = stager.close()
    assert file is not None
    assert json.loads(file.stats)["minValues"].keys() >= {"track_id", "uri"}


def test_bounds_of_integer_keys_are_integers(tmp_path: Path) -> None:
    table = TABLES["genre_labels"]
    rows = [{"track_id": "T", "source": "s", "rank": rank, "genre": "g", "run_id": "r"} for rank in (1, 0)]
    stager = Stager(table, str(tmp_path))
    stager.write(pa.RecordBatch.from_pylist(rows, schema=arrow_schema(table)))
    file = stager.close()
    assert file is not None
    stats = json.loads(file.stats)
    assert (stats["minValues"]["rank"], stats["maxValues"]["rank"]) == (0, 1)


def test_stager_without_rows_writes_no_file(tmp_path: Path) -> None:
    assert Stager(TABLE, str(tmp_path / "folder")).close() is None
    assert list(tmp_path.iterdir()) == []


def test_empty_batches_are_ignored(tmp_path: Path) -> None:
    stager = Stager(TABLE, str(tmp_path))
    stager.write(pairs())
    stager.write(pairs("a"))
    stager.write(pairs())
    file = stager.close()
    assert file is not None
    assert json.loads(file.stats)["minValues"]["song_id"] == "a"
    only_empty = Stager(TABLE, str(tmp_path))
    only_empty.write(pairs())
    assert only_empty.close() is None
    assert [path.name for path in tmp_path.iterdir()] == [file.path]


def make(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield "song_mismatches", pairs(f"s{number}")
            yield "quarantine", pa.RecordBatch.from_pylist([{"n": number}])


def test_rows_go_to_files_or_to_the_driver(tmp_path: Path) -> None:
    batches = [pa.RecordBatch.from_pydict({"n": [1, 2]}), pa.RecordBatch.from_pydict({"n": [3]})]
    folders = {"song_mismatches": str(tmp_path / "song_mismatches"), "plays": str(tmp_path / "plays")}
    results = list(stage(batches, make=make, folders=folders, seen_by_driver=frozenset({"quarantine"})))
    assert {result.schema for result in results} == {RESULT_SCHEMA}
    rows = [row for result in results for row in result.to_pylist()]
    sent = [row for row in rows if row["file"] is None]
    assert [row["table"] for row in sent] == ["quarantine"] * 3
    assert [pa.ipc.open_stream(row["rows"]).read_all().to_pylist() for row in sent] == [
        [{"n": 1}],
        [{"n": 2}],
        [{"n": 3}],
    ]
    (written,) = [row for row in rows if row["file"] is not None]
    file = StagedFile(**json.loads(written["file"]))
    assert (written["table"], written["rows"], file.row_count) == ("song_mismatches", None, 3)
    assert pq.read_table(tmp_path / "song_mismatches" / file.path)["song_id"].to_pylist() == ["s1", "s2", "s3"]
    assert not (tmp_path / "plays").exists()


def test_no_input_gives_no_result(tmp_path: Path) -> None:
    folders = {"song_mismatches": str(tmp_path / "song_mismatches")}
    assert list(stage([], make=make, folders=folders, seen_by_driver=frozenset())) == []
    assert list(tmp_path.iterdir()) == []


def test_file_names_of_two_workers_differ(tmp_path: Path) -> None:
    for _ in range(2):
        stager = Stager(TABLE, str(tmp_path))
        stager.write(pairs("a"))
        stager.close()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["plain", "with space", "per%20cent", "a#b?c"])
def test_folder_names_with_special_characters(name: str, tmp_path: Path) -> None:
    fs, path = filesystem(str(tmp_path / name))
    assert path == str(tmp_path / name)
    assert isinstance(fs, pyarrow.fs.LocalFileSystem)
    stager = Stager(TABLE, str(tmp_path / name))
    stager.write(pairs("a"))
    assert stager.close() is not None
    assert len(list((tmp_path / name).iterdir())) == 1


def test_file_system_of_a_uri(tmp_path: Path) -> None:
    assert filesystem(tmp_path.as_uri())[1] == str(tmp_path)
    fs, path = filesystem("s3a://bucket/warehouse/plays?region=us-east-1")
    assert (type(fs).__name__, path) == ("S3FileSystem", "bucket/warehouse/plays")
