"""Playlists and listening histories: their readers, where their paths point to, and which known tracks they name.

`detect` tells the format of a file, ``format.read(stream)`` yields `Entry` objects and, for each line that cannot be
used, a `Reject`; the rest goes on. Streams are plain bytes; nothing but the stream is opened. A file that is nothing
known raises InputError. Memory is bounded by the number of different songs.
"""

from reprise.lib.annotations.stream import Reject
from reprise.lib.playlists.entries import Entry
from reprise.lib.playlists.formats import HEAD_BYTES, SUFFIXES, Format, detect
from reprise.lib.playlists.matching import Match, Matcher, Track, entry_key, match_keys, normalise
from reprise.lib.playlists.paths import Tails, resolve

__all__ = [
    "HEAD_BYTES",
    "SUFFIXES",
    "Entry",
    "Format",
    "Match",
    "Matcher",
    "Reject",
    "Tails",
    "Track",
    "detect",
    "entry_key",
    "match_keys",
    "normalise",
    "resolve",
]
