"""Tag reading: tags laid out as by Picard and iTunes, tags that FFmpeg and libsndfile write, and broken tags."""

import dataclasses
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from reprise.lib.audio.tag_reading import MAX_CHARACTERS, MAX_GENRES, Tags, read_tags
from reprise.lib.errors import InputError

RECORDING = "b1a9c0e9-d987-4042-ae91-78d6a3267d69"
ARTIST = "5b11f4ce-a62d-471e-81fc-a69a8278c7da"
OTHER_ARTIST = "f27ec8db-af05-4f36-916e-3d57f91ecf5e"
RELEASE = "a4864e94-6d75-4ade-bc93-0dabf3521453"
OTHER_ID = "d1fd9f5f-0000-4000-8000-000000000000"

EXPECTED = Tags(
    title="Żółw — 亀 🐢",
    artist_name="Björk",
    album_artist="Various Artists",
    release="Où est l'été?",
    year=2009,
    isrc="GBAYE0601477",
    recording_mbid=RECORDING,
    artist_mbid=ARTIST,
    release_mbid=RELEASE,
    bpm_tag=128.0,
    genre_tags=("Trip-Hop", "Rock"),
)


def synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def frame(name: str, content: bytes, version: int) -> bytes:
    size = synchsafe(len(content)) if version == 4 else struct.pack(">I", len(content))
    return name.encode() + size + b"\0\0" + content


def text(value: str, version: int) -> bytes:
    """Text of a frame: UTF-8 in ID3 2.4, UTF-16 with a byte order mark in 2.3, which does not support UTF-8."""
    return b"\3" + value.encode() if version == 4 else b"\1" + value.encode("utf-16")


def custom(name: str, value: str, version: int) -> bytes:
    if version == 4:
        return b"\3" + name.encode() + b"\0" + value.encode()
    return b"\1" + name.encode("utf-16") + b"\0\0" + value.encode("utf-16")


def id3(version: int, **changes: str) -> bytes:
    """An ID3 tag as Picard writes it."""
    separator = "\0" if version == 4 else "; "
    texts = {
        "TIT2": EXPECTED.title,
        "TPE1": EXPECTED.artist_name,
        "TPE2": EXPECTED.album_artist,
        "TALB": EXPECTED.release,
        "TDRC" if version == 4 else "TYER": "2009-03-01" if version == 4 else "2009",
        "TORY": "1971",
        "TSRC": "gb-aye-06-01477",
        "TBPM": "128",
        "TCON": "Trip-Hop\0Rock" if version == 4 else "(27)",
        **changes,
    }
    customs = {
        "MusicBrainz Artist Id": separator.join((ARTIST, OTHER_ARTIST)),
        "MusicBrainz Album Id": RELEASE,
        "MusicBrainz Release Track Id": OTHER_ID,
        "MusicBrainz Album Artist Id": OTHER_ARTIST,
    }
    frames = [frame(name, text(str(value), version), version) for name, value in texts.items()]
    frames += [frame("TXXX", custom(name, value, version), version) for name, value in customs.items()]
    frames.append(frame("UFID", b"http://www.cddb.com\0" + OTHER_ID.encode(), version))
    frames.append(frame("UFID", b"http://musicbrainz.org\0" + RECORDING.encode(), version))
    body = b"".join(frames)
    return b"ID3" + bytes([version, 0, 0]) + synchsafe(len(body)) + body


def chunk(name: bytes, content: bytes, order: str) -> bytes:
    return name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)


def with_chunk(path: Path, name: bytes, content: bytes) -> bytes:
    """A RIFF or IFF file with an additional chunk at its end."""
    whole = path.read_bytes()
    order = "<" if whole.startswith(b"RIFF") else ">"
    whole += chunk(name, content, order)
    return whole[:4] + struct.pack(f"{order}I", len(whole) - 8) + whole[8:]


def comments(fields: list[tuple[str, str]]) -> bytes:
    lines = [f"{name}={value}".encode() for name, value in fields]
    body = b"".join(struct.pack("<I", len(line)) + line for line in lines)
    return struct.pack("<I", 3) + b"abc" + struct.pack("<I", len(lines)) + body


