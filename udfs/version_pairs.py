"""Compare the sound of pairs of recordings that may be versions of one work."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.detect.version_evidence import Sound, compare_sounds
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.numba_cache import compile_lock

COMPARED_DDL = (
    "track_id string, other_id string, alignment_distance double, melody_similarity double, transposition int,"
    " tempo_ratio double"
)
COMPARED = pa.schema([
    ("track_id", pa.string()),
    ("other_id", pa.string()),
    ("alignment_distance", pa.float64()),
    ("melody_similarity", pa.float64()),
    ("transposition", pa.int32()),
    ("tempo_ratio", pa.float64()),
])  # fmt: skip


def compare_pairs(
    batches: Iterable[pa.RecordBatch], *, chromas: Mapping[str, Float32Array]
) -> Iterator[pa.RecordBatch]:
    """Compare recordings with the first recordings of their pairs.

    Parameters
    ----------
    batches
        Second recordings: columns ``track_id``, ``beat_chroma`` and ``first_ids`` (a list of track ids).
    chromas
        Beat chroma (12, B) of the first recordings, by track id.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of ``COMPARED_DDL``: one row for each pair. Empty batches serve as heartbeats.
    """
    firsts: dict[str, Sound] = {}
    empty_batch = pa.RecordBatch.from_pylist([], COMPARED)
    for batch in batches:
        yield (yield from run_with_heartbeat(empty_batch, _compare_batch, batch, chromas, firsts))


def _compare_batch(
    batch: pa.RecordBatch, chromas: Mapping[str, Float32Array], firsts: dict[str, Sound]
) -> pa.RecordBatch:
    """Compare the recordings of a batch. ``firsts`` keeps the first recordings that have been prepared."""
    rows = []
    ids, features = batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma")
    for track_id, chroma, first_ids in zip(ids, features, batch.column("first_ids").to_pylist(), strict=True):
        other = Sound(chroma)
        for first_id in first_ids:
            if first_id not in firsts:
                firsts[first_id] = Sound(chromas[first_id])
            with compile_lock("versions"):
                match = compare_sounds(firsts[first_id], other)
            rows.append({"track_id": first_id, "other_id": track_id, **vars(match)})
    return pa.RecordBatch.from_pylist(rows, COMPARED)
