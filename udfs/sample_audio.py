"""Recordings of a composed sample, a batch of their numbers at a time, into audio files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.sample.recording_files import write_recording
from reprise.lib.music.sample.recordings import Recording
from reprise.udfs.numba_cache import compiling

RESULT_DDL = "written long"
_RESULT = pa.schema([("written", pa.int64())])


def write_recordings(
    batches: Iterable[pa.RecordBatch],
    *,
    plan: sample.Plan,
    recordings: tuple[Recording, ...],
    root: Path,
    soundfont: Soundfont | None,
) -> Iterator[pa.RecordBatch]:
    """Play and write the recordings whose positions are in column ``id``; files that are there are left alone.

    Gives one row a recording: how many audio files were written.
    """
    for batch in batches:
        for number in batch.column("id").to_pylist():
            with compiling("synthesis"):
                written = write_recording(plan, recordings[number], root, soundfont)
            yield pa.RecordBatch.from_pylist([{"written": written}], schema=_RESULT)
