"""Tracks of a composed sample, a batch of their numbers at a time, into files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from reprise.lib import msd
from reprise.lib.music import sample

RESULT_DDL = "written long"
_RESULT = pa.schema([("written", pa.int64())])


def write_tracks(batches: Iterable[pa.RecordBatch], *, plan: sample.Plan, root: Path) -> Iterator[pa.RecordBatch]:
    """Compose and write the tracks whose numbers are in column ``id``; those that have a file are left alone.

    Files appear whole or not at all, so that one that is there is right. Gives one row a batch: how many were written.
    """
    for batch in batches:
        written = 0
        for index in batch.column("id").to_pylist():
            if not (root / msd.track_path(sample.track_id(plan, index))).exists():
                sample.write_track(plan, index, root)
                written += 1
        yield pa.RecordBatch.from_pylist([{"written": written}], schema=_RESULT)
