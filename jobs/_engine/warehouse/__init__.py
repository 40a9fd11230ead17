"""Reader and writer of the Delta tables, used by all jobs.

The command ``reprise sql`` uses this package only to find the tables. DuckDB or Spark then reads the tables. With
``--write``, Spark can also change them.

The contract of a table names its writer. For the ``arrow`` writer, workers or the driver write Parquet files
(``udfs/staging.py``), and this package adds the files to the table in one commit. For the ``spark`` writer, Delta on
Spark writes and merges the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from reprise.jobs._engine.warehouse import arrow_writer, spark_writer
from reprise.jobs._engine.warehouse.commits import Note, Part, Staged
from reprise.jobs._engine.warehouse.reading import TableReader
from reprise.lib.tables import Table
from reprise.udfs.arrow import spark_schema
from reprise.udfs.staging import RESULT_DDL, Make, StagedFile, filesystem, stage

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pandas and pyspark
    import pandas as pd
    from pyspark.resource import ResourceProfile
    from pyspark.sql import DataFrame, SparkSession

__all__ = ["Note", "Part", "Staged", "Warehouse"]


class Warehouse(TableReader):
    """Reader and writer of the tables under one root folder, given as a path or URI."""

    def stage(
        self,
        inputs: DataFrame,
        make: Make,
        tables: Iterable[Table],
        *,
        to_driver: Iterable[Table],
        profile: ResourceProfile | None = None,
    ) -> Staged:
        """Run ``make`` (see `reprise.udfs.staging.stage`) on ``inputs`` on the workers.

        Rows of the tables in ``tables`` are staged as files. Rows of the tables in ``to_driver`` are returned to the
        driver. ``profile`` gives the resources of the tasks, e.g. GPUs.
        """
        run = partial(
            stage,
            make=make,
            folders={t.name: self.uri(t) if t.writer == "arrow" else self._staging_folder(t) for t in tables},
            seen_by_driver=frozenset(t.name for t in to_driver),
        )
        staged = Staged()
        for row in inputs.mapInArrow(run, RESULT_DDL, profile=profile).toArrow().to_pylist():
            if row["file"] is None:
                staged.rows.setdefault(row["table"], []).append(pa.ipc.open_stream(row["rows"]).read_all())
            else:
                staged.files.setdefault(row["table"], []).append(StagedFile(**json.loads(row["file"])))
        return staged

    def staged_frame(self, spark: SparkSession, table: Table, files: Sequence[StagedFile]) -> DataFrame:
        """Return the rows of staged ``files`` as a Spark data frame. The table must have the ``spark`` writer."""
        if not files:
            return spark.createDataFrame([], spark_schema(table))
        paths = [f"{self._staging_folder(table)}/{file.path}" for file in files]
        return spark.read.schema(spark_schema(table)).parquet(*paths)

    def discard(self, table: Table, files: Sequence[StagedFile]) -> None:
        """Delete staged files whose rows have been committed. The table must have the ``spark`` writer."""
        fs, folder = filesystem(self._staging_folder(table))
        for file in files:
            fs.delete_file(f"{folder}/{file.path}")

    def append(self, table: Table, rows: DataFrame, *, transaction: str) -> None:
        """Append ``rows`` to a table of the ``spark`` writer, at most once per ``transaction``.

        Parameters
        ----------
        transaction
            Name of this append, e.g. a hash of the inputs. A second append with the same name does nothing, even in
            a rerun or in a concurrent writer.
        """
        self.open(table)
        spark_writer.append(self.uri(table), rows, transaction=transaction)

    def replace(self, table: Table, rows: DataFrame, *, note: Note) -> None:
        """Replace all rows of a table of the ``spark`` writer in one commit.

        If several writers commit notes with the same number, Delta accepts only the first commit and silently skips the
        others. To find out whether this commit was accepted, compare the result of the method `note` with ``note``.
        """
        self.open(table)
        spark_writer.replace(self.uri(table), rows, note=note)

    def merge(
        self,
        table: Table,
        rows: DataFrame | pa.Table | Sequence[StagedFile],
        *,
        scope: tuple[str, Sequence[str]] | None = None,
        leave_out: pd.DataFrame | None = None,
        delete: DataFrame | pa.Table | None = None,
        force: bool = False,
        note: Note | None = None,
    ) -> pd.DataFrame:
        """Merge ``rows`` into a table by key in one commit. A merge can be repeated: the rows stay the same.

        With the ``arrow`` writer, if several rows have the same key, only the first can be written; the others are
        refused. For a table with an owner column, the rows are first sorted by owner, and two more rules apply. A row
        whose key, owner and ``sha256`` are stored already is written again only with ``force``. A row whose key is
        stored with another owner is refused, unless ``scope`` deletes the stored row.

        The ``spark`` writer keeps a stored row if the new row differs from it only in run_id.

        Parameters
        ----------
        rows
            For a table of the ``spark`` writer, a data frame with one row for each key. For a table of the ``arrow``
            writer, a pyarrow table or staged files.
        scope
            A column and a sequence of its values. A stored row with one of these values is deleted if its key (in a
            table with an owner column: its key and owner) is not in ``rows``, because the input no longer contains it.
        leave_out
            Keys and owners of rows that must not be written. Only for the ``arrow`` writer.
        delete
            Keys to delete. For a table of the ``spark`` writer, a data frame that shares no key with ``rows``.
        note
            Note stored with the commit, see `replace`. Only for the ``spark`` writer.

        Returns
        -------
        pandas.DataFrame
            Keys of the refused rows; empty for the ``spark`` writer. For a table with an owner column, the data frame
            also has the owner and ``sha256`` of each refused row, and the columns ``kept_owner`` and ``kept_sha256``:
            the owner and ``sha256`` of the row that the table contains under the same key.
        """
        import pandas as pd
        from pyspark.sql import DataFrame

        self.open(table)
        if isinstance(rows, DataFrame):
            spark_writer.merge(self.uri(table), table, rows, scope=scope, delete=delete, note=note)
            return pd.DataFrame()
        return arrow_writer.merge(self, table, rows, scope=scope, leave_out=leave_out, delete=delete, force=force)

    def _staging_folder(self, table: Table) -> str:
        return f"{self.root}/_staging/{table.name}"
