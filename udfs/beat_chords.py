"""Estimate the chords of the beats from batches of track analyses."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from reprise.lib.analysis.chords import ESTIMATOR, estimate_chords
from reprise.lib.detect.chroma import MIN_SEGMENTS, beat_chroma
from reprise.lib.errors import InputError
from reprise.lib.tables import BEAT_CHORDS, QUARANTINE, row_uri
from reprise.udfs import beat_chroma as chroma_udf
from reprise.udfs.arrow import arrow_schema, to_batch, to_vectors
from reprise.udfs.ingest_rows import quarantine_row

INPUTS = (*chroma_udf.INPUTS, "bars_start")
"""Analysis columns needed to estimate chords."""

TRACKS_PER_BATCH = 512
"""Number of tracks in one row group. A row group has about 1 MB."""


def estimate_beat_chords(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Estimate the chord of each beat of each track.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``source`` (name of the analysis table) and the columns in ``INPUTS``.
    job, run_id
        Values of the columns ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows. Each readable track gets one row in ``beat_chords``, even if its status is not ``ok``. Each
        damaged track gets one quarantine row.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, TRACKS_PER_BATCH):
            yield from _estimate(batch.slice(start, TRACKS_PER_BATCH), job, run_id)


def _estimate(batch: pa.RecordBatch, job: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    rows: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    tracks = batch.select(["track_id", "sha256", "source"]).to_pylist()
    for track, *inputs, bars in zip(tracks, *(to_vectors(batch.column(name)) for name in INPUTS), strict=True):
        try:
            chroma = beat_chroma(*inputs)
            beats = inputs[-1][: chroma.shape[1]]
            chords = estimate_chords(chroma, beats, bars)
        except InputError as error:
            advice = InputError(error.kind, f"{error.message}: repair or remove the file it was read from")
            uri = row_uri(track["source"], track["track_id"])
            rejected.append(quarantine_row(uri, advice, job=job, run_id=run_id, sha256=track["sha256"]))
            continue
        n_segments = len(inputs[2])
        reason = "too_few_segments" if n_segments < MIN_SEGMENTS else "too_few_beats"
        rows.append({
            "track_id": track["track_id"],
            "status": "ok" if len(beats) else reason,
            "n_beats": len(beats),
            "estimator": ESTIMATOR,
            "sha256": track["sha256"],
            "run_id": run_id,
            "chords": list(chords.names),
            "probabilities": chords.probabilities,
        })  # fmt: skip
    for table, some in ((BEAT_CHORDS, rows), (QUARANTINE, rejected)):
        if some:
            columns = {name: [row[name] for row in some] for name in some[0]}
            yield table.name, to_batch(arrow_schema(table), columns)
