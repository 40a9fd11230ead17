"""Score tracks with genre models: compute the probability of each genre, and whether the model has an answer.

A model abstains from tracks that are unlike the music on which it was trained.

Reads:  track_tags, audio_genre_features, msd_genre_features; models and their artifacts.
Writes: genre_scores, models (the package's own models).
Grain:  one track, model and genre. Audio is scored in windows of 3 s; a track's score is the mean over its windows.
Rerun:  tracks that a model has scored from the same content are skipped. Scores of deleted tracks are deleted. A run
        that is killed at any point and started again writes the same rows as an uninterrupted run.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.external_models import TAGGER, make_external_id
from reprise.jobs._engine.models import Model, list_models, write_artifact, write_model
from reprise.jobs._engine.pending import PendingTracks, delete_removed_tracks, find_pending
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._genres.datasets import MADE_BY
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.genres.default_models import list_default_models, read_default_model
from reprise.lib.genres.feature_sets import FEATURE_SETS, INPUT_AUDIO, INPUT_TAGS, WHOLE_TRACK, FeatureSet
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES, MSD_GENRE_FEATURES, TRACK_TAGS, Table
from reprise.lib.tables.operations import GENRE
from reprise.udfs.genre_scores import MIN_BATCH_ROWS, input_columns, load_genre_model, score_tracks

JOB = "score_genres"
_SOURCES = (TRACK_TAGS, AUDIO_GENRE_FEATURES, MSD_GENRE_FEATURES)
_ROWS_PER_COMMIT = (
    4 * MIN_BATCH_ROWS
)  # with fewer rows, commits take longer than scoring; with more rows, the driver has no memory for the rows' keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="ID",
        help="model to use; repeatable (default: the best model for audio and the best for analyses)",
    )
    add_force(parser)


def score(run: Run) -> None:
    """Score new and changed tracks with each chosen model, and delete the scores of deleted tracks."""
    filled = [table for table in _SOURCES if run.warehouse.exists(table) and run.warehouse.sizes(table)[0]]
    if not filled:
        raise UsageError("there are no tags and no features: run tag-tracks or extract-genre-features first")
    _register_default_models(run, filled)
    chosen = _choose(run, filled)
    run.count(scored=0)
    for model in chosen:
        _score(run, model)
    delete_removed_tracks(run.warehouse, JOB, filled, [GENRE_SCORES])
    if not run.args.json:
        for model in chosen:
            print(f"model: {model.model_id}")
        for model_id in _list_former_models(run):
            print(
                f"not used, because an older version of reprise trained it: {model_id}: run train-genre"
                f" --reproduce {model_id} --force, then score-genres --force"
            )


def _register_default_models(run: Run, filled: Sequence[Table]) -> None:
    """Copy the package's own models into the warehouse, if there are rows for them.

    Workers then read them as they read all models, and consumers find their quality. Models that are already there are
    copied again only with ``--force``.
    """
    known = list_models(run.warehouse, GENRE)
    for name, default in list_default_models().items():
        if FEATURE_SETS[name].table not in filled or (default.model_id in known and not run.args.force):
            continue
        try:
            artifact, sha256 = write_artifact(run.warehouse.root, read_default_model(name), ".safetensors")
        except InputError as error:
            raise RepriseError(str(error)) from None
        write_model(
            run,
            model_id=default.model_id,
            task=GENRE,
            kind=default.kind,
            params=default.params,
            metrics=default.metrics,
            artifact=artifact,
            sha256=sha256,
            trained_on=default.trained_on,
            input_=default.input,
            quality=default.quality,
            domain=default.domain,
        )


def _choose(run: Run, filled: Sequence[Table]) -> list[Model]:
    """Return the models that ``--model`` names; without ``--model``, the best model for each kind of music.

    The kinds are listeners' audio, by tags or by features, analyses of the dataset, and analyses of listeners' audio.
    The best model has the highest quality on music that was not used for training. Dates of training do not count.
    """
    known = list_models(run.warehouse, GENRE)
    if run.args.model:
        if unknown := [model_id for model_id in run.args.model if model_id not in known]:
            raise UsageError(f"there is no genre model {unknown[0]}; choose from: {', '.join(sorted(known))}")
        return [known[model_id] for model_id in dict.fromkeys(run.args.model)]
    usable = [model for model in known.values() if model.quality is not None and _table_of(model) in filled]
    best: dict[str | None, Model] = {}
    for model in sorted(usable, key=lambda one: (-(one.quality or 0), one.model_id)):
        best.setdefault(INPUT_AUDIO if model.input == INPUT_TAGS else model.input, model)
    if best:
        return list(best.values())
    raise UsageError(f"no genre model reads {filled[0].name}: run train-genre first")


def _list_former_models(run: Run) -> list[str]:
    """Return the ids of models whose quality is not known, because older versions of reprise did not write it."""
    return [model.model_id for model in list_models(run.warehouse, GENRE).values() if model.quality is None]


def _table_of(model: Model) -> Table | None:
    feature_set = FEATURE_SETS.get(model.params.get("features", ""))
    return feature_set.table if feature_set else None


def _score(run: Run, stored: Model) -> None:
    try:
        model = load_genre_model(stored.artifact, stored.sha256)
    except InputError as error:
        raise RepriseError(f"{stored.model_id} cannot be loaded: {error}") from None
    feature_set = FEATURE_SETS[model.feature_set]
    domain_set = feature_set.domain_set if model.domain else feature_set
    _check_columns(run, feature_set)
    _check_columns(run, domain_set)
    make = partial(
        score_tracks,
        artifact=stored.artifact, artifact_sha256=stored.sha256, model_id=stored.model_id, run_id=run.run_id,
    )  # fmt: skip
    tagger: dict[str, str | int] = {"model_id": make_external_id(TAGGER)} if feature_set.table is TRACK_TAGS else {}
    whole_track: dict[str, str | int] = {"window": WHOLE_TRACK} if "window" in feature_set.table.key else {}
    scored = 0
    for found in find_pending(
        run,
        [feature_set.table],
        GENRE_SCORES,
        source_rows=tagger | whole_track,
        target_rows={"model_id": stored.model_id},
        run_first=MADE_BY[feature_set.table.name],
        part_rows=_ROWS_PER_COMMIT,
    ):
        pending = found if domain_set is feature_set else _drop_undescribed(run, found, domain_set)
        if not pending.track_ids:
            continue
        rows = pending.frame(run, [*input_columns(feature_set), *tagger])
        for column, value in tagger.items():
            rows = rows.where(F.col(column) == value).drop(column)
        if domain_set is not feature_set:
            rows = rows.unionByName(_read_described(run, pending, domain_set), allowMissingColumns=True)
        # one task gets all windows of a track in order, even if the windows are in two files
        rows = rows.repartition(2 * run.spark.sparkContext.defaultParallelism, "track_id")
        order = dict.fromkeys(("track_id", "source", *feature_set.table.key))
        in_order = rows.sortWithinPartitions(*(name for name in order if name in rows.columns))
        staged = run.warehouse.stage(in_order, make, [GENRE_SCORES], to_driver=[])
        run.warehouse.merge(GENRE_SCORES, staged.files.get(GENRE_SCORES.name, []))
        scored += len(pending.track_ids)
    run.count(scored=scored, **{f"scored_by_{stored.model_id}": scored})


def _drop_undescribed(run: Run, pending: PendingTracks, domain_set: FeatureSet) -> PendingTracks:
    """Return the pending tracks that have the features of the domain. The others stay pending, and are counted."""
    part, table = pending.part, domain_set.table
    run_first = f"run {MADE_BY[table.name]} first"
    if not run.warehouse.exists(table):
        raise UsageError(f"there are no rows in {table.name}: {run_first}")
    described = set(
        run.warehouse.lookup(table, "track_id", part.least, part.greatest, ["track_id"])["track_id"].to_pylist()
    )
    kept = [track_id for track_id in pending.track_ids if track_id in described]
    run.count(without_features=len(pending.track_ids) - len(kept))
    return replace(pending, track_ids=kept)


def _read_described(run: Run, pending: PendingTracks, domain_set: FeatureSet) -> DataFrame:
    """Return the rows of the pending tracks with the features of the domain."""
    rows = run.warehouse.read(run.spark, domain_set.table)
    rows = rows.where(F.col("track_id").between(pending.part.least, pending.part.greatest))
    ids = run.spark.createDataFrame([(i,) for i in pending.track_ids], "track_id string")
    rows = rows.select(*input_columns(domain_set)).join(F.broadcast(ids), "track_id", "left_semi")
    named: DataFrame = rows.withColumn("source", F.lit(domain_set.table.name))
    return named


def _check_columns(run: Run, feature_set: FeatureSet) -> None:
    """Raise UsageError if the table lacks a column because an older version of reprise wrote it.

    Spark would read the missing column as NULL.
    """
    table = feature_set.table
    if not run.warehouse.exists(table):
        return  # a missing table has no rows to score
    stored = {field.name for field in run.warehouse.open(table).schema().fields}
    if missing := sorted(set(input_columns(feature_set)) - stored):
        raise UsageError(
            f"{table.name} was written by an older version of reprise and has no column {missing[0]}:"
            f" remove {run.warehouse.uri(table)} and run {MADE_BY[table.name]} again"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, score), argv)


if __name__ == "__main__":
    sys.exit(main())
