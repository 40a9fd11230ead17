"""Pairs of library tracks that may be versions of one work: choose, compare and store them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F

from reprise.jobs._detection.models import EmbeddingModel
from reprise.jobs._detection.search import fetch_chroma, fetch_queries, read_gallery, search_gallery
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.arrays import Int64Array
from reprise.lib.detect.version_evidence import (
    MIN_BEATS,
    Metadata,
    SoundMatch,
    compare_titles,
    have_same_id,
    read_metadata,
    score_pair,
    version_probability,
)
from reprise.lib.detect.version_weights import INTERCEPT, WEIGHTS
from reprise.lib.tables import BEAT_CHROMA, COVER_VECTORS, LIBRARY_TRACKS, LIBRARY_VERSION_PAIRS
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.version_pairs import COMPARED_DDL, compare_pairs

N_NEAREST = 20
"""Number of nearest tracks, by embedding, with which a track is compared."""
MAX_SAME_TITLE = 50
"""A title or id that more tracks have says too little: its tracks are not compared because of it."""
MAX_PARTNERS = 20
"""Number of most probable versions of a track that are compared with each other."""
_LIBRARY = ("LB", "LB\U0010ffff")
_FIRSTS_PER_BATCH = 512
"""Number of first tracks of the pairs in a batch. Their chroma takes about 12 MB."""
_ROWS_PER_PART = 200_000
_FACTS = ["track_id", "sha256", "title", "artist_name", "isrc", "recording_mbid"]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Library:
    """What is compared of the library tracks.

    Attributes
    ----------
    metadata
        Metadata by track id, in ascending order of id.
    contents
        SHA-256 of what is compared of each track: file, tags, chroma and weights of the evidence.
    fingerprints
        SHA-256 of the contents of each track and of the embedding that chooses what to compare the track with.
    with_chroma
        Tracks whose chroma was extracted, also if they have no beats.
    with_sound
        Tracks that have enough beats for a comparison of their sound.
    embeddable, with_vector
        Tracks that can have an embedding, and tracks that have one.
    """

    metadata: Mapping[str, Metadata]
    contents: Mapping[str, str]
    fingerprints: Mapping[str, str]
    with_chroma: Set[str]
    with_sound: Set[str]
    embeddable: Set[str]
    with_vector: Set[str]

    def pair_sha256(self, pair: Pair) -> str:
        """Return the SHA-256 of what is compared of two tracks."""
        return hashlib.sha256("".join(self.contents[track] for track in pair).encode()).hexdigest()


def read_library(warehouse: Warehouse, model: EmbeddingModel) -> Library:
    """Read what is compared of all library tracks. Embeddings are those of ``model``."""
    rows = warehouse.lookup(LIBRARY_TRACKS, "track_id", *_LIBRARY, _FACTS).sort_by("track_id").to_pylist()
    columns = ["track_id", "sha256", "status", "n_beats"]
    chroma = warehouse.lookup(BEAT_CHROMA, "track_id", *_LIBRARY, columns).to_pylist()
    audible = (row for row in chroma if row["n_beats"] >= MIN_BEATS and row["status"] != "silent")
    sounds = {row["track_id"]: row["sha256"] for row in audible}
    vectors = warehouse.lookup(COVER_VECTORS, "track_id", *_LIBRARY, ["track_id", "model_id", "sha256"]).to_pylist()
    embedded = {row["track_id"]: row["sha256"] for row in vectors if row["model_id"] == model.model_id}
    contents, fingerprints = {}, {}
    for row in rows:
        track = row["track_id"]
        contents[track] = _hash(list(row.values()), sounds.get(track), WEIGHTS, INTERCEPT)
        fingerprints[track] = _hash(contents[track], model.model_id, model.sha256, embedded.get(track))
    return Library(
        {row["track_id"]: read_metadata(row) for row in rows},
        contents,
        fingerprints,
        contents.keys() & {row["track_id"] for row in chroma},
        contents.keys() & sounds.keys(),
        contents.keys() & {row["track_id"] for row in chroma if row["status"] == "ok"},
        contents.keys() & embedded.keys(),
    )


def _hash(*values: object) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass
class PairStore:
    """The stored pairs that were compared with the present content of both tracks.

    Only a hash of each pair is kept in memory. With ``--force``, no stored pair counts.
    """

    run: Run
    library: Library
    _known: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if not self.run.args.force:
            for rows in self._read_current(["track_id", "other_id", "sha256", "run_id"]):
                self._known.update(_hash_pairs(rows).tolist())

    def is_known(self, pairs: Sequence[Pair]) -> Sequence[bool]:
        """Return for each pair whether it has been compared."""
        frame = pd.DataFrame(pairs, columns=["track_id", "other_id"])
        return [number in self._known for number in _hash_pairs(frame).tolist()]

    def add(self, rows: pd.DataFrame) -> None:
        """Store compared pairs, rows of ``library_version_pairs``."""
        schema = arrow_schema(LIBRARY_VERSION_PAIRS)
        table = pa.Table.from_pandas(rows[schema.names], schema, preserve_index=False)
        self.run.warehouse.merge(LIBRARY_VERSION_PAIRS, table)
        self._known.update(_hash_pairs(rows).tolist())

    def read_probabilities(self, least: float) -> dict[Pair, float]:
        """Return the pairs that have at least the probability ``least``."""
        found: dict[Pair, float] = {}
        for rows in self._read_current(["track_id", "other_id", "probability", "sha256", "run_id"]):
            likely = rows[rows["probability"] >= least]
            found |= zip(zip(likely["track_id"], likely["other_id"], strict=True), likely["probability"], strict=True)
        return found

    def delete_outdated(self) -> None:
        """Delete the pairs of tracks that are gone or have changed; with ``--force``, all that this run did not add."""
        warehouse = self.run.warehouse
        columns = ["track_id", "other_id", "sha256", "run_id"]
        for part in warehouse.parts(LIBRARY_VERSION_PAIRS, _ROWS_PER_PART):
            rows = warehouse.read_columns(LIBRARY_VERSION_PAIRS, part.paths, columns).to_pandas()
            outdated = rows.loc[~self._is_current(rows), list(LIBRARY_VERSION_PAIRS.key)]
            if len(outdated):
                keys = pa.Table.from_pandas(outdated, preserve_index=False)
                warehouse.merge(LIBRARY_VERSION_PAIRS, [], delete=keys)

    def _read_current(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        warehouse = self.run.warehouse
        if not warehouse.exists(LIBRARY_VERSION_PAIRS):
            return
        for part in warehouse.parts(LIBRARY_VERSION_PAIRS, _ROWS_PER_PART):
            rows = warehouse.read_columns(LIBRARY_VERSION_PAIRS, part.paths, columns).to_pandas()
            yield rows[self._is_current(rows)]

    def _is_current(self, rows: pd.DataFrame) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        known = self.library.contents
        pairs = zip(rows["track_id"], rows["other_id"], rows["sha256"], rows["run_id"], strict=True)
        return np.array(
            [
                a in known
                and b in known
                and (run_id == self.run.run_id if self.run.args.force else sha256 == self.library.pair_sha256((a, b)))
                for a, b, sha256, run_id in pairs
            ],
            dtype=bool,
        )


def _hash_pairs(rows: pd.DataFrame) -> Int64Array:
    text = (rows["track_id"] + rows["other_id"]).to_numpy(dtype=object)
    return pd.util.hash_array(text).astype(np.int64)


def compare_new(run: Run, library: Library, model: EmbeddingModel, pending: Sequence[str]) -> Iterator[int]:
    """Compare new and changed tracks with the tracks near them, in batches; yield the number of tracks of each batch.

    A track is compared with the nearest tracks by embedding, and with the tracks that have its title and artist, its
    ISRC or its MusicBrainz id. Then two tracks are compared that are both probably versions of a third one.
    """
    store, same = PairStore(run, library), _index_metadata(library)
    gallery = read_gallery(run, model).where(F.col("track_id").between(*_LIBRARY)).persist()
    for start in range(0, len(pending), _FIRSTS_PER_BATCH):
        batch = pending[start : start + _FIRSTS_PER_BATCH]
        pairs = {_order(track, other) for track in batch for other in same(track) if track != other}
        queries = fetch_queries(run, gallery, [track for track in batch if track in library.with_vector])
        if queries.ids:
            nearest = search_gallery(gallery, queries, N_NEAREST)
            # the embedding of a track whose file is gone can still be stored
            found = zip(nearest["query"], nearest["candidate_id"], strict=True)
            pairs |= {_order(queries.ids[query], other) for query, other in found if other in library.contents}
        _compare(run, library, store, pairs)
        yield len(batch)
    gallery.unpersist()
    _compare(run, library, store, _close_triangles(store))
    store.delete_outdated()


def _order(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


def _index_metadata(library: Library) -> Callable[[str], set[str]]:
    """Return a function that returns the tracks with the title and artist, or an id, of a track."""
    index: dict[tuple[str | None, ...], list[str]] = defaultdict(list)

    def keys(metadata: Metadata) -> Iterator[tuple[str | None, ...]]:
        if metadata.work_title and metadata.artist:
            yield ("title", metadata.work_title, metadata.artist)
        if metadata.isrc:
            yield ("isrc", metadata.isrc)
        if metadata.recording_mbid:
            yield ("mbid", metadata.recording_mbid)

    for track_id, metadata in library.metadata.items():
        for key in keys(metadata):
            index[key].append(track_id)

    def find(track_id: str) -> set[str]:
        groups = (index[key] for key in keys(library.metadata[track_id]))
        return set().union(*(group for group in groups if len(group) <= MAX_SAME_TITLE))

    return find


def _close_triangles(store: PairStore) -> set[Pair]:
    """Return the pairs of two tracks that are both probably versions of a third track."""
    partners: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for (a, b), probability in store.read_probabilities(0.5).items():
        partners[a].append((-probability, b))
        partners[b].append((-probability, a))
    best = (sorted(others)[:MAX_PARTNERS] for others in partners.values())
    return {_order(a, b) for others in best for (_, a), (_, b) in combinations(others, 2)}


def _compare(run: Run, library: Library, store: PairStore, pairs: Iterable[Pair]) -> None:
    """Compare those of ``pairs`` that are not stored yet, and store them in batches."""
    ordered = sorted(pairs)
    new = [pair for pair, known in zip(ordered, store.is_known(ordered), strict=True) if not known]
    firsts = sorted({a for a, _ in new})
    for start in range(0, len(firsts), _FIRSTS_PER_BATCH):
        batch = set(firsts[start : start + _FIRSTS_PER_BATCH])
        part = [pair for pair in new if pair[0] in batch]
        store.add(_score(run, library, part, _compare_sounds(run, library, part)))
        run.count(pairs_compared=len(part))


def _compare_sounds(run: Run, library: Library, pairs: Sequence[Pair]) -> pd.DataFrame:
    """Compare the sound of pairs on the workers. The result has the columns of ``COMPARED_DDL``, without an order."""
    audible = [pair for pair in pairs if pair[0] in library.with_sound and pair[1] in library.with_sound]
    if not audible:
        return pd.DataFrame()
    chromas = fetch_chroma(run, sorted({a for a, _ in audible}))
    # the chroma of a track may have been deleted while this job runs
    firsts_of: dict[str, list[str]] = defaultdict(list)
    for a, b in audible:
        if a in chromas:
            firsts_of[b].append(a)
    schema = pa.schema([("track_id", pa.string()), ("first_ids", pa.list_(pa.string()))])
    wanted = pa.table([list(firsts_of), list(firsts_of.values())], schema=schema)
    frame = (
        run.warehouse.read(run.spark, BEAT_CHROMA)
        .select("track_id", "beat_chroma")
        .join(F.broadcast(run.spark.createDataFrame(wanted)), "track_id")
        # a comparison takes much longer than reading; with many small tasks, all cores stay busy until the end
        .repartition(4 * run.spark.sparkContext.defaultParallelism, "track_id")
    )
    compared: pd.DataFrame = frame.mapInArrow(partial(compare_pairs, chromas=chromas), COMPARED_DDL).toPandas()
    return compared


def _score(run: Run, library: Library, pairs: Sequence[Pair], compared: pd.DataFrame) -> pd.DataFrame:
    """Return rows of ``library_version_pairs``, in the order of ``pairs``."""
    names = list(SoundMatch.__dataclass_fields__)
    matches = {
        (row["track_id"], row["other_id"]): SoundMatch(*(row[name] for name in names))
        for row in compared.to_dict("records")
    }
    rows, scores = [], []
    for pair in pairs:
        one, other = (library.metadata[track] for track in pair)
        match = matches.get(pair)
        scores.append(score_pair(match, one, other))
        rows.append(
            {
                "track_id": pair[0],
                "other_id": pair[1],
                **(vars(match) if match else dict.fromkeys(names)),
                "same_title": compare_titles(one, other),
                "same_id": have_same_id(one, other),
                "sha256": library.pair_sha256(pair),
                "run_id": run.run_id,
            }
        )
    return pd.DataFrame(rows).assign(probability=version_probability(np.stack(scores)))
