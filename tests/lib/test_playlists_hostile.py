"""Hostile and damaged playlists cause no crash, no hang, bounded memory, and no access to files or the network."""

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


def error_kind(format_: Format, data: bytes | str) -> str:
    """Assert that a file raises InputError with a printable one-line message, and return the error's kind."""
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
def test_entities_are_rejected(format_: Format, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    root = {"xspf": "playlist", "itunes": "plist", "rekordbox": "DJ_PLAYLISTS"}[format_.name]
    for declaration in (
        LAUGHS + "]>",
        f'<!DOCTYPE x [<!ENTITY i SYSTEM "{secret.as_uri()}">]>',
        '<!DOCTYPE x [<!ENTITY % i SYSTEM "http://127.0.0.1:9/x.dtd"> %i;]>',
        '<!DOCTYPE x [<!ATTLIST TRACK Name CDATA "default">]>',
        "<!DOCTYPE x []>",
    ):
        assert error_kind(format_, f"<?xml version='1.0'?>{declaration}<{root}>&i;</{root}>") == "xml_entities"


def test_external_dtd_is_ignored(tmp_path: Path) -> None:
    dtd = tmp_path / "x.dtd"
    dtd.write_text("<!ENTITY i 'secret'>")
    data = f'<!DOCTYPE playlist SYSTEM "{dtd.as_uri()}">' + TRACK.format("a&i;b")
    assert read(XSPF, data) == [Entry(1, title="ab")]


def test_too_deep_xml_is_rejected() -> None:
    assert error_kind(XSPF, "<playlist>" + "<a>" * 200 + "</a>" * 200 + "</playlist>") == "xml_too_deep"
    nodes = "<NODE>" * 100_000
    assert error_kind(REKORDBOX, f"<DJ_PLAYLISTS><PLAYLISTS>{nodes}") == "xml_too_deep"


@pytest.mark.parametrize("token", ['<track a="', "<!--", "<", "<?x "])
def test_unterminated_token_is_rejected_early(token: str) -> None:
    class LongStream:
        bytes_read = 0

        def read(self, size: int) -> bytes:
            self.bytes_read += size
            return b"x" * size

    stream: Any = LongStream()

    def start_of_file() -> Iterator[bytes]:
        yield b"<playlist>" + token.encode()

    first = start_of_file()
    original = stream.read
    stream.read = lambda size: next(first, None) or original(size)
    with pytest.raises(InputError, match="tag or comment"):
        list(XSPF.read(stream))
    assert stream.bytes_read < 2 << 20


def test_long_texts_are_truncated() -> None:
    (entry,) = read(XSPF, TRACK.format("x" * 3_000_000))
    assert isinstance(entry, Entry)
    assert len(entry.title or "") == markup.MAX_TEXT
    (entry,) = read(XSPF, TRACK.format("x<b/>" * 100_000))
    assert isinstance(entry, Entry)
    assert len(entry.title or "") == markup.MAX_TEXT


def test_too_large_files_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "MAX_BYTES", 100)
    assert error_kind(XSPF, TRACK.format("x" * 100)) == "xml_too_large"
    monkeypatch.setattr("reprise.lib.playlists.m3u.MAX_BYTES", 10)
    assert error_kind(M3U, "12345678901") == "too_large"
    assert len(read(M3U, "1234567890")) == 1


@pytest.mark.parametrize(
    "data",
    [
        '<DJ_PLAYLISTS><COLLECTION>{}<TRACK Name="x"/></COLLECTION></DJ_PLAYLISTS>',
        '<DJ_PLAYLISTS><PLAYLISTS><NODE>{}<TRACK Key="x"/></NODE></PLAYLISTS></DJ_PLAYLISTS>',
        '<DJ_PLAYLISTS><PLAYLISTS><NODE KeyType="1">{}<TRACK Key="x"/></NODE></PLAYLISTS></DJ_PLAYLISTS>',
    ],
)
def test_collections_with_too_many_tracks_are_rejected(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_SONGS", 10)
    tracks = [f'<TRACK TrackID="{n}" Key="{n}"/>' for n in range(10)]
    assert error_kind(REKORDBOX, data.format("".join(tracks))) == "too_many_songs"
    assert read(REKORDBOX, data.format("".join(tracks[1:]))) == []


def test_unknown_encodings_raise_input_errors_only() -> None:
    for name in ("rot13", "utf-7", "idna", "nonsense", "utf-32", "euc-jp"):
        try:
            read(XSPF, f"<?xml version='1.0' encoding='{name}'?>" + TRACK.format("a"))
        except InputError as error:
            assert error.kind == "broken_xml"  # noqa: PT017


# ---------------------------------------------------------------- all formats


@pytest.mark.parametrize(
    "line", ["#EXTINF:" + " " * 60_000 + "x", "#EXTINF:" + "a" * 60_000, '#EXTINF:"' + 'a"' * 30_000]
)
def test_patterns_take_linear_time_on_hostile_lines(line: str) -> None:
    assert len(read(M3U, f"{line}\na.mp3\n")) == 1


def test_memory_is_bounded_on_a_deep_array() -> None:
    tracemalloc.start()
    assert [item.kind for item in read(LISTENBRAINZ, "[" * 3_000_000) if isinstance(item, Reject)] == ["bad_json"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20


def is_storable(item: Entry | Reject) -> bool:
    """Return whether an item can be stored: text encodes as UTF-8, counts are positive."""
    texts = [getattr(item, name) for name in type(item).__annotations__]
    assert all(text.encode() is not None for text in texts if isinstance(text, str))
    return not isinstance(item, Entry) or item.play_count >= 1


def check_reader(reader: Any, stream: BinaryIO) -> None:
    try:
        assert all(is_storable(item) for item in reader(stream))
    except InputError as error:
        assert error.message.isprintable(), error.message  # noqa: PT017


@given(st.binary(max_size=300), st.sampled_from(["x.m3u", "x.xspf", "x.xml", "x.jsonl", "x.csv", "x.tsv"]))
@settings(max_examples=150, deadline=None)
def test_any_bytes_give_entries_rejects_or_input_errors(data: bytes, name: str) -> None:
    detected = detect(name, data[:HEAD_BYTES])
    assert detected is None or detected in FORMATS
    for format_ in FORMATS:
        check_reader(format_.read, io.BytesIO(data))


@given(st.sampled_from(FORMATS), st.data())
@settings(max_examples=400, deadline=None)
def test_mutated_files_give_entries_rejects_or_input_errors(format_: Format, data: st.DataObject) -> None:
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
    check_reader(format_.read, io.BytesIO(bytes(raw)))


def test_samples_are_valid() -> None:
    for format_ in FORMATS:
        items = read(format_, SAMPLES[format_.name])
        assert items, format_.name
        assert all(isinstance(item, Entry) for item in items), format_.name
