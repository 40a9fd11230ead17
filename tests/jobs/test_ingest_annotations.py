"""Annotation files into tables: real lists, composed ones, and files that are wrong."""

import csv
import gzip
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import ingest_annotations
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import (
    COVER_CLIQUES,
    GENRE_LABELS,
    JOB_RUNS,
    MANIFEST,
    PLAYS,
    QUARANTINE,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
)

Run = Callable[..., dict[str, Any]]
Rows = Callable[..., pd.DataFrame]
ID = "TRAAAAA12345678900"
OTHER = "TRBBBBB12345678900"
SONG = "SOAAAAA12345678900"


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {k: v for k, v in Warehouse(warehouse.root).versions().items() if k != JOB_RUNS.name}


def test_real_lists(shared_data: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    summary = run_job(ingest_annotations.main, "--source", shared_data / "annotations")
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
    assert summary["counts"]["repeated"] == len(mismatches) - len(pairs)
    # the list of binary queries is no format of ours, and says so
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["error_class"].tolist() == ["unknown_format"]


def test_real_triplets(shared_data: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    run_job(ingest_annotations.main, "--source", shared_data / "taste")
    stored = rows_of(warehouse, PLAYS)
    expected = {}
    for path in (shared_data / "taste").glob("*.txt"):
        for line in path.read_text().splitlines():
            user, song, count = line.split("\t")
            expected[user, song, path.stem] = int(count)
    assert {(r.user_id, r.song_id, r.source): r.play_count for r in stored.itertuples()} == expected


def test_composed_annotations_say_what_was_planted(
    sample_dir: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    run_job(ingest_annotations.main, "--source", sample_dir / "annotations")
    with (sample_dir / "annotations/truth_tracks.csv").open(newline="", encoding="utf-8") as file:
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
    with gzip.open(sample_dir / "annotations/train_triplets.txt.gz", "rt") as lines:
        total = sum(int(line.split("\t")[2]) for line in lines)
    assert rows_of(warehouse, PLAYS)["play_count"].sum() == total


def test_rerun_changes_no_table(sample_dir: Path, run_job: Run, warehouse: Warehouse) -> None:
    run_job(ingest_annotations.main, "--source", sample_dir / "annotations")
    before = versions(warehouse)
    assert run_job(ingest_annotations.main, "--source", sample_dir / "annotations")["counts"]["skipped"] == 6
    assert versions(warehouse) == before


def test_force_leaves_the_same_rows(sample_dir: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    tables = (COVER_CLIQUES, GENRE_LABELS, PLAYS, SONG_MISMATCHES, UNIQUE_TRACKS, MANIFEST)
    run_job(ingest_annotations.main, "--source", sample_dir / "annotations")
    before = [rows_of(warehouse, table) for table in tables]
    run_job(ingest_annotations.main, "--source", sample_dir / "annotations", "--force")
    for table, rows in zip(tables, before, strict=True):
        pd.testing.assert_frame_equal(rows_of(warehouse, table), rows)


def test_new_version_of_a_file_replaces_what_the_last_one_said(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    folder = tmp_path / "lists"
    folder.mkdir()
    other_list = f"{ID}\tJazz\n"
    (folder / "other.cls").write_text(other_list)
    (folder / "genres.cls").write_text(f"{ID}\tPop_Rock\tRap\n{OTHER}\tBlues\n")
    (folder / "plays.txt").write_text(f"ann\t{SONG}\t3\nbob\t{SONG}\t1\n")
    run_job(ingest_annotations.main, "--source", folder)
    (folder / "genres.cls").write_text(f"{ID}\tRap\n")
    (folder / "plays.txt").write_text(f"ann\t{SONG}\t5\ncarla\t{SONG}\t1\n")
    run_job(ingest_annotations.main, "--source", folder)
    labels = rows_of(warehouse, GENRE_LABELS)[["track_id", "source", "rank", "genre"]].to_numpy().tolist()
    assert labels == [[ID, "genres", 0, "Rap"], [ID, "other", 0, "Jazz"]]
    plays = rows_of(warehouse, PLAYS)[["user_id", "play_count"]].to_numpy().tolist()
    assert plays == [["ann", 5], ["carla", 1]]


def test_repeated_plays_keep_the_largest_count(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    lines = [f"ann\t{SONG}\t3", f"ann\t{SONG}\t7", f"ann\t{SONG}\t2", f"émile '; DROP TABLE\t{SONG}\t1"]
    (tmp_path / "plays.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    run_job(ingest_annotations.main, "--source", tmp_path / "plays.txt.gz")
    rows = rows_of(warehouse, PLAYS)
    assert Counter(dict(zip(rows["user_id"], rows["play_count"], strict=True))) == {"ann": 7, "émile '; DROP TABLE": 1}
    assert set(rows["source"]) == {"plays"}


def test_bad_lines_name_file_and_line_and_go_when_repaired(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    path = tmp_path / "genres.cls"
    path.write_bytes(f"{ID}\tPop_Rock\nnonsense\n{OTHER}\n\xff".encode("latin-1"))
    summary = run_job(ingest_annotations.main, "--source", path, exit_code=3)
    assert summary["counts"]["rows_read"] == 1
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["uri"].tolist() == [f"{path.as_uri()}#L{number}" for number in (2, 3, 4)]
    assert all("\n" not in message and len(message) > 10 for message in rejected["message"])
    path.write_text(f"{ID}\tPop_Rock\n{OTHER}\tRap\n")
    run_job(ingest_annotations.main, "--source", path)
    assert rows_of(warehouse, QUARANTINE).empty
    assert len(rows_of(warehouse, GENRE_LABELS)) == 2


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("empty.txt", b"", "empty_file"),
        ("prose.txt", b"no annotation at all\n" * 3, "unknown_format"),
        ("binary.gz", b"\x00\x01\x02" * 100, "unknown_format"),
        ("not_gzip.txt.gz", b"\x1f\x8bnot gzip", "unreadable"),
    ],
)
def test_file_that_is_no_annotation_is_one_quarantine_row(
    name: str, content: bytes, kind: str, tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    (tmp_path / name).write_bytes(content)
    run_job(ingest_annotations.main, "--source", tmp_path / name, exit_code=3)
    assert rows_of(warehouse, QUARANTINE)["error_class"].tolist() == [kind]


def test_truncated_gzip_keeps_the_rows_before_the_break(
    tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    lines = "".join(f"user{i}\t{SONG}\t{i + 1}\n" for i in range(50_000)).encode()
    (tmp_path / "plays.txt.gz").write_bytes(gzip.compress(lines)[:-2000])
    run_job(ingest_annotations.main, "--source", tmp_path / "plays.txt.gz")
    stored = rows_of(warehouse, PLAYS)
    assert 10_000 < len(stored) < 50_000
    assert rows_of(warehouse, QUARANTINE)["error_class"].tolist() == ["broken_stream"]


def test_second_file_of_one_name_is_refused(tmp_path: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    for folder, genre in (("a", "Jazz"), ("b", "Rap")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "genres.cls").write_text(f"{ID}\t{genre}\n" * 1)
    run_job(ingest_annotations.main, "--source", tmp_path, exit_code=3)
    assert rows_of(warehouse, GENRE_LABELS)["genre"].tolist() == ["Jazz"]
    (message,) = rows_of(warehouse, QUARANTINE)["message"]
    assert "a/genres.cls" in message
    assert "rename" in message
