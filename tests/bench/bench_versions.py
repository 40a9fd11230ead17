"""How well versions of works are grouped in a library, and what it costs.

The works took no part in the fit of the weights: their seed is another one. A decoy is by the artist of a work, in its
key, within 3 % of its tempo and on its chord progressions.
"""

import shutil
import tempfile
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

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
from reprise.lib.music.sample.work_versions import TRACKS_PER_WORK, TagFaults, WorkCollection
from reprise.lib.tables import LIBRARY_VERSION_PAIRS, LIBRARY_VERSIONS
from reprise.lib.tables.operations import COVER_EMBEDDING

N_WORKS = 200
SEED = 2026
GOAL = 0.95
MSD = ("--tracks", 400, "--cliques", 80, "--covers", 260)


def run(job: object, *arguments: object) -> float:
    """Seconds of a job that must succeed."""
    start = time.perf_counter()
    assert job.main([*map(str, arguments), "--json"]) == 0  # type: ignore[attr-defined]
    return time.perf_counter() - start


def compare_groups(warehouse: Warehouse, collection: WorkCollection) -> Row:
    """Precision, recall and F1 of the pairs of tracks in one group, and how often a named kind is right."""
    recordings = {make_track_id(collection, one): one for one in collection.recordings()}
    stored = {row["track_id"]: row for row in warehouse.lookup_all(LIBRARY_VERSIONS).to_pylist()}
    pairs = [
        (recordings[a].work == recordings[b].work, stored[a]["group_id"] == stored[b]["group_id"])
        for a, b in combinations(sorted(stored), 2)
    ]
    counts = Counter(pairs)
    right, missed, wrong = counts[True, True], counts[True, False], counts[False, True]
    named = [(row["kind"], recordings[track].kind) for track, row in stored.items() if row["kind"]]
    return {
        "tracks": len(stored),
        "true pairs": right + missed,
        "precision": f"{right / max(right + wrong, 1):.3f}",
        "recall": f"{right / max(right + missed, 1):.3f}",
        "F1": f"{2 * right / max(2 * right + wrong + missed, 1):.3f}",
        "kinds named": f"{len(named)}",
        "kinds right": f"{sum(kind == truth or truth == 'decoy' for kind, truth in named) / max(len(named), 1):.3f}",
    }


def measure_versions() -> list[Row]:
    """Groups by the job itself, with complete tags, with a tenth of the files untagged, and without any tag."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        base, made = Path(name, "base"), Path(name, "sample")
        run(make_sample, "--out", made, *MSD, "--warehouse", base)
        run(ingest_msd, "--source", made / "msd", "--warehouse", base)
        run(ingest_annotations, "--source", made / "annotations", "--warehouse", base)
        run(extract_chroma, "--warehouse", base)
        run(train_cover_index, "--warehouse", base)
        (model,) = list_models(Warehouse(str(base)), COVER_EMBEDDING)
        for title, untagged, goal in (
            ("every file tagged", 0.0, f">= {GOAL}"),
            ("a tenth of the files untagged", 0.1, ""),
            ("no tags", 1.0, ""),
        ):
            folder = Path(shutil.copytree(base, Path(name, f"untagged {untagged}")))
            warehouse, flags = Warehouse(str(folder)), ("--warehouse", folder)
            collection = WorkCollection(N_WORKS, SEED, faults=TagFaults(untagged=untagged))
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
            rows.append(
                {
                    "library": title,
                    **compare_groups(warehouse, collection),
                    "goal of F1": goal,
                    "pairs compared": f"{pairs:,}",
                    "seconds": f"{seconds:,.0f}",
                    "peak MiB": f"{memory.mib:,.0f}",
                    "one work more": f"{one_more:.1f} s, {warehouse.sizes(LIBRARY_VERSION_PAIRS)[0] - pairs} pairs",
                }
            )
            print(rows[-1], flush=True)
    return rows
