"""Whole collections with play counts and playlists: iTunes (and Apple's Music), rekordbox.

A track becomes one entry when it was played, with its play count, or when it stands in a playlist that a person made,
with a count of 1. Tracks that are only there are no sign of taste and become nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import (
    Entry,
    check_song_count,
    clean_count,
    clean_duration,
    clean_text,
    path_of_location,
)
from reprise.lib.playlists.markup import Element, read_xml

_NOT_MUSIC = ("Podcast", "Movie", "TV Show")
# the whole library, folders (their lists follow), and lists that iTunes fills by a rule
_NOT_CHOSEN = ("Master", "Distinguished Kind", "Folder", "Smart Info", "Smart Criteria")


def read_itunes(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read ``iTunes Music Library.xml`` or an XML export of a playlist, from iTunes or Apple's Music.

    Podcasts and films are left out, and so are smart playlists, which rules and no listener fill. Reject
    ``bad_count``: a play count that is no number, taken as none.

    Raises
    ------
    InputError
        ``unknown_format`` for XML that is no such library; else as `reprise.lib.playlists.markup.read_xml`.
    """
    return read_xml(stream, _ItunesReader())


def read_rekordbox(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read a collection that rekordbox exported as XML.

    Playlists name tracks by ``TrackID`` (KeyType 0) or by ``Location`` (KeyType 1). Rejects and errors as
    `read_itunes`. Source: rekordbox' "XML format list" (Pioneer DJ, 2015).
    """
    return read_xml(stream, _RekordboxReader())


class _Collection:
    """Tracks by their key, and which of them stand in playlists."""

    def __init__(self) -> None:
        self.tracks: dict[str, Entry] = {}
        self.counts: dict[str, int] = {}
        self.listed: set[str] = set()
        self.ready: list[Entry | Reject] = []

    def add(self, key: str, entry: Entry, play_count: str | None) -> None:
        count = clean_count(play_count)
        if count is None:
            message = f"expected a whole number of plays, got {(play_count or '')[:40]!r}"
            self.ready.append(Reject(entry.position, "bad_count", message, ""))
        self.tracks[key] = entry
        self.counts[key] = count or 0
        check_song_count(len(self.tracks))

    def take(self) -> list[Entry | Reject]:
        ready, self.ready = self.ready, []
        return ready

    def close(self) -> Iterator[Entry | Reject]:
        for key, entry in self.tracks.items():
            if self.counts[key] or self._is_listed(key, entry):
                yield replace(entry, play_count=max(self.counts[key], 1))

    def _is_listed(self, key: str, _entry: Entry) -> bool:
        return key in self.listed


class _ItunesReader(_Collection):
    """A property list: ``<key>`` elements name the values that follow them.

    plist/dict/key "Tracks"/dict/key id/dict: one track; plist/dict/key "Playlists"/array/dict: one playlist.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[int, str] = {}  # the last key at each depth
        self.has_tracks = False
        self.values: dict[str, str] = {}  # of the track or playlist that is open
        self.items: list[str] = []

    def start(self, element: Element) -> None:
        depth, name = len(element.path), element.path[-1]
        if depth == 1 and name != "plist":
            raise InputError("unknown_format", f"expected iTunes's <plist>, got {name[:40]!r}")
        if depth == 4 and name == "dict":
            self.values, self.items = {}, []
        self.has_tracks |= depth == 3 and name == "dict" and self.keys.get(3) == "Tracks"

    def end(self, element: Element) -> None:
        depth, name = len(element.path), element.path[-1]
        if name == "key":
            self.keys[depth] = element.text
        elif depth == 1 and not self.has_tracks:
            raise InputError("unknown_format", "is a property list, but no iTunes library: has no Tracks")
        elif depth == 5:
            self.values[self.keys.get(5, "")] = name if name in ("true", "false") else element.text
        elif depth == 7 and self.keys.get(5) == "Playlist Items" and self.keys.get(7) == "Track ID":
            self.items.append(element.text)
            check_song_count(len(self.items))
        elif depth == 4 and name == "dict" and self.keys.get(3) == "Tracks":
            self._track(element.line)
        elif depth == 4 and name == "dict" and self.keys.get(3) == "Playlists":
            chosen = not any(self.values.get(mark, "false") != "false" for mark in _NOT_CHOSEN)
            self.listed.update(self.items if chosen else ())
            check_song_count(len(self.listed))

    def _track(self, line: int) -> None:
        values = self.values
        if any(values.get(mark) == "true" for mark in _NOT_MUSIC):
            return
        entry = Entry(
            position=line,
            # iTunes 4 closed the locations of files with a slash
            path=path_of_location(values.get("Location", "").rstrip("/")),
            artist_name=clean_text(values.get("Artist")) or clean_text(values.get("Album Artist")),
            title=clean_text(values.get("Name")),
            release=clean_text(values.get("Album")),
            duration_s=clean_duration(values.get("Total Time"), per_second=1000.0),
        )
        self.add(values.get("Track ID") or self.keys.get(4, ""), entry, values.get("Play Count"))


class _RekordboxReader(_Collection):
    """DJ_PLAYLISTS/COLLECTION/TRACK: one track; DJ_PLAYLISTS/PLAYLISTS/NODE…/TRACK: an entry of a playlist."""

    def __init__(self) -> None:
        super().__init__()
        self.key_types: list[str] = []
        self.locations: set[str] = set()  # of tracks that playlists name by it

    def start(self, element: Element) -> None:
        name, attributes = element.path[-1], element.attributes
        if len(element.path) == 1 and name != "DJ_PLAYLISTS":
            raise InputError("unknown_format", f"expected rekordbox' <DJ_PLAYLISTS>, got {name[:40]!r}")
        if name == "NODE":
            self.key_types.append(attributes.get("KeyType", "0"))
        elif element.path == ("DJ_PLAYLISTS", "COLLECTION", "TRACK"):
            self._track(attributes, element.line)
        elif name == "TRACK" and self.key_types and "Key" in attributes:
            if self.key_types[-1] == "1":
                self.locations.add(path_of_location(attributes["Key"]) or "")
            else:
                self.listed.add(attributes["Key"])
            check_song_count(len(self.listed) + len(self.locations))

    def end(self, element: Element) -> None:
        if element.path[-1] == "NODE":
            self.key_types.pop()

    def _track(self, attributes: dict[str, str], line: int) -> None:
        entry = Entry(
            position=line,
            path=path_of_location(attributes.get("Location")),
            artist_name=clean_text(attributes.get("Artist")),
            title=clean_text(attributes.get("Name")),
            release=clean_text(attributes.get("Album")),
            duration_s=clean_duration(attributes.get("TotalTime")),
        )
        self.add(attributes.get("TrackID") or f"line {line}", entry, attributes.get("PlayCount"))

    def _is_listed(self, key: str, entry: Entry) -> bool:
        return key in self.listed or entry.path in self.locations
