"""Tagtraum genre annotations (``.cls``): ``track TAB genre`` or ``track TAB genre TAB second genre``.

Lines that start with ``#`` are comments. Source: http://www.tagtraum.com/msd_genre_datasets.html.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import Chunk, Row, check_line, decode_id, excerpt, read_lines, write_checked
from reprise.lib.errors import InputError

COLUMNS = ("track_id", "rank", "genre", "source")


def read_genre_labels(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read a ``.cls`` file, one row per track and genre.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.
    source
        Name of the file's annotations, e.g. ``tagtraum_cd1``.

    Yields
    ------
    Chunk
        Columns track_id (str), rank (int: 0 for the first genre, 1 for the second), genre (str, stripped) and
        source (str). Rejects: ``bad_fields``, ``bad_track_id``, ``bad_genre``, ``duplicate_genre``, ``line_too_long``,
        ``nul_byte``, ``broken_stream``. If only the second genre is bad, or if it equals the first genre, the line
        yields a reject and also the row of the first genre.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        if line.startswith(b"#"):
            return
        fields = check_line(line).split(b"\t")
        if not 2 <= len(fields) <= 3:
            raise InputError(
                "bad_fields", f"expected a track and one or two genres with tabs between them, got {len(fields)} fields"
            )
        track_id, first = decode_id(fields[0], "TR"), _decode_genre(fields[1])
        yield track_id, 0, first, source
        if len(fields) == 3:
            second = _decode_genre(fields[2])
            if second == first:
                raise InputError("duplicate_genre", "expected a second genre that is different from the first")
            yield track_id, 1, second, source

    return read_lines(stream, COLUMNS, parse)


def write_genre_labels(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write a ``.cls`` file. A row of rank 0 starts a line. A row of rank 1 must follow its track's row of rank 0.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append.
    rows
        The columns of ``read_genre_labels``; source is ignored.

    Raises
    ------
    ValueError
        A row that the format cannot represent. In this case nothing is written.
    """
    columns = COLUMNS[:-1]
    expected: list[Row] = list(zip(*(rows[name] for name in columns), strict=True))
    lines: list[str] = []
    for track_id, rank, genre in expected:
        if rank == 1 and lines:
            lines[-1] += f"\t{genre}"
        else:
            lines.append(f"{track_id}\t{genre}")
    write_checked(
        stream, lines, rows=expected, columns=columns, read=lambda written: read_genre_labels(written, source="")
    )


def _decode_genre(raw: bytes) -> str:
    genre = raw.strip(b" ")
    try:
        text = genre.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise InputError("bad_genre", f"expected the name of a genre in printable UTF-8, got {excerpt(raw, 40)!r}")
    return text
