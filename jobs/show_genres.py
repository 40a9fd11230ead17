"""Show the probability of each genre of a track, for audio also over time.

Reads:  genre_scores, models, library_tracks, msd_tracks, audio_genre_features, msd_genre_features.
Writes: no table except job_runs.
"""

import argparse
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", required=True, metavar="ID", help="id of the track to show")
    parser.add_argument(
        "--model", metavar="ID", help="model whose scores are shown (default: all models that scored the track)"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the genres over time")


def show(run: Run) -> None:
    """Print the track's scores by each model, newest model first. With ``--plot``, draw the window scores over time."""
    scores = _read_scores(run)
    title, artist = fetch_title(run.warehouse, run.args.track)
    run.count(models=len(scores), genres=sum(map(len, scores.values())))
    if not run.args.json:
        for model_id, rows in scores.items():
            _print(rows, "  ".join(filter(None, (run.args.track, title, artist and f"({artist})"))), model_id)
    if run.args.plot:
        _plot(run, scores, " – ".join(filter(None, (title, artist))) or run.args.track)


def _read_scores(run: Run) -> dict[str, pd.DataFrame]:
    """Return the scores of the track by model id, newest model first. Rows are in descending order of probability.

    Models without a row in ``models``, such as the default model, come last.
    """
    track, model_id = run.args.track, run.args.model
    rows = run.warehouse.lookup(GENRE_SCORES, "track_id", track, track).to_pandas().sort_values("rank")
    models = run.warehouse.lookup_all(MODELS, ["model_id", "trained_at"]).to_pandas()
    models = models.sort_values("trained_at", ascending=False)
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


def _plot(run: Run, scores: dict[str, pd.DataFrame], title: str) -> None:
    """Draw the track's window scores by the newest model that has window scores."""
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
