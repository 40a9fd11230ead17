"""The only reader and writer of Delta tables.

Two writers stand behind ``append`` and ``merge``; a table's contract names the one it uses.

``arrow``: the rows are Parquet files already (``udfs/staging.py``); here they become one commit. Each commit has an
application transaction under one name, so that of two writers who looked at the same version one is told so by
Delta and decides again. That makes a key lookup and the commit that follows it one atomic step.

``spark``: Spark's own Delta writer and MERGE, for tables too large to look up keys in one process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

from reprise.jobs._engine.warehouse.commits import NOTED, Note, Part, Staged, cut, read_note
from reprise.jobs._engine.warehouse.conflicts import retry
from reprise.jobs._engine.warehouse.merging import decide, files_within, find_changed, is_in, stack
from reprise.lib.tables import TABLES, Table
from reprise.udfs.arrow import arrow_schema, spark_schema
from reprise.udfs.staging import RESULT_DDL, Make, StagedFile, Stager, filesystem, stage

if TYPE_CHECKING:  # a query in DuckDB does not wait for these
    import pandas as pd
    from pyspark.sql import DataFrame, SparkSession

_WRITER = "reprise"  # the application transaction that serialises our commits to one table
_CONFIGURATION = {"delta.enableDeletionVectors": "false"}  # delta-rs, DuckDB and Trino shall read every table


class Warehouse:
    """The tables under one root, a folder or any URI; each is made from its contract when it is first written."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        self._open: dict[str, DeltaTable] = {}

    def uri(self, table: Table) -> str:
        """Folder of a table."""
        return f"{self.root}/{table.name}"

    def versions(self) -> dict[str, int]:
        """Current Delta version of every table that exists."""
        return {name: self._delta(table).version() for name, table in TABLES.items() if self.exists(table)}

    def identity(self, table: Table) -> str:
        """What tells a table from another one made later in its place."""
        return str(self._delta(table).metadata().id)

    def exists(self, table: Table) -> bool:
        """Whether the table has been made."""
        return table.name in self._open or DeltaTable.is_deltatable(self.uri(table))

    def read(self, spark: SparkSession, table: Table, *, version: int | None = None) -> DataFrame:
        """All rows of a table, now or as of a version; makes the table when it does not exist."""
        self._delta(table)
        reader = spark.read.format("delta")
        return (reader if version is None else reader.option("versionAsOf", version)).load(self.uri(table))

    def paths(self, table: Table) -> list[str]:
        """Files of a table's current version, none where it was not made; unlike all else this never makes a table."""
        delta = DeltaTable(self.uri(table)) if self.exists(table) else None
        return [f"{self.uri(table)}/{path}" for path in delta.get_add_actions()["path"].to_pylist()] if delta else []

    def readable(self, table: Table, version: int) -> bool:
        """Whether a version of a table can still be read: neither its log nor one of its files has been cleaned up."""
        fs, folder = filesystem(self.uri(table))
        try:
            paths = self._files(table, version)["path"].to_pylist()
        except DeltaError:
            return False
        return all(info.is_file for info in fs.get_file_info([f"{folder}/{path}" for path in paths]))

    def changed(self, spark: SparkSession, table: Table, column: str, since: int | None, until: int) -> DataFrame:
        """Values of a column whose rows but for run_id differ in two versions of a table; ``since`` None holds none."""
        before = [] if since is None else self._files(table, since)["path"].to_pylist()
        only_in_one = set(before) ^ set(self._files(table, until)["path"].to_pylist())
        # no version has a row twice, but a file that was written again has most of the rows of its predecessor
        rows = self.read_part(spark, table, Part(tuple(sorted(only_in_one)), "", "", 0))
        return find_changed(rows.drop("run_id"), column)

    def note(self, table: Table) -> Note:
        """What was noted with the newest commit that has a note; number 0 and an empty note where none has."""
        delta = self._delta(table)
        number = delta.transaction_version(NOTED) or 0
        for commit in delta.history():
            if (content := read_note(commit.get("userMetadata"))) is not None:
                return Note(number, content)
        return Note(number, {})

    def lookup(
        self, table: Table, column: str, least: str, greatest: str, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows of a table with ``least <= column <= greatest``, on the driver; ``column`` is a key or owner column."""
        names = list(columns or arrow_schema(table).names)
        found = [arrow_schema(table).empty_table().select(names)]
        for path in files_within(self._files(table), {column: (least, greatest)}):
            rows = self._read_file(table, path, list(dict.fromkeys([*names, column])))
            inside = pc.and_(pc.greater_equal(rows[column], least), pc.less_equal(rows[column], greatest))
            found.append(rows.filter(inside).select(names))
        return pa.concat_tables(found)

    def parts(self, table: Table, row_count: int) -> list[Part]:
        """Cut a table of the ``arrow`` writer into parts of at least ``row_count`` rows, in the order of its first key.

        The cut costs the driver the same whatever the rows hold; each part is of whole files, so that reading all parts
        reads every file once.
        """
        return cut(self._files(table), table.key[0], row_count)

    def read_part(self, spark: SparkSession, table: Table, part: Part) -> DataFrame:
        """Rows of a part, for workers."""
        return spark.read.schema(spark_schema(table)).parquet(*[f"{self.uri(table)}/{path}" for path in part.paths])

    def look_into(self, table: Table, paths: Iterable[str], columns: Sequence[str]) -> pa.Table:
        """Some columns of some files of a table, committed or staged, on the driver."""
        empty = arrow_schema(table).empty_table().select(list(columns))
        return pa.concat_tables([empty, *(self._read_file(table, path, list(columns)) for path in paths)])

    def may_hold(self, table: Table, column: str, values: Sequence[str]) -> bool:
        """Whether, by the statistics of its files, the table can hold a row whose ``column`` is within ``values``."""
        within = {column: (min(values), max(values))} if values else {}
        return bool(files_within(self._files(table), within))

    def sizes(self, table: Table) -> tuple[int, int]:
        """Rows and bytes of a table's current version."""
        return self._delta(table).count(), pc.sum(self._files(table)["size_bytes"]).as_py() or 0

    def head(self, table: Table, columns: Sequence[str], count: int) -> list[dict[str, Any]]:
        """Some rows of a table: the first ``count`` of one of its files."""
        paths = files_within(self._files(table), {table.key[0]: ("", "\U0010ffff")})[:1]
        return [row for path in paths for row in self._read_file(table, path, list(columns))[:count].to_pylist()]

    def stage(self, inputs: DataFrame, make: Make, tables: Iterable[Table], *, to_driver: Iterable[Table]) -> Staged:
        """Run ``make`` on the workers: rows of ``tables`` become files, rows of ``to_driver`` come here."""
        run = partial(
            stage,
            make=make,
            folders={t.name: self.uri(t) if t.writer == "arrow" else self._staging(t) for t in tables},
            seen_by_driver=frozenset(t.name for t in to_driver),
        )
        staged = Staged()
        for row in inputs.mapInArrow(run, RESULT_DDL).toArrow().to_pylist():
            if row["file"] is None:
                staged.rows.setdefault(row["table"], []).append(pa.ipc.open_stream(row["rows"]).read_all())
            else:
                staged.files.setdefault(row["table"], []).append(StagedFile(**json.loads(row["file"])))
        return staged

    def staged_frame(self, spark: SparkSession, table: Table, files: Sequence[StagedFile]) -> DataFrame:
        """Rows that workers staged for a table of the ``spark`` writer."""
        if not files:
            return spark.createDataFrame([], spark_schema(table))
        return spark.read.schema(spark_schema(table)).parquet(*[f"{self._staging(table)}/{f.path}" for f in files])

    def discard(self, table: Table, files: Sequence[StagedFile]) -> None:
        """Delete staged files of a table of the ``spark`` writer, once their rows are in it."""
        fs, folder = filesystem(self._staging(table))
        for file in files:
            fs.delete_file(f"{folder}/{file.path}")

    def append(self, table: Table, rows: DataFrame, *, transaction: str) -> None:
        """Append ``rows`` to a table of the ``spark`` writer, once.

        Parameters
        ----------
        transaction
            Names this append, e.g. by a hash of the inputs. A second append of the same name, by a rerun or by
            another writer at the same time, does nothing.
        """
        self._delta(table)

        def write() -> None:
            writer = rows.write.format("delta").mode("append")
            writer.option("txnAppId", transaction).option("txnVersion", 1).save(self.uri(table))

        retry(write, _conflicts())

    def replace(self, table: Table, rows: DataFrame, *, note: Note) -> None:
        """Put ``rows`` in the place of all rows of a table of the ``spark`` writer, in one commit.

        Of several commits with a note of one number the first is made, and the others are left out: look at ``note``.
        """
        self._delta(table)
        writer = rows.write.format("delta").mode("overwrite").options(**note.options)
        retry(lambda: writer.save(self.uri(table)), _conflicts())

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
        """Put ``rows`` in a table, replacing those with the same key, in one commit; a rerun changes nothing.

        In a table with an owner, a row of the same owner and the same ``sha256`` is left as it is unless ``force``, and
        a row whose key belongs to another owner is refused. Of several rows with one key the first is taken, in the
        order of the owner if there is one.

        Parameters
        ----------
        rows
            A data frame for a table of the ``spark`` writer, with one row a key; else rows or staged files.
        scope
            (column, values): rows of the table within it that are not among ``rows`` are deleted, being what an input
            held once and holds no more.
        leave_out
            Keys and owners of rows that are not to be written after all. Arrow writer only.
        delete
            Keys to delete. For a table of the ``spark`` writer a data frame with none of the keys of ``rows``.
        note
            To be kept with the commit, see ``replace``. Spark writer only.

        Returns
        -------
        pandas.DataFrame
            The refused rows: their keys, and in a table with an owner also owner and sha256 as offered and
            ``kept_owner``, ``kept_sha256`` of what stands.
        """
        import pandas as pd
        from pyspark.sql import DataFrame

        self._delta(table)
        if isinstance(rows, DataFrame):
            retry(lambda: self._merge_spark(table, rows, scope, delete, note), _conflicts())
            return pd.DataFrame()
        files = self._write_rows(table, rows) if isinstance(rows, pa.Table) else list(rows)
        return retry(lambda: self._merge_arrow(table, files, scope, leave_out, delete, force), _conflicts())

    def _merge_spark(
        self,
        table: Table,
        rows: DataFrame,
        scope: tuple[str, Sequence[str]] | None,
        delete: DataFrame | None,
        note: Note | None,
    ) -> None:
        from delta.tables import DeltaTable as SparkDeltaTable
        from pyspark.sql.functions import col, lit

        same_key = " AND ".join(f"t.`{k}` = s.`{k}`" for k in table.key)
        values = [c.name for c in table.columns if c.name not in table.key and c.name != "run_id"]
        changed = " OR ".join(f"NOT (t.`{c}` <=> s.`{c}`)" for c in values)
        gone = (rows.limit(0) if delete is None else delete).select(*table.key).withColumn("_gone", lit(True))
        offered = rows.withColumn("_gone", lit(False)).unionByName(gone, allowMissingColumns=True)
        spark = rows.sparkSession
        if note:  # MERGE takes these from its session, and no other commit shall have them
            spark = spark.newSession()
            for name, value in note.settings.items():
                spark.conf.set(name, value)
        merge = SparkDeltaTable.forPath(spark, self.uri(table)).alias("t").merge(offered.alias("s"), same_key)
        merge = merge.whenMatchedDelete("s._gone").whenMatchedUpdateAll(changed).whenNotMatchedInsertAll("NOT s._gone")
        if scope:
            merge = merge.whenNotMatchedBySourceDelete(col(f"t.{scope[0]}").isin(list(scope[1])))
        merge.execute()

    def _merge_arrow(
        self,
        table: Table,
        files: list[StagedFile],
        scope: tuple[str, Sequence[str]] | None,
        leave_out: pd.DataFrame | None,
        delete: pa.Table | None,
        force: bool,
    ) -> pd.DataFrame:
        import pandas as pd

        delta = self._delta(table)
        key = list(table.key)
        everything = self._identities(table, [file.path for file in files])
        offered = everything if leave_out is None else everything[~is_in(everything, leave_out)]
        gone = delete.select(key).to_pandas() if delete is not None else pd.DataFrame(columns=key)

        touched = stack([offered[key], gone])[key[0]]
        bounds: dict[str, tuple[Any, Any]] = {key[0]: (touched.min(), touched.max())} if len(touched) else {}
        scope_column, in_scope = scope or (key[0], [])
        if len(in_scope):
            bounds[scope_column] = (min(in_scope), max(in_scope))
        files_now = pa.table(delta.get_add_actions(flatten=True))
        stored = self._identities(table, files_within(files_now, bounds), scope_column)

        # a key that its owner holds no more is free for another in the same commit
        identity = [*key, table.owner] if table.owner else key
        given_up = stored[scope_column].isin(in_scope) & ~is_in(stored, everything[identity])
        written, refused = decide(table, offered, stored[~given_up], force=force)
        drop = given_up | is_in(stored, stack([written[key], gone]))
        actions = [*self._additions(table, files, written), *self._removals(table, stored, drop)]
        if actions:
            transaction = Transaction(_WRITER, (delta.transaction_version(_WRITER) or 0) + 1)
            properties = CommitProperties(app_transactions=[transaction])
            delta.create_write_transaction(actions, "append", delta.schema(), commit_properties=properties)
        return refused

    def _additions(self, table: Table, files: list[StagedFile], written: pd.DataFrame) -> Iterator[AddAction]:
        """Commit actions for the files that hold ``written``; a file of which some rows stay out is written again."""
        wanted = dict(tuple(written.groupby("_path")["_row"]))
        for file in files:
            rows = wanted.get(file.path, ())
            if len(rows) == file.row_count:
                yield _add(file)
            elif len(rows):
                part = self._read_file(table, file.path).take(pa.array(sorted(rows)))
                yield from map(_add, self._write_rows(table, part))

    def _removals(self, table: Table, stored: pd.DataFrame, drop: pd.Series) -> Iterator[AddAction | RemoveAction]:
        """Commit actions that replace each stored file having a row to drop by one without it."""
        for path, rows in stored[drop].groupby("_path")["_row"]:
            path = str(path)  # noqa: PLW2901 - for the type checker
            held = self._read_file(table, path)
            keep = np.ones(len(held), dtype=bool)
            keep[rows] = False
            yield RemoveAction(path, data_change=True, deletion_timestamp=int(time.time() * 1000))
            yield from map(_add, self._write_rows(table, held.filter(pa.array(keep))))

    def _identities(self, table: Table, paths: Iterable[str], *extra: str) -> pd.DataFrame:
        """Key (with owner and sha256 in an owners' table) of every row in ``paths``, and where it stands."""
        columns = list(dict.fromkeys([*table.key, *([table.owner, "sha256"] if table.owner else []), *extra]))
        frames = [arrow_schema(table).empty_table().select(columns).to_pandas().assign(_path="", _row=0)]
        for path in paths:
            frame = self._read_file(table, path, columns).to_pandas()
            frames.append(frame.assign(_path=path, _row=np.arange(len(frame))))
        return stack(frames)

    def _files(self, table: Table, version: int | None = None) -> pa.Table:
        """Files of a table and their statistics, now or as of a version."""
        delta = self._delta(table) if version is None else DeltaTable(self.uri(table), version=version)
        return pa.table(delta.get_add_actions(flatten=True))

    def _read_file(self, table: Table, path: str, columns: list[str] | None = None) -> pa.Table:
        fs, folder = filesystem(self.uri(table))
        schema = arrow_schema(table)
        if columns:
            schema = pa.schema([schema.field(c) for c in columns])
        return pq.read_table(f"{folder}/{path}", columns=columns, filesystem=fs, partitioning=None).cast(schema)

    def _write_rows(self, table: Table, rows: pa.Table) -> list[StagedFile]:
        stager = Stager(table, self.uri(table))
        for batch in rows.to_batches(max_chunksize=10_000):
            stager.write(batch)
        return list(filter(None, [stager.close()]))

    def _staging(self, table: Table) -> str:
        return f"{self.root}/_staging/{table.name}"

    def _delta(self, table: Table) -> DeltaTable:
        """The table at its newest version, made from its contract when it does not exist."""
        if table.name in self._open:
            self._open[table.name].update_incremental()
        else:
            self._open[table.name] = retry(lambda: self._make(table), _conflicts())
        return self._open[table.name]

    def _make(self, table: Table) -> DeltaTable:
        uri = self.uri(table)
        if not DeltaTable.is_deltatable(uri):
            if "://" not in uri:
                Path(uri).mkdir(parents=True, exist_ok=True)
            try:
                DeltaTable.create(
                    uri, arrow_schema(table), name=table.name, description=table.doc, configuration=_CONFIGURATION
                )
            except DeltaError:
                if not DeltaTable.is_deltatable(uri):  # else another writer was faster
                    raise
        delta = DeltaTable(uri)
        # a killed process may have left the table without its constraints, so this is looked at every time
        present = delta.metadata().configuration
        if missing := {k: v for k, v in table.checks.items() if f"delta.constraints.{k}" not in present}:
            delta.alter.add_constraint(missing)
        return delta


def _add(file: StagedFile) -> AddAction:
    return AddAction(file.path, file.size, {}, int(time.time() * 1000), data_change=True, stats=file.stats)


def _conflicts() -> tuple[type[Exception], ...]:
    """What says that another writer was faster; Delta's "basic class for all commit conflicts" is the base of none."""
    from delta import exceptions  # to be loaded before a commit fails, or its failure is not known as one of these

    return (CommitFailedError, *(getattr(exceptions, name) for name in exceptions.__all__))
