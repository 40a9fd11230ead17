"""Playlists and histories of listeners: which songs they name, and what of them names none."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reprise.jobs import ingest_library, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.tables import JOB_RUNS, LIBRARY_TRACKS, MANIFEST, MSD_TRACKS, PLAYS, QUARANTINE, UNMATCHED_PLAYS, Table

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
MBID, ISRC = "f1d5a3d4-3e39-4f1a-8c1c-0a2b3c4d5e6f", "USRC17607839"
OTHER_MBID = "00000000-3e39-4f1a-8c1c-0a2b3c4d5e6f"
TITLES = ("Où es-tu ?", "Blue (Live)", "Common", "Common", "Hidden")
"""Titles of ann's three tracks and bob's two: one name is of a track of each."""


def track_id(path: Path) -> str:
    return f"LB{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {k: v for k, v in Warehouse(warehouse.root).versions().items() if k != JOB_RUNS.name}


@pytest.fixture(scope="module")
def ingested(
    record: Callable[..., Path], sample_dir: Path, spark: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with ``tree``, of ann and bob, and ``warehouse``, which holds some of the Million Song Dataset."""
    folder = tmp_path_factory.mktemp("lists")
    places = ("ann/A/où.flac", "ann/B/blue.flac", "ann/c.flac", "bob/c.flac", "bob/d.flac")
    tags: tuple[dict[str, str], ...] = ({}, {"ISRC": ISRC}, {}, {}, {"MUSICBRAINZ_TRACKID": MBID})
    for seed, (place, title, more) in enumerate(zip(places, TITLES, tags, strict=True)):
        record(folder / "tree" / place, seed, title=title, artist="The Ann & Bob", **more)
    assert ingest_msd.main(["--source", str(sample_dir / "msd"), "--warehouse", str(folder / "warehouse")]) == 0
    return folder


@pytest.fixture
def tree(ingested: Path, warehouse: Warehouse, tmp_path: Path) -> Path:
    """A copy of the tree, beside a copy of the warehouse."""
    shutil.copytree(ingested / "tree", tmp_path / "tree")
    shutil.copytree(ingested / "warehouse", warehouse.root)
    return tmp_path / "tree"


def plays(warehouse: Warehouse, rows_of: Rows) -> dict[tuple[str, str, str], int]:
    rows = rows_of(warehouse, PLAYS)
    return {(r.user_id, r.source, r.song_id): r.play_count for r in rows.itertuples()}


def unmatched(warehouse: Warehouse, rows_of: Rows) -> dict[tuple[str, str, str], int]:
    rows = rows_of(warehouse, UNMATCHED_PLAYS)
    return {(r.user_id, r.source, r.entry): r.play_count for r in rows.itertuples()}


def listen(title: str, artist: str, **info: str) -> str:
    return json.dumps(
        {
            "listened_at": 1_600_000_000,
            "track_metadata": {"artist_name": artist, "track_name": title, "additional_info": info},
        }
    )


