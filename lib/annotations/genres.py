"""The tagtraum genre annotations, ``.cls``: ``track TAB genre`` or ``track TAB genre TAB second genre``.

Source: http://www.tagtraum.com/msd_genre_datasets.html; lines that begin with ``#`` are comments.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import Chunk, Row, excerpt, msd_id, read_lines, sound_line, write_checked
from reprise.lib.errors import InputError

COLUMNS = ("track_id", "rank", "genre", "source")


def read_genre_labels(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read a ``.cls`` file; one row a track and genre.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.
    source
        Name of the annotation, e.g. ``tagtraum_cd1``.

    Yields
    ------
    Chunk
        Columns track_id (str), rank (int: 0 the first genre, 1 the second), genre (str, without outer spaces) and
        source (str). Rejects: ``bad_fields``, ``bad_track_id``, ``bad_genre``, ``duplicate_genre``, ``line_too_long``,
        ``nul_byte``, ``broken_stream``. When only the second genre is bad or repeats the first, the first stays.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        if line.startswith(b"#"):
            return
        fields = sound_line(line).split(b"\t")
        if not 2 <= len(fields) <= 3:
            raise InputError("bad_fields", f"expected track, tab, one or two genres, got {len(fields)} fields")
        track_id, first = msd_id(fields[0], "TR"), _genre(fields[1])
        yield track_id, 0, first, source
        if len(fields) == 3:
            second = _genre(fields[2])
            if second == first:
                raise InputError("duplicate_genre", "expected a second genre that differs from the first")
            yield track_id, 1, second, source

    return read_lines(stream, COLUMNS, parse)


def write_genre_labels(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write a ``.cls`` file: rank 0 begins a track's line, rank 1 must follow it and ends it.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other.
    rows
        The columns of ``read_genre_labels``; source is not looked at.

    Raises
    ------
    ValueError
        A row that the format cannot hold. Nothing is written then.
    """
    columns = COLUMNS[:-1]
    wanted: list[Row] = list(zip(*(rows[name] for name in columns), strict=True))
    lines: list[str] = []
    for track_id, rank, genre in wanted:
        if rank == 1 and lines:
            lines[-1] += f"\t{genre}"
        else:
            lines.append(f"{track_id}\t{genre}")
    write_checked(
        stream, lines, rows=wanted, columns=columns, read=lambda written: read_genre_labels(written, source="")
    )


def _genre(raw: bytes) -> str:
    genre = raw.strip(b" ")
    try:
        text = genre.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise InputError("bad_genre", f"expected a genre's name in printable utf-8, got {excerpt(raw, 40)!r}")
    return text
