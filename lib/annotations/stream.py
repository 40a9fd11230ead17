"""What the annotation formats share: opening a file, blocks of whole lines, chunks of rows, ids."""

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
"""Bytes a line may have; the longest real one has under 1,000."""
MAX_INT = 2**31 - 1
"""Largest count or id: the tables hold 32-bit integers."""
CHUNK_ROWS = 50_000
READ_BYTES = 1 << 20
REJECT_CHARACTERS = 200

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
# Other OSErrors pass: a disk or a network that fails is no property of the file, and the read may be tried again.

_IDS = {
    prefix: (kind, re.compile(rb"%b[A-Z0-9]{16}" % prefix.encode()))
    for prefix, kind in (("TR", "bad_track_id"), ("SO", "bad_song_id"), ("AR", "bad_artist_id"))
}

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Reject:
    """A line that was not used: where (1-based), why, and its first 200 characters."""

    line: int
    kind: str
    message: str
    text: str


@dataclass(frozen=True)
class Chunk:
    """Columns of equal length, at most 50,000 rows and rejects from about 1 MiB of text, and what was rejected."""

    rows: dict[str, list[Any]]
    rejects: list[Reject]


@dataclass(frozen=True)
class Block:
    """Whole lines of a stream, each ending in a newline, and the number of the first."""

    first_line: int
    data: bytes

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and bytes of each line that is not blank, without its line end."""
        for number, line in enumerate(self.data.split(b"\n")[:-1], self.first_line):
            text = line.removesuffix(b"\r")
            if text.strip(b" "):
                yield number, text


def open_annotation(source: str | os.PathLike[str] | bytes) -> BinaryIO:
    """Open a plain or gzipped annotation file for reading; gzip is told by its first bytes, not by the name.

    Parameters
    ----------
    source
        Path of a regular file, or its whole content. Nothing else is opened, so that a FIFO cannot block.

    Returns
    -------
    BinaryIO
        The plain bytes, from the start. Close it, or use it in a ``with`` statement.

    Raises
    ------
    InputError
        As `reprise.lib.files.open_regular`. A gzip file that breaks off opens well: the readers give the rows before
        the break and then one reject.
    """
    file: BinaryIO = BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    magic = file.read(len(_GZIP))
    file.seek(0)
    if magic != _GZIP:
        return file
    # not isal's faster reader: it drops up to 1 MiB of good text before the place where a stream breaks off
    unzipped = gzip.GzipFile(fileobj=file, mode="rb")
    unzipped.myfileobj = file  # type: ignore[assignment]  # makes its close() close the file too
    return cast(BinaryIO, unzipped)


def blocks(stream: BinaryIO) -> Iterator[Block | Reject]:
    """Cut a stream into blocks of whole lines of about 1 MiB; a broken gzip stream ends them with one reject.

    Of a line too long to be held, the first bytes remain, more of them than ``sound_line`` lets pass.
    """
    line, rest, keep = 1, b"", MAX_LINE + 16
    try:
        for piece in _pieces(stream):
            head, newline, tail = piece.rpartition(b"\n")
            if newline:
                data = rest + head + newline
                yield Block(line, data.removeprefix(_BOM) if line == 1 else data)
                line, rest = line + data.count(b"\n"), b""
            rest = (rest + tail)[:keep]
    except _BROKEN_GZIP as error:
        message = f"expected more lines, but the gzip stream is cut off or damaged here: {error}"
        yield Reject(line, "broken_stream", message, excerpt(rest))
        return
    if line == 1:
        rest = rest.removeprefix(_BOM)
    if rest:
        yield Block(line, rest + b"\n")


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a stream in pieces of about 1 MiB, all that is good of it before a break raises."""
    # read() of a broken gzip stream would lose bytes that were good; read1() hands them over first
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
    except _BROKEN_GZIP:
        yield b"".join(parts)
        raise
    yield b"".join(parts)


def read_lines(
    stream: BinaryIO, columns: Sequence[str], parse: Callable[[int, bytes], Iterable[Row | Reject]]
) -> Iterator[Chunk]:
    """Chunks of what ``parse`` gives for each line; an InputError that it raises becomes that line's reject."""
    for block in blocks(stream):
        yield from chunked(columns, [block] if isinstance(block, Reject) else parse_block(block, parse))


def parse_block(block: Block, parse: Callable[[int, bytes], Iterable[Row | Reject]]) -> Iterator[Row | Reject]:
    """Rows and rejects of one block; see ``read_lines``."""
    for number, line in block.lines():
        try:
            yield from parse(number, line)
        except InputError as error:
            yield Reject(number, error.kind, error.message, excerpt(line))


def chunked(columns: Sequence[str], items: Iterable[Row | Reject]) -> Iterator[Chunk]:
    """Turn rows and rejects into chunks of at most 50,000 of both."""
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
    """Write lines after checking that ``read`` gives exactly ``rows`` back for them.

    Raises
    ------
    ValueError
        A row that its format cannot hold, e.g. a title with a newline. Nothing is written then.
    """
    data = "".join(f"{line}\n" for line in lines).encode()
    count = 0
    for chunk in read(BytesIO(data)):
        for reject in chunk.rejects:
            raise ValueError(f"cannot be written as a line: {reject.message}: {reject.text!r}")
        for got in zip(*(chunk.rows[name] for name in columns), strict=True):
            if count == len(rows) or got != rows[count]:
                raise ValueError(f"would not be read back as it is: {rows[min(count, len(rows) - 1)]!r}")
            count += 1
    if count != len(rows):
        raise ValueError(f"would not be read back as it is: {rows[count]!r}")
    stream.write(data)


def sound_line(line: bytes) -> bytes:
    """Return the line itself; raises InputError ``line_too_long`` or ``nul_byte``."""
    if len(line) > MAX_LINE:
        raise InputError("line_too_long", f"expected at most {MAX_LINE} bytes before the line's end")
    if b"\0" in line:
        raise InputError("nul_byte", "expected utf-8 text, which has no NUL bytes")
    return line


def msd_id(raw: bytes, prefix: str) -> str:
    """Decode a dataset id: ``prefix`` (TR, SO or AR) and 16 capitals or digits; raises InputError ``bad_…_id``."""
    kind, pattern = _IDS[prefix]
    if not pattern.fullmatch(raw):
        raise InputError(kind, f"expected {prefix} and 16 capitals or digits, got {excerpt(raw, 40)!r}")
    return raw.decode("ascii")


def free_text(raw: bytes) -> str | None:
    """Decode a name or title as it stands, with U+FFFD for what is no utf-8; None when empty."""
    return raw.decode("utf-8", "replace") or None


def excerpt(raw: bytes, characters: int = REJECT_CHARACTERS) -> str:
    """Decode the first characters of some bytes, to be shown to a person."""
    return raw[: 4 * characters].decode("utf-8", "replace")[:characters]
