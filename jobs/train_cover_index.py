"""Train an embedding that maps versions of a work close to each other, and embed every track.

A trained model embeds tracks with a median patch. The package's part network, which recognises single parts and short
excerpts, embeds tracks from 12 beats on. It needs no training and is always added.

Reads:  chroma_patches, beat_chroma, cover_cliques, msd_tracks.
Writes: models, cover_vectors.
Grain:  one model; one pair of track and model.
Rerun:  a model with the same parameters and the same versions of the tables is not trained again. Tracks whose content
        is unchanged since they were embedded are skipped. A run that is killed at any point and started again writes
        the same rows as an uninterrupted run.
"""

import argparse
import sys
import time
from functools import partial
from typing import Any

from reprise.jobs._detection.calibration import calibrate
from reprise.jobs._detection.models import EmbeddingModel, find_embedding, register_shipped_model
from reprise.jobs._detection.search import clique_members
from reprise.jobs._detection.training import TABLE_OF, TRAINERS, Samples, is_held_out
from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.models import (
    check_reproduced,
    list_models,
    make_model_id,
    update_metrics,
    write_artifact,
    write_model,
)
from reprise.jobs._engine.pending import RowFilter, delete_removed_tracks, find_pending
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.detect.embeddings import EMBEDDINGS, dump
from reprise.lib.detect.part_network import MIN_BEATS, PartNetwork
from reprise.lib.tables import COVER_CLIQUES, COVER_VECTORS
from reprise.lib.tables.operations import COVER_EMBEDDING
from reprise.udfs.cover_vectors import embed_tracks

