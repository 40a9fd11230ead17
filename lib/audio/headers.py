"""Read the format and the declared length of an audio file from its content. The file name is not used.

Sources: RIFF/WAVE and EBU Tech 3306 (RF64), AIFF 1.3, RFC 9639 (FLAC), RFC 3533 (Ogg), ID3 2.4, and the Xing and VBRI
headers that encoders write into the first MPEG frame. Sizes that a file declares can be wrong, so all reads are
bounded.
"""

import math
import os
import struct
from dataclasses import dataclass
from io import FileIO

from reprise.lib.errors import InputError

_SUPPORTED_FORMATS = "WAV, FLAC, OGG, Opus, MP3, M4A, AAC and AIFF"

_UNSUPPORTED_FORMATS = {
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
_MIN_UNKNOWN_BYTES = 0x7FFF_0000
"""A data size of 0, or of at least this value, means "unknown" in a WAV file. Streaming programs write such sizes."""

_MAX_OGG_PAGE_BYTES = 65_307
_PCM_FORMAT_CODES = frozenset({1, 3, 0xFFFE})
_MPEG_SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_EXTENDED_FLOAT = struct.Struct(">HQ")


@dataclass(frozen=True)
class Header:
    """Format of a file and its declared length.

    Attributes
    ----------
    format
        ``wav``, ``aiff``, ``flac``, ``ogg``, ``mp3``, ``mp4`` or ``aac``.
    declared_duration_s
        Length in s that the header declares, or None. Always None for ``ogg`` and ``mp4``, whose length the decoder
        determines, and for ``aac``, which declares no length.
    is_cut
        True if an Ogg file ends before its end-of-stream mark. Always False for other formats.
    """

    format: str
    declared_duration_s: float | None = None
    is_cut: bool = False


def read_header(file: FileIO, name: str) -> Header:
    """Recognise the format of an audio file by its content, and read the declared length.

    Parameters
    ----------
    file
        The open file; the call changes its position.
    name
        Name of the file, used in error messages.

    Raises
    ------
    InputError
        ``empty``: the file is empty. ``unsupported_format``: the format is recognised, but it is not supported.
        ``not_audio``: the content is not recognised as audio. ``unreadable``: the system cannot read the file.
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
    kind = _detect_format(head)
    if kind in readers:
        try:
            declared = readers[kind](file, start)
        except (struct.error, ArithmeticError, LookupError):  # the header is damaged, but decoding can still succeed
            declared = None
        return Header(kind, declared if declared and math.isfinite(declared) else None)
    if kind == "ogg":
        return Header(kind, is_cut=_is_ogg_cut(file))
    if kind:
        return Header(kind)
    for magic, unsupported in _UNSUPPORTED_FORMATS.items():
        if head.startswith(magic):
            fault = f"{name} has the unsupported format {unsupported}"
            raise InputError("unsupported_format", f"{fault}: convert it to one of {_SUPPORTED_FORMATS}")
    if start:
        return Header("mp3")  # some writers leave a gap between the ID3 tag and the first frame
    fault = f"{name} is not an audio file (supported: {_SUPPORTED_FORMATS}), or its start is damaged"
    raise InputError("not_audio", f"{fault}: replace or remove it")


def _detect_format(head: bytes) -> str | None:
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
        # the layer bits are 0 in every AAC frame and not 0 in every MPEG audio frame
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] & 0x06 else None
    return None


def _read_at(file: FileIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size) or b""


def _skip_id3(file: FileIO) -> int:
    """Return the position of the first byte after the ID3v2 tags at the start of the file."""
    position = 0
    for _ in range(_MAX_ID3_TAGS):
        head = _read_at(file, position, 10)
        if len(head) < 10 or not head.startswith(b"ID3"):
            break
        size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    return position


def _list_chunks(file: FileIO, start: int, order: str) -> dict[bytes, tuple[int, int]]:
    """Return (position of the content, declared size) by chunk name. If a name occurs twice, the first chunk counts.

    ``order`` is the byte order: ``<`` for a RIFF file, ``>`` for an IFF file.
    """
    found: dict[bytes, tuple[int, int]] = {}
    position = start + 12
    for _ in range(_MAX_CHUNKS):
        head = _read_at(file, position, 8)
        if len(head) < 8:
            break
        name, size = struct.unpack(f"{order}4sI", head)
        found.setdefault(name, (position + 8, size))
        position += 8 + size + size % 2
    return found


def _wav_duration_s(file: FileIO, start: int) -> float | None:
    chunks = _list_chunks(file, start, "<")
    if b"fmt " not in chunks or b"data" not in chunks:
        return None
    format_code, _, sample_rate, bytes_per_second, block_bytes = struct.unpack(
        "<HHIIH", _read_at(file, chunks[b"fmt "][0], 14)
    )
    size = chunks[b"data"][1]
    if b"ds64" in chunks:
        (size,) = struct.unpack("<Q", _read_at(file, chunks[b"ds64"][0] + 8, 8))
    elif size == 0 or size >= _MIN_UNKNOWN_BYTES:
        return None
    return float(size / (sample_rate * block_bytes if format_code in _PCM_FORMAT_CODES else bytes_per_second))


def _aiff_duration_s(file: FileIO, start: int) -> float | None:
    chunks = _list_chunks(file, start, ">")
    if b"COMM" not in chunks:
        return None
    comm = _read_at(file, chunks[b"COMM"][0], 18)
    (n_frames,) = struct.unpack(">I", comm[2:6])
    exponent, mantissa = _EXTENDED_FLOAT.unpack(comm[8:18])
    return float(n_frames / (mantissa * 2.0 ** (exponent - 16_383 - 63)))


def _flac_duration_s(file: FileIO, start: int) -> float | None:
    (packed,) = struct.unpack(">Q", _read_at(file, start + 18, 8))
    return float((packed & (1 << 36) - 1) / (packed >> 44))


def _mpeg_duration_s(file: FileIO, start: int) -> float | None:
    """Return the length in s that the Xing, Info or VBRI header in the first MPEG frame declares; 0 without one."""
    frame = _read_at(file, start, 256)
    version, layer, rate_index = frame[1] >> 3 & 3, frame[1] >> 1 & 3, frame[2] >> 2 & 3
    if version not in _MPEG_SAMPLE_RATES or layer != 1 or rate_index == 3:
        return None
    n_samples, frame_samples = 0, 1152 if version == 3 else 576
    if frame[36:40] == b"VBRI":
        n_samples = frame_samples * struct.unpack(">I", frame[50:54])[0]
    # the header follows the side information, which ends at byte 36 (stereo MPEG-1), 21 (mono MPEG-1 or stereo MPEG-2)
    # or 13 (mono MPEG-2)
    for position in (36, 21, 13):
        if frame[position : position + 4] in (b"Xing", b"Info"):
            flags, n_frames = struct.unpack(">II", frame[position + 4 : position + 12])
            if flags & 1:
                fields = sum(size for bit, size in ((1, 4), (2, 4), (4, 100), (8, 4)) if flags & bit)
                # two numbers of 12 bits: encoder delay and end padding, in samples
                padding = int.from_bytes(frame[position + fields + 29 : position + fields + 32], "big")
                n_samples = frame_samples * n_frames - (padding >> 12) - (padding & 0xFFF)
            break
    return max(n_samples, 0) / _MPEG_SAMPLE_RATES[version][rate_index]


def _is_ogg_cut(file: FileIO) -> bool:
    """Return True if the last page of an Ogg file is incomplete or has no end-of-stream mark."""
    size = os.fstat(file.fileno()).st_size
    tail = _read_at(file, max(0, size - _MAX_OGG_PAGE_BYTES), _MAX_OGG_PAGE_BYTES)
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27:
        return True
    n_segments = page[26]
    return not page[5] & 4 or len(page) < 27 + n_segments + sum(page[27 : 27 + n_segments])
