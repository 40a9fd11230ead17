"""Show the taste of a listener beside that of all listeners.

Reads:  taste_profiles. If the listener has no profile, also plays and library_copies.
Writes: no table except job_runs.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.tastes.plots import draw_taste
from reprise.lib.text import PITCH_CLASSES, make_printable

_BAR_WIDTH = 20  # characters for 100 %
_MAX_NAME_LENGTH = 100  # longer names are cut
_GENRES_SQL = """
SELECT t.genre, t.share, t.population_share, t.confidence, t.plays, t.tracks, p.label_share, p.weight, p.tempo_mean,
  p.tempo_std, p.tag_share, p.model_share, p.unknown_share, t.evidence,
  p.loudness_mean, p.key, p.major_share, p.year_mean, p.year_std, p.decade
FROM taste_top_genres t JOIN taste_profiles p ON p.genre = t.genre
WHERE t.user_id = :user AND p.user_id = :user ORDER BY t.rank"""
_SIMILAR_LISTENERS_SQL = """
SELECT other_user_id, similarity FROM taste_similar_listeners
WHERE user_id = :user AND rank <= 3 ORDER BY rank"""
_IS_KNOWN_SQL = (
    "SELECT user_id FROM plays WHERE user_id = :user UNION SELECT user_id FROM library_copies WHERE user_id = :user"
)
_SIMILAR_NAMES_SQL = """
WITH compared AS (
  SELECT DISTINCT user_id, jaro_winkler_similarity(lower(user_id), lower(:user)) AS similarity
  FROM taste_profiles WHERE length(user_id) <= 100
)
SELECT user_id FROM compared WHERE similarity >= 0.85 ORDER BY similarity DESC, user_id LIMIT 3"""

Rows = Sequence[Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--user", required=True, metavar="U", help="id of the listener, as in the tables plays and library_copies"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the taste beside that of all listeners")


def show(run: Run) -> None:
    """Print a listener's ranked genres and the most similar listeners. With ``--plot``, draw the genres."""
    rows = _query(run, _GENRES_SQL)
    if not rows:
        raise UsageError(_explain_missing(run))
    similar = _query(run, _SIMILAR_LISTENERS_SQL)
    run.count(genres=len(rows), plays=sum(row["plays"] for row in rows), tracks=sum(row["tracks"] for row in rows))
    if not run.args.json:
        _print(_shorten(run.args.user), rows, similar)
    if run.args.plot:
        _draw(rows, run.args.user, Path(run.args.plot))
        if not run.args.json:
            print(f"drawn: {run.args.plot}")


def _query(run: Run, sql: str) -> Rows:
    (result,) = (reader.read_all() for reader in DuckDB(run.warehouse, write=False).query(sql, {"user": run.args.user}))
    rows: Rows = result.to_pylist()
    return rows


def _explain_missing(run: Run) -> str:
    """Return an error message that says why the listener has no profile, and which commands to run."""
    user = f"--user {_shorten(run.args.user)}"
    if _query(run, _IS_KNOWN_SQL):
        return (
            f"{user} has no taste profile: run build-taste-profiles; if the genres of their tracks are not known, run"
            " score-genres first"
        )
    is_short = len(run.args.user) <= _MAX_NAME_LENGTH
    names = [_shorten(row["user_id"]) for row in _query(run, _SIMILAR_NAMES_SQL)] if is_short else []
    fault = f"is not known; did you mean {' or '.join(names)}? Otherwise" if names else "is not known:"
    return f"{user} {fault} run ingest-annotations or ingest-library with their music, then build-taste-profiles"


def _shorten(name: str) -> str:
    """Cut a long name and replace its unprintable characters."""
    shown = make_printable(name[: _MAX_NAME_LENGTH + 1])
    return shown if len(name) <= _MAX_NAME_LENGTH else shown[:_MAX_NAME_LENGTH] + "…"


def _print(user: str, rows: Rows, similar: Rows) -> None:
    # Text, because rich would parse brackets in a name as markup
    grid = Grid(title=Text(user), title_justify="left")
    grid.add_column("genre", overflow="ellipsis", no_wrap=True, max_width=24)
    for name in ("percent", "", "of all", "plays", "tracks", "tempo, BPM", "dB", "key", "major", "decade"):
        grid.add_column(name, justify="left" if name in ("", "key") else "right", no_wrap=True)
    for row in rows:
        grid.add_row(
            Text(_shorten(row["genre"])),
            f"{100 * row['share']:.1f}",
            "█" * round(_BAR_WIDTH * row["share"]),
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
    plays, tracks = (sum(row[name] for row in rows) for name in ("plays", "tracks"))
    print(f"plays: {plays:,}; tracks: {tracks:,}; genres: {len(rows)}; confidence: {rows[0]['confidence']:.2f}")
    bases = {name: _mean_share(rows, f"{name}_share", weight) for name in ("label", "tag", "model")}
    print(
        f"genres are based on expert labels ({bases['label']}), on tags of the files ({bases['tag']}) and on answers of"
        f" models ({bases['model']}); {_percent(rows[0]['unknown_share'])} of all their music has no genre"
    )
    if rows[0]["evidence"] is not None:
        print(f"evidence: {rows[0]['evidence']:+.2f} bits for each held-out song, beside all listeners' taste")
    names = ", ".join(f"{_shorten(row['other_user_id'])} ({row['similarity']:.2f})" for row in similar)
    print(f"most similar listeners: {names or 'none'}")


def _mean_share(rows: Rows, name: str, weight: float) -> str:
    """Return a mean share, weighted by the genres' weights. Profiles of older versions lack some shares."""
    if any(row[name] is None for row in rows):
        return "?"
    return _percent(math.fsum(row["weight"] * row[name] for row in rows) / weight)


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f} %"


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
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("show_taste", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
