"""Detection of the format of an annotation file from its content, because file names vary."""

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

_MAX_LINES = 50
_MAX_LINE_BYTES = 1 << 16


@dataclass(frozen=True)
class Format:
    """One annotation format: name of the table that it fills, pattern of the start of its lines, and reader."""

    table: str
    line_pattern: re.Pattern[bytes]
    read: Callable[..., Iterator[Chunk]]


FORMATS = (
    Format("song_mismatches", re.compile(rb"ERROR: <SO"), lambda stream, source: read_song_mismatches(stream)),  # noqa: ARG005
    Format("cover_cliques", re.compile(rb"%-?\d+,([-\d,]*) "), read_cover_cliques),
    Format("unique_tracks", re.compile(rb"TR[A-Z0-9]{16}<SEP>SO"), lambda stream, source: read_unique_tracks(stream)),  # noqa: ARG005
    Format("genre_labels", re.compile(rb"TR[A-Z0-9]{16}\t"), read_genre_labels),
    Format("plays", re.compile(rb"[^\t]+\tSO[A-Z0-9]{16}\t"), read_plays),
)


def detect(stream: BinaryIO) -> Format:
    """Return the format of an annotation file. The first line that matches one of `FORMATS` decides.

    Reading starts at the current position of the stream and ends after at most 50 lines. Lists of cover triplets are
    not detected.

    Raises
    ------
    InputError
        ``empty_file`` for a stream without bytes, ``unknown_format`` if no line matches a format, ``unreadable`` if
        decompression fails.
    """
    is_empty = True
    for _ in range(_MAX_LINES):
        try:
            line = stream.readline(_MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf")
        except (OSError, EOFError) as error:  # raised by gzip and zlib
            raise InputError("unreadable", f"the file cannot be decompressed ({error}): get it again") from None
        is_empty = is_empty and not line
        for format_ in FORMATS:
            if format_.line_pattern.match(line):
                return format_
    if is_empty:
        raise InputError("empty_file", "the file is empty: get it again or remove it")
    raise InputError(
        "unknown_format",
        "the file has an unknown format, expected a SecondHandSongs list, a tagtraum .cls file, taste-profile triplets,"
        " a mismatch list or unique_tracks.txt: remove it or move it to another folder",
    )
