"""Lists of triplets for the binary task: find which of two tracks is a version of the query's work.

A triplet consists of a query, another version of the same work, and an unrelated track.

Format: ``#`` starts a comment line. ``%n`` starts the n-th triplet. Three lines with one track id each follow, for the
query, the version and the unrelated track. Source: the list of 500 queries of Bertin-Mahieux & Ellis (2012), published
with the code of Humphrey, Nieto & Bello (2013), https://github.com/urinieto/LargeScaleCoverSongId.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import (
    Chunk,
    Reject,
    Row,
    check_line,
    decode_id,
    excerpt,
    make_chunks,
    read_lines,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("query_id", "cover_id", "other_id")

_HEAD = re.compile(rb"%[0-9]{1,10}")


def read_cover_triplets(stream: BinaryIO) -> Iterator[Chunk]:
    """Read a list of triplets, one row per triplet.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns query_id, cover_id (the version) and other_id (the unrelated track), all str, in the order of the list.
        The numbers of the triplets are dropped. Rejects: ``bad_triplet``, ``no_triplet`` (a track before the first
        ``%`` line, after a bad ``%`` line, or after the three tracks of a triplet), ``short_triplet`` (its line number
        is that of the ``%`` line), ``bad_track_id``, ``duplicate_track``, ``line_too_long``, ``nul_byte`` (each of
        these four drops the whole triplet), ``broken_stream``.
    """
    parser = _TripletParser()
    yield from read_lines(stream, COLUMNS, parser.parse)
    yield from make_chunks(COLUMNS, parser.close())


def write_cover_triplets(stream: BinaryIO, rows: Mapping[str, Sequence[Any]], *, first: int = 1) -> None:
    """Write a list of triplets.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append.
    rows
        The columns of ``read_cover_triplets``.
    first
        Number to write for the first triplet.

    Raises
    ------
    ValueError
        A row that the format cannot represent. In this case nothing is written.
    """
    expected: list[Row] = list(zip(*(rows[name] for name in COLUMNS), strict=True))
    lines = [line for number, row in enumerate(expected, first) for line in (f"%{number}", *row)]
    write_checked(stream, lines, rows=expected, columns=COLUMNS, read=read_cover_triplets)


class _TripletParser:
    """Parser of lines. It keeps the current triplet from line to line."""

    def __init__(self) -> None:
        self.short_reject: Reject | None = None  # the reject to yield if tracks are missing; None outside a triplet
        self.tracks: list[str | None] = []  # None for a bad track

    def parse(self, number: int, line: bytes) -> Iterator[Row | Reject]:
        if line.startswith(b"#"):
            return
        if line.startswith(b"%"):
            # end the previous triplet first: if this line is bad, the tracks after it must not be added to that triplet
            yield from self.close()
            if not _HEAD.fullmatch(check_line(line)):
                raise InputError("bad_triplet", "expected '%' and the triplet's number")
            self.short_reject = Reject(
                number,
                "short_triplet",
                "the triplet is incomplete, expected three tracks after this line",
                excerpt(line),
            )
            return
        if self.short_reject is None:
            raise InputError("no_triplet", "expected a '%number' line above every three tracks")
        # if _track() raises, None remains in the list and marks a bad track; a triplet with a bad track is dropped
        self.tracks.append(None)
        is_last = len(self.tracks) == len(COLUMNS)
        self.short_reject = None if is_last else self.short_reject
        self.tracks[-1] = self._track(line)
        if is_last and None not in self.tracks:
            yield tuple(self.tracks)

    def close(self) -> Iterator[Reject]:
        if self.short_reject is not None and None not in self.tracks:
            yield self.short_reject
        self.short_reject, self.tracks = None, []

    def _track(self, line: bytes) -> str:
        track_id = decode_id(check_line(line), "TR")
        if track_id in self.tracks:
            raise InputError("duplicate_track", f"expected three different tracks, got {track_id} again")
        return track_id
