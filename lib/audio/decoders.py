"""Decoders with one interface: libsndfile, and FFmpeg through PyAV.

Neither decoder can open another file: both receive an open file instead of a path, and `open_pyav` disables FFmpeg's
external data references and protocols. FFmpeg has several hundred demuxers and codecs. Hostile content can reach only a
few of them: FFmpeg runs only the demuxer of the recognised format, and `open_pyav` rejects codecs outside an allowlist.
"""

import os
from collections.abc import Iterator
from io import FileIO
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soundfile

from reprise.lib.arrays import Float32Array
from reprise.lib.audio.headers import Header
from reprise.lib.errors import InputError

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.container import InputContainer

LIBSNDFILE_FORMATS = frozenset({"wav", "aiff", "flac", "ogg", "mp3"})
"""Formats that libsndfile decodes. When libsndfile fails, FFmpeg decodes the file."""

_BLOCK_FRAMES = 65_536
_MAX_UNREAD_BYTES, _MAX_UNREAD_FRACTION = 16_384, 0.02
"""Limits of the unread end of a file, in bytes and as a fraction of the file size. The larger limit applies.

A file with a longer unread end counts as incompletely decoded. A short unread end can contain tags and pictures.
"""

_UNKNOWN_FRAMES = 2**63 - 1
_CODECS = frozenset({"aac", "alac", "flac", "mp3", "mp3float", "mp2", "mp2float", "opus", "vorbis"})
_PCM_CODECS = ("pcm_", "adpcm_")
_CODEC_NAMES = {"mpeg_layer_iii": "mp3", "mpeg_layer_ii": "mp2", "mp3float": "mp3", "mp2float": "mp2"}


class IncompleteDecodeError(Exception):
    """libsndfile cannot open the file, or it stopped before the end. Decode the file with FFmpeg instead."""


class DecodedStream(NamedTuple):
    """An open decoder.

    Attributes
    ----------
    codec, sample_rate, channel_count, declared_duration_s
        As in `reprise.lib.audio.decoding.DecodedAudio`.
    blocks
        Iterator over blocks of mono samples, float32 of shape (n,). A mono sample is the mean of the channels. If
        libsndfile fails while it decodes the file or stops early, the iterator raises `IncompleteDecodeError`.
    """

    codec: str
    sample_rate: int
    channel_count: int
    declared_duration_s: float | None
    blocks: Iterator[Float32Array]


def open_soundfile(file: FileIO, header: Header) -> DecodedStream:
    """Open a file with libsndfile.

    Raises
    ------
    IncompleteDecodeError
        When libsndfile cannot open the file.
    """
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.SoundFileError as error:
        raise IncompleteDecodeError from error
    declared = header.declared_duration_s
    if header.format == "ogg" and not header.is_cut and opened.frames != _UNKNOWN_FRAMES:
        declared = opened.frames / opened.samplerate
    subtype = opened.subtype.lower()
    return DecodedStream(
        codec="flac" if opened.format == "FLAC" else _CODEC_NAMES.get(subtype, subtype),
        sample_rate=opened.samplerate,
        channel_count=opened.channels,
        declared_duration_s=declared,
        blocks=_soundfile_blocks(opened, file, header),
    )


def _soundfile_blocks(opened: soundfile.SoundFile, file: FileIO, header: Header) -> Iterator[Float32Array]:
    with opened:
        buffer = np.empty((_BLOCK_FRAMES, opened.channels), np.float32)
        # for two channels the product equals the mean, in 1/30 of the time
        weights = np.full(opened.channels, 1 / opened.channels, np.float32)
        try:
            while len(block := opened.read(out=buffer)):
                yield block[:, 0].copy() if opened.channels == 1 else block @ weights
        except soundfile.SoundFileError as error:
            raise IncompleteDecodeError from error
        # libsndfile reads PCM up to the length in the header; the bytes after the PCM data belong to other chunks. In
        # other formats, and without a length, a large unread end means that libsndfile stopped early.
        if header.format in {"wav", "aiff"} and header.declared_duration_s is not None:
            return
        size = os.fstat(file.fileno()).st_size
        if size - file.tell() > max(_MAX_UNREAD_BYTES, _MAX_UNREAD_FRACTION * size):
            raise IncompleteDecodeError


def open_pyav(file: FileIO, header: Header, name: str) -> DecodedStream:
    """Open a file with FFmpeg. Packets that fail to decode are skipped, as in audio players.

    The audio ends where the sample rate changes or where the container is damaged.

    Raises
    ------
    InputError
        ``damaged``: FFmpeg cannot open the file. ``no_audio``: the file has no audio stream, or no packet of it can be
        decoded. ``unsupported_format``: the codec is not on the allowlist, or FFmpeg does not know it.
    """
    import av
    from av.error import FFmpegError

    file.seek(0)
    try:
        container = av.open(
            file,
            mode="r",
            format="mov" if header.format == "mp4" else header.format,
            metadata_errors="replace",
            options={"protocol_whitelist": "none", "enable_drefs": "0"},
        )
    except (FFmpegError, ValueError):
        raise InputError(
            "damaged", f"{name} cannot be opened by any decoder: replace it with a complete copy"
        ) from None
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise InputError("no_audio", f"{name} contains no audio: replace or remove it")
    # the codec context is None if FFmpeg cannot decode the codec
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    if codec not in _CODECS and not codec.startswith(_PCM_CODECS):
        raise InputError("unsupported_format", f"{name} uses an unsupported codec ({codec}): convert it to FLAC or MP3")
    declared = header.declared_duration_s
    if header.format in {"mp4", "ogg"} and not header.is_cut and stream.duration and stream.time_base:
        declared = float(stream.duration * stream.time_base)
    frames = _pyav_frames(container, stream)
    first = next(frames, None)
    if first is None:
        raise InputError("no_audio", f"{name} contains no audio that can be decoded: replace or remove it")
    return DecodedStream(
        codec=_CODEC_NAMES.get(codec, codec),
        # use the rate of the decoded frame: for AAC with spectral band replication, the header declares half the rate
        sample_rate=first.sample_rate,
        channel_count=len(first.layout.channels),
        declared_duration_s=declared,
        blocks=_pyav_blocks(chain([first], frames), first.sample_rate),
    )


def _pyav_frames(container: "InputContainer", stream: "AudioStream") -> "Iterator[AudioFrame]":
    from av.error import FFmpegError

    with container:
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError:
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except FFmpegError:
                continue
            yield from frames


def _pyav_blocks(frames: "Iterator[AudioFrame]", sample_rate: int) -> Iterator[Float32Array]:
    pending: list[Float32Array] = []
    n_pending = 0
    for frame in frames:
        if frame.sample_rate != sample_rate:
            break
        pending.append(_mix_to_mono(frame))
        n_pending += len(pending[-1])
        if n_pending >= _BLOCK_FRAMES:
            yield np.concatenate(pending)
            pending, n_pending = [], 0
    if pending:
        yield np.concatenate(pending)


def _mix_to_mono(frame: "AudioFrame") -> Float32Array:
    """Average the channels of a frame to float32 of shape (n,). Integer samples are scaled to the range -1 to 1."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    mean: Float32Array = values.mean(axis=0, dtype=np.float32)
    if values.dtype.kind != "f":
        mean /= np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
    return mean - np.float32(1) if values.dtype.kind == "u" else mean
