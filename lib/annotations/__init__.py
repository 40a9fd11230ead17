r"""Readers and writers of the annotation files that belong to the Million Song Dataset.

Every reader takes a binary stream and yields `Chunk` objects of bounded size. An unusable line becomes a `Reject`, and
reading continues with the next line. An empty stream yields no chunks. Every format has a writer. It takes the columns
that the reader yields, and raises ``ValueError`` for rows that the reader would not return unchanged.

All six formats share these rules. Text is UTF-8, with or without a byte order mark. Lines end in ``\n`` or ``\r\n``;
the line ending is optional after the last line. Blank lines are skipped. A line that is not a comment is rejected if it
is longer than 64 KiB or contains a NUL byte. Invalid ids, genres and numbers are rejected. Names and titles are kept
unchanged, with two exceptions: bytes that are not UTF-8 become U+FFFD, and an empty name or title becomes None.
Duplicates are detected only within a clique, a triplet or a line, because the search of a whole file would need memory
in proportion to the file. The tables merge rows by key.
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
