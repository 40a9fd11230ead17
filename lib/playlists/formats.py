"""Which format a playlist or a history is in, told by its content first: names vary, contents do not."""

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
"""How much of a file `detect` wants to see."""


@dataclass(frozen=True)
class Format:
    """A format: its name, whether it counts plays (histories, libraries) or lists songs (playlists), and its reader."""

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
"""Suffixes, in lower case, of files that may be one."""

_PROLOGUE = re.compile(r"(?:\s+|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>)*", re.DOTALL)
_ROOTS = {"playlist": XSPF, "plist": ITUNES, "DJ_PLAYLISTS": REKORDBOX}
_ROOT = re.compile(r"<([A-Za-z_][\w.-]*)")
_LISTEN = re.compile(r'"(?:track_metadata|listens)"\s*:')
# of a video stream's playlist, whose lines are pieces of one recording
_STREAM = re.compile(r"(?m)^#EXT-X-")
_BY_SUFFIX = ((".m3u", M3U), (".m3u8", M3U), (".xspf", XSPF))


def detect(name: str, head: bytes) -> Format | None:
    """Format of a file, from its first bytes and, where these do not tell, the suffix of its name.

    Parameters
    ----------
    name
        File name; only an M3U without ``#EXTM3U`` and files that begin as nothing known need it.
    head
        First bytes of the file, at best `HEAD_BYTES`.

    Returns
    -------
    Format or None
        None for what is neither a playlist nor a history: property lists of other programs are found out by reading.
    """
    text = _decoded(head).lstrip("\ufeff").lstrip()
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


def _decoded(head: bytes) -> str:
    is_utf16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return head[:HEAD_BYTES].decode("utf-16" if is_utf16 else "utf-8", "replace")
