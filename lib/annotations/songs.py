"""Two lists of the Million Song Dataset: the song of each track, and the tracks that were matched to a wrong song.

Sources: ``unique_tracks.txt`` and ``sid_mismatches.txt`` of http://millionsongdataset.com.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import Chunk, Row, check_line, decode_id, decode_text, read_lines, write_checked
from reprise.lib.errors import InputError

MISMATCH_COLUMNS = ("song_id", "track_id", "song_artist", "song_title", "track_artist", "track_title")
UNIQUE_COLUMNS = ("track_id", "song_id", "artist_name", "title")

_MISMATCH = re.compile(rb"ERROR: <([^ >]*) ([^ >]*)> (.*)")


def read_song_mismatches(stream: BinaryIO) -> Iterator[Chunk]:
    """Read the list of tracks that were matched to a wrong song, one row per line.

    Format: ``ERROR: <song_id track_id> artist  -  title  !=  artist  -  title``, with the song's artist and title
    before the track's. Each separator has two spaces before it and two after it. The song's artist ends at the first
    ``-``. The song's title ends at the next ``!=``. The track's artist ends at the next ``-``. The rest of the line is
    the track's title. The real list has 19,094 lines. No name or title in it contains a separator. 116 of the distinct
    lines occur more than once.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns song_id, track_id (str), song_artist, song_title, track_artist, track_title (str or None).
        Rejects: ``bad_fields``, ``bad_song_id``, ``bad_track_id``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        found = _MISMATCH.fullmatch(check_line(line))
        song_artist, dash, rest = found[3].partition(b"  -  ") if found else (b"", b"", b"")
        song_title, unequal, rest = rest.partition(b"  !=  ")
        track_artist, second_dash, track_title = rest.partition(b"  -  ")
        if not (found and dash and unequal and second_dash):
            raise InputError(
                "bad_fields",
                "expected 'ERROR: <song track> artist  -  title  !=  artist  -  title', two spaces around separators",
            )
        texts = map(decode_text, (song_artist, song_title, track_artist, track_title))
        yield (decode_id(found[1], "SO"), decode_id(found[2], "TR"), *texts)

    return read_lines(stream, MISMATCH_COLUMNS, parse)


def write_song_mismatches(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write the list of tracks that were matched to a wrong song.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append.
    rows
        The columns of ``read_song_mismatches``.

    Raises
    ------
    ValueError
        A row that the format cannot represent, e.g. a title that contains a separator. In this case nothing is written.
    """
    expected = _replace_empty(rows, MISMATCH_COLUMNS)
    lines = (
        f"ERROR: <{song} {track}> {artist or ''}  -  {title or ''}  !=  {other_artist or ''}  -  {other_title or ''}"
        for song, track, artist, title, other_artist, other_title in expected
    )
    write_checked(stream, lines, rows=expected, columns=MISMATCH_COLUMNS, read=read_song_mismatches)


def read_unique_tracks(stream: BinaryIO) -> Iterator[Chunk]:
    """Read ``unique_tracks.txt`` (``track<SEP>song<SEP>artist<SEP>title``), one row per line.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns track_id, song_id (str), artist_name, title (str or None; any further ``<SEP>`` is part of the title).
        Rejects: ``bad_fields``, ``bad_track_id``, ``bad_song_id``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        fields = check_line(line).split(b"<SEP>", 3)
        if len(fields) != 4:
            raise InputError("bad_fields", f"expected track<SEP>song<SEP>artist<SEP>title, got {len(fields)} fields")
        yield decode_id(fields[0], "TR"), decode_id(fields[1], "SO"), decode_text(fields[2]), decode_text(fields[3])

    return read_lines(stream, UNIQUE_COLUMNS, parse)


def write_unique_tracks(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write ``unique_tracks.txt``.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append.
    rows
        The columns of ``read_unique_tracks``.

    Raises
    ------
    ValueError
        A row that the format cannot represent. In this case nothing is written.
    """
    expected = _replace_empty(rows, UNIQUE_COLUMNS)
    lines = ("<SEP>".join(value or "" for value in row) for row in expected)
    write_checked(stream, lines, rows=expected, columns=UNIQUE_COLUMNS, read=read_unique_tracks)


def _replace_empty(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> list[Row]:
    """Return the rows with empty text replaced by None, as the readers yield them."""
    return list(zip(*([value or None for value in rows[name]] for name in columns), strict=True))
