r"""Readers and writers of the annotation files that belong to the Million Song Dataset.

Every reader takes a binary stream and yields `Chunk` objects of bounded size; a line that cannot be used becomes a
`Reject` and the rest goes on. An empty stream is an empty list. Every writer takes the columns that its reader gives
and refuses, with ``ValueError``, rows that its reader would not give back.

What holds for all six formats: utf-8 with or without a byte order mark; lines end in ``\n`` or ``\r\n``, the last
one perhaps in nothing; blank lines are skipped; a line over 64 KiB or with a NUL byte is rejected. Ids, genres and
numbers must be clean. Names and titles are kept as they stand, bytes that are no utf-8 replaced by U+FFFD; an empty
one is None. Keys that repeat over a whole file are not looked for, since that would take memory that grows with it:
tables merge by key.
"""

from reprise.lib.annotations.cliques import read_cover_cliques, write_cover_cliques
from reprise.lib.annotations.formats import Format, detect
from reprise.lib.annotations.genres import read_genre_labels, write_genre_labels
from reprise.lib.annotations.plays import read_plays, write_plays
from reprise.lib.annotations.songs import (
    read_song_mismatches,
    read_unique_tracks,
    write_song_mismatches,
    write_unique_tracks,
)
from reprise.lib.annotations.stream import Chunk, Reject, open_annotation
from reprise.lib.annotations.triplets import read_cover_triplets, write_cover_triplets

__all__ = [
    "Chunk",
    "Format",
    "Reject",
    "detect",
    "open_annotation",
    "read_cover_cliques",
    "read_cover_triplets",
    "read_genre_labels",
    "read_plays",
    "read_song_mismatches",
    "read_unique_tracks",
    "write_cover_cliques",
    "write_cover_triplets",
    "write_genre_labels",
    "write_plays",
    "write_song_mismatches",
    "write_unique_tracks",
]
