"""Write the tracks of a synthetic dataset as HDF5 files. The batches contain the numbers of the tracks."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from reprise.lib import msd
from reprise.lib.music import sample

RESULT_DDL = "written long"
_RESULT = pa.schema([("written", pa.int64())])


def write_tracks(batches: Iterable[pa.RecordBatch], *, plan: sample.SamplePlan, root: Path) -> Iterator[pa.RecordBatch]:
    """Compose and write the tracks whose numbers are in the column ``id``; keep existing files.

    Files are written atomically, so an existing file is complete.

    Yields
    ------
    pyarrow.RecordBatch
        One row for each input batch, with the number of files written.
    """
    for batch in batches:
        written = 0
        for index in batch.column("id").to_pylist():
            if not (root / msd.track_path(sample.track_id(plan, index))).exists():
                sample.write_track(plan, index, root)
                written += 1
        yield pa.RecordBatch.from_pylist([{"written": written}], schema=_RESULT)
