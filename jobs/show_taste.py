"""Show what a listener likes beside what all listeners like.

Reads:  taste_profiles; for a listener who has none plays and library_copies.
Writes: nothing but its own row in job_runs.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.run import Job, Run, UsageError, print_grid, run_job
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.tastes.plots import draw_taste
from reprise.lib.text import PITCH_CLASSES

_BAR = 20  # characters of 100 %
_LONGEST = 100  # characters of a name that are shown
_ROWS = """
SELECT t.genre, t.share, t.population_share, t.confidence, t.plays, t.tracks, p.label_share, p.weight, p.tempo_mean,
  p.tempo_std, p.loudness_mean, p.key, p.major_share, p.year_mean, p.year_std, p.decade
FROM taste_top_genres t JOIN taste_profiles p ON p.genre = t.genre
WHERE t.user_id = :user AND p.user_id = :user ORDER BY t.rank"""
_ALIKE = """
SELECT other_user_id, similarity FROM taste_similar_listeners
WHERE user_id = :user AND rank <= 3 ORDER BY rank"""
_HEARD = (
    "SELECT user_id FROM plays WHERE user_id = :user UNION SELECT user_id FROM library_copies WHERE user_id = :user"
)
_NAMESAKES = """
WITH compared AS (
  SELECT DISTINCT user_id, jaro_winkler_similarity(lower(user_id), lower(:user)) AS similarity
  FROM taste_profiles WHERE length(user_id) <= 100
)
SELECT user_id FROM compared WHERE similarity >= 0.85 ORDER BY similarity DESC, user_id LIMIT 3"""

Rows = Sequence[Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--user", required=True, metavar="U", help="listener to show, as plays or libraries name them")
    parser.add_argument("--plot", metavar="PNG", help="draw the genres beside those of all listeners")


def show(run: Run) -> None:
    """Print the listener's genres, what is liked most first, and those whose taste is nearest; draw the genres."""
    rows = _ask(run, _ROWS)
    if not rows:
        raise UsageError(_explain(run))
    alike = _ask(run, _ALIKE)
    run.count(genres=len(rows), plays=sum(row["plays"] for row in rows), tracks=sum(row["tracks"] for row in rows))
    if not run.args.json:
        _print(_cut(run.args.user), rows, alike)
    if run.args.plot:
        _draw(rows, run.args.user, Path(run.args.plot))
        if not run.args.json:
            print(f"drawn: {run.args.plot}")


def _ask(run: Run, sql: str) -> Rows:
    (answer,) = (reader.read_all() for reader in DuckDB(run.warehouse, write=False).query(sql, {"user": run.args.user}))
    rows: Rows = answer.to_pylist()
    return rows


def _explain(run: Run) -> str:
    """Why there is no profile, and what to run."""
    user = f"--user {_cut(run.args.user)}"
    if _ask(run, _HEARD):
        return f"{user} has no taste profile: run build-taste-profiles, and where no genre is known score-genres before"
    near = [_cut(row["user_id"]) for row in _ask(run, _NAMESAKES)] if len(run.args.user) <= _LONGEST else []
    meant = f"is not known; did you mean {' or '.join(near)}?" if near else "is not known:"
    return f"{user} {meant} run ingest-annotations or ingest-library with their music, then build-taste-profiles"


def _cut(name: str) -> str:
    """A name as a line can hold it: names come from files, and may hold what moves a terminal's cursor."""
    shown = "".join(sign if sign.isprintable() else "�" for sign in name[: _LONGEST + 1])
    return shown if len(name) <= _LONGEST else shown[:_LONGEST] + "…"


def _print(user: str, rows: Rows, alike: Rows) -> None:
    # as plain text: names may well hold something in brackets, which rich would take for markup
    grid = Grid(title=Text(user), title_justify="left")
    grid.add_column("genre", overflow="ellipsis", no_wrap=True, max_width=24)
    for name in ("percent", "", "of all", "plays", "tracks", "tempo, BPM", "dB", "key", "major", "decade"):
        grid.add_column(name, justify="left" if name in ("", "key") else "right", no_wrap=True)
    for row in rows:
        grid.add_row(
            Text(_cut(row["genre"])),
            f"{100 * row['share']:.1f}",
            "█" * round(_BAR * row["share"]),
            f"{100 * row['population_share']:.1f}",
            f"{row['plays']:,}",
            f"{row['tracks']:,}",
            "" if row["tempo_mean"] is None else f"{row['tempo_mean']:.0f} ± {row['tempo_std']:.0f}",
            "" if row["loudness_mean"] is None else f"{row['loudness_mean']:.1f}",
            "" if row["key"] is None else PITCH_CLASSES[row["key"]],
            "" if row["major_share"] is None else f"{100 * row['major_share']:.0f} %",
            "" if row["decade"] is None else f"{row['decade']}s",
        )
    print_grid(grid)
    weight = math.fsum(row["weight"] for row in rows)
    labelled = math.fsum(row["weight"] * row["label_share"] for row in rows)
    plays, tracks = (sum(row[name] for row in rows) for name in ("plays", "tracks"))
    print(f"{plays:,} plays of {tracks:,} tracks in {len(rows)} genres; confidence {rows[0]['confidence']:.2f}")
    print(f"{100 * labelled / weight:.0f} % of the weight rests on experts' labels, the rest on a model's scores")
    nearest = ", ".join(f"{_cut(row['other_user_id'])} ({row['similarity']:.2f})" for row in alike)
    print(f"nearest listeners: {nearest or 'none'}")


def _draw(rows: Rows, user: str, png: Path) -> None:
    def column(*names: str) -> list[list[float]]:
        return [[math.nan if row[name] is None else row[name] for name in names] for row in rows]

    draw_taste(
        [row["genre"] for row in rows],
        [row["share"] for row in rows],
        [row["population_share"] for row in rows],
        column("tempo_mean", "tempo_std"),
        column("year_mean", "year_std"),
        title=user,
        png=png,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("show_taste", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
