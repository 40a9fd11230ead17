"""Find the tracks that are versions of given ones.

Reads:  cover_vectors, models, beat_chroma, msd_tracks, library_tracks, cover_cliques.
Writes: cover_matches.
Grain:  one query and candidate; the candidates of a query are those of its last search.
Rerun:  a query whose search would find the same, by the versions of what it reads, is skipped.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame
from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._detection.search import (
    MEASURES,
    NO_RERANKER,
    QUERIES_AT_ONCE,
    Model,
    align,
    clique_members,
    fetch_chroma,
    fetch_queries,
    gallery,
    load_model,
    search,
    search_id,
)
from reprise.jobs._engine.pending import add_force
from reprise.jobs._engine.run import Job, Run, UsageError, print_grid, run_job
from reprise.lib.detect.alignment import DEFAULT_RERANKER, RERANKERS
from reprise.lib.detect.plots import draw_alignment
from reprise.lib.tables import BEAT_CHROMA, COVER_MATCHES, LIBRARY_TRACKS, MSD_TRACKS
from reprise.udfs.arrow import arrow_schema

_FIGURES = {
    "distance": ("distance", "{:.3f}"),
    "alignment_distance": ("aligned", "{:.3f}"),
    "probability": ("prob.", "{:.2f}"),
    "transposition": ("key", "+{:.0f}"),
    "tempo_ratio": ("tempo", "× {:.2f}"),
}
"""Columns of the printed table, what it calls them and how it writes them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", action="append", default=[], metavar="ID", help="track to search for; repeatable")
    parser.add_argument("--cliques", metavar="LIST", help="search for every track of a clique list")
    parser.add_argument("--top", type=_positive, default=10, metavar="K", help="matches a query (default %(default)s)")
    parser.add_argument("--model", metavar="ID", help="model whose vectors are searched (default: the last trained)")
    parser.add_argument(
        "--rerank", choices=MEASURES, default=DEFAULT_RERANKER, help="measure that orders candidates (%(default)s)"
    )
    parser.add_argument(
        "--candidates", type=_positive, default=100, metavar="N", help="nearest tracks that it orders (%(default)s)"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the first query beside its best match")
    add_force(parser)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def find(run: Run) -> None:
    """Search for what is asked, in bounded batches of queries, each of which is one commit."""
    args = run.args
    wanted = _wanted(run)
    model = load_model(run, args.model)
    tracks = gallery(run, model)
    key = search_id(run, model, top=args.top, rerank=args.rerank, candidates=args.candidates)
    run.inputs = len(wanted)
    run.count(queries=len(wanted), skipped=0, searched=0, without_vector=0, matches=0)
    with run.progress("queries") as progress:
        task = progress.add_task("", total=len(wanted))
        for start in range(0, len(wanted), QUERIES_AT_ONCE):
            _find_some(run, model, tracks, wanted[start : start + QUERIES_AT_ONCE], key)
            progress.advance(task, len(wanted[start : start + QUERIES_AT_ONCE]))
    if args.track and not args.json:
        for track_id in dict.fromkeys(args.track):
            _print(run, track_id)
    if args.plot:
        _plot(run, [*args.track, *wanted][0])


def _wanted(run: Run) -> list[str]:
    """Ids to search for, in ascending order."""
    ids = set(run.args.track)
    if run.args.cliques:
        ids |= set(clique_members(run, run.args.cliques)["track_id"])
    if not ids:
        raise UsageError("nothing to search for: give --track ID or --cliques LIST")
    return sorted(ids)


def _find_some(run: Run, model: Model, tracks: DataFrame, wanted: list[str], key: str) -> None:
    args, warehouse = run.args, run.warehouse
    standing = warehouse.lookup(COVER_MATCHES, "query_id", wanted[0], wanted[-1], ["query_id", "search_id"]).to_pandas()
    done = set(standing["query_id"][standing["search_id"] == key]) if not args.force else set()
    todo = [track_id for track_id in wanted if track_id not in done]
    run.count(skipped=len(wanted) - len(todo))
    if not todo:
        return
    queries = fetch_queries(run, tracks, todo)
    if missing := sorted(set(todo) - set(queries.ids)):
        _explain(run, model, missing)
    if not queries.ids:
        return
    k = args.top if args.rerank == NO_RERANKER else max(args.top, args.candidates)
    found = align(run, queries, search(tracks, queries, k), args.rerank)
    found["rank"] = found.groupby("query").cumcount() + 1
    found = found[found["rank"] <= args.top]
    measured = found["distance"] if args.rerank == NO_RERANKER else found["alignment_distance"]
    rows = found.assign(
        query_id=np.array(queries.ids, dtype=object)[found["query"]],
        model_id=model.model_id,
        reranker=args.rerank,
        probability=model.probability(args.rerank, measured.to_numpy()),
        search_id=key,
        run_id=run.run_id,
    )
    schema = arrow_schema(COVER_MATCHES)
    table = pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False)
    warehouse.merge(COVER_MATCHES, table, scope=("query_id", queries.ids))
    run.count(searched=len(queries.ids), matches=len(rows))


