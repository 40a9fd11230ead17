"""Ingest playlists and listening histories into ``plays`` and ``unmatched_plays``."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
from pyspark.sql import functions as F

from reprise.jobs._engine.manifest import carry_over_unchanged, compare_with_manifest, write_manifest
from reprise.jobs._engine.quarantine import write_quarantine
from reprise.jobs._engine.run import Run
from reprise.jobs._libraries.copies import Folders, plan_copies
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, open_regular, sha256_of
from reprise.lib.playlists import Matcher, Track, match_keys
from reprise.lib.playlists.listeners import ListenerFolders, ListenerTracks
from reprise.lib.playlists.play_counts import PlayCounts, read_play_counts
from reprise.lib.tables import LIBRARY_TRACKS, MSD_TRACKS, PLAYS, QUARANTINE, UNMATCHED_PLAYS, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.ingest_rows import check_listed, manifest_row, quarantine_row
from reprise.udfs.track_matching import TRACKS_DDL, filter_by_match_key

_ENTRIES_PER_COMMIT = 100_000
_MAX_PLAYS = 2**31 - 1
_AMBIGUOUS_SUFFIXES = (".xml", ".json", ".csv", ".tsv")
"""Ambiguous suffixes: lists have them, and so do many files that are not lists.

A file with one of these suffixes whose format is unknown is skipped, not quarantined.
"""


@dataclass
class _ReadFile:
    """Result of reading one file. ``plays`` is None if the file is unchanged or rejected."""

    listed: Mapping[str, Any]
    status: str
    sha256: str | None
    plays: PlayCounts | None = None
    error: InputError | None = None

    @property
    def entry_count(self) -> int:
        return self.plays.row_count if self.plays else 0

    def manifest_row(self, run: Run) -> dict[str, Any]:
        rejects = self.plays.n_rejects if self.plays else int(self.error is not None)
        return manifest_row(
            self.listed, job=run.job, run_id=run.run_id, status=self.status, sha256=self.sha256,
            row_count=self.entry_count, reject_count=rejects,
        )  # fmt: skip

    def quarantine_rows(self, run: Run) -> Iterable[dict[str, Any]]:
        errors = {self.listed["uri"]: self.error} if self.error else self.plays.rejects if self.plays else {}
        for uri, error in errors.items():
            yield quarantine_row(uri, error, job=run.job, run_id=run.run_id, sha256=self.sha256)


def ingest_lists(run: Run, tree: ListenerFolders, files: pa.Table, listeners: Folders, lost: Collection[str]) -> None:
    """Read the new and changed lists among ``files`` and write their plays, in batches of limited size.

    ``lost`` contains the ids of the listeners who have lost tracks. All lists of these listeners are read again.
    """
    if not len(files):
        return
    pending = compare_with_manifest(run.warehouse, run.job, files, force=run.args.force)
    folders = pending.done["uri"].map(tree.folder)
    pending = pending.reopen(folders.map(tree.listener, na_action="ignore").isin(lost))
    run.count(files=len(pending.done), skipped=len(pending.done))
    run.inputs += len(pending.done)
    run.bad_inputs += int((pending.done["status"] == "quarantined").sum())
    batch: list[_ReadFile] = []
    n_entries = 0
    owner: ListenerTracks | None = None
    for listed in pending.todo.sort_by("uri").to_pylist():
        folder = tree.folder(listed["uri"])
        if folder is None:
            owner = None
        elif owner is None or owner.folder != folder:
            owner = _find_owner(run, tree.listener(folder), folder, listeners[tree.listener(folder)])
        read_again = run.args.force or (owner is not None and owner.user_id in lost)
        if read := _read_list(listed, owner, None if read_again else listed["known_sha256"]):
            batch.append(read)
            n_entries += 1 + read.entry_count
        if n_entries >= _ENTRIES_PER_COMMIT:
            _write(run, batch, pending.known)
            batch, n_entries = [], 0
    if batch:
        _write(run, batch, pending.known)


def _find_owner(run: Run, user_id: str, folder: str, folders: Collection[str]) -> ListenerTracks:
    plan = plan_copies(run.warehouse, run.job, user_id, folders)
    track_of_uri = dict(zip(plan.files["uri"], plan.files["track_id"], strict=True))
    return ListenerTracks(user_id, folder, frozenset(plan.wanted["track_id"]), track_of_uri)


def _read_list(listed: Mapping[str, Any], owner: ListenerTracks | None, known_sha256: str | None) -> _ReadFile | None:
    """Read one list. Return None if the file has an ambiguous suffix and is not a list."""
    path, sha256 = local_path(listed["uri"]), None
    try:
        check_listed(listed)
        sha256 = sha256_of(path)
        if sha256 == known_sha256:
            return _ReadFile(listed, "unchanged", sha256)
        assert owner is not None  # noqa: S101 - a file without a listener has a fault, so check_listed raises
        with open_regular(path) as stream:
            return _ReadFile(listed, "done", sha256, read_play_counts(listed["uri"], stream, owner))
    except InputError as error:
        if error.kind == "unknown_format" and path.suffix.lower() in _AMBIGUOUS_SUFFIXES:
            return None
        return _ReadFile(listed, "quarantined", sha256, error=error)


def _write(run: Run, files: Sequence[_ReadFile], known: pd.DataFrame) -> None:
    """Match the entries of the lists with tracks, and write the plays.

    The manifest is written last. If the job is killed, the next run reads again each list whose manifest row is missing
    or outdated.
    """
    good = [file.plays for file in files if file.plays]
    _match(run, good)
    read_again = bool(known["uri"].isin([plays.uri for plays in good]).any())
    if good:
        _write_plays(run, good, read_again=read_again)
        _write_unmatched(run, good)
    manifest = pd.DataFrame([file.manifest_row(run) for file in files])
    carry_over_unchanged(manifest, known)
    rejected = [row for file in files for row in file.quarantine_rows(run)]
    run.inputs += len(files)
    run.bad_inputs += int((manifest["status"] == "quarantined").sum())
    run.count(files=len(files), lists_read=len(good), quarantined=len(rejected))
    read = manifest["uri"][manifest["run_id"] == run.run_id]
    rejected_table = pa.Table.from_pylist(rejected, arrow_schema(QUARANTINE))
    write_quarantine(run.warehouse, run.job, rejected_table, read, force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def _match(run: Run, lists: Sequence[PlayCounts]) -> None:
    """Match entries with the listener's own tracks, then with the tracks of all listeners, then with MSD songs."""
    tracks = _find_tracks(run, LIBRARY_TRACKS, "track_id", lists)
    own: dict[str, Matcher] = {}
    everyone = Matcher(tracks)
    for one in lists:
        if one.owner.user_id not in own:
            own[one.owner.user_id] = Matcher(track for track in tracks if track.track_id in one.owner.track_ids)
        one.match(own[one.owner.user_id])
        one.match(everyone)
    songs = Matcher(_find_tracks(run, MSD_TRACKS, "song_id", lists))
    for one in lists:
        one.match(songs)


