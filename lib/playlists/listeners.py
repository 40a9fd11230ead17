"""Ownership of files: the listener to whom a file belongs, and the tracks in a listener's audio files."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reprise.lib.files import local_path, printable_name
from reprise.lib.playlists.paths import PathIndex, resolve


@dataclass(frozen=True)
class ListenerFolders:
    """Folders of listeners at or below the URI ``root``.

    If ``user_id`` is given, all files belong to this listener. If it is None, each folder directly below ``root``
    belongs to one listener, and its name is the listener's id.
    """

    root: str
    user_id: str | None

    def folder(self, uri: str) -> str | None:
        """Return the URI of the listener's folder that contains a file; None if there is no such folder."""
        if self.user_id is not None:
            return self.root
        first, inside, _ = uri.removeprefix(f"{self.root}/").partition("/")
        return f"{self.root}/{first}" if inside else None

    def listener(self, folder: str) -> str:
        """Return the id of the listener to whom a folder belongs."""
        return self.user_id or unicodedata.normalize("NFC", printable_name(local_path(folder)))

    def is_hidden(self, uri: str) -> bool:
        """Return whether the name of the file, or that of a folder between ``root`` and the file, starts with a dot."""
        return any(name.startswith(".") for name in uri.removeprefix(self.root).split("/"))


class ListenerTracks:
    """A listener's tracks, and their audio files in one folder of the listener.

    Parameters
    ----------
    user_id, folder
        Id of the listener, and URI of the folder.
    track_ids
        Ids of all tracks of the listener.
    track_of_uri
        Track ids by the URI of the audio file. It can contain files outside ``folder``.
    """

    def __init__(self, user_id: str, folder: str, track_ids: frozenset[str], track_of_uri: Mapping[str, str]) -> None:
        self.user_id, self.folder, self.track_ids = user_id, folder, track_ids
        self._root = local_path(folder)
        self._track_of_path = {os.fspath(local_path(uri)): track_id for uri, track_id in track_of_uri.items()}

    @cached_property
    def _index(self) -> PathIndex:
        return PathIndex(os.path.relpath(path, self._root) for path in self._track_of_path)

    def find(self, path: str | None, folder: Path) -> str | None:
        """Return the id of the track whose audio file has this path, or None. No file is opened.

        If the path leads to no file below the listener's folder, its last components decide, as in `PathIndex`.

        Parameters
        ----------
        path
            As in `Entry.path`.
        folder
            Folder of the playlist. Relative paths start there.
        """
        if path is None:
            return None
        if file := resolve(path, folder, self._root):
            return self._track_of_path.get(os.fspath(file))
        tail = self._index.find(path)
        return self._track_of_path[os.path.join(self._root, tail)] if tail else None  # noqa: PTH118
