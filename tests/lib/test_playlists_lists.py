"""M3U and XSPF playlists as programs write them, and detection of the format of a file."""

import io
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.playlists import HEAD_BYTES, Entry, Reject, detect
from reprise.lib.playlists.collections import read_itunes, read_rekordbox
from reprise.lib.playlists.entries import clean_count, clean_duration, path_of_location
from reprise.lib.playlists.xspf import read_xspf

MBID = "b1a9c0e9-d987-4042-ae91-78d6a3267d69"


def read(name: str, data: bytes | str) -> list[Entry | Reject]:
    """Return all items of the reader that ``detect`` selects."""
    raw = data.encode() if isinstance(data, str) else data
    format_ = detect(name, raw[:HEAD_BYTES])
    assert format_ is not None, "not detected"
    return list(format_.read(io.BytesIO(raw)))


# ---------------------------------------------------------------- M3U

WINAMP = (
    "#EXTM3U\r\n#EXTINF:215,Bj\xf6rk - J\xf3ga\r\nC:\\Musik\\Bj\xf6rk\\J\xf3ga.mp3\r\n"
    "#EXTINF:187,Guns N\x92 Roses - Patience - Live\r\n..\\Guns\\Patience.mp3\r\n"
).encode("latin-1")
VLC = """#EXTM3U
#EXTINF:263,Sigur Rós - Hoppípolla
file:///home/ann/Music/Sigur%20R%C3%B3s/Takk/Hopp%C3%ADpolla.flac
#EXTINF:-1,
http://radio.example/stream?x=1
"""
FOOBAR = "\ufeff#EXTM3U\r\n#EXTINF:240,宇多田ヒカル - First Love\r\n宇多田ヒカル\\First Love\\01.flac\r\n"
ITUNES = "#EXTM3U\r#EXTINF:242,Jóga - Björk\r/Users/ann/Music/Björk/Homogenic/02 Jóga.m4a\r"
KODI = '#EXTM3U\n#EXTENC: UTF-8\n#EXTINF:10 tvg-id="a,b" logo="c",A - B\n#EXTALB:Album\n#EXTART:The A\n./x.mp3\n'
SUNG = Entry(3, "C:\\Musik\\Björk\\Jóga.mp3", "Björk", "Jóga", duration_s=215.0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (WINAMP, [SUNG, Entry(5, "..\\Guns\\Patience.mp3", "Guns N’ Roses", "Patience - Live", duration_s=187.0)]),
        (
            VLC,
            [
                Entry(3, "/home/ann/Music/Sigur Rós/Takk/Hoppípolla.flac", "Sigur Rós", "Hoppípolla", duration_s=263.0),
                Entry(5, "http://radio.example/stream?x=1"),
            ],
        ),
        (FOOBAR, [Entry(3, "宇多田ヒカル\\First Love\\01.flac", "宇多田ヒカル", "First Love", duration_s=240.0)]),
        (ITUNES, [Entry(3, "/Users/ann/Music/Björk/Homogenic/02 Jóga.m4a", "Björk", "Jóga", duration_s=242.0)]),
        (
            ITUNES.encode("mac_roman"),
            [Entry(3, "/Users/ann/Music/Björk/Homogenic/02 Jóga.m4a", "Björk", "Jóga", duration_s=242.0)],
        ),
        (KODI, [Entry(6, "./x.mp3", "The A", "B", "Album", duration_s=10.0)]),
        ("\n  a b.mp3 \n# note\n\nc.mp3", [Entry(2, "a b.mp3"), Entry(5, "c.mp3")]),
        ("#EXTM3U", []),
        ("#EXTM3U\n#EXTINF:x,Only\n#EXTINF:12,Just \"a, title\na.mp3\nb.mp3", [
            Entry(4, "a.mp3", None, 'Just "a, title', duration_s=12.0), Entry(5, "b.mp3")]),
    ],
)  # fmt: skip
def test_m3u(data: bytes | str, expected: list[Entry]) -> None:
    assert read("x.m3u", data) == expected


def test_m3u_is_latin_1_where_windows_1252_is_undefined() -> None:
    assert read("x.m3u", b"caf\xe9\x81.mp3\n") == [Entry(1, "café\x81.mp3")]


