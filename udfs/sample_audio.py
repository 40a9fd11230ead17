"""Write the recordings of a synthetic dataset as audio files. The batches contain the numbers of the recordings."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.sample.recording_files import write_recording
from reprise.lib.music.sample.recordings import Recording
from reprise.udfs.numba_cache import compile_lock

RESULT_DDL = "written long"
_RESULT = pa.schema([("written", pa.int64())])


def write_recordings(
    batches: Iterable[pa.RecordBatch],
    *,
    plan: sample.SamplePlan,
    recordings: tuple[Recording, ...],
    root: Path,
    soundfont: Soundfont | None,
) -> Iterator[pa.RecordBatch]:
    """Render and write the recordings whose indices in ``recordings`` are in the column ``id``; keep existing files.

    Yields
    ------
    pyarrow.RecordBatch
        One row for each recording, with the number of audio files written.
    """
    for batch in batches:
        for number in batch.column("id").to_pylist():
            with compile_lock("synthesis"):
                written = write_recording(plan, recordings[number], root, soundfont)
            yield pa.RecordBatch.from_pylist([{"written": written}], schema=_RESULT)
