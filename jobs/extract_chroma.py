"""Extract beat chroma and chroma patches from the analyses of tracks.

Reads:  msd_analysis, library_analysis.
Writes: beat_chroma, chroma_patches, quarantine.
Grain:  one track, with the reason where it has no chroma or no patch; one quarantine row a damaged analysis.
Rerun:  tracks whose analysis is that of the last time are skipped, those that have none any more are forgotten. Killed
        at any point and started again, it ends in the same rows.
"""

import argparse
import sys
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.manifest import write_quarantine
from reprise.jobs._engine.pending import ANALYSES, Pending, add_force, find_pending, forget_removed
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, QUARANTINE, row_uri
from reprise.udfs.beat_chroma import INPUTS, extract_chroma

STAGE = "extract_chroma"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)


def extract(run: Run) -> None:
    """Extract what is new or changed, a part of the analyses at a time."""
    run.count(extracted=0, quarantined=0)
    for pending in find_pending(run, ANALYSES, BEAT_CHROMA, first="ingest-msd or ingest-library"):
        _extract_part(run, pending)
    forget_removed(run.warehouse, STAGE, ANALYSES, (CHROMA_PATCHES, BEAT_CHROMA))


def _extract_part(run: Run, pending: Pending) -> None:
    """Write one part. Beat chroma comes last: what it does not hold is extracted again, and the rows stay the same."""
    analyses = pending.frame(run, ["track_id", "sha256", *INPUTS])
    make = partial(extract_chroma, stage=STAGE, run_id=run.run_id)
    staged = run.warehouse.stage(analyses, make, [CHROMA_PATCHES, BEAT_CHROMA], to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    # what was well once and is damaged now must not stand for what it is now
    gone = pa.table({"track_id": pc.list_element(pc.split_pattern(rejected["uri"], "#"), 1)})
    for table in (CHROMA_PATCHES, BEAT_CHROMA):
        run.warehouse.merge(table, staged.files.get(table.name, []), delete=gone)
    looked_at = pd.Series([row_uri(pending.source.name, track_id) for track_id in pending.track_ids])
    write_quarantine(run.warehouse, STAGE, rejected, looked_at, force=run.args.force)
    made = run.warehouse.look_into(BEAT_CHROMA, [f.path for f in staged.files.get(BEAT_CHROMA.name, [])], ["status"])
    run.bad_inputs += len(rejected)
    run.count(extracted=len(made), quarantined=len(rejected))
    run.count(**{row["values"]: row["counts"] for row in made["status"].value_counts().to_pylist()})


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, extract), argv)


if __name__ == "__main__":
    sys.exit(main())
