"""Groups of versions in a library: who is grouped with whom, and what is compared when the library changes."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from reprise.jobs import extract_chroma, group_versions, train_cover_index
from reprise.jobs._detection import version_pairs
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.part_network import PartNetwork
from reprise.lib.music.sample.work_versions import KINDS, TRACKS_PER_WORK, TagFaults, WorkCollection, WorkVersion
from reprise.lib.tables import (
    BEAT_CHROMA,
    COVER_VECTORS,
    LIBRARY_ANALYSIS,
    LIBRARY_TRACKS,
    LIBRARY_VERSION_PAIRS,
    LIBRARY_VERSIONS,
    MODELS,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import EVERYTHING, Chain, assert_same_content, content, copy_warehouse, make_once, versions
from tests.jobs.test_on_a_cluster import submit as submit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))
from version_library import make_track_id, write_library

RunJob = Callable[..., dict[str, Any]]

COLLECTION = WorkCollection(5, 31, (90.0, 120.0), TagFaults(untagged=0.0, same_title=0.0, other_title=0.0))
RECORDINGS = COLLECTION.recordings()
IDS = {one.number: make_track_id(COLLECTION, one) for one in RECORDINGS}
TABLES = (LIBRARY_VERSIONS, LIBRARY_VERSION_PAIRS)
MORE = RECORDINGS[-TRACKS_PER_WORK:]


def run_on(warehouse: Warehouse, main: Callable[[list[str]], int], *arguments: object) -> dict[str, Any]:
    """Run a job on any warehouse, and return its summary."""
    with redirect_stdout(io.StringIO()) as printed:
        assert main([*map(str, arguments), "--json", "--warehouse", warehouse.root]) == 0
    summary: dict[str, Any] = json.loads(printed.getvalue())
    return summary


def embed(warehouse: Warehouse) -> None:
    """Extract the chroma of new tracks and embed them with the model that is there."""
    (row,) = (row for row in warehouse.lookup_all(MODELS).to_pylist() if row["kind"] == "median_pca")
    run_on(warehouse, extract_chroma.main, "--max-bad", 1)
    run_on(warehouse, train_cover_index.main, "--model", row["model_id"])


@pytest.fixture(scope="module")
def ungrouped(chain: Chain, spark: Any) -> Path:
    """A warehouse with a library of five works, embedded and not grouped, to be read."""

    def make(folder: Path) -> None:
        warehouse = copy_warehouse(chain.after("train-cover-index"), folder)
        write_library(warehouse, COLLECTION, RECORDINGS)
        embed(warehouse)

    return make_once(chain.folder / "ungrouped", make)


@pytest.fixture(scope="module")
def grouped(chain: Chain, ungrouped: Path) -> Warehouse:
    """That warehouse with its groups, to be read."""

    def make(folder: Path) -> None:
        summary = run_on(copy_warehouse(ungrouped, folder), group_versions.main)
        folder.joinpath("summary.json").write_text(json.dumps(summary), "utf-8")

    return Warehouse(str(make_once(chain.folder / "grouped", make)))


@pytest.fixture
def library(ungrouped: Path, warehouse: Warehouse) -> Warehouse:
    """The warehouse without groups, to be written to."""
    return copy_warehouse(ungrouped, Path(warehouse.root))


@pytest.fixture
def groups(grouped: Warehouse, warehouse: Warehouse) -> Warehouse:
    """The warehouse with groups, to be written to."""
    return copy_warehouse(Path(grouped.root), Path(warehouse.root))


def counts_of(grouped: Warehouse) -> dict[str, int]:
    """Counts of the run that made the groups."""
    counts: dict[str, int] = json.loads(Path(grouped.root, "summary.json").read_text("utf-8"))["counts"]
    return counts


def rows(warehouse: Warehouse, table: Table = LIBRARY_VERSIONS) -> dict[str, dict[str, Any]]:
    return {row["track_id"]: row for row in Warehouse(warehouse.root).lookup_all(table).to_pylist()}


def delete(warehouse: Warehouse, recordings: Sequence[WorkVersion]) -> None:
    """Delete tracks from the library, as ingest-library does when their files are gone."""
    keys = pa.table({"track_id": pa.array(sorted(IDS[one.number] for one in recordings), pa.string())})
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=keys)


def test_versions_are_grouped_and_decoys_are_not(grouped: Warehouse) -> None:
    counts, found = counts_of(grouped), rows(grouped)
    tracks = len(rows(grouped, LIBRARY_TRACKS))
    assert counts["tracks"] == counts["compared"] == len(found) == tracks == len(RECORDINGS) + 3
    assert (counts["skipped"], counts["without_vector"]) == (0, 0)
    right = missed = wrong = 0
    for one, other in combinations(RECORDINGS, 2):
        together = found[IDS[one.number]]["group_id"] == found[IDS[other.number]]["group_id"]
        right += together and one.work == other.work
        wrong += together and one.work != other.work
        missed += not together and one.work == other.work
    assert 2 * right / (2 * right + wrong + missed) >= 0.9
    for one in RECORDINGS:
        row = found[IDS[one.number]]
        assert row["kind"] in ((None, "studio") if one.kind in ("studio", "decoy") else (None, one.kind))
        assert (row["probability"] is None) == (row["version_count"] == 1)
        assert row["evidence"] == "sound and tags"
    for row in found.values():
        members = [other for other in found.values() if other["group_id"] == row["group_id"]]
        assert row["version_count"] == len(members)
        assert row["group_id"] == min(member["track_id"] for member in members)
        assert {member["representative_id"] for member in members} == {row["representative_id"]}
        assert row["representative_id"] in {member["track_id"] for member in members}
    kinds = {found[row["representative_id"]]["kind"] for row in found.values() if row["version_count"] == len(KINDS)}
    assert kinds <= {None, "studio"}
    assert counts["works"] == len({row["group_id"] for row in found.values()})


def test_pairs_say_what_was_compared(grouped: Warehouse) -> None:
    pairs = content(grouped, LIBRARY_VERSION_PAIRS)
    assert len(pairs) == counts_of(grouped)["pairs_compared"]
    assert (pairs["track_id"] < pairs["other_id"]).all()
    assert pairs["probability"].between(0, 1).all()
    collected = pairs[pairs["track_id"].isin(IDS.values()) & pairs["other_id"].isin(IDS.values())]
    assert collected["melody_similarity"].notna().all()
    short = pairs.drop(collected.index)  # the recordings of the chain have too few beats, but two have one title
    assert short["melody_similarity"].isna().any()
    assert short["same_title"].any()


def test_new_tracks_are_compared_with_what_is_near_and_the_groups_are_those_of_one_run(
    grouped: Warehouse, library: Warehouse, run_job: RunJob
) -> None:
    delete(library, MORE)
    first = run_job(group_versions.main)["counts"]
    assert first["compared"] == len(RECORDINGS) - len(MORE) + 3
    write_library(library, COLLECTION, MORE)
    second = run_job(group_versions.main)["counts"]
    assert (second["compared"], second["skipped"]) == (len(MORE), first["compared"])
    assert second["pairs_compared"] < len(MORE) * (version_pairs.N_NEAREST + len(KINDS))
    assert_same_content(library, grouped, (LIBRARY_VERSIONS,))
    ours, theirs = (content(one, LIBRARY_VERSION_PAIRS) for one in (library, grouped))
    both = ours.merge(theirs, on=["track_id", "other_id"], how="outer", indicator=True)
    # a new track can be among the nearest of another one that is not among its own nearest
    assert (both["_merge"] == "both").mean() > 0.8
    likely = both[both[["probability_x", "probability_y"]].max(axis=1) >= 0.5]
    assert (likely["probability_x"] == likely["probability_y"]).all()
    run_job(group_versions.main, "--force")
    assert_same_content(library, grouped, TABLES)


def test_what_is_gone_is_deleted_and_its_group_is_formed_without_it(groups: Warehouse, run_job: RunJob) -> None:
    gone = [one for one in RECORDINGS if one.kind == "studio"]
    delete(groups, gone)
    summary = run_job(group_versions.main)
    assert summary["counts"]["pairs_compared"] == 0
    found = rows(groups)
    ids = {IDS[one.number] for one in gone}
    assert not ids & found.keys()
    assert not ids & {row["representative_id"] for row in found.values()}
    pairs = content(groups, LIBRARY_VERSION_PAIRS)
    assert not ids & {*pairs["track_id"], *pairs["other_id"]}
    assert max(row["version_count"] for row in found.values()) == len(KINDS) - 1
    before = versions(groups)
    assert run_job(group_versions.main)["counts"]["compared"] == 0
    assert versions(groups) == before


def test_other_tags_and_another_model_compare_only_what_they_change(groups: Warehouse, run_job: RunJob) -> None:
    before = rows(groups)
    track = IDS[0]
    (row,) = groups.lookup(LIBRARY_TRACKS, "track_id", track, track).to_pylist()
    row |= {"title": "Another Title", "artist_name": "Somebody Else", "isrc": None, "recording_mbid": None}
    groups.merge(LIBRARY_TRACKS, pa.Table.from_pylist([row], arrow_schema(LIBRARY_TRACKS)))
    counts = run_job(group_versions.main)["counts"]
    assert (counts["compared"], counts["skipped"]) == (1, len(before) - 1)
    assert 0 < counts["pairs_compared"] <= len(before) - 1
    changed = {name for name, row in rows(groups).items() if row != before[name]}
    assert track in changed
    assert len(changed) <= len(KINDS)  # rows that stay the same are not written

    (model,) = (row for row in groups.lookup_all(MODELS).to_pylist() if row["kind"] == "median_pca")
    run_job(train_cover_index.main, "--method", "median_patch")
    counts = run_job(group_versions.main)["counts"]
    assert counts["compared"] == len(before)
    assert counts["pairs_compared"] < len(content(groups, LIBRARY_VERSION_PAIRS)) / 2
    assert {row["model_id"] for row in rows(groups).values()}.isdisjoint({model["model_id"]})


def test_without_tags_the_sound_decides(library: Warehouse, run_job: RunJob) -> None:
    write_library(library, COLLECTION, RECORDINGS, tagged=False)
    run_job(group_versions.main)
    found = rows(library)
    assert {found[one]["evidence"] for one in IDS.values()} == {"sound"}
    assert {found[one]["kind"] for one in IDS.values()} == {None}
    same = [found[IDS[n]]["group_id"] == found[IDS[n + 2]]["group_id"] for n in range(0, len(IDS), TRACKS_PER_WORK)]
    assert all(same)  # the remaster of each work
    pairs = content(library, LIBRARY_VERSION_PAIRS)
    work_of = {IDS[one.number]: one.number // TRACKS_PER_WORK for one in RECORDINGS}
    works = [(work_of.get(a), work_of.get(b)) for a, b in zip(pairs["track_id"], pairs["other_id"], strict=True)]
    unlike = np.array([a is not None and b is not None and a != b for a, b in works])
    assert pairs["probability"][unlike].median() < 0.05


def test_a_title_of_very_many_tracks_says_nothing(
    library: Warehouse, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_pairs, "MAX_SAME_TITLE", 1)
    monkeypatch.setattr(version_pairs, "N_NEAREST", 1)
    few = run_job(group_versions.main)["counts"]["pairs_compared"]
    monkeypatch.setattr(version_pairs, "MAX_SAME_TITLE", 50)
    assert run_job(group_versions.main, "--force")["counts"]["pairs_compared"] > few


def test_batches_are_all_compared(
    grouped: Warehouse, library: Warehouse, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_pairs, "_FIRSTS_PER_BATCH", 9)
    run_job(group_versions.main)
    assert_same_content(library, grouped, TABLES)


def test_interrupted_between_two_batches_it_ends_in_the_same_rows(
    grouped: Warehouse, library: Warehouse, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_pairs, "_FIRSTS_PER_BATCH", 9)
    add = version_pairs.PairStore.add
    stored: list[int] = []

    def interrupt(store: version_pairs.PairStore, pairs: Any) -> None:
        if len(stored) == 2:
            raise KeyboardInterrupt
        stored.append(len(pairs))
        add(store, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(version_pairs.PairStore, "add", interrupt)
        run_job(group_versions.main, exit_code=130)
    assert not rows(library)
    counts = run_job(group_versions.main)["counts"]
    assert counts["pairs_compared"] == counts_of(grouped)["pairs_compared"] - sum(stored)
    assert_same_content(library, grouped, TABLES)


@pytest.mark.jvm
@pytest.mark.exhaustive
def test_on_a_cluster_the_rows_are_those_of_one_machine(
    grouped: Warehouse, library: Warehouse, submit: Callable[..., None], tmp_path: Path
) -> None:
    submit(Path(shutil.copy(group_versions.__file__, tmp_path)), "--json", "--warehouse", library.root)
    assert_same_content(library, grouped, TABLES)


def test_a_warehouse_of_a_former_version_and_what_to_run_first(
    chain: Chain, warehouse: Warehouse, run_job: RunJob, refusal: Callable[..., str]
) -> None:
    """The tables of versions are not there; then the library has no chroma, and no embedding."""
    copy_warehouse(chain.after("find-covers"), Path(warehouse.root))
    assert not warehouse.exists(LIBRARY_VERSIONS)
    models = warehouse.lookup_all(MODELS).to_pylist()
    (model,) = (row["model_id"] for row in models if row["kind"] != PartNetwork.kind)
    embed_with = f"train-cover-index --model {model}, which embeds new tracks"
    write_library(warehouse, COLLECTION, MORE)
    chroma = warehouse.lookup(BEAT_CHROMA, "track_id", "LB", "LB\U0010ffff", ["track_id"])
    warehouse.merge(BEAT_CHROMA, [], delete=chroma)
    assert refusal(group_versions) == f"no library track has chroma: run extract-chroma, then {embed_with}"
    run_job(extract_chroma.main, "--max-bad", 1)
    said = refusal(group_versions)
    assert said == f"no library track has an embedding of the model {model}: run {embed_with}"
    embed(warehouse)
    assert run_job(group_versions.main)["counts"]["tracks"] == len(MORE) + 3
    vectors = warehouse.lookup(COVER_VECTORS, "track_id", *EVERYTHING, ["track_id"])["track_id"].to_pylist()
    assert sum(track.startswith("LB") for track in vectors) == len(MORE)
