"""Echo Nest taste profile, with lines ``user TAB song TAB count``. The full profile has 48 million lines.

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
    check_line,
    decode_id,
    make_chunks,
    parse_block,
    read_blocks,
    write_checked,
)
from reprise.lib.errors import InputError

COLUMNS = ("user_id", "song_id", "play_count", "source")

_USER = re.compile(r"[^\x00-\x1f\x7f]+")
_COUNT = re.compile(rb"[0-9]{1,10}")
# This pattern accepts fewer lines than _parse. If a line of a block does not match it, _parse reads the whole block.
# Without the anchor ^, the search would restart at each character of a long line without tabs.
_GOOD_LINE = re.compile("(?m)^([^\x00-\x1f\x7f]{1,1000})\t(SO[A-Z0-9]{16})\t([1-9][0-9]{0,8})\r?\n")


def read_plays(stream: BinaryIO, *, source: str) -> Iterator[Chunk]:
    """Read taste-profile triplets, one row per line.

    Parameters
    ----------
    stream
        Uncompressed bytes, e.g. from ``open_annotation``.
    source
        Name of the profile, e.g. ``taste_profile``.

    Yields
    ------
    Chunk
        Columns user_id (str: any UTF-8 without control characters), song_id (str), play_count (int, 1 … 2³¹−1) and
        source (str). Rejects: ``bad_fields``, ``bad_user_id``, ``bad_song_id``, ``bad_count``, ``line_too_long``,
        ``nul_byte``, ``broken_stream``.
    """

    def parse(_number: int, line: bytes) -> Iterator[Row]:
        yield (*_parse(check_line(line)), source)

    for block in read_blocks(stream):
        if isinstance(block, Reject):
            yield from make_chunks(COLUMNS, [block])
        elif (columns := _parse_good_block(block)) is not None:
            users, songs, counts = columns
            # a line that matches has at least 23 bytes, so the rows of one block fit in one chunk
            rows: dict[str, list[Any]] = {
                "user_id": users,
                "song_id": songs,
                "play_count": counts,
                "source": [source] * len(users),
            }
            yield Chunk(rows, [])
        else:
            yield from make_chunks(COLUMNS, parse_block(block, parse))


def write_plays(stream: BinaryIO, rows: Mapping[str, Sequence[Any]]) -> None:
    """Write taste-profile triplets.

    Parameters
    ----------
    stream
        Stream open for writing. Repeated calls append, so a large file can be written in several calls.
    rows
        The columns of ``read_plays``; source is ignored.

    Raises
    ------
    ValueError
        A row that the format cannot represent. In this case nothing is written.
    """
    columns = COLUMNS[:-1]
    expected: list[Row] = list(zip(*(rows[name] for name in columns), strict=True))
    write_checked(
        stream,
        (f"{user_id}\t{song_id}\t{count}" for user_id, song_id, count in expected),
        rows=expected,
        columns=columns,
        read=lambda written: read_plays(written, source=""),
    )


def _parse_good_block(block: Block) -> tuple[list[str], list[str], list[int]] | None:
    """Return user ids, song ids and counts of a block. Return None unless every line matches ``_GOOD_LINE``.

    One split of the whole block is five times as fast as a loop over its lines.
    """
    try:
        parts = _GOOD_LINE.split(block.data.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    # the list contains gap, user, song, count, gap, user, … A gap is the text before, between or after the matches
    if any(parts[::4]):
        return None
    return parts[1::4], parts[2::4], list(map(int, parts[3::4]))


def _parse(line: bytes) -> tuple[str, str, int]:
    fields = line.split(b"\t")
    if len(fields) != 3:
        raise InputError(
            "bad_fields", f"expected user, song and count with tabs between them, got {len(fields)} fields"
        )
    try:
        user_id = fields[0].decode("utf-8")
    except UnicodeDecodeError:
        user_id = ""
    if not _USER.fullmatch(user_id):
        raise InputError("bad_user_id", "expected a user id in UTF-8 without control characters")
    song_id = decode_id(fields[1], "SO")
    count = int(fields[2]) if _COUNT.fullmatch(fields[2]) else 0
    if not 1 <= count <= MAX_INT:
        raise InputError("bad_count", f"expected a whole number of plays from 1 to {MAX_INT}")
    return user_id, song_id, count
