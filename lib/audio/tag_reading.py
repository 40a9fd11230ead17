"""Tags of audio files, under one set of names, with values that are what their name says or missing.

Read by tinytag, and for M4A by FFmpeg what tinytag does not know. The names of MusicBrainz identifiers in each format
are those of MusicBrainz Picard (its documentation, appendix "Tag Mapping"): most call the recording's a track id.
"""

import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_SET, BufferedReader
from typing import TypeVar

from reprise.lib.files import open_regular

MAX_CHARACTERS = 1024
"""Longest text that is kept of a tag."""

MAX_GENRES = 64
MIN_TEMPO_BPM, MAX_TEMPO_BPM = 20.0, 400.0

_T = TypeVar("_T")
_UUID = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_NO_UUID = "00000000-0000-0000-0000-000000000000"
_UFID = re.compile(r"https?://musicbrainz\.org\0+(.{36})", re.IGNORECASE)
_ISRC = re.compile(r"(?<![A-Z0-9])[A-Z]{2}[A-Z0-9]{3}[0-9]{7}(?![A-Z0-9])")
_YEAR = re.compile(r"(?<![0-9])(1[5-9][0-9]{2}|20[0-9]{2})(?![0-9])")
_DATE = re.compile(r"\s*(1[5-9][0-9]{2}|20[0-9]{2})[01][0-9][0-3][0-9]\s*")

_ALIASES = {
    "albumartist": "album_artist",
    "album": "release",
    "artist": "artist_name",
    "bpm": "bpm_tag",
    "tbpm": "bpm_tag",
    "tempo": "bpm_tag",
    "tmpo": "bpm_tag",
    "date": "year",
    "tdrc": "year",
    "genre": "genre_tags",
    "isrc": "isrc",
    "tsrc": "isrc",
    "musicbrainztrackid": "recording_mbid",
    "musicbrainzrecordingid": "recording_mbid",
    "musicbrainzartistid": "artist_mbid",
    "musicbrainzalbumid": "release_mbid",
    "musicbrainzreleaseid": "release_mbid",
    "title": "title",
    "ufid": "recording_mbid",
    "year": "year",
}
"""Our name of a tag whose letters are these."""


@dataclass(frozen=True)
class Tags:
    """Tags of one file: the columns of ``library_tracks`` of the same names; None where there is none.

    Attributes
    ----------
    title, artist_name, album_artist, release
        One line of text, trimmed, of at most `MAX_CHARACTERS`; of several values the first.
    year
        First year in the date.
    isrc
        Twelve characters, upper case, no hyphens.
    recording_mbid, artist_mbid, release_mbid
        MusicBrainz ids, lower case; of several artists the first.
    bpm_tag
        `MIN_TEMPO_BPM` to `MAX_TEMPO_BPM`.
    genre_tags
        As written, each once.
    """

    title: str | None = None
    artist_name: str | None = None
    album_artist: str | None = None
    release: str | None = None
    year: int | None = None
    isrc: str | None = None
    recording_mbid: str | None = None
    artist_mbid: str | None = None
    release_mbid: str | None = None
    bpm_tag: float | None = None
    genre_tags: tuple[str, ...] = ()


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Tags of an audio file; those that are broken are missing.

    Raises
    ------
    InputError
        Only what `open_regular` raises.
    """
    found: dict[str, list[str]] = {}
    with open_regular(path) as file:
        for key, value in (*_tinytag_fields(file), *_ffmpeg_fields(file)):
            name = _ALIASES.get(re.sub(r"[^a-z]", "", key.lower()))
            if name:
                found.setdefault(name, []).extend(_UFID.findall(value) if key == "ufid" else value.split("\0"))
    texts = {
        name: _first(map(_clean, found.get(name, ()))) for name in ("title", "artist_name", "album_artist", "release")
    }
    return Tags(
        **texts,
        year=_first(map(_year, found.get("year", ()))),
        isrc=_first(map(_isrc, found.get("isrc", ()))),
        recording_mbid=_first(map(_uuid, found.get("recording_mbid", ()))),
        artist_mbid=_first(map(_uuid, found.get("artist_mbid", ()))),
        release_mbid=_first(map(_uuid, found.get("release_mbid", ()))),
        bpm_tag=_first(map(_tempo_bpm, found.get("bpm_tag", ()))),
        genre_tags=tuple(dict.fromkeys(filter(None, map(_clean, found.get("genre_tags", ())))))[:MAX_GENRES],
    )


class _Bounded:
    """A file whose `read` takes no more memory than the file has bytes, whatever size a tag claims."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        # past the end, where what follows reads nothing, rather than to numbers the system refuses
        bounded = min(offset, self._size) if whence in (SEEK_SET, SEEK_CUR) else offset
        return self._file.seek(bounded, whence)

    def tell(self) -> int:
        return self._file.tell()


def _tinytag_fields(file: BufferedReader) -> Iterator[tuple[str, str]]:
    import tinytag

    try:
        tag = tinytag.TinyTag.get(file_obj=_Bounded(file), duration=False)  # type: ignore[arg-type]
    except (tinytag.TinyTagException, OSError, ValueError, ArithmeticError, LookupError, RecursionError):
        return
    for key in ("title", "artist", "albumartist", "album", "year", "genre"):
        value = getattr(tag, key)
        if value is not None:
            yield key, str(value)
    for key, values in tag.other.items():
        yield from ((key, str(value)) for value in values)


def _ffmpeg_fields(file: BufferedReader) -> Iterator[tuple[str, str]]:
    """Fields of MP4 files that have them as FFmpeg writes them, under names of their own."""
    file.seek(0)
    if file.read(8)[4:] != b"ftyp":
        return
    import av
    from av.error import FFmpegError

    file.seek(0)
    try:
        with av.open(
            file, mode="r", format="mov", metadata_errors="replace", options={"protocol_whitelist": "none"}
        ) as container:
            yield from container.metadata.items()
    except (FFmpegError, ValueError):
        return


def _first(values: Iterable[_T | None]) -> _T | None:
    return next((value for value in values if value is not None), None)


def _clean(value: str) -> str | None:
    """Text on one line: no control or direction characters, no half characters."""
    kept = []
    for character in value[: 4 * MAX_CHARACTERS]:
        category = unicodedata.category(character)
        if category in {"Cc", "Cs", "Zl", "Zp"}:
            kept.append(" ")
        elif category != "Cf" or character in "\u200c\u200d":  # joiners belong to words of several scripts
            kept.append(character)
    return " ".join("".join(kept).split())[:MAX_CHARACTERS].strip() or None


def _year(value: str) -> int | None:
    match = _DATE.fullmatch(value) or _YEAR.search(value)
    return int(match[1]) if match else None


def _isrc(value: str) -> str | None:
    match = _ISRC.search(re.sub(r"[-\u2010-\u2015]", "", value.upper()))
    return match[0] if match else None


def _uuid(value: str) -> str | None:
    return next((uuid for uuid in _UUID.findall(value.lower()) if uuid != _NO_UUID), None)


def _tempo_bpm(value: str) -> float | None:
    try:
        tempo = float(value.strip().replace(",", "."))
    except ValueError:
        return None
    return tempo if math.isfinite(tempo) and MIN_TEMPO_BPM <= tempo <= MAX_TEMPO_BPM else None
