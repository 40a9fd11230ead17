"""Playlists and listening histories: matched with known songs, into ``plays`` and ``unmatched_plays``."""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import BufferedReader
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F

from reprise.jobs._engine.manifest import hold_against_manifest, settle_unchanged, write_manifest, write_quarantine
from reprise.jobs._engine.run import Run
from reprise.jobs._libraries.copies import Folders, Tree, survey
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, open_regular, printable_name, sha256_of
from reprise.lib.playlists import (
    HEAD_BYTES,
    Entry,
    Matcher,
    Reject,
    Tails,
    Track,
    detect,
    entry_key,
    match_keys,
    resolve,
)
from reprise.lib.tables import LIBRARY_TRACKS, MSD_TRACKS, PLAYS, QUARANTINE, UNMATCHED_PLAYS, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import refuse_fault
from reprise.udfs.known_tracks import KNOWN_DDL, find_known

_ENTRIES_AT_ONCE = 100_000
_REJECTS_KEPT = 1_000
_MOST_PLAYS = 2**31 - 1
_ALSO_OF_OTHERS = (".xml", ".json", ".csv", ".tsv")
"""Suffixes of lists and of much else: a file that is none is passed over."""


class _Owner:
    """A listener's folder, and which of their tracks lies where in it."""

    def __init__(self, run: Run, user_id: str, folder: str, folders: Collection[str]) -> None:
        self.user_id, self.folder = user_id, folder
        library = survey(run.warehouse, run.job, user_id, folders)
        self.track_ids = frozenset(library.wanted["track_id"])
        self._root = local_path(folder)
        self._by_path = {
            os.fspath(local_path(uri)): track_id
            for uri, track_id in zip(library.files["uri"], library.files["track_id"], strict=True)
        }

    @cached_property
    def _tails(self) -> Tails:
        return Tails(os.path.relpath(path, self._root) for path in self._by_path)

    def find(self, path: str | None, folder: Path) -> str | None:
        """Track in the file that an entry of a list in ``folder`` points to; nothing is opened."""
        if path is None:
            return None
        if file := resolve(path, folder, self._root):
            return self._by_path.get(os.fspath(file))
        tail = self._tails.find(path)
        return self._by_path[os.path.join(self._root, tail)] if tail else None  # noqa: PTH118


@dataclass
class _List:
    """A list that was read.

    Parameters
    ----------
    listed
        Its row of the listing.
    status
        As in the manifest.
    kind
        Format; a playlist is one, whatever its format.
    plays
        Tracks and songs it names, and how often each was played.
    entries, counts
        What is not matched, by `entry_key`.
    rejects
        Quarantine rows: kind and message by uri.
    """

    listed: Mapping[str, Any]
    owner: _Owner | None
    sha256: str | None = None
    status: str = "done"
    kind: str = "playlist"
    plays: Counter[str] = field(default_factory=Counter)
    entries: dict[str, Entry] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    rejects: dict[str, tuple[str, str]] = field(default_factory=dict)
    n_rejects: int = 0

    @property
    def source(self) -> str:
        """What ``source`` columns call it: kind, listener, and its path in their folder."""
        assert self.owner is not None  # noqa: S101 - nobody's list is no good one
        path = local_path(self.listed["uri"])
        inside = path.relative_to(local_path(self.owner.folder)).parts or (path.name,)
        return f"{self.kind}:{self.owner.user_id}/{'/'.join(map(printable_name, inside))}"

    def match(self, matcher: Matcher) -> None:
        """Count as plays what ``matcher`` knows of the entries."""
        for key, entry in list(self.entries.items()):
            if match := matcher.match(entry):
                self.plays[match.track_id] += self.counts.pop(key)
                del self.entries[key]