JOB = "train_cover_index"
_WITH_PATCH: RowFilter = {"status": "ok"}
_WITH_BEATS: RowFilter = {
    "status": lambda status: status.isin(["ok", "too_short_for_patches"]),
    "n_beats": lambda n_beats: n_beats >= MIN_BEATS,
}
"""Filters of the tracks that a trained model embeds, and of those that the part network embeds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--method",
        choices=[*TRAINERS, PartNetwork.kind],
        default="learned",
        help=f"kind of embedding to train (default: %(default)s); {PartNetwork.kind} trains nothing, needs no"
        " clique list, and only embeds with the package's own model",
    )
    parser.add_argument(
        "--cliques", default="shs_dataset_train", metavar="LIST", help="clique list to train on (default: %(default)s)"
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=N",
        help="parameter of the method, e.g. dimensions=100; repeatable",
    )
    parser.add_argument(
        "--model", metavar="ID", help="embed new and changed tracks with this model instead of training a model"
    )
    parser.add_argument(
        "--reproduce", metavar="ID", help="train this model again and check that its file has the same bytes"
    )
    add_force(parser)


def train(run: Run) -> None:
    """Train an embedding model, embed all tracks with it and with the part network, and calibrate its distances.

    With ``--model``, only embed tracks with that model. With ``--reproduce``, only train that model again and check it.
    """
    args = run.args
    if args.reproduce:
        _reproduce(run, find_embedding(run, args.reproduce))
        return
    run.count(embedded=0)
    if args.method == PartNetwork.kind and not args.model:
        if args.param:
            raise UsageError(f"--param {args.param[0]}: {PartNetwork.kind} has no parameters")
        model = register_shipped_model(run)
        _embed(run, model)
    else:
        model = find_embedding(run, args.model) if args.model else _train(run)
        _embed(run, model)
        if not args.model:
            _embed(run, register_shipped_model(run))
    if not model.calibrations and not args.model and not model.is_shipped:
        members = _open_samples(run, model).members
        calibrations = calibrate(run, model, members[is_held_out(members["clique_id"])])
        run.count(measures_calibrated=len(calibrations))
        if calibrations:
            update_metrics(run.warehouse, model.model_id, {"calibration": calibrations})
    if not args.json:
        print(f"model: {model.model_id}")


def _train(run: Run) -> EmbeddingModel:
    """Return the model that the arguments specify. Train it with ``--force``, or if it is not in ``models`` yet."""
    kind = run.args.method
    params = {**TRAINERS[kind].defaults, **_parse_params(run), "cliques": run.args.cliques, "seed": run.settings.seed}
    tables = [TABLE_OF[TRAINERS[kind].reads].name, COVER_CLIQUES.name]
    versions = run.warehouse.versions()
    if missing := [name for name in tables if name not in versions]:
        raise UsageError(f"the table {missing[0]} does not exist: run extract-chroma and ingest-annotations first")
    clique_members(run, run.args.cliques)  # raises UsageError for an unknown list
    trained_on = {name: versions[name] for name in tables}
    model_id = make_model_id(kind, [kind, params, trained_on])
    if model_id in list_models(run.warehouse, COVER_EMBEDDING) and not run.args.force:
        return find_embedding(run, model_id)
    samples = Samples(run, trained_on, params["cliques"], params["seed"])
    data, seconds = _fit(samples, kind, params)
    artifact, sha256 = write_artifact(run.warehouse.root, data, ".safetensors")
    write_model(
        run,
        model_id=model_id,
        task=COVER_EMBEDDING,
        kind=kind,
        params=params,
        metrics={"training_s": round(seconds, 1), "clique_tracks": len(samples.members)},
        artifact=artifact,
        sha256=sha256,
        trained_on=trained_on,
    )
    run.count(models_trained=1)
    return find_embedding(run, model_id)


def _fit(samples: Samples, kind: str, params: dict[str, Any]) -> tuple[bytes, float]:
    """Train a model. Return the bytes of the model, and the training time in seconds."""
    started = time.monotonic()
    try:
        embedding = TRAINERS[kind].fit(samples, params)
    except ValueError as error:
        raise UsageError(f"{kind} cannot be trained on these data: {error}") from None
    return dump(embedding, params), time.monotonic() - started


def _parse_params(run: Run) -> dict[str, int]:
    method = run.args.method
    known = TRAINERS[method].defaults
    given = {}
    for text in run.args.param:
        name, _, number = text.partition("=")
        if not known:
            raise UsageError(f"--param {text}: {method} has no parameters")
        if name not in known or not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"--param {text}: {method} takes NAME=N, where N is an integer of at least 1 and NAME is one of"
                f" {', '.join(known)}"
            )
        given[name] = int(number)
    return given


def _open_samples(run: Run, model: EmbeddingModel) -> Samples:
    return Samples(run, model.trained_on, model.params["cliques"], model.params["seed"])


def _embed(run: Run, model: EmbeddingModel) -> None:
    """Embed the tracks that ``model`` can embed. Delete the embeddings of tracks that cannot be embedded any more.

    A track is embedded if its embedding by this model is missing or was computed from other content. With ``--force``,
    all tracks are embedded.
    """
    reads = EMBEDDINGS[model.kind].reads
    source, run_id = TABLE_OF[reads], run.run_id
    source_rows = _WITH_BEATS if model.is_shipped else _WITH_PATCH
    make = partial(
        embed_tracks, artifact=model.artifact, artifact_sha256=model.sha256, model_id=model.model_id, run_id=run_id
    )
    ours = {"model_id": model.model_id}
    for pending in find_pending(
        run, [source], COVER_VECTORS, source_rows=source_rows, target_rows=ours, run_first="extract-chroma"
    ):
        rows = pending.frame(run, ["track_id", "sha256", reads])
        # embedding takes much longer than reading; with many small tasks, all cores stay busy until the end
        rows = rows.repartition(4 * run.spark.sparkContext.defaultParallelism)
        staged = run.warehouse.stage(rows, make, [COVER_VECTORS], to_driver=[])
        run.warehouse.merge(COVER_VECTORS, staged.files.get(COVER_VECTORS.name, []))
        run.count(embedded=len(pending.track_ids))
    shipped = [m.model_id for m in list_models(run.warehouse, COVER_EMBEDDING).values() if m.kind == PartNetwork.kind]
    same_kind: RowFilter = {"model_id": lambda ids: ids.isin(shipped) == model.is_shipped}
    delete_removed_tracks(run.warehouse, JOB, [source], [COVER_VECTORS], source_rows=source_rows, target_rows=same_kind)


def _reproduce(run: Run, model: EmbeddingModel) -> None:
    if model.is_shipped:
        raise UsageError(f"--reproduce {model.model_id}: it is the package's own model, which no warehouse trains")
    data, _ = _fit(_open_samples(run, model), model.kind, dict(model.params))
    check_reproduced(model, data)
    run.count(models_reproduced=1)


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, train), argv)


if __name__ == "__main__":
    sys.exit(main())
