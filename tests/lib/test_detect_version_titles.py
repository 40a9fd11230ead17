"""Titles of recordings: what is the title of the work, and which kind of version they name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.detect.version_titles import KINDS, normalise_artist, parse_title
from reprise.lib.music.sample.work_versions import MARKS


@pytest.mark.parametrize(
    ("title", "work_title", "kind"),
    [
        ("Yesterday", "yesterday", None),
        ("Yesterday (Live at Wembley 1994)", "yesterday", "live"),
        ("Yesterday - Live in Tokyo, 1979", "yesterday", "live"),
        ("Yesterday [Live]", "yesterday", "live"),
        ("Yesterday (En Vivo)", "yesterday", "live"),
        ("曲（ライブ）", "曲", "live"),
        ("Песня (Акустика)", "песня", "acoustic"),
        ("Live And Let Die", "live and let die", None),
        ("Guns N' Roses - Live And Let Die", "guns n roses live and let die", None),
        ("Alive (Live)", "alive", "live"),
        ("Yesterday - 2011 Remaster", "yesterday", "remaster"),
        ("Yesterday (2003 Digital Remaster)", "yesterday", "remaster"),
        ("Yesterday (Live) [Remastered 2009]", "yesterday", "live"),
        ("Söng (Acústico)", "song", "acoustic"),
        ("Song (Akustikversion)", "song", "acoustic"),
        ("Song (MTV Unplugged)", "song", "acoustic"),
        ("Song (Demo 1987)", "song", "demo"),
        ("Song (Maqueta)", "song", "demo"),
        ("Democracy", "democracy", None),
        ("Song (Democracy)", "song democracy", None),
        ("Song (feat. X) (Radio Edit)", "song", "radio_edit"),
        ("Song (Club Mix)", "song", "remix"),
        ("Song (Original Mix)", "song", "studio"),
        ("Song (Album Version)", "song", "studio"),
        ("Song (Instrumental)", "song", "instrumental"),
        ("Song (Karaoke Version)", "song", "karaoke"),
        ("Hurt (Johnny Cash Cover)", "hurt", "cover"),
        ("Under Cover", "under cover", None),
        ("Song (Extended Mix)", "song", "extended"),
        ("Song (Alternate Take)", "song", "alternate"),
        ("Why (Don't You)", "why dont you", None),
        ('Song - From "The Movie"', "song", None),
        ("Living (Deluxe Edition)", "living", None),
        ("07 - Title", "title", None),
        ("07. Title", "title", None),
        ("99 Luftballons", "99 luftballons", None),
        ("1999", "1999", None),
        ("Track 07", None, None),
        ("07", None, None),
        ("Intro", None, None),
        ("Intro (Live)", None, "live"),
        ("Pista 3", None, None),
        ("", None, None),
        ("  ", None, None),
        (None, None, None),
    ],
)
def test_title(title: str | None, work_title: str | None, kind: str | None) -> None:
    assert parse_title(title) == (work_title, kind)


@pytest.mark.parametrize(("kind", "marks"), MARKS.items())
def test_marks_in_many_languages(kind: str, marks: tuple[str, ...]) -> None:
    for mark in filter(None, marks):
        parsed = parse_title("Blue Moon" + mark.format(place="São Paulo", year=1998))
        assert parsed == ("blue moon", None if mark == " [Explicit]" else kind), mark


@pytest.mark.parametrize(
    ("release", "kind"),
    [("Live at Leeds", "live"), ("MTV Unplugged", "acoustic"), ("The Demos", "demo"), ("Alive", None), (None, None)],
)
def test_the_album_names_the_kind_if_the_title_does_not(release: str | None, kind: str | None) -> None:
    assert parse_title("Song", release).kind == kind
    assert parse_title("Song (Remastered)", release).kind == "remaster"


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    work_title, kind = parse_title(text, text)
    assert work_title is None or work_title.strip() == work_title != ""
    assert kind is None or kind in KINDS


@pytest.mark.parametrize(
    ("artist", "normalised"),
    [("The Foxes", "foxes"), ("A feat. B", "a"), ("Unknown Artist", None), ("Various Artists", None), ("", None)],
)
def test_artist(artist: str, normalised: str | None) -> None:
    assert normalise_artist(artist) == normalised
    assert normalise_artist(None) is None
