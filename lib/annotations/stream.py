"""Code shared by the annotation formats: open files, split streams into lines, group rows into chunks, decode ids."""

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias, cast

from reprise.lib.errors import InputError
from reprise.lib.files import open_regular

MAX_LINE = 64 * 1024
"""Largest number of bytes in a line. The longest real line has fewer than 1,000 bytes."""
MAX_INT = 2**31 - 1
"""Largest count or numeric id. The tables store these as 32-bit integers."""
CHUNK_ROWS = 50_000
READ_BYTES = 1 << 20
REJECT_CHARACTERS = 200

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
# Any other OSError is not caught: a failure of the disk or network is not a fault of the file, and a retry can succeed.
_GZIP_ERRORS = (EOFError, gzip.BadGzipFile, zlib.error)

_IDS = {
    prefix: (kind, re.compile(rb"%b[A-Z0-9]{16}" % prefix.encode()))
    for prefix, kind in (("TR", "bad_track_id"), ("SO", "bad_song_id"), ("AR", "bad_artist_id"))
}

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Reject:
    """An unusable line or item: its number, counted from 1; kind and message of the fault; its first 200 characters."""

    line: int
    kind: str
    message: str
    text: str


@dataclass(frozen=True)
class Chunk:
    """Rows as columns of equal length, and rejected lines.

    Rows and rejects are at most 50,000 in total. They come from at most about 1 MiB of text.
    """

    rows: dict[str, list[Any]]
    rejects: list[Reject]


@dataclass(frozen=True)
class Block:
    """Consecutive whole lines of a stream, and the number of the first line. Each line ends in a newline."""

    first_line: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """For each line that is not blank, yield its number and its bytes without the line ending."""
        for number, line in enumerate(self.data.split(b"\n")[:-1], self.first_line):
            text = line.removesuffix(b"\r")
            if text.strip(b" "):
                yield number, text


def open_annotation(source: str | os.PathLike[str] | bytes) -> BinaryIO:
    """Open a plain or gzipped annotation file for reading. Gzip is recognised by the first bytes of the file.

    Parameters
    ----------
    source
        Path of a regular file, or the whole content of the file. A FIFO is not opened, so the call cannot block.

    Returns
    -------
    BinaryIO
        Stream of the uncompressed bytes. Close it, or use it in a ``with`` statement.

    Raises
    ------
    InputError
        The errors of `reprise.lib.files.open_regular`. A truncated gzip file opens without an error. The readers yield
        the rows before the break and then one reject.
    """
    file: BinaryIO = BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    magic = file.read(len(_GZIP))
    file.seek(0)
    if magic != _GZIP:
        return file
    # isal's reader is faster, but loses up to 1 MiB of intact text before the break of a truncated stream
    unzipped = gzip.GzipFile(fileobj=file, mode="rb")
    unzipped.myfileobj = file  # type: ignore[assignment]  # close() then also closes the file
    return cast(BinaryIO, unzipped)


def read_blocks(stream: BinaryIO) -> Iterator[Block | Reject]:
    """Split a stream into blocks of whole lines, about 1 MiB each. A broken gzip stream yields one reject at the end.

    A line that is too long can be cut. The kept bytes are still too long, so ``check_line`` rejects the line.
    """
    line, rest, keep = 1, b"", MAX_LINE + 16
    try:
        for piece in _read_pieces(stream):
            head, newline, tail = piece.rpartition(b"\n")
            if newline:
                data = rest + head + newline
                yield Block(line, data.removeprefix(_BOM) if line == 1 else data)
                line, rest = line + data.count(b"\n"), b""
            rest = (rest + tail)[:keep]
    except _GZIP_ERRORS as error:
        message = f"the gzip stream is truncated or damaged here ({error}): get the file again"
        yield Reject(line, "broken_stream", message, excerpt(rest))
        return
    if line == 1:
        rest = rest.removeprefix(_BOM)
    if rest:
        yield Block(line, rest + b"\n")


