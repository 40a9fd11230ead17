"""Tracks, a batch at a time, into features and images for genre models."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from reprise.lib.errors import InputError
from reprise.lib.features import gtzan, msd
from reprise.lib.features.images import AUDIO_KINDS, make_audio_images, make_msd_image
from reprise.lib.files import local_path, printable_name
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
from reprise.udfs.numba_cache import compiling
from reprise.udfs.sandbox import open_audio

FEATURES, MSD_IMAGE = "features", "msd"
"""What can be wanted of a track beside ``AUDIO_KINDS``: its features, and the image of an analysis."""

_VALUES_A_BATCH = 1 << 20
_OF_THIS_COPY = ("unreadable", "not_a_file", "changed")
_Rows = dict[str, list[dict[str, Any]]]


def extract_audio_features(
    batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Measure tracks of listeners' libraries.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``wanted`` (of ``FEATURES`` and ``AUDIO_KINDS``) and ``uris`` (its copies).
    stage, run_id
        For the quarantine and the provenance columns.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: features and images of each good track, one quarantine row of each bad one, and of the
        quarantine empty batches while a track takes long.
    """
    rows: _Rows = {}
    sign = QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {"uri": []})
    for batch in batches:
        for track in batch.to_pylist():
            made = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
            try:
                features, images = yield from run_with_heartbeat(sign, _measure_copies, track)
            except InputError as error:
                _add_fault(rows, LIBRARY_TRACKS.name, made, stage, error)
            else:
                rows.setdefault(AUDIO_GENRE_FEATURES.name, []).extend({**made, **row} for row in features)
                _add_images(rows, made, images)
            if _count_values(rows) > _VALUES_A_BATCH:
                yield from _flush(rows)
    yield from _flush(rows)


def extract_analysis_features(
    batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Measure analyses of tracks.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256``, ``source`` (name of the table), ``wanted`` (of ``FEATURES`` and
        ``MSD_IMAGE``), and ``SCALARS`` and ``ARRAYS`` of `reprise.lib.features.msd`.
    stage, run_id
        For the quarantine and the provenance columns.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows, as `extract_audio_features`.
    """
    rows: _Rows = {}
    for batch in batches:
        vectors = {name: to_vectors(batch.column(name)) for name in msd.ARRAYS}
        for n, track in enumerate(batch.select(["track_id", "sha256", "source", "wanted", *msd.SCALARS]).to_pylist()):
            made = {"track_id": track["track_id"], "sha256": track["sha256"], "run_id": run_id}
            analysis = {name: values[n] for name, values in vectors.items()}
            try:
                features = msd.measure(track, analysis)
            except InputError as error:
                advice = f"{error.message}: mend or remove the file it was read from"
                _add_fault(rows, track["source"], made, stage, InputError(error.kind, advice))
                continue
            if FEATURES in track["wanted"]:
                rows.setdefault(MSD_GENRE_FEATURES.name, []).append({**made, **features})
            if MSD_IMAGE in track["wanted"]:
                image = make_msd_image(
                    analysis["segments_pitches"],
                    analysis["segments_timbre"],
                    analysis["segments_start"],
                    features["duration"],
                )
                _add_images(rows, made, {MSD_IMAGE: image})
            if _count_values(rows) > _VALUES_A_BATCH:
                yield from _flush(rows)
    yield from _flush(rows)


def _measure_copies(track: Mapping[str, Any]) -> tuple[list[dict[str, float | None]], dict[str, Any]]:
    """Measure the first of a track's copies that is still the same file."""
    fault = InputError("no_copy", f"no listener has {track['track_id']} any more: run ingest-library with its file")
    for uri in track["uris"]:
        try:
            return _measure_copy(uri, track["sha256"], track["wanted"])
        except InputError as error:
            fault = error
            if error.kind not in _OF_THIS_COPY:
                break
    raise fault


def _measure_copy(uri: str, sha256: str, wanted: Sequence[str]) -> tuple[list[dict[str, float | None]], dict[str, Any]]:
    path = local_path(uri)
    if urlsplit(uri).scheme != "file":
        raise InputError("unreadable", f"{printable_name(path)} is not on a local disk: mount it and ingest it again")
    _, signal = open_audio(path, sha256)
    with compiling("genre_features"):
        features = gtzan.measure(signal) if FEATURES in wanted else []
        return features, make_audio_images(signal, [kind for kind in AUDIO_KINDS if kind in wanted])


def _add_fault(rows: _Rows, source: str, made: Mapping[str, Any], stage: str, error: InputError) -> None:
    rows.setdefault(QUARANTINE.name, []).append(
        {
            "uri": row_uri(source, made["track_id"]),
            "stage": stage,
            "error_class": error.kind,
            "message": error.message,
            "sha256": made["sha256"],
            "attempts": 1,
            "run_id": made["run_id"],
        }
    )


def _add_images(rows: _Rows, made: Mapping[str, Any], images: Mapping[str, "np.ndarray[Any, Any]"]) -> None:
    for kind, image in images.items():
        depth, height, width = image.shape
        row = {**made, "kind": kind, "depth": depth, "height": height, "width": width, "image": image}
        rows.setdefault(GENRE_IMAGES.name, []).append(row)


def _count_values(rows: _Rows) -> int:
    """Roughly how many numbers wait to be written."""
    return sum(len(row) + row["image"].size if "image" in row else len(row) for some in rows.values() for row in some)


def _flush(rows: _Rows) -> Iterator[tuple[str, pa.RecordBatch]]:
    tables: tuple[Table, ...] = (GENRE_IMAGES, MSD_GENRE_FEATURES, AUDIO_GENRE_FEATURES, QUARANTINE)
    for table in tables:
        if some := rows.pop(table.name, None):
            yield table.name, to_batch(arrow_schema(table), {name: [row[name] for row in some] for name in some[0]})
