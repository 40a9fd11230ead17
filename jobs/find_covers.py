"""Find versions of given tracks.

Reads:  cover_vectors, models, beat_chroma, msd_tracks, library_tracks, cover_cliques.
Writes: cover_matches.
Grain:  one pair of query and candidate; a new search for a query replaces its candidates.
Rerun:  a query is skipped if its stored matches come from a search with the same settings, the same model and the same
        versions of the tables.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._detection.models import MEASURES, NO_RERANKER, EmbeddingModel, find_indexes
from reprise.jobs._detection.search import (
    QUERIES_PER_BATCH,
    clique_members,
    fetch_chroma,
    make_search_id,
    rerank,
    search_indexes,
)
from reprise.jobs._engine.command_line import UsageError, add_force, positive_int
from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._libraries.titles import fetch_title
from reprise.lib.detect.alignment import DEFAULT_RERANKER, RERANKERS, SHORT_QUERY_BEATS, SHORT_RERANKER
from reprise.lib.detect.part_network import MIN_BEATS
from reprise.lib.detect.plots import draw_alignment
from reprise.lib.tables import BEAT_CHROMA, COVER_MATCHES
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.cover_search import Queries

_SHOWN_COLUMNS = {
    "distance": ("distance", "{:.3f}"),
    "alignment_distance": ("aligned", "{:.3f}"),
    "probability": ("prob.", "{:.2f}"),
    "transposition": ("key", "+{:.0f}"),
    "tempo_ratio": ("tempo", "× {:.2f}"),
}
"""Columns of ``cover_matches`` in the printed table, with their headings and formats."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", action="append", default=[], metavar="ID", help="query track; repeatable")
    parser.add_argument("--cliques", metavar="LIST", help="use every track of this clique list as a query")
    parser.add_argument(
        "--top", type=positive_int, default=10, metavar="K", help="number of matches per query (default: %(default)s)"
    )
    parser.add_argument(
        "--model", metavar="ID", help="embedding model (default: the model trained last and the package's own)"
    )
    parser.add_argument(
        "--rerank",
        choices=MEASURES,
        help=f"measure that ranks the candidates (default: {DEFAULT_RERANKER}, but {SHORT_RERANKER} for queries of"
        f" fewer than {SHORT_QUERY_BEATS} beats)",
    )
    parser.add_argument(
        "--candidates",
        type=positive_int,
        default=100,
        metavar="N",
        help="number of nearest tracks of each model to rank (default: %(default)s)",
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the alignment of the first query with its best match")
    add_force(parser)


def find(run: Run) -> None:
    """Search for versions of the query tracks in batches of limited size. Each batch is written in one commit."""
    args = run.args
    query_ids = _list_queries(run)
    models = find_indexes(run, args.model)
    # a search of one index has the same id as in former versions
    others = {"others": [[model.model_id, model.sha256] for model in models[1:]]} if models[1:] else {}
    search_id = make_search_id(
        run, models[0], top=args.top, rerank=args.rerank or DEFAULT_RERANKER, candidates=args.candidates, **others
    )
    run.inputs = len(query_ids)
    run.count(queries=len(query_ids), skipped=0, searched=0, without_vector=0, matches=0)
    with run.progress("queries") as progress:
        task = progress.add_task("", total=len(query_ids))
        for start in range(0, len(query_ids), QUERIES_PER_BATCH):
            batch = query_ids[start : start + QUERIES_PER_BATCH]
            _search_batch(run, models, batch, search_id)
            progress.advance(task, len(batch))
    if args.track and not args.json:
        for track_id in dict.fromkeys(args.track):
            _print(run, track_id)
    if args.plot:
        _plot(run, [*args.track, *query_ids][0])


def _list_queries(run: Run) -> list[str]:
    """Return the ids of the query tracks, in ascending order."""
    ids = set(run.args.track)
    if run.args.cliques:
        ids |= set(clique_members(run, run.args.cliques)["track_id"])
    if not ids:
        raise UsageError("nothing to search for: give --track ID or --cliques LIST")
    return sorted(ids)


def _search_batch(run: Run, models: Sequence[EmbeddingModel], query_ids: list[str], search_id: str) -> None:
    """Search for a batch of queries, and write their matches.

    Distances of different models are not comparable. Therefore a query that is not reranked has the candidates of the
    first model that embeds it, and only the alignment mixes candidates of several models. Its probabilities are those
    that the first model has calibrated.
    """
    args, warehouse = run.args, run.warehouse
    columns = ["query_id", "search_id"]
    stored = warehouse.lookup(COVER_MATCHES, "query_id", query_ids[0], query_ids[-1], columns).to_pandas()
    done = set(stored["query_id"][stored["search_id"] == search_id]) if not args.force else set()
    pending = [track_id for track_id in query_ids if track_id not in done]
    run.count(skipped=len(query_ids) - len(pending))
    if not pending:
        return
    k = args.top if args.rerank == NO_RERANKER else max(args.top, args.candidates)
    queries, candidates = search_indexes(run, models, pending, k)
    if missing := sorted(set(pending) - set(queries.ids)):
        _report_missing(run, models, missing)
    if not queries.ids:
        return
    if args.rerank == NO_RERANKER:
        candidates = candidates[candidates["model_id"] == candidates.groupby("query")["model_id"].transform("first")]
    matches = _order(run, queries, candidates)
    matches["rank"] = matches.groupby("query").cumcount() + 1
    matches = matches[matches["rank"] <= args.top]
    distances = matches["distance"] if args.rerank == NO_RERANKER else matches["alignment_distance"]
    probability = pd.Series(np.nan, matches.index)
    for reranker, group in distances.groupby(matches["reranker"]):
        probability[group.index] = models[0].probability(str(reranker), group.to_numpy())
    rows = matches.assign(
        query_id=np.array(queries.ids, dtype=object)[matches["query"]],
        probability=probability,
        search_id=search_id,
        run_id=run.run_id,
    )
    schema = arrow_schema(COVER_MATCHES)
    table = pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False)
    warehouse.merge(COVER_MATCHES, table, scope=("query_id", queries.ids))
    run.count(searched=len(queries.ids), matches=len(rows))


