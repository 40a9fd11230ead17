"""What the first bytes of an audio file say: its format, whatever its name, and how long it should be.

The formats' own documents: RIFF/WAVE and EBU Tech 3306 (RF64), AIFF 1.3, RFC 9639 (FLAC), RFC 3533 (Ogg), ID3 2.4, and
for MPEG frames the Xing and VBRI headers that encoders put into the first one. Sizes may lie: every read is bounded.
"""

import math
import os
import struct
from dataclasses import dataclass
from io import FileIO

from reprise.lib.errors import InputError

FORMATS = "WAV, FLAC, OGG, Opus, MP3, M4A, AAC and AIFF"

_FOREIGN = {
    b"0&\xb2u\x8ef\xcf\x11": "WMA",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"DSD ": "DSF",
    b"FRM8": "DSDIFF",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b".snd": "AU",
    b"caff": "CAF",
    b"MThd": "MIDI",
}
_MAX_CHUNKS = 1000
_MAX_ID3_TAGS = 8
_STREAMED = 0x7FFF_0000
"""Sizes from here on are what programs write that do not know the size: they declare nothing."""

_OGG_PAGE_BYTES = 65_307
_PCM = frozenset({1, 3, 0xFFFE})
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_EXTENDED = struct.Struct(">HQ")


@dataclass(frozen=True)
class Header:
    """Format of a file and the length it declares.

    Attributes
    ----------
    format
        ``wav``, ``aiff``, ``flac``, ``ogg``, ``mp3``, ``mp4`` or ``aac``.
    declared_duration_s
        Length that the header gives, or None where it gives none; for ``ogg`` and ``mp4`` the decoder knows it.
    is_cut
        Whether the file ends before its own end mark; known of ``ogg`` only.
    """

    format: str
    declared_duration_s: float | None = None
    is_cut: bool = False


def read_header(file: FileIO, name: str) -> Header:
    """Recognise an audio file by its content.

    Parameters
    ----------
    file
        The open file; its position is changed.
    name
        What errors call it.

    Raises
    ------
    InputError
        ``empty``; ``unsupported_format`` for audio of other kinds; ``not_audio`` for all else.
    """
    try:
        if not os.fstat(file.fileno()).st_size:
            raise InputError("empty", f"{name} is an empty file: replace or remove it")
        return _recognise(file, _skip_id3(file), name)
    except OSError as error:
        raise InputError("unreadable", f"cannot read {name}: {error.strerror}") from None


def _recognise(file: FileIO, start: int, name: str) -> Header:
    readers = {"wav": _wav_duration_s, "aiff": _aiff_duration_s, "flac": _flac_duration_s, "mp3": _mpeg_duration_s}
    head = _read_at(file, start, 16)
    kind = _format(head)
    if kind in readers:
        try:
            declared = readers[kind](file, start)
        except (struct.error, ArithmeticError, LookupError):  # the decoder has the last word
            declared = None
        return Header(kind, declared if declared and math.isfinite(declared) else None)
    if kind == "ogg":
        return Header(kind, is_cut=_is_ogg_cut(file))
    if kind:
        return Header(kind)
    for magic, foreign in _FOREIGN.items():
        if head.startswith(magic):
            raise InputError("unsupported_format", f"{name} is {foreign}, which is not read: convert it to {FORMATS}")
    if start:
        return Header("mp3")  # some writers leave a gap between the ID3 tag and the first frame
    raise InputError("not_audio", f"{name} is none of {FORMATS}, or its start is damaged: replace or remove it")


def _format(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if head[4:8] == b"ftyp":
        return "mp4"
    for magic, kind in ((b"fLaC", "flac"), (b"OggS", "ogg")):
        if head.startswith(magic):
            return kind
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        # the layer bits, which MPEG audio never has at 0, tell AAC's frames from it
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] & 0x06 else None
    return None


def _read_at(file: FileIO, place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size) or b""


