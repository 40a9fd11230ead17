"""Compose a sample: songs as MSD files, and annotation files in their original formats.

Reads:  nothing; the music follows from the seed.
Writes: DIR/msd (HDF5 files), DIR/annotations (lists, labels, triplets, and the truth about what was planted).
Grain:  one track.
Rerun:  files that are there are left alone, so that a killed run goes on where it stopped. A folder that holds another
        sample is refused.
"""

import argparse
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

from reprise.jobs._run import Job, Run, UsageError, absolute, run_job
from reprise.lib import sample
from reprise.udfs.sample_tracks import RESULT_DDL, write_tracks

_TRACKS_A_TASK = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write, seen by every worker")
    parser.add_argument("--tracks", type=int, default=500, metavar="N", help="tracks to compose (default %(default)s)")
    parser.add_argument("--cliques", type=int, metavar="N", help="cover cliques among them")
    parser.add_argument("--covers", type=int, metavar="N", help="tracks that stand in cliques (default a fifth)")
    parser.add_argument("--listeners", type=int, metavar="N", help="listeners with a taste (default a fifth)")


def make(run: Run) -> None:
    """Write the plan, the annotations and then the tracks, a batch of tasks at a time."""
    args, out = run.args, Path(absolute(run.args.out))
    try:
        plan = sample.Plan(
            args.tracks, run.settings.seed, n_cliques=args.cliques, n_covers=args.covers, n_listeners=args.listeners
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    _claim(out, plan)
    if not (out / "annotations").exists():
        unfinished = out / "annotations.unfinished"
        sample.write_annotations(plan, unfinished)
        unfinished.rename(out / "annotations")
    write = partial(write_tracks, plan=plan, root=out / "msd")
    run.count(tracks=plan.n_tracks, written=0)
    width = run.spark.sparkContext.defaultParallelism
    with run.progress("tracks") as progress:
        task = progress.add_task("", total=plan.n_tracks)
        for start in range(0, plan.n_tracks, _TRACKS_A_TASK * width):
            stop = min(start + _TRACKS_A_TASK * width, plan.n_tracks)
            numbers = run.spark.range(start, stop, numPartitions=width)
            run.count(written=sum(row.written for row in numbers.mapInArrow(write, RESULT_DDL).collect()))
            progress.advance(task, stop - start)


def _claim(out: Path, plan: sample.Plan) -> None:
    """Leave the plan in the folder, for the next run to know what stands there."""
    text = json.dumps(asdict(plan), indent=2, sort_keys=True) + "\n"
    note = out / "plan.json"
    if note.exists():
        if note.read_text("utf-8") != text:
            raise UsageError(f"{out} holds another sample: give another --out, or remove it")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no sample: give another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(text, "utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("make_sample", __doc__ or "", add_arguments, make), argv)


if __name__ == "__main__":
    sys.exit(main())
