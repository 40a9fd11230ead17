"""Predict the tags of library tracks from batches of audio files."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.errors import InputError
from reprise.lib.genres.feature_sets import WHOLE_TRACK
from reprise.lib.nets.musicnn import WINDOW_S, Musicnn, iterate_windows, load
from reprise.lib.tables import LIBRARY_TRACKS, QUARANTINE, TRACK_TAGS, row_uri
from reprise.lib.tables.tags import TAGS
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.ingest_rows import quarantine_row
from reprise.udfs.library_copies import read_copies
from reprise.udfs.model_cache import load_artifact


def tag_tracks(
    batches: Iterable[pa.RecordBatch],
    *,
    artifact: str,
    artifact_sha256: str,
    every: int,
    model_id: str,
    job: str,
    run_id: str,
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Predict the tags of library tracks from their audio files.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256`` and ``uris`` (the URIs of the track's copies).
    artifact, artifact_sha256
        URI and checksum of the network's weights, see `reprise.lib.nets.musicnn.load`.
    every
        Only every so many windows of a track get tags.
    model_id, job, run_id
        Values of the columns ``model_id``, ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: the tags of each readable track and of its windows, or one quarantine row for each
        unreadable track. Empty quarantine batches serve as heartbeats during a long track.
    """
    network = load_artifact(artifact, artifact_sha256, load)
    empty_batch = QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {"uri": []})
    for batch in batches:
        for track in batch.to_pylist():
            try:
                length_s, tags = yield from run_with_heartbeat(empty_batch, _tag_track, network, track, every)
            except InputError as error:
                uri = row_uri(LIBRARY_TRACKS.name, track["track_id"])
                row = quarantine_row(uri, error, job=job, run_id=run_id, sha256=track["sha256"])
                yield QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {name: [row[name]] for name in row})
            else:
                yield TRACK_TAGS.name, _to_rows(track, length_s, tags, every, model_id, run_id)


def _tag_track(network: Musicnn, track: Mapping[str, Any], every: int) -> tuple[float, Float32Array]:
    """Return the length of a track in s, and the probabilities in its windows, float32 (windows, 50)."""

    def tag(signal: Float32Array) -> tuple[float, Float32Array]:
        tags = [network.predict(windows) for windows in iterate_windows(signal, every=every)]
        if not tags:
            raise InputError("no_samples", f"{track['track_id']} has no samples: replace its file")
        return len(signal) / SAMPLE_RATE, np.concatenate(tags)

    return read_copies(track, tag)


def _to_rows(
    track: Mapping[str, Any], length_s: float, tags: Float32Array, every: int, model_id: str, run_id: str
) -> pa.RecordBatch:
    """Return rows of ``track_tags``: the whole track, then its windows."""
    n = len(tags)
    values = np.concatenate([tags.mean(axis=0, dtype=np.float64, keepdims=True), tags]).astype(np.float32)
    windows = every * np.arange(n)
    starts = WINDOW_S * windows
    columns = {
        "track_id": pa.repeat(track["track_id"], n + 1),
        "model_id": pa.repeat(model_id, n + 1),
        "window": np.append(WHOLE_TRACK, windows),
        "start_s": np.append(0, starts),
        "length_s": np.append(length_s, np.minimum(WINDOW_S, length_s - starts)),
        "sha256": pa.repeat(track["sha256"], n + 1),
        "run_id": pa.repeat(run_id, n + 1),
        **{column: values[:, i] for i, column in enumerate(TAGS)},
    }
    return to_batch(arrow_schema(TRACK_TAGS), columns)
