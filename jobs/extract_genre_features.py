"""Extract features for genre models from listeners' audio and from the analyses of tracks.

Reads:  library_tracks, library_copies and the audio files they name; msd_analysis, msd_tracks, library_analysis.
Writes: audio_genre_features, msd_genre_features, quarantine; genre_images with --images.
Grain:  one track, and for audio each of its 3 s windows; one track and kind of image; one quarantine row a file that is
        gone, has changed or cannot be decoded, or a damaged analysis.
Rerun:  what is there of the same content is skipped, each table and kind of image for itself; tracks that are gone are
        forgotten. Killed at any point and started again, it ends in the same rows.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import compress

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.manifest import write_quarantine
from reprise.jobs._engine.pending import ANALYSES, add_force, forget_removed
from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._engine.warehouse.commits import Part
from reprise.lib.features.images import AUDIO_KINDS
from reprise.lib.features.msd import ARRAYS, SCALARS
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MSD_ANALYSIS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    QUARANTINE,
    Table,
    row_uri,
)
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.genre_features import FEATURES, MSD_IMAGE, extract_analysis_features, extract_audio_features
from reprise.udfs.staging import Make

STAGE = "extract_genre_features"
KINDS = (MSD_IMAGE, *AUDIO_KINDS)
_SCALARS_OF = {MSD_ANALYSIS.name: MSD_TRACKS, LIBRARY_ANALYSIS.name: LIBRARY_TRACKS}
_SHARE = 16  # a track of audio takes at least as long as this many analyses
_AUDIO_INPUTS = pa.schema(
    [
        ("track_id", pa.string()),
        ("sha256", pa.string()),
        ("wanted", pa.list_(pa.string())),
        ("uris", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Pending:
    """Tracks of a part of ``source`` of which something is wanted.

    ``todo`` has ``track_id``, ``sha256`` and ``wanted``: ``FEATURES``, kinds of images. ``made`` has, table by table,
    the keys of rows of what is wanted that are there already and are to be replaced.
    """

    source: Table
    part: Part
    todo: pd.DataFrame
    made: Mapping[str, pd.DataFrame]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)
    parser.add_argument("--images", metavar="KIND,…", default="", help=f"make images too: any of {', '.join(KINDS)}")


def extract(run: Run) -> None:
    """Extract what is new or changed: of analyses a part of a table at a time, of audio fewer tracks."""
    kinds = [kind for kind in run.args.images.split(",") if kind]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise UsageError(f"--images knows {', '.join(KINDS)}, not {', '.join(unknown)}")
    size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    sources = [source for source in (*ANALYSES, LIBRARY_TRACKS) if run.warehouse.exists(source)]
    parts = [(source, part) for source in sources for part in run.warehouse.parts(source, size)]
    if not parts:
        names = " or ".join(source.name for source in ANALYSES)
        raise UsageError(f"there is nothing in {names}: run ingest-msd or ingest-library first")
    run.inputs = sum(part.row_count for _, part in parts)
    run.count(tracks=run.inputs, skipped=0, analyses=0, audio=0, images=0, quarantined=0)
    with run.progress("tracks") as progress:
        task = progress.add_task("", total=run.inputs)
        for source, part in parts:
            is_audio = source is LIBRARY_TRACKS
            pending = _find_pending(run, source, part, [k for k in kinds if (k in AUDIO_KINDS) == is_audio])
            done = part.row_count - len(pending.todo)
            run.count(skipped=done)
            progress.advance(task, done)
            for count in _extract_audio(run, pending, size) if is_audio else _extract_analyses(run, pending):
                progress.advance(task, count)
    forget_removed(run.warehouse, STAGE, (LIBRARY_TRACKS,), (AUDIO_GENRE_FEATURES,))
    forget_removed(run.warehouse, STAGE, ANALYSES, (MSD_GENRE_FEATURES,))
    if run.warehouse.exists(GENRE_IMAGES):
        forget_removed(run.warehouse, STAGE, (*ANALYSES, LIBRARY_TRACKS), (GENRE_IMAGES,))


def _find_pending(run: Run, source: Table, part: Part, kinds: list[str]) -> Pending:
    """Tracks of a part that have no features, or no image of one of ``kinds``, or those of another content."""
    features = AUDIO_GENRE_FEATURES if source is LIBRARY_TRACKS else MSD_GENRE_FEATURES
    offered = run.warehouse.look_into(source, part.paths, ["track_id", "sha256"]).to_pandas()
    offered = offered.sort_values("track_id", ignore_index=True)
    lacks, made = {}, {}
    for table, names in ((features, [FEATURES]), (GENRE_IMAGES, kinds)):
        if not names:
            continue
        there = run.warehouse.lookup(table, "track_id", part.least, part.greatest, [*table.key, "sha256"]).to_pandas()
        there["name"] = there["kind"] if table is GENRE_IMAGES else FEATURES
        of_wanted = pd.Series(False, index=there.index)
        for name in names:
            of_name = there["name"] == name
            same = pd.MultiIndex.from_frame(there.loc[of_name, ["track_id", "sha256"]])
            lacks[name] = ~pd.MultiIndex.from_frame(offered[["track_id", "sha256"]]).isin(same) | run.args.force
            of_wanted |= of_name & there["track_id"].isin(offered["track_id"][lacks[name]])
        made[table.name] = there.loc[of_wanted, list(table.key)]
    wanted = [list(compress(lacks, flags)) for flags in zip(*lacks.values(), strict=True)]
    todo = offered.assign(wanted=pd.Series(wanted, index=offered.index, dtype=object))
    return Pending(source, part, todo[todo["wanted"].map(len) > 0], made)


def _extract_analyses(run: Run, pending: Pending) -> Iterator[int]:
    """Measure the analyses of a part; those whose scalars are not of the same content yet are left for the next run."""
    if pending.todo.empty:
        return
    columns = ["track_id", "sha256", *SCALARS]
    table, part = _SCALARS_OF[pending.source.name], pending.part
    scalars = run.warehouse.lookup(table, "track_id", part.least, part.greatest, columns).to_pandas()
    todo = pending.todo.merge(scalars, on=["track_id", "sha256"])
    if len(todo):
        types = {field.name: field.type for field in arrow_schema(table)}
        schema = pa.schema([(name, types[name]) for name in columns]).append(_AUDIO_INPUTS.field("wanted"))
        wanted = run.spark.createDataFrame(pa.Table.from_pandas(todo, schema, preserve_index=False)).drop("sha256")
        rows = run.warehouse.read_part(run.spark, pending.source, part).select("track_id", "sha256", *ARRAYS)
        frame = rows.join(F.broadcast(wanted), "track_id").withColumn("source", F.lit(pending.source.name))
        _write(run, pending, todo, frame, partial(extract_analysis_features, stage=STAGE, run_id=run.run_id))
    yield len(pending.todo)


def _extract_audio(run: Run, pending: Pending, size: int) -> Iterator[int]:
    """Measure the audio of a part, some tracks a commit."""
    part, todo = pending.part, pending.todo
    copies = run.warehouse.lookup(LIBRARY_COPIES, "track_id", part.least, part.greatest, ["track_id", "uri"])
    uris = copies.to_pandas().sort_values("uri").groupby("track_id")["uri"].agg(list)
    todo = todo.assign(uris=[uris.get(track_id, []) for track_id in todo["track_id"]])
    step = math.ceil(size / _SHARE)
    for start in range(0, len(todo), step):
        some = todo[start : start + step]
        frame = run.spark.createDataFrame(pa.Table.from_pandas(some, _AUDIO_INPUTS, preserve_index=False))
        frame = frame.repartition(2 * run.spark.sparkContext.defaultParallelism)
        _write(run, pending, some, frame, partial(extract_audio_features, stage=STAGE, run_id=run.run_id))
        yield len(some)


def _write(run: Run, pending: Pending, todo: pd.DataFrame, frame: DataFrame, make: Make) -> None:
    """Make the rows of ``todo`` on the workers and write them, one commit a table."""
    tables = [table for table in (GENRE_IMAGES, AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES) if table.name in pending.made]
    staged = run.warehouse.stage(frame, make, tables, to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    for table in tables:
        keys = pending.made[table.name]
        keys = keys[keys["track_id"].isin(todo["track_id"])]
        # also of what was well once and is damaged now, and of windows that there are no more
        gone = pa.Table.from_pandas(
            keys, arrow_schema(table).empty_table().select(table.key).schema, preserve_index=False
        )
        run.warehouse.merge(table, staged.files.get(table.name, []), delete=gone)
    looked_at = pd.Series([row_uri(pending.source.name, track_id) for track_id in todo["track_id"]])
    write_quarantine(run.warehouse, STAGE, rejected, looked_at, force=run.args.force)
    run.bad_inputs += len(rejected)
    measured = "audio" if pending.source is LIBRARY_TRACKS else "analyses"
    images = sum(file.row_count for file in staged.files.get(GENRE_IMAGES.name, []))
    run.count(**{measured: len(todo) - len(rejected)}, images=images, quarantined=len(rejected))


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, extract), argv)


if __name__ == "__main__":
    sys.exit(main())
