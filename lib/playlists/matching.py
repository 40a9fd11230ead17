"""Matching of playlist and history entries with known tracks by MusicBrainz id, ISRC, or artist and title.

Names are compared after `normalise`. It removes common differences between two spellings of one recording and keeps the
differences between two recordings:

- removed: case, accents, punctuation, a leading "the", featured artists ("feat. X"), and edition marks in brackets or
  after a dash: remastered, mono, stereo, explicit, clean, radio edit, single, album or LP version, original mix, bonus
  track;
- kept: words such as live, acoustic, demo, instrumental, extended and remix, and any other text in brackets or after a
  dash;
- replaced: "&", and "+" between spaces, become "and";
- kept: non-Latin scripts, with the combining marks of their letters.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from reprise.lib.playlists.entries import Entry, clean_isrc, clean_mbid

_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i"}
)
# accents of Latin, Greek and Cyrillic, but not the combining vowels and voicing marks of other scripts
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff]")
_APOSTROPHES = re.compile("['’‘ʼ`´′]")
# dots of initials: R.E.M. becomes REM, but J.Cole becomes J Cole
_DOTS = re.compile(r"(?<=\b\w)\.(?=\w\b|\W|$)")
_AND = re.compile(r"&|(?<=\s)\+(?=\s)")
_TRAILING_THE = re.compile(r",\s*the\s*$")
_PART_SEPARATORS = re.compile(r"[()\[\]{}]|\s[-–—]\s")
# the patterns below assume words separated by single spaces
_LEADING_THE = re.compile(r"(?:the )+(?=\S)")
_FEATURED_ARTISTS = re.compile(r"(?:^|(?<= ))(?:feat|ft|featuring)(?: .*|$)")
_EDITION_MARKS = re.compile(
    r"\b(?:(?:\d{4} )?(?:digital(?:ly)? )?re ?master(?:ed|ing)?(?: \d{2,4})?|mono|stereo|explicit|amended|bonus track"
    r"|(?:radio|single|album|lp|original|clean|edited) (?:edit|version|mix)|^(?:edit|clean|original)$)(?= |$)"
)
_EDITION_WORDS = re.compile(r"(?:(?:digital(?:ly)?|version|edition|edit|mix|\d+(?:th|st|nd|rd)?|anniversary)(?: |$))*")


class Track(NamedTuple):
    """A known track. Missing fields are None."""

    track_id: str
    recording_mbid: str | None
    isrc: str | None
    artist_name: str | None
    title: str | None


class Match(NamedTuple):
    """A matched track, and the kind of key that matched: ``recording_mbid``, ``isrc`` or ``names``."""

    track_id: str
    matched_by: str


class Matcher:
    """Index of known tracks by the keys of `match_keys`.

    Parameters
    ----------
    tracks
        Known tracks. If several tracks have the same key, the first track matches. Give them in a fixed order, so
        that each run gives the same matches.
    """

    def __init__(self, tracks: Iterable[Track]) -> None:
        self._ids: dict[str, str] = {}
        for track_id, *fields in tracks:
            for key in match_keys(*fields):
                self._ids.setdefault(key, track_id)

    def match(self, entry: Entry) -> Match | None:
        """Return the track of ``entry``, matched by MusicBrainz id, then ISRC, then names; None without a match."""
        for key in match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title):
            if key in self._ids:
                return Match(self._ids[key], key.partition(":")[0])
        return None


def match_keys(recording_mbid: str | None, isrc: str | None, artist_name: str | None, title: str | None) -> list[str]:
    """Return the keys of a recording, best first: ``recording_mbid:…``, ``isrc:…``, ``names:artist – title``.

    A missing or invalid field gives no key. Artist and title are normalised. An entry and a track match if they have a
    key in common. Use the keys for joins if a `Matcher` would not fit in memory.
    """
    keys = []
    if mbid := clean_mbid(recording_mbid):
        keys.append(f"recording_mbid:{mbid}")
    if code := clean_isrc(isrc):
        keys.append(f"isrc:{code}")
    artist, name = normalise(artist_name or "", title or "")
    if artist and name:
        keys.append(f"names:{artist} – {name}")
    return keys


def entry_key(entry: Entry) -> str:
    """Return the key that identifies an entry in its source.

    It is the first of `match_keys`. Without match keys it is ``path:…``, and without a path ``title:…``.
    """
    keys = match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title)
    if keys:
        return keys[0]
    return f"path:{entry.path}" if entry.path else f"title:{normalise('', entry.title or '')[1]}"


def normalise(artist_name: str, title: str) -> tuple[str, str]:
    """Return normalised artist and title for comparison: equal results for two spellings of one recording.

    The module's docstring lists the rules. A name without letters and digits ("!!!") is kept. The function is
    idempotent.
    """
    artist = _LEADING_THE.sub("", _drop_featured_artists(_split_words(_TRAILING_THE.sub("", _fold(artist_name)))))
    name = _LEADING_THE.sub("", _title_words(_fold(title)))
    artist, name = artist or " ".join(_fold(artist_name).split()), name or " ".join(_fold(title).split())
    # what was removed may have stood between a letter and its mark
    return unicodedata.normalize("NFC", artist), unicodedata.normalize("NFC", name)


def _fold(text: str) -> str:
    """Remove case, accents, apostrophes and the dots of initials from text, and replace the signs for "and"."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        text = _ACCENTS.sub("", text)
    text = _AND.sub(" and ", _DOTS.sub("", _APOSTROPHES.sub("", text.casefold())).strip())
    return unicodedata.normalize("NFC", text)


def _split_words(text: str) -> str:
    """Keep letters, their combining marks, and digits. Replace each run of other characters with one space."""
    if not text.isascii():
        text = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
        return " ".join(text.split())
    return " ".join(re.findall("[a-z0-9]+", text))


def _drop_featured_artists(words: str) -> str:
    return _FEATURED_ARTISTS.sub("", words).rstrip() or words


def _title_words(text: str) -> str:
    """Return the words of a title without featured artists, and without edition marks in brackets or after a dash."""
    first, *others = [words for part in _PART_SEPARATORS.split(text) if (words := _split_words(part))] or [""]
    return " ".join(filter(None, [_drop_featured_artists(first), *map(_drop_edition_marks, others)]))


def _drop_edition_marks(words: str) -> str:
    """Return a fragment of a title without featured artists, edition marks and a final "version". It can be empty."""
    words = _FEATURED_ARTISTS.sub("", words).rstrip()
    rest = " ".join(_EDITION_MARKS.sub(" ", words).split())
    if rest != words and _EDITION_WORDS.fullmatch(rest):
        return ""
    return rest.removesuffix(" version")
