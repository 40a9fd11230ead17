"""Score tracks by genre: how likely a model thinks each of its genres.

Reads:  audio_genre_features, msd_genre_features; models and their artifacts.
Writes: genre_scores.
Grain:  one track, model and genre. Audio is scored in windows of 3 s, of which a track's scores are the mean.
Rerun:  what a model has scored from the same content is skipped; tracks that are gone are forgotten. Killed at any
        point and started again, it ends in the same rows.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial

from reprise.jobs._engine.pending import add_force, find_pending, forget_removed
from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.jobs._genres.datasets import GENRE_KIND
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.genres.default_model import DEFAULT_SHA256
from reprise.lib.genres.feature_sets import FEATURE_SETS, WHOLE_TRACK
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MODELS, MSD_GENRE_FEATURES, Table
from reprise.udfs.genre_scores import ROWS_AT_ONCE, columns_of, load_genre_model, score_tracks

STAGE = "score_genres"
_SOURCES = (AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES)
_ROWS_A_COMMIT = 4 * ROWS_AT_ONCE  # fewer would take longer to commit than to score, more fill the driver with keys


@dataclass(frozen=True)
class Scorer:
    """A model to ask: the package's own has no ``artifact``; ``table`` is None when its features are not known here."""

    model_id: str
    artifact: str | None
    sha256: str
    table: Table | None


DEFAULT = Scorer(f"embedded-gtzan-{DEFAULT_SHA256[:12]}", None, DEFAULT_SHA256, AUDIO_GENRE_FEATURES)
"""What scores audio where nobody has trained a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID",
        help="model to ask; repeatable (default: for audio and for analyses the last trained; for audio else our own)",
    )
    add_force(parser)


def score(run: Run) -> None:
    """Ask each model about the tracks that it has not scored yet."""
    chosen = _choose(run)
    run.count(scored=0)
    for scorer in chosen:
        _score(run, scorer)
    forget_removed(run.warehouse, STAGE, _SOURCES, [GENRE_SCORES])
    if not run.args.json:
        for scorer in chosen:
            print(f"model: {scorer.model_id}")


def _choose(run: Run) -> list[Scorer]:
    """The models that are named, or one a table that has rows."""
    known = _list_scorers(run)
    if run.args.model:
        if unknown := [model_id for model_id in run.args.model if model_id not in known]:
            raise UsageError(f"there is no genre model {unknown[0]}; there are: {', '.join(sorted(known))}")
        return [known[model_id] for model_id in dict.fromkeys(run.args.model)]
    there = [table for table in _SOURCES if run.warehouse.exists(table) and run.warehouse.sizes(table)[0]]
    if not there:
        names = " or ".join(table.name for table in _SOURCES)
        raise UsageError(f"there is nothing in {names}: run extract-genre-features first")
    last = {scorer.table.name: scorer for scorer in known.values() if scorer.table}
    if chosen := [last[table.name] for table in there if table.name in last]:
        return chosen
    raise UsageError(f"no genre model reads {there[0].name}: run train-genre first")


def _list_scorers(run: Run) -> dict[str, Scorer]:
    """Genre models by their ids, the package's own first and the last trained last."""
    rows = run.warehouse.lookup(MODELS, "model_id", "", "\U0010ffff").sort_by([("trained_at", "ascending")])
    scorers = {DEFAULT.model_id: DEFAULT}
    for row in rows.to_pylist():
        if row["kind"].startswith(GENRE_KIND):
            features = FEATURE_SETS.get(json.loads(row["params"])["features"])
            artifact = f"{run.warehouse.root}/{row['artifact']}"
            table = features.table if features else None
            scorers[row["model_id"]] = Scorer(row["model_id"], artifact, row["sha256"], table)
    return scorers


def _score(run: Run, scorer: Scorer) -> None:
    try:
        model = load_genre_model(scorer.artifact, scorer.sha256)
    except InputError as error:
        advice = "; train it again" if error.kind == "not_a_model" else ""
        raise RepriseError(f"{scorer.model_id} cannot be asked: {error}{advice}") from None
    table, columns = FEATURE_SETS[model.feature_set].table, columns_of(model)
    _check_columns(run, table, columns)
    make = partial(
        score_tracks,
        artifact=scorer.artifact, artifact_sha256=scorer.sha256, model_id=scorer.model_id, run_id=run.run_id,
    )  # fmt: skip
    of, where = {"window": WHOLE_TRACK} if "window" in table.key else {}, {"model_id": scorer.model_id}
    first, asked = "extract-genre-features", 0
    for pending in find_pending(run, [table], GENRE_SCORES, of=of, where=where, first=first, size=_ROWS_A_COMMIT):
        rows = pending.frame(run, columns).drop("source")
        # whole tracks, with their windows in order, wherever the files were cut
        rows = rows.repartition(2 * run.spark.sparkContext.defaultParallelism, "track_id")
        staged = run.warehouse.stage(rows.sortWithinPartitions(*table.key), make, [GENRE_SCORES], to_driver=[])
        run.warehouse.merge(GENRE_SCORES, staged.files.get(GENRE_SCORES.name, []))
        asked += len(pending.track_ids)
    run.count(scored=asked, **{f"scored_by_{scorer.model_id}": asked})


def _check_columns(run: Run, table: Table, columns: list[str]) -> None:
    """Complain when a table was made before the contract had all the columns; Spark would read them as NULL."""
    if not run.warehouse.exists(table):
        return  # and there is nothing in it
    if missing := sorted(set(columns) - set(run.warehouse.read(run.spark, table).columns)):
        raise UsageError(
            f"{table.name} was made by an older version and has no {missing[0]}: remove {run.warehouse.uri(table)} and"
            " run extract-genre-features again"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, score), argv)


if __name__ == "__main__":
    sys.exit(main())
