"""Score tracks with genre models: compute the probability of each genre.

Reads:  audio_genre_features, msd_genre_features; models and their artifacts.
Writes: genre_scores.
Grain:  one track, model and genre. Audio is scored in windows of 3 s; a track's score is the mean over its windows.
Rerun:  tracks that a model has scored from the same content are skipped. Scores of deleted tracks are deleted. A run
        that is killed at any point and started again writes the same rows as an uninterrupted run.
"""

import argparse
import sys
from dataclasses import dataclass
from functools import partial

from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.models import list_models
from reprise.jobs._engine.pending import delete_removed_tracks, find_pending
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.genres.default_model import DEFAULT_SHA256
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MSD_GENRE_FEATURES, Table
from reprise.lib.tables.operations import GENRE
from reprise.udfs.genre_scores import MIN_BATCH_ROWS, input_columns, load_genre_model, score_tracks

JOB = "score_genres"
_SOURCES = (AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES)
_ROWS_PER_COMMIT = (
    4 * MIN_BATCH_ROWS
)  # with fewer rows, commits take longer than scoring; with more rows, the driver has no memory for the rows' keys


@dataclass(frozen=True)
class Scorer:
    """A genre model, and the table of its features.

    ``artifact`` is None for the default model, which is shipped with the package. ``table`` is None if the model's
    feature set is unknown.
    """

    model_id: str
    artifact: str | None
    sha256: str
    table: Table | None


DEFAULT = Scorer(f"embedded-gtzan-{DEFAULT_SHA256[:12]}", None, DEFAULT_SHA256, AUDIO_GENRE_FEATURES)
"""Default model of the package. Without ``--model``, it scores audio if no model was trained on audio features."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID",
        help="model to use; repeatable (default: for analyses, the model trained last; for audio, the model trained"
        " last, or the package's default model if there is none)",
    )
    add_force(parser)


def score(run: Run) -> None:
    """Score new and changed tracks with each chosen model, and delete the scores of deleted tracks."""
    chosen = _choose(run)
    run.count(scored=0)
    for scorer in chosen:
        _score(run, scorer)
    delete_removed_tracks(run.warehouse, JOB, _SOURCES, [GENRE_SCORES])
    if not run.args.json:
        for scorer in chosen:
            print(f"model: {scorer.model_id}")


def _choose(run: Run) -> list[Scorer]:
    """Return the models that ``--model`` names.

    Without ``--model``, return the newest model of each feature table that has rows. The default model counts as the
    oldest model for audio features.
    """
    known = _list_scorers(run)
    if run.args.model:
        if unknown := [model_id for model_id in run.args.model if model_id not in known]:
            raise UsageError(f"there is no genre model {unknown[0]}; choose from: {', '.join(sorted(known))}")
        return [known[model_id] for model_id in dict.fromkeys(run.args.model)]
    filled = [table for table in _SOURCES if run.warehouse.exists(table) and run.warehouse.sizes(table)[0]]
    if not filled:
        names = " and ".join(table.name for table in _SOURCES)
        raise UsageError(f"there are no rows in {names}: run extract-genre-features first")
    last = {scorer.table.name: scorer for scorer in known.values() if scorer.table}
    if chosen := [last[table.name] for table in filled if table.name in last]:
        return chosen
    raise UsageError(f"no genre model reads {filled[0].name}: run train-genre first")


def _list_scorers(run: Run) -> dict[str, Scorer]:
    """Return all genre models by id, ordered by the time of training. The default model is the first."""
    scorers = {DEFAULT.model_id: DEFAULT}
    for model in list_models(run.warehouse, GENRE).values():
        features = FEATURE_SETS.get(model.params.get("features", ""))
        table = features.table if features else None
        scorers[model.model_id] = Scorer(model.model_id, model.artifact, model.sha256, table)
    return scorers


def _score(run: Run, scorer: Scorer) -> None:
    try:
        model = load_genre_model(scorer.artifact, scorer.sha256)
    except InputError as error:
        raise RepriseError(f"{scorer.model_id} cannot be loaded: {error}") from None
    table, columns = FEATURE_SETS[model.feature_set].table, input_columns(model)
    _check_columns(run, table, columns)
    make = partial(
        score_tracks,
        artifact=scorer.artifact, artifact_sha256=scorer.sha256, model_id=scorer.model_id, run_id=run.run_id,
    )  # fmt: skip
    source_rows, target_rows = {"window": WHOLE_TRACK} if "window" in table.key else {}, {"model_id": scorer.model_id}
    run_first, scored = "extract-genre-features", 0
    for pending in find_pending(
        run,
        [table],
        GENRE_SCORES,
        source_rows=source_rows,
        target_rows=target_rows,
        run_first=run_first,
        part_rows=_ROWS_PER_COMMIT,
    ):
        rows = pending.frame(run, columns).drop("source")
        # one task gets all windows of a track in order, even if the windows are in two files
        rows = rows.repartition(2 * run.spark.sparkContext.defaultParallelism, "track_id")
        staged = run.warehouse.stage(rows.sortWithinPartitions(*table.key), make, [GENRE_SCORES], to_driver=[])
        run.warehouse.merge(GENRE_SCORES, staged.files.get(GENRE_SCORES.name, []))
        scored += len(pending.track_ids)
    run.count(scored=scored, **{f"scored_by_{scorer.model_id}": scored})


def _check_columns(run: Run, table: Table, columns: list[str]) -> None:
    """Raise UsageError if the table lacks one of ``columns`` because an older version of reprise wrote it.

    Spark would read the missing column as NULL.
    """
    if not run.warehouse.exists(table):
        return  # a missing table has no rows to score
    stored = {field.name for field in run.warehouse.open(table).schema().fields}
    if missing := sorted(set(columns) - stored):
        raise UsageError(
            f"{table.name} was written by an older version of reprise and has no column {missing[0]}:"
            f" remove {run.warehouse.uri(table)} and run extract-genre-features again"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, score), argv)


if __name__ == "__main__":
    sys.exit(main())
