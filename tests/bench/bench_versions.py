"""How well versions of works are grouped in a library, and what it costs.

The works took no part in the fit of the weights: their seed is another one. A decoy is by the artist of a work, in its
key, within 3 % of its tempo and on its chord progressions.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
from measuring import PeakMemory, Row
from version_library import make_track_id, write_library

from reprise.jobs import (
    extract_chroma,
    group_versions,
    ingest_annotations,
    ingest_msd,
    make_sample,
    train_cover_index,
)
from reprise.jobs._engine.models import list_models
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.version_evidence import SoundMatch, read_metadata, score_pair, version_probability
from reprise.lib.detect.version_groups import group_versions as form_groups
from reprise.lib.music.sample.work_versions import TRACKS_PER_WORK, TagFaults, WorkCollection
from reprise.lib.tables import LIBRARY_VERSION_PAIRS, LIBRARY_VERSIONS
from reprise.lib.tables.operations import COVER_EMBEDDING

N_WORKS = 200
SEED = 2026
GOAL = ">= 0.95"
MSD = ("--tracks", 400, "--cliques", 80, "--covers", 260)


def run(job: object, *arguments: object) -> float:
    """Seconds of a job that must succeed."""
    start = time.perf_counter()
    assert job.main([*map(str, arguments), "--json"]) == 0  # type: ignore[attr-defined]
    return time.perf_counter() - start


def compare_groups(collection: WorkCollection, group_of: Mapping[str, str]) -> Row:
    """Precision, recall and F1 of the pairs of tracks in one group. A track without a group is alone."""
    counts: Counter[tuple[bool, bool]] = Counter()
    ids = {one.number: make_track_id(collection, one) for one in collection.recordings()}
    found = [(one.work, group_of.get(ids[one.number], ids[one.number])) for one in collection.recordings()]
    for (work, group), (other_work, other_group) in combinations(found, 2):
        counts[work == other_work, group == other_group] += 1
    right, missed, wrong = counts[True, True], counts[True, False], counts[False, True]
    return {
        "true pairs": f"{right + missed:,}",
        "precision": f"{right / max(right + wrong, 1):.3f}",
        "recall": f"{right / max(right + missed, 1):.3f}",
        "F1": f"{2 * right / max(2 * right + wrong + missed, 1):.3f}",
    }


def group_with_other_tags(warehouse: Warehouse, collection: WorkCollection) -> dict[str, str]:
    """Group the pairs that the job compared, with their tags as in ``collection``."""
    metadata = {
        make_track_id(collection, recording): read_metadata(recording.tags._asdict())
        for recording in collection.recordings()
    }
    rows = warehouse.lookup_all(LIBRARY_VERSION_PAIRS).to_pylist()
    scores = []
    for row in rows:
        is_heard = row["melody_similarity"] is not None
        match = SoundMatch(*(row[name] for name in SoundMatch.__dataclass_fields__)) if is_heard else None
        scores.append(score_pair(match, metadata[row["track_id"]], metadata[row["other_id"]]))
    probabilities = version_probability(np.array(scores)).tolist()
    pairs = {(row["track_id"], row["other_id"]): p for row, p in zip(rows, probabilities, strict=True)}
    return {track: members[0] for members in form_groups(pairs) for track in members}


def measure_versions() -> list[Row]:
    """Groups by the job itself, with tags; then the pairs that it compared, with fewer tags and with none."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder, made = Path(name, "warehouse"), Path(name, "sample")
        warehouse, flags = Warehouse(str(folder)), ("--warehouse", folder)
        run(make_sample, "--out", made, *MSD, *flags)
        run(ingest_msd, "--source", made / "msd", *flags)
        run(ingest_annotations, "--source", made / "annotations", *flags)
        run(extract_chroma, *flags)
        run(train_cover_index, *flags)
        (model,) = list_models(warehouse, COVER_EMBEDDING)
        collection = WorkCollection(N_WORKS, SEED, faults=TagFaults(untagged=0.0))
        recordings = collection.recordings()
        write_library(warehouse, collection, recordings[:-TRACKS_PER_WORK])
        run(extract_chroma, *flags)
        run(train_cover_index, "--model", model, *flags)
        with PeakMemory() as memory:
            seconds = run(group_versions, *flags)
        pairs = warehouse.sizes(LIBRARY_VERSION_PAIRS)[0]
        write_library(warehouse, collection, recordings[-TRACKS_PER_WORK:])
        run(extract_chroma, *flags)
        run(train_cover_index, "--model", model, *flags)
        one_more = run(group_versions, *flags)
        more_pairs = warehouse.sizes(LIBRARY_VERSION_PAIRS)[0] - pairs
        stored = warehouse.lookup_all(LIBRARY_VERSIONS).to_pylist()
        cost = f"{pairs:,} pairs: {seconds:,.0f} s, {memory.mib:,.0f} MiB; a work more: {more_pairs}, {one_more:.0f} s"
        groups = {row["track_id"]: row["group_id"] for row in stored}
        rows.append({"tags": "every file", **compare_groups(collection, groups), "goal of F1": GOAL, "cost": cost})
        print(rows[-1], flush=True)
        for title, untagged in (("nine tenths of the files", 0.1), ("no file", 1.0)):
            other = WorkCollection(N_WORKS, SEED, faults=TagFaults(untagged=untagged))
            groups = group_with_other_tags(warehouse, other)
            rows.append({"tags": title, **compare_groups(other, groups), "goal of F1": "", "cost": ""})
            print(rows[-1], flush=True)
    return rows
