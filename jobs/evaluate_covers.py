"""Evaluate cover detection on a list of cliques: how well each measure finds, and tells, versions of one work.

Reads:  cover_vectors, models, beat_chroma, chroma_patches, cover_cliques, msd_tracks.
Writes: nothing but its row in job_runs; DIR/metrics.json, cliques.csv, precision_recall.png and ranks.png.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import functions as F
from rich.table import Table as Grid

from reprise.jobs._detection.evaluation import Evaluation, Measured, evaluate_measure, read_triplets
from reprise.jobs._detection.search import MEASURES, NO_RERANKER, Model, clique_members, gallery, load_model
from reprise.jobs._engine.run import Job, Run, UsageError, print_grid, run_job
from reprise.lib.detect.alignment import DEFAULT_RERANKER
from reprise.lib.detect.plots import draw_precision_recall, draw_rank_histogram
from reprise.lib.tables import CHROMA_PATCHES

_SHOWN = {
    "mean_average_precision": "MAP",
    "mean_first_rank": "MR1",
    "average_rank": "average rank",
    "precision_at_10": "P@10",
    "binary_accuracy": "binary",
    "model_1_accuracy": "model 1",
    "model_2_accuracy": "model 2",
    "model_2_roc_area": "model 2 ROC area",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--cliques", default="shs_dataset_test", metavar="LIST", help="clique list (%(default)s)")
    parser.add_argument("--model", metavar="ID", help="model whose vectors are searched (default: the last trained)")
    parser.add_argument(
        "--rerank",
        action="append",
        choices=MEASURES,
        help=f"repeatable (default {NO_RERANKER}, {DEFAULT_RERANKER})",
    )
    parser.add_argument(
        "--candidates", type=int, default=100, metavar="N", help="nearest tracks that are ordered anew (%(default)s)"
    )
    parser.add_argument("--triplets", metavar="FILE", help="binary queries (default: 500 drawn from the cliques)")
    parser.add_argument("--out", default="cover_evaluation", metavar="DIR", help="folder to write (%(default)s)")


def evaluate(run: Run) -> None:
    """Judge each measure on the tracks of the list that are there, and write what was found."""
    args, model = run.args, load_model(run, run.args.model)
    if args.candidates < 1:
        raise UsageError(f"--candidates must be at least 1, not {args.candidates}")
    if args.triplets and not Path(args.triplets).is_file():
        raise UsageError(f"--triplets {args.triplets} does not exist")
    triplets = read_triplets(args.triplets) if args.triplets else None
    evaluation = _set_up(run, model, triplets)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    measured = {}
    measures = list(dict.fromkeys(args.rerank or [NO_RERANKER, DEFAULT_RERANKER]))
    with run.progress("measures") as progress:
        task = progress.add_task("", total=len(measures))
        for reranker in measures:
            measured[reranker] = evaluate_measure(evaluation, reranker)
            progress.advance(task)
    _write(out, run, model, measured)
    if not args.json:
        _print(measured)
        print(f"written: {out}")


def _set_up(run: Run, model: Model, triplets: pd.DataFrame | None) -> Evaluation:
    members = clique_members(run, run.args.cliques)
    patches = run.warehouse.read(run.spark, CHROMA_PATCHES)
    ids = run.spark.createDataFrame(members[["track_id"]])
    present = set(patches.join(F.broadcast(ids), "track_id", "left_semi").select("track_id").toPandas()["track_id"])
    there = members[members["track_id"].isin(present)].reset_index(drop=True)
    run.count(
        cliques_listed=members["clique_id"].nunique(),
        tracks_listed=len(members),
        tracks_present=len(there),
        tracks_ranked=patches.count(),
    )
    if there.empty:
        raise UsageError(f"none of the {len(members)} tracks of {run.args.cliques} is there: ingest them first")
    n_tracks = run.counts["tracks_ranked"]
    return Evaluation(run, model, gallery(run, model), there, n_tracks, run.args.candidates, triplets)


def _write(out: Path, run: Run, model: Model, measured: dict[str, Measured]) -> None:
    draw_precision_recall({name: m.curve for name, m in measured.items()}, out / "precision_recall.png")
    draw_rank_histogram({name: m.histogram for name, m in measured.items()}, out / "ranks.png")
    frames = [m.cliques.assign(reranker=name) for name, m in measured.items()]
    pd.concat(frames).to_csv(out / "cliques.csv", index=False)
    document: dict[str, Any] = {
        "model_id": model.model_id,
        "clique_list": run.args.cliques,
        "candidates": run.args.candidates,
        "counts": run.counts,
        "measures": {name: m.figures for name, m in measured.items()},
    }
    (out / "metrics.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _print(measured: dict[str, Measured]) -> None:
    for counted, title in (("published", "tracks without a vector left out"), ("misses", "counted as misses")):
        grid = Grid("measure", *_SHOWN.values(), title=title, title_justify="left")
        for name, m in measured.items():
            figures = m.figures[counted]
            grid.add_row(name, *("" if figures[f] is None else f"{figures[f]:,.3f}" for f in _SHOWN))
        print_grid(grid)


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("evaluate_covers", __doc__ or "", add_arguments, evaluate), argv)


if __name__ == "__main__":
    sys.exit(main())
