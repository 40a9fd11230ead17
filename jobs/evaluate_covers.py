"""Evaluate cover detection on a clique list: how well each measure finds and recognises versions of a work.

Reads:  cover_vectors, models, beat_chroma, chroma_patches, cover_cliques, msd_tracks.
Writes: no table except job_runs; the files metrics.json, cliques.csv, precision_recall.png and ranks.png in DIR.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from pyspark.sql import functions as F
from rich.table import Table as Grid

from reprise.jobs._detection.evaluation import Evaluation, MeasureResult, evaluate_measure, read_triplets
from reprise.jobs._detection.models import MEASURES, NO_RERANKER, EmbeddingModel, find_embedding
from reprise.jobs._detection.search import clique_members, read_gallery
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.detect.alignment import DEFAULT_RERANKER
from reprise.lib.detect.plots import draw_precision_recall, draw_rank_histogram
from reprise.lib.tables import CHROMA_PATCHES

_SHOWN_METRICS = {
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
    parser.add_argument(
        "--cliques", default="shs_dataset_test", metavar="LIST", help="clique list (default: %(default)s)"
    )
    parser.add_argument("--model", metavar="ID", help="embedding model (default: the model trained last)")
    parser.add_argument(
        "--rerank",
        action="append",
        choices=MEASURES,
        help=f"measure to evaluate; repeatable (default: '{NO_RERANKER}' (the embedding distance) and"
        f" '{DEFAULT_RERANKER}')",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=100,
        metavar="N",
        help="number of nearest tracks to rerank (default: %(default)s)",
    )
    parser.add_argument(
        "--triplets",
        metavar="FILE",
        help="file of binary queries (default: at most 500 queries drawn from the cliques)",
    )
    parser.add_argument(
        "--out", default="cover_evaluation", metavar="DIR", help="folder for the results (default: %(default)s)"
    )


def evaluate(run: Run) -> None:
    """Evaluate the chosen measures on those tracks of the list that are in ``chroma_patches``; write the results."""
    args, model = run.args, find_embedding(run, run.args.model)
    if model.is_shipped:
        raise UsageError(
            f"{model.model_id} is the package's own model, which embeds a query in every key: evaluate-covers evaluates"
            " trained models; run train-cover-index first"
        )
    if args.candidates < 1:
        raise UsageError(f"--candidates must be at least 1, not {args.candidates}")
    if args.triplets and not Path(args.triplets).is_file():
        raise UsageError(f"--triplets {args.triplets} does not exist: name an existing file")
    triplets = read_triplets(args.triplets) if args.triplets else None
    evaluation = _set_up(run, model, triplets)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = {}
    measures = list(dict.fromkeys(args.rerank or [NO_RERANKER, DEFAULT_RERANKER]))
    with run.progress("measures") as progress:
        task = progress.add_task("", total=len(measures))
        for reranker in measures:
            results[reranker] = evaluate_measure(evaluation, reranker)
            progress.advance(task)
    _write(out, run, model, results)
    if not args.json:
        _print(results)
        print(f"written: {out}")


def _set_up(run: Run, model: EmbeddingModel, triplets: pd.DataFrame | None) -> Evaluation:
    members = clique_members(run, run.args.cliques)
    patches = run.warehouse.read(run.spark, CHROMA_PATCHES)
    ids = run.spark.createDataFrame(members[["track_id"]])
    ids_with_chroma = patches.join(F.broadcast(ids), "track_id", "left_semi").select("track_id")
    present = members[members["track_id"].isin(set(ids_with_chroma.toPandas()["track_id"]))].reset_index(drop=True)
    run.count(
        cliques_listed=members["clique_id"].nunique(),
        tracks_listed=len(members),
        tracks_present=len(present),
        tracks_ranked=patches.count(),
    )
    if present.empty:
        raise UsageError(
            f"no track of {run.args.cliques} ({len(members)} listed) has chroma patches: ingest the tracks and run"
            " extract-chroma first"
        )
    n_tracks = run.counts["tracks_ranked"]
    return Evaluation(run, model, read_gallery(run, model), present, n_tracks, run.args.candidates, triplets)


def _write(out: Path, run: Run, model: EmbeddingModel, results: dict[str, MeasureResult]) -> None:
    draw_precision_recall({name: result.curve for name, result in results.items()}, out / "precision_recall.png")
    draw_rank_histogram({name: result.histogram for name, result in results.items()}, out / "ranks.png")
    frames = [result.clique_table.assign(reranker=name) for name, result in results.items()]
    pd.concat(frames).to_csv(out / "cliques.csv", index=False)
    document: dict[str, Any] = {
        "model_id": model.model_id,
        "clique_list": run.args.cliques,
        "candidates": run.args.candidates,
        "counts": run.counts,
        "measures": {name: result.metrics for name, result in results.items()},
    }
    (out / "metrics.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _print(results: dict[str, MeasureResult]) -> None:
    for counted, title in (
        ("published", "tracks without an embedding are left out"),
        ("misses", "tracks without an embedding count as misses"),
    ):
        grid = Grid("measure", *_SHOWN_METRICS.values(), title=title, title_justify="left")
        for name, result in results.items():
            metrics = result.metrics[counted]
            grid.add_row(name, *("" if metrics[key] is None else f"{metrics[key]:,.3f}" for key in _SHOWN_METRICS))
        print_grid(grid)


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("evaluate_covers", __doc__ or "", add_arguments, evaluate), argv)


if __name__ == "__main__":
    sys.exit(main())
