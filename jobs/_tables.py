"""The only reader and writer of Delta tables.

Two writers stand behind ``append`` and ``merge``; a table's contract names the one it uses.

``arrow``: the rows are Parquet files already (``udfs/staging.py``); here they become one commit. Each commit has an
application transaction under one name, so that of two writers who looked at the same version one is told so by
Delta and decides again. That makes a key lookup and the commit that follows it one atomic step.

``spark``: Spark's own Delta writer and MERGE, for tables too large to look up keys in one process.
"""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from delta import exceptions as delta_exceptions
from delta.tables import DeltaTable as SparkDeltaTable
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import col

from reprise.jobs._rows import decide, is_in, stack
from reprise.lib.tables import TABLES, Table
from reprise.udfs.arrow import arrow_schema, spark_schema
from reprise.udfs.staging import RESULT_DDL, Make, StagedFile, Stager, filesystem, stage

_WRITER = "reprise"  # the application transaction that serialises our commits to one table
_ATTEMPTS = 50
# Delta's "basic class for all commit conflicts" is the base of none of them
_CONFLICTS = (CommitFailedError, *(getattr(delta_exceptions, name) for name in delta_exceptions.__all__))
_CONFIGURATION = {"delta.enableDeletionVectors": "false"}  # delta-rs, DuckDB and Trino shall read every table


@dataclass
class Staged:
    """What the workers made of one batch of inputs: uncommitted files, and rows for the driver to decide about."""

    files: dict[str, list[StagedFile]] = field(default_factory=dict)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)

    def add(self, other: "Staged") -> None:
        """Take the contents of ``other`` in, after our own."""
        for name, files in other.files.items():
            self.files.setdefault(name, []).extend(files)
        for name, rows in other.rows.items():
            self.rows.setdefault(name, []).extend(rows)

    def table(self, table: Table) -> pa.Table:
        """Rows for the driver of one table, in the contract's schema."""
        schema = arrow_schema(table)
        return pa.concat_tables([schema.empty_table(), *(t.cast(schema) for t in self.rows.get(table.name, []))])


