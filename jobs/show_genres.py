"""Show the genres of a track in percent, and for audio how they change over its time.

Reads:  genre_scores, models, library_tracks, msd_tracks, audio_genre_features, msd_genre_features.
Writes: nothing but its own row in job_runs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table as Grid
from rich.text import Text

from reprise.jobs._engine.run import Job, Run, UsageError, print_grid, run_job
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

_BAR = 40  # characters of 100 %


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--track", required=True, metavar="ID", help="track to show")
    parser.add_argument(
        "--model", metavar="ID", help="model whose scores are shown (default: every one that scored it)"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the genres over the time of the track")


def show(run: Run) -> None:
    """Print what each model says of the track, the model that was trained last first, and draw its course."""
    scores = _read_scores(run)
    title, artist = _name(run)
    run.count(models=len(scores), genres=sum(map(len, scores.values())))
    if not run.args.json:
        for model_id, rows in scores.items():
            _print(rows, "  ".join(filter(None, (run.args.track, title, artist and f"({artist})"))), model_id)
    if run.args.plot:
        _plot(run, scores, " – ".join(filter(None, (title, artist))) or run.args.track)


def _read_scores(run: Run) -> dict[str, pd.DataFrame]:
    """Rows of ``genre_scores`` of the track by model, most likely genre first."""
    track, model_id = run.args.track, run.args.model
    rows = run.warehouse.lookup(GENRE_SCORES, "track_id", track, track).to_pandas().sort_values("rank")
    models = run.warehouse.lookup(MODELS, "model_id", "", "\U0010ffff", ["model_id", "trained_at"]).to_pandas()
    models = models.sort_values("trained_at", ascending=False)
    scores = {str(name): some for name, some in rows.groupby("model_id")}
    if model_id is not None:
        scores = {name: some for name, some in scores.items() if name == model_id}
    if not scores:
        raise UsageError(f"--track {track} {_explain(run)}")
    known = [name for name in models["model_id"] if name in scores]
    return {name: scores[name] for name in [*known, *sorted(scores.keys() - set(known))]}


def _explain(run: Run) -> str:
    """Why there are no scores, and what to run."""
    if run.args.model is not None:
        return f"has no scores of {run.args.model}: run score-genres --model {run.args.model}"
    if _has(run, AUDIO_GENRE_FEATURES) or _has(run, MSD_GENRE_FEATURES):
        return "has no scores yet: run score-genres, and for tracks of a dataset train-genre before"
    if _has(run, LIBRARY_TRACKS) or _has(run, MSD_TRACKS):
        return "has no features yet: run extract-genre-features, then score-genres"
    return "is not known: run ingest-library or ingest-msd with its file, extract-genre-features, then score-genres"


def _has(run: Run, table: Table) -> bool:
    track = run.args.track
    return run.warehouse.exists(table) and bool(
        len(run.warehouse.lookup(table, "track_id", track, track, ["track_id"]))
    )


def _name(run: Run) -> tuple[str, str]:
    """Title and artist; empty when they are not known."""
    track = run.args.track
    table = LIBRARY_TRACKS if track.startswith("LB") else MSD_TRACKS
    rows = run.warehouse.lookup(table, "track_id", track, track, ["title", "artist_name"]).to_pylist()
    return (rows[0]["title"] or "", rows[0]["artist_name"] or "") if rows else ("", "")


def _print(rows: pd.DataFrame, title: str, model_id: str) -> None:
    # as plain text: titles and genres may well hold something in brackets, which rich would take for markup
    grid = Grid(title=Text(f"{title}\n{model_id}"), title_justify="left")
    grid.add_column("genre", no_wrap=True)
    grid.add_column("percent", justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True, min_width=_BAR)
    for row in rows.to_dict("records"):
        bar = "█" * round(_BAR * row["probability"])
        grid.add_row(Text(row["genre"]), f"{100 * row['probability']:.1f}", bar)
    print_grid(grid)


def _plot(run: Run, scores: dict[str, pd.DataFrame], title: str) -> None:
    """Draw what the first model says that has scored windows."""
    courses = [rows for rows in scores.values() if rows["window_probabilities"].notna().all()]
    if not courses:
        raise UsageError(f"--plot: {run.args.track} has no scores over time: only audio of 1.5 s and more is scored so")
    rows = courses[0]
    probabilities = np.column_stack(list(rows["window_probabilities"]))
    starts_s = np.arange(len(probabilities)) * WINDOW_S
    draw_timeline(starts_s, probabilities, list(rows["genre"]), title=title, png=Path(run.args.plot))
    if not run.args.json:
        print(f"drawn: {run.args.plot}")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("show_genres", __doc__ or "", add_arguments, show), argv)


if __name__ == "__main__":
    sys.exit(main())
