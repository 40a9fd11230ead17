"""Histories from ListenBrainz and Last.fm: lines as ListenBrainz and the exporters write them, and play counts."""

import csv
import io
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.playlists import Entry, Reject, entries
from reprise.lib.playlists.lastfm import read_lastfm
from reprise.lib.playlists.listenbrainz import read_listenbrainz

MBID, OTHER = "b1a9c0e9-d987-4042-ae91-78d6a3267d69", "01809552-4f87-45b0-afff-2c6f0730a3be"
EXPORTED = (  # a line of listens/2023/5.jsonl in an archive exported by the site
    '{"inserted_at": 1683109837.2, "listened_at": 1683109833, "track_metadata": {"track_name": "J\\u00f3ga", '
    '"artist_name": "Björk", "release_name": "Homogenic", "mbid_mapping": {"caa_id": 1, "artists": [{"artist_mbid": '
    f'"{OTHER}"}}], "recording_mbid": "{MBID}", "release_mbid": "{OTHER}"}}, '
    '"additional_info": {"duration_ms": 305120, "media_player": "Strawberry", '
    '"recording_msid": "e37b2740-3503-4f22-aec7-1de35e1c36d6"}}}'
)
DUMPED = (  # a line of a public dump
    '{"user_id":4,"user_name":"ann","timestamp":1683109833,"track_metadata":{"track_name":"Jóga","artist_name":"Björk",'
    f'"additional_info":{{"recording_mbid":"{OTHER.upper()}","isrc":"gb-ayk-97-00020","duration":"305"}}}},'
    '"recording_msid":"e37b2740-3503-4f22-aec7-1de35e1c36d6"}'
)
PLAYING = '{"playing_now": true, "track_metadata": {"artist_name": "Björk", "track_name": "Now"}}'
JOGA = Entry(1, None, "Björk", "Jóga", "Homogenic", MBID, None, 305.12)
DUMPED_JOGA = Entry(2, None, "Björk", "Jóga", None, OTHER, "GBAYK9700020", 305.0)


def listens(data: bytes | str) -> list[Entry | Reject]:
    return list(read_listenbrainz(io.BytesIO(data.encode() if isinstance(data, str) else data)))


def scrobbles(data: bytes | str) -> list[Entry | Reject]:
    return list(read_lastfm(io.BytesIO(data.encode() if isinstance(data, str) else data)))


# ---------------------------------------------------------------- ListenBrainz


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines(start: str, end: str) -> None:
    data = start + end.join([EXPORTED, DUMPED, "", EXPORTED, PLAYING, DUMPED])
    assert listens(data) == [replace(JOGA, play_count=2), replace(DUMPED_JOGA, play_count=2)]


def test_array_of_listens_of_older_exports() -> None:
    for text in (f"[{EXPORTED},{DUMPED}, {EXPORTED}]", f" [\n{EXPORTED},\n{DUMPED},\n{EXPORTED}\n]\n"):
        assert listens(text) == [replace(JOGA, play_count=2), DUMPED_JOGA]
    assert listens("[]") == []


def test_long_array_is_read_in_pieces() -> None:
    many = [f'{{"track_metadata": {{"artist_name": "é{n % 7}", "track_name": "{"x" * 900}"}}}}' for n in range(2_000)]
    got = listens("[" + ",".join(many) + "]")
    assert [(e.artist_name, e.play_count) for e in got if isinstance(e, Entry)] == [
        (f"é{n}", 286 if n < 5 else 285) for n in range(7)
    ]


def test_truncated_array_gives_the_listens_before_the_break() -> None:
    for rest in ("", ", {", "{]", ", nonsense", "," + "[" * 100_000, ',"', ',{"a":"' + "x" * 900_000):
        reject, entry = listens(f"[{EXPORTED}{rest}")
        assert isinstance(reject, Reject)
        assert (reject.line, reject.kind, entry) == (2, "bad_json", JOGA)


