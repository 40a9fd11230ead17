"""Extract features for genre models from listeners' audio and from the analyses of tracks.

Reads:  library_tracks, library_copies and the audio files that it lists; msd_analysis, msd_tracks, library_analysis.
Writes: audio_genre_features, msd_genre_features, quarantine; genre_images with --images.
Grain:  features: one track, and for audio also each 3 s window of a track. Images: one track and kind of image. One
        quarantine row for each library track without a readable, unchanged audio file, and one for each damaged
        analysis.
Rerun:  tracks whose content is unchanged are skipped, separately for each table and kind of image. Tracks in quarantine
        are read again. Rows of deleted tracks are deleted. A run that is killed at any point and started again writes
        the same rows as an uninterrupted run.
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

from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.pending import ANALYSES, delete_removed_tracks
from reprise.jobs._engine.quarantine import write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._engine.warehouse.commits import Part
from reprise.jobs._libraries.copies import add_uris
from reprise.lib.features.images import AUDIO_KINDS
from reprise.lib.features.msd import ARRAYS, SCALARS
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
    LIBRARY_ANALYSIS,
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

JOB = "extract_genre_features"
KINDS = (MSD_IMAGE, *AUDIO_KINDS)
_SCALARS_OF = {MSD_ANALYSIS.name: MSD_TRACKS, LIBRARY_ANALYSIS.name: LIBRARY_TRACKS}
_ANALYSES_PER_AUDIO_TRACK = 16  # extraction from one audio track takes at least as long as from this many analyses
_AUDIO_INPUTS = pa.schema(
    [
        ("track_id", pa.string()),
        ("sha256", pa.string()),
        ("wanted", pa.list_(pa.string())),
        ("uris", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class PendingFeatures:
    """Tracks in one `Part` of ``source`` whose features or images are missing or outdated.

    Attributes
    ----------
    todo
        Columns ``track_id``, ``sha256`` and ``wanted``, the list of outputs to compute: ``FEATURES`` and image kinds.
    outdated
        Keys of the stored rows to replace or delete, by table name.
    """

    source: Table
    part: Part
    todo: pd.DataFrame
    outdated: Mapping[str, pd.DataFrame]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)
    parser.add_argument(
        "--images",
        metavar="KIND,…",
        default="",
        help="kinds of images to make in addition to the features, separated by commas; choose from:"
        f" {', '.join(KINDS)}",
    )


def extract(run: Run) -> None:
    """Extract the features of new and changed tracks.

    Analyses are processed one `Part` of a table at a time. Audio is processed in smaller batches.
    """
    kinds = [kind for kind in run.args.images.split(",") if kind]
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise UsageError(f"--images: unknown kind {', '.join(unknown)}; choose from: {', '.join(KINDS)}")
    size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    sources = [source for source in (*ANALYSES, LIBRARY_TRACKS) if run.warehouse.exists(source)]
    parts = [(source, part) for source in sources for part in run.warehouse.parts(source, size)]
    if not parts:
        names = " and ".join(source.name for source in ANALYSES)
        raise UsageError(f"there are no rows in {names}: run ingest-msd or ingest-library first")
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
    delete_removed_tracks(run.warehouse, JOB, (LIBRARY_TRACKS,), (AUDIO_GENRE_FEATURES,))
    delete_removed_tracks(run.warehouse, JOB, ANALYSES, (MSD_GENRE_FEATURES,))
    if run.warehouse.exists(GENRE_IMAGES):
        delete_removed_tracks(run.warehouse, JOB, (*ANALYSES, LIBRARY_TRACKS), (GENRE_IMAGES,))


def _find_pending(run: Run, source: Table, part: Part, kinds: list[str]) -> PendingFeatures:
    """Find the tracks in ``part`` whose features or images are missing, or were computed from other content.

    ``kinds`` lists the kinds of images to make.
    """
    features = AUDIO_GENRE_FEATURES if source is LIBRARY_TRACKS else MSD_GENRE_FEATURES
    offered = run.warehouse.read_columns(source, part.paths, ["track_id", "sha256"]).to_pandas()
    offered = offered.sort_values("track_id", ignore_index=True)
    lacks, outdated = {}, {}
    for table, names in ((features, [FEATURES]), (GENRE_IMAGES, kinds)):
        if not names:
            continue
        stored = run.warehouse.lookup(table, "track_id", part.least, part.greatest, [*table.key, "sha256"]).to_pandas()
        stored["name"] = stored["kind"] if table is GENRE_IMAGES else FEATURES
        of_wanted = pd.Series(False, index=stored.index)
        for name in names:
            of_name = stored["name"] == name
            same = pd.MultiIndex.from_frame(stored.loc[of_name, ["track_id", "sha256"]])
            lacks[name] = ~pd.MultiIndex.from_frame(offered[["track_id", "sha256"]]).isin(same) | run.args.force
            of_wanted |= of_name & stored["track_id"].isin(offered["track_id"][lacks[name]])
        outdated[table.name] = stored.loc[of_wanted, list(table.key)]
    wanted = [list(compress(lacks, flags)) for flags in zip(*lacks.values(), strict=True)]
    todo = offered.assign(wanted=pd.Series(wanted, index=offered.index, dtype=object))
    return PendingFeatures(source, part, todo[todo["wanted"].map(len) > 0], outdated)


def _extract_analyses(run: Run, pending: PendingFeatures) -> Iterator[int]:
    """Extract features from the pending analyses, and yield the number of their tracks.

    The scalars and the analysis of a track are in two tables. If they come from MSD files with different content, the
    track is left for the next run.
    """
    if pending.todo.empty:
        return
    columns = ["track_id", "sha256", *SCALARS]
    table, part = _SCALARS_OF[pending.source.name], pending.part
    scalars = run.warehouse.lookup(table, "track_id", part.least, part.greatest, columns).to_pandas()
    if table is LIBRARY_TRACKS:  # its ids identify the content, and its scalars are written before the analysis
        scalars = scalars.drop(columns="sha256")
    todo = pending.todo.merge(scalars)
    if len(todo):
        types = {field.name: field.type for field in arrow_schema(table)}
        schema = pa.schema([(name, types[name]) for name in columns]).append(_AUDIO_INPUTS.field("wanted"))
        wanted = run.spark.createDataFrame(pa.Table.from_pandas(todo, schema, preserve_index=False)).drop("sha256")
        rows = run.warehouse.read_part(run.spark, pending.source, part).select("track_id", "sha256", *ARRAYS)
        frame = rows.join(F.broadcast(wanted), "track_id").withColumn("source", F.lit(pending.source.name))
        _write(run, pending, todo, frame, partial(extract_analysis_features, job=JOB, run_id=run.run_id))
    yield len(pending.todo)


def _extract_audio(run: Run, pending: PendingFeatures, size: int) -> Iterator[int]:
    """Extract features from the pending audio tracks in batches. After each batch, yield its number of tracks.

    Each batch is one commit per table.
    """
    part, todo = pending.part, pending.todo
    todo = add_uris(run.warehouse, part, todo)
    step = math.ceil(size / _ANALYSES_PER_AUDIO_TRACK)
    for start in range(0, len(todo), step):
        some = todo[start : start + step]
        frame = run.spark.createDataFrame(pa.Table.from_pandas(some, _AUDIO_INPUTS, preserve_index=False))
        frame = frame.repartition(2 * run.spark.sparkContext.defaultParallelism)
        _write(run, pending, some, frame, partial(extract_audio_features, job=JOB, run_id=run.run_id))
        yield len(some)


def _write(run: Run, pending: PendingFeatures, todo: pd.DataFrame, frame: DataFrame, make: Make) -> None:
    """Compute the outputs of the tracks in ``todo`` on the workers, and write them in one commit per table."""
    tables = [
        table for table in (GENRE_IMAGES, AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES) if table.name in pending.outdated
    ]
    staged = run.warehouse.stage(frame, make, tables, to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    for table in tables:
        keys = pending.outdated[table.name]
        keys = keys[keys["track_id"].isin(todo["track_id"])]
        # keys also has the rows of tracks that were valid before and are damaged now, and the rows of windows that
        # do not exist any more
        deleted = pa.Table.from_pandas(
            keys, arrow_schema(table).empty_table().select(table.key).schema, preserve_index=False
        )
        run.warehouse.merge(table, staged.files.get(table.name, []), delete=deleted)
    read = pd.Series([row_uri(pending.source.name, track_id) for track_id in todo["track_id"]])
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    run.bad_inputs += len(rejected)
    measured = "audio" if pending.source is LIBRARY_TRACKS else "analyses"
    images = sum(file.row_count for file in staged.files.get(GENRE_IMAGES.name, []))
    run.count(**{measured: len(todo) - len(rejected)}, images=images, quarantined=len(rejected))


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, extract), argv)


if __name__ == "__main__":
    sys.exit(main())
