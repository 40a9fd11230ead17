"""Explore labelled features before training: write an HTML page with plots and tables.

Reads:  for the features, msd_genre_features or audio_genre_features. For the labels and artists, either genre_labels
        and msd_tracks, or library_tracks. With --table, only the file of this option.
Writes: no table except job_runs; DIR/index.html and the PNG and CSV files that it links to.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._genres.datasets import TABLE, TAGS, find_labelled, name_labels
from reprise.lib.genres.exploration import explore
from reprise.lib.genres.feature_sets import FEATURE_SETS

MAX_ROWS = 100_000
"""Maximum number of rows whose features are loaded. If there are more rows, a random sample of this size is used."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--features", choices=list(FEATURE_SETS), default="msd", help="feature set (default: %(default)s)"
    )
    parser.add_argument(
        "--labels",
        metavar="SOURCE",
        help=f"labels to use: the name of a source in genre_labels, '{TAGS}' (genre tags of the listeners' files)"
        f" or '{TABLE}' (the file of --table); with --table, this option may be omitted",
    )
    parser.add_argument(
        "--table", metavar="CSV", help="CSV file with features and labels, in the format of the GTZAN table"
    )
    parser.add_argument(
        "--out", default="feature_exploration", metavar="DIR", help="folder for the page (default: %(default)s)"
    )


def explore_features(run: Run) -> None:
    """Select at most `MAX_ROWS` rows that have features and a label, and write the exploration page."""
    args, seed, out = run.args, run.settings.seed, Path(run.args.out)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    labels = name_labels(args.labels, args.table)
    labelled = find_labelled(run, args.features, labels, args.table)
    total = len(labelled.ids)
    selected = np.arange(total)
    if total > MAX_ROWS:
        selected = np.sort(np.random.default_rng(seed).choice(total, MAX_ROWS, replace=False))
    data = labelled.take(selected)
    counts = Counter(labelled.genres.tolist())
    run.count(rows=total, genres=len(counts), features=len(data.features), rows_explored=len(selected))
    source = Path(args.table).name if args.table else labels
    files = explore(
        out, data.rows, data.genres, data.features, counts=counts, title=f"{args.features} × {source}",
        seed=seed % 2**32,
    )  # fmt: skip
    run.count(files_written=len(files))
    if not args.json:
        print(f"written: {files[0]}")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("explore_features", __doc__ or "", add_arguments, explore_features), argv)


if __name__ == "__main__":
    sys.exit(main())