def _order(run: Run, queries: Queries, candidates: pd.DataFrame) -> pd.DataFrame:
    """Rerank the candidates of each query by the chosen measure, and say in the column ``reranker`` by which."""
    if run.args.rerank or candidates.empty:
        reranker = run.args.rerank or DEFAULT_RERANKER
        return rerank(run, queries, candidates, reranker).assign(reranker=reranker)
    beats = run.warehouse.lookup(BEAT_CHROMA, "track_id", queries.ids[0], queries.ids[-1], ["track_id", "n_beats"])
    beats = beats.to_pandas().set_index("track_id")["n_beats"].reindex(queries.ids, fill_value=0)
    is_short = (beats.to_numpy() < SHORT_QUERY_BEATS)[candidates["query"]]
    parts = [
        rerank(run, queries, part, reranker).assign(reranker=reranker)
        for reranker, part in ((DEFAULT_RERANKER, candidates[~is_short]), (SHORT_RERANKER, candidates[is_short]))
        if len(part)
    ]
    return pd.concat(parts, ignore_index=True)


def _report_missing(run: Run, models: Sequence[EmbeddingModel], missing: list[str]) -> None:
    """Count the ``missing`` tracks, which have no embedding.

    If ``--track`` names one of them, raise UsageError with the reason.
    """
    run.count(without_vector=len(missing))
    named = sorted(set(missing) & set(run.args.track))
    if not named:
        return
    rows = run.warehouse.lookup(BEAT_CHROMA, "track_id", named[0], named[0], ["status", "n_beats"]).to_pylist()
    if not rows:
        raise UsageError(f"--track {named[0]} has no chroma: ingest it, then run extract-chroma")
    status, n_beats = rows[0]["status"], rows[0]["n_beats"]
    if status not in ("ok", "too_short_for_patches"):
        raise UsageError(f"--track {named[0]} cannot be searched for: {status.replace('_', ' ')}")
    if n_beats < MIN_BEATS:
        raise UsageError(f"--track {named[0]} cannot be searched for: it has {n_beats} of at least {MIN_BEATS} beats")
    usable = [model for model in models if status == "ok" or model.is_shipped]
    if not usable:
        short = f"--track {named[0]} has {n_beats} beats, too few for model {models[0].model_id}"
        raise UsageError(f"{short}: run train-cover-index without --model, then find-covers without --model")
    raise UsageError(
        f"--track {named[0]} has no embedding: run train-cover-index --model {usable[0].model_id}, which embeds new"
        " tracks"
    )


def _read_matches(run: Run, track_id: str) -> pd.DataFrame:
    rows: pd.DataFrame = run.warehouse.lookup(COVER_MATCHES, "query_id", track_id, track_id).to_pandas()
    return rows.sort_values("rank")


def _print(run: Run, track_id: str) -> None:
    title, artist = fetch_title(run.warehouse, track_id)
    rows = _read_matches(run, track_id)
    # Text, because rich would parse brackets in a title as markup
    grid = Grid(title=Text(f"{track_id}  {title}  ({artist})"), title_justify="left")
    grid.add_column("rank", justify="right", no_wrap=True)
    grid.add_column("track", no_wrap=True, min_width=18)
    grid.add_column("title")
    grid.add_column("artist")
    for heading, _ in _SHOWN_COLUMNS.values():
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in rows.to_dict("records"):
        cells = ["" if pd.isna(row[name]) else form.format(row[name]) for name, (_, form) in _SHOWN_COLUMNS.items()]
        names = map(Text, fetch_title(run.warehouse, row["candidate_id"]))
        grid.add_row(str(row["rank"]), row["candidate_id"], *names, *cells)
    print_grid(grid)


def _plot(run: Run, track_id: str) -> None:
    rows = _read_matches(run, track_id)
    if rows.empty:
        raise UsageError(f"--plot: {track_id} has no match to draw")
    best = rows.iloc[0]
    chromas = fetch_chroma(run, [track_id, best["candidate_id"]])
    query, candidate = chromas[track_id], chromas[best["candidate_id"]]
    reranker = DEFAULT_RERANKER if best["reranker"] == NO_RERANKER else best["reranker"]
    alignment = RERANKERS[reranker](query, candidate)
    titles = [" – ".join(filter(None, fetch_title(run.warehouse, i))) or i for i in (track_id, best["candidate_id"])]
    noted = [_SHOWN_COLUMNS[name] + (best[name],) for name in ("probability", "tempo_ratio") if pd.notna(best[name])]
    draw_alignment(
        query,
        candidate,
        alignment.path,
        alignment.transposition,
        query_title=titles[0],
        candidate_title=titles[1],
        png=Path(run.args.plot),
        notes=[f"{heading} {form.format(value)}" for heading, form, value in noted],
    )
    if not run.args.json:
        print(f"drawn: {run.args.plot}")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("find_covers", __doc__ or "", add_arguments, find), argv)


if __name__ == "__main__":
    sys.exit(main())
