"""Extract beat chroma and chroma patches from the analyses of tracks.

Reads:  msd_analysis, library_analysis.
Writes: beat_chroma, chroma_patches, quarantine.
Grain:  one track. Its status gives the reason if it has no chroma or no median patch. One quarantine row for each
        damaged analysis.
Rerun:  tracks whose analysis is unchanged are skipped, unless it is damaged: damaged analyses are read again. Rows of
        tracks without an analysis are deleted. A run that is killed at any point and started again writes the same rows
        as an uninterrupted run.
"""

import argparse
import sys
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.command_line import add_force
from reprise.jobs._engine.pending import ANALYSES, PendingTracks, delete_removed_tracks, find_pending
from reprise.jobs._engine.quarantine import write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, QUARANTINE, row_uri
from reprise.udfs.beat_chroma import INPUTS, extract_chroma

JOB = "extract_chroma"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)


def extract(run: Run) -> None:
    """Extract the chroma of new and changed tracks, one `Part` of a table at a time."""
    run.count(extracted=0, quarantined=0)
    for pending in find_pending(run, ANALYSES, BEAT_CHROMA, run_first="ingest-msd or ingest-library"):
        _extract_part(run, pending)
    delete_removed_tracks(run.warehouse, JOB, ANALYSES, (CHROMA_PATCHES, BEAT_CHROMA))


def _extract_part(run: Run, pending: PendingTracks) -> None:
    """Extract and write the chroma of the pending tracks in one `Part`.

    Beat chroma is written last. If the job is killed, the next run extracts the tracks whose beat chroma is missing or
    outdated.
    """
    analyses = pending.frame(run, ["track_id", "sha256", *INPUTS])
    make = partial(extract_chroma, job=JOB, run_id=run.run_id)
    staged = run.warehouse.stage(analyses, make, [CHROMA_PATCHES, BEAT_CHROMA], to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    # if an analysis was valid in an earlier run and is damaged now, its old chroma is deleted
    damaged = pa.table({"track_id": pc.list_element(pc.split_pattern(rejected["uri"], "#"), 1)})
    for table in (CHROMA_PATCHES, BEAT_CHROMA):
        run.warehouse.merge(table, staged.files.get(table.name, []), delete=damaged)
    read = pd.Series([row_uri(pending.source.name, track_id) for track_id in pending.track_ids])
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    written = run.warehouse.read_columns(
        BEAT_CHROMA, [f.path for f in staged.files.get(BEAT_CHROMA.name, [])], ["status"]
    )
    run.bad_inputs += len(rejected)
    run.count(extracted=len(written), quarantined=len(rejected))
    run.count(**{row["values"]: row["counts"] for row in written["status"].value_counts().to_pylist()})


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, extract), argv)


if __name__ == "__main__":
    sys.exit(main())