VORBIS = [
    *(("title", "Żółw — 亀 🐢"), ("ARTIST", "Björk"), ("ALBUMARTIST", "Various Artists"), ("Album", "Où est l'été?")),
    *(
        ("DATE", "2009-03-01"),
        ("ORIGINALDATE", "1971"),
        ("ISRC", "GBAYE0601477"),
        ("BPM", "128"),
        ("GENRE", "Trip-Hop"),
    ),
    *(("GENRE", "Rock"), ("MUSICBRAINZ_TRACKID", RECORDING), ("MUSICBRAINZ_RELEASETRACKID", OTHER_ID)),
    *(("MUSICBRAINZ_ARTISTID", ARTIST), ("MUSICBRAINZ_ARTISTID", OTHER_ARTIST), ("MUSICBRAINZ_ALBUMID", RELEASE)),
]


def flac(path: Path, block: bytes) -> bytes:
    """A FLAC file with a comment block after its stream information."""
    whole = path.read_bytes()
    return whole[:42] + b"\4" + len(block).to_bytes(3, "big") + block + whole[42:]


def atom(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def value_atom(kind: int, *values: bytes) -> bytes:
    return b"".join(atom(b"data", struct.pack(">II", kind, 0) + value) for value in values)


def itunes(path: Path, *, mean: bytes = b"com.apple.iTunes") -> bytes:
    """An M4A file with metadata in the layout of iTunes and Picard, at the end of the ``moov`` box."""
    texts = {
        b"\xa9nam": EXPECTED.title,
        b"\xa9ART": EXPECTED.artist_name,
        b"aART": EXPECTED.album_artist,
        b"\xa9alb": EXPECTED.release,
        b"\xa9day": "2009-03-01T07:00:00Z",
    }
    freeform = {
        "MusicBrainz Track Id": [RECORDING],
        "MusicBrainz Release Track Id": [OTHER_ID],
        "MusicBrainz Artist Id": [ARTIST, OTHER_ARTIST],
        "MusicBrainz Album Id": [RELEASE],
        "ISRC": ["GBAYE0601477"],
    }
    items = b"".join(atom(name, value_atom(1, str(value).encode())) for name, value in texts.items())
    items += atom(b"\xa9gen", value_atom(1, b"Trip-Hop", b"Rock")) + atom(b"tmpo", value_atom(21, b"\0\x80"))
    for name, values in freeform.items():
        head = atom(b"mean", bytes(4) + mean) + atom(b"name", bytes(4) + name.encode())
        items += atom(b"----", head + value_atom(1, *(value.encode() for value in values)))
    handler = atom(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    extra = atom(b"udta", atom(b"meta", bytes(4) + handler + atom(b"ilst", items)))
    whole = path.read_bytes()
    position = whole.index(b"moov") - 4
    (size,) = struct.unpack(">I", whole[position : position + 4])
    moov = whole[position + 8 : position + size]
    inner = moov.find(b"udta") - 4
    kept = moov[:inner] if inner > 0 else moov
    return whole[:position] + atom(b"moov", kept + extra)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One second of audio without tags in each format."""
    folder = tmp_path_factory.mktemp("bare")
    signal = np.sin(np.arange(44_100) / 20).astype(np.float32) / 2
    paths = {}
    for name in ("wav", "aiff", "flac", "ogg", "mp3"):
        paths[name] = folder / f"bare.{name}"
        soundfile.write(paths[name], signal, 44_100)
    paths["m4a"] = write_with_ffmpeg(folder / "bare.m4a", "aac", "ipod", {})
    return paths


def write_with_ffmpeg(path: Path, codec: str, container: str, tags: dict[str, str], **options: str) -> Path:
    """Write half a second of silence with tags."""
    rate = 48_000
    with av.open(path, "w", format=container, options=options) as out:
        out.metadata.update(tags)
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for start in range(0, rate // 2, 960):
            part = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
            part.sample_rate, part.pts = rate, start
            for resampled in av.AudioResampler(stream.format, "mono", rate).resample(part):
                out.mux(stream.encode(resampled))
        out.mux(stream.encode(None))
    return path


CASES = {
    "mp3_id3_2_4": lambda bare: id3(4) + bare["mp3"].read_bytes(),
    "mp3_id3_2_3": lambda bare: id3(3) + bare["mp3"].read_bytes(),
    "wav": lambda bare: with_chunk(bare["wav"], b"id3 ", id3(4)),
    "aiff": lambda bare: with_chunk(bare["aiff"], b"ID3 ", id3(3)),
    "flac": lambda bare: flac(bare["flac"], comments(VORBIS)),
    "m4a": lambda bare: itunes(bare["m4a"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_format_gives_the_same_tags(bare: dict[str, Path], tmp_path: Path, case: str) -> None:
    path = tmp_path / f"{case}.xyz"  # an unknown suffix: the content determines the format
    path.write_bytes(CASES[case](bare))
    has_one_genre = case in {"mp3_id3_2_3", "aiff"}  # written as a number
    expected = dataclasses.replace(EXPECTED, genre_tags=("Trip-Hop",)) if has_one_genre else EXPECTED
    assert read_tags(path) == expected


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        *(("libopus", "opus", {}), ("flac", "flac", {}), ("flac", "ogg", {})),
        ("aac", "ipod", {"movflags": "use_metadata_tags"}),
        ("libmp3lame", "mp3", {}),
    ],
)
def test_tags_written_by_ffmpeg(tmp_path: Path, codec: str, container: str, options: dict[str, str]) -> None:
    frames = {"ISRC": "TSRC", "BPM": "TBPM"} if container == "mp3" else {}
    names = {"title": str(EXPECTED.title), "artist": str(EXPECTED.artist_name)}
    names |= {"album_artist": str(EXPECTED.album_artist), "album": str(EXPECTED.release)}
    names |= {"date": "2009-03-01", "genre": "Trip-Hop", "MUSICBRAINZ_TRACKID": RECORDING}
    names |= {"MUSICBRAINZ_ARTISTID": ARTIST, "MUSICBRAINZ_ALBUMID": RELEASE}
    names |= {frames.get("ISRC", "ISRC"): "GBAYE0601477", frames.get("BPM", "BPM"): "128"}
    path = write_with_ffmpeg(tmp_path / "tagged", codec, container, names, **options)
    assert read_tags(path) == dataclasses.replace(EXPECTED, genre_tags=("Trip-Hop",))


@pytest.mark.parametrize("suffix", ["ogg", "flac", "wav", "aiff"])
def test_tags_written_by_libsndfile(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tagged.{suffix}"
    with soundfile.SoundFile(path, "w", 44_100, 1) as out:
        out.title, out.artist, out.comment = "Żółw — 亀", "Björk", "not read"
        out.write(np.zeros(44_100))
    assert read_tags(path) == Tags(title="Żółw — 亀", artist_name="Björk")


def test_file_without_tags(bare: dict[str, Path]) -> None:
    assert {name: read_tags(path) for name, path in bare.items()} == dict.fromkeys(bare, Tags())


def test_wav_info_chunk(bare: dict[str, Path], tmp_path: Path) -> None:
    fields = {b"INAM": "Żółw", b"IART": "Björk", b"IPRD": "LP", b"ICRD": "2009-03-01", b"IGNR": "Rock", b"ISRC": "x"}
    info = b"INFO" + b"".join(chunk(name, value.encode() + b"\0", "<") for name, value in fields.items())
    (tmp_path / "info.wav").write_bytes(with_chunk(bare["wav"], b"LIST", info))
    expected = Tags(title="Żółw", artist_name="Björk", release="LP", year=2009, genre_tags=("Rock",))
    assert read_tags(tmp_path / "info.wav") == expected


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("TITLE", "  a\r\n b\x07\u202ec\ufeff  ", "title", "a b c"),
        ("TITLE", " \0 ", "title", None),
        ("TITLE", "x" * 5000, "title", "x" * MAX_CHARACTERS),
        ("TITLE", "می\u200cخواهم", "title", "می\u200cخواهم"),
        ("TITLE", "one\0two", "title", "one"),
        *(("DATE", "2009", "year", 2009), ("DATE", "20090301", "year", 2009), ("DATE", "01/03/1971", "year", 1971)),
        *(("DATE", "0000", "year", None), ("DATE", "12345", "year", None), ("DATE", "later", "year", None)),
        *(("BPM", "127.96", "bpm_tag", 127.96), ("BPM", "127,5", "bpm_tag", 127.5), ("BPM", "0", "bpm_tag", None)),
        *(("BPM", "20", "bpm_tag", 20.0), ("BPM", "400", "bpm_tag", 400.0), ("BPM", "400.1", "bpm_tag", None)),
        *(("BPM", "nan", "bpm_tag", None), ("BPM", "inf", "bpm_tag", None), ("BPM", "fast", "bpm_tag", None)),
        *(("ISRC", "us-rc1-76-07839", "isrc", "USRC17607839"), ("ISRC", "USRC1760783", "isrc", None)),
        *(("ISRC", "USRC17607839; GBAYE0601477", "isrc", "USRC17607839"), ("ISRC", "USRC176078399", "isrc", None)),
        ("MUSICBRAINZ_TRACKID", RECORDING.upper(), "recording_mbid", RECORDING),
        ("MUSICBRAINZ_TRACKID", RECORDING[:-1], "recording_mbid", None),
        ("MUSICBRAINZ_TRACKID", "00000000-0000-0000-0000-000000000000", "recording_mbid", None),
        ("MUSICBRAINZ_ARTISTID", f"{ARTIST}/{OTHER_ARTIST}", "artist_mbid", ARTIST),
        ("GENRE", "Rock\0 Pop \0Rock", "genre_tags", ("Rock", "Pop")),
    ],
)
def test_values_are_checked(
    bare: dict[str, Path], tmp_path: Path, name: str, value: str, field: str, expected: object
) -> None:
    (tmp_path / "one.flac").write_bytes(flac(bare["flac"], comments([(name, value)])))
    assert getattr(read_tags(tmp_path / "one.flac"), field) == expected


def test_first_valid_value_is_used(bare: dict[str, Path], tmp_path: Path) -> None:
    fields = [("ISRC", "none"), ("ISRC", "GBAYE0601477"), ("BPM", "?"), ("BPM", "90"), ("TITLE", " "), ("TITLE", "b")]
    fields += [("GENRE", f"genre {i}") for i in range(1000)]
    (tmp_path / "many.flac").write_bytes(flac(bare["flac"], comments(fields)))
    tags = read_tags(tmp_path / "many.flac")
    assert (tags.isrc, tags.bpm_tag, tags.title) == ("GBAYE0601477", 90.0, "b")
    assert tags.genre_tags == tuple(f"genre {i}" for i in range(MAX_GENRES))


def test_invalid_utf8_is_replaced(bare: dict[str, Path], tmp_path: Path) -> None:
    block = comments([("TITLE", "caf?")]).replace(b"caf?", b"caf\xe9")
    (tmp_path / "latin.flac").write_bytes(flac(bare["flac"], block))
    assert read_tags(tmp_path / "latin.flac").title == "caf\N{REPLACEMENT CHARACTER}"


def test_broken_tags_count_as_missing(bare: dict[str, Path], tmp_path: Path) -> None:
    """Random bytes in the tags cause no error and no invalid value."""
    random = np.random.default_rng(3)
    path = tmp_path / "broken"
    n_titles = 0
    for case in CASES:
        whole = CASES[case](bare)
        positions = np.flatnonzero(np.frombuffer(whole, np.uint8) != 0)
        edge = slice(None, 1500) if case in {"mp3_id3_2_4", "mp3_id3_2_3", "flac"} else slice(-1500, None)
        for _ in range(100):
            content = bytearray(whole)
            for position in random.choice(positions[edge], 6):
                content[position] = random.integers(256)
            path.write_bytes(content)
            tags = read_tags(path)
            n_titles += tags.title is not None
            for value in (tags.title, tags.artist_name, tags.album_artist, tags.release, *tags.genre_tags):
                assert value is None or 0 < len(value) <= MAX_CHARACTERS
            assert tags.year is None or 1500 <= tags.year < 2100
            assert tags.bpm_tag is None or 20 <= tags.bpm_tag <= 400
    assert 100 < n_titles < 600  # some titles are broken, some are not


def test_size_beyond_the_file_takes_no_memory(bare: dict[str, Path], tmp_path: Path) -> None:
    whole = with_chunk(bare["wav"], b"LIST", b"INFO" + chunk(b"INAM", b"kept\0", "<"))
    position = whole.index(b"INAM") + 4
    (tmp_path / "size.wav").write_bytes(whole[:position] + b"\xf0\xff\xff\xff" + whole[position + 4 :])
    assert read_tags(tmp_path / "size.wav").title == "kept"


@pytest.mark.parametrize("content", [b"", b"ID3", b"OggS", b"\0\0\0\0ftyp", b"RIFF\0\0\0\0WAVE", b"fLaC", b"<html>"])
def test_other_content_has_no_tags(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "none.mp3").write_bytes(content)
    assert read_tags(tmp_path / "none.mp3") == Tags()


def test_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_tags(tmp_path)
    assert caught.value.kind == "not_a_file"
