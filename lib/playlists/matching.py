"""Which known track an entry of a playlist or a history is: by MusicBrainz id, ISRC, or artist and title.

Names are compared after `normalise`, which drops what differs between two spellings of one recording, and keeps what
tells two recordings apart:

- dropped: case, accents, punctuation, a leading "the", guests ("feat. X"), and marks of an edition: remastered, mono,
  stereo, explicit, clean, radio edit, single, album or LP version, original mix, bonus track;
- kept: live, acoustic, demo, instrumental, extended, remix and whatever else stands in brackets or after a dash;
- "&" and a "+" between names are "and". Scripts other than Latin stay, with the marks that make their letters.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from reprise.lib.playlists.entries import Entry, clean_isrc, clean_mbid

_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ħ": "h", "ŧ": "t", "ı": "i"}
)
# accents of Latin, Greek and Cyrillic; other scripts have their vowels and voicing marks elsewhere
_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff]")
_APOSTROPHES = re.compile("['’‘ʼ`´′]")
# of initials: R.E.M. is REM, but J.Cole is J. Cole
_DOTS = re.compile(r"(?<=\b\w)\.(?=\w\b|\W|$)")
_AND = re.compile(r"&|(?<=\s)\+(?=\s)")
_TRAILING_THE = re.compile(r",\s*the\s*$")
_PARTS = re.compile(r"[()\[\]{}]|\s[-–—]\s")
# from here on patterns for words with one blank between them
_LEADING_THE = re.compile(r"(?:the )+(?=\S)")
_GUESTS = re.compile(r"(?:^|(?<= ))(?:feat|ft|featuring)(?: .*|$)")
_MARKS = re.compile(
    r"\b(?:(?:\d{4} )?(?:digital(?:ly)? )?re ?master(?:ed|ing)?(?: \d{2,4})?|mono|stereo|explicit|amended|bonus track"
    r"|(?:radio|single|album|lp|original|clean|edited) (?:edit|version|mix)|^(?:edit|clean|original)$)(?= |$)"
)
_BESIDE_MARKS = re.compile(r"(?:(?:digital(?:ly)?|version|edition|edit|mix|\d+(?:th|st|nd|rd)?|anniversary)(?: |$))*")


class Track(NamedTuple):
    """A known track; what is not known of it is None."""

    track_id: str
    recording_mbid: str | None
    isrc: str | None
    artist_name: str | None
    title: str | None


class Match(NamedTuple):
    """The track that an entry is, and by what: ``recording_mbid``, ``isrc`` or ``names``."""

    track_id: str
    how: str


class Matcher:
    """Known tracks by what entries may say of them.

    Parameters
    ----------
    tracks
        Of several that agree with an entry in the same way, the first is taken: give them in a stable order.
    """

    def __init__(self, tracks: Iterable[Track]) -> None:
        self._ids: dict[str, str] = {}
        for track_id, *said in tracks:
            for key in match_keys(*said):
                self._ids.setdefault(key, track_id)

    def match(self, entry: Entry) -> Match | None:
        """Return the track that ``entry`` is: by MusicBrainz id, else ISRC, else names; None when none fits."""
        for key in match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title):
            if key in self._ids:
                return Match(self._ids[key], key.partition(":")[0])
        return None


def match_keys(recording_mbid: str | None, isrc: str | None, artist_name: str | None, title: str | None) -> list[str]:
    """Keys of a recording, best first: ``recording_mbid:…``, ``isrc:…``, ``names:artist – title``, as far as known.

    An entry and a track are the same when they share one; for joins where a `Matcher` would be too large.
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
    """Key that tells the entries of a source apart: the best of `match_keys`, else ``path:…``, else ``title:…``."""
    keys = match_keys(entry.recording_mbid, entry.isrc, entry.artist_name, entry.title)
    if keys:
        return keys[0]
    return f"path:{entry.path}" if entry.path else f"title:{normalise('', entry.title or '')[1]}"


def normalise(artist_name: str, title: str) -> tuple[str, str]:
    """Artist and title as they are compared; equal for two spellings of one recording. See the module's text.

    What has neither letters nor digits ("!!!") stays as it is. Applying it twice changes nothing more.
    """
    artist = _LEADING_THE.sub("", _without_guests(_words(_TRAILING_THE.sub("", _folded(artist_name)))))
    name = _LEADING_THE.sub("", _title_words(_folded(title)))
    return artist or " ".join(_folded(artist_name).split()), name or " ".join(_folded(title).split())


def _folded(text: str) -> str:
    """Text without case, accents and apostrophes, and with "and" for its signs."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(_LETTERS)
        text = _ACCENTS.sub("", text)
    text = _AND.sub(" and ", _DOTS.sub("", _APOSTROPHES.sub("", text.casefold())))
    return unicodedata.normalize("NFC", text)


def _words(text: str) -> str:
    """Letters, digits and the marks that belong to letters, with one blank for all that is between them."""
    if not text.isascii():
        text = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in text)
        return " ".join(text.split())
    return " ".join(re.findall("[a-z0-9]+", text))


def _without_guests(words: str) -> str:
    return _GUESTS.sub("", words).rstrip() or words


def _title_words(text: str) -> str:
    """Words of a title: of its parts in brackets or after a dash, without guests and marks of an edition."""
    first, *others = [words for part in _PARTS.split(text) if (words := _words(part))] or [""]
    return " ".join(filter(None, [_without_guests(first), *map(_unmarked, others)]))


def _unmarked(words: str) -> str:
    """What tells recordings apart in a part of a title, or nothing."""
    words = _GUESTS.sub("", words).rstrip()
    rest = " ".join(_MARKS.sub(" ", words).split())
    if rest != words and _BESIDE_MARKS.fullmatch(rest):
        return ""
    return rest.removesuffix(" version")