def test_response_of_the_api() -> None:
    for indent in (None, 2):
        payload = {"count": 2, "listens": [json.loads(EXPORTED), {}, json.loads(DUMPED)], "user_id": "ann"}
        reject, *entries = listens(json.dumps({"payload": payload}, indent=indent))
        assert isinstance(reject, Reject)
        assert (reject.line, reject.kind) == (2, "bad_listen")
        assert entries == [JOGA, replace(DUMPED_JOGA, position=3)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("not json", "bad_json"),
        ('{"track_metadata": {"track_name": "x"', "bad_json"),
        ("[" * 60_000, "bad_json"),
        ('{"a":' * 10_000, "bad_json"),
        ("9" * 10_000, "bad_json"),
        ('{"track_metadata": {"track_name": "x"}, "n": ' + "9" * 10_000 + "}", "bad_json"),
        ('"text"', "bad_listen"),
        ("12", "bad_listen"),
        ("null", "bad_listen"),
        ("{}", "bad_listen"),
        ('{"track_metadata": []}', "bad_listen"),
        ('{"track_metadata": {"artist_name": "only"}}', "bad_listen"),
        ('{"track_metadata": {"track_name": ["x"]}}', "bad_listen"),
        ('{"track_metadata": {"track_name": "   "}}', "bad_listen"),
        ('{"payload": {"listens": []}}', "bad_listen"),
        ('{"x": "' + "a" * 70_000 + '"}', "line_too_long"),
        ('{"x": "\0"}', "nul_byte"),
    ],
)
def test_only_bad_json_lines_are_rejected(line: str, kind: str) -> None:
    reject, entry = listens(f"{EXPORTED}\n{line}\n{EXPORTED}\n")
    assert isinstance(reject, Reject)
    assert (reject.line, reject.kind) == (2, kind)
    assert entry == replace(JOGA, play_count=2)


def test_invalid_fields_of_a_listen_are_dropped() -> None:
    odd = {"artist_name": 5, "track_name": "a\u0000\ud800b\n", "release_name": None, "additional_info": "x"}
    info = {"recording_mbid": "none", "isrc": 12, "duration_ms": "NaN", "duration": -4}
    for extra in ({}, {"additional_info": info, "mbid_mapping": {"recording_mbid": [MBID]}}):
        line = json.dumps({"track_metadata": odd | extra})
        assert listens(line) == [Entry(1, None, None, "a \ufffdb")]
    assert listens('{"track_metadata": {"track_name": "x", "additional_info": {"duration_ms": NaN}}}') == [
        Entry(1, None, None, "x")
    ]


# ---------------------------------------------------------------- Last.fm

GHAN = f'''uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid
"","","Björk","","","","Now",""
"1616432100","22 Mar 2021, 16:55","Björk","{OTHER}","Homogenic","","Jóga","{MBID}"
"1616431100","22 Mar 2021, 16:38","Earth, Wind & Fire","","I Am","","""Wait""",""
"1616430100","22 Mar 2021, 16:21","Björk","{OTHER}","Homogenic","","Jóga","{MBID}"
'''
BENJAMIN = """Björk,Homogenic,Jóga,
Björk,Homogenic,Jóga,22 Mar 2021 16:55
Tyler The Creator,,See You Again,22 Mar 2021 16:51
Björk,Homogenic,Jóga,2 Mar 2021 16:55
"""
LASTEXPORT = f"""1616432100\tJóga\tBjörk\tHomogenic\t{MBID}\t{OTHER}\t
1616431100\tSay "Hi"\tX\t\t\t\t
"""
EXCEL = '\ufeff"Artist";"Album";"Track Name";"Date"\r\n"Björk";"Homogenic";"Jóga";"22.03.2021"\r\n'


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GHAN, [
            Entry(3, None, "Björk", "Jóga", "Homogenic", MBID, play_count=2),
            Entry(4, None, "Earth, Wind & Fire", '"Wait"', "I Am"),
        ]),
        (BENJAMIN, [Entry(2, None, "Björk", "Jóga", "Homogenic", play_count=2),
                    Entry(3, None, "Tyler The Creator", "See You Again")]),
        (LASTEXPORT, [Entry(1, None, "Björk", "Jóga", "Homogenic", MBID), Entry(2, None, "X", 'Say "Hi"')]),
        (EXCEL, [Entry(2, None, "Björk", "Jóga", "Homogenic")]),
    ],
)  # fmt: skip
def test_lastfm_exporters(data: str, expected: list[Entry]) -> None:
    assert scrobbles(data) == expected
    assert scrobbles(data.replace("\r\n", "\n").replace("\n", "\r\n")) == expected


