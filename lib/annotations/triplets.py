"""The binary cover task: triplets of a query, a cover of it, and a track that is none.

Format: ``#`` opens a comment; ``%n`` opens the n-th triplet, and three lines of one track id each follow it: query,
cover, other track. Source: the list of 500 queries of Bertin-Mahieux & Ellis (2012), as kept with Humphrey, Nieto &
Bello (2013), https://github.com/urinieto/LargeScaleCoverSongId.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import (
    Chunk,
    Reject,
    Row,
    chunked,
    excerpt,
    msd_id,
    read_lines,
    sound_line,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("query_id", "cover_id", "other_id")

_HEAD = re.compile(rb"%[0-9]{1,10}")


def read_cover_triplets(stream: BinaryIO) -> Iterator[Chunk]:
    """Read a list of binary cover queries; one row a triplet.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns query_id, cover_id, other_id (str). The numbers of the triplets are not kept: they follow the order.
        Rejects: ``bad_triplet`` (and ``no_triplet`` for the tracks under it, under none, or after the third),
        ``short_triplet`` (at its ``%`` line), ``bad_track_id`` and ``duplicate_track`` (either costs the
        whole triplet), ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """
    triplets = _Reader()
    yield from read_lines(stream, COLUMNS, triplets.parse)
    yield from chunked(COLUMNS, triplets.close())


def write_cover_triplets(stream: BinaryIO, rows: Mapping[str, Sequence[Any]], *, first: int = 1) -> None:
    """Write a list of binary cover queries.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other.
    rows
        The columns of ``read_cover_triplets``.
    first
        Number of the first triplet.

    Raises
    ------
    ValueError
        A row that the format cannot hold. Nothing is written then.
    """
    wanted: list[Row] = list(zip(*(rows[name] for name in COLUMNS), strict=True))
    lines = [line for number, row in enumerate(wanted, first) for line in (f"%{number}", *row)]
    write_checked(stream, lines, rows=wanted, columns=COLUMNS, read=read_cover_triplets)


class _Reader:
    """The triplet that is open while lines go by."""

    def __init__(self) -> None:
        self.short: Reject | None = None  # what to say if tracks are missing; None while no triplet is open
        self.tracks: list[str | None] = []  # None for a bad one

    def parse(self, number: int, line: bytes) -> Iterator[Row | Reject]:
        if line.startswith(b"#"):
            return
        if line.startswith(b"%"):
            # closed before the line is looked at: tracks under a bad head must not fall to the triplet above
            yield from self.close()
            if not _HEAD.fullmatch(sound_line(line)):
                raise InputError("bad_triplet", "expected '%' and the triplet's number")
            self.short = Reject(number, "short_triplet", "expected three tracks under the number", excerpt(line))
            return
        if self.short is None:
            raise InputError("no_triplet", "expected a '%number' line above every three tracks")
        # None stands in the track's place until it is known to be good; one bad track costs the triplet
        self.tracks.append(None)
        is_last = len(self.tracks) == len(COLUMNS)
        self.short = None if is_last else self.short
        self.tracks[-1] = self._track(line)
        if is_last and None not in self.tracks:
            yield tuple(self.tracks)

    def close(self) -> Iterator[Reject]:
        if self.short is not None and None not in self.tracks:
            yield self.short
        self.short, self.tracks = None, []

    def _track(self, line: bytes) -> str:
        track_id = msd_id(sound_line(line), "TR")
        if track_id in self.tracks:
            raise InputError("duplicate_track", f"expected three different tracks, got {track_id} again")
        return track_id
