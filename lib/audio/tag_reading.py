"""Read the tags of audio files of any format into one set of checked fields. An invalid value counts as missing.

tinytag reads most tags. FFmpeg reads the M4A fields that tinytag ignores. The tag names of MusicBrainz identifiers in
each format are taken from the documentation of MusicBrainz Picard, appendix "Tag Mapping". Most formats call the
recording id a track id.
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
"""Maximum number of characters of a text from a tag. Longer texts are cut."""

MAX_GENRES = 64
MIN_TEMPO_BPM, MAX_TEMPO_BPM = 20.0, 400.0

_T = TypeVar("_T")
_UUID_PATTERN = re.compile(r"(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])")
_NULL_UUID = "00000000-0000-0000-0000-000000000000"
_UFID_PATTERN = re.compile(r"https?://musicbrainz\.org\0+(.{36})", re.IGNORECASE)
_ISRC_PATTERN = re.compile(r"(?<![A-Z0-9])[A-Z]{2}[A-Z0-9]{3}[0-9]{7}(?![A-Z0-9])")
_YEAR_PATTERN = re.compile(r"(?<![0-9])(1[5-9][0-9]{2}|20[0-9]{2})(?![0-9])")
_COMPACT_DATE_PATTERN = re.compile(r"\s*(1[5-9][0-9]{2}|20[0-9]{2})[01][0-9][0-3][0-9]\s*")

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
"""Field of `Tags` by normalised tag name: in lower case, without characters other than letters."""


@dataclass(frozen=True)
class Tags:
    """Tags of one file, named as the columns of ``library_tracks``. A missing tag is None.

    Attributes
    ----------
    title, artist_name, album_artist, release
        One line of text, stripped, at most `MAX_CHARACTERS` long. If a tag has several values, the first one is used.
    year
        First year in the date tag.
    isrc
        Twelve characters, upper case, without hyphens.
    recording_mbid, artist_mbid, release_mbid
        MusicBrainz ids in lower case. If a tag has several ids, the first one is used.
    bpm_tag
        Tempo in BPM, from `MIN_TEMPO_BPM` to `MAX_TEMPO_BPM`.
    genre_tags
        Genre names as spelled in the file, cleaned like ``title``, without duplicates; at most `MAX_GENRES` names.
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
    """Read the tags of an audio file. Damaged tags count as missing.

    Raises
    ------
    InputError
        Only the errors of `open_regular`.
    """
    found: dict[str, list[str]] = {}
    with open_regular(path) as file:
        for key, value in (*_tinytag_fields(file), *_ffmpeg_fields(file)):
            name = _ALIASES.get(re.sub(r"[^a-z]", "", key.lower()))
            if name:
                found.setdefault(name, []).extend(_UFID_PATTERN.findall(value) if key == "ufid" else value.split("\0"))
    texts = {
        name: _first(map(_clean_text, found.get(name, ())))
        for name in ("title", "artist_name", "album_artist", "release")
    }
    return Tags(
        **texts,
        year=_first(map(_parse_year, found.get("year", ()))),
        isrc=_first(map(_parse_isrc, found.get("isrc", ()))),
        recording_mbid=_first(map(_parse_uuid, found.get("recording_mbid", ()))),
        artist_mbid=_first(map(_parse_uuid, found.get("artist_mbid", ()))),
        release_mbid=_first(map(_parse_uuid, found.get("release_mbid", ()))),
        bpm_tag=_first(map(_parse_tempo_bpm, found.get("bpm_tag", ()))),
        genre_tags=tuple(dict.fromkeys(filter(None, map(_clean_text, found.get("genre_tags", ())))))[:MAX_GENRES],
    )


class _BoundedFile:
    """A file wrapper. `read` requests at most the remaining bytes of the file, even if a tag declares a larger size."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        # limit the offset to the end of the file, because the system rejects very large offsets
        bounded = min(offset, self._size) if whence in (SEEK_SET, SEEK_CUR) else offset
        return self._file.seek(bounded, whence)

    def tell(self) -> int:
        return self._file.tell()


def _tinytag_fields(file: BufferedReader) -> Iterator[tuple[str, str]]:
    import tinytag

    try:
        tag = tinytag.TinyTag.get(file_obj=_BoundedFile(file), duration=False)  # type: ignore[arg-type]
    except (tinytag.TinyTagException, OSError, ValueError, ArithmeticError, LookupError, RecursionError):
        return
    for key in ("title", "artist", "albumartist", "album", "year", "genre"):
        value = getattr(tag, key)
        if value is not None:
            yield key, str(value)
    for key, values in tag.other.items():
        yield from ((key, str(value)) for value in values)


def _ffmpeg_fields(file: BufferedReader) -> Iterator[tuple[str, str]]:
    """Yield name and value of each field that FFmpeg reads from an MP4 file. Files of other formats yield no fields.

    When FFmpeg writes tags, it gives some fields its own names. tinytag ignores these fields.
    """
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


def _clean_text(value: str) -> str | None:
    """Join the lines of a text, remove control and format characters and lone surrogates, cut to `MAX_CHARACTERS`."""
    kept = []
    for character in value[: 4 * MAX_CHARACTERS]:
        category = unicodedata.category(character)
        if category in {"Cc", "Cs", "Zl", "Zp"}:
            kept.append(" ")
        elif category != "Cf" or character in "\u200c\u200d":  # Persian and Hindi need the zero-width (non-)joiner
            kept.append(character)
    return " ".join("".join(kept).split())[:MAX_CHARACTERS].strip() or None


def _parse_year(value: str) -> int | None:
    match = _COMPACT_DATE_PATTERN.fullmatch(value) or _YEAR_PATTERN.search(value)
    return int(match[1]) if match else None


def _parse_isrc(value: str) -> str | None:
    match = _ISRC_PATTERN.search(re.sub(r"[-\u2010-\u2015]", "", value.upper()))
    return match[0] if match else None


def _parse_uuid(value: str) -> str | None:
    return next((uuid for uuid in _UUID_PATTERN.findall(value.lower()) if uuid != _NULL_UUID), None)


def _parse_tempo_bpm(value: str) -> float | None:
    try:
        tempo = float(value.strip().replace(",", "."))
    except ValueError:
        return None
    return tempo if math.isfinite(tempo) and MIN_TEMPO_BPM <= tempo <= MAX_TEMPO_BPM else None