def _find_tracks(run: Run, table: Table, id_column: str, lists: Iterable[PlayCounts]) -> list[Track]:
    """Return the tracks in ``table`` that can match an entry of the lists, in order of their ids.

    The ``track_id`` of a returned track is its value in ``id_column``.
    """
    wanted = {
        key
        for one in lists
        for entry in one.entries.values()
        for key in match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title)
    }
    if not wanted or not run.warehouse.exists(table):
        return []
    existing = {column.name for column in table.columns}
    fields = [F.col(name) if name in existing else F.lit(None).cast("string").alias(name) for name in Track._fields[1:]]
    rows = run.warehouse.read(run.spark, table).where(F.col(id_column).isNotNull())
    rows = rows.select(F.col(id_column).alias("track_id"), *fields)
    find = partial(filter_by_match_key, wanted_keys=frozenset(wanted))
    return [Track(**row) for row in rows.mapInArrow(find, TRACKS_DDL).toArrow().sort_by("track_id").to_pylist()]


def _write_plays(run: Run, lists: Sequence[PlayCounts], *, read_again: bool) -> None:
    sources = sorted(one.source for one in lists)
    rows = [
        {"user_id": one.owner.user_id, "song_id": song, "source": one.source, "play_count": min(count, _MAX_PLAYS)}
        for one in lists
        for song, count in sorted(one.plays.items())
    ]
    run.count(plays_matched=len(rows))
    if not rows and not (read_again and run.warehouse.exists(PLAYS)):
        return
    table = pa.Table.from_pylist([row | {"run_id": run.run_id} for row in rows], arrow_schema(PLAYS))
    run.warehouse.merge(PLAYS, run.spark.createDataFrame(table), scope=("source", sources))


def _write_unmatched(run: Run, lists: Sequence[PlayCounts]) -> None:
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
            "play_count": min(one.counts[key], _MAX_PLAYS),
            "uri": one.uri,
            "run_id": run.run_id,
        }
        for one in lists
        for key, entry in sorted(one.entries.items())
    ]
    run.count(plays_unmatched=len(rows))
    if rows or run.warehouse.exists(UNMATCHED_PLAYS):
        table = pa.Table.from_pylist(rows, arrow_schema(UNMATCHED_PLAYS))
        run.warehouse.merge(UNMATCHED_PLAYS, table, scope=("source", sources))
