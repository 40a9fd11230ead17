"""Read Delta tables: their versions and files, rows on the driver, and data frames for workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from reprise.jobs._engine.warehouse.commits import NOTE_KEY, Note, Part, read_note, split_into_parts
from reprise.jobs._engine.warehouse.conflicts import retry_on_conflict
from reprise.jobs._engine.warehouse.merging import find_changed, prune_files
from reprise.jobs._engine.warehouse.opening import null_columns, open_table
from reprise.lib.tables import TABLES, Table
from reprise.udfs.arrow import arrow_schema, spark_schema
from reprise.udfs.staging import filesystem

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pyspark
    from pyspark.sql import DataFrame, SparkSession


class TableReader:
    """Reader of the tables under one root folder, given as a path or URI. `open` creates a table if necessary."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._open: dict[str, DeltaTable] = {}

    def uri(self, table: Table) -> str:
        """Return the path or URI of a table's folder."""
        return f"{self.root}/{table.name}"

    def open(self, table: Table) -> DeltaTable:
        """Open the newest version of a table; create the table from its contract if it does not exist."""
        if table.name in self._open:
            self._open[table.name].update_incremental()
        else:
            self._open[table.name] = retry_on_conflict(lambda: open_table(self.uri(table), table))
        return self._open[table.name]

    def exists(self, table: Table) -> bool:
        """Return whether the table exists in the warehouse."""
        return table.name in self._open or DeltaTable.is_deltatable(self.uri(table))

    def versions(self) -> dict[str, int]:
        """Return the current Delta version of every table that exists."""
        return {name: self.open(table).version() for name, table in TABLES.items() if self.exists(table)}

    def table_id(self, table: Table) -> str:
        """Return Delta's id of the table. A table that is deleted and created again gets another id."""
        return str(self.open(table).metadata().id)

    def sizes(self, table: Table) -> tuple[int, int]:
        """Return the row count and the size in bytes of a table's current version."""
        return self.open(table).count(), pc.sum(self.files(table)["size_bytes"]).as_py() or 0

    def read(self, spark: SparkSession, table: Table, *, version: int | None = None) -> DataFrame:
        """Return all rows of a version of a table as a Spark data frame; by default, of the current version.

        delta-rs lists the files, and Spark reads them as Parquet. If Spark read the log, a query of several tables
        would take one or two seconds longer for each of them.
        """
        paths = self.files(table, version)["path"].to_pylist()
        return self.read_part(spark, table, Part(tuple(paths), "", "", 0))

    def paths(self, table: Table) -> list[str]:
        """Return the paths or URIs of the files in a table's current version.

        If the table does not exist, the result is empty, and no table is created.
        """
        delta = DeltaTable(self.uri(table)) if self.exists(table) else None
        return [f"{self.uri(table)}/{path}" for path in delta.get_add_actions()["path"].to_pylist()] if delta else []

    def is_readable(self, table: Table, version: int) -> bool:
        """Return whether a version of a table is still readable: its log entries and all its files must exist."""
        fs, folder = filesystem(self.uri(table))
        try:
            paths = self.files(table, version)["path"].to_pylist()
        except DeltaError:
            return False
        return all(info.is_file for info in fs.get_file_info([f"{folder}/{path}" for path in paths]))

    def changed(self, spark: SparkSession, table: Table, column: str, since: int | None, until: int) -> DataFrame:
        """Return the values of a column whose rows differ between two versions of a table.

        ``since`` and ``until`` are the two versions. If ``since`` is None, ``until`` is compared with an empty table.
        Differences in run_id are ignored. The result is a Spark data frame with the one column ``column``.
        """
        before = [] if since is None else self.files(table, since)["path"].to_pylist()
        only_in_one = set(before) ^ set(self.files(table, until)["path"].to_pylist())
        # one version contains no row twice, but a rewritten file repeats most rows of the file that it replaces
        rows = self.read_part(spark, table, Part(tuple(sorted(only_in_one)), "", "", 0))
        return find_changed(rows.drop("run_id"), column)

    def note(self, table: Table) -> Note:
        """Return the newest note of a table.

        The number is 0 if no note was ever stored. The content is empty if no commit in the log has a note.
        """
        delta = self.open(table)
        number = delta.transaction_version(NOTE_KEY) or 0
        for commit in delta.history():
            if (content := read_note(commit.get("userMetadata"))) is not None:
                return Note(number, content)
        return Note(number, {})

    def lookup(
        self, table: Table, column: str, least: str, greatest: str, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read the rows of a table with ``least <= column <= greatest`` on the driver.

        ``column`` must be a key column or the owner column.
        """
        names = list(columns or arrow_schema(table).names)
        found = [arrow_schema(table).empty_table().select(names)]
        for path in prune_files(self.files(table), {column: (least, greatest)}):
            rows = self.read_file(table, path, list(dict.fromkeys([*names, column])))
            inside = pc.and_(pc.greater_equal(rows[column], least), pc.less_equal(rows[column], greatest))
            found.append(rows.filter(inside).select(names))
        return pa.concat_tables(found)

    def lookup_all(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all rows of a small table on the driver; ``columns`` limits the columns."""
        return self.read_columns(table, self.files(table)["path"].to_pylist(), columns or arrow_schema(table).names)

    def parts(self, table: Table, row_count: int) -> list[Part]:
        """Group the files of a table of the ``arrow`` writer, with about ``row_count`` rows per group.

        The groups are in order of the first key column. Each file is in exactly one `Part`. The driver
        reads only the log.
        """
        return split_into_parts(self.files(table), table.key[0], row_count)

    def read_part(self, spark: SparkSession, table: Table, part: Part) -> DataFrame:
        """Return the rows of a `Part` as a Spark data frame."""
        return spark.read.schema(spark_schema(table)).parquet(*[f"{self.uri(table)}/{path}" for path in part.paths])

    def read_columns(self, table: Table, paths: Iterable[str], columns: Sequence[str]) -> pa.Table:
        """Read ``columns`` of a table's committed or staged files on the driver."""
        empty = arrow_schema(table).empty_table().select(list(columns))
        return pa.concat_tables([empty, *(self.read_file(table, path, list(columns)) for path in paths)])

    def may_hold(self, table: Table, column: str, values: Sequence[str]) -> bool:
        """Return whether the table can contain a row with ``column`` between the minimum and the maximum of ``values``.

        The answer comes from the statistics of the table's files. It is False if ``values`` is empty.
        """
        within = {column: (min(values), max(values))} if values else {}
        return bool(prune_files(self.files(table), within))

    def head(self, table: Table, columns: Sequence[str], count: int) -> list[dict[str, Any]]:
        """Return the first ``count`` rows of one file of the table, as dictionaries; no rows if there are no files."""
        paths = self.files(table)["path"].to_pylist()[:1]
        return [row for path in paths for row in self.read_file(table, path, list(columns))[:count].to_pylist()]

    def files(self, table: Table, version: int | None = None) -> pa.Table:
        """Return the files and file statistics of a version of a table; by default, of the current version."""
        delta = self.open(table) if version is None else DeltaTable(self.uri(table), version=version)
        return pa.table(delta.get_add_actions(flatten=True))

    def read_file(self, table: Table, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one file of a table with the contract's schema. Columns that the file lacks are filled with NULL."""
        fs, folder = filesystem(self.uri(table))
        schema = arrow_schema(table)
        if columns:
            schema = pa.schema([schema.field(c) for c in columns])
        with fs.open_input_file(f"{folder}/{path}") as stream, pq.ParquetFile(stream) as file:
            stored = set(file.schema_arrow.names)
            rows = file.read([name for name in schema.names if name in stored])
        return rows.cast(schema) if rows.column_names == schema.names else null_columns(rows, schema)
