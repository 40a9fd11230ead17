"""Collections exported by iTunes (or Apple's Music app) and rekordbox. They contain play counts and playlists.

A played track becomes one entry with its play count. An unplayed track in a playlist made by the user becomes one entry
with a count of 1. The remaining tracks give no information about taste and are skipped.
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

_NON_MUSIC_MARKS = ("Podcast", "Movie", "TV Show")
# keys that mark lists not filled by the user: the whole collection, built-in lists, folders (their playlists follow)
# and smart playlists
_AUTOMATIC_MARKS = ("Master", "Distinguished Kind", "Folder", "Smart Info", "Smart Criteria")


def read_itunes(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read ``iTunes Music Library.xml`` or an XML export of a playlist, from iTunes or Apple's Music app.

    Podcasts, films and TV shows are skipped. Smart playlists are skipped too, because rules fill them, not the
    listener. A play count that is not an integer from 0 to 2³¹−1 is read as 0 and yields a reject ``bad_count``.

    Raises
    ------
    InputError
        ``unknown_format`` for other XML, ``too_many_songs`` for more than `MAX_SONGS` tracks, and the errors of
        `reprise.lib.playlists.markup.read_xml`.
    """
    return read_xml(stream, _ItunesReader())


def read_rekordbox(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read a collection exported by rekordbox as XML.

    Playlists identify tracks by ``TrackID`` (KeyType 0) or by ``Location`` (KeyType 1). The rejects and errors
    are those of `read_itunes`. Source: "XML format list" of rekordbox (Pioneer DJ, 2015).
    """
    return read_xml(stream, _RekordboxReader())


class _Collection:
    """Tracks of a collection by key, and the keys of the tracks that are in playlists."""

    def __init__(self) -> None:
        self.tracks: dict[str, Entry] = {}
        self.counts: dict[str, int] = {}
        self.in_playlists: set[str] = set()
        self.ready: list[Entry | Reject] = []

    def add(self, key: str, entry: Entry, play_count: str | None) -> None:
        count = clean_count(play_count)
        if count is None:
            message = f"expected the number of plays as an integer, got {(play_count or '')[:40]!r}"
            self.ready.append(Reject(entry.position, "bad_count", message, ""))
        self.tracks[key] = entry
        self.counts[key] = count or 0
        check_song_count(len(self.tracks))

    def take(self) -> list[Entry | Reject]:
        ready, self.ready = self.ready, []
        return ready

    def close(self) -> Iterator[Entry | Reject]:
        for key, entry in self.tracks.items():
            if self.counts[key] or self._is_in_playlist(key, entry):
                yield replace(entry, play_count=max(self.counts[key], 1))

    def _is_in_playlist(self, key: str, _entry: Entry) -> bool:
        return key in self.in_playlists


class _ItunesReader(_Collection):
    """Reader of an Apple property list, in which each ``<key>`` element contains the name of the value after it.

    The value of "Tracks" is a ``<dict>`` with one ``<dict>`` for each track. The value of "Playlists" is an ``<array>``
    with one ``<dict>`` for each playlist.
    """

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[int, str] = {}  # last key at each depth
        self.has_tracks = False
        self.values: dict[str, str] = {}  # values of the current track or playlist, by key
        self.items: list[str] = []  # track ids in the current playlist

    def start(self, element: Element) -> None:
        depth, name = len(element.path), element.path[-1]
        if depth == 1 and name != "plist":
            raise InputError("unknown_format", f"expected an iTunes <plist>, got {name[:40]!r}")
        if depth == 4 and name == "dict":
            self.values, self.items = {}, []
        self.has_tracks |= depth == 3 and name == "dict" and self.keys.get(3) == "Tracks"

    def end(self, element: Element) -> None:
        depth, name = len(element.path), element.path[-1]
        if name == "key":
            self.keys[depth] = element.text
        elif depth == 1 and not self.has_tracks:
            raise InputError(
                "unknown_format",
                "the file is a property list without Tracks, expected an iTunes library: export it again from iTunes",
            )
        elif depth == 5:
            self.values[self.keys.get(5, "")] = name if name in ("true", "false") else element.text
        elif depth == 7 and self.keys.get(5) == "Playlist Items" and self.keys.get(7) == "Track ID":
            self.items.append(element.text)
            check_song_count(len(self.items))
        elif depth == 4 and name == "dict" and self.keys.get(3) == "Tracks":
            self._add_track(element.line)
        elif depth == 4 and name == "dict" and self.keys.get(3) == "Playlists":
            is_automatic = any(self.values.get(mark, "false") != "false" for mark in _AUTOMATIC_MARKS)
            self.in_playlists.update(() if is_automatic else self.items)
            check_song_count(len(self.in_playlists))

    def _add_track(self, line: int) -> None:
        values = self.values
        if any(values.get(mark) == "true" for mark in _NON_MUSIC_MARKS):
            return
        entry = Entry(
            position=line,
            # iTunes 4 added a slash to the end of file locations
            path=path_of_location(values.get("Location", "").rstrip("/")),
            artist_name=clean_text(values.get("Artist")) or clean_text(values.get("Album Artist")),
            title=clean_text(values.get("Name")),
            release=clean_text(values.get("Album")),
            duration_s=clean_duration(values.get("Total Time"), per_second=1000.0),
        )
        self.add(values.get("Track ID") or self.keys.get(4, ""), entry, values.get("Play Count"))


class _RekordboxReader(_Collection):
    """Reader of DJ_PLAYLISTS/COLLECTION/TRACK (one track) and DJ_PLAYLISTS/PLAYLISTS/NODE…/TRACK (playlist entry)."""

    def __init__(self) -> None:
        super().__init__()
        self.key_types: list[str] = []  # KeyType of each node from the root to the current one
        self.locations: set[str] = set()  # locations of tracks that are in playlists with KeyType 1

    def start(self, element: Element) -> None:
        name, attributes = element.path[-1], element.attributes
        if len(element.path) == 1 and name != "DJ_PLAYLISTS":
            raise InputError("unknown_format", f"expected a rekordbox <DJ_PLAYLISTS>, got {name[:40]!r}")
        if name == "NODE":
            self.key_types.append(attributes.get("KeyType", "0"))
        elif element.path == ("DJ_PLAYLISTS", "COLLECTION", "TRACK"):
            self._add_track(attributes, element.line)
        elif name == "TRACK" and self.key_types and "Key" in attributes:
            if self.key_types[-1] == "1":
                self.locations.add(path_of_location(attributes["Key"]) or "")
            else:
                self.in_playlists.add(attributes["Key"])
            check_song_count(len(self.in_playlists) + len(self.locations))

    def end(self, element: Element) -> None:
        if element.path[-1] == "NODE":
            self.key_types.pop()

    def _add_track(self, attributes: dict[str, str], line: int) -> None:
        entry = Entry(
            position=line,
            path=path_of_location(attributes.get("Location")),
            artist_name=clean_text(attributes.get("Artist")),
            title=clean_text(attributes.get("Name")),
            release=clean_text(attributes.get("Album")),
            duration_s=clean_duration(attributes.get("TotalTime")),
        )
        self.add(attributes.get("TrackID") or f"line {line}", entry, attributes.get("PlayCount"))

    def _is_in_playlist(self, key: str, entry: Entry) -> bool:
        return key in self.in_playlists or entry.path in self.locations
