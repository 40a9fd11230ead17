"""Staging: workers write Parquet files, and the driver adds their rows to the tables.

The files of a table with the ``arrow`` writer are written into the table's folder, where the driver commits them. The
files of other tables are written into a separate folder.

The rows are wide. Spark's Parquet writer needs several times as long to write a track as a worker needs to read it.
Instead, pyarrow writes the file in the worker, so the arrays are not copied to Spark. The worker sends only a
description of the file to the driver.
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

# each row describes one written file, or contains one batch of rows for the driver
RESULT_SCHEMA = pa.schema([("table", pa.string()), ("file", pa.string()), ("rows", pa.binary())])
RESULT_DDL = "`table` string, file string, rows binary"


@dataclass(frozen=True)
class StagedFile:
    """A Parquet file that is not committed yet.

    ``path`` is relative to the folder of the `Stager`, ``size`` is in bytes, and ``stats`` contains the file's Delta
    statistics as JSON.
    """

    path: str
    size: int
    row_count: int
    stats: str


def filesystem(uri: str) -> tuple[pa.fs.FileSystem, str]:
    """Return the Arrow file system for a local path or a URI, and the path in this file system."""
    if "://" not in uri and not uri.startswith("file:"):
        return pa.fs.LocalFileSystem(), uri
    return pa.fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))  # type: ignore[no-any-return]


class Stager:
    """Writer of one table's batches to one Parquet file in ``folder``. The first batch with rows creates the file."""

    def __init__(self, table: Table, folder: str) -> None:
        self._table = table
        self._fs, self._folder = filesystem(folder)
        self._name = f"part-{uuid.uuid4()}.zstd.parquet"
        self._writer: pq.ParquetWriter | None = None
        self._statistics = Statistics(table)

    def write(self, batch: pa.RecordBatch) -> None:
        """Write ``batch`` as a row group. In scalar columns, NaN is written as NULL. An empty batch is ignored.

        Raises
        ------
        ValueError
            A column that must not be NULL contains NaN.
        """
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
        """Finish the file and return its description, or None if nothing was written."""
        if self._writer is None:
            return None
        self._writer.close()
        size = self._fs.get_file_info(f"{self._folder}/{self._name}").size
        return StagedFile(self._name, size, self._statistics.row_count, self._statistics.to_json())


def _without_nan(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Replace NaN by NULL in the scalar columns of ``batch``.

    Missing values are NULL in every table. In addition, no statistics of a column with NaN are correct for all readers.
    In Spark, NaN is the greatest number. In other readers, every comparison with NaN is false.

    Raises
    ------
    ValueError
        A column that must not be NULL contains NaN.
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
    """Apply ``make`` to ``batches`` and stage the rows that it yields. Spark calls `stage` through ``mapInArrow``.

    Parameters
    ----------
    make
        Function that yields pairs of a table name and a batch in the table's schema, in any order.
    folders
        Folder of each table's files, by table name.
    seen_by_driver
        Names of small tables. Their rows are sent to the driver as Arrow IPC, not written to files. The driver checks
        these rows before it writes them.

    Yields
    ------
    pyarrow.RecordBatch
        Rows of ``RESULT_SCHEMA``: the batches for the driver, and at the end one `StagedFile` as JSON for each file. An
        empty batch from ``make`` is passed on as an empty batch. It serves as a heartbeat.
    """
    stagers = {name: Stager(TABLES[name], folder) for name, folder in folders.items()}
    for name, batch in make(batches):
        if not batch.num_rows:
            yield to_batch(RESULT_SCHEMA, {"table": []})  # heartbeat for Spark
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
