"""Ingest Million Song Dataset HDF5 files into Delta tables.

Reads:  a tree of .h5 and .hdf5 files, on any file system that Hadoop can read. A file contains one song or many.
Writes: msd_tracks, msd_analysis, manifest, quarantine.
Grain:  one track; one quarantine row for each bad file.
Rerun:  files whose size and modification time equal those in the manifest are skipped. If only the modification time
        differs, a file is hashed, and not parsed again unless it was a duplicate. The tracks of a changed file are
        replaced. A run that is killed at any point and started again writes the same rows as an uninterrupted run.
"""

import argparse
import math
import re
import sys
from functools import partial

import pandas as pd
import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from reprise.jobs._engine.command_line import existing_location
from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.manifest import carry_over_unchanged, compare_with_manifest, write_manifest
from reprise.jobs._engine.quarantine import delete_removed_inputs, write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._engine.warehouse.commits import Staged
from reprise.lib.errors import InputError
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.ingest_rows import quarantine_row
from reprise.udfs.msd_files import CRASHED, read_files

JOB = "ingest_msd"
_DIVISOR = 8
_WORKER_DIED = re.compile("Python worker (exited unexpectedly|process terminated due to idle timeout)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--source",
        required=True,
        metavar="DIR",
        help="tree of .h5 and .hdf5 files: a path, or a URI that Hadoop can read",
    )
    parser.add_argument("--force", action="store_true", help="read every file again, even when it is unchanged")


def ingest(run: Run) -> None:
    """List the source and read new and changed files in batches. Each batch is one commit per table."""
    source = existing_location(run.args.source)
    chunk_size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    with Listing(run.spark, source, (".h5", ".hdf5")) as listing, run.progress("files") as progress:
        run.inputs = listing.count
        run.count(files=listing.count, skipped=0, tracks_read=0, duplicates=0, quarantined=0)
        task = progress.add_task("", total=listing.count)
        for files in listing.chunks(chunk_size):
            _ingest_chunk(run, listing, files)
            progress.advance(task, len(files))
        delete_removed_inputs(run.warehouse, JOB, listing)


def _ingest_chunk(run: Run, listing: Listing, files: pa.Table) -> None:
    pending = compare_with_manifest(run.warehouse, JOB, files, force=run.args.force)
    run.count(skipped=len(pending.done))
    run.bad_inputs += int((pending.done["reject_count"] > 0).sum())
    if len(pending.todo):
        _commit(run, _read(run, listing, pending.todo), pending.known)


def _read(run: Run, listing: Listing, files: pa.Table) -> Staged:
    """Read ``files`` on the workers.

    If a file crashes its worker, the files are divided into smaller and smaller groups until this file is found. It is
    then quarantined.
    """
    make = partial(read_files, job=JOB, run_id=run.run_id, force=run.args.force)
    try:
        return run.warehouse.stage(
            listing.frame(run.spark, files), make, [MSD_ANALYSIS, MSD_TRACKS], to_driver=[MANIFEST, QUARANTINE]
        )
    except (PySparkException, Py4JJavaError) as error:
        # a file marked as crashed is hashed but not parsed; if the worker still dies, the file is not the cause
        if not _WORKER_DIED.search(str(error)) or files["fault_kind"].to_pylist() == ["crashed"]:
            raise
    if len(files) == 1:
        for name, value in (("fault_kind", "crashed"), ("fault", CRASHED)):
            files = files.set_column(files.schema.get_field_index(name), name, pa.array([value]))
        return _read(run, listing, files)
    staged = Staged()
    # if a file makes its reader hang, each level of division waits for one idle timeout; eight groups need few levels
    size = math.ceil(len(files) / _DIVISOR)
    for start in range(0, len(files), size):
        staged.add(_read(run, listing, files.slice(start, size)))
    return staged


