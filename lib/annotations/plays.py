"""The Echo Nest taste profile: ``user TAB song TAB count``, 48 million lines in the full one.

Source: http://millionsongdataset.com/tasteprofile/.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import (
    MAX_INT,
    Block,
    Chunk,
    Reject,
    Row,
    blocks,
    chunked,
    msd_id,
    parse_block,
    sound_line,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("user_id", "song_id", "play_count", "source")

_USER = re.compile(r"[^\x00-\x1f\x7f]+")
_COUNT = re.compile(rb"[0-9]{1,10}")
# Only what is certainly good, so narrower than the rules in _parse: those decide over every other line.
# Tied to a line's start, or else a long line without tabs would be tried again from each of its characters.
_GOOD_LINE = re.compile("(?m)^([^\x00-\x1f\x7f]{1,1000})\t(SO[A-Z0-9]{16})\t([1-9][0-9]{0,8})\r?\n")


def read_plays(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read taste-profile triplets; one row a line.

    Parameters
    ----------
    stream
        Plain bytes, e.g. from ``open_annotation``.
    source
        Name of the profile, e.g. ``taste_profile``.

    Yields
    ------
    Chunk
        Columns user_id (str: any utf-8 without control characters), song_id (str), play_count (int, 1 … 2³¹−1) and
        source (str). Rejects: ``bad_fields``, ``bad_user_id``, ``bad_song_id``, ``bad_count``, ``line_too_long``,
        ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        yield (*_parse(sound_line(line)), source)

    for block in blocks(stream):
        if isinstance(block, Reject):
            yield from chunked(COLUMNS, [block])
        elif (columns := _all_good(block)) is not None:
            users, songs, counts = columns
            # a good line has 23 bytes at least, so that a block's rows stay within a chunk's
            rows: dict[str, list[Any]] = {
                "user_id": users,
                "song_id": songs,
                "play_count": counts,
                "source": [source] * len(users),
            }
            yield Chunk(rows, [])
        else:
            yield from chunked(COLUMNS, parse_block(block, parse))


def write_plays(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write taste-profile triplets.

    Parameters
    ----------
    stream
        Open for writing; several calls may follow each other, which keeps memory bounded.
    rows
        The columns of ``read_plays``; source is not looked at.

    Raises
    ------
    ValueError
        A row that the format cannot hold. Nothing is written then.
    """
    columns = COLUMNS[:-1]
    wanted: list[Row] = list(zip(*(rows[name] for name in columns), strict=True))
    write_checked(
        stream,
        (f"{user_id}\t{song_id}\t{count}" for user_id, song_id, count in wanted),
        rows=wanted,
        columns=columns,
        read=lambda written: read_plays(written, source=""),
    )


def _all_good(block: Block) -> tuple[list[str], list[str], list[int]] | None:
    """Columns of a block that has nothing but good lines; None otherwise.

    One split over the whole block runs at five times the speed of a loop over its lines.
    """
    try:
        parts = _GOOD_LINE.split(block.data.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    # parts: between, user, song, count, between, user, …: good lines without a gap have nothing between them
    if any(parts[::4]):
        return None
    return parts[1::4], parts[2::4], list(map(int, parts[3::4]))


def _parse(line: bytes) -> tuple[str, str, int]:
    fields = line.split(b"\t")
    if len(fields) != 3:
        raise InputError("bad_fields", f"expected user, tab, song, tab, count, got {len(fields)} fields")
    try:
        user_id = fields[0].decode("utf-8")
    except UnicodeDecodeError:
        user_id = ""
    if not _USER.fullmatch(user_id):
        raise InputError("bad_user_id", "expected a user id in utf-8 without control characters")
    song_id = msd_id(fields[1], "SO")
    count = int(fields[2]) if _COUNT.fullmatch(fields[2]) else 0
    if not 1 <= count <= MAX_INT:
        raise InputError("bad_count", f"expected a whole number of plays from 1 to {MAX_INT}")
    return user_id, song_id, count
