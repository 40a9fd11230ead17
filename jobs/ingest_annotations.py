"""Ingest the annotations that belong to the Million Song Dataset into Delta tables.

Reads:  SecondHandSongs lists, tagtraum .cls files, taste-profile triplets (plain or gzip), the mismatch list and
        unique_tracks.txt; each file's format is told by its content.
Writes: cover_cliques, genre_labels, plays, song_mismatches, unique_tracks, manifest, quarantine.
Grain:  one annotation; one quarantine row a bad line, with file and line number.
Rerun:  files in the manifest are skipped. A changed file replaces what its last version said. Killed at any point and
        started again, it ends in the same rows.
"""

import argparse
import hashlib
import json
import sys
from functools import partial

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.manifest import (
    forget_removed,
    hold_against_manifest,
    settle_unchanged,
    write_manifest,
    write_quarantine,
)
from reprise.jobs._engine.run import Job, Run, existing, run_job
from reprise.jobs._engine.warehouse.commits import Staged
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    MANIFEST,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
)
from reprise.udfs.annotation_files import read_annotation_files, source_name

STAGE = "ingest_annotations"
TARGETS = (COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS)
_SUFFIXES = (".txt", ".cls", ".tsv", ".gz")
_FILES_AT_ONCE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--source", required=True, metavar="PATH", help="annotation file, or folder of them")
    parser.add_argument("--force", action="store_true", help="read everything again")


def transform_plays(plays: DataFrame) -> DataFrame:
    """Leave one row a listener, song and source: the largest count, where a source repeats itself."""
    counts = F.max("play_count").alias("play_count")
    return plays.groupBy("user_id", "song_id", "source").agg(counts, F.max("run_id").alias("run_id"))


def ingest(run: Run) -> None:
    """List the source and read what is new."""
    source = existing(run.args.source)
    with Listing(run.spark, source, _SUFFIXES) as listing, run.progress("files") as progress:
        run.count(files=listing.count, skipped=0, rows_read=0, repeated=0, quarantined=0)
        task = progress.add_task("", total=listing.count)
        for files in listing.chunks(_FILES_AT_ONCE):
            pending = hold_against_manifest(run.warehouse, STAGE, files, force=run.args.force)
            run.count(skipped=len(pending.done))
            _weigh(run, pending.done)
            if len(pending.todo):
                _ingest_files(run, listing, _refuse_namesakes(pending.todo), pending.known)
            progress.advance(task, len(files))
        forget_removed(run.warehouse, STAGE, listing)


def _refuse_namesakes(files: pa.Table) -> pa.Table:
    """Mark every file but the first of one source name: each would replace what the other said."""
    names = pd.Series([source_name(uri) for uri in files["uri"].to_pylist()])
    first = names.map(dict(zip(names[::-1], files["uri"].to_pylist()[::-1], strict=True)))
    fault = files["fault"].to_pandas().where(~names.duplicated(), "has the name of " + first + ": rename one of them")
    index = files.schema.get_field_index("fault")
    return files.set_column(index, "fault", pa.Array.from_pandas(fault, type=pa.string()))


def _ingest_files(run: Run, listing: Listing, files: pa.Table, known: pd.DataFrame) -> None:
    make = partial(read_annotation_files, stage=STAGE, run_id=run.run_id, force=run.args.force)
    inputs = listing.frame(run.spark, files).repartition(len(files))
    staged = run.warehouse.stage(inputs, make, TARGETS, to_driver=[MANIFEST, QUARANTINE])
    manifest = staged.table(MANIFEST).to_pandas()
    sources = sorted({source_name(uri) for uri in manifest["uri"][manifest["status"] == "done"]})
    for table in TARGETS[:-1]:
        files_of_it = staged.files.get(table.name, [])
        if files_of_it or run.warehouse.exists(table):
            repeated = run.warehouse.merge(table, files_of_it, scope=("source", sources))
            run.count(repeated=len(repeated))
    _write_plays(run, staged, manifest, known)
    settle_unchanged(manifest, known)
    _weigh(run, manifest)
    read = manifest[manifest["run_id"] == run.run_id]
    run.count(rows_read=int(read["row_count"].sum()), quarantined=len(staged.table(QUARANTINE)))
    write_quarantine(run.warehouse, STAGE, staged.table(QUARANTINE), read["uri"], force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _weigh(run: Run, manifest: pd.DataFrame) -> None:
    """Count lines, good and bad: one bad line in a file of millions is not a bad file."""
    run.inputs += int(manifest["row_count"].sum() + manifest["reject_count"].sum())
    run.bad_inputs += int(manifest["reject_count"].sum())


def _write_plays(run: Run, staged: Staged, manifest: pd.DataFrame, known: pd.DataFrame) -> None:
    """Append plays of new sources, which takes no look at the table; merge where it holds some of a source."""
    files = staged.files.get(PLAYS.name, [])
    done = manifest[manifest["status"] == "done"]
    read_again = bool(done["uri"].isin(known["uri"]).any())
    if not files and not (read_again and run.warehouse.exists(PLAYS)):
        return
    sources = sorted({source_name(uri) for uri in done["uri"]})
    plays = transform_plays(run.warehouse.staged_frame(run.spark, PLAYS, files))
    if not read_again and not run.warehouse.may_hold(PLAYS, "source", sources):
        content = json.dumps(sorted(zip(done["uri"], done["sha256"], strict=True)))
        run.warehouse.append(PLAYS, plays, transaction=f"{STAGE}:{hashlib.sha256(content.encode()).hexdigest()}")
    else:
        run.warehouse.merge(PLAYS, plays, scope=("source", sources))
    run.warehouse.discard(PLAYS, files)


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
