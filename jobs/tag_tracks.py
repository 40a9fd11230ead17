"""Predict the tags of listeners' audio: genres, moods, instruments and decades.

Reads:  library_tracks, library_copies and the audio files that it lists; models.
Writes: track_tags, models, quarantine.
Grain:  one track, and one window of a track. One quarantine row for each track whose audio is missing, has changed or
        cannot be decoded.
Rerun:  tracks with tags of the same model from the same content are skipped, also with another --every. Rows of deleted
        tracks are deleted. A run that is killed at any point and started again writes the same rows as an uninterrupted
        run.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from reprise.conf import list_external_models
from reprise.jobs._engine.command_line import UsageError, add_force, add_models
from reprise.jobs._engine.external_models import TAGGER, load_external, make_external_id
from reprise.jobs._engine.models import Model, list_models, write_artifact, write_model
from reprise.jobs._engine.pending import PendingTracks, delete_removed_tracks, find_outdated, find_pending
from reprise.jobs._engine.quarantine import write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._libraries.copies import add_uris
from reprise.lib.genres.feature_sets import WHOLE_TRACK
from reprise.lib.tables import LIBRARY_TRACKS, QUARANTINE, TRACK_TAGS, row_uri
from reprise.lib.tables.operations import TAGGING
from reprise.udfs.track_tags import tag_tracks

JOB = "tag_tracks"
_TRACKS_PER_COMMIT = 64
"""Number of tracks between two commits. One core needs about four minutes for them."""

_INPUTS = pa.schema([("track_id", pa.string()), ("sha256", pa.string()), ("uris", pa.list_(pa.string()))])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="N",
        help="tag every Nth window of 3 s, for less computation (default: %(default)s)",
    )
    add_force(parser)
    add_models(parser)


def tag(run: Run) -> None:
    """Predict the tags of new and changed tracks, one `Part` of the library at a time."""
    if run.args.every < 1:
        raise UsageError(f"--every must be at least 1, not {run.args.every}")
    run.count(tagged=0, quarantined=0)
    model_id = make_external_id(TAGGER)
    done: dict[str, str | int] = {"model_id": model_id, "window": WHOLE_TRACK}
    for pending in find_pending(
        run, [LIBRARY_TRACKS], TRACK_TAGS, target_rows=done, run_first="ingest-library", part_rows=_TRACKS_PER_COMMIT
    ):
        _tag_part(run, pending, _register(run, model_id))
    delete_removed_tracks(run.warehouse, JOB, [LIBRARY_TRACKS], [TRACK_TAGS])


def _register(run: Run, model_id: str) -> Model:
    """Return the row of the tagging model. If it is missing, or with ``--force``, copy the model into the warehouse.

    The workers read the model from the warehouse. So they need neither the package nor the cache.
    """
    known = list_models(run.warehouse, TAGGING)
    if model_id in known and not run.args.force:
        return known[model_id]
    external = list_external_models()[TAGGER]
    data = load_external(Path(run.settings.models).expanduser(), TAGGER)
    artifact, sha256 = write_artifact(run.warehouse.root, data, ".safetensors")
    return write_model(
        run,
        model_id=model_id,
        task=TAGGING,
        kind=TAGGER,
        params={"package": external.package, "licence": external.licence},
        metrics=external.metrics,
        artifact=artifact,
        sha256=sha256,
        trained_on={"data": external.trained_on},
    )


def _tag_part(run: Run, pending: PendingTracks, model: Model) -> None:
    """Tag the pending tracks in one `Part`, and write their rows in one commit."""
    part = pending.part
    tracks = run.warehouse.read_columns(LIBRARY_TRACKS, part.paths, ["track_id", "sha256"]).to_pandas()
    tracks = tracks[tracks["track_id"].isin(pending.track_ids)].sort_values("track_id")
    todo = add_uris(run.warehouse, part, tracks)
    frame = run.spark.createDataFrame(pa.Table.from_pandas(todo, _INPUTS, preserve_index=False))
    make = partial(
        tag_tracks,
        artifact=model.artifact, artifact_sha256=model.sha256, every=run.args.every,
        model_id=model.model_id, job=JOB, run_id=run.run_id,
    )  # fmt: skip
    # a task per few tracks, so that one long track does not leave the other cores without work
    frame = frame.repartition(2 * run.spark.sparkContext.defaultParallelism)
    staged = run.warehouse.stage(frame, make, [TRACK_TAGS], to_driver=[QUARANTINE])
    rejected = staged.table(QUARANTINE)
    run.warehouse.merge(
        TRACK_TAGS,
        staged.files.get(TRACK_TAGS.name, []),
        delete=find_outdated(run.warehouse, TRACK_TAGS, pending, "model_id", model.model_id),
    )
    read = pd.Series([row_uri(LIBRARY_TRACKS.name, track_id) for track_id in todo["track_id"]])
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    run.bad_inputs += len(rejected)
    run.count(tagged=len(todo) - len(rejected), quarantined=len(rejected))


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, tag), argv)


if __name__ == "__main__":
    sys.exit(main())
