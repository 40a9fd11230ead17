"""Listening histories from Last.fm in the formats of common exporters. Last.fm itself has no export.

- lastfm.ghan.nl (formerly mainstream.ghan.nl). The header is
  ``uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid``. All fields below the header are quoted.
- Other exporters whose header contains columns for artist, track and time.
- lastfm-to-csv (benjaminbenben.com): ``artist,album,title,22 Mar 2021 16:55`` without a header and without quotes. The
  exporter removes commas and quotation marks from names.
- lastexport.py (``exported_tracks.txt``): no header; time, title, artist, album and the MusicBrainz ids of recording,
  artist and album, separated by tabs.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from reprise.lib.annotations.stream import Reject, check_line, excerpt, read_blocks
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry, PlayCounter, clean_mbid, clean_text

_DATE = re.compile(r"[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4},? [0-9]{2}:[0-9]{2}(:[0-9]{2})?")
_SECONDS = re.compile(r"[0-9]{1,13}")
_COLUMN_NAMES = {
    "artist": ("artist", "artist_name", "artistname"),
    "title": ("track", "title", "track_name", "trackname", "song", "name"),
    "release": ("album", "album_name", "albumname", "release"),
    "recording_mbid": ("track_mbid", "recording_mbid", "trackmbid"),
    "played_at": ("uts", "date", "timestamp", "time", "utc_time", "played_at", "datetime"),
}


@dataclass(frozen=True)
class _Layout:
    """Separator, number of fields in a line, and column index of each field; None for a field that is not written."""

    separator: str
    width: int
    columns: dict[str, int | None]

    def field(self, fields: list[str], name: str) -> str | None:
        column = self.columns[name]
        return None if column is None else fields[column]


def read_lastfm(stream: BinaryIO) -> Iterator[Entry | Reject]:
    """Read a history. Yield all rejects, then one entry per song with its number of plays.

    A line without a time is the track that was playing during the export. It is not counted.
    Rejects: ``bad_fields``, ``bad_play`` (no artist or no title), ``line_too_long``, ``nul_byte``.

    Raises
    ------
    InputError
        ``unknown_format``, ``bad_fields``, ``line_too_long`` or ``nul_byte`` if the first line has no known format,
        ``empty_file`` for a file without lines, ``too_many_songs`` for more than a million different songs.
    """
    counter = PlayCounter()
    layout: _Layout | None = None
    for block in read_blocks(stream):
        if isinstance(block, Reject):
            yield block
            continue
        for number, line in block.lines():
            if layout is None:
                layout, is_header = _detect_layout(line)
                if is_header:
                    continue
            try:
                entry = _parse_play(number, line, layout)
            except InputError as error:
                yield Reject(number, error.kind, error.message, excerpt(line))
                continue
            if entry is not None:
                counter.add(entry)
    if layout is None:
        raise InputError("empty_file", "the file is empty: export the history again or remove the file")
    yield from counter.entries()


def looks_like_lastfm(line: bytes) -> bool:
    """Return whether ``line`` can be the first line of a history from Last.fm."""
    try:
        _detect_layout(line)
    except InputError:
        return False
    return True


def _detect_layout(line: bytes) -> tuple[_Layout, bool]:
    """Return the layout of a file with this first line, and whether the line is a header."""
    text = check_line(line).decode("utf-8", "replace")
    for separator in ",;\t":
        fields = _split_fields(text, separator)
        names = [re.sub(r"\W+", "_", field.strip().lower()) for field in fields]
        columns = {
            field: next((names.index(name) for name in known if name in names), None)
            for field, known in _COLUMN_NAMES.items()
        }
        if None not in (columns["artist"], columns["title"], columns["played_at"]):
            return _Layout(separator, len(fields), columns), True
    fields = _split_fields(text, ",")
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


def _split_fields(text: str, separator: str) -> list[str]:
    if separator == "\t":  # tab-separated fields are not quoted
        return text.split("\t")
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error as error:
        raise InputError("bad_fields", f"expected fields separated by {separator!r}: {error}") from None


def _parse_play(number: int, line: bytes, layout: _Layout) -> Entry | None:
    """Return the entry of one play, or None for the track that was playing during the export."""
    fields = _split_fields(check_line(line).decode("utf-8", "replace"), layout.separator)
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
