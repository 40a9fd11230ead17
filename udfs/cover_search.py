"""Search batches of the gallery for similar embeddings, and align the candidates with their queries by chroma."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.search import MateRanks, TopK
from reprise.udfs.arrow import to_vectors
from reprise.udfs.beat_chroma import to_features
from reprise.udfs.numba_cache import compile_lock

NEAREST_DDL = "query int, candidate_id string, distance double"
_NEAREST = pa.schema([("query", pa.int32()), ("candidate_id", pa.string()), ("distance", pa.float64())])
COUNTS_DDL = "mate int, before bigint"
_COUNTS = pa.schema([("mate", pa.int32()), ("before", pa.int64())])
ALIGNED_DDL = "query int, candidate_id string, alignment_distance double, transposition int, tempo_ratio double"
_ALIGNED = pa.schema(
    [
        ("query", pa.int32()),
        ("candidate_id", pa.string()),
        ("alignment_distance", pa.float64()),
        ("transposition", pa.int32()),
        ("tempo_ratio", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Queries:
    """Q query tracks.

    Attributes
    ----------
    ids
        Track ids.
    vectors
        Embeddings, float32, shape (Q · V, d). The first V rows belong to the first query, and so on. V is 1, or the
        number of transpositions in which the model embeds queries.
    groups
        Duplicate group numbers, int64, shape (Q,).
    """

    ids: list[str]
    vectors: Float32Array
    groups: Int64Array

    @property
    def vectors_per_query(self) -> int:
        """V, the number of embeddings of a query."""
        return len(self.vectors) // max(1, len(self.ids))


@dataclass(frozen=True)
class Mates:
    """M mates to rank. A mate is another version of a query's work.

    Attributes
    ----------
    queries
        Index of each mate's query in `Queries`, int64, shape (M,).
    ids
        Track id of each mate.
    distances
        Distance of each mate from its query, float64, shape (M,).
    """

    queries: Int64Array
    ids: list[str]
    distances: Float64Array


def read_block(batch: pa.RecordBatch) -> tuple[Float32Array, list[str], Int64Array]:
    """Return embeddings, track ids and duplicate group numbers of a batch of N > 0 gallery tracks.

    The embeddings are float32, shape (N, d), and the group numbers int64, shape (N,). The batch has the columns
    ``track_id``, ``vector`` and ``duplicates``.
    """
    column = batch.column("vector")
    return (
        np.stack(to_vectors(column)),
        batch.column("track_id").to_pylist(),
        batch.column("duplicates").to_numpy(),
    )


def _skip_empty(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    return (batch for batch in batches if batch.num_rows)


def find_nearest(batches: Iterable[pa.RecordBatch], *, queries: Queries, k: int) -> Iterator[pa.RecordBatch]:
    """Find the ``k`` nearest tracks of each query in one partition of the gallery; yield one batch of ``NEAREST_DDL``.

    The distance of a query that has several embeddings is the smallest distance of any of them. The query itself and
    its duplicates are left out. The batches of the gallery have the columns ``track_id``, ``vector`` and
    ``duplicates``.
    """
    each = queries.vectors_per_query
    names = [track_id for track_id in queries.ids for _ in range(each)]
    top = TopK(queries.vectors, names, np.repeat(queries.groups, each), k)
    for batch in _skip_empty(batches):
        with compile_lock("TopK"):
            top.add(*read_block(batch))
    matches = top.matches()
    found = np.arange(k) < matches.counts[:, None]
    rows = np.nonzero(found)[0] // max(1, each)
    ids, distances = matches.ids[found], matches.distances[found]
    if each > 1:
        kept = _keep_nearest(rows, ids, distances, k)
        rows, ids, distances = rows[kept], ids[kept], distances[kept]
    yield pa.RecordBatch.from_arrays(
        [pa.array(rows.astype(np.int32)), pa.array(ids.astype("U")), pa.array(distances)], schema=_NEAREST
    )


def _keep_nearest(rows: Int64Array, ids: NDArray[np.bytes_], distances: Float64Array, k: int) -> Int64Array:
    """Return the indices of the ``k`` nearest candidates of each query, each candidate once, at its least distance."""
    order = np.lexsort((distances, ids, rows))
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (rows[order][1:] != rows[order][:-1]) | (ids[order][1:] != ids[order][:-1])
    order = order[new]
    order = order[np.lexsort((ids[order], distances[order], rows[order]))]
    starts = np.searchsorted(rows[order], rows[order], side="left")
    return np.asarray(order[np.arange(len(order)) - starts < k])


def count_ranked_before(
    batches: Iterable[pa.RecordBatch], *, queries: Queries, mates: Mates
) -> Iterator[pa.RecordBatch]:
    """For each mate, count the tracks of one gallery partition that rank before it; yield one batch of ``COUNTS_DDL``.

    The query itself and its duplicates are not counted. The batches of the gallery are as in `find_nearest`.
    """
    ranks = MateRanks(queries.vectors, queries.ids, queries.groups, mates.queries, mates.ids, mates.distances)
    for batch in _skip_empty(batches):
        with compile_lock("MateRanks"):
            ranks.add(*read_block(batch))
    yield pa.RecordBatch.from_arrays(
        [pa.array(np.arange(len(mates.ids), dtype=np.int32)), pa.array(ranks.counts)], schema=_COUNTS
    )


def align_candidates(
    batches: Iterable[pa.RecordBatch], *, chromas: Mapping[int, Float32Array], reranker: str
) -> Iterator[pa.RecordBatch]:
    """Align each candidate with the queries that have it among their nearest tracks.

    Parameters
    ----------
    batches
        Candidates: columns ``track_id``, ``beat_chroma`` and ``queries`` (a list of query numbers).
    chromas
        Beat chroma (12, B) of each query, by query number.
    reranker
        Name of the alignment measure, a key of ``RERANKERS``.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of ``ALIGNED_DDL``: one row for each pair of query and candidate.
    """
    align = RERANKERS[reranker]
    for batch in batches:
        features = to_features(batch, "beat_chroma")
        for track_id, chroma, numbers in zip(
            batch.column("track_id").to_pylist(), features, batch.column("queries").to_pylist(), strict=True
        ):
            with compile_lock(reranker):
                found = [align(chromas[number], chroma) for number in numbers]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(numbers, pa.int32()),
                    pa.array([track_id] * len(numbers)),
                    pa.array([alignment.distance for alignment in found], pa.float64()),
                    pa.array([alignment.transposition for alignment in found], pa.int32()),
                    pa.array([alignment.tempo_ratio for alignment in found], pa.float64()),
                ],
                schema=_ALIGNED,
            )