def test_only_bad_m3u_lines_are_rejected() -> None:
    items = read("x.m3u", b"#EXTM3U\n#EXTINF:9,A - B\nnul\0.mp3\n" + b"a" * 70_000 + b"\n#EXTINF:8,C - D\nd.mp3\n")
    assert [(item.line, item.kind) for item in items if isinstance(item, Reject)] == [
        (3, "nul_byte"),
        (4, "line_too_long"),
    ]
    assert [item for item in items if isinstance(item, Entry)] == [Entry(6, "d.mp3", "C", "D", duration_s=8.0)]


NAMES = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="#"), min_size=1).filter(
    lambda text: "file:" not in text.lower()
)


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(1, 10_000)), max_size=5), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=60, deadline=None)
def test_written_m3u_is_read_back(songs: list[tuple[str, str, str, int]], end: str) -> None:
    lines = ["#EXTM3U", *(f"#EXTINF:{s},{a} - {t}{end}{p}" for a, t, p, s in songs), ""]
    entries = read("x", end.join(lines))
    assert [(e.artist_name, e.title, e.path, e.duration_s) for e in entries if isinstance(e, Entry)] == songs


# ---------------------------------------------------------------- XSPF

XSPF_VLC = """<?xml version="1.0" encoding="UTF-8"?>
<playlist xmlns="http://xspf.org/ns/0/" xmlns:vlc="http://www.videolan.org/vlc/playlist/ns/0/" version="1">
	<title>Wiedergabeliste</title>
	<trackList>
		<track>
			<location>file:///C:/Users/ann/Musik/Bj%C3%B6rk%20%26%20co/J%C3%B3ga.flac</location>
			<title>Jóga</title><creator>Björk</creator><album>Homogenic</album>
			<duration>305120</duration>
			<extension application="http://www.videolan.org/vlc/playlist/0"><vlc:id>0</vlc:id><title>no</title></extension>
		</track>
	</trackList>
	<extension application="http://www.videolan.org/vlc/playlist/0"><vlc:item tid="0"/></extension>
</playlist>
"""
XSPF_LISTENBRAINZ = f"""<?xml version='1.0'?><!-- a <playlist> -->
<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList><track>
<identifier>https://musicbrainz.org/recording/{MBID.upper()}</identifier>
<title>Rock &amp; Roll</title><creator>Led Zeppelin</creator></track>
<track><location>Led Zeppelin/100% Rock%20it.mp3</location><identifier>x</identifier></track>
<track><annotation>nothing</annotation></track>
<track><location>http://musicbrainz.org/track/{MBID}.html</location></track></trackList></playlist>"""


