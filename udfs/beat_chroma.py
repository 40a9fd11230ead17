"""Analyses of tracks, a batch at a time, into beat chroma and chroma patches."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.chroma import MIN_SEGMENTS, beat_chroma
from reprise.lib.detect.patches import HALF, PATCH_BEATS, count_patches, median_patch, patch_magnitudes
from reprise.lib.errors import InputError
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, QUARANTINE, Table, row_uri
from reprise.udfs.arrow import arrow_schema, to_batch, to_vectors

INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
"""Columns of an analysis that chroma is made of, in the order ``beat_chroma`` takes them."""

TRACKS_A_BATCH = 128
"""Tracks that are written as one row group: about 3 MB."""

_NO_PATCH: Float32Array = np.empty(0, dtype=np.float32)

WINDOWS_DDL = "track_id string, first_beat int, patch array<float>"
_WINDOWS = pa.schema([("track_id", pa.string()), ("first_beat", pa.int32()), ("patch", pa.list_(pa.float32()))])


def extract_chroma(
    batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Make beat chroma and median patch of each track.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``source`` (name of the table) and ``INPUTS``.
    stage, run_id
        For the quarantine and the provenance columns.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: one of chroma and one of patches for each good track, whatever its status, and one of the
        quarantine for each damaged one.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, TRACKS_A_BATCH):
            yield from _extract(batch.slice(start, TRACKS_A_BATCH), stage, run_id)


def _extract(batch: pa.RecordBatch, stage: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    rows: dict[str, list[dict[str, Any]]] = {t.name: [] for t in (CHROMA_PATCHES, BEAT_CHROMA, QUARANTINE)}
    named = batch.select(["track_id", "sha256", "source"]).to_pylist()
    for track, *inputs in zip(named, *(to_vectors(batch.column(name)) for name in INPUTS), strict=True):
        made = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
        try:
            chroma = beat_chroma(*inputs)
        except InputError as error:
            rows[QUARANTINE.name].append(
                {
                    "uri": row_uri(track["source"], track["track_id"]),
                    "stage": stage,
                    "error_class": error.kind,
                    "message": f"{error.message}: mend or remove the file it was read from",
                    "sha256": track["sha256"],
                    "attempts": 1,
                    "run_id": run_id,
                }
            )
            continue
        n_patches = count_patches(chroma.shape[1])
        median = median_patch(chroma) if n_patches else _NO_PATCH
        made["status"] = _status(len(inputs[2]), chroma.shape[1], median)
        median = median if made["status"] == "ok" else _NO_PATCH
        rows[CHROMA_PATCHES.name].append({**made, "n_patches": n_patches, "median_patch": median})
        rows[BEAT_CHROMA.name].append({**made, "n_beats": chroma.shape[1], "beat_chroma": chroma})
    for table in (CHROMA_PATCHES, BEAT_CHROMA, QUARANTINE):
        if rows[table.name]:
            yield table.name, _to_batch(table, rows[table.name])


def _status(n_segments: int, n_beats: int, median: Float32Array) -> str:
    if n_segments < MIN_SEGMENTS:
        return "too_few_segments"
    if n_beats == 0:
        return "too_few_beats"
    if n_beats < PATCH_BEATS:
        return "too_short_for_patches"
    return "ok" if median.any() else "silent"  # most patches of zeros: nothing to compare


def _to_batch(table: Table, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return to_batch(arrow_schema(table), {name: [row[name] for row in rows] for name in rows[0]})


def to_features(batch: pa.RecordBatch, column: str) -> list[Float32Array]:
    """Chroma of shape (12, B) from ``beat_chroma``, or half patches of (451,) from ``median_patch``: one a row."""
    vectors = to_vectors(batch.column(column))
    return vectors if column == "median_patch" else [flat.reshape(12, -1) for flat in vectors]


def cut_windows(batches: Iterable[pa.RecordBatch], *, hop_beats: int) -> Iterator[pa.RecordBatch]:
    """Half patches of the tracks in ``batches`` (columns ``track_id``, ``beat_chroma``), every ``hop_beats`` beats."""
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
                        pa.array(np.arange(len(patches) + 1) * HALF, pa.int32()), pa.array(patches.reshape(-1))
                    ),
                ],
                schema=_WINDOWS,
            )
