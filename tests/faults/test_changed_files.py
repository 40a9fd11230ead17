"""What later runs do about files that were changed, mended, spoiled, touched or left alone."""

import io
import json
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from reprise.jobs import ingest_msd
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib import msd
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE, Table
from tests.jobs.chain import versions

Rows = Callable[..., pd.DataFrame]
TABLES = (MSD_TRACKS, MSD_ANALYSIS)
CASES = (
    *("touched", "touched_bad", "mended", "spoiled", "worse", "changed", "pipe", "twin", "conflict"),
    *("left_0", "left_1", "left_2", "left_3", "left_4", "twice_0", "twice_1", "twice_2", "alone_0", "alone_1"),
)
"""What becomes of a file of the sample each; those with a number are songs of an aggregate."""


class Ingested(NamedTuple):
    """One ingest of the tree: its summary, and the tables after it."""

    counts: dict[str, int]
    run_id: str
    versions: dict[str, int]
    tables: dict[str, pd.DataFrame]

    def rows(self, table: Table, uri: str | Path) -> pd.DataFrame:
        """Rows of one file."""
        rows = self.tables[table.name]
        return rows[rows["uri"] == (uri if isinstance(uri, str) else uri.as_uri())].reset_index(drop=True)

    def owners(self, table: Table) -> dict[str, str]:
        """File of each track."""
        rows = self.tables[table.name]
        return dict(zip(rows["track_id"], rows["uri"], strict=True))


class Tree:
    """Files on disk, and one ingest of them after another."""

    def __init__(self, folder: Path, files: list[Path], rows_of: Rows) -> None:
        self.folder, self._rows_of = folder / "tree", rows_of
        self._warehouse = Warehouse(str(folder / "warehouse"))
        self.folder.mkdir()
        self.sources = dict(zip(CASES, files, strict=False))
        self.files = {case: Path(shutil.copy2(path, self.folder)) for case, path in self.sources.items()}
        self.songs = {case: read_song(path) for case, path in self.sources.items()}

    def track(self, case: str) -> str:
        """Track of the file of a case."""
        return self.sources[case].stem

    def ingest(self, *arguments: str, exit_code: int, source: Path | None = None) -> Ingested:
        """Ingest the tree as it is now, or another folder."""
        asked = ["--source", str(source or self.folder), *arguments, "--json", "--warehouse", self._warehouse.root]
        with redirect_stdout(io.StringIO()) as printed:
            assert ingest_msd.main(asked) == exit_code
        summary = json.loads(printed.getvalue())
        tables = {table.name: self._rows_of(self._warehouse, table) for table in (*TABLES, MANIFEST, QUARANTINE)}
        return Ingested(summary["counts"], summary["run_id"], versions(self._warehouse), tables)

    def run_ids(self, table: Table) -> set[str]:
        """Runs that wrote the rows of a table as it is now."""
        rows = Warehouse(self._warehouse.root).lookup(table, table.key[0], "", "\U0010ffff")
        return set(rows["run_id"].to_pylist())


def read_song(path: Path) -> dict[str, Any]:
    return {name: values[0] for name, values in msd.read(path).items()}


def change_title(path: Path, title: str) -> None:
    with h5py.File(path, "r+") as file:
        row = file["/metadata/songs"][...]
        row["title"] = title
        file["/metadata/songs"][...] = row


class Story(NamedTuple):
    """The tree, and its ingests: the first, one without a change, one after the changes, a forced one after more."""

    tree: Tree
    first: Ingested
    rerun: Ingested
    second: Ingested
    forced: Ingested
    elsewhere: Path
    forced_run_ids: dict[str, set[str]]