def test_xspf() -> None:
    path = "C:/Users/ann/Musik/Björk & co/Jóga.flac"
    assert read("x.xspf", XSPF_VLC) == [Entry(5, path, "Björk", "Jóga", "Homogenic", duration_s=305.12)]
    assert read("x.xml", XSPF_LISTENBRAINZ) == [
        Entry(2, None, "Led Zeppelin", "Rock & Roll", recording_mbid=MBID),
        Entry(5, "Led Zeppelin/100% Rock it.mp3"),
        Reject(6, "empty_track", "expected a location, a title or a MusicBrainz recording id", ""),
        Entry(7, recording_mbid=MBID),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_xspf_in_other_encodings(encoding: str) -> None:
    data = XSPF_VLC.replace("UTF-8", encoding.removesuffix("-sig")).encode(encoding)
    assert [item.artist_name for item in read("x.xspf", data) if isinstance(item, Entry)] == ["Björk"]


@given(st.lists(st.tuples(NAMES, NAMES, NAMES, st.integers(1, 10**9)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_written_xspf_is_read_back(songs: list[tuple[str, str, str, int]]) -> None:
    tracks = (
        f"<track><location>file:///{escape(quote(path))}</location><creator>{escape(artist)}</creator>"
        f"<title>{escape(title)}</title><duration>{ms}</duration></track>"
        for artist, title, path, ms in songs
    )
    entries = read("x", f"<playlist xmlns='http://xspf.org/ns/0/'><trackList>{''.join(tracks)}</trackList></playlist>")
    expected = [(a, t, path_of_location(f"file:///{quote(p)}"), ms / 1000) for a, t, p, ms in songs]
    assert [(e.artist_name, e.title, e.path, e.duration_s) for e in entries if isinstance(e, Entry)] == expected


# ---------------------------------------------------------------- detection


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("x", "#EXTM3U\n", "m3u"),
        ("x.txt", "\ufeff#extm3u\r\n", "m3u"),
        ("List.M3U8", "a.mp3\n", "m3u"),
        ("x.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n", None),
        ("x.m3u", "\0\0\0", None),
        ("x.m3u", "", None),
        ("x.xspf", "<html>", None),
        ("x.xspf", "  <?xml version='1.0'?>\n<!-- <plist> -->\n<playlist>", "xspf"),
        (
            "x.xml",
            '<?xml?><!DOCTYPE plist PUBLIC "-//Apple Computer//DTD PLIST 1.0//EN" "http://x">\n<plist>',
            "itunes",
        ),
        ("x.xml", "<!DOCTYPE plist [<!ENTITY a 'b'>]><plist>", "itunes"),
        ("x.xml", '<?xml version="1.0"?>\n\n<DJ_PLAYLISTS Version="1.0.0">', "rekordbox"),
        ("x.xml", "<?xml version='1.0'?><rss>", None),
        ("x.jsonl", '{"listened_at":1,"track_metadata": {', "listenbrainz"),
        ("x.json", '[{"listened_at":1,"track_metadata":{', "listenbrainz"),
        ("x.json", '{"payload":{"count":1,"listens":[', "listenbrainz"),
        ("x.json", '{"a": 1}', None),
        ("x.csv", "uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n", "lastfm"),
        ("x.csv", '\ufeff"Artist";"Album";"Track";"Date"\r\n', "lastfm"),
        ("x.csv", "Blur,The Magic Whip,New World Towers,22 Mar 2021 16:55\n", "lastfm"),
        ("x.csv", "Blur,The Magic Whip,New World Towers,\n", "lastfm"),
        ("exported_tracks.txt", "1616432100\tJóga\tBjörk\tHomogenic\t\t\t\n", "lastfm"),
        ("readme.txt", "Dear listener,\n", None),
        ("x.csv", "artist,track\n", None),
        ("x.csv", "a,b,c,d\n", None),
        ("x.csv", "", None),
        ("song.mp3", "ID3", None),
    ],
)
def test_detect(name: str, head: str, expected: str | None) -> None:
    format_ = detect(name, head.encode())
    assert (format_.name if format_ else None) == expected


def test_other_xml_and_empty_files_are_rejected() -> None:
    for reader in (read_xspf, read_itunes, read_rekordbox):
        with pytest.raises(InputError) as caught:
            list(reader(io.BytesIO(b"<html><body/></html>")))
        assert caught.value.kind == "unknown_format"
        with pytest.raises(InputError) as caught:
            list(reader(io.BytesIO(b"")))
        assert caught.value.kind == "broken_xml"


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("file://localhost/C:/Music/a%20b.mp3", "C:/Music/a b.mp3"),
        ("file:///C|/Music/a.mp3", "C:/Music/a.mp3"),
        ("FILE:///Users/ann/%E2%99%AA.mp3", "/Users/ann/♪.mp3"),
        ("file:/home/ann/a.mp3", "/home/ann/a.mp3"),
        ("file://nas/music/a.mp3", "//nas/music/a.mp3"),
        ("file://localhost/%FF.mp3", "/\ufffd.mp3"),
        ("a%20b.mp3", "a%20b.mp3"),
        ("https://x.example/a%20b.mp3", "https://x.example/a%20b.mp3"),
        ("", None),
        (None, None),
    ],
)
def test_path_of_location(location: str | None, expected: str | None) -> None:
    assert path_of_location(location) == expected


def test_durations_and_counts() -> None:
    durations = [
        clean_duration(v) for v in ("215", "1.5", "-1", "0", "", "nan", "1e9", 3, 2.5, -1, True, None, float("inf"))
    ]
    assert durations == [215.0, 1.5, None, None, None, None, None, 3.0, 2.5, None, None, None, None]
    assert clean_duration(2**70) is None
    assert [clean_count(v) for v in ("7", " 7 ", "", None, "-1", "x", "2147483647", "2147483648", "٣")] == [
        *(7, 7, 0, 0, None, None, 2147483647, None, None)
    ]
