"""Playlists that were made, or damaged, to do harm: none may crash, hang, fill the memory, read a file or a network."""

import io
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.playlists import HEAD_BYTES, Entry, Reject, detect, entries, markup
from reprise.lib.playlists.formats import ITUNES, LASTFM, LISTENBRAINZ, M3U, REKORDBOX, XSPF, Format

XML = (XSPF, ITUNES, REKORDBOX)
FORMATS = (M3U, LISTENBRAINZ, LASTFM, *XML)
TRACK = '<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><title>{}</title></track></trackList></playlist>'
SAMPLES = {
    "m3u": b"#EXTM3U\r\n#EXTINF:215,Bj\xc3\xb6rk - J\xc3\xb3ga\r\n..\\a%20b.mp3\r\nfile:///C:/x.mp3\r\n",
    "xspf": b"<?xml version='1.0' encoding='UTF-8'?>" + TRACK.format("J\xf3ga &amp; x").encode(),
    "itunes": b'<?xml version="1.0"?><!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://x/y.dtd"><plist><dict>'
    b"<key>Tracks</key><dict><key>1</key><dict><key>Name</key><string>a</string><key>Play Count</key>"
    b"<integer>3</integer></dict></dict><key>Playlists</key><array><dict><key>Playlist Items</key><array><dict>"
    b"<key>Track ID</key><integer>1</integer></dict></array></dict></array></dict></plist>",
    "rekordbox": b'<DJ_PLAYLISTS><COLLECTION><TRACK TrackID="1" Name="a" PlayCount="2"/></COLLECTION><PLAYLISTS>'
    b'<NODE KeyType="0"><TRACK Key="1"/></NODE></PLAYLISTS></DJ_PLAYLISTS>',
    "listenbrainz": b'[{"listened_at":1,"track_metadata":{"artist_name":"A","track_name":"\\u00f3","additional_info":'
    b'{"isrc":"GBAYK9700020","duration_ms":1}}},\n{"track_metadata":{"track_name":"b"}}]',
    "lastfm": b"uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n"
    b'"1","22 Mar 2021, 16:55","A","","","","B",""\n',
}


