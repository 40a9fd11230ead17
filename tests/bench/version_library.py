"""A library of a `WorkCollection` in a warehouse: simulated analyses instead of audio, and tags."""

import hashlib
from collections.abc import Iterable

import pyarrow as pa

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.music.sample.msd_columns import compute_msd_columns
from reprise.lib.music.sample.work_versions import WorkCollection, WorkVersion
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS
from reprise.udfs.arrow import arrow_schema

_ROWS = 200


def make_track_id(collection: WorkCollection, recording: WorkVersion) -> str:
    """Id of a recording, in no order that tells its work."""
    return "LB" + hashlib.sha256(f"{collection.seed} {recording.number}".encode()).hexdigest()[:16]


def write_library(
    warehouse: Warehouse, collection: WorkCollection, recordings: Iterable[WorkVersion], *, tagged: bool = True
) -> None:
    """Write the tracks and analyses of recordings, with their tags or without any."""
    rows: list[dict[str, object]] = []
    for recording in recordings:
        song = compute_msd_columns(collection.compose(recording))
        arrays = {name: value.reshape(-1) for name, value in song.items() if hasattr(value, "reshape")}
        track_id = make_track_id(collection, recording)
        sha256 = hashlib.sha256(track_id.encode()).hexdigest()
        tags = recording.tags._asdict() if tagged else {"title": f"track {recording.number % 20:02d}"}
        rows.append(
            {
                **song, "artist_mbid": None, "release": None, **arrays, **dict.fromkeys(recording.tags._fields), **tags,
                "track_id": track_id, "sha256": sha256, "run_id": "collection", "codec": "flac", "sample_rate": 44100,
                "channel_count": 2, "length_status": "ok",
            }
        )  # fmt: skip
        if len(rows) == _ROWS:
            _write(warehouse, rows)
            rows = []
    if rows:
        _write(warehouse, rows)


def _write(warehouse: Warehouse, rows: list[dict[str, object]]) -> None:
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        schema = arrow_schema(table)
        warehouse.merge(table, pa.Table.from_pylist([{n: row.get(n) for n in schema.names} for row in rows], schema))
