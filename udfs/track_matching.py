"""Select the tracks that can match entries of playlists and listening histories."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from reprise.lib.playlists import match_keys

TRACKS_DDL = "track_id string, recording_mbid string, isrc string, artist_name string, title string"


def filter_by_match_key(batches: Iterable[pa.RecordBatch], *, wanted_keys: frozenset[str]) -> Iterator[pa.RecordBatch]:
    """Keep the tracks (rows of ``TRACKS_DDL``) that have at least one of their `match_keys` in ``wanted_keys``."""
    for batch in batches:
        columns = (batch.column(name).to_pylist() for name in batch.schema.names[1:])
        keep = [not wanted_keys.isdisjoint(match_keys(*values)) for values in zip(*columns, strict=True)]
        yield batch.filter(pa.array(keep, pa.bool_()))
