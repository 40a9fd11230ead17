r"""Resolution of paths in playlists to files inside one folder.

`resolve` follows a path and returns only files under the root. `PathIndex` is for libraries that were copied from
another computer: the absolute paths in their playlists (``C:\Users\ann\Music\Artist\Album\01 Song.mp3``) do not exist
on this computer. `PathIndex` compares the last components of a path with those of known files. It does not access the
file system.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from reprise.lib.playlists.entries import path_of_location

MAX_PARTS = 8
"""Largest number of path components that are compared."""
_MIN_PARTS = 2
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:")


def resolve(path: str, folder: Path, root: Path) -> Path | None:
    """Return the file of a playlist entry if it exists under ``root``.

    It tries the path as written, with backslashes replaced by slashes, with escapes such as ``%20`` decoded (VLC writes
    them), and with both changes. It tries each of these paths with accents as written, composed, and decomposed (macOS
    writes them decomposed).

    Parameters
    ----------
    path
        As in `Entry.path`, or a ``file:`` URL.
    folder
        Folder of the playlist. Relative paths start there.
    root
        Folder that must contain the file. Paths that leave it by ``..``, as absolute paths or through a symbolic link
        give None.

    Returns
    -------
    Path or None
        Path of a regular file. It starts with ``root`` as given; symbolic links below ``root`` are resolved. None if
        the path leaves the root, does not exist or is not a regular file. None also for a network path, a path with a
        drive letter, and a URL with a scheme other than ``file``.
    """
    real_root = os.path.realpath(root)
    for candidate in _spellings(path_of_location(path) or ""):
        if _URL.match(candidate) or _DRIVE.match(candidate) or candidate.startswith("//") or "\0" in candidate:
            continue
        try:
            real = Path(os.path.realpath(folder / candidate))
            inside = real.relative_to(real_root)
            if real.is_file():
                return root / inside
        except (OSError, ValueError):  # the path is outside the root, or the file name is invalid
            continue
    return None


def _spellings(path: str) -> Iterator[str]:
    """Yield each different spelling of a path that `resolve` tries."""
    decoded = unquote(path) if "%" in path else path
    seen: dict[str, None] = {}
    for text in (path, path.replace("\\", "/"), decoded, decoded.replace("\\", "/")):
        seen.update(dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))))
    yield from filter(None, seen)


class PathIndex:
    """Index of known files by the last components of their paths. Case and the Unicode form of accents are ignored.

    At least the file name and its folder must match, because many albums have a file ``01 Intro.mp3``. If several
    files share the longest match, `find` returns None.

    Parameters
    ----------
    paths
        Paths of the files relative to one root, with ``/`` between the components, in any order.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._known: dict[tuple[str, ...], str | None] = {}  # None if several files have this ending
        for path in paths:
            parts = _split_path(path)
            for length in range(_MIN_PARTS, len(parts) + 1):
                ending = parts[-length:]
                self._known[ending] = path if self._known.get(ending, path) == path else None

    def find(self, path: str) -> str | None:
        """Return the known file whose path has the longest run of last components in common with ``path``.

        Return None if no file matches, or if several files share the longest match.
        """
        parts = _split_path(path_of_location(path) or "")
        for length in range(len(parts), _MIN_PARTS - 1, -1):
            ending = parts[-length:]
            if ending in self._known:
                return self._known[ending]
        return None


def _split_path(path: str) -> tuple[str, ...]:
    """Return the last path components, normalised for comparison; an empty tuple for URLs and paths with ``..``."""
    if _URL.match(path):
        return ()
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    parts = [part for part in re.split(r"[/\\]", folded) if part not in ("", ".")]
    return () if ".." in parts else tuple(parts[-MAX_PARTS:])
