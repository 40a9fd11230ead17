"""Listening histories from ListenBrainz: JSON lines of its exports and dumps, and responses of its API.

Source: https://listenbrainz.readthedocs.io/en/latest/users/json.html.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from reprise.lib.annotations.stream import MAX_LINE, Reject, check_line, excerpt, read_blocks
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, PlayCounter, clean_duration, clean_isrc, clean_mbid, clean_text

_READ_BYTES = 1 << 18
_ARRAY = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*"payload"\s*:\s*\{.*?"listens"\s*:\s*)?\[', re.DOTALL)
_GAPS = " \t\r\n,"


def read_listenbrainz(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read a history. Yield all rejects, then one entry per song with its number of plays.

    A file has one of three forms: one listen per line; one array of listens (older exports); or a response of the API
    (``{"payload": {…, "listens": […]}}``). In an array or a response, `Entry.position` is an item number instead of a
    line number. If the player sent a valid recording id, it is used instead of the id to which ListenBrainz mapped the
    listen. The track that is playing now is skipped. Rejects: ``bad_json`` (in an array, reading stops there),
    ``bad_listen``, ``line_too_long``, ``nul_byte``.

    Raises
    ------
    InputError
        ``too_many_songs`` for more than a million different songs.
    """
    counter = PlayCounter()
    for position, item in _items(stream):
        try:
            entry = item if isinstance(item, Reject) else _parse_listen(position, item)
        except InputError as error:
            yield Reject(position, error.kind, error.message, "")
            continue
        if isinstance(entry, Reject):
            yield entry
        elif entry is not None:
            counter.add(entry)
    yield from counter.entries()


def _items(stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yield number and JSON value of each line or, in an array, of each item. The value of a bad one is a `Reject`."""
    head = stream.read(_READ_BYTES)
    array = _ARRAY.match(head)
    if array:
        yield from _array_items(head[array.end() :], stream)
        return
    for block in read_blocks(_PrefixedStream(head, stream)):  # type: ignore[arg-type]
        if isinstance(block, Reject):
            yield block.line, block
            continue
        for number, line in block.lines():
            yield number, _parse_line(number, line)


class _PrefixedStream:
    """A stream that first returns ``head``, the bytes already read from ``stream``, and then the rest of ``stream``."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self.head = head
        self.stream = stream

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes."""
        if not self.head:
            return self.stream.read(size)
        data, self.head = self.head[:size], self.head[size:]
        return data


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return json.loads(check_line(line))
    except InputError as error:
        return Reject(number, error.kind, error.message, excerpt(line))
    # ValueError: invalid UTF-8, or a number with thousands of digits. RecursionError: deep nesting
    except (json.JSONDecodeError, ValueError, RecursionError):
        return Reject(number, "bad_json", "expected one JSON object on the line", excerpt(line))


def _array_items(head: bytes, stream: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yield the number and value of each item of an array. About 320 KiB of the file are in memory at a time."""
    decoder, scanner = codecs.getincrementaldecoder("utf-8")("replace"), json.JSONDecoder()
    text = decoder.decode(head)
    start, number = 0, 0
    while True:
        while start < len(text) and text[start] in _GAPS:
            start += 1
        if text.startswith("]", start):
            return
        try:
            item, end = scanner.raw_decode(text, start)
            number += 1
            yield number, item
            start = end
        except (ValueError, RecursionError) as error:
            piece = stream.read(_READ_BYTES) if len(text) - start <= MAX_LINE else b""
            if not piece or isinstance(error, RecursionError):
                message = "expected another JSON object of at most 64 KiB, or the end of the array"
                yield number + 1, Reject(number + 1, "bad_json", message, text[start : start + 200])
                return
            text, start = text[start:] + decoder.decode(piece), 0


def _parse_listen(position: int, listen: object) -> Entry | None:
    """Return the entry of one listen, or None for the track that is playing now."""
    track = listen.get("track_metadata") if isinstance(listen, dict) else None
    if not isinstance(listen, dict) or not isinstance(track, dict):
        raise InputError("bad_listen", "expected an object with track_metadata")
    if listen.get("playing_now") is True:
        return None
    info = _get_object(track, "additional_info")
    mapped = _get_object(track, "mbid_mapping")
    entry = Entry(
        position=position,
        artist_name=clean_text(track.get("artist_name")),
        title=clean_text(track.get("track_name")),
        release=clean_text(track.get("release_name")),
        recording_mbid=clean_mbid(info.get("recording_mbid")) or clean_mbid(mapped.get("recording_mbid")),
        isrc=clean_isrc(info.get("isrc")),
        duration_s=clean_duration(info.get("duration_ms"), per_second=1000.0) or clean_duration(info.get("duration")),
    )
    if not (entry.title or entry.recording_mbid or entry.isrc):
        raise InputError("bad_listen", "expected a track_name, a recording_mbid or an isrc")
    return entry


def _get_object(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}