def test_only_bad_csv_lines_are_rejected() -> None:
    lines = [
        "too,few",
        "a,b,c,d,22 Mar 2021 16:55",
        ",album,title,22 Mar 2021 16:55",
        'x,"never closed,t,1',
        "n\0,a,t,1",
    ]
    good = "Björk,Homogenic,Jóga,22 Mar 2021 16:55"
    items = scrobbles("\n".join([good, *lines, "y" * 70_000, good]))
    assert [(item.line, item.kind) for item in items if isinstance(item, Reject)] == [
        *((2, "bad_fields"), (3, "bad_fields"), (4, "bad_play"), (5, "bad_fields"), (6, "nul_byte")),
        (7, "line_too_long"),
    ]
    assert items[-1] == Entry(1, None, "Björk", "Jóga", "Homogenic", play_count=2)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("", "empty_file"),
        ("\n\n", "empty_file"),
        ("a,b\n", "unknown_format"),
        ("\0", "nul_byte"),
        ("a\rb,c", "bad_fields"),
    ],
)
def test_other_files_are_rejected(data: str, kind: str) -> None:
    with pytest.raises(InputError) as caught:
        scrobbles(data)
    assert caught.value.kind == kind


NAME = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)


@given(st.lists(st.tuples(NAME, NAME, NAME), max_size=8))
@settings(max_examples=50, deadline=None)
def test_written_plays_are_read_back(plays: list[tuple[str, str, str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(GHAN.splitlines()[0].split(","))
    writer.writerows(("1616432100", "22 Mar 2021, 16:55", a, "", r, "", t, "") for a, t, r in plays)
    expected = [(a, t, r, plays.count((a, t, r))) for a, t, r in dict.fromkeys(plays)]
    lines = (
        json.dumps({"track_metadata": {"artist_name": a, "track_name": t, "release_name": r}}) for a, t, r in plays
    )
    for got in (scrobbles(text.getvalue()), listens("\n".join(lines))):
        assert [(e.artist_name, e.title, e.release, e.play_count) for e in got if isinstance(e, Entry)] == expected


# ---------------------------------------------------------------- limits


class Endless:
    """A history of many plays of one song, generated while it is read."""

    def __init__(self, line: bytes, times: int) -> None:
        self.line, self.size, self.position = line, len(line) * times, 0

    def read(self, size: int) -> bytes:
        size = min(size, self.size - self.position)
        start = self.position % len(self.line)
        self.position += size
        return (self.line * (size // len(self.line) + 2))[start : start + size]


def test_memory_does_not_grow_with_plays_of_one_song() -> None:
    tracemalloc.start()
    stream: Any = Endless(b"Blur,The Magic Whip,New World Towers,22 Mar 2021 16:55\n", 40_000)
    (entry,) = read_lastfm(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(entry, Entry)
    assert entry.play_count == 40_000
    assert peak < 8 << 20


def test_too_many_songs_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_SONGS", 10)
    lines = "".join(f"A,B,{n},22 Mar 2021 16:55\n" for n in range(11))
    with pytest.raises(InputError, match="10 different songs"):
        scrobbles(lines)
    assert len(scrobbles(lines[: lines.rindex("A")])) == 10
    with pytest.raises(InputError, match="10 different songs"):
        listens("".join(f'{{"track_metadata": {{"track_name": "{n}"}}}}\n' for n in range(11)))