def test_entries_are_matched_by_file_then_identifiers_then_names_own_tracks_first(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    own = [track_id(tree / place) for place in ("ann/A/où.flac", "ann/B/blue.flac", "ann/c.flac")]
    bobs = [track_id(tree / place) for place in ("bob/c.flac", "bob/d.flac")]
    msd = rows_of(warehouse, MSD_TRACKS).iloc[7]
    (tree / "ann/lists").mkdir()
    (tree / "ann/lists/é 1.m3u8").write_text(
        "#EXTM3U\n../A/où.flac\n../A/où.flac\n#EXTINF:3,Nobody - Nothing\nC:\\Music\\B\\blue.flac\n", "utf-8"
    )
    lines = [
        *[listen("whatever", "else", isrc="US-RC1-76-07839")] * 3,
        *[listen("COMMON", "Ann and Bob")] * 2,  # each has one: her own
        listen("no such", "title", recording_mbid=MBID),  # only bob has it
        listen("Hidden (Remastered 2011)", "ann & bob", recording_mbid=OTHER_MBID),  # an unknown id, a known name
        listen("Hidden (Live)", "The Ann & Bob"),  # another recording
        *[listen(msd["title"], msd["artist_name"])] * 4,
        "{broken",
    ]
    (tree / "ann/history.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (tree / "bob/lastfm.csv").write_text("The Ann & Bob,,Common,01 Jan 2020 10:00\nX,,Y,01 Jan 2020 10:05\n" * 2)
    counts = run_job(ingest_library.main, "--source", tree)["counts"]
    history, playlist, lastfm = "listenbrainz:ann/history.jsonl", "playlist:ann/lists/é 1.m3u8", "lastfm:bob/lastfm.csv"
    assert plays(warehouse, rows_of) == {
        ("ann", playlist, own[0]): 2,
        ("ann", playlist, own[1]): 1,
        ("ann", history, own[1]): 3,
        ("ann", history, own[2]): 2,
        ("ann", history, bobs[1]): 2,
        ("ann", history, msd["song_id"]): 4,
        ("bob", lastfm, bobs[0]): 2,
    }
    assert unmatched(warehouse, rows_of) == {
        ("ann", history, "names:ann and bob – hidden live"): 1,
        ("bob", lastfm, "names:x – y"): 2,
    }
    assert (counts["lists_read"], counts["plays_matched"], counts["plays_unmatched"]) == (3, 7, 2)
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["uri"].tolist() == [f"{(tree / 'ann/history.jsonl').as_uri()}#L{len(lines)}"]
    manifest = rows_of(warehouse, MANIFEST).set_index("uri")
    assert manifest.loc[(tree / "ann/history.jsonl").as_uri(), ["status", "row_count", "reject_count"]].tolist() == [
        *("done", 5, 1)
    ]
    before = versions(warehouse)
    again = run_job(ingest_library.main, "--source", tree)["counts"]
    assert (again["skipped"], again["lists_read"]) == (again["files"], 0)
    assert versions(warehouse) == before
    run_job(ingest_library.main, "--source", tree, "--force")
    assert len(plays(warehouse, rows_of)) == 7


def test_a_changed_list_replaces_what_it_said(tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    for user in ("ann", "bob"):  # of one name
        (tree / user / "l.m3u").write_text("c.flac\n#EXTINF:1,X - Y\nz.mp3\n")
    run_job(ingest_library.main, "--source", tree)
    assert {(user, source) for user, source, _ in plays(warehouse, rows_of)} == {
        ("ann", "playlist:ann/l.m3u"),
        ("bob", "playlist:bob/l.m3u"),
    }
    (tree / "ann/l.m3u").write_text("A/où.flac\n")
    os.utime(tree / "bob/l.m3u", (1e9, 1e9))
    run_job(ingest_library.main, "--source", tree)
    assert plays(warehouse, rows_of) == {
        ("ann", "playlist:ann/l.m3u", track_id(tree / "ann/A/où.flac")): 1,
        ("bob", "playlist:bob/l.m3u", track_id(tree / "bob/c.flac")): 1,
    }
    assert list(unmatched(warehouse, rows_of)) == [("bob", "playlist:bob/l.m3u", "names:x – y")]
    for user in ("ann", "bob"):
        (tree / user / "l.m3u").write_text("#EXTM3U\n")
    run_job(ingest_library.main, "--source", tree)
    assert plays(warehouse, rows_of) == unmatched(warehouse, rows_of) == {}


def test_entries_that_leave_the_folder_are_not_followed(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows, record: Callable[..., Path]
) -> None:
    outside = record(tree.parent / "secret.flac", 9, title="Secret", artist="Nobody")
    (tree / "ann/link.flac").symlink_to(outside)
    os.mkfifo(tree / "ann/pipe.flac")
    entries = [
        "../bob/d.flac",
        "A/../../bob/d.flac",
        str(tree / "bob/d.flac"),
        (tree / "bob/d.flac").as_uri(),
        "../../secret.flac",
        "link.flac",
        "pipe.flac",
        "/dev/zero",
        "\\\\server\\share\\d.flac",
        "http://localhost:1/d.flac",
        "..%2fbob%2fd.flac",
    ]
    (tree / "ann/l.m3u8").write_text("#EXTM3U\n" + "\n".join(entries) + "\n#EXTINF:3,Ann & Bob - Hidden\n../x/y.flac\n")
    run_job(ingest_library.main, "--source", tree, "--max-bad", "0.5")
    # by its tags, which are another listener's
    assert plays(warehouse, rows_of) == {("ann", "playlist:ann/l.m3u8", track_id(tree / "bob/d.flac")): 1}
    left = unmatched(warehouse, rows_of)
    assert sum(left.values()) == len(entries)
    assert all(entry.startswith("path:") for _, _, entry in left)


def test_lists_are_matched_again_when_a_track_is_lost(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows, record: Callable[..., Path]
) -> None:
    (tree / "ann/l.m3u8").write_text("c.flac\n")
    (tree / "bob/l.m3u8").write_text("c.flac\n")
    run_job(ingest_library.main, "--source", tree)
    old = track_id(tree / "ann/c.flac")
    assert old in {song for _, _, song in plays(warehouse, rows_of)}
    record(tree / "ann/c.flac", 2, title="Common, retagged", artist="The Ann & Bob")
    assert run_job(ingest_library.main, "--source", tree)["counts"]["lists_read"] == 1
    assert plays(warehouse, rows_of) == {
        (user, f"playlist:{user}/l.m3u8", track_id(tree / f"{user}/c.flac")): 1 for user in ("ann", "bob")
    }
    assert old not in set(rows_of(warehouse, LIBRARY_TRACKS)["track_id"])


def test_unmatched_entries_are_tried_again_when_forced(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows, record: Callable[..., Path]
) -> None:
    (tree / "ann/l.m3u8").write_text("#EXTM3U\n#EXTINF:3,Eve - New\nnew.flac\n")
    run_job(ingest_library.main, "--source", tree)
    assert list(unmatched(warehouse, rows_of)) == [("ann", "playlist:ann/l.m3u8", "names:eve – new")]
    new = record(tree / "bob/new.flac", 11, title="New", artist="Eve")
    run_job(ingest_library.main, "--source", tree)
    assert not plays(warehouse, rows_of)
    run_job(ingest_library.main, "--source", tree, "--force")
    assert list(plays(warehouse, rows_of)) == [("ann", "playlist:ann/l.m3u8", track_id(new))]
    assert not unmatched(warehouse, rows_of)


def test_what_is_no_list_is_passed_over_and_what_is_a_bad_one_is_not(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    folder = tree / "ann"
    (folder / "settings.xml").write_text("<settings/>")
    (folder / "other.xml").write_text('<?xml version="1.0"?><plist version="1.0"><dict/></plist>')
    (folder / "cover.json").write_text('{"a": 1}')
    (folder / "table.csv").write_text("a;b\n1;2\n")
    (folder / "empty.xml").touch()
    bomb = '<!DOCTYPE a [<!ENTITY b "bbb">]><playlist xmlns="http://xspf.org/ns/0/"><trackList/></playlist>'
    (folder / "bomb.xspf").write_text(bomb)
    (folder / "binary.m3u").write_bytes(b"\0\1\2" * 100)
    counts = run_job(ingest_library.main, "--source", tree, exit_code=3)["counts"]
    assert (counts["files"], counts["quarantined"]) == (7, 2)
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["uri"].str.rpartition("/")[2].tolist() == ["binary.m3u", "bomb.xspf"]
    assert rejected["error_class"].tolist() == ["unknown_format", "xml_entities"]
    (folder / "binary.m3u").unlink()
    (folder / "bomb.xspf").write_text(bomb.partition("]>")[2])
    run_job(ingest_library.main, "--source", tree)
    assert rows_of(warehouse, QUARANTINE).empty


def test_a_history_of_many_bad_lines_gives_a_bounded_number_of_rows(
    tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    path = tree / "bob/h.jsonl"
    path.write_text(listen("Common", "The Ann & Bob") + "\n" + "{bad\n" * 3000)
    run_job(ingest_library.main, "--source", tree)
    rejected = rows_of(warehouse, QUARANTINE)
    assert len(rejected) == 1000
    assert rows_of(warehouse, MANIFEST).set_index("uri").loc[path.as_uri(), "reject_count"] == 3000
    assert plays(warehouse, rows_of) == {("bob", "listenbrainz:bob/h.jsonl", track_id(tree / "bob/c.flac")): 1}
