"""Show the genres of the library, or the probability of each genre of a track, for audio also over time.

Reads:  library_tracks, msd_tracks, genre_labels, genre_scores, models, audio_genre_features, msd_genre_features.
Writes: no table except job_runs.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.console import print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._libraries.titles import fetch_title
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.genres.feature_sets import WINDOW_S
from reprise.lib.genres.plots import draw_timeline
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_SCORES,
    LIBRARY_TRACKS,
    MODELS,
    MSD_GENRE_FEATURES,
    MSD_TRACKS,
    Table,
)

_BAR_WIDTH = 40  # characters for 100 %
_LIBRARY_SQL = """
WITH guesses AS (
  SELECT s.track_id, s.genre, s.probability, s.outside,
    row_number() OVER (PARTITION BY s.track_id ORDER BY m.quality DESC, m.model_id) AS place
  FROM genre_scores s JOIN models m ON m.model_id = s.model_id
  WHERE s.rank = 1 AND m.input <> 'analyses'
)
SELECT l.track_id, l.title, g.genre, g.basis, s.genre AS guess, s.probability, s.outside
FROM library_tracks l LEFT JOIN track_genres g ON g.track_id = l.track_id
LEFT JOIN guesses s ON s.track_id = l.track_id AND s.place = 1
ORDER BY l.track_id"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", metavar="ID", help="id of the track to show (default: all tracks of the library)")
    parser.add_argument(
        "--model", metavar="ID", help="model whose scores are shown (default: all models that scored the track)"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the genres of the track over time")
    parser.add_argument(
        "--truth", metavar="FILE", help="CSV file with the columns library_id and genre, to show beside the answers"
    )


def show(run: Run) -> None:
    """Print the genres of the library or, with ``--track``, the track's scores by each model, best model first."""
    args = run.args
    if args.track is None:
        for name in ("model", "plot"):
            if getattr(args, name) is not None:
                raise UsageError(f"--{name} needs --track")
        _show_library(run)
        return
    if args.truth is not None:
        raise UsageError("--truth does not go together with --track")
    scores = _read_scores(run)
    title, artist = fetch_title(run.warehouse, args.track)
    run.count(models=len(scores), genres=sum(map(len, scores.values())))
    if not args.json:
        for model_id, rows in scores.items():
            _print(rows, "  ".join(filter(None, (args.track, title, artist and f"({artist})"))), model_id)
    if args.plot:
        _plot(run, scores, " – ".join(filter(None, (title, artist))) or args.track)


def _show_library(run: Run) -> None:
    if not (run.warehouse.exists(LIBRARY_TRACKS) and run.warehouse.sizes(LIBRARY_TRACKS)[0]):
        raise UsageError("there are no library tracks: run ingest-library first")
    truth = _read_truth(run.args.truth) if run.args.truth else {}
    (reader,) = (result.read_all() for result in DuckDB(run.warehouse, write=False).query(_LIBRARY_SQL, {}))
    rows = reader.to_pylist()
    bases = [row["basis"] or "nothing" for row in rows]
    run.count(tracks=len(rows), **{f"by_{basis}": bases.count(basis) for basis in ("label", "tag", "model", "nothing")})
    if run.args.json:
        return
    grid = Grid(title="genres of the library", title_justify="left")
    for name in ("track", "title", "genre", "from", "model's guess", "percent", "outside"):
        grid.add_column(name, justify="right" if name in ("percent", "outside") else "left", no_wrap=name != "title")
    if truth:
        grid.add_column("truth", no_wrap=True)
    for row in rows:
        grid.add_row(
            row["track_id"],
            Text(row["title"] or ""),
            Text(row["genre"] or "no answer"),
            row["basis"] or "",
            Text(row["guess"] or ""),
            "" if row["probability"] is None else f"{100 * row['probability']:.0f}",
            "" if row["outside"] is None else f"{row['outside']:.2f}",
            *((Text(truth.get(row["track_id"]) or ""),) if truth else ()),
        )
    print_grid(grid)
    print("outside: above 1, the track is unlike the music on which the model was trained, and the model abstains")


def _read_truth(path: str) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return {row["library_id"]: row["genre"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise UsageError(
            f"--truth {path} cannot be read ({error}): name a CSV file with library_id and genre"
        ) from None


def _read_scores(run: Run) -> dict[str, pd.DataFrame]:
    """Return the scores of the track by model id, best model first. Rows are in descending order of probability."""
    track, model_id = run.args.track, run.args.model
    rows = run.warehouse.lookup(GENRE_SCORES, "track_id", track, track).to_pandas().sort_values("rank")
    models = run.warehouse.lookup_all(MODELS, ["model_id", "quality"]).to_pandas()
    models = models.sort_values(["quality", "model_id"], ascending=[False, True])
    scores = {str(name): some for name, some in rows.groupby("model_id")}
    if model_id is not None:
        scores = {name: some for name, some in scores.items() if name == model_id}
    if not scores:
        raise UsageError(f"--track {track} {_explain_missing(run)}")
    known = [name for name in models["model_id"] if name in scores]
    return {name: scores[name] for name in [*known, *sorted(scores.keys() - set(known))]}


def _explain_missing(run: Run) -> str:
    """Return the end of an error message. It says why the track has no scores, and which commands to run."""
    if run.args.model is not None:
        return f"has no scores of {run.args.model}: run score-genres --model {run.args.model}"
    if _has_rows(run, AUDIO_GENRE_FEATURES) or _has_rows(run, MSD_GENRE_FEATURES):
        return "has no scores yet: run score-genres; for a track of a dataset, run train-genre first"
    if _has_rows(run, LIBRARY_TRACKS) or _has_rows(run, MSD_TRACKS):
        return "has no features yet: run extract-genre-features, then score-genres"
    return "is not known: run ingest-library or ingest-msd on its file, then extract-genre-features and score-genres"


def _has_rows(run: Run, table: Table) -> bool:
    track = run.args.track
    return run.warehouse.exists(table) and bool(
        len(run.warehouse.lookup(table, "track_id", track, track, ["track_id"]))
    )


def _print(rows: pd.DataFrame, title: str, model_id: str) -> None:
    # Text, because rich would parse brackets in a title or genre as markup
    grid = Grid(title=Text(f"{title}\n{model_id}"), title_justify="left")
    grid.add_column("genre", no_wrap=True)
    grid.add_column("percent", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True, min_width=_BAR_WIDTH)
    for row in rows.to_dict("records"):
        bar = "█" * round(_BAR_WIDTH * row["probability"])
        grid.add_row(Text(row["genre"]), f"{100 * row['probability']:.1f}", bar)
    print_grid(grid)
    first = rows.iloc[0]
    if pd.notna(first["abstains"]) and first["abstains"]:
        outside = first["outside"]
        if outside <= 1:
            print("no answer: no genre is likely enough")
        else:
            how_far = "some features are missing" if pd.isna(outside) else f"{outside:.2f}; 1 is the limit"
            print(f"no answer: unlike what {model_id} was trained on ({how_far})")


def _plot(run: Run, scores: dict[str, pd.DataFrame], title: str) -> None:
    """Draw the track's window scores by the best model that has window scores."""
    over_time = [rows for rows in scores.values() if rows["window_probabilities"].notna().all()]
    if not over_time:
        raise UsageError(f"--plot: {run.args.track} has no scores over time: only audio of at least 1.5 s has them")
    rows = over_time[0]
    probabilities = np.column_stack(list(rows["window_probabilities"]))
    starts_s = np.arange(len(probabilities)) * WINDOW_S
    draw_timeline(starts_s, probabilities, list(rows["genre"]), title=title, png=Path(run.args.plot))
    if not run.args.json:
        print(f"drawn: {run.args.plot}")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("show_genres", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
