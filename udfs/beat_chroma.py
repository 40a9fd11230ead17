"""Compute beat chroma and chroma patches from batches of track analyses."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.chroma import MIN_SEGMENTS, beat_chroma
from reprise.lib.detect.patches import HALF_PATCH_SIZE, PATCH_BEATS, count_patches, median_patch, patch_magnitudes
from reprise.lib.errors import InputError
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, QUARANTINE, Table, row_uri
from reprise.udfs.arrow import arrow_schema, to_batch, to_vectors
from reprise.udfs.ingest_rows import quarantine_row

INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
"""Analysis columns needed to compute chroma, in the order of the parameters of ``beat_chroma``."""

TRACKS_PER_BATCH = 128
"""Number of tracks in one row group. A row group has about 3 MB."""

_NO_PATCH: Float32Array = np.empty(0, dtype=np.float32)

WINDOWS_DDL = "track_id string, first_beat int, patch array<float>"
_WINDOWS = pa.schema([("track_id", pa.string()), ("first_beat", pa.int32()), ("patch", pa.list_(pa.float32()))])


def extract_chroma(batches: Iterable[pa.RecordBatch], *, job: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Compute the beat chroma and the median patch of each track.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``source`` (name of the analysis table) and the columns in ``INPUTS``.
    job, run_id
        Values of the columns ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows. Each readable track gets one row in ``beat_chroma`` and one row in
        ``chroma_patches``, even if the track's status is not ``ok``. Each damaged track gets one quarantine row.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, TRACKS_PER_BATCH):
            yield from _extract(batch.slice(start, TRACKS_PER_BATCH), job, run_id)


def _extract(batch: pa.RecordBatch, job: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    rows: dict[str, list[dict[str, Any]]] = {t.name: [] for t in (CHROMA_PATCHES, BEAT_CHROMA, QUARANTINE)}
    tracks = batch.select(["track_id", "sha256", "source"]).to_pylist()
    for track, *inputs in zip(tracks, *(to_vectors(batch.column(name)) for name in INPUTS), strict=True):
        common = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
        try:
            chroma = beat_chroma(*inputs)
        except InputError as error:
            advice = InputError(error.kind, f"{error.message}: repair or remove the file it was read from")
            uri = row_uri(track["source"], track["track_id"])
            rows[QUARANTINE.name].append(quarantine_row(uri, advice, job=job, run_id=run_id, sha256=track["sha256"]))
            continue
        n_patches = count_patches(chroma.shape[1])
        median = median_patch(chroma) if n_patches else _NO_PATCH
        common["status"] = _find_status(len(inputs[2]), chroma.shape[1], median)
        median = median if common["status"] == "ok" else _NO_PATCH
        rows[CHROMA_PATCHES.name].append({**common, "n_patches": n_patches, "median_patch": median})
        rows[BEAT_CHROMA.name].append({**common, "n_beats": chroma.shape[1], "beat_chroma": chroma})
    for table in (CHROMA_PATCHES, BEAT_CHROMA, QUARANTINE):
        if rows[table.name]:
            yield table.name, _to_batch(table, rows[table.name])


def _find_status(n_segments: int, n_beats: int, median: Float32Array) -> str:
    if n_segments < MIN_SEGMENTS:
        return "too_few_segments"
    if n_beats == 0:
        return "too_few_beats"
    if n_beats < PATCH_BEATS:
        return "too_short_for_patches"
    return "ok" if median.any() else "silent"  # all values of the median are zero if most patches are silent


def _to_batch(table: Table, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return to_batch(arrow_schema(table), {name: [row[name] for row in rows] for name in rows[0]})


def to_features(batch: pa.RecordBatch, column: str) -> list[Float32Array]:
    """Return one array per row: shape (12, B) for ``beat_chroma``, shape (451,) for ``median_patch``."""
    vectors = to_vectors(batch.column(column))
    return vectors if column == "median_patch" else [flat.reshape(12, -1) for flat in vectors]


def cut_windows(batches: Iterable[pa.RecordBatch], *, hop_beats: int) -> Iterator[pa.RecordBatch]:
    """Compute the half patch that starts at each ``hop_beats``-th beat of a track; yield batches of ``WINDOWS_DDL``.

    A track with fewer than 75 beats has no patches. The input batches have the columns ``track_id`` and
    ``beat_chroma``.
    """
    for batch in batches:
        for track_id, chroma in zip(
            batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True
        ):
            patches = patch_magnitudes(chroma)[::hop_beats]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array([track_id] * len(patches), pa.string()),
                    pa.array(np.arange(len(patches)) * hop_beats, pa.int32()),
                    pa.ListArray.from_arrays(
                        pa.array(np.arange(len(patches) + 1) * HALF_PATCH_SIZE, pa.int32()),
                        pa.array(patches.reshape(-1)),
                    ),
                ],
                schema=_WINDOWS,
            )
