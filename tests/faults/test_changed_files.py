"""What a second run does about files that were changed, mended, spoiled, touched or left alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pandas as pd
import pytest

from reprise.jobs import ingest_annotations, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib import msd
from reprise.lib.tables import GENRE_LABELS, JOB_RUNS, MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE

Rows = Callable[..., pd.DataFrame]
Ingest = Callable[..., dict[str, Any]]
N_FILES = 8


@pytest.fixture
def tree(sample_dir: Path, tmp_path: Path) -> Path:
    """A few good files."""
    (tmp_path / "tree").mkdir()
    for path in sorted((sample_dir / "msd").rglob("*.h5"))[:N_FILES]:
        shutil.copy2(path, tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def ingest(run_job: Ingest, tree: Path) -> Ingest:
    """Ingest the tree; gives the counts of the summary."""

    def run(*args: object, exit_code: int = 0) -> dict[str, Any]:
        summary = run_job(ingest_msd.main, "--source", tree, *args, exit_code=exit_code)
        counts: dict[str, Any] = summary["counts"]
        return counts

    return run


def files_of(tree: Path) -> list[Path]:
    return sorted(tree.glob("*.h5"))


def change_title(path: Path, title: str) -> None:
    with h5py.File(path, "r+") as file:
        row = file["/metadata/songs"][...]
        row["title"] = title
        file["/metadata/songs"][...] = row


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {name: v for name, v in Warehouse(warehouse.root).versions().items() if name != JOB_RUNS.name}


def changed(warehouse: Warehouse, before: dict[str, int]) -> set[str]:
    """Tables that have another version than before."""
    return {name for name, version in versions(warehouse).items() if before.get(name) != version}


def songs_of(paths: list[Path]) -> list[dict[str, Any]]:
    return [{name: values[0] for name, values in msd.read(path).items()} for path in paths]


def test_a_rerun_changes_nothing(tree: Path, ingest: Ingest, warehouse: Warehouse) -> None:
    files = files_of(tree)
    os.truncate(files[0], 100)
    files[1].unlink()
    os.mkfifo(files[1])
    shutil.copy(files[2], tree / "twin.h5")
    shutil.copy(files[3], tree / "other.h5")
    change_title(tree / "other.h5", "another title")
    ingest(exit_code=3)
    before = versions(warehouse)
    assert set(before) == {table.name for table in (MSD_TRACKS, MSD_ANALYSIS, MANIFEST, QUARANTINE)}
    counts = ingest(exit_code=3)
    assert counts["skipped"] == N_FILES + 2 - 1  # what is no file is looked at each time
    assert changed(warehouse, before) == set()


@pytest.mark.parametrize("state", ["good", "bad"])
def test_a_touch_changes_the_time_in_the_manifest_and_nothing_else(
    state: str, tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    path = files_of(tree)[0]
    if state == "bad":
        os.truncate(path, 1000)
    ingest("--max-bad", 1)
    before, manifest = versions(warehouse), rows_of(warehouse, MANIFEST)
    os.utime(path, ns=(10**18, 10**18))
    counts = ingest("--max-bad", 1)
    assert (counts["skipped"], counts["tracks_read"], counts["quarantined"]) == (N_FILES - 1, 0, 0)
    assert changed(warehouse, before) == {MANIFEST.name}
    touched = manifest["uri"] == path.as_uri()
    manifest.loc[touched, "file_mtime_us"] = 10**15
    pd.testing.assert_frame_equal(rows_of(warehouse, MANIFEST), manifest)
    assert len(rows_of(warehouse, QUARANTINE)) == (state == "bad")
    ingest("--max-bad", 0 if state == "good" else 1)
    assert ingest(exit_code=0 if state == "good" else 3)["skipped"] == N_FILES


def test_a_bad_file_that_is_mended_leaves_quarantine(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows, tmp_path: Path
) -> None:
    first, second = files_of(tree)[:2]
    shutil.copy2(first, tmp_path / "good.h5")
    os.truncate(first, 1000)
    os.truncate(second, 1000)
    ingest(exit_code=3)
    assert len(rows_of(warehouse, MSD_TRACKS)) == N_FILES - 2
    shutil.copy2(tmp_path / "good.h5", first)
    assert ingest(exit_code=3)["tracks_read"] == 1
    assert rows_of(warehouse, QUARANTINE)["uri"].tolist() == [second.as_uri()]
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        rows = rows_of(warehouse, table)
        assert rows["track_id"].tolist() == sorted(path.stem for path in files_of(tree) if path != second)
    assert rows_of(warehouse, MANIFEST)["status"].value_counts().to_dict() == {"done": N_FILES - 1, "quarantined": 1}


def test_a_good_file_that_is_spoiled_keeps_its_rows(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    ingest()
    before = {table.name: rows_of(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS)}
    path = files_of(tree)[0]
    os.truncate(path, 1000)
    assert ingest(exit_code=3)["quarantined"] == 1
    assert rows_of(warehouse, QUARANTINE)[["uri", "error_class"]].to_numpy().tolist() == [[path.as_uri(), "truncated"]]
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        pd.testing.assert_frame_equal(rows_of(warehouse, table), before[table.name])


def test_another_fault_of_a_bad_file_replaces_its_row(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    path = files_of(tree)[0]
    os.truncate(path, 1000)
    ingest(exit_code=3)
    os.truncate(path, 0)
    ingest(exit_code=3)
    row = rows_of(warehouse, QUARANTINE)
    assert row[["uri", "error_class", "attempts"]].to_numpy().tolist() == [[path.as_uri(), "empty_file", 2]]


def test_a_changed_file_replaces_its_rows(tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows) -> None:
    ingest()
    before = {table.name: rows_of(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS)}
    path = files_of(tree)[3]
    change_title(path, "another title")
    assert ingest()["tracks_read"] == 1
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        rows, ours = rows_of(warehouse, table), before[table.name]["track_id"] == path.stem
        pd.testing.assert_frame_equal(rows[~ours], before[table.name][~ours])
        assert rows[ours]["sha256"].item() != before[table.name][ours]["sha256"].item()
    tracks = rows_of(warehouse, MSD_TRACKS)
    assert tracks["title"][tracks["track_id"] == path.stem].tolist() == ["another title"]
    assert rows_of(warehouse, QUARANTINE).empty


def test_an_aggregate_that_lost_a_song_loses_its_row(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    songs = songs_of(files_of(tree))
    for path in files_of(tree)[:5]:
        path.unlink()
    msd.write(tree / "aggregate.h5", songs[:5])
    ingest()
    for kept in ([0, 1, 2, 4], [4, 2]):
        msd.write(tree / "aggregate.h5", [songs[i] for i in kept])
        ingest()
        for table in (MSD_TRACKS, MSD_ANALYSIS):
            rows = rows_of(warehouse, table)
            assert rows["track_id"].tolist() == sorted(songs[i]["track_id"] for i in [*kept, 5, 6, 7])


def test_a_song_that_an_aggregate_holds_twice_is_kept_once(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    songs = songs_of(files_of(tree)[:3])
    for path in files_of(tree):
        path.unlink()
    msd.write(tree / "aggregate.h5", [*songs, songs[1] | {"title": "again"}, songs[1] | {"title": "and again"}])
    assert ingest(exit_code=3)["tracks_read"] == 3
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        assert rows_of(warehouse, table)["track_id"].tolist() == sorted(song["track_id"] for song in songs)
    assert "again" not in " ".join(rows_of(warehouse, MSD_TRACKS)["title"])
    row = rows_of(warehouse, QUARANTINE).iloc[0]
    assert row["error_class"] == "duplicate_track"
    assert "twice in this file" in row["message"]
    manifest = rows_of(warehouse, MANIFEST).iloc[0]
    assert manifest[["status", "row_count", "reject_count"]].tolist() == ["done", 3, 2]


def test_the_tracks_of_an_aggregate_that_stand_alone_too(
    tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows
) -> None:
    songs = songs_of(files_of(tree)[:3])
    msd.write(tree / "aggregate.h5", [*songs, songs[0] | {"track_id": f"TR{0:016d}"}])
    assert ingest("--max-bad", 1)["tracks_read"] == N_FILES + 1
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        ours = rows_of(warehouse, table).set_index("track_id")["uri"]
        expected = {path.stem: path.as_uri() for path in files_of(tree) if path.stem != "aggregate"}
        assert ours.to_dict() == expected | {f"TR{0:016d}": (tree / "aggregate.h5").as_uri()}


def test_force_reads_everything_again(tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows) -> None:
    os.truncate(files_of(tree)[0], 1000)
    ingest(exit_code=3)
    before = {table.name: rows_of(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS, MANIFEST)}
    runs = {table.name: run_ids(warehouse, table) for table in (MSD_TRACKS, MSD_ANALYSIS, QUARANTINE)}
    counts = ingest("--force", exit_code=3)
    assert (counts["skipped"], counts["tracks_read"]) == (0, N_FILES - 1)
    for table in (MSD_TRACKS, MSD_ANALYSIS, MANIFEST):
        pd.testing.assert_frame_equal(rows_of(warehouse, table), before[table.name])
    for table in (MSD_TRACKS, MSD_ANALYSIS, QUARANTINE):
        assert len(run_ids(warehouse, table)) == 1
        assert run_ids(warehouse, table) != runs[table.name]
    assert rows_of(warehouse, QUARANTINE)["attempts"].tolist() == [2]


def test_the_summary_names_the_versions_that_were_left(tree: Path, run_job: Ingest, warehouse: Warehouse) -> None:
    for _ in range(2):
        summary = run_job(ingest_msd.main, "--source", tree, "--force")
        left = {name: v for name, v in summary["output_versions"].items() if name != JOB_RUNS.name}
        assert left == versions(warehouse)


def run_ids(warehouse: Warehouse, table: Any) -> set[str]:
    rows = Warehouse(warehouse.root).lookup(table, table.key[0], "", "\U0010ffff")
    return set(rows["run_id"].to_pylist())


def test_bad_lines_of_a_file_that_is_touched_stay_in_quarantine(
    run_job: Ingest, warehouse: Warehouse, rows_of: Rows, tmp_path: Path
) -> None:
    path = tmp_path / "genres.cls"
    path.write_text("# labels\nTRAAAAK128F9318786\tRock\nnonsense\nTRAAAAV128F421A322\tRap\n")
    run_job(ingest_annotations.main, "--source", path, "--max-bad", 1)
    before = rows_of(warehouse, QUARANTINE)
    assert before["uri"].tolist() == [f"{path.as_uri()}#L3"]
    os.utime(path, ns=(10**18, 10**18))
    run_job(ingest_annotations.main, "--source", path, "--max-bad", 1)
    pd.testing.assert_frame_equal(rows_of(warehouse, QUARANTINE), before)
    path.write_text("# labels\nTRAAAAK128F9318786\tRock\n")
    run_job(ingest_annotations.main, "--source", path)
    assert rows_of(warehouse, QUARANTINE).empty
    assert rows_of(warehouse, GENRE_LABELS)["track_id"].tolist() == ["TRAAAAK128F9318786"]


def test_max_bad(tree: Path, ingest: Ingest, warehouse: Warehouse, rows_of: Rows) -> None:
    os.truncate(files_of(tree)[0], 1000)
    for _ in range(2):
        ingest(exit_code=3)
        assert len(rows_of(warehouse, MSD_TRACKS)) == N_FILES - 1
    ingest("--max-bad", 1)
    ingest("--max-bad", 1 / N_FILES)
    ingest("--max-bad", 0.99 / N_FILES, exit_code=3)
    ingest("--force", "--max-bad", 1)


def test_rows_of_a_bad_file_go_with_it(
    tree: Path, run_job: Ingest, warehouse: Warehouse, rows_of: Rows, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for bad in (tree / "bad.h5", tree / "worse.h5", elsewhere / "bad.h5"):
        bad.write_bytes(b"no HDF5")
    run_job(ingest_msd.main, "--source", elsewhere, exit_code=3)
    run_job(ingest_msd.main, "--source", tree, "--max-bad", 1)
    before = len(rows_of(warehouse, MANIFEST))
    (tree / "bad.h5").unlink()
    run_job(ingest_msd.main, "--source", tree, "--max-bad", 1)
    left = {(elsewhere / "bad.h5").as_uri(), (tree / "worse.h5").as_uri()}
    assert left <= set(rows_of(warehouse, QUARANTINE)["uri"])
    assert (tree / "bad.h5").as_uri() not in set(rows_of(warehouse, QUARANTINE)["uri"])
    assert len(rows_of(warehouse, MANIFEST)) == before - 1
