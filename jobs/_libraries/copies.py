"""Copies of tracks (which listener has which track), derived from the manifest of the listeners' files."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from reprise.jobs._engine.manifest import write_manifest
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Part, Warehouse
from reprise.lib.files import local_path
from reprise.lib.playlists.formats import SUFFIXES
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_COPIES, LIBRARY_TRACKS, MANIFEST
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import analysis_sha256, library_track_id

_FILES_PER_COMMIT = 20_000
AUDIO_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav")
LIST_SUFFIXES = tuple(sorted(SUFFIXES))
_COPY = ["track_id", "uri", "sha256"]

Folders = Mapping[str, Collection[str]]
"""URIs of the folders that were listed, by listener."""


@dataclass(frozen=True)
class CopyPlan:
    """One listener's copies: the stored copies, and the copies that the files require.

    Attributes
    ----------
    files
        Manifest rows of the valid audio files, with ``track_id``.
    stored, wanted
        Rows of ``library_copies`` that are stored, and rows that the files require. Columns ``track_id``, ``uri`` and
        ``sha256``.
    """

    user_id: str
    files: pd.DataFrame
    stored: pd.DataFrame
    wanted: pd.DataFrame

    @property
    def lost(self) -> set[str]:
        """Ids of the listener's stored tracks that the files do not require any more."""
        return set(self.stored["track_id"]) - set(self.wanted["track_id"])

    def new_copies(self) -> pd.DataFrame:
        """Return the wanted copies that are not stored yet."""
        both = self.wanted.merge(self.stored, how="left", indicator=True)
        return both.loc[both["_merge"] == "left_only", _COPY].assign(user_id=self.user_id)

    def manifest_rows(self) -> pd.DataFrame:
        """Return the manifest rows of ``files`` with their final status: each file is a copy or a duplicate."""
        is_copy = self.files["uri"].isin(self.wanted["uri"])
        return self.files.assign(status=is_copy.map({True: "done", False: "duplicate"}), row_count=is_copy.astype(int))


def find_analysed(warehouse: Warehouse, hashes: Collection[str]) -> set[str]:
    """Return those SHA-256 of audio files whose tracks are stored with an analysis of the current version."""
    if not hashes:
        return set()
    ids = {library_track_id(sha256): sha256 for sha256 in hashes}
    tracks, analyses = (
        warehouse.lookup(table, "track_id", min(ids), max(ids), ["track_id", "sha256"])
        for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS)
    )
    stored = set(tracks["sha256"].to_pylist())
    current = {row["track_id"]: row["sha256"] for row in analyses.to_pylist()}
    return {one for track_id, one in ids.items() if one in stored and current.get(track_id) == analysis_sha256(one)}


def add_uris(warehouse: Warehouse, part: Part, tracks: pd.DataFrame) -> pd.DataFrame:
    """Return ``tracks``, rows of ``part`` of ``library_tracks``, with the column ``uris``: the URIs of their copies."""
    copies = warehouse.lookup(LIBRARY_COPIES, "track_id", part.least, part.greatest, ["track_id", "uri"])
    uris = copies.to_pandas().sort_values("uri").groupby("track_id")["uri"].agg(list)
    return tracks.assign(uris=[uris.get(track_id, []) for track_id in tracks["track_id"]])


def plan_copies(warehouse: Warehouse, job: str, user_id: str, folders: Collection[str]) -> CopyPlan:
    """Compare the copies that a listener has in the tables with those that the listener's files require.

    If several files have the same content, the copy is the first existing file in order of URI. If all these files are
    gone, the copy is the first file in order of URI. Stored copies outside ``folders`` are treated like these files.
    """
    frames = [warehouse.lookup(MANIFEST, "uri", folder, f"{folder}/\U0010ffff").to_pandas() for folder in folders]
    files = pd.concat(frames, ignore_index=True)
    good = (files["status"] != "quarantined") & (files["stage"] == job) & _is_below(files["uri"], folders)
    files = files[good & ~files["uri"].str.lower().str.endswith(LIST_SUFFIXES)]
    files = files.assign(track_id=files["sha256"].map(library_track_id))
    stored = warehouse.lookup(LIBRARY_COPIES, "user_id", user_id, user_id).to_pandas()[_COPY]
    offered = pd.concat([files[_COPY], stored[~_is_below(stored["uri"], folders)]], ignore_index=True)
    repeated = offered["track_id"].duplicated(keep=False)
    uris = zip(offered["uri"], repeated, strict=True)
    offered["gone"] = [again and not os.path.lexists(local_path(uri)) for uri, again in uris]
    wanted = offered.sort_values(["track_id", "gone", "uri"]).drop_duplicates("track_id")[_COPY]
    return CopyPlan(user_id, files, stored, wanted.reset_index(drop=True))


def _is_below(uris: pd.Series, folders: Collection[str]) -> pd.Series:
    return uris.isin(folders) | uris.str.startswith(tuple(f"{folder}/" for folder in folders))


def write_copies(run: Run, listeners: Folders) -> dict[str, set[str]]:
    """Write new copies, and the status of all files of the listeners. Return the ids of lost tracks by listener."""
    lost: dict[str, set[str]] = {}
    plans: list[CopyPlan] = []
    for user_id, folders in listeners.items():
        plan = plan_copies(run.warehouse, run.job, user_id, folders)
        plans.append(plan)
        if plan.lost:
            lost[user_id] = plan.lost
        if sum(len(one.files) for one in plans) >= _FILES_PER_COMMIT:
            _commit(run, plans)
            plans = []
    if plans:
        _commit(run, plans)
    return lost


def _commit(run: Run, plans: Sequence[CopyPlan]) -> None:
    """Write the new copies of ``plans``, then the manifest, in which the status of a file depends on the copies."""
    new = pd.concat([plan.new_copies() for plan in plans]).assign(run_id=run.run_id)
    if len(new):
        run.warehouse.merge(
            LIBRARY_COPIES, pa.Table.from_pandas(new, arrow_schema(LIBRARY_COPIES), preserve_index=False)
        )
    files = pd.concat([plan.files for plan in plans])
    final = pd.concat([plan.manifest_rows() for plan in plans])
    read_now = (files["run_id"] == run.run_id) | (files["status"] != final["status"])
    run.count(copies=len(new), duplicates=int((read_now & (final["status"] == "duplicate")).sum()))
    write_manifest(run.warehouse, final.assign(run_id=run.run_id), files)


def delete_orphans(warehouse: Warehouse, lost: Mapping[str, set[str]]) -> int:
    """Delete the tracks whose copies are all in ``lost``, and return the number of these tracks."""
    ids = set().union(*lost.values())
    if not ids:
        return 0
    copies = warehouse.lookup(LIBRARY_COPIES, "track_id", min(ids), max(ids), ["user_id", "track_id"]).to_pylist()
    ids -= {row["track_id"] for row in copies if row["track_id"] not in lost.get(row["user_id"], ())}
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=pa.table({"track_id": pa.array(sorted(ids), pa.string())}))
    return len(ids)


def delete_lost_copies(warehouse: Warehouse, lost: Mapping[str, set[str]]) -> None:
    """Delete the copies in ``lost``, which maps each listener to the ids of the listener's lost tracks."""
    pairs = [(user_id, track_id) for user_id, ids in lost.items() for track_id in sorted(ids)]
    if pairs:
        users, ids = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
        warehouse.merge(LIBRARY_COPIES, [], delete=pa.table({"user_id": users, "track_id": ids}))
