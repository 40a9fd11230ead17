"""Normalised spellings of recordings, and matching of entries with tracks."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reprise.lib.playlists import Entry, Match, Matcher, Track, entry_key, match_keys, normalise

MBID, OTHER = "b1a9c0e9-d987-4042-ae91-78d6a3267d69", "01809552-4f87-45b0-afff-2c6f0730a3be"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("The Beatles", "Help!"), ("BEATLES", "help")),
        (("Beatles, The", "Yesterday"), ("The Beatles", "Yesterday")),
        (("The The", "The End"), ("the the", "End")),
        (("Simon & Garfunkel", "The Boxer"), ("Simon and Garfunkel", "Boxer")),
        (("Florence + the Machine", "X"), ("Florence & The Machine", "X")),
        (("Björk", "Jóga"), ("Bjork", "Joga")),
        (("Mø", "Łódź"), ("Mo", "Lodz")),
        (("Μίκης Θεοδωράκης", "Άξιον"), ("ΜΙΚΗΣ ΘΕΟΔΩΡΑΚΗΣ", "αξιον")),
        (("Кино", "Звёзда"), ("КИНО", "Звезда")),
        (("R.E.M.", "Nightswimming"), ("REM", "Nightswimming")),
        (("J. Cole", "x"), ("J.Cole", "x")),
        (("Guns N' Roses", "Don’t Cry"), ("Guns N Roses", "Dont Cry")),
        (("Jay-Z", "99 Problems"), ("Jay Z", "99  problems")),
        (("Tyler, The Creator", "See You Again"), ("Tyler The Creator", "See You Again")),
        (("A feat. B", "X"), ("A", "X (feat. B)")),
        (("A ft B & C", "X"), ("A (featuring B & C)", "X [ft. B]")),
        (("A", "X feat. B (Live)"), ("A", "X (Live)")),
        (("A", "X (Remastered 2009)"), ("A", "X - 2009 Remaster")),
        (("A", "X (2003 Digital Remaster)"), ("A", "X")),
        (("A", "X (Digitally Remastered 97)"), ("A", "X [Re-Mastered Version]")),
        (("A", "X (40th Anniversary Remaster)"), ("A", "X")),
        (("A", "X (Explicit Album Version)"), ("A", "X")),
        (("A", "X - Mono / Remastered"), ("A", "X (Stereo Version)")),
        (("A", "X (Radio Edit)"), ("A", "X – Single Version")),
        (("A", "X (LP Version)"), ("A", "X (Edit)")),
        (("A", "X [Explicit]"), ("A", "X (Clean)")),
        (("A", "X (Original Mix)"), ("A", "X (Bonus Track)")),
        (("A", "X (Live) [Remastered]"), ("A", "X - Live - 2011 Remaster")),
        (("A", "X (Live / 2011 Remaster)"), ("A", "X (Live Version)")),
        (("Rolling Stones", "(I Can't Get No) Satisfaction - Mono Version"), ("R", "I cant get no satisfaction")),
        (("宇多田ヒカル", "Ｆｉｒｓｔ　Ｌｏｖｅ（Remastered）"), ("宇多田ﾋｶﾙ", "First Love")),
        (("방탄소년단", "봄날"), ("방탄소년단", "봄날")),
    ],
)
def test_spellings_of_one_recording_are_equal(one: tuple[str, str], other: tuple[str, str]) -> None:
    artist = normalise(*one)[0] if one[0] != "Rolling Stones" else "r"
    assert (artist, normalise(*one)[1]) == normalise(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("X", "X (Live)"),
        ("X (Live)", "X (Acoustic)"),
        ("X", "X (Someone Remix)"),
        ("X (Someone Remix)", "X (Other Remix)"),
        ("X", "X (Extended Mix)"),
        ("X", "X - Demo"),
        ("X", "X (Instrumental)"),
        ("X", "X (Cover)"),
        ("X", "X (Version)"),
        ("X (Taylor's Version)", "X"),
        ("X, Pt. 1", "X, Pt. 2"),
        ("X (Part 1)", "X (Part 2)"),
        ("1999", "2000"),
        ("か", "が"),
        ("กา", "กำ"),
        ("की", "कि"),
        ("X", "X (2009)"),
    ],
)
def test_different_recordings_stay_different(one: str, other: str) -> None:
    assert normalise("A", one) != normalise("A", other)


@pytest.mark.parametrize(
    ("artist", "title", "expected"),
    [
        ("!!!", "???", ("!!!", "???")),
        ("", "", ("", "")),
        ("  ", "\t", ("", "")),
        ("The", "The", ("the", "the")),
        ("A", "(Remastered)", ("a", "remastered")),
        ("A", "Stereo", ("a", "stereo")),
        ("A", "Radio Edit", ("a", "radio edit")),
        ("A", "Feat. B", ("a", "feat b")),
        ("The Live", "Live - Live", ("live", "live live")),
        ("AC/DC", "T.N.T.", ("ac dc", "tnt")),
        ("ß", "Æ Œ", ("ss", "ae oe")),
    ],
)
def test_unusual_names_are_not_emptied(artist: str, title: str, expected: tuple[str, str]) -> None:
    assert normalise(artist, title) == expected


WORDS = st.sampled_from(
    ["The", "the", "feat.", "ft", "featuring", "(", ")", "[", "]", " - ", "-", "&", "+", ",", ".", "'", "Live",
     "Remastered", "2009", "Mono", "Version", "Radio", "Edit", "A", "b", "É", "İ", "ß", "ͅ", "\u3099", "か",
     "ﬁ", "Ⅷ", "ǆ", "ᾳ", "½"]
)  # fmt: skip
TEXT = st.lists(WORDS, max_size=8).map(" ".join) | st.lists(WORDS, max_size=8).map("".join) | st.text(max_size=20)


@given(TEXT, TEXT)
@example("", "かTHE:\u3099")
@settings(max_examples=1_000, deadline=None)
def test_normalise_is_idempotent(artist: str, title: str) -> None:
    once = normalise(artist, title)
    assert normalise(*once) == once


@given(st.text(max_size=20), st.text(max_size=20))
@example("", "+")
@settings(max_examples=200, deadline=None)
def test_case_and_whitespace_do_not_matter(artist: str, title: str) -> None:
    assert normalise(f" {artist}  ", f"\u00a0{title}\n") == normalise(artist, title)
    if artist.casefold() == artist.upper().casefold():
        assert normalise(artist.upper(), title) == normalise(artist, title)


# ---------------------------------------------------------------- matching

TRACKS = [
    Track("LB1", MBID, "GBAYK9700020", "Björk", "Jóga"),
    Track("LB2", OTHER, None, "Björk", "Joga (Remastered)"),
    Track("LB3", None, "USABC1234567", "X", "Y"),
    Track("LB4", None, None, None, "No Artist"),
    Track("LB5", "rubbish", "rubbish", "", ""),
]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            Entry(1, recording_mbid=OTHER, isrc="GBAYK9700020", artist_name="X", title="Y"),
            Match("LB2", "recording_mbid"),
        ),
        (Entry(1, recording_mbid=OTHER.upper()), Match("LB2", "recording_mbid")),
        (Entry(1, isrc="USABC1234567", artist_name="Björk", title="Jóga"), Match("LB3", "isrc")),
        (Entry(1, recording_mbid=MBID.replace("b", "c"), isrc="gb-ayk-97-00020"), Match("LB1", "isrc")),
        (Entry(1, artist_name="BJORK feat. Z", title="joga"), Match("LB1", "names")),
        (Entry(1, recording_mbid=MBID[::-1], artist_name="x", title="y!"), Match("LB3", "names")),
        (Entry(1, title="No Artist"), None),
        (Entry(1, artist_name="", title=""), None),
        (Entry(1, recording_mbid="rubbish", isrc="rubbish"), None),
        (Entry(1, path="/a.mp3"), None),
    ],
)
def test_match_by_mbid_then_isrc_then_names(entry: Entry, expected: Match | None) -> None:
    assert Matcher(TRACKS).match(entry) == expected


def test_first_of_equal_tracks_matches() -> None:
    twins = [Track(f"LB{n}", None, None, "A", "B") for n in range(5)]
    random.Random(1).shuffle(twins)
    assert Matcher(twins).match(Entry(1, artist_name="a", title="b")) == Match(twins[0].track_id, "names")
    assert Matcher([]).match(Entry(1, artist_name="a", title="b")) is None


def test_keys() -> None:
    assert match_keys(MBID.upper(), "gb-ayk-97-00020", "The Björk", "Jóga (Live)") == [
        *(f"recording_mbid:{MBID}", "isrc:GBAYK9700020", "names:bjork – joga live")
    ]
    assert match_keys(None, None, "A", None) == []
    assert entry_key(Entry(1, path="x.mp3", isrc="GBAYK9700020", artist_name="A", title="B")) == "isrc:GBAYK9700020"
    assert entry_key(Entry(1, path="x.mp3", artist_name="A", title="B")) == "names:a – b"
    assert entry_key(Entry(1, path="x.mp3", title="B")) == "path:x.mp3"
    assert entry_key(Entry(1, title="The B!")) == "title:b"
