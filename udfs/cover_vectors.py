"""Chroma of tracks, a batch at a time, into vectors."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from reprise.lib.detect.dictionary_lda import Dictionary
from reprise.lib.tables import COVER_VECTORS
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.model_cache import load_embedding

_TRACKS_AT_ONCE = 256
CODES_DDL = "track_id string, code array<float>"
_CODES = pa.schema([("track_id", pa.string()), ("code", pa.list_(pa.float32()))])


def embed_tracks(
    batches: Iterable[pa.RecordBatch], *, artifact: str, artifact_sha256: str, model_id: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Make the vectors of tracks that have a patch.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256`` and the one that the embedding reads.
    artifact, artifact_sha256
        Where the embedding is, and its checksum.
    model_id, run_id
        For the provenance columns.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        ``cover_vectors`` and rows of it.
    """
    embedding = load_embedding(artifact, artifact_sha256)
    for batch in batches:
        for start in range(0, batch.num_rows, _TRACKS_AT_ONCE):
            some = batch.slice(start, _TRACKS_AT_ONCE)
            columns = {
                "track_id": some.column("track_id").to_pylist(),
                "sha256": some.column("sha256").to_pylist(),
                "model_id": [model_id] * some.num_rows,
                "run_id": [run_id] * some.num_rows,
                "vector": list(embedding.embed(to_features(some, embedding.reads))),
            }
            yield COVER_VECTORS.name, to_batch(arrow_schema(COVER_VECTORS), columns)


def encode_tracks(batches: Iterable[pa.RecordBatch], *, dictionary: Dictionary) -> Iterator[pa.RecordBatch]:
    """Codes, by a dictionary, of the tracks in ``batches`` (columns ``track_id``, ``beat_chroma``)."""
    for batch in batches:
        for track_id, chroma in zip(
            batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True
        ):
            code = np.asarray(dictionary.encode(chroma))
            yield to_batch(_CODES, {"track_id": [track_id], "code": [code]})
