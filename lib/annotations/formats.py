"""Which of the five formats an annotation file is in, told by its content: names vary, contents do not."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from reprise.lib.annotations.cliques import read_cover_cliques
from reprise.lib.annotations.genres import read_genre_labels
from reprise.lib.annotations.plays import read_plays
from reprise.lib.annotations.songs import read_song_mismatches, read_unique_tracks
from reprise.lib.annotations.stream import Chunk
from reprise.lib.errors import InputError

_LINES_LOOKED_AT = 50
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True)
class Format:
    """One annotation format: what a line of it looks like, who reads it, and the table it fills."""

    table: str
    looks_like: re.Pattern[bytes]
    read: Callable[..., Iterator[Chunk]]


FORMATS = (
    Format("song_mismatches", re.compile(rb"ERROR: <SO"), lambda stream, source: read_song_mismatches(stream)),  # noqa: ARG005
    Format("cover_cliques", re.compile(rb"%-?\d+,([-\d,]*) "), read_cover_cliques),
    Format("unique_tracks", re.compile(rb"TR[A-Z0-9]{16}<SEP>SO"), lambda stream, source: read_unique_tracks(stream)),  # noqa: ARG005
    Format("genre_labels", re.compile(rb"TR[A-Z0-9]{16}\t"), read_genre_labels),
    Format("plays", re.compile(rb"[^\t]+\tSO[A-Z0-9]{16}\t"), read_plays),
)


def detect(stream: BinaryIO) -> Format:
    """Format of an annotation file, from the first of its early lines that looks like any; reads from the start on.

    Raises
    ------
    InputError
        ``empty_file`` when there is no line, ``unknown_format`` when none looks like any format.
    """
    is_empty = True
    for _ in range(_LINES_LOOKED_AT):
        try:
            line = stream.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
        except (OSError, EOFError) as error:  # what gzip and zlib raise
            raise InputError("unreadable", f"cannot be decompressed: {error}") from None
        is_empty = is_empty and not line
        for format_ in FORMATS:
            if format_.looks_like.match(line):
                return format_
    if is_empty:
        raise InputError("empty_file", "has no bytes: get the file again or remove it")
    raise InputError(
        "unknown_format",
        "is no SecondHandSongs list, tagtraum .cls, taste-profile triplets, mismatch list or unique_tracks.txt",
    )
