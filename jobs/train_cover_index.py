"""Train an embedding in which versions of one work lie close together, and give every track its vector.

Reads:  chroma_patches, beat_chroma, cover_cliques, msd_tracks.
Writes: models, cover_vectors.
Grain:  one model; one track and model.
Rerun:  a model that was trained on the same versions of the same tables with the same parameters is not trained again;
        tracks that have a vector of the same content are skipped. Killed at any point and started again, it ends in
        the same rows.
"""

import argparse
import hashlib
import json
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from reprise.jobs._detection.calibration import calibrate
from reprise.jobs._detection.search import Model, clique_members, load_model
from reprise.jobs._detection.training import TABLE_OF, TRAINERS, Samples, is_held_out
from reprise.jobs._engine.pending import add_force, find_pending, forget_removed
from reprise.jobs._engine.run import Job, Run, UsageError, run_job
from reprise.lib.detect.embeddings import dump
from reprise.lib.errors import RepriseError
from reprise.lib.tables import COVER_CLIQUES, COVER_VECTORS, MODELS
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.cover_vectors import embed_tracks
from reprise.udfs.model_cache import write_artifact

STAGE = "train_cover_index"
_OK = {"status": "ok"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--method", choices=list(TRAINERS), default="learned", help="embedding to train (default %(default)s)"
    )
    parser.add_argument(
        "--cliques", default="shs_dataset_train", metavar="LIST", help="clique list to learn from (%(default)s)"
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=N", help="a parameter of the method, e.g. dimensions=100"
    )
    parser.add_argument("--model", metavar="ID", help="train nothing: give new tracks a vector of this model")
    parser.add_argument("--reproduce", metavar="ID", help="train this model again from its row and compare the bytes")
    add_force(parser)


def train(run: Run) -> None:
    """Train and keep the model, give every track its vector, and learn what their distances mean."""
    args = run.args
    if args.reproduce:
        _reproduce(run, load_model(run, args.reproduce))
        return
    model = load_model(run, args.model) if args.model else _train(run)
    _embed(run, model)
    if not model.calibrations and not args.model:
        members = _samples(run, model).members
        found = calibrate(run, model, members[is_held_out(members["clique_id"])])
        run.count(measures_calibrated=len(found))
        if found:
            row = run.warehouse.lookup(MODELS, "model_id", model.model_id, model.model_id).to_pylist()[0]
            row["metrics"] = json.dumps(json.loads(row["metrics"]) | {"calibration": found})
            run.warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    if not args.json:
        print(f"model: {model.model_id}")


def _train(run: Run) -> Model:
    """The model that the arguments ask for, trained now unless it stands in ``models`` already."""
    kind = run.args.method
    params = {**TRAINERS[kind].defaults, **_given(run), "cliques": run.args.cliques, "seed": run.settings.seed}
    tables = [TABLE_OF[TRAINERS[kind].reads].name, COVER_CLIQUES.name]
    versions = run.warehouse.versions()
    if missing := [name for name in tables if name not in versions]:
        raise UsageError(f"there is no {missing[0]} yet: run extract-chroma and ingest-annotations first")
    clique_members(run, run.args.cliques)  # complains when there is no such list
    trained_on = {name: versions[name] for name in tables}
    identity = json.dumps([kind, params, trained_on], sort_keys=True)
    model_id = f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    known = run.warehouse.lookup(MODELS, "model_id", model_id, model_id)
    if len(known) and not run.args.force:
        return load_model(run, model_id)
    samples = Samples(run, trained_on, params["cliques"], params["seed"])
    data, seconds = _fit(samples, kind, params)
    path, sha256 = write_artifact(run.warehouse.root, data, ".safetensors")
    row = {
        "model_id": model_id,
        "kind": kind,
        "params": json.dumps(params, sort_keys=True),
        "metrics": json.dumps({"training_s": round(seconds, 1), "clique_tracks": len(samples.members)}),
        "artifact": path,
        "sha256": sha256,
        "trained_on": json.dumps(trained_on, sort_keys=True),
        "trained_at": datetime.now(UTC),
        "run_id": run.run_id,
    }
    run.warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    run.count(models_trained=1)
    return load_model(run, model_id)


def _fit(samples: Samples, kind: str, params: dict[str, Any]) -> tuple[bytes, float]:
    """Bytes of the trained model, and the seconds it took."""
    started = time.monotonic()
    try:
        embedding = TRAINERS[kind].fit(samples, params)
    except ValueError as error:
        raise UsageError(f"{kind} cannot be trained on what is there: {error}") from None
    return dump(embedding, params), time.monotonic() - started


def _given(run: Run) -> dict[str, int]:
    known = TRAINERS[run.args.method].defaults
    given = {}
    for text in run.args.param:
        name, _, number = text.partition("=")
        if name not in known or not number.isdecimal() or int(number) < 1:
            raise UsageError(f"--param {text}: {run.args.method} takes NAME=N of {', '.join(known) or 'none'}")
        given[name] = int(number)
    return given


def _samples(run: Run, model: Model) -> Samples:
    return Samples(run, model.trained_on, model.params["cliques"], model.params["seed"])


def _embed(run: Run, model: Model) -> None:
    """Give a vector of ``model`` to every track that has a patch and lacks one."""
    reads = TRAINERS[model.kind].reads
    source, run_id = TABLE_OF[reads], run.run_id
    make = partial(
        embed_tracks, artifact=model.artifact, artifact_sha256=model.sha256, model_id=model.model_id, run_id=run_id
    )
    run.count(embedded=0)
    where = {"model_id": model.model_id}
    for pending in find_pending(run, [source], COVER_VECTORS, of=_OK, where=where, first="extract-chroma"):
        rows = pending.frame(run, ["track_id", "sha256", reads])
        # embedding costs far more than reading: many small tasks keep every core busy to the end
        rows = rows.repartition(4 * run.spark.sparkContext.defaultParallelism)
        staged = run.warehouse.stage(rows, make, [COVER_VECTORS], to_driver=[])
        run.warehouse.merge(COVER_VECTORS, staged.files.get(COVER_VECTORS.name, []))
        run.count(embedded=len(pending.track_ids))
    forget_removed(run.warehouse, STAGE, [source], [COVER_VECTORS], of=_OK)


def _reproduce(run: Run, model: Model) -> None:
    data, _ = _fit(_samples(run, model), model.kind, dict(model.params))
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != model.sha256:
        raise RepriseError(
            f"trained again, {model.model_id} has SHA-256 {sha256[:12]}… and not {model.sha256[:12]}…: other packages,"
            " or another kind of machine"
        )
    run.count(models_reproduced=1)


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, train), argv)


if __name__ == "__main__":
    sys.exit(main())
