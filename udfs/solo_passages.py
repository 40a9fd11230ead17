"""Cut the clean passages of stems, from batches of stems to rows that contain FLAC files."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from reprise.lib.covers.stem_datasets import DatasetPassage, DatasetSource, cut_passages
from reprise.lib.errors import InputError
from reprise.lib.nets.pitch_tracker import SAMPLE_RATE, PitchTracker
from reprise.udfs.arrow import to_batch
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.sandbox import local_folder, sandbox
from reprise.udfs.separated_stems import copy_artifact

INPUT_SCHEMA = pa.schema([("number", pa.int64()), ("name", pa.string()), ("artifact", pa.string())])
RESULT_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("part", pa.int32()),
        ("description", pa.string()),
        ("flac", pa.binary()),
        ("fault", pa.string()),
    ]
)
RESULT_DDL = "number bigint, part int, description string, flac binary, fault string"


def cut_stems(batches: Iterable[pa.RecordBatch], *, root: str) -> Iterator[pa.RecordBatch]:
    """Cut the clean passages of stems.

    Parameters
    ----------
    batches
        Rows of `INPUT_SCHEMA`: number and name of a stem, and its path below the warehouse root.
    root
        Warehouse root.

    Yields
    ------
    pyarrow.RecordBatch
        One row of `RESULT_SCHEMA`. For each stem, part 0 describes it as a source of the dataset, and the others are
        its passages; or there is one row with a fault. Empty batches serve as heartbeats.
    """
    empty_batch = to_batch(RESULT_SCHEMA, {"number": []})
    for batch in batches:
        for row in batch.to_pylist():
            with tempfile.TemporaryDirectory(prefix="passages-", dir=local_folder()) as temporary:
                folder = Path(temporary)
                try:
                    source, passages = yield from run_with_heartbeat(empty_batch, _cut, row, root, folder)
                except InputError as error:
                    yield _to_batch(row, 0, fault=f"{row['name']}: {error.message}")
                    continue
                yield _to_batch(row, 0, description=asdict(source))
                for part, passage in enumerate(passages, 1):
                    flac = (folder / passage.file).read_bytes()
                    yield _to_batch(row, part, description=asdict(passage), flac=flac)


def _cut(row: dict[str, Any], root: str, folder: Path) -> tuple[DatasetSource, list[DatasetPassage]]:
    path = folder / "stem"
    try:
        copy_artifact(root, row["artifact"], path)
    except FileNotFoundError:
        raise InputError(
            "unreadable", f"{row['artifact']} is missing in the warehouse: run separate-stems --force"
        ) from None
    audio = sandbox().decode(path, sample_rate=SAMPLE_RATE)
    samples = audio.open_signal()
    audio.signal_path.unlink()  # the mapping stays valid
    return cut_passages(row["name"], samples, _tracker(), folder)


@cache
def _tracker() -> PitchTracker:
    """Return the pitch tracker of this process."""
    return PitchTracker()


def _to_batch(
    row: dict[str, Any],
    part: int,
    *,
    description: dict[str, Any] | None = None,
    flac: bytes | None = None,
    fault: str | None = None,
) -> pa.RecordBatch:
    text = None if description is None else json.dumps(description)
    columns = {"number": [row["number"]], "part": [part], "description": [text], "flac": [flac], "fault": [fault]}
    return to_batch(RESULT_SCHEMA, columns)