@pytest.fixture(scope="module")
def story(sample_dir: Path, spark: SparkSession, rows_of: Rows, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("changed")
    tree = Tree(folder, sorted((sample_dir / "msd").rglob("*.h5")), rows_of)
    files, songs = tree.files, tree.songs
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for bad in (tree.folder / "bad.h5", elsewhere / "bad.h5"):
        bad.write_bytes(b"no HDF5")
    for case in ("touched_bad", "mended", "worse"):
        os.truncate(files[case], 1000)
    files["pipe"].unlink()
    os.mkfifo(files["pipe"])
    shutil.copy(files["twin"], tree.folder / "twin.h5")
    shutil.copy(files["conflict"], tree.folder / "zzz other title.h5")
    change_title(tree.folder / "zzz other title.h5", "another title")
    left = [songs[f"left_{n}"] for n in range(5)]
    twice = [songs[f"twice_{n}"] for n in range(3)]
    for case in CASES:
        if case.startswith(("left_", "twice_")):
            files[case].unlink()
    msd.write(tree.folder / "left.h5", left)
    msd.write(tree.folder / "twice.h5", [*twice, *(twice[1] | {"title": title} for title in ("again", "and again"))])
    own = songs["alone_0"] | {"track_id": f"TR{0:016d}"}
    msd.write(tree.folder / "zz alone.h5", [songs["alone_0"], songs["alone_1"], own])

    tree.ingest(source=elsewhere, exit_code=3)
    first = tree.ingest(exit_code=3)
    rerun = tree.ingest(exit_code=3)

    for case in ("touched", "touched_bad"):
        os.utime(files[case], ns=(10**18, 10**18))
    shutil.copy2(tree.sources["mended"], files["mended"])
    os.truncate(files["spoiled"], 1000)
    os.truncate(files["worse"], 0)
    change_title(files["changed"], "another title")
    msd.write(tree.folder / "left.h5", [left[i] for i in (0, 1, 2, 4)])
    (tree.folder / "bad.h5").unlink()
    second = tree.ingest(exit_code=3)

    msd.write(tree.folder / "left.h5", [left[i] for i in (4, 2)])
    forced = tree.ingest("--force", "--max-bad", "1", exit_code=0)
    run_ids = {table.name: tree.run_ids(table) for table in TABLES}
    return Story(tree, first, rerun, second, forced, elsewhere, run_ids)


def test_a_rerun_changes_nothing_and_still_counts_what_is_bad(story: Story) -> None:
    n_files = story.first.counts["files"]
    assert story.rerun.versions == story.first.versions
    assert story.rerun.counts["skipped"] == n_files - 1  # a pipe is looked at each time
    assert (story.rerun.counts["tracks_read"], story.rerun.counts["duplicates"]) == (0, 0)


@pytest.mark.parametrize("case", ["touched", "touched_bad"])
def test_a_touch_changes_the_time_in_the_manifest_and_nothing_else(case: str, story: Story) -> None:
    path = story.tree.files[case]
    before, after = (ingested.rows(MANIFEST, path) for ingested in (story.first, story.second))
    assert after["file_mtime_us"].tolist() == [10**15]
    pd.testing.assert_frame_equal(after.drop(columns="file_mtime_us"), before.drop(columns="file_mtime_us"))
    for table in (*TABLES, QUARANTINE):
        pd.testing.assert_frame_equal(story.second.rows(table, path), story.first.rows(table, path))
    assert len(story.second.rows(QUARANTINE, path)) == (case == "touched_bad")


def test_a_bad_file_that_is_mended_leaves_quarantine(story: Story) -> None:
    path, track = story.tree.files["mended"], story.tree.track("mended")
    assert story.first.rows(QUARANTINE, path)["error_class"].tolist() == ["truncated"]
    assert track not in story.first.owners(MSD_TRACKS)
    assert story.second.rows(QUARANTINE, path).empty
    assert [story.second.owners(table)[track] for table in TABLES] == [path.as_uri()] * 2
    assert story.second.rows(MANIFEST, path)["status"].tolist() == ["done"]


def test_a_good_file_that_is_spoiled_keeps_its_rows(story: Story) -> None:
    path = story.tree.files["spoiled"]
    assert story.second.rows(QUARANTINE, path)["error_class"].tolist() == ["truncated"]
    for table in TABLES:
        assert len(story.first.rows(table, path)) == 1
        pd.testing.assert_frame_equal(story.second.rows(table, path), story.first.rows(table, path))


def test_another_fault_of_a_bad_file_replaces_its_row(story: Story) -> None:
    path = story.tree.files["worse"]
    faults = [found.rows(QUARANTINE, path)[["error_class", "attempts"]] for found in (story.first, story.second)]
    assert [rows.to_numpy().tolist() for rows in faults] == [[["truncated", 1]], [["empty_file", 2]]]


def test_a_changed_file_replaces_its_rows(story: Story) -> None:
    path = story.tree.files["changed"]
    for table in TABLES:
        before, after = (found.rows(table, path) for found in (story.first, story.second))
        assert before["sha256"].tolist() != after["sha256"].tolist()
        assert after["track_id"].tolist() == [story.tree.track("changed")]
    assert story.second.rows(MSD_TRACKS, path)["title"].tolist() == ["another title"]
    # mended, changed, and the four songs that are left of an aggregate
    assert story.second.counts["tracks_read"] == 6
    unchanged = [story.tree.track(case) for case in ("touched", "spoiled", "twin", "conflict")]
    for table in TABLES:
        before, after = (found.tables[table.name].set_index("track_id") for found in (story.first, story.second))
        pd.testing.assert_frame_equal(after.loc[unchanged], before.loc[unchanged])


def test_an_aggregate_that_lost_a_song_loses_its_row(story: Story) -> None:
    path = story.tree.folder / "left.h5"
    for ingested, kept in ((story.first, (0, 1, 2, 3, 4)), (story.second, (0, 1, 2, 4)), (story.forced, (2, 4))):
        for table in TABLES:
            assert ingested.rows(table, path)["track_id"].tolist() == sorted(
                story.tree.track(f"left_{n}") for n in kept
            )


def test_a_song_that_an_aggregate_holds_twice_is_kept_once(story: Story) -> None:
    path = story.tree.folder / "twice.h5"
    for table in TABLES:
        rows = story.first.rows(table, path)
        assert rows["track_id"].tolist() == sorted(story.tree.track(f"twice_{n}") for n in range(3))
    assert "again" not in " ".join(story.first.rows(MSD_TRACKS, path)["title"])
    (row,) = story.first.rows(QUARANTINE, path).to_dict("records")
    assert row["error_class"] == "duplicate_track"
    assert "twice in this file" in row["message"]
    manifest = story.first.rows(MANIFEST, path)
    assert manifest[["status", "row_count", "reject_count"]].to_numpy().tolist() == [["done", 3, 2]]


def test_the_tracks_of_an_aggregate_that_stand_alone_too(story: Story) -> None:
    expected = {story.tree.track(case): story.tree.files[case].as_uri() for case in ("alone_0", "alone_1")}
    expected[f"TR{0:016d}"] = (story.tree.folder / "zz alone.h5").as_uri()
    for table in TABLES:
        assert story.first.owners(table).items() >= expected.items()


def test_force_reads_everything_again(story: Story) -> None:
    n_tracks = len(story.forced.tables[MSD_TRACKS.name])
    # what is spoiled by now keeps its rows from the first time
    assert (story.forced.counts["skipped"], story.forced.counts["tracks_read"]) == (0, n_tracks - 1)
    # and the aggregate was written again before, so that its rows have another checksum
    other = [story.tree.track(case) for case in ("spoiled", "left_2", "left_4")]
    for table in TABLES:
        before, after = (found.tables[table.name].set_index("track_id") for found in (story.second, story.forced))
        pd.testing.assert_frame_equal(after.drop(other), before.loc[after.index].drop(other))
        assert story.forced_run_ids[table.name] == {story.forced.run_id, story.first.run_id}
    bad = story.tree.files["touched_bad"]
    assert story.forced.rows(QUARANTINE, bad)["attempts"].tolist() == [2]


def test_rows_of_a_bad_file_go_with_it(story: Story) -> None:
    """Those below the source, and no others."""
    gone, stays = story.tree.folder / "bad.h5", story.elsewhere / "bad.h5"
    for table in (QUARANTINE, MANIFEST):
        assert len(story.first.rows(table, gone)) == len(story.first.rows(table, stays)) == 1
        assert story.second.rows(table, gone).empty
        assert len(story.second.rows(table, stays)) == 1
