r"""Where the paths of playlists point to: inside one folder, or nowhere.

`resolve` follows a path as it is written, and gives only files under the root. `Tails` is for libraries that came from
another computer, whose absolute paths (``C:\Users\ann\Music\Artist\Album\01 Song.mp3``) exist nowhere here: it
compares the last parts of a path with files that are known to be there, and opens and looks up nothing.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

from reprise.lib.playlists.entries import path_of_location

LONGEST_TAIL = 8
"""Parts of a path that are compared at most."""
_SHORTEST_TAIL = 2
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DRIVE = re.compile(r"[A-Za-z]:")


def resolve(path: str, folder: Path, root: Path) -> Path | None:
    """File that an entry of a playlist points to, if it exists under ``root``.

    The path is tried as written, then with the separators of Windows, its ``%20`` decoded (VLC writes such paths) and
    its accents composed or decomposed (macOS writes them apart).

    Parameters
    ----------
    path
        As `Entry.path`, or a ``file:`` URL.
    folder
        Where the playlist lies: relative paths start there.
    root
        Folder that nothing may leave, by ``..``, as an absolute path or through a symbolic link.

    Returns
    -------
    Path or None
        Regular file, with ``root`` as it was given and symbolic links below it followed. None for what leaves the
        root, is not there, is no regular file, or is a network path, a path with a drive or any other URL.
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
        except (OSError, ValueError):  # outside the root, or a name that no file can have
            continue
    return None


def _spellings(path: str) -> Iterator[str]:
    """Ways to read a path, each once."""
    decoded = unquote(path) if "%" in path else path
    seen: dict[str, None] = {}
    for text in (path, path.replace("\\", "/"), decoded, decoded.replace("\\", "/")):
        seen.update(dict.fromkeys((text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))))
    yield from filter(None, seen)


class Tails:
    """Known files by the last parts of their paths, whatever the case of letters and the form of accents.

    Two parts at least must agree, folder and file name, since many albums have an ``01 Intro.mp3``; where the longest
    agreement fits several files, none is taken.

    Parameters
    ----------
    paths
        Files, relative to one root, with ``/`` between the parts; sorted or not makes no difference.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._known: dict[tuple[str, ...], str | None] = {}  # None where several files end so
        for path in paths:
            parts = _parts(path)
            for length in range(_SHORTEST_TAIL, len(parts) + 1):
                tail = parts[-length:]
                self._known[tail] = path if self._known.get(tail, path) == path else None

    def find(self, path: str) -> str | None:
        """Return the known file whose tail agrees longest with ``path``; None where none or several do."""
        parts = _parts(path_of_location(path) or "")
        for length in range(len(parts), _SHORTEST_TAIL - 1, -1):
            tail = parts[-length:]
            if tail in self._known:
                return self._known[tail]
        return None


def _parts(path: str) -> tuple[str, ...]:
    """Last parts of a path as they are compared; none for other URLs and for paths with ``..``."""
    if _URL.match(path):
        return ()
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    parts = [part for part in re.split(r"[/\\]", folded) if part not in ("", ".")]
    return () if ".." in parts else tuple(parts[-LONGEST_TAIL:])
