"""Show the tables: rows, size, version, and example rows.

Reads:  every table of the warehouse.
Writes: no table except job_runs.
"""

import argparse
import sys

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.tables import COVER_CLIQUES, GENRE_LABELS, MSD_TRACKS, PLAYS, QUARANTINE, TABLES

_EXAMPLES = (
    (MSD_TRACKS, ("track_id", "artist_name", "title", "year", "tempo", "key", "mode")),
    (GENRE_LABELS, ("track_id", "genre", "rank", "source")),
    (COVER_CLIQUES, ("clique_id", "track_id", "title")),
    (PLAYS, ("user_id", "song_id", "play_count")),
    (QUARANTINE, ("uri", "error_class", "message")),
)
_EXAMPLE_ROWS = 3


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing: the job has no arguments of its own."""


def show(run: Run) -> None:
    """Print one line per table, then example rows of the main tables."""
    versions = run.warehouse.versions()
    counts: dict[str, int] = {}
    overview = Grid("table", "content", "rows", "MB", "version")
    for name in versions:
        rows, size = run.warehouse.sizes(TABLES[name])
        overview.add_row(name, TABLES[name].doc, f"{rows:,}", f"{size / 1e6:,.1f}", str(versions[name]))
        counts[name] = rows
    if run.args.json:
        run.count(**counts)
        return
    print_grid(overview)
    for table, columns in _EXAMPLES:
        if counts.get(table.name):
            grid = Grid(*columns, title=table.name, title_justify="left")
            for row in run.warehouse.head(table, columns, _EXAMPLE_ROWS):
                grid.add_row(*map(_cell, row.values()))
            print_grid(grid)


def _cell(value: object) -> Text:
    """Format ``value`` as Text, because rich would parse brackets in a string as markup."""
    return Text("" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value))


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("show_tables", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
