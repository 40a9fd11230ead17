"""Estimate the chord of every beat of tracks from their analyses.

Reads:  msd_analysis, library_analysis.
Writes: beat_chords, quarantine.
Grain:  one track. Its status gives the reason if it has no chords. One quarantine row for each damaged analysis.
Rerun:  tracks whose analysis is unchanged are skipped if their chords are of this version of the estimator. Damaged
        analyses are read again. Rows of tracks without an analysis are deleted. A run that is killed at any point and
        started again writes the same rows as an uninterrupted run.
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
from reprise.lib.analysis.chords import ESTIMATOR
from reprise.lib.tables import BEAT_CHORDS, QUARANTINE, row_uri
from reprise.udfs.beat_chords import INPUTS, estimate_beat_chords

JOB = "estimate_chords"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)


def estimate(run: Run) -> None:
    """Estimate the chords of new and changed tracks, one `Part` of a table at a time."""
    run.count(estimated=0, quarantined=0)
    done: dict[str, str | int] = {"estimator": ESTIMATOR}
    for pending in find_pending(run, ANALYSES, BEAT_CHORDS, target_rows=done, run_first="ingest-msd or ingest-library"):
        _estimate_part(run, pending)
    delete_removed_tracks(run.warehouse, JOB, ANALYSES, [BEAT_CHORDS])


def _estimate_part(run: Run, pending: PendingTracks) -> None:
    """Estimate and write the chords of the pending tracks in one `Part`."""
    analyses = pending.frame(run, ["track_id", "sha256", *INPUTS])
    make = partial(estimate_beat_chords, job=JOB, run_id=run.run_id)
    staged = run.warehouse.stage(analyses, make, [BEAT_CHORDS], to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    files = staged.files.get(BEAT_CHORDS.name, [])
    # if an analysis was valid in an earlier run and is damaged now, its old chords are deleted
    damaged = pa.table({"track_id": pc.list_element(pc.split_pattern(rejected["uri"], "#"), 1)})
    run.warehouse.merge(BEAT_CHORDS, files, delete=damaged)
    read = pd.Series([row_uri(pending.source.name, track_id) for track_id in pending.track_ids])
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    written = run.warehouse.read_columns(BEAT_CHORDS, [file.path for file in files], ["status"])
    run.bad_inputs += len(rejected)
    run.count(estimated=len(written), quarantined=len(rejected))
    run.count(**{row["values"]: row["counts"] for row in written["status"].value_counts().to_pylist()})


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, estimate), argv)


if __name__ == "__main__":
    sys.exit(main())
