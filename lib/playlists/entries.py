"""Entries of playlists and listening histories, and how their fields are made sound."""

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from reprise.lib.annotations.stream import MAX_INT
from reprise.lib.errors import InputError

MAX_SONGS = 1_000_000
"""Different songs of one file, all of them held in memory: some 500 bytes each."""

_MBID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ISRC = re.compile(r"[A-Z]{2}[A-Z0-9]{3}[0-9]{7}")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{0,15})?")
_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_DRIVE = re.compile(r"/[A-Za-z][:|](?=/|$)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A song as a playlist or a history names it; what the source does not say is None.

    Attributes
    ----------
    position
        Line (in a JSON array: item) where it stands first, from 1.
    path
        File as the source writes it, out of its URL where that is a ``file:`` one; any other URL stays. Not to be
        opened before `reprise.lib.playlists.resolve` has looked at it.
    artist_name, title, release
        As written.
    recording_mbid, isrc
        MusicBrainz recording id in lower case; ISRC in capitals without hyphens.
    duration_s
        Length in s.
    play_count
        Plays, at least 1; 1 for an entry of a playlist.
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


class Tally:
    """Plays of a history counted per song, so that memory follows the number of songs, not of plays."""

    def __init__(self) -> None:
        self._songs: dict[tuple[str | None, ...], _Plays] = {}

    def add(self, entry: Entry) -> None:
        """Count one play; raises InputError ``too_many_songs`` beyond `MAX_SONGS`."""
        song = (entry.artist_name, entry.title, entry.release, entry.recording_mbid, entry.isrc)
        plays = self._songs.setdefault(song, _Plays(entry.position, entry.duration_s))
        plays.count += 1
        check_song_count(len(self._songs))

    def entries(self) -> Iterator[Entry]:
        """Yield each song once, in the order of first plays, with the position and length of the first."""
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
    """Raise InputError ``too_many_songs`` beyond `MAX_SONGS`, so that no file can fill the memory."""
    if count > MAX_SONGS:
        raise InputError("too_many_songs", f"expected at most {MAX_SONGS:,} different songs in one file: split it")


def clean_text(value: object) -> str | None:
    """Text without control characters, lone surrogates and outer blanks; None when nothing or no text is left."""
    if not isinstance(value, str):
        return None
    if not value.isprintable():
        value = "".join(_SUBSTITUTES.get(unicodedata.category(c), c) for c in value)
    return value.strip() or None


_SUBSTITUTES = {"Cc": " ", "Cs": "\N{REPLACEMENT CHARACTER}"}


def clean_mbid(value: object) -> str | None:
    """MusicBrainz id in lower case; None for what is none."""
    text = value.strip().lower() if isinstance(value, str) else ""
    return text if _MBID.fullmatch(text) else None


def clean_isrc(value: object) -> str | None:
    """ISRC in capitals without hyphens; None for what is none."""
    text = value.strip().upper().replace("-", "") if isinstance(value, str) else ""
    return text if _ISRC.fullmatch(text) else None


def clean_duration(value: object, *, per_second: float = 1.0) -> float | None:
    """Length in s of a number or its digits, of which ``per_second`` make one; None unless positive and finite."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return None
    return value / per_second if value < 1e15 else None


def clean_count(value: str | None) -> int | None:
    """Number of plays written in digits, 0 where nothing is written; None for what is no such number."""
    text = (value or "").strip() or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        return None
    return int(text) if int(text) <= MAX_INT else None


def path_of_location(location: str | None) -> str | None:
    """Path of a ``file:`` URL, else the location itself; None for an empty one.

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
