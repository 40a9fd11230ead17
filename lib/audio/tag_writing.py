"""Write tags into audio files, with the tag names that MusicBrainz Picard uses in each format.

Sources: documentation of MusicBrainz Picard, appendix "Tag Mapping"; ID3v2.4.0 structure and frames; the iTunes
metadata atoms of the QuickTime file format; the RIFF and AIFF chunk formats.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_UFID_OWNER = b"http://musicbrainz.org\0"
_UTF8 = b"\3"


@dataclass(frozen=True)
class OutputTags:
    """Tags to write into the file of a recording. The ids are UUIDs. ``isrc`` is empty if there is no ISRC."""

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


def build_vorbis_comments(tags: OutputTags) -> dict[str, str]:
    """Return the Vorbis comments of a FLAC, Ogg Vorbis or Opus file. Empty comments are left out."""
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


def build_id3(tags: OutputTags) -> bytes:
    """Return an ID3v2.4 tag, to be written at the start of an MP3 file or into a chunk of a WAV or AIFF file."""
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
    frames = [_build_frame(name, _UTF8 + text.encode()) for name, text in texts.items() if text]
    frames += [_build_frame("TXXX", _UTF8 + name.encode() + b"\0" + text.encode()) for name, text in named.items()]
    frames.append(_build_frame("UFID", _UFID_OWNER + tags.recording_mbid.encode("ascii")))
    body = b"".join(frames)
    return b"ID3\4\0\0" + _encode_synchsafe(len(body)) + body


def _build_frame(name: str, content: bytes) -> bytes:
    return name.encode("ascii") + _encode_synchsafe(len(content)) + b"\0\0" + content


def _encode_synchsafe(size: int) -> bytes:
    """Encode a size as an ID3 synchsafe integer: four bytes with seven bits of the size in each."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def append_riff_tags(wav: bytes, tags: OutputTags) -> bytes:
    """Return the WAV file ``wav`` with an INFO list and an ID3 chunk appended."""
    texts = {"INAM": tags.title, "IART": tags.artist, "IPRD": tags.album, "ICRD": tags.date, "IGNR": tags.genre,
             "ITRK": str(tags.track_number)}  # fmt: skip
    info = b"INFO" + b"".join(_build_chunk(name, text.encode() + b"\0", "<") for name, text in texts.items())
    body = (
        wav[8:] + b"\0" * (len(wav) % 2) + _build_chunk("LIST", info, "<") + _build_chunk("id3 ", build_id3(tags), "<")
    )
    return wav[:4] + struct.pack("<I", len(body)) + body


def append_aiff_tags(aiff: bytes, tags: OutputTags) -> bytes:
    """Return the AIFF file with an ID3 chunk appended."""
    body = aiff[8:] + b"\0" * (len(aiff) % 2) + _build_chunk("ID3 ", build_id3(tags), ">")
    return aiff[:4] + struct.pack(">I", len(body)) + body


def _build_chunk(name: str, content: bytes, order: str) -> bytes:
    return name.encode("ascii") + struct.pack(order + "I", len(content)) + content + b"\0" * (len(content) % 2)


def append_mp4_tags(mp4: bytes, tags: OutputTags) -> bytes:
    """Return the M4A file with iTunes metadata in the box ``moov``.

    ``moov`` must be the last box, so that the offsets of the audio data do not change.

    Raises
    ------
    ValueError
        ``moov`` is not the last box.
    """
    *_, (name, start, end) = _walk_boxes(mp4, 0, len(mp4))
    if name != b"moov" or end != len(mp4):
        raise ValueError("the last box of the MP4 file is not moov: write the file without faststart")
    handler = _build_box("hdlr", bytes(8) + b"mdirappl" + bytes(9))
    metadata = _build_box("meta", bytes(4) + handler + _build_box("ilst", _list_items(tags)))
    # remove the empty metadata list that FFmpeg writes into udta, because readers use only the first list
    kept = [mp4[first - 8 : last] for name, first, last in _walk_boxes(mp4, start, end) if name != b"udta"]
    return mp4[: start - 8] + _build_box("moov", b"".join(kept) + _build_box("udta", metadata))


def _walk_boxes(mp4: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of the content, end of the content) of each box."""
    while start < end:
        size = max(int.from_bytes(mp4[start : start + 4], "big"), 8)
        yield mp4[start + 4 : start + 8], start + 8, start + size
        start += size


def _list_items(tags: OutputTags) -> bytes:
    texts = {"©nam": tags.title, "©ART": tags.artist, "©alb": tags.album, "aART": tags.album_artist,
             "©day": tags.date, "©gen": tags.genre}  # fmt: skip
    named = {
        "MusicBrainz Track Id": tags.recording_mbid,
        "MusicBrainz Artist Id": tags.artist_mbid,
        "MusicBrainz Album Artist Id": tags.artist_mbid,
        "MusicBrainz Album Id": tags.release_mbid,
        "ISRC": tags.isrc,
    }
    items = [_build_box(name, _build_value(1, text.encode())) for name, text in texts.items()]
    items.append(_build_box("trkn", _build_value(0, struct.pack(">4H", 0, tags.track_number, 0, 0))))
    items.append(_build_box("tmpo", _build_value(21, struct.pack(">H", tags.bpm))))
    items += [
        _build_box(
            "----",
            _build_box("mean", bytes(4) + b"com.apple.iTunes")
            + _build_box("name", bytes(4) + name.encode())
            + _build_value(1, text.encode()),
        )
        for name, text in named.items()
        if text
    ]
    return b"".join(items)


def _build_value(kind: int, content: bytes) -> bytes:
    """Return a value box. ``kind`` is 0 for binary data, 1 for UTF-8 text, 21 for a signed integer."""
    return _build_box("data", struct.pack(">II", kind, 0) + content)


def _build_box(name: str, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name.encode("latin-1") + content
