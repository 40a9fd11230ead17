"""Ingest the annotations that belong to the Million Song Dataset into Delta tables.

Reads:  SecondHandSongs lists, tagtraum .cls files, taste-profile triplets (plain or gzip), the mismatch list and
        unique_tracks.txt. The format of a file is detected from its content.
Writes: cover_cliques, genre_labels, plays, song_mismatches, unique_tracks, manifest, quarantine.
Grain:  one annotation; one quarantine row for each bad line, with file and line number, and one for each file that
        cannot be read.
Rerun:  files that have not changed since the manifest recorded them are skipped. The rows of a changed file replace the
        rows that were read from it before. A run that is killed at any point and started again writes the same rows as
        an uninterrupted run.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from functools import partial

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.command_line import existing_location
from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.manifest import carry_over_unchanged, compare_with_manifest, write_manifest
from reprise.jobs._engine.quarantine import delete_removed_inputs, write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
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

JOB = "ingest_annotations"
TARGETS = (COVER_CLIQUES, GENRE_LABELS, SONG_MISMATCHES, UNIQUE_TRACKS, PLAYS)
_SUFFIXES = (".txt", ".cls", ".tsv", ".gz")
_FILES_AT_ONCE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--source", required=True, metavar="PATH", help="annotation file, or folder with annotations")
    parser.add_argument("--force", action="store_true", help="read every file again, even when it is unchanged")


def transform_plays(plays: DataFrame) -> DataFrame:
    """Reduce ``plays`` to one row per listener, song and source. A row gets the largest ``play_count`` of its plays."""
    counts = F.max("play_count").alias("play_count")
    return plays.groupBy("user_id", "song_id", "source").agg(counts, F.max("run_id").alias("run_id"))


def ingest(run: Run) -> None:
    """List the files of the source, and read the new and changed files."""
    source = existing_location(run.args.source)
    with Listing(run.spark, source, _SUFFIXES) as listing, run.progress("files") as progress:
        run.count(files=listing.count, skipped=0, rows_read=0, repeated=0, quarantined=0)
        task = progress.add_task("", total=listing.count)
        chosen = _choose_files(run, listing)
        for files in listing.chunks(_FILES_AT_ONCE):
            pending = compare_with_manifest(run.warehouse, JOB, files, force=run.args.force)
            run.count(skipped=len(pending.done))
            _count_lines(run, pending.done)
            if len(pending.todo):
                _ingest_files(run, listing, _mark_repeated_names(pending.todo, chosen), pending.known)
            progress.advance(task, len(files))
        delete_removed_inputs(run.warehouse, JOB, listing)


def _choose_files(run: Run, listing: Listing) -> dict[str, str]:
    """Return the URI of the file to read for each source name: one that was read before, otherwise the first listed.

    If two files with the same source name were read, each would replace the rows of the other file.
    """
    first: dict[str, str] = {}
    read_before: dict[str, str] = {}
    for files in listing.chunks(_FILES_AT_ONCE):
        known = compare_with_manifest(run.warehouse, JOB, files, force=False).known
        done = set(known["uri"][known["status"] == "done"])
        for uri in files["uri"].to_pylist():
            first.setdefault(source_name(uri), uri)
            if uri in done:
                read_before.setdefault(source_name(uri), uri)
    return first | read_before


def _mark_repeated_names(files: pa.Table, chosen: Mapping[str, str]) -> pa.Table:
    """Mark each of ``files`` as faulty if another file is ``chosen`` for its source name."""
    uris = files["uri"].to_pandas()
    others = uris.map(lambda uri: chosen[source_name(uri)])
    faults = {
        "fault_kind": files["fault_kind"].to_pandas().where(uris == others, "not_a_file"),
        "fault": files["fault"]
        .to_pandas()
        .where(uris == others, "has the same source name as " + others + ": rename one of them"),
    }
    for name, values in faults.items():
        index = files.schema.get_field_index(name)
        files = files.set_column(index, name, pa.Array.from_pandas(values, type=pa.string()))
    return files


def _ingest_files(run: Run, listing: Listing, files: pa.Table, known: pd.DataFrame) -> None:
    make = partial(read_annotation_files, job=JOB, run_id=run.run_id, force=run.args.force)
    inputs = listing.frame(run.spark, files).repartition(len(files))
    staged = run.warehouse.stage(inputs, make, TARGETS, to_driver=[MANIFEST, QUARANTINE])
    manifest = staged.table(MANIFEST).to_pandas()
    sources = sorted({source_name(uri) for uri in manifest["uri"][manifest["status"] == "done"]})
    for table in TARGETS[:-1]:
        staged_files = staged.files.get(table.name, [])
        if staged_files or run.warehouse.exists(table):
            repeated = run.warehouse.merge(table, staged_files, scope=("source", sources))
            run.count(repeated=len(repeated))
    _write_plays(run, staged, manifest, known)
    carry_over_unchanged(manifest, known)
    _count_lines(run, manifest)
    read = manifest[manifest["run_id"] == run.run_id]
    run.count(rows_read=int(read["row_count"].sum()), quarantined=len(staged.table(QUARANTINE)))
    write_quarantine(run.warehouse, JOB, staged.table(QUARANTINE), read["uri"], force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _count_lines(run: Run, manifest: pd.DataFrame) -> None:
    """Count lines, not files, as inputs and as bad inputs: one bad line among millions does not make a file bad."""
    run.inputs += int(manifest["row_count"].sum() + manifest["reject_count"].sum())
    run.bad_inputs += int(manifest["reject_count"].sum())


def _write_plays(run: Run, staged: Staged, manifest: pd.DataFrame, known: pd.DataFrame) -> None:
    """Write the plays of the staged files.

    The plays are appended if two conditions hold: all files are new, and the file statistics of the table show that it
    has no plays from the sources of these files. An append does not read the table. Otherwise the plays are merged.
    """
    files = staged.files.get(PLAYS.name, [])
    done = manifest[manifest["status"] == "done"]
    read_again = bool(done["uri"].isin(known["uri"]).any())
    if not files and not (read_again and run.warehouse.exists(PLAYS)):
        return
    sources = sorted({source_name(uri) for uri in done["uri"]})
    plays = transform_plays(run.warehouse.staged_frame(run.spark, PLAYS, files))
    if not read_again and not run.warehouse.may_hold(PLAYS, "source", sources):
        content = json.dumps(sorted(zip(done["uri"], done["sha256"], strict=True)))
        run.warehouse.append(PLAYS, plays, transaction=f"{JOB}:{hashlib.sha256(content.encode()).hexdigest()}")
    else:
        run.warehouse.merge(PLAYS, plays, scope=("source", sources))
    run.warehouse.discard(PLAYS, files)


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