def _explain(run: Run, model: Model, missing: list[str]) -> None:
    """Count tracks that cannot be searched for; when they were named, say why the first cannot."""
    run.count(without_vector=len(missing))
    named = sorted(set(missing) & set(run.args.track))
    if not named:
        return
    rows = run.warehouse.lookup(BEAT_CHROMA, "track_id", named[0], named[0], ["status"]).to_pylist()
    if not rows:
        raise UsageError(f"--track {named[0]} has no chroma: ingest it, then run extract-chroma")
    if rows[0]["status"] != "ok":
        raise UsageError(f"--track {named[0]} cannot be searched for: {rows[0]['status'].replace('_', ' ')}")
    raise UsageError(
        f"--track {named[0]} has no vector: run train-cover-index --model {model.model_id} for tracks that are new"
    )


def _matches(run: Run, track_id: str) -> pd.DataFrame:
    rows: pd.DataFrame = run.warehouse.lookup(COVER_MATCHES, "query_id", track_id, track_id).to_pandas()
    return rows.sort_values("rank")


def _name(run: Run, track_id: str) -> tuple[str, str]:
    """Title and artist; empty when they are not known."""
    table = LIBRARY_TRACKS if track_id.startswith("LB") else MSD_TRACKS
    rows = run.warehouse.lookup(table, "track_id", track_id, track_id, ["title", "artist_name"]).to_pylist()
    return (rows[0]["title"] or "", rows[0]["artist_name"] or "") if rows else ("", "")


def _print(run: Run, track_id: str) -> None:
    title, artist = _name(run, track_id)
    rows = _matches(run, track_id)
    # as plain text: a title may well hold something in brackets, which rich would take for markup
    grid = Grid(title=Text(f"{track_id}  {title}  ({artist})"), title_justify="left")
    grid.add_column("rank", justify="right", no_wrap=True)
    grid.add_column("track", no_wrap=True, min_width=18)
    grid.add_column("title")
    grid.add_column("artist")
    for label, _ in _FIGURES.values():
        grid.add_column(label, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        cells = ["" if pd.isna(row[name]) else form.format(row[name]) for name, (_, form) in _FIGURES.items()]
        names = map(Text, _name(run, row["candidate_id"]))
        grid.add_row(str(row["rank"]), row["candidate_id"], *names, *cells)
    print_grid(grid)


def _plot(run: Run, track_id: str) -> None:
    rows = _matches(run, track_id)
    if rows.empty:
        raise UsageError(f"--plot: {track_id} has no match to draw")
    best = rows.iloc[0]
    chromas = fetch_chroma(run, [track_id, best["candidate_id"]])
    query, candidate = chromas[track_id], chromas[best["candidate_id"]]
    reranker = DEFAULT_RERANKER if best["reranker"] == NO_RERANKER else best["reranker"]
    alignment = RERANKERS[reranker](query, candidate)
    titles = [" – ".join(filter(None, _name(run, i))) or i for i in (track_id, best["candidate_id"])]
    told = [_FIGURES[name] + (best[name],) for name in ("probability", "tempo_ratio") if pd.notna(best[name])]
    draw_alignment(
        query,
        candidate,
        alignment.path,
        alignment.transposition,
        query_title=titles[0],
        candidate_title=titles[1],
        png=Path(run.args.plot),
        notes=[f"{label} {form.format(figure)}" for label, form, figure in told],
    )
    if not run.args.json:
        print(f"drawn: {run.args.plot}")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("find_covers", __doc__ or "", add_arguments, find), argv)


if __name__ == "__main__":
    sys.exit(main())
