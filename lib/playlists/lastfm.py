"""Listening histories from Last.fm, whose own site exports none: as the usual exporters write them.

- lastfm.ghan.nl (formerly mainstream.ghan.nl): ``uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid``,
  all but the header quoted;
- other exporters with a header that names artist, track and time;
- lastfm-to-csv (benjaminbenben.com): no header, nothing quoted, ``artist,album,title,22 Mar 2021 16:55``; commas and
  quotation marks are left out of the names;
- lastexport.py (``exported_tracks.txt``): no header, between tabs time, title, artist, album and the MusicBrainz ids of
  recording, artist and album.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject, blocks, excerpt, sound_line
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, Tally, clean_mbid, clean_text

_DATE = re.compile(r"[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4},? [0-9]{2}:[0-9]{2}(:[0-9]{2})?")
_SECONDS = re.compile(r"[0-9]{1,13}")
_NAMES = {
    "artist": ("artist", "artist_name", "artistname"),
    "title": ("track", "title", "track_name", "trackname", "song", "name"),
    "release": ("album", "album_name", "albumname", "release"),
    "recording_mbid": ("track_mbid", "recording_mbid", "trackmbid"),
    "played_at": ("uts", "date", "timestamp", "time", "utc_time", "played_at", "datetime"),
}


@dataclass(frozen=True)
class _Layout:
    """Which column holds what; None for what the exporter does not write."""

    separator: str
    width: int
    columns: dict[str, int | None]

    def field(self, fields: list[str], name: str) -> str | None:
        column = self.columns[name]
        return None if column is None else fields[column]


def read_lastfm(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read a history; one entry a song, with its plays, after all rejects.

    A line without a time is the track that was playing during the export: no play.
    Rejects: ``bad_fields``, ``bad_play`` (no artist or no title), ``line_too_long``, ``nul_byte``.

    Raises
    ------
    InputError
        ``unknown_format`` when the first line is like none of the above, ``empty_file`` when there is none,
        ``too_many_songs`` beyond a million different ones.
    """
    tally = Tally()
    layout: _Layout | None = None
    for block in blocks(stream):
        if isinstance(block, Reject):
            yield block
            continue
        for number, line in block.lines():
            if layout is None:
                layout, is_header = _layout(line)
                if is_header:
                    continue
            try:
                entry = _entry(number, line, layout)
            except InputError as error:
                yield Reject(number, error.kind, error.message, excerpt(line))
                continue
            if entry is not None:
                tally.add(entry)
    if layout is None:
        raise InputError("empty_file", "has no line: export the history again or remove the file")
    yield from tally.entries()


def looks_like_lastfm(line: bytes) -> bool:
    """Whether a file's first line is one of a history from Last.fm."""
    try:
        _layout(line)
    except InputError:
        return False
    return True


def _layout(line: bytes) -> tuple[_Layout, bool]:
    """Layout that the first line shows, and whether that line is a header."""
    text = sound_line(line).decode("utf-8", "replace")
    for separator in ",;\t":
        fields = _fields(text, separator)
        names = [re.sub(r"\W+", "_", field.strip().lower()) for field in fields]
        columns = {
            field: next((names.index(name) for name in known if name in names), None) for field, known in _NAMES.items()
        }
        if None not in (columns["artist"], columns["title"], columns["played_at"]):
            return _Layout(separator, len(fields), columns), True
    fields = _fields(text, ",")
    if len(fields) == 4 and (not fields[3].strip() or _DATE.fullmatch(fields[3].strip())):
        columns = {"artist": 0, "release": 1, "title": 2, "played_at": 3, "recording_mbid": None}
        return _Layout(",", 4, columns), False
    fields = text.split("\t")
    if len(fields) == 7 and _SECONDS.fullmatch(fields[0]):
        columns = {"played_at": 0, "title": 1, "artist": 2, "release": 3, "recording_mbid": 4}
        return _Layout("\t", 7, columns), False
    raise InputError(
        "unknown_format", "expected columns for artist, track and time: export the history with lastfm.ghan.nl"
    )


def _fields(text: str, separator: str) -> list[str]:
    if separator == "\t":  # nobody quotes what stands between tabs
        return text.split("\t")
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error as error:
        raise InputError("bad_fields", f"expected fields with {separator!r} between them: {error}") from None


def _entry(number: int, line: bytes, layout: _Layout) -> Entry | None:
    """Entry of one play; None for the track that is only playing now."""
    fields = _fields(sound_line(line).decode("utf-8", "replace"), layout.separator)
    if len(fields) != layout.width:
        raise InputError("bad_fields", f"expected {layout.width} fields, got {len(fields)}")
    if not (layout.field(fields, "played_at") or "").strip():
        return None
    artist, title = clean_text(layout.field(fields, "artist")), clean_text(layout.field(fields, "title"))
    if artist is None or title is None:
        raise InputError("bad_play", "expected an artist and a title")
    return Entry(
        position=number,
        artist_name=artist,
        title=title,
        release=clean_text(layout.field(fields, "release")),
        recording_mbid=clean_mbid(layout.field(fields, "recording_mbid")),
    )
