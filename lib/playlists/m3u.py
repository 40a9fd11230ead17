"""M3U and M3U8 playlists: a path a line, and what ``#EXTINF`` says of it on the line before.

There is no standard; this follows what Winamp, VLC, foobar2000, MediaMonkey and iTunes write.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject, excerpt, sound_line
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, clean_duration, clean_text, path_of_location

MAX_BYTES = 64 << 20

_SECONDS = re.compile(r"\s*(-?[0-9.]*)")
# IPTV lists have name="value" pairs before the comma, and commas in the values
_BEFORE_NAME = re.compile(r'(?:[^",]|"[^"]*")*')
_EXTRA = re.compile(r"#(?P<field>EXTART|EXTALB):(?P<text>.*)", re.IGNORECASE)
_FIELDS = {"EXTART": "artist_name", "EXTALB": "release"}


def read_m3u(stream: BinaryIO) -> Iterator[Entry | Reject]:
    r"""Read an M3U or M3U8 playlist; one entry a path, in the order of the list.

    Lines end in ``\n``, ``\r\n`` or, from iTunes and Apple's Music on a Mac, ``\r``; they are utf-8, with or without a
    byte order mark, or else Windows-1252 or Mac Roman. ``#EXTINF:215,Artist - Title`` gives length, artist and title
    (without `` - `` the title alone); iTunes writes ``Title - Artist``, and its line ends tell that it was iTunes.
    Rejects: ``line_too_long``, ``nul_byte``.

    Raises
    ------
    InputError
        ``too_large`` over 64 MiB.
    """
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError("too_large", f"expected a playlist of at most {MAX_BYTES >> 20} MiB")
    title_first = b"\r" in data and b"\n" not in data
    fallbacks = ("mac_roman",) if title_first else ("cp1252",)
    data = data.removeprefix(b"\xef\xbb\xbf")
    said: dict[str, str | float | None] = {}
    for number, raw in enumerate(BytesIO(data.replace(b"\r", b"\n") if title_first else data), 1):
        line = raw.rstrip(b"\r\n")
        try:
            text = _decode(sound_line(line), fallbacks).strip()
        except InputError as error:
            yield Reject(number, error.kind, error.message, excerpt(line))
            said = {}
            continue
        if text.startswith("#"):
            said.update(_comment(text, title_first))
        elif text:
            yield Entry(position=number, path=path_of_location(text), **said)  # type: ignore[arg-type]
            said = {}


def _decode(line: bytes, fallbacks: tuple[str, ...]) -> str:
    for encoding in ("utf-8", *fallbacks):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            pass
    return line.decode("latin-1")  # five bytes mean nothing in Windows-1252


def _comment(text: str, title_first: bool) -> dict[str, str | float | None]:
    """Fields of the next entry that a line starting with ``#`` gives; none for most."""
    extra = _EXTRA.fullmatch(text)
    if extra:
        return {_FIELDS[extra["field"].upper()]: clean_text(extra["text"])}
    if text[:8].upper() != "#EXTINF:":
        return {}
    said = text[8:]
    seconds, name = _SECONDS.match(said)[1], said[_BEFORE_NAME.match(said).end() + 1 :]  # type: ignore[index, union-attr]
    first, dash, second = name.partition(" - ")
    artist, title = (second, first) if title_first else (first, second)
    fields = {"artist_name": clean_text(artist), "title": clean_text(title)} if dash else {"title": clean_text(first)}
    return {"duration_s": clean_duration(seconds), **fields}
