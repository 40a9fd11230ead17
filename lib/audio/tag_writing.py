"""Tags of an audio file, named in each format as MusicBrainz Picard names them.

Source: Picard's documentation, appendix "Tag Mapping"; ID3v2.4.0 structure and frames; the iTunes metadata atoms of the
QuickTime file format; the RIFF and AIFF chunk formats.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_UFID_OWNER = b"http://musicbrainz.org\0"
_UTF8 = b"\3"


@dataclass(frozen=True)
class Tags:
    """What a tagger knows of a recording; ``isrc`` may be empty, ids are UUIDs."""

    title: str
    artist: str
    album: str
    album_artist: str
    track_number: int
    date: str
    genre: str
    bpm: int
    recording_mbid: str
    artist_mbid: str
    release_mbid: str
    isrc: str


def name_comments(tags: Tags) -> dict[str, str]:
    """Vorbis comments, as FLAC, Ogg Vorbis and Opus have them; those that are empty are left out."""
    named = {
        "TITLE": tags.title,
        "ARTIST": tags.artist,
        "ALBUM": tags.album,
        "ALBUMARTIST": tags.album_artist,
        "TRACKNUMBER": str(tags.track_number),
        "DATE": tags.date,
        "GENRE": tags.genre,
        "BPM": str(tags.bpm),
        "ISRC": tags.isrc,
        "MUSICBRAINZ_TRACKID": tags.recording_mbid,
        "MUSICBRAINZ_ARTISTID": tags.artist_mbid,
        "MUSICBRAINZ_ALBUMARTISTID": tags.artist_mbid,
        "MUSICBRAINZ_ALBUMID": tags.release_mbid,
    }
    return {name: text for name, text in named.items() if text}


def build_id3(tags: Tags) -> bytes:
    """Return an ID3v2.4 tag: before the audio of an MP3, in a chunk of a WAV or an AIFF."""
    texts = {
        "TIT2": tags.title,
        "TPE1": tags.artist,
        "TALB": tags.album,
        "TPE2": tags.album_artist,
        "TRCK": str(tags.track_number),
        "TDRC": tags.date,
        "TCON": tags.genre,
        "TBPM": str(tags.bpm),
        "TSRC": tags.isrc,
    }
    named = {
        "MusicBrainz Artist Id": tags.artist_mbid,
        "MusicBrainz Album Artist Id": tags.artist_mbid,
        "MusicBrainz Album Id": tags.release_mbid,
    }
    frames = [_frame(name, _UTF8 + text.encode()) for name, text in texts.items() if text]
    frames += [_frame("TXXX", _UTF8 + name.encode() + b"\0" + text.encode()) for name, text in named.items()]
    frames.append(_frame("UFID", _UFID_OWNER + tags.recording_mbid.encode("ascii")))
    body = b"".join(frames)
    return b"ID3\4\0\0" + _synchsafe(len(body)) + body


def _frame(name: str, content: bytes) -> bytes:
    return name.encode("ascii") + _synchsafe(len(content)) + b"\0\0" + content


def _synchsafe(size: int) -> bytes:
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def append_riff_tags(wav: bytes, tags: Tags) -> bytes:
    """Return a WAV file with an INFO list and an ID3 chunk after its audio."""
    texts = {"INAM": tags.title, "IART": tags.artist, "IPRD": tags.album, "ICRD": tags.date, "IGNR": tags.genre,
             "ITRK": str(tags.track_number)}  # fmt: skip
    info = b"INFO" + b"".join(_chunk(name, text.encode() + b"\0", "<") for name, text in texts.items())
    body = wav[8:] + b"\0" * (len(wav) % 2) + _chunk("LIST", info, "<") + _chunk("id3 ", build_id3(tags), "<")
    return wav[:4] + struct.pack("<I", len(body)) + body


def append_aiff_tags(aiff: bytes, tags: Tags) -> bytes:
    """Return an AIFF file with an ID3 chunk after its audio."""
    body = aiff[8:] + b"\0" * (len(aiff) % 2) + _chunk("ID3 ", build_id3(tags), ">")
    return aiff[:4] + struct.pack(">I", len(body)) + body


def _chunk(name: str, content: bytes, order: str) -> bytes:
    return name.encode("ascii") + struct.pack(order + "I", len(content)) + content + b"\0" * (len(content) % 2)


def append_mp4_tags(mp4: bytes, tags: Tags) -> bytes:
    """Return an M4A file with iTunes metadata in its last box, ``moov``: no offset into the audio changes.

    Raises
    ------
    ValueError
        ``moov`` is not the last box.
    """
    *_, (name, start, end) = _walk_boxes(mp4, 0, len(mp4))
    if name != b"moov" or end != len(mp4):
        raise ValueError("the file does not end with its moov box")
    handler = _box("hdlr", bytes(8) + b"mdirappl" + bytes(9))
    metadata = _box("meta", bytes(4) + handler + _box("ilst", _list_items(tags)))
    # FFmpeg leaves an empty list there, and readers look at the first only
    kept = [mp4[first - 8 : last] for name, first, last in _walk_boxes(mp4, start, end) if name != b"udta"]
    return mp4[: start - 8] + _box("moov", b"".join(kept) + _box("udta", metadata))


def _walk_boxes(mp4: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name of each box, where its content starts and where it ends."""
    while start < end:
        size = max(int.from_bytes(mp4[start : start + 4], "big"), 8)
        yield mp4[start + 4 : start + 8], start + 8, start + size
        start += size


def _list_items(tags: Tags) -> bytes:
    texts = {"©nam": tags.title, "©ART": tags.artist, "©alb": tags.album, "aART": tags.album_artist,
             "©day": tags.date, "©gen": tags.genre}  # fmt: skip
    named = {
        "MusicBrainz Track Id": tags.recording_mbid,
        "MusicBrainz Artist Id": tags.artist_mbid,
        "MusicBrainz Album Artist Id": tags.artist_mbid,
        "MusicBrainz Album Id": tags.release_mbid,
        "ISRC": tags.isrc,
    }
    items = [_box(name, _data(1, text.encode())) for name, text in texts.items()]
    items.append(_box("trkn", _data(0, struct.pack(">4H", 0, tags.track_number, 0, 0))))
    items.append(_box("tmpo", _data(21, struct.pack(">H", tags.bpm))))
    items += [
        _box(
            "----",
            _box("mean", bytes(4) + b"com.apple.iTunes")
            + _box("name", bytes(4) + name.encode())
            + _data(1, text.encode()),
        )
        for name, text in named.items()
        if text
    ]
    return b"".join(items)


def _data(kind: int, content: bytes) -> bytes:
    """Box of a value: 0 is binary, 1 text in utf-8, 21 a signed integer."""
    return _box("data", struct.pack(">II", kind, 0) + content)


def _box(name: str, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name.encode("latin-1") + content
