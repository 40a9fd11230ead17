"""Annotation files into tables: real lists, composed ones, and files that are wrong or change."""

import csv
import gzip
import io
import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from reprise.jobs import ingest_annotations
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
    Table,
)
from tests.jobs.chain import Chain, Real

Rows = Callable[..., pd.DataFrame]
ID = "TRAAAAA12345678900"
OTHER = "TRBBBBB12345678900"
SONG = "SOAAAAA12345678900"
NOT_ANNOTATIONS = {
    "empty.txt": (b"", "empty_file"),
    "prose.txt": (b"no annotation at all\n" * 3, "unknown_format"),
    "binary.gz": (b"\x00\x01\x02" * 100, "unknown_format"),
    "not_gzip.txt.gz": (b"\x1f\x8bnot gzip", "unreadable"),
}
"""Files that no format fits, and their fault."""


def test_real_lists(shared_data: Path, real: Real, rows_of: Rows) -> None:
    warehouse = real.warehouse
    cliques = rows_of(warehouse, COVER_CLIQUES)
    assert cliques.groupby("source").size().to_dict() == {"shs_dataset_train": 12960, "shs_dataset_test": 5236}
    assert cliques.groupby("source")["clique_id"].nunique().to_dict() == {
        "shs_dataset_train": 4128,
        "shs_dataset_test": 1726,
    }
    labels = rows_of(warehouse, GENRE_LABELS)
    lines = [line.split("\t") for line in (shared_data / "annotations/msd_tagtraum_cd1.cls").read_text().splitlines()]
    expected = {(track, rank): genre for track, *genres in lines for rank, genre in enumerate(genres)}
    assert {(r.track_id, r.rank): r.genre for r in labels.itertuples()} == expected
    mismatches = (shared_data / "annotations/sid_mismatches.txt").read_text("utf-8").split("\n")[:-1]
    pairs = {tuple(line[8:45].split(" ")) for line in mismatches}
    stored = rows_of(warehouse, SONG_MISMATCHES)
    assert set(zip(stored["song_id"], stored["track_id"], strict=True)) == pairs
    assert real.counts["annotations"]["repeated"] == len(mismatches) - len(pairs)
    # the list of binary queries is no format of ours, and says so
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["error_class"].tolist() == ["unknown_format"]


def test_real_triplets(shared_data: Path, real: Real, rows_of: Rows) -> None:
    stored = rows_of(real.warehouse, PLAYS)
    expected = {}
    for path in (shared_data / "taste").glob("*.txt"):
        for line in path.read_text().splitlines():
            user, song, count = line.split("\t")
            expected[user, song, path.stem] = int(count)
    assert {(r.user_id, r.song_id, r.source): r.play_count for r in stored.itertuples()} == expected


def test_composed_annotations_say_what_was_planted(chain: Chain, rows_of: Rows) -> None:
    annotations = chain.inputs / "annotations"
    warehouse = Warehouse(str(chain.after("ingest-annotations")))
    with (annotations / "truth_tracks.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["track_id"]: row for row in csv.DictReader(file)}
    tracks = rows_of(warehouse, UNIQUE_TRACKS)
    assert dict(zip(tracks["track_id"], tracks["song_id"], strict=True)) == {k: v["song_id"] for k, v in truth.items()}
    labels = rows_of(warehouse, GENRE_LABELS)
    first = labels[labels["rank"] == 0]
    assert len(first) > 0
    assert {r.track_id: r.genre for r in first.itertuples()}.items() <= {
        k: v["genre"] for k, v in truth.items()
    }.items()
    planted = defaultdict(set)
    for track, row in truth.items():
        if row["clique"] not in ("", "-1"):
            planted[row["clique"]].add(track)
    stored = rows_of(warehouse, COVER_CLIQUES).groupby("clique_id")["track_id"].agg(frozenset)
    assert set(stored) == {frozenset(tracks) for tracks in planted.values()}
    with gzip.open(annotations / "train_triplets.txt.gz", "rt") as lines:
        total = sum(int(line.split("\t")[2]) for line in lines)
    assert rows_of(warehouse, PLAYS)["play_count"].sum() == total


class Ingested(NamedTuple):
    """The tables after one ingest of a folder."""

    folder: Path
    tables: dict[str, pd.DataFrame]

    def rows(self, table: Table, source: str) -> pd.DataFrame:
        """Rows that one file says."""
        rows = self.tables[table.name]
        return rows[rows["source"] == source].reset_index(drop=True)

    def rejected(self, name: str) -> pd.DataFrame:
        """Quarantine rows of one file, the first of its lines first."""
        rows = self.tables[QUARANTINE.name]
        uri = (self.folder / name).as_uri()
        return rows[(rows["uri"] == uri) | rows["uri"].str.startswith(f"{uri}#L")].reset_index(drop=True)


@pytest.fixture(scope="module")
def ingests(spark: SparkSession, rows_of: Rows, tmp_path_factory: pytest.TempPathFactory) -> list[Ingested]:
    """A folder of files, good, bad and partly bad, ingested three times: some files change, come and go meanwhile."""
    top = tmp_path_factory.mktemp("annotations")
    folder, warehouse = top / "lists", Warehouse(str(top / "warehouse"))
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    found: list[Ingested] = []

    def ingest() -> None:
        # the folders a and b are in different chunks of the listing
        with redirect_stdout(io.StringIO()), pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest_annotations, "_FILES_AT_ONCE", 12)
            assert ingest_annotations.main(["--source", str(folder), "--warehouse", warehouse.root]) == 0
        tables = (GENRE_LABELS, PLAYS, QUARANTINE)
        found.append(Ingested(folder, {table.name: rows_of(warehouse, table) for table in tables}))

    (folder / "other.cls").write_text(f"{ID}\tJazz\n")
    (folder / "genres.cls").write_text(f"{ID}\tPop_Rock\tRap\n{OTHER}\tBlues\n")
    (folder / "plays.txt").write_text(f"ann\t{SONG}\t3\nbob\t{SONG}\t1\n")
    repeated = [f"ann\t{SONG}\t3", f"ann\t{SONG}\t7", f"ann\t{SONG}\t2", f"émile '; DROP TABLE\t{SONG}\t1"]
    (folder / "repeated.txt.gz").write_bytes(gzip.compress("\n".join(repeated).encode()))
    (folder / "lines.cls").write_bytes(f"{ID}\tPop_Rock\nnonsense\n{OTHER}\n\xff".encode("latin-1"))
    (folder / "touched.cls").write_text(f"# labels\n{ID}\tRock\nnonsense\n{OTHER}\tRap\n")
    for name, (content, _) in NOT_ANNOTATIONS.items():
        (folder / name).write_bytes(content)
    many = "".join(f"user{i}\t{SONG}\t{i + 1}\n" for i in range(50_000)).encode()
    (folder / "broken.txt.gz").write_bytes(gzip.compress(many)[:-2000])
    for name, genre in (("a", "Jazz"), ("b", "Rap")):
        (folder / name / "same.cls").write_text(f"{ID}\t{genre}\n")
    (folder / "b" / "late.cls").write_text(f"{ID}\tJazz\n")
    ingest()

    (folder / "genres.cls").write_text(f"{ID}\tRap\n")
    (folder / "plays.txt").write_text(f"ann\t{SONG}\t5\ncarla\t{SONG}\t1\n")
    (folder / "lines.cls").write_text(f"{ID}\tPop_Rock\n{OTHER}\tRap\n")
    os.utime(folder / "touched.cls", ns=(10**18, 10**18))
    (folder / "a" / "late.cls").write_text(f"{ID}\tRap\n")
    ingest()

    (folder / "b" / "late.cls").unlink()
    ingest()
    return found


