"""Playlists and histories of listeners: which songs they name, and what of them names none."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from reprise.jobs import ingest_library
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import LIBRARY_TRACKS, MANIFEST, MSD_TRACKS, PLAYS, QUARANTINE, UNMATCHED_PLAYS, Table
from tests.jobs.chain import Chain, copy_warehouse, records

Rows = Callable[[Warehouse, Table], pd.DataFrame]
Counts = dict[tuple[str, str], int]
MBID, ISRC = "f1d5a3d4-3e39-4f1a-8c1c-0a2b3c4d5e6f", "USRC17607839"
OTHER_MBID = "00000000-3e39-4f1a-8c1c-0a2b3c4d5e6f"
TITLES = ("Où es-tu ?", "Blue (Live)", "Common", "Common", "Hidden")
"""Titles of ann's three tracks and bob's two: one name is of a track of each."""
PLACES = ("ann/A/où.flac", "ann/B/blue.flac", "ann/c.flac", "bob/c.flac", "bob/d.flac")
ESCAPES = (
    "../bob/d.flac",
    "A/../../bob/d.flac",
    "{tree}/bob/d.flac",
    "file://{tree}/bob/d.flac",
    "../../secret.flac",
    "link.flac",
    "pipe.flac",
    "/dev/zero",
    "\\\\server\\share\\d.flac",
    "http://localhost:1/d.flac",
    "..%2fbob%2fd.flac",
)
"""Entries that lead out of the listener's folder, or to what is no file."""
BOMB = '<!DOCTYPE a [<!ENTITY b "bbb">]><playlist xmlns="http://xspf.org/ns/0/"><trackList/></playlist>'


def track_id(path: Path) -> str:
    return f"LB{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def listen(title: str, artist: str, **info: str) -> str:
    return json.dumps(
        {
            "listened_at": 1_600_000_000,
            "track_metadata": {"artist_name": artist, "track_name": title, "additional_info": info},
        }
    )


class Ingested(NamedTuple):
    """The tables after one ingest, and its summary."""

    counts: dict[str, int]
    tables: dict[str, pd.DataFrame]
    ids: dict[str, str]
    """Track of each audio file as it was at that time, by its place in the tree."""

    def plays(self, source: str) -> Counts:
        """Plays of each listener and song that one list says."""
        rows = self.tables[PLAYS.name]
        return {(r["user_id"], r["song_id"]): r["play_count"] for r in records(rows[rows["source"] == source])}

    def unmatched(self, source: str) -> Counts:
        """Entries of one list that name no song."""
        rows = self.tables[UNMATCHED_PLAYS.name]
        return {(r["user_id"], r["entry"]): r["play_count"] for r in records(rows[rows["source"] == source])}

    def rejected(self) -> dict[str, str]:
        """Fault of each file in quarantine as a whole, by its name."""
        rows = self.tables[QUARANTINE.name].query("stage == 'ingest_library'")
        rows = rows[~rows["uri"].str.contains("#L")]
        return dict(zip(rows["uri"].str.rpartition("/")[2], rows["error_class"], strict=True))


