"""Known tracks, a batch at a time, into those that entries of playlists and histories may mean."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from reprise.lib.playlists import match_keys

KNOWN_DDL = "track_id string, recording_mbid string, isrc string, artist_name string, title string"


def find_known(batches: Iterable[pa.RecordBatch], *, wanted: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """Leave those rows of ``batches``, columns of ``KNOWN_DDL``, of which one of the `match_keys` is in ``wanted``."""
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in batch.schema.names[1:])
        keep = [not wanted.isdisjoint(match_keys(*said)) for said in zip(*columns, strict=True)]
        yield batch.filter(pa.array(keep, pa.bool_()))
