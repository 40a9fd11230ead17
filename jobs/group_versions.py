"""Group the library tracks that are versions of one work: studio, live, remaster, acoustic, demo and others.

Reads:  library_tracks, beat_chroma, cover_vectors, models.
Writes: library_versions, library_version_pairs.
Grain:  one track; one pair of tracks that were compared.
Rerun:  only new and changed tracks are compared, with the tracks near them; then the groups are formed from the stored
        pairs. If no track has changed, the job does nothing. Rows of deleted tracks are deleted. With --force, all
        tracks are compared again. A run that is killed at any point and started again writes the same rows as an
        uninterrupted run.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from reprise.jobs._detection.models import EmbeddingModel, find_embedding
from reprise.jobs._detection.version_pairs import Library, PairStore, compare_new, read_library
from reprise.jobs._engine.command_line import UsageError, add_force
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.detect.version_groups import Recording, choose_representative, group_versions, tie_probability
from reprise.lib.detect.version_titles import parse_title
from reprise.lib.tables import LIBRARY_TRACKS, LIBRARY_VERSIONS
from reprise.udfs.arrow import arrow_schema

_MIN_PROBABILITY = 0.02
"""Pairs below this count as 0 in the mean of a group, so that they need not be kept in memory."""
_QUALITY = ["track_id", "title", "release", "duration", "codec", "sample_rate", "length_status"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    add_force(parser)


def group(run: Run) -> None:
    """Compare new and changed tracks, then form the groups anew from all stored pairs."""
    if not (run.warehouse.exists(LIBRARY_TRACKS) and run.warehouse.sizes(LIBRARY_TRACKS)[0]):
        raise UsageError("there are no rows in library_tracks: run ingest-library first")
    model = find_embedding(run, None)
    library = read_library(run.warehouse, model)
    if not library.with_chroma:
        raise UsageError(f"no library track has chroma: run extract-chroma, then {_embed_with(model)}")
    if library.embeddable and not library.with_vector:
        raise UsageError(f"no library track has an embedding of the model {model.model_id}: run {_embed_with(model)}")
    stored = {row["track_id"]: row for row in run.warehouse.lookup_all(LIBRARY_VERSIONS).to_pylist()}
    pending = [
        track
        for track, fingerprint in library.fingerprints.items()
        if run.args.force or track not in stored or stored[track]["sha256"] != fingerprint
    ]
    tracks = len(library.fingerprints)
    run.inputs = tracks
    run.count(tracks=tracks, skipped=tracks - len(pending), compared=len(pending), pairs_compared=0)
    run.count(
        without_sound=tracks - len(library.with_sound),
        without_vector=len(library.embeddable - library.with_vector),
    )
    if pending or stored.keys() - library.fingerprints.keys():
        with run.progress("tracks") as progress:
            task = progress.add_task("", total=len(pending))
            for compared in compare_new(run, library, model, pending):
                progress.advance(task, compared)
        _write_groups(run, library, model, stored)
    sizes = [row["version_count"] for row in run.warehouse.lookup_all(LIBRARY_VERSIONS, ["version_count"]).to_pylist()]
    run.count(works=round(sum(1 / size for size in sizes)), tracks_with_versions=sum(size > 1 for size in sizes))


def _embed_with(model: EmbeddingModel) -> str:
    return f"train-cover-index --model {model.model_id}, which embeds new tracks"


def _write_groups(run: Run, library: Library, model: EmbeddingModel, stored: Mapping[str, Mapping[str, Any]]) -> None:
    """Form the groups, and write the rows that differ from those stored; with ``--force``, all rows."""
    rows = _make_rows(run, library, model)
    changed = [
        row
        for row in rows
        if run.args.force or row["track_id"] not in stored or row != {**stored[row["track_id"]], "run_id": run.run_id}
    ]
    gone = sorted(stored.keys() - library.fingerprints.keys())
    run.warehouse.merge(
        LIBRARY_VERSIONS,
        pa.Table.from_pylist(changed, arrow_schema(LIBRARY_VERSIONS)),
        delete=pa.table({"track_id": pa.array(gone, pa.string())}),
    )


def _make_rows(run: Run, library: Library, model: EmbeddingModel) -> Sequence[dict[str, Any]]:
    pairs = PairStore(run, library).read_probabilities(_MIN_PROBABILITY)
    facts = run.warehouse.lookup_all(LIBRARY_TRACKS, _QUALITY).to_pylist()
    recordings = {row["track_id"]: _describe(row) for row in facts}
    groups = {track: [track] for track in library.fingerprints}
    for members in group_versions(pairs):
        groups |= dict.fromkeys(members, members)
    rows = []
    for track, members in groups.items():
        metadata = library.metadata[track]
        has_tags = bool(metadata.work_title or metadata.isrc or metadata.recording_mbid)
        evidence = [name for name, there in (("sound", track in library.with_sound), ("tags", has_tags)) if there]
        rows.append(
            {
                "track_id": track,
                "group_id": members[0],
                "representative_id": choose_representative(recordings[member] for member in members).track_id,
                "kind": recordings[track].kind,
                "version_count": len(members),
                "probability": tie_probability(track, members, pairs) if len(members) > 1 else None,
                "evidence": " and ".join(evidence) or "nothing",
                "model_id": model.model_id,
                "sha256": library.fingerprints[track],
                "run_id": run.run_id,
            }
        )
    return rows


def _describe(row: Mapping[str, Any]) -> Recording:
    return Recording(
        track_id=row["track_id"],
        kind=parse_title(row["title"], row["release"]).kind,
        is_complete=row["length_status"] != "shorter",
        codec=row["codec"],
        sample_rate=row["sample_rate"],
        duration_s=row["duration"] or 0.0,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("group_versions", __doc__ or "", add_arguments, group), argv)


if __name__ == "__main__":
    sys.exit(main())
