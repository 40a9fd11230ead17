"""Playlists and listening histories: readers, resolution of paths, and matching with known tracks.

`detect` returns the format of a file. ``format.read(stream)`` yields `Entry` objects and, for each unusable line, a
`Reject`; reading continues with the next line. A stream must contain uncompressed bytes. The readers do not open the
files to which entries point. They raise InputError for a file that they cannot read at all. The memory use of the
readers of histories and collections grows with the number of different songs, not with the number of plays.
"""

from reprise.lib.annotations.stream import Reject
from reprise.lib.playlists.entries import Entry
from reprise.lib.playlists.formats import HEAD_BYTES, SUFFIXES, Format, detect
from reprise.lib.playlists.matching import Match, Matcher, Track, entry_key, match_keys, normalise
from reprise.lib.playlists.paths import PathIndex, resolve

__all__ = [
    "HEAD_BYTES",
    "SUFFIXES",
    "Entry",
    "Format",
    "Match",
    "Matcher",
    "PathIndex",
    "Reject",
    "Track",
    "detect",
    "entry_key",
    "match_keys",
    "normalise",
    "resolve",
]
