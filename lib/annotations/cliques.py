"""SecondHandSongs lists: cliques of tracks that are versions of one work.

Format: ``#`` starts a comment line. ``%w1,w2,.., title`` starts a clique. w1, w2 … are the numbers of its works at
secondhandsongs.com. The list of numbers contains no space. Each following line ``TID<SEP>AID<SEP>perf`` is one track
with its artist and its performance. Source: the comment at the top of each list,
http://labrosa.ee.columbia.edu/millionsong/secondhand.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import (
    MAX_INT,
    Chunk,
    Reject,
    Row,
    check_line,
    decode_id,
    decode_text,
    excerpt,
    make_chunks,
    read_lines,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("clique_id", "work_ids", "title", "track_id", "artist_id", "performance", "source")
MAX_CLIQUE = 100_000
"""Largest number of tracks in a clique. The ids stay in memory to find duplicates. Real cliques have fewer than 100."""

_HEAD = re.compile(rb"%(-?[0-9]{1,10}(?:,-?[0-9]{1,10})*), (.*)")
_PERFORMANCE = re.compile(rb"-1|[0-9]{1,10}")


def read_cover_cliques(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read a SecondHandSongs list, one row per track.

    The clique id is ``source:w1+w2…`` with the works in numeric order. It does not depend on the order of works or
    cliques in the file. The first work alone does not identify a clique, because one work of the real lists is in two
    cliques. The id contains ``source``, because each author of a list chooses negative numbers for the works that are
    unknown to secondhandsongs.com. Use different names for lists of different authors, and always the same name for the
    same list.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.
    source
        Name of the list, e.g. ``shs_train``.

    Yields
    ------
    Chunk
        Columns clique_id (str), work_ids (list of int, as listed), title (str or None), track_id, artist_id (str),
        performance (int; None where the list has -1) and source (str).
        Rejects: ``bad_clique``, ``no_clique`` (a track after a bad clique line or before the first clique line),
        ``empty_clique``, ``bad_fields``, ``bad_track_id``, ``bad_artist_id``, ``bad_performance``, ``duplicate_track``
        (the first one is kept), ``clique_too_large``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """
    parser = _CliqueParser(source)
    yield from read_lines(stream, COLUMNS, parser.parse)
    yield from make_chunks(COLUMNS, parser.close())


def write_cover_cliques(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write a SecondHandSongs list. Consecutive rows with equal work_ids and equal title become one clique.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append. Each call starts a new clique.
    rows
        The columns of ``read_cover_cliques``; clique_id and source are ignored.

    Raises
    ------
    ValueError
        A row that the format cannot represent. In this case nothing is written.
    """
    columns = COLUMNS[1:-1]
    lines: list[str] = []
    expected: list[Row] = []
    opened = None
    for works, title, track_id, artist_id, performance in zip(*(rows[name] for name in columns), strict=True):
        if opened != (list(works), title):
            opened = (list(works), title)
            lines.append(f"%{','.join(map(str, works))}, {title or ''}")
        lines.append(f"{track_id}<SEP>{artist_id}<SEP>{-1 if performance is None else performance}")
        expected.append((list(works), title or None, track_id, artist_id, performance))
    write_checked(
        stream, lines, rows=expected, columns=columns, read=lambda written: read_cover_cliques(written, source="")
    )


@dataclass(frozen=True)
class _Clique:
    empty_reject: Reject  # the reject to yield if the clique has no tracks
    clique_id: str
    work_ids: list[int]
    title: str | None
    tracks: set[str] = field(default_factory=set)


class _CliqueParser:
    """Parser of lines. It keeps the current clique from line to line."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.clique: _Clique | None = None
        self.is_empty = False

    def parse(self, number: int, line: bytes) -> Iterator[Row | Reject]:
        if line.startswith(b"#"):
            return
        if line.startswith(b"%"):
            # end the previous clique first: if this line is bad, the tracks after it must not be added to that clique
            yield from self.close()
            self.clique, self.is_empty = self._open(number, check_line(line)), True
            return
        self.is_empty = False
        yield self._track(check_line(line))

    def close(self) -> Iterator[Reject]:
        if self.clique is not None and self.is_empty:
            yield self.clique.empty_reject
        self.clique = None

    def _open(self, number: int, line: bytes) -> _Clique:
        found = _HEAD.fullmatch(line)
        works = [int(work) for work in found[1].split(b",")] if found else []
        if not found or max(map(abs, works)) > MAX_INT:
            raise InputError("bad_clique", "expected '%work,work,.., title' with 32-bit integers as works")
        clique_id = f"{self.source}:{'+'.join(map(str, sorted(set(works))))}"
        reject = Reject(number, "empty_clique", "the clique is empty, expected tracks after this line", excerpt(line))
        return _Clique(reject, clique_id, works, decode_text(found[2]))

    def _track(self, line: bytes) -> Row:
        fields = line.split(b"<SEP>")
        if len(fields) != 3:
            raise InputError("bad_fields", f"expected track<SEP>artist<SEP>performance, got {len(fields)} fields")
        track_id, artist_id = decode_id(fields[0], "TR"), decode_id(fields[1], "AR")
        if not _PERFORMANCE.fullmatch(fields[2]) or int(fields[2]) > MAX_INT:
            raise InputError("bad_performance", "expected a 32-bit integer as performance, -1 for unknown")
        clique = self.clique
        if clique is None:
            raise InputError("no_clique", "expected a valid '%work,work,.., title' line above the track")
        if track_id in clique.tracks:
            raise InputError("duplicate_track", f"expected each track once per clique, got {track_id} again")
        if len(clique.tracks) == MAX_CLIQUE:
            raise InputError("clique_too_large", f"expected at most {MAX_CLIQUE} tracks in a clique")
        clique.tracks.add(track_id)
        performance = None if fields[2] == b"-1" else int(fields[2])
        return clique.clique_id, clique.work_ids, clique.title, track_id, artist_id, performance, self.source
