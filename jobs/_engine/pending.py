"""Tables of tracks that are made from other tables of tracks, each of one row a track or of several."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.run import Run, UsageError
from reprise.jobs._engine.warehouse.commits import Part
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import LIBRARY_ANALYSIS, MSD_ANALYSIS, QUARANTINE, Table, row_uri

ANALYSES = (MSD_ANALYSIS, LIBRARY_ANALYSIS)
"""Where tracks' analyses come from. All have the same arrays."""

_ANY: Mapping[str, str | int] = {}


@dataclass(frozen=True)
class Pending:
    """The tracks of a part of ``source`` that the target has not, or has from another content."""

    source: Table
    part: Part
    track_ids: Sequence[str]

    def frame(self, run: Run, columns: Sequence[str]) -> DataFrame:
        """Their rows, for workers; ``source`` is among the columns as the name of the table."""
        rows = run.warehouse.read_part(run.spark, self.source, self.part).select(*columns)
        if len(self.track_ids) < self.part.row_count:
            ids = run.spark.createDataFrame([(i,) for i in self.track_ids], "track_id string")
            rows = rows.join(F.broadcast(ids), "track_id", "left_semi")
        named: DataFrame = rows.withColumn("source", F.lit(self.source.name))
        return named


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help="make every row again")


def find_pending(
    run: Run,
    sources: Sequence[Table],
    target: Table,
    *,
    of: Mapping[str, str | int] = _ANY,
    where: Mapping[str, str | int] = _ANY,
    first: str,
    size: int | None = None,
) -> Iterator[Pending]:
    """Go through ``sources`` part by part and give the tracks that are to be done.

    A track is done when ``target`` has a row of it made from the same content, told by its ``sha256``.

    Parameters
    ----------
    of, where
        Columns of the sources, and of ``target``, and the values they must have for a row to count. Of a source with
        several rows a track, ``of`` tells which one is looked at.
    first
        What fills the sources, for the message when there is nothing in them.
    size
        Rows of a part, about; without it as many as the settings give every core.

    Raises
    ------
    UsageError
        When there is no row in any source.
    """
    warehouse, identity = run.warehouse, ["track_id", "sha256"]
    size = size or run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    there = [source for source in sources if warehouse.exists(source)]
    parts = [(source, part) for source in there for part in warehouse.parts(source, size)]
    if not parts:
        raise UsageError(f"there is nothing in {' or '.join(s.name for s in sources)}: run {first} first")
    run.count(tracks=0, skipped=0)
    with run.progress("rows") as progress:
        task = progress.add_task("", total=sum(part.row_count for _, part in parts))
        for source, part in parts:
            rows = warehouse.look_into(source, part.paths, [*identity, *of])
            offered = _select(rows, of)
            made = warehouse.lookup(target, "track_id", part.least, part.greatest, [*identity, *where])
            made = _select(made, where)[identity].drop_duplicates()
            both = offered.merge(made, on=identity, how="left", indicator=True)
            todo = offered["track_id"][(both["_merge"] == "left_only").to_numpy() | run.args.force]
            tracks = len(rows["track_id"].unique())
            run.inputs += tracks
            run.count(tracks=tracks, skipped=tracks - len(todo))
            if len(todo):
                yield Pending(source, part, sorted(todo))
            progress.advance(task, part.row_count)


def _select(rows: pa.Table, values: Mapping[str, str | int]) -> pd.DataFrame:
    frame: pd.DataFrame = rows.to_pandas()
    for column, value in values.items():
        frame = frame[frame[column] == value]
    return frame.reset_index(drop=True)


def forget_removed(
    warehouse: Warehouse,
    stage: str,
    sources: Sequence[Table],
    targets: Sequence[Table],
    *,
    of: Mapping[str, str | int] = _ANY,
) -> None:
    """Delete from ``targets`` the tracks that none of ``sources`` has any more, and their quarantine rows.

    ``of`` is as in `find_pending`.
    """
    sources = [source for source in sources if warehouse.exists(source)]
    for target in targets:
        for part in warehouse.parts(target, 100_000):
            gone = set(warehouse.look_into(target, part.paths, ["track_id"])["track_id"].to_pylist())
            for source in sources:
                stay = warehouse.lookup(source, "track_id", part.least, part.greatest, ["track_id", *of])
                gone -= set(_select(stay, of)["track_id"])
            if gone:
                rows = warehouse.look_into(target, part.paths, target.key).to_pandas()
                keys = rows[rows["track_id"].isin(gone)]
                warehouse.merge(target, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
    for source in sources:
        named = warehouse.lookup(QUARANTINE, "uri", row_uri(source.name, ""), row_uri(source.name, "\U0010ffff"))
        named = named.to_pandas()
        ids = named["uri"].str.split("#").str[1]
        stay = warehouse.lookup(source, "track_id", ids.min(), ids.max(), ["track_id"]) if len(ids) else None
        gone_rows = named[(named["stage"] == stage) & ~ids.isin(stay["track_id"].to_pylist() if stay else [])]
        if len(gone_rows):
            keys = gone_rows[list(QUARANTINE.key)]
            warehouse.merge(QUARANTINE, [], delete=pa.Table.from_pandas(keys, preserve_index=False))