@dataclass(frozen=True)
class Part:
    """Some whole files of one version of a table: as much as a job takes at once.

    ``least`` and ``greatest`` bound the first key column in them.
    """

    paths: tuple[str, ...]
    least: str
    greatest: str
    row_count: int


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

    def exists(self, table: Table) -> bool:
        """Whether the table has been made."""
        return table.name in self._open or DeltaTable.is_deltatable(self.uri(table))

    def read(self, spark: SparkSession, table: Table, *, version: int | None = None) -> DataFrame:
        """All rows of a table, now or as of a version; makes the table when it does not exist."""
        self._delta(table)
        reader = spark.read.format("delta")
        return (reader if version is None else reader.option("versionAsOf", version)).load(self.uri(table))

    def lookup(
        self, table: Table, column: str, least: str, greatest: str, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Rows of a table with ``least <= column <= greatest``, on the driver; ``column`` is a key or owner column."""
        names = list(columns or arrow_schema(table).names)
        found = [arrow_schema(table).empty_table().select(names)]
        for path in self._candidates(self._delta(table), {column: (least, greatest)}):
            rows = self._read_file(table, path, list(dict.fromkeys([*names, column])))
            inside = pc.and_(pc.greater_equal(rows[column], least), pc.less_equal(rows[column], greatest))
            found.append(rows.filter(inside).select(names))
        return pa.concat_tables(found)

    def parts(self, table: Table, row_count: int) -> list[Part]:
        """Cut a table of the ``arrow`` writer into parts of at least ``row_count`` rows, in the order of its first key.

        The cut costs the driver the same whatever the rows hold; each part is of whole files, so that reading all parts
        reads every file once.
        """
        files = pa.table(self._delta(table).get_add_actions(flatten=True)).to_pandas()
        if files.empty:
            return []
        least, greatest = f"min.{table.key[0]}", f"max.{table.key[0]}"
        files = files.sort_values([least, "path"])
        number = (files["num_records"].cumsum() - files["num_records"]) // row_count
        return [
            Part(tuple(part["path"]), part[least].min(), part[greatest].max(), int(part["num_records"].sum()))
            for _, part in files.groupby(number)
        ]

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
        return bool(self._candidates(self._delta(table), within))

    def sizes(self, table: Table) -> tuple[int, int]:
        """Rows and bytes of a table's current version."""
        delta = self._delta(table)
        files = pa.table(delta.get_add_actions(flatten=True))
        return delta.count(), pc.sum(files["size_bytes"]).as_py() or 0

    def head(self, table: Table, columns: Sequence[str], count: int) -> list[dict[str, Any]]:
        """Some rows of a table: the first ``count`` of one of its files."""
        paths = self._candidates(self._delta(table), {table.key[0]: ("", "\U0010ffff")})[:1]
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

        _retry(write)

    def merge(
        self,
        table: Table,
        rows: DataFrame | pa.Table | Sequence[StagedFile],
        *,
        scope: tuple[str, Sequence[str]] | None = None,
        leave_out: pd.DataFrame | None = None,
        delete: pa.Table | None = None,
        force: bool = False,
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
            Keys to delete. Arrow writer only.

        Returns
        -------
        pandas.DataFrame
            The refused rows: their keys, and in a table with an owner also owner and sha256 as offered and
            ``kept_owner``, ``kept_sha256`` of what stands.
        """
        self._delta(table)
        if isinstance(rows, DataFrame):
            _retry(lambda: self._merge_spark(table, rows, scope))
            return pd.DataFrame()
        files = self._write_rows(table, rows) if isinstance(rows, pa.Table) else list(rows)
        return _retry(lambda: self._merge_arrow(table, files, scope, leave_out, delete, force))

    def _merge_spark(self, table: Table, rows: DataFrame, scope: tuple[str, Sequence[str]] | None) -> None:
        same_key = " AND ".join(f"t.`{k}` = s.`{k}`" for k in table.key)
        values = [c.name for c in table.columns if c.name not in table.key and c.name != "run_id"]
        changed = " OR ".join(f"NOT (t.`{c}` <=> s.`{c}`)" for c in values)
        target = SparkDeltaTable.forPath(rows.sparkSession, self.uri(table)).alias("t")
        merge = target.merge(rows.alias("s"), same_key).whenMatchedUpdateAll(changed).whenNotMatchedInsertAll()
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
        stored = self._identities(table, self._candidates(delta, bounds), scope_column)

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

    @staticmethod
    def _candidates(delta: DeltaTable, bounds: Mapping[str, tuple[Any, Any]]) -> list[str]:
        """Files of the table that, by their statistics, can hold a value within one of ``bounds``."""
        files = pa.table(delta.get_add_actions(flatten=True))
        able = np.zeros(len(files), dtype=bool)
        for column, (least, greatest) in bounds.items():
            if f"min.{column}" not in files.column_names:
                return files["path"].to_pylist()  # type: ignore[no-any-return]
            apart = pc.or_(pc.greater(files[f"min.{column}"], greatest), pc.less(files[f"max.{column}"], least))
            able |= ~pc.fill_null(apart, False).to_numpy()
        return files.filter(pa.array(able))["path"].to_pylist()  # type: ignore[no-any-return]

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
            self._open[table.name] = _retry(lambda: self._make(table))
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


T = TypeVar("T")


def _retry(attempt: Callable[[], T]) -> T:
    """Call ``attempt`` until no other writer has come between its look at the table and its commit."""
    for tries in range(_ATTEMPTS):
        try:
            return attempt()
        except _CONFLICTS:
            if tries == _ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0.01, 0.05) * min(tries + 1, 20))  # noqa: S311 - spreads the writers out
    raise AssertionError("unreachable")