def ingest_lists(run: Run, tree: Tree, files: pa.Table, listeners: Folders, lost: Collection[str]) -> None:
    """Read the lists among ``files`` that are new, and write what they say, some at once.

    Those of ``lost``, listeners who have lost tracks, are read again.
    """
    if not len(files):
        return
    pending = hold_against_manifest(run.warehouse, run.job, files, force=run.args.force)
    folders = pending.done["uri"].map(tree.folder)
    pending = pending.reopen(folders.map(tree.listener, na_action="ignore").isin(lost))
    run.count(files=len(pending.done), skipped=len(pending.done))
    run.inputs += len(pending.done)
    run.bad_inputs += int((pending.done["status"] == "quarantined").sum())
    held: list[_List] = []
    n_entries = 0
    owner: _Owner | None = None
    for listed in pending.todo.sort_by("uri").to_pylist():
        folder = tree.folder(listed["uri"])
        if folder is None:
            owner = None
        elif owner is None or owner.folder != folder:
            owner = _Owner(run, tree.listener(folder), folder, listeners[tree.listener(folder)])
        read_again = run.args.force or (owner is not None and owner.user_id in lost)
        if one := _read_list(listed, owner, None if read_again else listed["known_sha256"]):
            held.append(one)
            n_entries += 1 + len(one.entries) + len(one.plays)
        if n_entries >= _ENTRIES_AT_ONCE:
            _write(run, held, pending.known)
            held, n_entries = [], 0
    if held:
        _write(run, held, pending.known)


def _read_list(listed: Mapping[str, Any], owner: _Owner | None, known_sha256: str | None) -> _List | None:
    """What a list says; None for a file that is none and need not be."""
    one = _List(listed, owner)
    path = local_path(listed["uri"])
    try:
        refuse_fault(listed)
        one.sha256 = sha256_of(path)
        if one.sha256 == known_sha256:
            one.status = "unchanged"
            return one
        with open_regular(path) as stream:
            _read_entries(one, path, stream)
    except InputError as error:
        if error.kind == "unknown_format" and path.suffix.lower() in _ALSO_OF_OTHERS:
            return None
        one.status, one.n_rejects = "quarantined", 1
        one.rejects = {listed["uri"]: (error.kind, error.message)}
    return one


def _read_entries(one: _List, path: Path, stream: BufferedReader) -> None:
    assert one.owner is not None  # noqa: S101 - nobody's list was refused
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    format_ = detect(path.name, head)
    if format_ is None:
        raise InputError("unknown_format", "is no playlist and no history that is known: remove it or export it again")
    if format_.counts_plays:
        one.kind = format_.name
    for item in format_.read(stream):
        if isinstance(item, Reject):
            one.n_rejects += 1
            if len(one.rejects) < _REJECTS_KEPT:
                told = f"{item.message}: {item.text!r}" if item.text else item.message
                one.rejects.setdefault(f"{one.listed['uri']}#L{item.line}", (item.kind, told))
        elif track_id := one.owner.find(item.path, path.parent):
            one.plays[track_id] += item.play_count
        else:
            one.counts[entry_key(item)] += item.play_count
            one.entries.setdefault(entry_key(item), item)


