"""The two decoders behind one face: libsndfile, and FFmpeg through PyAV.

Both get the open file and nothing they could open another by. FFmpeg is told which format it is, so that of its several
hundred readers only the one for the content is ever run, and which codecs may be in it.
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

BY_LIBSNDFILE = frozenset({"wav", "aiff", "flac", "ogg", "mp3"})
"""Formats that libsndfile is tried on first."""

_BLOCK_FRAMES = 65_536
_UNREAD_BYTES, _UNREAD_SHARE = 16_384, 0.02
"""Bytes that may stay unread behind the audio: tags, pictures, and what a decoder reads ahead."""

_UNKNOWN_FRAMES = 2**63 - 1
_CODECS = frozenset({"aac", "alac", "flac", "mp3", "mp3float", "mp2", "mp2float", "opus", "vorbis"})
_PCM_CODECS = ("pcm_", "adpcm_")
_NAMES = {"mpeg_layer_iii": "mp3", "mpeg_layer_ii": "mp2", "mp3float": "mp3", "mp2float": "mp2"}


class Unfinished(Exception):  # noqa: N818 - not an error: the other decoder takes over
    """libsndfile does not read the file, or not to its end."""


class Source(NamedTuple):
    """An open decoder.

    Attributes
    ----------
    codec, sample_rate, channel_count, declared_duration_s
        As in `Decoded`.
    blocks
        Samples, float32, shape (n,): the mean of the channels. Of libsndfile they may end with `Unfinished`.
    """

    codec: str
    sample_rate: int
    channel_count: int
    declared_duration_s: float | None
    blocks: Iterator[Float32Array]


def open_soundfile(file: FileIO, header: Header) -> Source:
    """Open a file with libsndfile.

    Raises
    ------
    Unfinished
        When libsndfile refuses it.
    """
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.SoundFileError as error:
        raise Unfinished from error
    declared = header.declared_duration_s
    if header.format == "ogg" and not header.is_cut and opened.frames != _UNKNOWN_FRAMES:
        declared = opened.frames / opened.samplerate
    subtype = opened.subtype.lower()
    return Source(
        codec="flac" if opened.format == "FLAC" else _NAMES.get(subtype, subtype),
        sample_rate=opened.samplerate,
        channel_count=opened.channels,
        declared_duration_s=declared,
        blocks=_soundfile_blocks(opened, file, header),
    )


def _soundfile_blocks(opened: soundfile.SoundFile, file: FileIO, header: Header) -> Iterator[Float32Array]:
    with opened:
        buffer = np.empty((_BLOCK_FRAMES, opened.channels), np.float32)
        try:
            while len(block := opened.read(out=buffer)):
                yield block[:, 0].copy() if opened.channels == 1 else block.mean(axis=1)
        except soundfile.SoundFileError as error:
            raise Unfinished from error
        # libsndfile stops at the length that the header gives; PCM behind it is other chunks, unless none was given
        if header.format in {"wav", "aiff"} and header.declared_duration_s is not None:
            return
        size = os.fstat(file.fileno()).st_size
        if size - file.tell() > max(_UNREAD_BYTES, _UNREAD_SHARE * size):
            raise Unfinished


def open_pyav(file: FileIO, header: Header, name: str) -> Source:
    """Open a file with FFmpeg. Packets that do not decode are skipped, as players do.

    Raises
    ------
    InputError
        ``damaged``, ``no_audio``, ``unsupported_format``.
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
        raise InputError("damaged", f"{name} cannot be opened by any decoder: replace it with a whole copy") from None
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        raise InputError("no_audio", f"{name} holds no audio: replace or remove it")
    # PyAV gives None for what FFmpeg has no decoder for
    codec = stream.codec_context.name if stream.codec_context else "an unknown codec"
    if codec not in _CODECS and not codec.startswith(_PCM_CODECS):
        raise InputError("unsupported_format", f"{name} is coded in {codec}, which is not read: convert it")
    declared = header.declared_duration_s
    if header.format in {"mp4", "ogg"} and not header.is_cut and stream.duration and stream.time_base:
        declared = float(stream.duration * stream.time_base)
    frames = _pyav_frames(container, stream)
    first = next(frames, None)
    if first is None:
        raise InputError("no_audio", f"{name} holds no audio that can be decoded: replace or remove it")
    return Source(
        codec=_NAMES.get(codec, codec),
        # of the frame: the header of AAC with band replication gives half the rate
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
    held: list[Float32Array] = []
    n_held = 0
    for frame in frames:
        if frame.sample_rate != sample_rate:
            break
        held.append(_mono(frame))
        n_held += len(held[-1])
        if n_held >= _BLOCK_FRAMES:
            yield np.concatenate(held)
            held, n_held = [], 0
    if held:
        yield np.concatenate(held)


def _mono(frame: "AudioFrame") -> Float32Array:
    """Mean of the channels of a frame in any of FFmpeg's sample formats."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    mean: Float32Array = values.mean(axis=0, dtype=np.float32)
    if values.dtype.kind != "f":
        mean /= np.float32(2.0 ** (8 * values.dtype.itemsize - 1))
    return mean - np.float32(1) if values.dtype.kind == "u" else mean
