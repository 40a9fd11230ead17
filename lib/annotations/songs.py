"""The lists that say which song a track is: all of them, and the ones known to be wrong.

Sources: ``unique_tracks.txt`` and ``sid_mismatches.txt`` of http://millionsongdataset.com.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import Chunk, Row, free_text, msd_id, read_lines, sound_line, write_checked
from reprise.lib.errors import InputError

MISMATCH_COLUMNS = ("song_id", "track_id", "song_artist", "song_title", "track_artist", "track_title")
UNIQUE_COLUMNS = ("track_id", "song_id", "artist_name", "title")

_MISMATCH = re.compile(rb"ERROR: <([^ >]*) ([^ >]*)> (.*)")


def read_song_mismatches(stream: BinaryIO) -> Iterator[Chunk]:
    """Read the list of tracks that were matched to a wrong song; one row a line.

    Format: ``ERROR: <song_id track_id> artist  -  title  !=  artist  -  title``, the song's side first. Separators have
    two spaces on both sides. Where one occurs more often, the first counts: artist up to the first ``-``, title up to
    the first ``!=`` after it, artist up to the first ``-`` after that, and all the rest is the track's title. In the
    19,094 lines of the real list no separator occurs twice, while 116 lines stand there twice or more.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns song_id, track_id (str), song_artist, song_title, track_artist, track_title (str or None).
        Rejects: ``bad_fields``, ``bad_song_id``, ``bad_track_id``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        found = _MISMATCH.fullmatch(sound_line(line))
        song_artist, dash, rest = found[3].partition(b"  -  ") if found else (b"", b"", b"")
        song_title, unequal, rest = rest.partition(b"  !=  ")
        track_artist, second_dash, track_title = rest.partition(b"  -  ")
        if not (found and dash and unequal and second_dash):
            raise InputError(
                "bad_fields", "expected 'ERROR: <song track> artist  -  title  !=  artist  -  title', spaces in pairs"
            )
        texts = map(free_text, (song_artist, song_title, track_artist, track_title))
        yield (msd_id(found[1], "SO"), msd_id(found[2], "TR"), *texts)

    return read_lines(stream, MISMATCH_COLUMNS, parse)


def write_song_mismatches(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write the list of tracks that were matched to a wrong song.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other.
    rows
        The columns of ``read_song_mismatches``.

    Raises
    ------
    ValueError
        A row that the format cannot hold, e.g. a title with a separator in it. Nothing is written then.
    """
    wanted = _normal_rows(rows, MISMATCH_COLUMNS)
    lines = (
        f"ERROR: <{song} {track}> {artist or ''}  -  {title or ''}  !=  {other_artist or ''}  -  {other_title or ''}"
        for song, track, artist, title, other_artist, other_title in wanted
    )
    write_checked(stream, lines, rows=wanted, columns=MISMATCH_COLUMNS, read=read_song_mismatches)


def read_unique_tracks(stream: BinaryIO) -> Iterator[Chunk]:
    """Read ``unique_tracks.txt``, ``track<SEP>song<SEP>artist<SEP>title``; one row a line.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.

    Yields
    ------
    Chunk
        Columns track_id, song_id (str), artist_name, title (str or None; a further ``<SEP>`` belongs to the title).
        Rejects: ``bad_fields``, ``bad_track_id``, ``bad_song_id``, ``line_too_long``, ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        fields = sound_line(line).split(b"<SEP>", 3)
        if len(fields) != 4:
            raise InputError("bad_fields", f"expected track<SEP>song<SEP>artist<SEP>title, got {len(fields)} fields")
        yield msd_id(fields[0], "TR"), msd_id(fields[1], "SO"), free_text(fields[2]), free_text(fields[3])

    return read_lines(stream, UNIQUE_COLUMNS, parse)


def write_unique_tracks(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write ``unique_tracks.txt``.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other.
    rows
        The columns of ``read_unique_tracks``.

    Raises
    ------
    ValueError
        A row that the format cannot hold. Nothing is written then.
    """
    wanted = _normal_rows(rows, UNIQUE_COLUMNS)
    lines = ("<SEP>".join(value or "" for value in row) for row in wanted)
    write_checked(stream, lines, rows=wanted, columns=UNIQUE_COLUMNS, read=read_unique_tracks)


def _normal_rows(rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> list[Row]:
    """Rows with None for empty text, as the readers give it."""
    return list(zip(*([value or None for value in rows[name]] for name in columns), strict=True))
