"""Entries of playlists and listening histories, and validation of their fields."""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from reprise.lib.annotations.stream import MAX_INT
from reprise.lib.errors import InputError

MAX_SONGS = 1_000_000
"""Largest number of different songs in one file. Each song takes about 500 bytes of memory."""

_MBID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"/[A-Za-z][:|](?=/|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A song in a playlist or listening history. Fields that are missing or invalid in the source are None.

    Attributes
    ----------
    position
        Line number of the song's first occurrence, counted from 1. In a JSON array, the item number instead.
    path
        Path of the file as written in the source. A ``file:`` URL is decoded to a path; other URLs are kept. The path
        is not trusted: open it only through `reprise.lib.playlists.resolve`.
    artist_name, title, release
        Names as written in the source, stripped. Control characters become spaces.
    recording_mbid, isrc
        MusicBrainz recording id in lower case; ISRC in capitals without hyphens.
    duration_s
        Duration in s, above 0.
    play_count
        Number of plays, at least 1; always 1 for an entry of a playlist file.
    """

    position: int
    path: str | None = None
    artist_name: str | None = None
    title: str | None = None
    release: str | None = None
    recording_mbid: str | None = None
    isrc: str | None = None
    duration_s: float | None = None
    play_count: int = 1


class PlayCounter:
    """Counter of plays per song of a history. Memory use grows with the number of songs, not with that of plays."""

    def __init__(self) -> None:
        self._songs: dict[tuple[str | None, ...], _Plays] = {}

    def add(self, entry: Entry) -> None:
        """Count one play. Raise InputError ``too_many_songs`` if there are more than `MAX_SONGS` songs."""
        song = (entry.artist_name, entry.title, entry.release, entry.recording_mbid, entry.isrc)
        plays = self._songs.setdefault(song, _Plays(entry.position, entry.duration_s))
        plays.count += 1
        check_song_count(len(self._songs))

    def entries(self) -> Iterator[Entry]:
        """Yield one entry per song, in order of first occurrence in the file, with its position and duration."""
        for (artist_name, title, release, recording_mbid, isrc), plays in self._songs.items():
            yield Entry(
                position=plays.position,
                artist_name=artist_name,
                title=title,
                release=release,
                recording_mbid=recording_mbid,
                isrc=isrc,
                duration_s=plays.duration_s,
                play_count=min(plays.count, MAX_INT),
            )


@dataclass(slots=True)
class _Plays:
    position: int
    duration_s: float | None
    count: int = 0


def check_song_count(count: int) -> None:
    """Raise InputError ``too_many_songs`` if ``count`` exceeds `MAX_SONGS`. This limits the use of memory."""
    if count > MAX_SONGS:
        raise InputError("too_many_songs", f"expected at most {MAX_SONGS:,} different songs in one file: split it")


def clean_text(value: object) -> str | None:
    """Replace control characters and lone surrogates, and strip the text.

    Return None if no text remains, or if the value is not a str.
    """
    if not isinstance(value, str):
        return None
    if not value.isprintable():
        value = "".join(_SUBSTITUTES.get(unicodedata.category(c), c) for c in value)
    return value.strip() or None


_SUBSTITUTES = {"Cc": " ", "Cs": "\N{REPLACEMENT CHARACTER}"}


def clean_mbid(value: object) -> str | None:
    """Return a MusicBrainz id in lower case, or None for an invalid one."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return text if _MBID.fullmatch(text) else None


def clean_isrc(value: object) -> str | None:
    """Return an ISRC in capitals without hyphens, or None for an invalid one."""
    text = value.strip().upper().replace("-", "") if isinstance(value, str) else ""
    return text if _ISRC.fullmatch(text) else None


def clean_duration(value: object, *, per_second: float = 1.0) -> float | None:
    """Convert a duration to s. ``value`` is a number, or a string with a number, in units of 1/``per_second`` s.

    Return None if the value is not a number, not above 0, or at least 1e15.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return None
    return value / per_second if value < 1e15 else None


def clean_count(value: str | None) -> int | None:
    """Convert a string of digits to a number of plays.

    An empty string and None become 0. An invalid string and a number over 2³¹−1 become None.
    """
    text = (value or "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= MAX_INT else None


def path_of_location(location: str | None) -> str | None:
    """Return the path of a ``file:`` URL. Return any other location unchanged, and None for an empty location.

    ``file://localhost/C:/a%20b.mp3`` → ``C:/a b.mp3``; ``file://nas/music/a.mp3`` → ``//nas/music/a.mp3``.
    """
    location = (location or "").strip("\r\n")
    url = _FILE_URL.fullmatch(location.strip())
    if url is None:
        return location if location.strip() else None
    path, host = unquote(url["path"]), url["host"] or ""
    if _DRIVE.match(path):
        return path[1] + ":" + path[3:]
    return f"//{unquote(host)}{path}" if host.lower() not in ("", "localhost", "127.0.0.1") else path
