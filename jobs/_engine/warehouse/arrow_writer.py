"""The ``arrow`` writer: merge Parquet files from workers, or rows from the driver, into a table by key.

All commits use the same Delta application transaction. If two writers have read the same version of a table, Delta
refuses the second commit, and the second writer reads and merges again. Key lookup and commit are thus one atomic step.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from deltalake.transaction import AddAction, CommitProperties, RemoveAction, Transaction

from reprise.jobs._engine.warehouse.conflicts import retry_on_conflict
from reprise.jobs._engine.warehouse.merging import choose_rows, concat, has_key, prune_files
from reprise.jobs._engine.warehouse.reading import TableReader
from reprise.lib.tables import Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import StagedFile, Stager

if TYPE_CHECKING:  # imported only for type checking, so that a DuckDB query starts without pandas
    import pandas as pd

_APPLICATION = "reprise"  # id of the Delta application transaction that serialises reprise's commits to a table


def merge(
    reader: TableReader,
    table: Table,
    rows: pa.Table | Sequence[StagedFile],
    *,
    scope: tuple[str, Sequence[str]] | None,
    leave_out: pd.DataFrame | None,
    delete: pa.Table | None,
    force: bool,
) -> pd.DataFrame:
    """Merge rows or staged files into a table; arguments and result are as in `Warehouse.merge`."""
    files = _write_rows(reader, table, rows) if isinstance(rows, pa.Table) else list(rows)
    return retry_on_conflict(lambda: _merge(reader, table, files, scope, leave_out, delete, force))


def _merge(
    reader: TableReader,
    table: Table,
    files: list[StagedFile],
    scope: tuple[str, Sequence[str]] | None,
    leave_out: pd.DataFrame | None,
    delete: pa.Table | None,
    force: bool,
) -> pd.DataFrame:
    import pandas as pd

    delta = reader.open(table)
    key = list(table.key)
    staged = _read_keys(reader, table, [file.path for file in files])
    offered = staged if leave_out is None else staged[~has_key(staged, leave_out)]
    deleted = delete.select(key).to_pandas() if delete is not None else pd.DataFrame(columns=key)

    touched = concat([offered[key], deleted])[key[0]]
    bounds: dict[str, tuple[Any, Any]] = {key[0]: (touched.min(), touched.max())} if len(touched) else {}
    scope_column, in_scope = scope or (key[0], [])
    if len(in_scope):
        bounds[scope_column] = (min(in_scope), max(in_scope))
    stored = _read_keys(reader, table, prune_files(pa.table(delta.get_add_actions(flatten=True)), bounds), scope_column)

    # a released row is a stored row that its input no longer contains; another owner can write its key in this commit
    identity = [*key, table.owner] if table.owner else key
    released = stored[scope_column].isin(in_scope) & ~has_key(stored, staged[identity])
    written, refused = choose_rows(table, offered, stored[~released], force=force)
    drop = released | has_key(stored, concat([written[key], deleted]))
    actions = [*_additions(reader, table, files, written), *_removals(reader, table, stored, drop)]
    if actions:
        transaction = Transaction(_APPLICATION, (delta.transaction_version(_APPLICATION) or 0) + 1)
        properties = CommitProperties(app_transactions=[transaction])
        delta.create_write_transaction(actions, "append", delta.schema(), commit_properties=properties)
    return refused


def _additions(
    reader: TableReader, table: Table, files: list[StagedFile], written: pd.DataFrame
) -> Iterator[AddAction]:
    """Yield commit actions that add the rows ``written``.

    A staged file that also contains rows that are not in ``written`` is rewritten without them.
    """
    wanted = dict(tuple(written.groupby("_path")["_row"]))
    for file in files:
        rows = wanted.get(file.path, ())
        if len(rows) == file.row_count:
            yield _add(file)
        elif len(rows):
            part = reader.read_file(table, file.path).take(pa.array(sorted(rows)))
            yield from map(_add, _write_rows(reader, table, part))


def _removals(
    reader: TableReader, table: Table, stored: pd.DataFrame, drop: pd.Series
) -> Iterator[AddAction | RemoveAction]:
    """Yield commit actions that rewrite the stored files without the rows to drop.

    ``drop`` is the boolean mask of these rows in ``stored``. Files that contain no row to drop are left unchanged.
    """
    for path, rows in stored[drop].groupby("_path")["_row"]:
        path = str(path)  # noqa: PLW2901 - for the type checker
        content = reader.read_file(table, path)
        keep = np.ones(len(content), dtype=bool)
        keep[rows] = False
        yield RemoveAction(path, data_change=True, deletion_timestamp=int(time.time() * 1000))
        yield from map(_add, _write_rows(reader, table, content.filter(pa.array(keep))))


def _read_keys(reader: TableReader, table: Table, paths: Iterable[str], *extra: str) -> pd.DataFrame:
    """Return the key, the file (``_path``) and the row number in the file (``_row``) of every row in ``paths``.

    The result also has the columns ``extra``. For a table with an owner column, it also has the owner and ``sha256``.
    """
    columns = list(dict.fromkeys([*table.key, *([table.owner, "sha256"] if table.owner else []), *extra]))
    frames = [arrow_schema(table).empty_table().select(columns).to_pandas().assign(_path="", _row=0)]
    for path in paths:
        frame = reader.read_file(table, path, columns).to_pandas()
        frames.append(frame.assign(_path=path, _row=np.arange(len(frame))))
    return concat(frames)


def _write_rows(reader: TableReader, table: Table, rows: pa.Table) -> list[StagedFile]:
    stager = Stager(table, reader.uri(table))
    for batch in rows.to_batches(max_chunksize=10_000):
        stager.write(batch)
    return list(filter(None, [stager.close()]))


def _add(file: StagedFile) -> AddAction:
    return AddAction(file.path, file.size, {}, int(time.time() * 1000), data_change=True, stats=file.stats)
