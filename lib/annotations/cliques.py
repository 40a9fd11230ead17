"""The SecondHandSongs lists: groups of tracks that are versions of one work.

Format: ``#`` opens a comment; ``%w1,w2,.., title`` opens a clique of the works w1, w2 … of secondhandsongs.com, with
no space in the list of works; then each line ``TID<SEP>AID<SEP>perf`` is one track, its artist and its performance.
Source: the comment at the top of the lists, http://labrosa.ee.columbia.edu/millionsong/secondhand.
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
    chunked,
    excerpt,
    free_text,
    msd_id,
    read_lines,
    sound_line,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("clique_id", "work_ids", "title", "track_id", "artist_id", "performance", "source")
MAX_CLIQUE = 100_000
"""Tracks a clique may have, since they are held to find repeated ones; the real lists stay under 100."""

_HEAD = re.compile(rb"%(-?[0-9]{1,10}(?:,-?[0-9]{1,10})*), (.*)")
_PERFORMANCE = re.compile(rb"-1|[0-9]{1,10}")


def read_cover_cliques(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read a SecondHandSongs list; one row a track.

    The clique's id is ``source:w1+w2…`` with the works in numeric order: the same on every reading, and whatever the
    order of works or cliques in the file. The first work alone would not do: one real work is listed in two cliques.
    ``source`` is part of it because negative works, songs unknown to secondhandsongs.com, are numbered by whoever made
    the list: give lists of different makers different names, and a list the same name each time.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.
    source
        Name of the list, e.g. ``shs_train``.

    Yields
    ------
    Chunk
        Columns clique_id (str), work_ids (list of int, as listed), title (str or None), track_id, artist_id (str),
        performance (int; None where the list has -1) and source (str).
        Rejects: ``bad_clique`` (and ``no_clique`` for the tracks under it or under none), ``empty_clique``,
        ``bad_fields``, ``bad_track_id``, ``bad_artist_id``, ``bad_performance``, ``duplicate_track`` (the first one
        stays), ``clique_too_large``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """
    cliques = _Reader(source)
    yield from read_lines(stream, COLUMNS, cliques.parse)
    yield from chunked(COLUMNS, cliques.close())


def write_cover_cliques(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write a SecondHandSongs list: a clique for each run of rows with the same work_ids and title.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other, each begins a new clique.
    rows
        The columns of ``read_cover_cliques``; clique_id and source follow from the others and are not looked at.

    Raises
    ------
    ValueError
        A row that the format cannot hold. Nothing is written then.
    """
    columns = COLUMNS[1:-1]
    lines: list[str] = []
    wanted: list[Row] = []
    opened = None
    for works, title, track_id, artist_id, performance in zip(*(rows[name] for name in columns), strict=True):
        if opened != (list(works), title):
            opened = (list(works), title)
            lines.append(f"%{','.join(map(str, works))}, {title or ''}")
        lines.append(f"{track_id}<SEP>{artist_id}<SEP>{-1 if performance is None else performance}")
        wanted.append((list(works), title or None, track_id, artist_id, performance))
    write_checked(
        stream, lines, rows=wanted, columns=columns, read=lambda written: read_cover_cliques(written, source="")
    )


@dataclass(frozen=True)
class _Clique:
    head: Reject  # what to say if no track follows
    clique_id: str
    work_ids: list[int]
    title: str | None
    tracks: set[str] = field(default_factory=set)


class _Reader:
    """The clique that is open while lines go by."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.clique: _Clique | None = None
        self.empty = False

    def parse(self, number: int, line: bytes) -> Iterator[Row | Reject]:
        if line.startswith(b"#"):
            return
        if line.startswith(b"%"):
            # closed before the line is looked at: tracks under a bad head must not fall to the clique above
            yield from self.close()
            self.clique, self.empty = self._open(number, sound_line(line)), True
            return
        self.empty = False
        yield self._track(sound_line(line))

    def close(self) -> Iterator[Reject]:
        if self.clique is not None and self.empty:
            yield self.clique.head
        self.clique = None

    def _open(self, number: int, line: bytes) -> _Clique:
        found = _HEAD.fullmatch(line)
        works = [int(work) for work in found[1].split(b",")] if found else []
        if not found or max(map(abs, works)) > MAX_INT:
            raise InputError("bad_clique", "expected '%work,work,.., title' with whole 32-bit numbers for works")
        clique_id = f"{self.source}:{'+'.join(map(str, sorted(set(works))))}"
        head = Reject(number, "empty_clique", "expected tracks under the clique, found none", excerpt(line))
        return _Clique(head, clique_id, works, free_text(found[2]))

    def _track(self, line: bytes) -> Row:
        fields = line.split(b"<SEP>")
        if len(fields) != 3:
            raise InputError("bad_fields", f"expected track<SEP>artist<SEP>performance, got {len(fields)} fields")
        track_id, artist_id = msd_id(fields[0], "TR"), msd_id(fields[1], "AR")
        if not _PERFORMANCE.fullmatch(fields[2]) or int(fields[2]) > MAX_INT:
            raise InputError("bad_performance", "expected a whole 32-bit number as performance, -1 for unknown")
        clique = self.clique
        if clique is None:
            raise InputError("no_clique", "expected a good '%work,work,.., title' line above the track")
        if track_id in clique.tracks:
            raise InputError("duplicate_track", f"expected each track once in a clique, got {track_id} again")
        if len(clique.tracks) == MAX_CLIQUE:
            raise InputError("clique_too_large", f"expected at most {MAX_CLIQUE} tracks in a clique")
        clique.tracks.add(track_id)
        performance = None if fields[2] == b"-1" else int(fields[2])
        return clique.clique_id, clique.work_ids, clique.title, track_id, artist_id, performance, self.source