def read(format_: Format, data: bytes | str) -> list[Entry | Reject]:
    return list(format_.read(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def refused(format_: Format, data: bytes | str) -> str:
    """Kind of the error that a file raises, which has one line for a person to read."""
    with pytest.raises(InputError) as caught:
        read(format_, data)
    assert caught.value.message.isprintable()
    return caught.value.kind


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# ---------------------------------------------------------------- XML

LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("format_", XML, ids=lambda format_: format_.name)
def test_entities_are_refused(format_: Format, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    root = {"xspf": "playlist", "itunes": "plist", "rekordbox": "DJ_PLAYLISTS"}[format_.name]
    for declared in (
        LAUGHS + "]>",
        f'<!DOCTYPE x [<!ENTITY i SYSTEM "{secret.as_uri()}">]>',
        '<!DOCTYPE x [<!ENTITY % i SYSTEM "http://127.0.0.1:9/x.dtd"> %i;]>',
        '<!DOCTYPE x [<!ATTLIST TRACK Name CDATA "default">]>',
        "<!DOCTYPE x []>",
    ):
        assert refused(format_, f"<?xml version='1.0'?>{declared}<{root}>&i;</{root}>") == "xml_entities"


def test_a_document_type_elsewhere_is_neither_fetched_nor_a_fault(tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text("<!ENTITY i 'secret'>")
    data = f'<!DOCTYPE playlist SYSTEM "{dtd.as_uri()}">' + TRACK.format("a&i;b")
    assert read(XSPF, data) == [Entry(1, title="ab")]


def test_xml_in_xml_without_end() -> None:
    assert refused(XSPF, "<playlist>" + "<a>" * 200 + "</a>" * 200 + "</playlist>") == "xml_too_deep"
    nodes = "<NODE>" * 100_000
    assert refused(REKORDBOX, f"<DJ_PLAYLISTS><PLAYLISTS>{nodes}") == "xml_too_deep"


@pytest.mark.parametrize("token", ['<track a="', "<!--", "<", "<?x "])
def test_a_tag_without_end_is_given_up_early(token: str) -> None:
    class Long:
        taken = 0

        def read(self, size: int) -> bytes:
            self.taken += size
            return b"x" * size

    stream: Any = Long()

    def whole() -> Iterator[bytes]:
        yield b"<playlist>" + token.encode()

    first = whole()
    original = stream.read
    stream.read = lambda size: next(first, None) or original(size)
    with pytest.raises(InputError, match="tag or comment"):
        list(XSPF.read(stream))
    assert stream.taken < 2 << 20


def test_long_texts_are_cut() -> None:
    (entry,) = read(XSPF, TRACK.format("x" * 3_000_000))
    assert isinstance(entry, Entry)
    assert len(entry.title or "") == markup.MAX_TEXT
    (entry,) = read(XSPF, TRACK.format("x<b/>" * 100_000))
    assert isinstance(entry, Entry)
    assert len(entry.title or "") == markup.MAX_TEXT


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "MAX_BYTES", 100)
    assert refused(XSPF, TRACK.format("x" * 100)) == "xml_too_large"
    monkeypatch.setattr("reprise.lib.playlists.m3u.MAX_BYTES", 10)
    assert refused(M3U, "12345678901") == "too_large"
    assert len(read(M3U, "1234567890")) == 1


@pytest.mark.parametrize(
    "data",
    [
        '<DJ_PLAYLISTS><COLLECTION>{}<TRACK Name="x"/></COLLECTION></DJ_PLAYLISTS>',
        '<DJ_PLAYLISTS><PLAYLISTS><NODE>{}<TRACK Key="x"/></NODE></PLAYLISTS></DJ_PLAYLISTS>',
        '<DJ_PLAYLISTS><PLAYLISTS><NODE KeyType="1">{}<TRACK Key="x"/></NODE></PLAYLISTS></DJ_PLAYLISTS>',
    ],
)
def test_collections_of_too_many_tracks(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_SONGS", 10)
    tracks = [f'<TRACK TrackID="{n}" Key="{n}"/>' for n in range(10)]
    assert refused(REKORDBOX, data.format("".join(tracks))) == "too_many_songs"
    assert read(REKORDBOX, data.format("".join(tracks[1:]))) == []


def test_rubbish_encodings() -> None:
    for name in ("rot13", "utf-7", "idna", "nonsense", "utf-32", "euc-jp"):
        try:
            read(XSPF, f"<?xml version='1.0' encoding='{name}'?>" + TRACK.format("a"))
        except InputError as error:
            assert error.kind == "broken_xml"  # noqa: PT017


# ---------------------------------------------------------------- everything


@pytest.mark.parametrize(
    "line", ["#EXTINF:" + " " * 60_000 + "x", "#EXTINF:" + "a" * 60_000, '#EXTINF:"' + 'a"' * 30_000]
)
def test_lines_that_would_take_a_pattern_for_ever(line: str) -> None:
    assert len(read(M3U, f"{line}\na.mp3\n")) == 1


def test_a_deep_array_does_not_fill_the_memory() -> None:
    tracemalloc.start()
    assert [item.kind for item in read(LISTENBRAINZ, "[" * 3_000_000) if isinstance(item, Reject)] == ["bad_json"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20


def sound(item: Entry | Reject) -> bool:
    """Whether an item can be stored: text that is utf-8, counts that are positive."""
    texts = [getattr(item, name) for name in type(item).__annotations__]
    assert all(text.encode() is not None for text in texts if isinstance(text, str))
    return not isinstance(item, Entry) or item.play_count >= 1


def survive(reader: Any, stream: BinaryIO) -> None:
    try:
        assert all(sound(item) for item in reader(stream))
    except InputError as error:
        assert error.message.isprintable(), error.message  # noqa: PT017


@given(st.binary(max_size=300), st.sampled_from(["x.m3u", "x.xspf", "x.xml", "x.jsonl", "x.csv", "x.tsv"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes, name: str) -> None:
    for format_ in {detect(name, data[:HEAD_BYTES]), *FORMATS} - {None}:
        survive(format_.read, io.BytesIO(data))


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=400, deadline=None)
def test_mutations(format_: Format, data: st.DataObject) -> None:
    raw = bytearray(SAMPLES[format_.name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw)))
        kind = data.draw(st.sampled_from(["flip", "cut", "put", "twice"]))
        if kind == "flip" and at < len(raw):
            raw[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del raw[at : at + data.draw(st.integers(1, 40))]
        elif kind == "put":
            raw[at:at] = data.draw(
                st.sampled_from([b"\0", b"\xff\xfe", b"<", b'"', b"&#0;", b"]]>", b"[", b"\\ud800", b"9" * 400])
            )
        else:
            raw[at:at] = raw[at : at + 60]
    detect("x", bytes(raw))
    survive(format_.read, io.BytesIO(bytes(raw)))


def test_the_samples_are_good() -> None:
    for format_ in FORMATS:
        items = read(format_, SAMPLES[format_.name])
        assert items, format_.name
        assert all(isinstance(item, Entry) for item in items), format_.name
