"""Ingest Million Song Dataset HDF5 files into Delta tables.

Reads:  a tree of .h5 files, one song or many each, on any file system that Hadoop can read.
Writes: msd_tracks, msd_analysis, manifest, quarantine.
Grain:  one track; one quarantine row a bad file.
Rerun:  files whose size and modification time are in the manifest are skipped, those with the same content are not read
        again. A changed file replaces its tracks. Killed at any point and started again, it ends in the same rows.
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
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.msd_files import CRASHED, read_files

STAGE = "ingest_msd"
_DIVISOR = 8
_WORKER_DIED = re.compile("Python worker (exited unexpectedly|process terminated due to idle timeout)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--source", required=True, metavar="DIR", help="tree of .h5 files: a path or any URI")
    parser.add_argument("--force", action="store_true", help="read everything again")


def ingest(run: Run) -> None:
    """List the source, then read what is new in bounded batches, each of which is one commit a table."""
    source = existing(run.args.source)
    chunk_size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    with Listing(run.spark, source, (".h5", ".hdf5")) as listing, run.progress("files") as progress:
        run.inputs = listing.count
        run.count(files=listing.count, skipped=0, tracks_read=0, duplicates=0, quarantined=0)
        task = progress.add_task("", total=listing.count)
        for files in listing.chunks(chunk_size):
            _ingest_chunk(run, listing, files)
            progress.advance(task, len(files))
        forget_removed(run.warehouse, STAGE, listing)


def _ingest_chunk(run: Run, listing: Listing, files: pa.Table) -> None:
    pending = hold_against_manifest(run.warehouse, STAGE, files, force=run.args.force)
    run.count(skipped=len(pending.done))
    run.bad_inputs += int((pending.done["reject_count"] > 0).sum())
    if len(pending.todo):
        _commit(run, _read(run, listing, pending.todo), pending.known)


def _read(run: Run, listing: Listing, files: pa.Table) -> Staged:
    """Read ``files`` on the workers. A file that kills its worker is found by dividing and becomes a quarantine row."""
    make = partial(read_files, stage=STAGE, run_id=run.run_id, force=run.args.force)
    try:
        return run.warehouse.stage(
            listing.frame(run.spark, files), make, [MSD_ANALYSIS, MSD_TRACKS], to_driver=[MANIFEST, QUARANTINE]
        )
    except (PySparkException, Py4JJavaError) as error:
        # a worker that dies although it reads no file does so for another reason
        if not _WORKER_DIED.search(str(error)) or files["fault"].to_pylist() == [CRASHED]:
            raise
    if len(files) == 1:
        files = files.set_column(files.schema.get_field_index("fault"), "fault", pa.array([CRASHED]))
        return _read(run, listing, files)
    staged = Staged()
    # a reader that hangs costs the idle timeout at every level of this: few levels, then
    size = math.ceil(len(files) / _DIVISOR)
    for start in range(0, len(files), size):
        staged.add(_read(run, listing, files.slice(start, size)))
    return staged


def _commit(run: Run, staged: Staged, known: pd.DataFrame) -> None:
    """Write one batch. The manifest comes last: what it does not hold is read again, and the rows stay the same."""
    manifest = staged.table(MANIFEST).to_pandas()
    read_again = manifest["uri"].isin(known["uri"]) & (manifest["status"] == "done")
    options = {"scope": ("uri", sorted(manifest["uri"][read_again])), "force": run.args.force}
    refused = run.warehouse.merge(MSD_ANALYSIS, staged.files.get(MSD_ANALYSIS.name, []), **options)
    # what another file holds in one table stays out of the other, even if that file's writer has not come so far
    others = refused[refused["uri"] != refused["kept_owner"]]
    also_refused = run.warehouse.merge(
        MSD_TRACKS, staged.files.get(MSD_TRACKS.name, []), leave_out=others[["track_id", "uri"]], **options
    )
    offers = [pd.MultiIndex.from_frame(rows[["track_id", "uri"]]) for rows in (refused, also_refused)]
    also_refused = also_refused[~offers[1].isin(offers[0])]
    refused = refused if also_refused.empty else also_refused if refused.empty else pd.concat([refused, also_refused])
    quarantine = pa.concat_tables([staged.table(QUARANTINE), _conflicts(run, refused)])
    manifest = _settle(manifest, refused, known)
    run.bad_inputs += int((manifest["reject_count"] > 0).sum())
    read = manifest[manifest["run_id"] == run.run_id]
    run.count(
        tracks_read=int(read["row_count"].sum()),
        duplicates=int((manifest["status"] == "duplicate").sum()),
        quarantined=len(quarantine),
    )
    write_quarantine(run.warehouse, STAGE, quarantine, read["uri"], force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _conflicts(run: Run, refused: pd.DataFrame) -> pa.Table:
    """Quarantine rows of files with a track that another file holds with other content, or that they hold twice.

    A file that repeats another byte for byte is no fault, only a duplicate.
    """
    rows = []
    for uri, tracks in refused[_differs(refused)].groupby("uri"):
        first, more = tracks.iloc[0], f" and {len(tracks) - 1} more like it" if len(tracks) > 1 else ""
        where = "twice in this file" if first["kept_owner"] == uri else f"held by {first['kept_owner']} already"
        rows.append(
            {
                "uri": uri,
                "stage": STAGE,
                "error_class": "duplicate_track",
                "message": f"track {first['track_id']} is {where}, with other content{more}: keep one of them",
                "sha256": first["sha256"],
                "attempts": 1,
                "run_id": run.run_id,
            }
        )
    return pa.Table.from_pylist(rows, arrow_schema(QUARANTINE))


def _differs(refused: pd.DataFrame) -> pd.Series:
    """Which refused rows are not just copies of a file that is kept."""
    return (refused["sha256"] != refused["kept_sha256"]) | (refused["uri"] == refused["kept_owner"])


def _settle(manifest: pd.DataFrame, refused: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows with their final status, once it is known which of their tracks other files hold."""
    manifest = manifest.set_index("uri", drop=False)
    n_refused = refused.groupby("uri").size()
    n_conflicts = refused[_differs(refused)].groupby("uri").size()
    manifest["row_count"] -= n_refused.reindex(manifest.index, fill_value=0)
    manifest["reject_count"] += n_conflicts.reindex(manifest.index, fill_value=0)
    nothing_left = manifest.index.isin(n_refused.index) & (manifest["row_count"] == 0)
    manifest.loc[nothing_left, "status"] = "duplicate"
    manifest.loc[nothing_left & (manifest["reject_count"] > 0), "status"] = "quarantined"
    manifest = manifest.reset_index(drop=True)
    settle_unchanged(manifest, known)
    return manifest


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