def test_new_version_of_a_file_replaces_what_the_last_one_said(ingests: list[Ingested]) -> None:
    before, after = (found.rows(GENRE_LABELS, "genres") for found in ingests[:2])
    assert before[["track_id", "rank", "genre"]].to_numpy().tolist() == [
        [ID, 0, "Pop_Rock"], [ID, 1, "Rap"], [OTHER, 0, "Blues"]
    ]  # fmt: skip
    assert after[["track_id", "rank", "genre"]].to_numpy().tolist() == [[ID, 0, "Rap"]]
    for found in ingests:
        assert found.rows(GENRE_LABELS, "other")["genre"].tolist() == ["Jazz"]
    plays = [found.rows(PLAYS, "plays")[["user_id", "play_count"]].to_numpy().tolist() for found in ingests[:2]]
    assert plays == [[["ann", 3], ["bob", 1]], [["ann", 5], ["carla", 1]]]


def test_repeated_plays_keep_the_largest_count(ingests: list[Ingested]) -> None:
    rows = ingests[0].rows(PLAYS, "repeated")
    assert rows[["user_id", "play_count"]].to_numpy().tolist() == [["ann", 7], ["émile '; DROP TABLE", 1]]


def test_bad_lines_name_file_and_line_and_go_when_repaired(ingests: list[Ingested]) -> None:
    before, after, _ = ingests
    rejected = before.rejected("lines.cls")
    uri = (before.folder / "lines.cls").as_uri()
    assert rejected["uri"].tolist() == [f"{uri}#L{number}" for number in (2, 3, 4)]
    assert all("\n" not in message and len(message) > 10 for message in rejected["message"])
    assert len(before.rows(GENRE_LABELS, "lines")) == 1
    assert after.rejected("lines.cls").empty
    assert len(after.rows(GENRE_LABELS, "lines")) == 2


def test_bad_lines_of_a_file_that_is_touched_stay_in_quarantine(ingests: list[Ingested]) -> None:
    before, after = (found.rejected("touched.cls") for found in ingests[:2])
    assert before["uri"].str.endswith("#L3").tolist() == [True]
    pd.testing.assert_frame_equal(after, before)
    assert ingests[1].rows(GENRE_LABELS, "touched")["track_id"].tolist() == [ID, OTHER]


@pytest.mark.parametrize("name", NOT_ANNOTATIONS)
def test_file_that_is_no_annotation_is_one_quarantine_row(name: str, ingests: list[Ingested]) -> None:
    assert ingests[0].rejected(name)["error_class"].tolist() == [NOT_ANNOTATIONS[name][1]]


def test_truncated_gzip_keeps_the_rows_before_the_break(ingests: list[Ingested]) -> None:
    assert 10_000 < len(ingests[0].rows(PLAYS, "broken")) < 50_000
    assert ingests[0].rejected("broken.txt.gz")["error_class"].tolist() == ["broken_stream"]


def test_second_file_of_one_name_is_refused(ingests: list[Ingested]) -> None:
    assert ingests[0].rows(GENRE_LABELS, "same")["genre"].tolist() == ["Jazz"]
    (message,) = ingests[0].rejected("b/same.cls")["message"]
    assert "a/same.cls" in message
    assert "rename" in message


def test_a_new_file_never_replaces_one_of_the_same_name_that_was_read(ingests: list[Ingested]) -> None:
    """Even if it comes first in the listing; when the other file is gone, it is read."""
    assert [found.rows(GENRE_LABELS, "late")["genre"].tolist() for found in ingests] == [["Jazz"], ["Jazz"], ["Rap"]]
    (message,) = ingests[1].rejected("a/late.cls")["message"]
    assert "b/late.cls" in message
    assert ingests[2].rejected("a/late.cls").empty