def write_lists(tree: Path, msd: dict[str, Any]) -> None:
    """The lists of two listeners, and files that are none or bad ones."""
    ann, bob = tree / "ann", tree / "bob"
    (ann / "lists").mkdir()
    (ann / "lists/é 1.m3u8").write_text(
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
    (ann / "history.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    (bob / "lastfm.csv").write_text("The Ann & Bob,,Common,01 Jan 2020 10:00\nX,,Y,01 Jan 2020 10:05\n" * 2)
    (bob / "h.jsonl").write_text(listen("Common", "The Ann & Bob") + "\n" + "{bad\n" * 3000)
    entries = "".join(f"{entry.format(tree=tree)}\n" for entry in ESCAPES)
    (ann / "out.m3u8").write_text(f"#EXTM3U\n{entries}#EXTINF:3,Ann & Bob - Hidden\n../x/y.flac\n")
    for folder in (ann, bob):  # of one name
        (folder / "own.m3u").write_text("c.flac\n#EXTINF:1,X - Y\nz.mp3\n")
        (folder / "lost.m3u8").write_text("c.flac\n")
    (bob / "later.m3u8").write_text("#EXTM3U\n#EXTINF:3,Eve - New\nnew.flac\n")
    (ann / "settings.xml").write_text("<settings/>")
    (ann / "other.xml").write_text('<?xml version="1.0"?><plist version="1.0"><dict/></plist>')
    (ann / "cover.json").write_text('{"a": 1}')
    (ann / "table.csv").write_text("a;b\n1;2\n")
    (ann / "empty.xml").touch()
    (ann / "bomb.xspf").write_text(BOMB)
    (ann / "binary.m3u").write_bytes(b"\0\1\2" * 100)


@pytest.fixture(scope="module")
def ingests(
    chain: Chain, record: Callable[..., Path], rows_of: Rows, tmp_path_factory: pytest.TempPathFactory
) -> list[Ingested]:
    """Three ingests: of the tree as it is laid out; after some changes; and of everything again, with ``--force``."""
    folder = tmp_path_factory.mktemp("lists")
    tree = folder / "tree"
    warehouse = copy_warehouse(chain.after("ingest-msd"), folder / "warehouse")
    found: list[Ingested] = []

    def ingest(*arguments: str) -> None:
        with redirect_stdout(io.StringIO()) as printed:
            asked = ["--source", str(tree), "--max-bad", "1", "--json", "--warehouse", warehouse.root, *arguments]
            assert ingest_library.main(asked) == 0
        tables = {t.name: rows_of(warehouse, t) for t in (PLAYS, UNMATCHED_PLAYS, QUARANTINE, MANIFEST, LIBRARY_TRACKS)}
        files = (path for path in tree.rglob("*.flac") if path.is_file() and not path.is_symlink())
        ids = {str(path.relative_to(tree)): track_id(path) for path in files}
        found.append(Ingested(json.loads(printed.getvalue())["counts"], tables, ids))

    tags: tuple[dict[str, str], ...] = ({}, {"ISRC": ISRC}, {}, {}, {"MUSICBRAINZ_TRACKID": MBID})
    for seed, (place, title, more) in enumerate(zip(PLACES, TITLES, tags, strict=True)):
        record(tree / place, seed, title=title, artist="The Ann & Bob", **more)
    outside = record(folder / "secret.flac", 9, title="Secret", artist="Nobody")
    (tree / "ann/link.flac").symlink_to(outside)
    os.mkfifo(tree / "ann/pipe.flac")
    write_lists(tree, records(rows_of(warehouse, MSD_TRACKS))[7])
    ingest()

    (tree / "ann/own.m3u").write_text("A/où.flac\n")
    os.utime(tree / "bob/own.m3u", (1e9, 1e9))
    record(tree / "ann/c.flac", 2, title="Common, retagged", artist="The Ann & Bob")
    record(tree / "carl/new.flac", 11, title="New", artist="Eve")
    (tree / "ann/binary.m3u").unlink()
    (tree / "ann/bomb.xspf").write_text(BOMB.partition("]>")[2])
    ingest()

    for user in ("ann", "bob"):
        (tree / user / "own.m3u").write_text("#EXTM3U\n")
    ingest("--force")
    return found


def test_entries_are_matched_by_file_then_identifiers_then_names_own_tracks_first(
    chain: Chain, ingests: list[Ingested], rows_of: Rows
) -> None:
    first = ingests[0]
    own, bobs = [first.ids[place] for place in PLACES[:3]], [first.ids[place] for place in PLACES[3:]]
    msd = rows_of(Warehouse(str(chain.after("ingest-msd"))), MSD_TRACKS).iloc[7]
    assert first.plays("playlist:ann/lists/é 1.m3u8") == {("ann", own[0]): 2, ("ann", own[1]): 1}
    assert first.plays("listenbrainz:ann/history.jsonl") == {
        ("ann", own[1]): 3,
        ("ann", own[2]): 2,
        ("ann", bobs[1]): 2,
        ("ann", msd["song_id"]): 4,
    }
    assert first.unmatched("listenbrainz:ann/history.jsonl") == {("ann", "names:ann and bob – hidden live"): 1}
    assert first.plays("lastfm:bob/lastfm.csv") == {("bob", bobs[0]): 2}
    assert first.unmatched("lastfm:bob/lastfm.csv") == {("bob", "names:x – y"): 2}
    counts = {name: first.counts[name] for name in ("files", "lists_read", "plays_matched", "plays_unmatched")}
    rows = {name: len(first.tables[table.name]) for name, table in (("of", PLAYS), ("un", UNMATCHED_PLAYS))}
    assert counts == {
        "files": 19, "lists_read": 10, "plays_matched": rows["of"], "plays_unmatched": rows["un"]
    }  # fmt: skip
    manifest = first.tables[MANIFEST.name].query("stage == 'ingest_library'")
    (history,) = manifest[manifest["uri"].str.endswith("/ann/history.jsonl")].to_dict("records")
    assert (history["status"], history["row_count"], history["reject_count"]) == ("done", 5, 1)
    bad_lines = first.tables[QUARANTINE.name]["uri"]
    assert bad_lines[bad_lines.str.contains("history.jsonl")].tolist() == [f"{history['uri']}#L13"]


def test_a_changed_list_replaces_what_it_said(ingests: list[Ingested]) -> None:
    before, after, emptied = ingests
    unknown = "names:x – y"
    for user, track in (("ann", before.ids["ann/c.flac"]), ("bob", before.ids["bob/c.flac"])):
        assert before.plays(f"playlist:{user}/own.m3u") == {(user, track): 1}
        assert before.unmatched(f"playlist:{user}/own.m3u") == {(user, unknown): 1}
        assert emptied.plays(f"playlist:{user}/own.m3u") == emptied.unmatched(f"playlist:{user}/own.m3u") == {}
    assert after.plays("playlist:ann/own.m3u") == {("ann", after.ids["ann/A/où.flac"]): 1}
    assert after.unmatched("playlist:ann/own.m3u") == {}
    # bob's has another time, and the same content
    for name in ("plays", "unmatched"):
        assert getattr(after, name)("playlist:bob/own.m3u") == getattr(before, name)("playlist:bob/own.m3u")


def test_entries_that_leave_the_folder_are_not_followed(ingests: list[Ingested]) -> None:
    source, first = "playlist:ann/out.m3u8", ingests[0]
    # by its tags, which are another listener's
    assert first.plays(source) == {("ann", first.ids["bob/d.flac"]): 1}
    left = first.unmatched(source)
    assert sum(left.values()) == len(ESCAPES)
    assert all(entry.startswith("path:") for _, entry in left)


def test_lists_are_matched_again_when_their_listener_has_lost_a_track(ingests: list[Ingested]) -> None:
    before, after, _ = ingests
    lost = before.ids["ann/c.flac"]
    assert after.counts["lists_read"] == 6  # all of ann's, and none of bob's
    for user in ("ann", "bob"):
        for ingested in (before, after):
            assert ingested.plays(f"playlist:{user}/lost.m3u8") == {(user, ingested.ids[f"{user}/c.flac"]): 1}
    assert after.plays("listenbrainz:ann/history.jsonl")["ann", after.ids["bob/c.flac"]] == 2
    assert lost not in set(after.tables[PLAYS.name]["song_id"])
    assert lost not in set(after.tables[LIBRARY_TRACKS.name]["track_id"])


def test_unmatched_entries_are_tried_again_when_forced(ingests: list[Ingested]) -> None:
    source, entry = "playlist:bob/later.m3u8", ("bob", "names:eve – new")
    assert ingests[0].unmatched(source) == ingests[1].unmatched(source) == {entry: 1}
    assert ingests[2].unmatched(source) == {}
    assert ingests[2].plays(source) == {("bob", ingests[2].ids["carl/new.flac"]): 1}


def test_what_is_no_list_is_passed_over_and_what_is_a_bad_one_is_not(ingests: list[Ingested]) -> None:
    audio = {"link.flac": "not_a_file", "pipe.flac": "not_a_file"}
    assert ingests[0].rejected() == audio | {"binary.m3u": "unknown_format", "bomb.xspf": "xml_entities"}
    assert ingests[1].rejected() == audio


def test_a_history_of_many_bad_lines_gives_a_bounded_number_of_rows(ingests: list[Ingested]) -> None:
    first = ingests[0]
    rejected = first.tables[QUARANTINE.name]["uri"]
    assert rejected.str.contains("/bob/h.jsonl#L").sum() == 1000
    manifest = first.tables[MANIFEST.name].set_index("uri")["reject_count"]
    assert manifest[manifest.index.str.endswith("/bob/h.jsonl")].tolist() == [3000]
    assert first.plays("listenbrainz:bob/h.jsonl") == {("bob", first.ids["bob/c.flac"]): 1}
