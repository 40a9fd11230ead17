"""M3U and M3U8 playlists: one path per line, with an optional ``#EXTINF`` line of metadata before it.

There is no standard. This reader follows the files that Winamp, VLC, foobar2000, MediaMonkey and iTunes write.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject, check_line, excerpt
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, clean_duration, clean_text, path_of_location

MAX_BYTES = 64 << 20

_SECONDS = re.compile(r"\s*(-?[0-9.]*)")
# IPTV playlists have name="value" pairs before the comma, and the values can contain commas
_BEFORE_NAME = re.compile(r'(?:[^",]|"[^"]*")*')
_EXTRA = re.compile(r"#(?P<field>EXTART|EXTALB):(?P<text>.*)", re.IGNORECASE)
_FIELDS = {"EXTART": "artist_name", "EXTALB": "release"}


def read_m3u(stream: BinaryIO) -> Iterator[Entry | Reject]:
    r"""Read an M3U or M3U8 playlist. Yield one entry per path, in the order of the list.

    Lines end in ``\n`` or ``\r\n``, or in ``\r`` in files from iTunes and Apple's Music app on a Mac. The text is
    UTF-8, with or without a byte order mark. A line that is not valid UTF-8 is read as Windows-1252, or as Mac Roman in
    a file with ``\r`` line endings. ``#EXTINF:215,Artist - Title`` gives duration in s, artist and title. Without
    `` - ``, the whole text after the comma is the title. iTunes writes ``Title - Artist``; the ``\r`` line endings
    identify its files. ``#EXTART`` and ``#EXTALB`` give artist and album. Rejects: ``line_too_long``, ``nul_byte``.

    Raises
    ------
    InputError
        ``too_large`` for a playlist larger than 64 MiB.
    """
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("too_large", f"expected a playlist of at most {MAX_BYTES >> 20} MiB: split it")
    title_first = b"\r" in data and b"\n" not in data
    fallbacks = ("mac_roman",) if title_first else ("cp1252",)
    data = data.removeprefix(b"\xef\xbb\xbf")
    metadata: dict[str, str | float | None] = {}
    for number, raw in enumerate(BytesIO(data.replace(b"\r", b"\n") if title_first else data), 1):
        line = raw.rstrip(b"\r\n")
        try:
            text = _decode(check_line(line), fallbacks).strip()
        except InputError as error:
            yield Reject(number, error.kind, error.message, excerpt(line))
            metadata = {}
            continue
        if text.startswith("#"):
            metadata.update(_parse_comment(text, title_first))
        elif text:
            yield Entry(position=number, path=path_of_location(text), **metadata)  # type: ignore[arg-type]
            metadata = {}


def _decode(line: bytes, fallbacks: tuple[str, ...]) -> str:
    for encoding in ("utf-8", *fallbacks):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            pass
    return line.decode("latin-1")  # Windows-1252 leaves five byte values undefined


def _parse_comment(text: str, title_first: bool) -> dict[str, str | float | None]:
    """Return metadata of the next entry from a line that starts with ``#``; an empty dict if it has no metadata."""
    extra = _EXTRA.fullmatch(text)
    if extra:
        return {_FIELDS[extra["field"].upper()]: clean_text(extra["text"])}
    if text[:8].upper() != "#EXTINF:":
        return {}
    info = text[8:]
    seconds, name = _SECONDS.match(info)[1], info[_BEFORE_NAME.match(info).end() + 1 :]  # type: ignore[index, union-attr]
    first, dash, second = name.partition(" - ")
    artist, title = (second, first) if title_first else (first, second)
    fields = {"artist_name": clean_text(artist), "title": clean_text(title)} if dash else {"title": clean_text(first)}
    return {"duration_s": clean_duration(seconds), **fields}
