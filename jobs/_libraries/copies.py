"""Which listener has which track: ``library_copies`` as it follows from the manifest of their files."""

import os
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.manifest import write_manifest
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.files import local_path, printable_name
from reprise.lib.playlists.formats import SUFFIXES
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_COPIES, LIBRARY_TRACKS, MANIFEST
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import library_track_id

_FILES_A_COMMIT = 20_000
LIST_SUFFIXES = tuple(sorted(SUFFIXES))
_COPY = ["track_id", "uri", "sha256"]

Folders = Mapping[str, Collection[str]]
"""Listeners, and the URIs of the folders of each that were looked through."""


@dataclass(frozen=True)
class Tree:
    """Whose the files below ``root``, a URI, are: those of ``user_id``, or where that is None of their first folder."""

    root: str
    user_id: str | None

    def folder(self, uri: str) -> str | None:
        """URI of the folder of the listener whose file this is; None when it lies in none."""
        if self.user_id is not None:
            return self.root
        first, inside, _ = uri.removeprefix(f"{self.root}/").partition("/")
        return f"{self.root}/{first}" if inside else None

    def listener(self, folder: str) -> str:
        """Listener to whom a folder belongs."""
        return self.user_id or unicodedata.normalize("NFC", printable_name(local_path(folder)))

    def is_hidden(self, uri: str) -> bool:
        """Whether the file, or a folder between it and the root, has a name that begins with a dot."""
        return any(name.startswith(".") for name in uri.removeprefix(self.root).split("/"))


@dataclass(frozen=True)
class Library:
    """One listener's copies: as they stand, and as they follow from the files.

    Parameters
    ----------
    files
        Manifest rows of the good audio files, with ``track_id``.
    standing, wanted
        Rows of ``library_copies``: ``track_id``, ``uri``, ``sha256``.
    """

    user_id: str
    files: pd.DataFrame
    standing: pd.DataFrame
    wanted: pd.DataFrame

    @property
    def lost(self) -> set[str]:
        """Tracks of which there was a copy, and is none any more."""
        return set(self.standing["track_id"]) - set(self.wanted["track_id"])

    def new(self) -> pd.DataFrame:
        """Copies to be written."""
        both = self.wanted.merge(self.standing, how="left", indicator=True)
        return both.loc[both["_merge"] == "left_only", _COPY].assign(user_id=self.user_id)

    def settled(self) -> pd.DataFrame:
        """Manifest rows of ``files``, each of which is a copy or a duplicate."""
        is_copy = self.files["uri"].isin(self.wanted["uri"])
        return self.files.assign(status=is_copy.map({True: "done", False: "duplicate"}), row_count=is_copy.astype(int))


def known_tracks(warehouse: Warehouse, track_ids: Collection[str]) -> set[str]:
    """Those of the library tracks ``track_ids`` that the warehouse holds."""
    if not track_ids:
        return set()
    rows = warehouse.lookup(LIBRARY_TRACKS, "track_id", min(track_ids), max(track_ids), ["track_id"])["track_id"]
    return set(rows.filter(pc.is_in(rows, pa.array(sorted(track_ids)))).to_pylist())


def survey(warehouse: Warehouse, stage: str, user_id: str, folders: Collection[str]) -> Library:
    """Look at what a listener has and should have.

    Of several files with one content the first in the order of names that is still there is the copy; of those that are
    all gone, the first. What the listener has elsewhere stands.
    """
    frames = [warehouse.lookup(MANIFEST, "uri", folder, f"{folder}/\U0010ffff").to_pandas() for folder in folders]
    files = pd.concat(frames, ignore_index=True)
    good = (files["status"] != "quarantined") & (files["stage"] == stage) & _is_below(files["uri"], folders)
    files = files[good & ~files["uri"].str.lower().str.endswith(LIST_SUFFIXES)]
    files = files.assign(track_id=files["sha256"].map(library_track_id))
    standing = warehouse.lookup(LIBRARY_COPIES, "user_id", user_id, user_id).to_pandas()[_COPY]
    offered = pd.concat([files[_COPY], standing[~_is_below(standing["uri"], folders)]], ignore_index=True)
    repeated = offered["track_id"].duplicated(keep=False)
    places = zip(offered["uri"], repeated, strict=True)
    offered["gone"] = [again and not os.path.lexists(local_path(uri)) for uri, again in places]
    wanted = offered.sort_values(["track_id", "gone", "uri"]).drop_duplicates("track_id")[_COPY]
    return Library(user_id, files, standing, wanted.reset_index(drop=True))


def _is_below(uris: pd.Series, folders: Collection[str]) -> pd.Series:
    return uris.isin(folders) | uris.str.startswith(tuple(f"{folder}/" for folder in folders))


def write_copies(run: Run, listeners: Folders) -> dict[str, set[str]]:
    """Write the copies that are new, and which files are duplicates; gives the tracks that listeners have lost."""
    lost: dict[str, set[str]] = {}
    held: list[Library] = []
    for user_id, folders in listeners.items():
        library = survey(run.warehouse, run.job, user_id, folders)
        held.append(library)
        if library.lost:
            lost[user_id] = library.lost
        if sum(len(one.files) for one in held) >= _FILES_A_COMMIT:
            _commit(run, held)
            held = []
    if held:
        _commit(run, held)
    return lost


def _commit(run: Run, libraries: Sequence[Library]) -> None:
    """Write what is new in some libraries: whose copies first, since the rest follows from them and the manifest."""
    new = pd.concat([library.new() for library in libraries]).assign(run_id=run.run_id)
    if len(new):
        run.warehouse.merge(
            LIBRARY_COPIES, pa.Table.from_pandas(new, arrow_schema(LIBRARY_COPIES), preserve_index=False)
        )
    files = pd.concat([library.files for library in libraries])
    settled = pd.concat([library.settled() for library in libraries])
    read_now = (files["run_id"] == run.run_id) | (files["status"] != settled["status"])
    run.count(copies=len(new), duplicates=int((read_now & (settled["status"] == "duplicate")).sum()))
    write_manifest(run.warehouse, settled.assign(run_id=run.run_id), files)


def remove_orphans(warehouse: Warehouse, lost: Mapping[str, set[str]]) -> int:
    """Delete the tracks of which nobody has a copy, once those listeners have lost theirs; gives their number."""
    ids = set().union(*lost.values())
    if not ids:
        return 0
    held = warehouse.lookup(LIBRARY_COPIES, "track_id", min(ids), max(ids), ["user_id", "track_id"]).to_pylist()
    ids -= {row["track_id"] for row in held if row["track_id"] not in lost.get(row["user_id"], ())}
    # the row of the track, which vouches for its analysis, goes first
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=pa.table({"track_id": pa.array(sorted(ids), pa.string())}))
    return len(ids)


def forget_lost(warehouse: Warehouse, lost: Mapping[str, set[str]]) -> None:
    """Delete the copies that listeners have lost."""
    pairs = [(user_id, track_id) for user_id, ids in lost.items() for track_id in sorted(ids)]
    if pairs:
        users, ids = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
        warehouse.merge(LIBRARY_COPIES, [], delete=pa.table({"user_id": users, "track_id": ids}))