def _write(run: Run, lists: Sequence[_List], known: pd.DataFrame) -> None:
    """Match the lists and write their rows. The manifest comes last: what it does not hold is read again."""
    good = [one for one in lists if one.status == "done"]
    _match(run, good)
    read_again = bool(known["uri"].isin([one.listed["uri"] for one in good]).any())
    if good:
        _write_plays(run, good, read_again=read_again)
        _write_unmatched(run, good)
    manifest = pd.DataFrame([_manifest_row(run, one) for one in lists])
    settle_unchanged(manifest, known)
    rejected = pa.Table.from_pylist([row for one in lists for row in _rejected(run, one)], arrow_schema(QUARANTINE))
    is_bad = int((manifest["status"] == "quarantined").sum())
    run.inputs += len(lists)
    run.bad_inputs += is_bad
    run.count(files=len(lists), lists_read=len(good), quarantined=len(rejected))
    looked_at = manifest["uri"][manifest["run_id"] == run.run_id]
    write_quarantine(run.warehouse, run.job, rejected, looked_at, force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _match(run: Run, lists: Sequence[_List]) -> None:
    """Match the entries: with the listener's own tracks, with those of all listeners, with the Million Song Dataset."""
    tracks = _find(run, LIBRARY_TRACKS, "track_id", lists)
    own: dict[str, Matcher] = {}
    everyone = Matcher(tracks)
    for one in lists:
        assert one.owner is not None  # noqa: S101 - a good list is somebody's
        if one.owner.user_id not in own:
            own[one.owner.user_id] = Matcher(track for track in tracks if track.track_id in one.owner.track_ids)
        one.match(own[one.owner.user_id])
        one.match(everyone)
    songs = Matcher(_find(run, MSD_TRACKS, "song_id", lists))
    for one in lists:
        one.match(songs)


def _find(run: Run, table: Table, id_column: str, lists: Iterable[_List]) -> list[Track]:
    """Rows of ``table`` that entries of the lists may mean, in the order of their ids."""
    wanted = {
        key
        for one in lists
        for entry in one.entries.values()
        for key in match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title)
    }
    if not wanted or not run.warehouse.exists(table):
        return []
    there = {column.name for column in table.columns}
    said = [F.col(name) if name in there else F.lit(None).cast("string").alias(name) for name in Track._fields[1:]]
    rows = run.warehouse.read(run.spark, table).where(F.col(id_column).isNotNull())
    rows = rows.select(F.col(id_column).alias("track_id"), *said)
    found = rows.mapInArrow(partial(find_known, wanted=frozenset(wanted)), KNOWN_DDL).toArrow().sort_by("track_id")
    return [Track(**row) for row in found.to_pylist()]


def _write_plays(run: Run, lists: Sequence[_List], *, read_again: bool) -> None:
    sources = sorted(one.source for one in lists)
    rows = [
        {"user_id": one.owner.user_id, "song_id": song, "source": one.source, "play_count": min(count, _MOST_PLAYS)}
        for one in lists
        if one.owner
        for song, count in sorted(one.plays.items())
    ]
    run.count(plays_matched=len(rows))
    if not rows and not (read_again and run.warehouse.exists(PLAYS)):
        return
    table = pa.Table.from_pylist([row | {"run_id": run.run_id} for row in rows], arrow_schema(PLAYS))
    run.warehouse.merge(PLAYS, run.spark.createDataFrame(table), scope=("source", sources))


def _write_unmatched(run: Run, lists: Sequence[_List]) -> None:
    sources = sorted(one.source for one in lists)
    rows = [
        {
            "user_id": one.owner.user_id,
            "source": one.source,
            "entry": key,
            "artist_name": entry.artist_name,
            "title": entry.title,
            "release": entry.release,
            "recording_mbid": entry.recording_mbid,
            "isrc": entry.isrc,
            "play_count": min(one.counts[key], _MOST_PLAYS),
            "uri": one.listed["uri"],
            "run_id": run.run_id,
        }
        for one in lists
        if one.owner
        for key, entry in sorted(one.entries.items())
    ]
    run.count(plays_unmatched=len(rows))
    if rows or run.warehouse.exists(UNMATCHED_PLAYS):
        table = pa.Table.from_pylist(rows, arrow_schema(UNMATCHED_PLAYS))
        run.warehouse.merge(UNMATCHED_PLAYS, table, scope=("source", sources))


def _manifest_row(run: Run, one: _List) -> dict[str, Any]:
    return {
        **{name: one.listed[name] for name in ("uri", "file_size", "file_mtime_us")},
        "stage": run.job,
        "status": one.status,
        "sha256": one.sha256,
        "row_count": len(one.plays) + len(one.entries),
        "reject_count": one.n_rejects,
        "run_id": run.run_id,
    }


def _rejected(run: Run, one: _List) -> Iterable[dict[str, Any]]:
    for uri, (kind, message) in one.rejects.items():
        told = {"error_class": kind, "message": message, "sha256": one.sha256, "attempts": 1}
        yield {"uri": uri, "stage": run.job, **told, "run_id": run.run_id}
