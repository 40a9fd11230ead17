"""XSPF playlists, as VLC, Clementine, Strawberry, Audacious and ListenBrainz write them.

Source: https://www.xspf.org/spec.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import unquote

from reprise.lib.annotations.stream import Reject
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, clean_duration, clean_mbid, clean_text, path_of_location
from reprise.lib.playlists.markup import Element, read_xml

_TRACK = ("playlist", "trackList", "track")
# MusicBrainz used the URL part "track" for recordings until 2011, and old playlists of Picard contain it
_RECORDING = re.compile(r"(?:https?://(?:\w+\.)?musicbrainz\.org/(?:recording|track)/|urn:uuid:)([-0-9a-fA-F]{36})\b")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


def read_xspf(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read an XSPF playlist. Yield one entry per track, in the order of the list.

    A track that has neither location nor title nor MusicBrainz recording id yields a reject ``empty_track``.

    Raises
    ------
    InputError
        ``unknown_format`` for other XML, and the errors of `reprise.lib.playlists.markup.read_xml`.
    """
    return read_xml(stream, _XspfReader())


class _XspfReader:
    """Converter of XML elements to entries. If a track's field has several values, the first non-empty one is used."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.ready: list[Entry | Reject] = []

    def start(self, element: Element) -> None:
        if len(element.path) == 1 and element.path != _TRACK[:1]:
            raise InputError("unknown_format", f"expected an XSPF <playlist>, got {element.path[0][:40]!r}")
        if element.path == _TRACK:
            self.fields = {}

    def end(self, element: Element) -> None:
        if element.path[:-1] == _TRACK:
            name, text = element.path[-1], element.text.strip()
            recording = _RECORDING.match(text) if name in ("identifier", "location") else None
            if recording:
                self.fields.setdefault("recording", recording[1])
            elif text:
                self.fields.setdefault(name, text)
        elif element.path == _TRACK:
            entry = self._make_entry(element.line)
            message = "expected a location, a title or a MusicBrainz recording id"
            is_empty = not (entry.path or entry.title or entry.recording_mbid)
            self.ready.append(Reject(element.line, "empty_track", message, "") if is_empty else entry)

    def take(self) -> list[Entry | Reject]:
        ready, self.ready = self.ready, []
        return ready

    def close(self) -> Iterator[Entry | Reject]:
        return iter(())

    def _make_entry(self, line: int) -> Entry:
        location = self.fields.get("location", "")
        # a location without a scheme is a relative URI: a path with %-escapes, which must be decoded
        path = path_of_location(location) if _SCHEME.match(location) else unquote(location)
        return Entry(
            position=line,
            path=path or None,
            artist_name=clean_text(self.fields.get("creator")),
            title=clean_text(self.fields.get("title")),
            release=clean_text(self.fields.get("album")),
            recording_mbid=clean_mbid(self.fields.get("recording")),
            duration_s=clean_duration(self.fields.get("duration"), per_second=1000.0),
        )
