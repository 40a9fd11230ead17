"""Decoders with one interface: libsndfile, and FFmpeg through PyAV.

Neither decoder can open another file: both receive an open file instead of a path, and `open_pyav` disables FFmpeg's
external data references and protocols. FFmpeg has several hundred demuxers and codecs. Hostile content can reach only a
few of them: FFmpeg runs only the demuxer of the recognised format, and `open_pyav` rejects codecs outside an allowlist.
"""

import os
from collections.abc import Iterator, Sequence
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


_HALF_POWER = 0.5**0.5
_STEREO_GAINS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "FC": (_HALF_POWER, _HALF_POWER),
    "LFE": (0.0, 0.0),
    "BL": (_HALF_POWER, 0.0),
    "BR": (0.0, _HALF_POWER),
    "SL": (_HALF_POWER, 0.0),
    "SR": (0.0, _HALF_POWER),
    "BC": (0.5, 0.5),
}
"""Gains of a channel in the left and the right channel of a stereo downmix, by FFmpeg's name of the channel.

Source: ITU-R BS.775-4, annex 4, for 5.1 channels. The other gains are FFmpeg's.
"""


class IncompleteDecodeError(Exception):
    """libsndfile cannot decode the file as needed. Decode the file with FFmpeg instead.

    It cannot open the file, it stopped before the end, or the file has channels whose positions it does not report.
    """


class DecodedStream(NamedTuple):
    """An open decoder.

    Attributes
    ----------
    codec, sample_rate, channel_count, declared_duration_s
        As in `reprise.lib.audio.decoding.DecodedAudio`.
    blocks
        Iterator over blocks of samples, float32 of shape (n,) for mono and (n, 2) for stereo, see `stereo_gains`. If
        libsndfile fails while it decodes the file or stops early, the iterator raises `IncompleteDecodeError`.
    """

    codec: str
    sample_rate: int
    channel_count: int
    declared_duration_s: float | None
    blocks: Iterator[Float32Array]


def open_soundfile(file: FileIO, header: Header, *, channel_count: int) -> DecodedStream:
    """Open a file with libsndfile, to be decoded to 1 or 2 channels.

    Raises
    ------
    IncompleteDecodeError
        When libsndfile cannot open the file, or when the file has more than two channels, which are to become two.
    """
    file.seek(0)
    try:
        opened = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.SoundFileError as error:
        raise IncompleteDecodeError from error
    if opened.channels > channel_count > 1:
        opened.close()
        raise IncompleteDecodeError
    declared = header.declared_duration_s
    if header.format == "ogg" and not header.is_cut and opened.frames != _UNKNOWN_FRAMES:
        declared = opened.frames / opened.samplerate
    subtype = opened.subtype.lower()
    return DecodedStream(
        codec="flac" if opened.format == "FLAC" else _CODEC_NAMES.get(subtype, subtype),
        sample_rate=opened.samplerate,
        channel_count=opened.channels,
        declared_duration_s=declared,
        blocks=_soundfile_blocks(opened, file, header, channel_count),
    )


def _soundfile_blocks(
    opened: soundfile.SoundFile, file: FileIO, header: Header, channel_count: int
) -> Iterator[Float32Array]:
    with opened:
        buffer = np.empty((_BLOCK_FRAMES, opened.channels), np.float32)
        # for two channels the product equals the mean, in 1/30 of the time
        weights = np.full(opened.channels, 1 / opened.channels, np.float32)
        try:
            while len(block := opened.read(out=buffer)):
                if opened.channels == channel_count:
                    yield block[:, 0].copy() if channel_count == 1 else block.copy()
                else:
                    yield block @ weights if channel_count == 1 else np.repeat(block, 2, axis=1)
        except soundfile.SoundFileError as error:
            raise IncompleteDecodeError from error
        # libsndfile reads PCM up to the length in the header; the bytes after the PCM data belong to other chunks. In
        # other formats, and without a length, a large unread end means that libsndfile stopped early.
        if header.format in {"wav", "aiff"} and header.declared_duration_s is not None:
            return
        size = os.fstat(file.fileno()).st_size
        if size - file.tell() > max(_MAX_UNREAD_BYTES, _MAX_UNREAD_FRACTION * size):
            raise IncompleteDecodeError


def open_pyav(file: FileIO, header: Header, name: str, *, channel_count: int) -> DecodedStream:
    """Open a file with FFmpeg, to be decoded to 1 or 2 channels.

    Packets that fail to decode are skipped, as in audio players. The audio ends where the sample rate changes or where
    the container is damaged.

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
        blocks=_pyav_blocks(chain([first], frames), first.sample_rate, channel_count),
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


def _pyav_blocks(frames: "Iterator[AudioFrame]", sample_rate: int, channel_count: int) -> Iterator[Float32Array]:
    pending: list[Float32Array] = []
    n_pending = 0
    for frame in frames:
        if frame.sample_rate != sample_rate:
            break
        pending.append(_mix_to_mono(frame) if channel_count == 1 else _mix_to_stereo(frame))
        n_pending += len(pending[-1])
        if n_pending >= _BLOCK_FRAMES:
            yield np.concatenate(pending)
            pending, n_pending = [], 0
    if pending:
        yield np.concatenate(pending)


def _mix_to_mono(frame: "AudioFrame") -> Float32Array:
    """Average the channels of a frame to float32 of shape (n,). Integer samples are scaled to the range -1 to 1."""
    values = _read_channels(frame)
    mean: Float32Array = values.mean(axis=0, dtype=np.float32)
    return _scale(mean, values.dtype)


def _mix_to_stereo(frame: "AudioFrame") -> Float32Array:
    """Mix the channels of a frame to float32 of shape (n, 2). Integer samples are scaled to the range -1 to 1."""
    values = _read_channels(frame)
    gains = stereo_gains([channel.name for channel in frame.layout.channels])
    scaled = _scale(values.astype(np.float32), values.dtype)
    return np.ascontiguousarray(scaled.T) if len(scaled) == 2 else scaled.T @ gains


def stereo_gains(channel_names: Sequence[str]) -> Float32Array:
    """Return the gains of a stereo downmix, shape (channels, 2), for FFmpeg's names of the channels.

    One channel is copied to both sides; two channels are kept. More channels are mixed by the gains of ITU-R BS.775,
    which leave out the low-frequency channel, divided by their sum on one side, so that the mix does not exceed full
    scale. If the position of a channel is unknown, both sides are the mean of all channels.
    """
    n_channels = len(channel_names)
    if n_channels == 2:
        return np.eye(2, dtype=np.float32)
    if n_channels == 1 or not _STEREO_GAINS.keys() >= set(channel_names):
        return np.full((n_channels, 2), 1 / n_channels, np.float32)
    gains = np.array([_STEREO_GAINS[name] for name in channel_names], np.float32)
    gains /= gains.sum(axis=0).max()
    return gains


def _read_channels(frame: "AudioFrame") -> npt.NDArray[Any]:
    """Return the samples of a frame in the frame's dtype, shape (channels, n)."""
    values: npt.NDArray[Any] = frame.to_ndarray()
    return values if frame.format.is_planar else values.reshape(-1, len(frame.layout.channels)).T


def _scale(values: Float32Array, dtype: np.dtype[Any]) -> Float32Array:
    """Scale samples that were integers of this dtype to the range -1 to 1. Floats remain as they are."""
    if dtype.kind != "f":
        values /= np.float32(2.0 ** (8 * dtype.itemsize - 1))
    return values - np.float32(1) if dtype.kind == "u" else values
