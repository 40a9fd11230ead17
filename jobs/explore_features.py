"""Explore labelled features before any model is trained: one page with pictures and tables.

Reads:  msd_genre_features or audio_genre_features with genre_labels and msd_tracks or library_tracks; or a file.
Writes: nothing but its row in job_runs; DIR/index.html with the PNG and CSV files that it shows.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._genres.datasets import TABLE, TAGS, find_labelled, name_labels
from reprise.lib.genres.exploration import explore
from reprise.lib.genres.feature_sets import FEATURE_SETS

MAX_ROWS = 100_000
"""Rows whose features are fetched; of more, so many are drawn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--features", choices=list(FEATURE_SETS), default="msd", help="feature set (%(default)s)")
    parser.add_argument(
        "--labels",
        metavar="SOURCE",
        help=f"a source of genre_labels, {TAGS} for the tags of library tracks, or {TABLE}",
    )
    parser.add_argument("--table", metavar="CSV", help="file of features and labels as the GTZAN table is one")
    parser.add_argument("--out", default="feature_exploration", metavar="DIR", help="folder to write (%(default)s)")


def explore_features(run: Run) -> None:
    """Draw rows that have features and a label, and write the page about them."""
    args, seed, out = run.args, run.settings.seed, Path(run.args.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    labels = name_labels(args.labels, args.table)
    labelled = find_labelled(run, args.features, labels, args.table)
    total = len(labelled.ids)
    drawn = np.arange(total)
    if total > MAX_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(total, MAX_ROWS, replace=False))
    data = labelled.take(drawn)
    counts = Counter(labelled.genres.tolist())
    run.count(rows=total, genres=len(counts), features=len(data.features), rows_explored=len(drawn))
    source = Path(args.table).name if args.table else labels
    files = explore(
        out, data.rows, data.genres, data.features, counts=counts, title=f"{args.features} × {source}",
        seed=seed % 2**32,
    )  # fmt: skip
    run.count(files_written=len(files))
    if not args.json:
        print(f"written: {files[0]}")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("explore_features", __doc__ or "", add_arguments, explore_features), argv)


if __name__ == "__main__":
    sys.exit(main())
