"""Find new, changed and deleted tracks, for jobs that compute tables of tracks from other tables."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Part, Warehouse
from reprise.lib.tables import LIBRARY_ANALYSIS, MSD_ANALYSIS, QUARANTINE, Table, row_uri
from reprise.udfs.arrow import arrow_schema

ANALYSES = (MSD_ANALYSIS, LIBRARY_ANALYSIS)
"""Tables of analyses; both have the same array columns."""

RowFilter = Mapping[str, str | int | Callable[[pd.Series], pd.Series]]
"""Maps column names to the value that a row must have, or to a function that returns a mask of the selected rows."""

_ALL: RowFilter = {}


@dataclass(frozen=True)
class PendingTracks:
    """Tracks in one `Part` of ``source`` that have no row with their current ``sha256`` in the target table.

    With ``--force``, they are all tracks in the part.
    """

    source: Table
    part: Part
    track_ids: Sequence[str]

    def frame(self, run: Run, columns: Sequence[str]) -> DataFrame:
        """Return the source rows of these tracks as a Spark data frame.

        ``columns`` are the columns to read, among them ``track_id``. The added column ``source`` contains the name of
        the source table.
        """
        rows = run.warehouse.read_part(run.spark, self.source, self.part).select(*columns)
        if len(self.track_ids) < self.part.row_count:
            ids = run.spark.createDataFrame([(i,) for i in self.track_ids], "track_id string")
            rows = rows.join(F.broadcast(ids), "track_id", "left_semi")
        named: DataFrame = rows.withColumn("source", F.lit(self.source.name))
        return named


def find_pending(
    run: Run,
    sources: Sequence[Table],
    target: Table,
    *,
    source_rows: RowFilter = _ALL,
    target_rows: RowFilter = _ALL,
    run_first: str,
    part_rows: int | None = None,
    track_ids: Collection[str] | None = None,
) -> Iterator[PendingTracks]:
    """Read ``sources`` one `Part` at a time and yield the pending tracks.

    A track is done if ``target`` has a row with its ``track_id`` and ``sha256``. All other tracks are pending.
    With ``--force``, all tracks are pending. The numbers of tracks are added to ``run.inputs`` and ``run.counts``.

    Parameters
    ----------
    source_rows, target_rows
        Filters of the rows of ``sources`` and of ``target``. All other rows are
        ignored. If a source has several rows for one track, ``source_rows`` selects the row to compare.
    run_first
        Command that fills the sources. The error message for empty sources names it.
    part_rows
        Approximate number of rows per `Part`; by default, ``files_per_task`` times the number of cores.
    track_ids
        Ids of the only tracks to read; by default, all tracks are read.

    Raises
    ------
    UsageError
        All sources are empty or missing.
    """
    warehouse, identity = run.warehouse, ["track_id", "sha256"]
    part_rows = part_rows or run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    existing = [source for source in sources if warehouse.exists(source)]
    parts = [(source, part) for source in existing for part in warehouse.parts(source, part_rows)]
    if not parts:
        raise UsageError(f"there are no rows in {' and '.join(s.name for s in sources)}: run {run_first} first")
    run.count(tracks=0, skipped=0)
    with run.progress("rows") as progress:
        task = progress.add_task("", total=sum(part.row_count for _, part in parts))
        for source, part in parts:
            rows = warehouse.read_columns(source, part.paths, [*identity, *source_rows])
            if track_ids is not None:
                rows = rows.filter(pc.is_in(rows["track_id"], pa.array(sorted(track_ids), pa.string())))
            offered = _select(rows, source_rows)
            done = warehouse.lookup(target, "track_id", part.least, part.greatest, [*identity, *target_rows])
            done = _select(done, target_rows)[identity].drop_duplicates()
            both = offered.merge(done, on=identity, how="left", indicator=True)
            todo = offered["track_id"][(both["_merge"] == "left_only").to_numpy() | run.args.force]
            tracks = len(rows["track_id"].unique())
            run.inputs += tracks
            run.count(tracks=tracks, skipped=tracks - len(todo))
            if len(todo):
                yield PendingTracks(source, part, sorted(todo))
            progress.advance(task, part.row_count)


def _select(rows: pa.Table, wanted: RowFilter) -> pd.DataFrame:
    frame: pd.DataFrame = rows.to_pandas()
    for column, value in wanted.items():
        frame = frame[value(frame[column]) if callable(value) else frame[column] == value]
    return frame.reset_index(drop=True)


def find_outdated(warehouse: Warehouse, table: Table, pending: PendingTracks, column: str, model_id: str) -> pa.Table:
    """Return the keys of the stored rows of pending tracks by one model, whose id is in ``column``.

    These rows are deleted unless they are written again: the track cannot be read any more, or has fewer rows.
    """
    part = pending.part
    stored = warehouse.lookup(table, "track_id", part.least, part.greatest, list(table.key)).to_pandas()
    outdated = stored[stored["track_id"].isin(pending.track_ids) & (stored[column] == model_id)]
    keys = arrow_schema(table).empty_table().select(table.key).schema
    return pa.Table.from_pandas(outdated, keys, preserve_index=False)


def delete_removed_tracks(
    warehouse: Warehouse,
    job: str,
    sources: Sequence[Table],
    targets: Sequence[Table],
    *,
    source_rows: RowFilter = _ALL,
    target_rows: RowFilter = _ALL,
) -> None:
    """Delete from ``targets`` the rows of tracks that are no longer in any of ``sources``.

    Delete also the quarantine rows of ``job`` whose track is no longer in the source that they name. ``source_rows``
    and ``target_rows`` are as in `find_pending`; they do not apply to the quarantine.
    """
    sources = [source for source in sources if warehouse.exists(source)]
    for target in targets:
        for part in warehouse.parts(target, 100_000):
            columns = list(dict.fromkeys([*target.key, *target_rows]))
            rows = _select(warehouse.read_columns(target, part.paths, columns), target_rows)[list(target.key)]
            gone = set(rows["track_id"])
            for source in sources:
                kept = warehouse.lookup(source, "track_id", part.least, part.greatest, ["track_id", *source_rows])
                gone -= set(_select(kept, source_rows)["track_id"])
            if gone:
                keys = rows[rows["track_id"].isin(gone)]
                warehouse.merge(target, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    for source in sources:
        stored = warehouse.lookup(QUARANTINE, "uri", row_uri(source.name, ""), row_uri(source.name, "\U0010ffff"))
        stored = stored.to_pandas()
        ids = stored["uri"].str.split("#").str[1]
        kept = warehouse.lookup(source, "track_id", ids.min(), ids.max(), ["track_id"]) if len(ids) else None
        gone_rows = stored[(stored["stage"] == job) & ~ids.isin(kept["track_id"].to_pylist() if kept else [])]
        if len(gone_rows):
            keys = gone_rows[list(QUARANTINE.key)]
            warehouse.merge(QUARANTINE, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