def _read_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a stream in pieces of about 1 MiB. In a broken stream, yield the bytes before the break, then raise."""
    # read() of a broken gzip stream loses bytes before the break; read1() returns these bytes first
    read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
    parts: list[bytes] = []
    size = 0
    try:
        while part := read(READ_BYTES - size):
            parts.append(part)
            size += len(part)
            if size >= READ_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    except _GZIP_ERRORS:
        yield b"".join(parts)
        raise
    yield b"".join(parts)


def read_lines(
    stream: BinaryIO, columns: Sequence[str], parse: Callable[[int, bytes], Iterable[Row | Reject]]
) -> Iterator[Chunk]:
    """Yield chunks of the items that ``parse`` returns for the lines. If ``parse`` raises InputError, reject a line."""
    for block in read_blocks(stream):
        yield from make_chunks(columns, [block] if isinstance(block, Reject) else parse_block(block, parse))


def parse_block(block: Block, parse: Callable[[int, bytes], Iterable[Row | Reject]]) -> Iterator[Row | Reject]:
    """Yield the rows and rejects of one block; see ``read_lines``."""
    for number, line in block.lines():
        try:
            yield from parse(number, line)
        except InputError as error:
            yield Reject(number, error.kind, error.message, excerpt(line))


def make_chunks(columns: Sequence[str], items: Iterable[Row | Reject]) -> Iterator[Chunk]:
    """Group rows and rejects into chunks of at most 50,000 items."""
    rows: list[Row] = []
    rejects: list[Reject] = []
    for item in items:
        if isinstance(item, Reject):
            rejects.append(item)
        else:
            rows.append(item)
        if len(rows) + len(rejects) == CHUNK_ROWS:
            yield _chunk(columns, rows, rejects)
            rows, rejects = [], []
    if rows or rejects:
        yield _chunk(columns, rows, rejects)


def _chunk(columns: Sequence[str], rows: list[Row], rejects: list[Reject]) -> Chunk:
    values = map(list, zip(*rows, strict=True)) if rows else ([] for _ in columns)
    return Chunk(dict(zip(columns, values, strict=True)), rejects)


def write_checked(
    stream: BinaryIO,
    lines: Iterable[str],
    *,
    rows: Sequence[Row],
    columns: Sequence[str],
    read: Callable[[BinaryIO], Iterator[Chunk]],
) -> None:
    """Check that ``read`` returns exactly ``rows``, as tuples of ``columns``, from ``lines``. Then write ``lines``.

    Raises
    ------
    ValueError
        A row that the format cannot represent, e.g. a title with a newline. In this case nothing is written.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    count = 0
    for chunk in read(BytesIO(data)):
        for reject in chunk.rejects:
            raise ValueError(f"cannot write {reject.text!r} as a line: {reject.message}")
        for got in zip(*(chunk.rows[name] for name in columns), strict=True):
            if count == len(rows) or got != rows[count]:
                raise ValueError(f"cannot write {rows[min(count, len(rows) - 1)]!r}: it is not read back unchanged")
            count += 1
    if count != len(rows):
        raise ValueError(f"cannot write {rows[count]!r}: it is not read back unchanged")
    stream.write(data)


def check_line(line: bytes) -> bytes:
    """Return the line unchanged, or raise InputError ``line_too_long`` or ``nul_byte``."""
    if len(line) > MAX_LINE:
        raise InputError("line_too_long", f"expected at most {MAX_LINE} bytes per line")
    if b"\0" in line:
        raise InputError("nul_byte", "contains a NUL byte, expected UTF-8 text")
    return line


def decode_id(raw: bytes, prefix: str) -> str:
    """Decode an MSD id: ``prefix`` (TR, SO or AR) and 16 capital letters or digits.

    Raise InputError ``bad_track_id``, ``bad_song_id`` or ``bad_artist_id``.
    """
    kind, pattern = _IDS[prefix]
    if not pattern.fullmatch(raw):
        raise InputError(kind, f"expected {prefix} and 16 capital letters or digits, got {excerpt(raw, 40)!r}")
    return raw.decode("ascii")


def decode_text(raw: bytes) -> str | None:
    """Decode a name or title. Bytes that are not UTF-8 become U+FFFD. Return None for an empty name or title."""
    return raw.decode("utf-8", "replace") or None


def excerpt(raw: bytes, characters: int = REJECT_CHARACTERS) -> str:
    """Decode the first ``characters`` characters of ``raw`` for display in a message."""
    return raw[: 4 * characters].decode("utf-8", "replace")[:characters]
