"""Compute features and images for genre models from batches of audio files or track analyses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError
from reprise.lib.features import gtzan, msd
from reprise.lib.features.images import AUDIO_KINDS, make_audio_images, make_msd_image
from reprise.lib.tables import (
    AUDIO_GENRE_FEATURES,
    GENRE_IMAGES,
    LIBRARY_TRACKS,
    MSD_GENRE_FEATURES,
    QUARANTINE,
    Table,
    row_uri,
)
from reprise.udfs.arrow import arrow_schema, to_batch, to_vectors
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.ingest_rows import quarantine_row
from reprise.udfs.library_copies import read_copies
from reprise.udfs.numba_cache import compile_lock

FEATURES, MSD_IMAGE = "features", "msd"
"""Values in the column ``wanted``. ``FEATURES`` requests the features, and ``MSD_IMAGE`` the image of an analysis. A
value from ``AUDIO_KINDS`` requests an image of the audio."""

_VALUES_PER_BATCH = 1 << 20
_Rows = dict[str, list[dict[str, Any]]]


def extract_audio_features(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Compute features and images from the audio files of library tracks.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``wanted`` (a list of ``FEATURES`` and ``AUDIO_KINDS``) and ``uris`` (the
        URIs of the track's copies).
    job, run_id
        Values of the columns ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: the wanted features and images of each readable track, and one quarantine row for each
        unreadable track. Empty quarantine batches serve as heartbeats during a long track.
    """
    rows: _Rows = {}
    empty_batch = QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {"uri": []})
    for batch in batches:
        for track in batch.to_pylist():
            common = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
            try:
                measure = partial(_measure, wanted=track["wanted"])
                features, images = yield from run_with_heartbeat(empty_batch, read_copies, track, measure)
            except InputError as error:
                _add_fault(rows, LIBRARY_TRACKS.name, common, job, error)
            else:
                rows.setdefault(AUDIO_GENRE_FEATURES.name, []).extend({**common, **row} for row in features)
                _add_images(rows, common, images)
            if _count_values(rows) > _VALUES_PER_BATCH:
                yield from _flush(rows)
    yield from _flush(rows)


def extract_analysis_features(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Compute features and images from analyses of tracks.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``source`` (name of the analysis table), ``wanted`` (a list that contains
        ``FEATURES``, ``MSD_IMAGE`` or both), and the columns in ``SCALARS`` and ``ARRAYS`` of
        `reprise.lib.features.msd`.
    job, run_id
        Values of the columns ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: the wanted features and images of each readable track, and one quarantine row for each
        damaged track.
    """
    rows: _Rows = {}
    for batch in batches:
        vectors = {name: to_vectors(batch.column(name)) for name in msd.ARRAYS}
        for n, track in enumerate(batch.select(["track_id", "sha256", "source", "wanted", *msd.SCALARS]).to_pylist()):
            common = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
            analysis = {name: values[n] for name, values in vectors.items()}
            try:
                features = msd.measure(track, analysis)
            except InputError as error:
                advice = f"{error.message}: repair or remove the file it was read from"
                _add_fault(rows, track["source"], common, job, InputError(error.kind, advice))
                continue
            if FEATURES in track["wanted"]:
                rows.setdefault(MSD_GENRE_FEATURES.name, []).append({**common, **features})
            if MSD_IMAGE in track["wanted"]:
                image = make_msd_image(
                    analysis["segments_pitches"],
                    analysis["segments_timbre"],
                    analysis["segments_start"],
                    features["duration"],
                )
                _add_images(rows, common, {MSD_IMAGE: image})
            if _count_values(rows) > _VALUES_PER_BATCH:
                yield from _flush(rows)
    yield from _flush(rows)


def _measure(signal: Float32Array, wanted: Sequence[str]) -> tuple[list[dict[str, float | None]], dict[str, Any]]:
    """Return the wanted features and images of a track."""
    with compile_lock("genre_features"):
        features = gtzan.measure(signal) if FEATURES in wanted else []
        return features, make_audio_images(signal, [kind for kind in AUDIO_KINDS if kind in wanted])


def _add_fault(rows: _Rows, source: str, common: Mapping[str, Any], job: str, error: InputError) -> None:
    row = quarantine_row(
        row_uri(source, common["track_id"]), error, job=job, run_id=common["run_id"], sha256=common["sha256"]
    )
    rows.setdefault(QUARANTINE.name, []).append(row)


def _add_images(rows: _Rows, common: Mapping[str, Any], images: Mapping[str, "np.ndarray[Any, Any]"]) -> None:
    for kind, image in images.items():
        depth, height, width = image.shape
        row = {**common, "kind": kind, "depth": depth, "height": height, "width": width, "image": image}
        rows.setdefault(GENRE_IMAGES.name, []).append(row)


def _count_values(rows: _Rows) -> int:
    """Return the approximate number of values in ``rows``."""
    return sum(len(row) + row["image"].size if "image" in row else len(row) for part in rows.values() for row in part)


def _flush(rows: _Rows) -> Iterator[tuple[str, pa.RecordBatch]]:
    tables: tuple[Table, ...] = (GENRE_IMAGES, MSD_GENRE_FEATURES, AUDIO_GENRE_FEATURES, QUARANTINE)
    for table in tables:
        if part := rows.pop(table.name, None):
            yield table.name, to_batch(arrow_schema(table), {name: [row[name] for row in part] for name in part[0]})
