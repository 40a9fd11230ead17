"""Compute embeddings and dictionary codes of tracks from batches of beat chroma or median patches."""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from reprise.lib.detect.dictionary_lda import Dictionary
from reprise.lib.detect.part_network import PartNetwork
from reprise.lib.tables import COVER_VECTORS
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.model_cache import load_embedding

_TRACKS_PER_CALL = 256
CODES_DDL = "track_id string, code array<float>"
_CODES = pa.schema([("track_id", pa.string()), ("code", pa.list_(pa.float32()))])


def embed_tracks(
    batches: Iterable[pa.RecordBatch], *, artifact: str, artifact_sha256: str, model_id: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Compute the embeddings of tracks.

    Parameters
    ----------
    batches
        Columns ``track_id`` and ``sha256``, and the input column of the embedding model (``Embedding.reads``).
    artifact, artifact_sha256
        URI and checksum of the embedding model's file.
    model_id, run_id
        Values of the columns ``model_id`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        The table name ``cover_vectors``, and rows of the table.
    """
    embedding = load_embedding(artifact, artifact_sha256)
    for batch in batches:
        for start in range(0, batch.num_rows, _TRACKS_PER_CALL):
            part = batch.slice(start, _TRACKS_PER_CALL)
            columns = {
                "track_id": part.column("track_id").to_pylist(),
                "sha256": part.column("sha256").to_pylist(),
                "model_id": [model_id] * part.num_rows,
                "run_id": [run_id] * part.num_rows,
                "vector": list(embedding.embed(to_features(part, embedding.reads))),
            }
            yield COVER_VECTORS.name, to_batch(arrow_schema(COVER_VECTORS), columns)


QUERIES_DDL = "track_id string, transposition int, vector array<float>"
_QUERIES = pa.schema([("track_id", pa.string()), ("transposition", pa.int32()), ("vector", pa.list_(pa.float32()))])


def embed_transpositions(
    batches: Iterable[pa.RecordBatch], *, artifact: str, artifact_sha256: str
) -> Iterator[pa.RecordBatch]:
    """Embed queries in all transpositions with a `PartNetwork`; yield one batch of ``QUERIES_DDL`` for each track.

    The input batches have the columns ``track_id`` and ``beat_chroma``.
    """
    network = load_embedding(artifact, artifact_sha256)
    if not isinstance(network, PartNetwork):
        raise TypeError(f"{artifact} is not a part network: only its queries are transposed")
    for batch in batches:
        for track_id, chroma in zip(
            batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True
        ):
            vectors = network.embed_transpositions(chroma)
            columns = {
                "track_id": [track_id] * len(vectors),
                "transposition": list(range(len(vectors))),
                "vector": list(vectors),
            }
            yield to_batch(_QUERIES, columns)


def encode_tracks(batches: Iterable[pa.RecordBatch], *, dictionary: Dictionary) -> Iterator[pa.RecordBatch]:
    """Encode the chroma of tracks with a dictionary; yield one batch of ``CODES_DDL`` for each track.

    The input batches have the columns ``track_id`` and ``beat_chroma``.
    """
    for batch in batches:
        for track_id, chroma in zip(
            batch.column("track_id").to_pylist(), to_features(batch, "beat_chroma"), strict=True
        ):
            code = np.asarray(dictionary.encode(chroma))
            yield to_batch(_CODES, {"track_id": [track_id], "code": [code]})