def _skip_id3(file: FileIO) -> int:
    """Where the file goes on behind the ID3v2 tags at its start."""
    place = 0
    for _ in range(_MAX_ID3_TAGS):
        head = _read_at(file, place, 10)
        if len(head) < 10 or not head.startswith(b"ID3"):
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        place += 10 + size + (10 if head[5] & 0x10 else 0)
    return place


def _chunks(file: FileIO, start: int, order: str) -> dict[bytes, tuple[int, int]]:
    """Place and declared size of the first chunk of each name in a RIFF (``<``) or IFF (``>``) file."""
    found: dict[bytes, tuple[int, int]] = {}
    place = start + 12
    for _ in range(_MAX_CHUNKS):
        head = _read_at(file, place, 8)
        if len(head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", head)
        found.setdefault(name, (place + 8, size))
        place += 8 + size + size % 2
    return found


def _wav_duration_s(file: FileIO, start: int) -> float | None:
    chunks = _chunks(file, start, "<")
    if b"fmt " not in chunks or b"data" not in chunks:
        return None
    tag, _, sample_rate, bytes_a_second, block_bytes = struct.unpack("<HHIIH", _read_at(file, chunks[b"fmt "][0], 14))
    size = chunks[b"data"][1]
    if b"ds64" in chunks:
        (size,) = struct.unpack("<Q", _read_at(file, chunks[b"ds64"][0] + 8, 8))
    elif size == 0 or size >= _STREAMED:
        return None
    return float(size / (sample_rate * block_bytes if tag in _PCM else bytes_a_second))


def _aiff_duration_s(file: FileIO, start: int) -> float | None:
    chunks = _chunks(file, start, ">")
    if b"COMM" not in chunks:
        return None
    comm = _read_at(file, chunks[b"COMM"][0], 18)
    (n_frames,) = struct.unpack(">I", comm[2:6])
    exponent, mantissa = _EXTENDED.unpack(comm[8:18])
    return float(n_frames / (mantissa * 2.0 ** (exponent - 16_383 - 63)))


def _flac_duration_s(file: FileIO, start: int) -> float | None:
    (packed,) = struct.unpack(">Q", _read_at(file, start + 18, 8))
    return float((packed & (1 << 36) - 1) / (packed >> 44))


def _mpeg_duration_s(file: FileIO, start: int) -> float | None:
    """Length by the Xing, Info or VBRI header in the first MPEG frame."""
    frame = _read_at(file, start, 256)
    version, layer, rate_index = frame[1] >> 3 & 3, frame[1] >> 1 & 3, frame[2] >> 2 & 3
    if version not in _MPEG_RATES or layer != 1 or rate_index == 3:
        return None
    n_samples, frame_samples = 0, 1152 if version == 3 else 576
    if frame[36:40] == b"VBRI":
        n_samples = frame_samples * struct.unpack(">I", frame[50:54])[0]
    for place in (36, 21, 13):  # behind the side information: two channels, one, one of MPEG-2
        if frame[place : place + 4] in (b"Xing", b"Info"):
            flags, n_frames = struct.unpack(">II", frame[place + 4 : place + 12])
            if flags & 1:
                fields = sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
                # what the encoder added at the start, 12 bits, and at the end, 12 bits
                added = int.from_bytes(frame[place + fields + 29 : place + fields + 32], "big")
                n_samples = frame_samples * n_frames - (added >> 12) - (added & 0xFFF)
            break
    return max(n_samples, 0) / _MPEG_RATES[version][rate_index]


def _is_ogg_cut(file: FileIO) -> bool:
    """Whether the last page is not whole, or not marked as the last."""
    size = os.fstat(file.fileno()).st_size
    tail = _read_at(file, max(0, size - _OGG_PAGE_BYTES), _OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27:
        return True
    n_segments = page[26]
    return not page[5] & 4 or len(page) < 27 + n_segments + sum(page[27 : 27 + n_segments])
