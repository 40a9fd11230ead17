"""Real lists: known counts, and every row compared with a simple parser of the same lines."""

import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reprise.lib import annotations as an


def columns(chunks: Any) -> tuple[dict[str, list[Any]], list[an.Reject]]:
    rows: dict[str, list[Any]] = {}
    rejects: list[an.Reject] = []
    for chunk in chunks:
        for name, values in chunk.rows.items():
            rows.setdefault(name, []).extend(values)
        rejects += chunk.rejects
    return rows, rejects


def plain_lines(path: Path) -> list[str]:
    return [line for line in path.read_bytes().decode("utf-8").split("\n") if line and not line.startswith("#")]


@pytest.mark.parametrize(("name", "cliques", "tracks"), [("train", 4128, 12960), ("test", 1726, 5236)])
def test_secondhandsongs_lists(shared_data: Path, name: str, cliques: int, tracks: int) -> None:
    path = shared_data / "annotations" / f"shs_dataset_{name}.txt"
    with an.open_annotation(path) as stream:
        rows, rejects = columns(an.read_cover_cliques(stream, source="shs"))
    assert rejects == []
    assert len(rows["track_id"]) == len(set(rows["track_id"])) == tracks
    assert len(set(rows["clique_id"])) == cliques

    expected = []
    for line in plain_lines(path):
        if line.startswith("%"):
            works, title = line[1:].split(", ", 1)
        else:
            track, artist, performance = line.split("<SEP>")
            number = None if performance == "-1" else int(performance)
            expected.append(([int(work) for work in works.split(",")], title, track, artist, number, "shs"))
    got = zip(*(rows[name] for name in rows if name != "clique_id"), strict=True)
    assert list(got) == expected


def test_secondhandsongs_lists_have_no_common_clique(shared_data: Path) -> None:
    found = []
    for name in ("train", "test"):
        with an.open_annotation(shared_data / "annotations" / f"shs_dataset_{name}.txt") as stream:
            rows, _ = columns(an.read_cover_cliques(stream, source="shs"))
        found.append(set(rows["clique_id"]))
    assert len(found[0] | found[1]) == 4128 + 1726
    assert {"shs:1738+51757", "shs:996+51757", "shs:-2"} <= found[0]  # 51757 is listed in two cliques


def test_tagtraum_labels(shared_data: Path) -> None:
    path = shared_data / "annotations" / "msd_tagtraum_cd1.cls"
    with an.open_annotation(path) as stream:
        rows, rejects = columns(an.read_genre_labels(stream, source="cd1"))
    assert rejects == []
    assert Counter(rows["rank"]) == {0: 133_676, 1: 35_527}
    expected = [
        (track, rank, genre)
        for track, *genres in (line.split("\t") for line in plain_lines(path))
        for rank, genre in enumerate(genres)
    ]
    assert list(zip(rows["track_id"], rows["rank"], rows["genre"], strict=True)) == expected
    assert set(rows["source"]) == {"cd1"}


def test_mismatch_list(shared_data: Path) -> None:
    path = shared_data / "annotations" / "sid_mismatches.txt"
    with an.open_annotation(path) as stream:
        rows, rejects = columns(an.read_song_mismatches(stream))
    assert rejects == []
    assert len(rows["track_id"]) == 19_094
    assert len(set(zip(rows["song_id"], rows["track_id"], strict=True))) == 18_972
    empty_for_none = [["" if value is None else value for value in rows[name]] for name in rows]
    expected = []
    for line in plain_lines(path):
        song, other = line[47:].split("  !=  ")
        expected.append((line[8:26], line[27:45], *song.split("  -  "), *other.split("  -  ")))
    assert list(zip(*empty_for_none, strict=True)) == expected


@pytest.mark.parametrize(("name", "count"), [("hidden", 7345), ("visible", 7093)])
def test_taste_profile_plain_and_gzipped(shared_data: Path, tmp_path: Path, name: str, count: int) -> None:
    path = shared_data / "taste" / f"year1_test_triplets_{name}-test.txt"
    expected = [(user, song, int(plays)) for user, song, plays in (line.split("\t") for line in plain_lines(path))]
    assert len(expected) == count
    zipped = tmp_path / "profile.txt"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    for source in (path, zipped):
        with an.open_annotation(source) as stream:
            rows, rejects = columns(an.read_plays(stream, source="x"))
        assert rejects == []
        assert list(zip(rows["user_id"], rows["song_id"], rows["play_count"], strict=True)) == expected
    assert len(set(rows["user_id"])) == 526


@pytest.mark.slow
def test_written_rows_reproduce_the_files(shared_data: Path) -> None:
    folder = shared_data / "annotations"
    for path, read, write in (
        (
            folder / "shs_dataset_train.txt",
            lambda stream: an.read_cover_cliques(stream, source="x"),
            an.write_cover_cliques,
        ),
        (
            folder / "msd_tagtraum_cd1.cls",
            lambda stream: an.read_genre_labels(stream, source="x"),
            an.write_genre_labels,
        ),
        (folder / "sid_mismatches.txt", an.read_song_mismatches, an.write_song_mismatches),
        (
            shared_data / "taste" / "year1_test_triplets_visible-test.txt",
            lambda stream: an.read_plays(stream, source="x"),
            an.write_plays,
        ),
    ):
        with an.open_annotation(path) as stream:
            rows, _ = columns(read(stream))
        written = io.BytesIO()
        write(written, rows)
        assert written.getvalue().decode().split("\n")[:-1] == plain_lines(path), path.name
