"""Titles of recordings: the title of the work, and the kind of version that marks such as "(Live at Leeds)" name.

A mark stands in brackets or after a dash. Text in the first part of a title is never a mark: "Live and Let Die" is the
title of a work. The words of the marks are compared without case and accents, in several languages.
"""

import re
from typing import NamedTuple

from reprise.lib.playlists.matching import normalise

KINDS = (
    *("studio", "live", "remaster", "acoustic", "demo", "remix", "instrumental", "karaoke", "a_cappella"),
    *("radio_edit", "extended", "alternate", "cover"),
)
"""Kinds of versions."""

_MARKS: tuple[tuple[str, str], ...] = (
    ("karaoke", r"\bkaraoke\b|カラオケ|караоке"),
    ("cover", r"\b(?:cover|cover version|tribute|originally performed by .*|as made famous by .*)$"),
    ("demo", r"\b(?:demo|demos|maqueta|maquette|demoversion|demoaufnahme)\b|デモ|데모|демо"),
    (
        "live",
        r"^live$|^live (?:at|in|from|on|version|versie|session|sessions|recording|performance|acoustic|unplugged|edit|"
        r"mix|take|bootleg|aus|im|auf|bei|fra|pa|a|au|en|de|do|da|\d+)\b|\blive$|\blive version$|\blive \d{4}$|"
        r"\b(?:en vivo|ao vivo|en directo|en direct|dal vivo|liveversion|en concert|in concert|en concierto"
        r"|im konzert|in concerto|na zywo|zive|canli|na vivo)\b|ライブ|ライヴ|라이브|现场|現場|концерт|вживую|живое",
    ),
    (
        "acoustic",
        r"\b(?:acoustic|acoustical|akustik\w*|akustisch\w*|akustisk|acustico|acustica|acoustique|akustyczn\w*|unplugged)\b"
        r"|アコースティック|어쿠스틱|акусти",
    ),
    ("a_cappella", r"\b(?:a cappella|acapella|a capella|acappella)\b|アカペラ"),
    ("instrumental", r"\binstrumental\w*\b|\bstrumentale\b|インスト|기악|инструментал"),
    (
        "studio",
        r"^(?:studio|album|lp|single|original|originale?) (?:version|mix|recording|edit)$|^studio$|^albumversion$",
    ),
    ("radio_edit", r"\b(?:radio|single|video|short|clean) (?:edit|version|mix|cut)\b|^edit(?:ed)?$|^edited version$"),
    ("extended", r"\b(?:extended|12 inch|long version|maxi)\b"),
    (
        "remix",
        r"\b(?:mix|dub|vip)$|\b(?:re ?mix\w*|rmx)\b|リミックス|리믹스|ремикс",
    ),
    (
        "alternate",
        r"\b(?:alternate|alternative|alt)(?: \w+)? (?:take|version|mix)$|\bouttake\b|^take \d+$|\brehearsal\b"
        r"|^(?:early|first|rough) (?:version|mix)$",
    ),
    (
        "remaster",
        r"\b(?:re ?master\w*|remasteri[sz]ad[oa]|rimasterizzat[oa]|remasterise\w*|digital master)\b|リマスター|리마스터"
        r"|ремастер",
    ),
)
"""Patterns of the marks of each kind; of several kinds in one title, the first in this order is the kind."""

_NEUTRAL = re.compile(
    r"^(?:feat|ft|featuring|with|prod|explicit|clean|mono|stereo|bonus track|hidden track|deluxe|version|from"
    r"|\d{4}(?: version)?$)\b"
)
_RELEASES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "live",
        re.compile(r"\blive (?:at|in|from|on)\b|\bin concert\b|\ben vivo\b|\bao vivo\b|\bdal vivo\b|\ben directo\b"),
    ),
    ("acoustic", re.compile(r"\bunplugged\b")),
    ("demo", re.compile(r"\bdemos\b|^demo$")),
    ("karaoke", re.compile(r"\bkaraoke\b")),
)
_COMPILED = tuple((kind, re.compile(pattern)) for kind, pattern in _MARKS)
_SEPARATORS = re.compile(r"[()\[\]{}]|\s[-–—~]\s|（|）|［|］|【|】")
_NUMBER = re.compile(r"\s*\d{1,3}\s*")
_TRACK_NUMBER = re.compile(r"^\s*0\d\s*[-._)]?\s*(?=\S*[^\W\d])")
_GENERIC = re.compile(
    r"(?:(?:audio ?)?(?:track|titel|pista|piste|faixa|traccia|spor|spar)|untitled|unknown|unbenannt|sans titre"
    r"|sin titulo|senza titolo|sem titulo|intro|outro|interlude|skit|prelude|prologue|epilogue|introduction|no title"
    r"|recording|audio|new recording|bonus track|hidden track|トラック|трек|дорожка)(?: ?\d+)*|\d{1,2}|"
)


class ParsedTitle(NamedTuple):
    """Title of a work, normalised, or None if the title says nothing; and the kind that its marks name, or None."""

    work_title: str | None
    kind: str | None


def parse_title(title: str | None, release: str | None = None) -> ParsedTitle:
    """Separate the title of the work from the marks of the version.

    Parameters
    ----------
    title
        Title tag, or the name of the file.
    release
        Album title. It names the kind if the title does not, e.g. "Live at Leeds" or "Unplugged".

    Returns
    -------
    ParsedTitle
        ``work_title`` is None if the title is missing or generic, as "Track 07" and "Intro" are, which many unrelated
        recordings have.
    """
    parts = [part for part in _SEPARATORS.split(title or "") if part.strip()]
    if len(parts) > 1 and _NUMBER.fullmatch(parts[0]):  # a file name such as "07 - Title"
        parts = parts[1:]
    if not parts:
        return ParsedTitle(None, None)
    kept, kinds = [normalise("", _TRACK_NUMBER.sub("", parts[0]))[1]], []
    for part in parts[1:]:
        words = normalise("", part)[1]
        kind = _find_kind(words)
        if kind:
            kinds.append(kind)
        elif not _NEUTRAL.match(words):
            kept.append(words)
    work_title = " ".join(kept)
    order = [kind for kind, _ in _MARKS]
    kind = min(kinds, key=order.index) if kinds else None
    if kind is None and release:
        words = normalise("", release)[1]
        kind = next((name for name, pattern in _RELEASES if pattern.search(words)), None)
    return ParsedTitle(None if _GENERIC.fullmatch(work_title) else work_title, kind)


def _find_kind(words: str) -> str | None:
    return next((kind for kind, pattern in _COMPILED if pattern.search(words)), None)


def normalise_artist(artist_name: str | None) -> str | None:
    """Return the name of an artist for comparison, without featured artists; None if it is unknown."""
    name = normalise(artist_name or "", "")[0]
    return None if name in ("", "unknown artist", "unknown", "various artists", "various") else name
