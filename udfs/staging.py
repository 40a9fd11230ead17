"""Parquet files that a worker writes into a table's folder, for the driver to commit.

Spark's Parquet writer costs several times the reading of a track on rows as wide as ours; pyarrow writes the same file
where the arrays already are, and only a description of it travels to the driver.
"""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from reprise.lib.tables import TABLES, Table
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.parquet_statistics import Statistics

Make = Callable[[Iterable[pa.RecordBatch]], Iterator[tuple[str, pa.RecordBatch]]]

# One row a written file, or one a batch of rows that the driver wants to see itself.
RESULT_SCHEMA = pa.schema([("table", pa.string()), ("file", pa.string()), ("rows", pa.binary())])
RESULT_DDL = "`table` string, file string, rows binary"


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file in a table's folder that no commit names yet; ``stats`` are Delta's, as JSON."""

    path: str
    size: int
    row_count: int
    stats: str


def filesystem(uri: str) -> tuple[pa.fs.FileSystem, str]:
    """Arrow file system and path in it of a folder or file: a local path or any URI that Arrow knows."""
    if "://" not in uri and not uri.startswith("file:"):
        return pa.fs.LocalFileSystem(), uri
    return pa.fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))  # type: ignore[no-any-return]


class Stager:
    """Writes the batches of one table into one Parquet file in ``folder``, opened with the first batch."""

    def __init__(self, table: Table, folder: str) -> None:
        self._table = table
        self._fs, self._folder = filesystem(folder)
        self._name = f"part-{uuid.uuid4()}.zstd.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._statistics = Statistics(table)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add ``batch`` as a row group, NaN in its scalar columns as NULL; one of no rows adds nothing."""
        if not batch.num_rows:
            return
        batch = _without_nan(batch)
        if self._writer is None:
            self._fs.create_dir(self._folder, recursive=True)
            self._writer = pq.ParquetWriter(
                f"{self._folder}/{self._name}", arrow_schema(self._table), filesystem=self._fs, compression="zstd"
            )
        self._writer.write_batch(batch)
        self._statistics.add(batch)

    def close(self) -> StagedFile | None:
        """Finish the file; None when nothing was written."""
        if self._writer is None:
            return None
        self._writer.close()
        size = self._fs.get_file_info(f"{self._folder}/{self._name}").size
        return StagedFile(self._name, size, self._statistics.row_count, self._statistics.to_json())


def _without_nan(batch: pa.RecordBatch) -> pa.RecordBatch:
    """``batch`` with NULL for NaN in its scalar columns.

    What is not known is NULL in every table. And no statistics of a column with NaN are right for all readers: to Spark
    NaN is the greatest number, to others it compares with nothing.
    """
    for index, field in enumerate(batch.schema):
        if not pa.types.is_floating(field.type):
            continue
        is_nan = pc.is_nan(batch.column(index))
        if pc.any(is_nan).as_py():
            if not field.nullable:
                raise ValueError(f"column {field.name} must not be NaN")
            batch = batch.set_column(index, field, pc.if_else(is_nan, None, batch.column(index)))
    return batch


def stage(
    batches: Iterable[pa.RecordBatch], *, make: Make, folders: Mapping[str, str], seen_by_driver: frozenset[str]
) -> Iterator[pa.RecordBatch]:
    """Run ``make`` over ``batches`` and write what it gives; the function that ``mapInArrow`` runs.

    Parameters
    ----------
    make
        Gives (table name, rows of that table in the contract's schema) pairs in any order.
    folders
        Where each table's files go.
    seen_by_driver
        Tables whose rows are not written but handed on, as Arrow IPC: small ones that the driver must decide about.
    """
    stagers = {name: Stager(TABLES[name], folder) for name, folder in folders.items()}
    for name, batch in make(batches):
        if not batch.num_rows:
            yield to_batch(RESULT_SCHEMA, {"table": []})  # a sign of life, for Spark alone
        elif name in seen_by_driver:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            yield to_batch(RESULT_SCHEMA, {"table": [name], "rows": [sink.getvalue().to_pybytes()]})
        else:
            stagers[name].write(batch)
    for name, stager in stagers.items():
        if (file := stager.close()) is not None:
            yield to_batch(RESULT_SCHEMA, {"table": [name], "file": [json.dumps(asdict(file))]})