def _commit(run: Run, staged: Staged, known: pd.DataFrame) -> None:
    """Write the rows of one batch.

    The manifest is written last. If the job is killed, the next run reads again each file whose manifest row is missing
    or outdated.
    """
    manifest = staged.table(MANIFEST).to_pandas()
    read_again = manifest["uri"].isin(known["uri"]) & (manifest["status"] == "done")
    options = {"scope": ("uri", sorted(manifest["uri"][read_again])), "force": run.args.force}
    refused = run.warehouse.merge(MSD_ANALYSIS, staged.files.get(MSD_ANALYSIS.name, []), **options)
    # If another file owns a track in msd_analysis, the track is also left out of msd_tracks. Otherwise this run could
    # write the track to msd_tracks before a concurrent run that reads the owning file.
    others = refused[refused["uri"] != refused["kept_owner"]]
    also_refused = run.warehouse.merge(
        MSD_TRACKS, staged.files.get(MSD_TRACKS.name, []), leave_out=others[["track_id", "uri"]], **options
    )
    offers = [pd.MultiIndex.from_frame(rows[["track_id", "uri"]]) for rows in (refused, also_refused)]
    also_refused = also_refused[~offers[1].isin(offers[0])]
    refused = refused if also_refused.empty else also_refused if refused.empty else pd.concat([refused, also_refused])
    quarantine = pa.concat_tables([staged.table(QUARANTINE), _find_conflicts(run, refused)])
    manifest = _finish_manifest(manifest, refused, known)
    run.bad_inputs += int((manifest["reject_count"] > 0).sum())
    read = manifest[manifest["run_id"] == run.run_id]
    run.count(
        tracks_read=int(read["row_count"].sum()),
        duplicates=int((manifest["status"] == "duplicate").sum()),
        quarantined=len(quarantine),
    )
    write_quarantine(run.warehouse, JOB, quarantine, read["uri"], force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _find_conflicts(run: Run, refused: pd.DataFrame) -> pa.Table:
    """Return quarantine rows of files with conflicting tracks.

    A track is in conflict if its file contains it twice, or if another file with different content contains it. If the
    two files are identical, the track is not in conflict: its file is a duplicate.
    """
    rows = []
    for uri, tracks in refused[_is_conflict(refused)].groupby("uri"):
        first, more = tracks.iloc[0], f"; {len(tracks) - 1} more with the same conflict" if len(tracks) > 1 else ""
        where = "twice in this file" if first["kept_owner"] == uri else f"already in {first['kept_owner']}"
        message = f"track {first['track_id']} is {where} with different content{more}: keep one of them"
        error = InputError("duplicate_track", message)
        rows.append(quarantine_row(str(uri), error, job=run.job, run_id=run.run_id, sha256=first["sha256"]))
    return pa.Table.from_pylist(rows, arrow_schema(QUARANTINE))


def _is_conflict(refused: pd.DataFrame) -> pd.Series:
    """Return a boolean mask of the refused rows in conflict.

    A row is in conflict if its file is also the file of the kept row, or if the two files differ in content.
    """
    return (refused["sha256"] != refused["kept_sha256"]) | (refused["uri"] == refused["kept_owner"])


def _finish_manifest(manifest: pd.DataFrame, refused: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest rows with their final counts and status, after merges have refused some tracks."""
    manifest = manifest.set_index("uri", drop=False)
    n_refused = refused.groupby("uri").size()
    n_conflicts = refused[_is_conflict(refused)].groupby("uri").size()
    manifest["row_count"] -= n_refused.reindex(manifest.index, fill_value=0)
    manifest["reject_count"] += n_conflicts.reindex(manifest.index, fill_value=0)
    nothing_left = manifest.index.isin(n_refused.index) & (manifest["row_count"] == 0)
    manifest.loc[nothing_left, "status"] = "duplicate"
    manifest.loc[nothing_left & (manifest["reject_count"] > 0), "status"] = "quarantined"
    manifest = manifest.reset_index(drop=True)
    carry_over_unchanged(manifest, known)
    return manifest


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
