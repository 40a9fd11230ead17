"""Detection of the format of a playlist, history or collection, first by its content, then by its file name."""

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject
from reprise.lib.playlists.collections import read_itunes, read_rekordbox
from reprise.lib.playlists.entries import Entry
from reprise.lib.playlists.lastfm import looks_like_lastfm, read_lastfm
from reprise.lib.playlists.listenbrainz import read_listenbrainz
from reprise.lib.playlists.m3u import read_m3u
from reprise.lib.playlists.xspf import read_xspf

HEAD_BYTES = 1 << 16
"""Number of bytes that `detect` uses from the start of a file."""


@dataclass(frozen=True)
class Format:
    """A format and its reader.

    ``counts_plays`` is True for histories and collections, which record plays. It is False for playlists.
    """

    name: str
    counts_plays: bool
    read: Callable[[BinaryIO], Iterator[Entry | Reject]]


M3U = Format("m3u", False, read_m3u)
XSPF = Format("xspf", False, read_xspf)
ITUNES = Format("itunes", True, read_itunes)
REKORDBOX = Format("rekordbox", True, read_rekordbox)
LISTENBRAINZ = Format("listenbrainz", True, read_listenbrainz)
LASTFM = Format("lastfm", True, read_lastfm)

SUFFIXES = frozenset({".m3u", ".m3u8", ".xspf", ".xml", ".json", ".jsonl", ".listens", ".csv", ".tsv", ".txt"})
"""Suffixes, in lower case, of files that can be playlists or histories."""

_PROLOGUE = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>)*", re.DOTALL)
_ROOTS = {"playlist": XSPF, "plist": ITUNES, "DJ_PLAYLISTS": REKORDBOX}
_ROOT = re.compile(r"<([A-Za-z_][\w.-]*)")
_LISTEN = re.compile(r'"(?:track_metadata|listens)"\s*:')
# tags of HTTP Live Streaming (HLS). Each entry of an HLS playlist is a piece of one recording, not a song
_STREAM = re.compile(r"(?m)^#EXT-X-")
_BY_SUFFIX = ((".m3u", M3U), (".m3u8", M3U), (".xspf", XSPF))


def detect(name: str, head: bytes) -> Format | None:
    """Return the format of a file, detected by its first bytes or, if these are not sufficient, by its suffix.

    Parameters
    ----------
    name
        File name. The suffix is used if the first bytes are text that does not identify a format, e.g. an M3U file
        without ``#EXTM3U``. Histories from Last.fm are detected only in ``.csv``, ``.tsv`` and ``.txt`` files.
    head
        First bytes of the file; up to `HEAD_BYTES` of them are used.

    Returns
    -------
    Format or None
        None for a file that is not in a known format. The property list of another program is detected as
        iTunes; reading it raises InputError.
    """
    text = _decode(head).lstrip("\ufeff").lstrip()
    if text.startswith("<"):
        root = _ROOT.match(text, _PROLOGUE.match(text).end())  # type: ignore[union-attr]
        if root and root[1] in _ROOTS:
            return _ROOTS[root[1]]
        if root:
            return None
    if text[:1] in ("{", "["):
        return LISTENBRAINZ if _LISTEN.search(text) else None
    if text[:7].upper() == "#EXTM3U":
        return None if _STREAM.search(text) else M3U
    lower = name.lower()
    if lower.endswith((".csv", ".tsv", ".txt")):
        first = head.removeprefix(codecs.BOM_UTF8).lstrip(b"\r\n").split(b"\n", 1)[0].removesuffix(b"\r")
        return LASTFM if looks_like_lastfm(first) else None
    if "\0" in text or not text:
        return None
    return next((format_ for suffix, format_ in _BY_SUFFIX if lower.endswith(suffix)), None)


def _decode(head: bytes) -> str:
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return head[:HEAD_BYTES].decode("utf-16" if is_utf16 else "utf-8", "replace")
