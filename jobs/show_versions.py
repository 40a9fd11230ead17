"""Show the versions of works in the library, or those of one track and why they belong together.

Reads:  library_versions, library_version_pairs, library_tracks, library_copies.
Writes: no table except job_runs.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.tables import LIBRARY_TRACKS, LIBRARY_VERSIONS
from reprise.lib.text import format_time, make_printable

_LIBRARY_SQL = """
SELECT * FROM track_versions WHERE version_count > 1 ORDER BY group_id, NOT is_representative, track_id"""
_LISTENER_SQL = """
SELECT * FROM track_versions v
WHERE version_count > 1 AND EXISTS (
  SELECT 1 FROM library_copies c WHERE c.user_id = :user AND c.track_id = v.track_id
)
ORDER BY group_id, NOT is_representative, track_id"""
_GROUP_SQL = """
SELECT * FROM track_versions
WHERE group_id = (SELECT group_id FROM library_versions WHERE track_id = :track)
ORDER BY NOT is_representative, track_id"""
_PAIRS_SQL = """
WITH pairs AS (
  SELECT other_id AS near_id, p.* FROM library_version_pairs p WHERE track_id = :track
  UNION ALL SELECT track_id AS near_id, p.* FROM library_version_pairs p WHERE other_id = :track
)
SELECT p.near_id, t.title, t.artist_name, p.probability, p.alignment_distance, p.melody_similarity, p.same_title,
  p.same_id, v.group_id = (SELECT group_id FROM library_versions WHERE track_id = :track) AS is_version
FROM pairs p JOIN library_versions v ON v.track_id = p.near_id JOIN library_tracks t ON t.track_id = p.near_id
ORDER BY p.probability DESC, p.near_id"""
_IS_LISTENER_SQL = "SELECT user_id FROM library_copies WHERE user_id = :user LIMIT 1"

Rows = Sequence[Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", metavar="ID", help="library track: show its versions, and what it was compared with")
    parser.add_argument("--user", metavar="U", help="show only tracks in the library of this listener")
    parser.add_argument(
        "--top", type=int, default=10, metavar="K", help="number of compared tracks to show (default: %(default)s)"
    )


def show(run: Run) -> None:
    """Print the works that have several versions; with ``--track``, the versions of a track and its nearest pairs."""
    args = run.args
    if args.track and args.user:
        raise UsageError("--track does not go together with --user")
    if args.top < 1:
        raise UsageError(f"--top must be at least 1, not {args.top}")
    if not (run.warehouse.exists(LIBRARY_VERSIONS) and run.warehouse.sizes(LIBRARY_VERSIONS)[0]):
        raise UsageError("the library tracks are not grouped yet: run group-versions first")
    if args.track:
        _show_track(run, args.track)
        return
    rows = _query(run, _LISTENER_SQL, user=args.user) if args.user else _query(run, _LIBRARY_SQL)
    if args.user and not rows and not _query(run, _IS_LISTENER_SQL, user=args.user):
        raise UsageError(f"--user {args.user} has no library: run ingest-library with their music, then group-versions")
    run.count(works=len({row["group_id"] for row in rows}), tracks=len(rows))
    if not args.json:
        _print_versions(rows, "works with several versions")


def _query(run: Run, sql: str, **parameters: str) -> Rows:
    (result,) = (reader.read_all() for reader in DuckDB(run.warehouse, write=False).query(sql, parameters))
    rows: Rows = result.to_pylist()
    return rows


def _show_track(run: Run, track: str) -> None:
    rows = _query(run, _GROUP_SQL, track=track)
    if not rows:
        known = run.warehouse.lookup(LIBRARY_TRACKS, "track_id", track, track, ["track_id"])
        remedy = "not grouped yet: run group-versions" if len(known) else "not a library track: run ingest-library"
        raise UsageError(f"--track {track} is {remedy}")
    pairs = _query(run, _PAIRS_SQL, track=track)
    run.count(versions=len(rows), compared=len(pairs))
    if run.args.json:
        return
    _print_versions(rows, "versions of the work")
    grid = Grid(title=f"compared with {track}", title_justify="left")
    for name in ("track", "title", "artist", "version", "prob.", "aligned", "melody", "same title", "same id"):
        is_number = name in ("prob.", "aligned", "melody")
        grid.add_column(name, justify="right" if is_number else "left", no_wrap=name not in ("title", "artist"))
    for row in pairs[: run.args.top]:
        grid.add_row(
            row["near_id"],
            Text(make_printable(row["title"] or "")),
            Text(make_printable(row["artist_name"] or "")),
            "yes" if row["is_version"] else "",
            f"{row['probability']:.3f}",
            *("" if row[name] is None else f"{row[name]:.3f}" for name in ("alignment_distance", "melody_similarity")),
            *({True: "yes", False: "no", None: ""}[row[name]] for name in ("same_title", "same_id")),
        )
    print_grid(grid)


def _print_versions(rows: Rows, title: str) -> None:
    grid = Grid(title=title, title_justify="left")
    for name in ("", "track", "title", "artist", "kind", "length", "prob."):
        is_number = name in ("length", "prob.")
        grid.add_column(name, justify="right" if is_number else "left", no_wrap=name not in ("title", "artist"))
    group = None
    for row in rows:
        if group not in (None, row["group_id"]):
            grid.add_section()
        group = row["group_id"]
        # Text, because rich would parse brackets in a title as markup
        grid.add_row(
            "*" if row["is_representative"] else "",
            row["track_id"],
            Text(make_printable(row["title"] or "")),
            Text(make_printable(row["artist_name"] or "")),
            row["kind"] or "",
            format_time(row["duration"] or 0),
            "" if row["probability"] is None else f"{row['probability']:.2f}",
        )
    print_grid(grid)
    print("*: stands for the work")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("show_versions", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
