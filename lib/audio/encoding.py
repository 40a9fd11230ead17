"""Encode samples as tagged audio files in common formats. Equal samples and tags produce equal bytes.

`FlacEncoder` is the one encoder of FLAC: FFmpeg's, because it takes any tag, and reports a failed write.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from reprise.lib.arrays import Float32Array, Int32Array
from reprise.lib.audio.tag_writing import (
    OutputTags,
    append_aiff_tags,
    append_mp4_tags,
    append_riff_tags,
    build_id3,
    build_vorbis_comments,
)
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import UNFINISHED_PREFIX, printable_name, replace_file

FORMATS = ("flac", "ogg", "mp3", "m4a", "wav", "aiff", "opus")
"""Supported file name suffixes, in this order: FLAC, Ogg Vorbis, MP3, AAC, WAV, AIFF, Opus."""

_BLOCK_FRAMES = 1 << 18
_BITRATE_BPS = {"mp3": 192_000, "m4a": 160_000, "opus": 112_000}
_CODECS = {"mp3": "libmp3lame", "m4a": "aac", "opus": "libopus"}
_CONTAINERS = {"mp3": "mp3", "m4a": "ipod", "opus": "ogg"}
_OPUS_RATE = 48_000
_ROUNDING = 1e-6
"""Excess over full scale that rounding to float32 can cause, e.g. when a signal is divided by its peak."""

# these options reduce the encoding time to a third; the slightly lower quality is sufficient for synthetic recordings
_FAST_OPTIONS = {"mp3": {"compression_level": "7"}, "m4a": {"aac_coder": "fast"}}


def encode(mix: Float32Array, suffix: str, tags: OutputTags, *, sample_rate: int) -> bytes:
    """Encode a mix of shape (frames, 2), dtype float32, into the bytes of a tagged file.

    Lossless formats have 16 bits per sample. Opus is resampled to 48 kHz, the rate of every Opus file.

    Raises
    ------
    KeyError
        ``suffix`` is not in `FORMATS`.
    InputError
        ``bad_samples``, ``over_scale``: as in `FlacEncoder.write`.
    """
    _check_range(mix, "the mix")
    if suffix in ("wav", "aiff"):
        append = append_riff_tags if suffix == "wav" else append_aiff_tags
        return append(_encode_libsndfile(mix, suffix.upper(), "PCM_16", sample_rate), tags)
    if suffix == "ogg":
        return _encode_vorbis(mix, tags, sample_rate)
    if suffix == "flac":
        out = io.BytesIO()
        comments = build_vorbis_comments(tags)
        with FlacEncoder(
            out, "the mix", sample_rate=sample_rate, channel_count=2, bit_depth=16, comments=comments
        ) as flac:
            flac.write(mix)
        return out.getvalue()
    comments = build_vorbis_comments(tags) if suffix == "opus" else {}
    audio = _encode_ffmpeg(mix, suffix, comments, sample_rate)
    if suffix == "mp3":
        return build_id3(tags) + audio
    return append_mp4_tags(audio, tags) if suffix == "m4a" else audio


class _Sink:
    """A file for PyAV. It keeps the first OSError: PyAV loses or prints errors that are raised while FFmpeg writes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            if self.error is None:
                self._file.write(data)
        except OSError as error:
            self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except OSError as error:  # a buffered file writes its buffer before it moves
            self.error = self.error or error
            return offset

    def tell(self) -> int:
        return self._file.tell()


class FlacEncoder:
    """A FLAC file that is encoded block by block; a context manager. Memory use does not grow with the length.

    Equal samples, however they are divided into blocks, and equal comments produce equal bytes. At the end, a file
    without samples raises InputError ``no_audio``.

    Parameters
    ----------
    out
        File to write to. It must be able to seek, and to write all bytes that it is given. It remains open.
    name
        Name of the signal, used in error messages.
    sample_rate, channel_count
        Sample rate in Hz and number of channels, 1 or 2.
    bit_depth
        16 or 24 bits per sample. 16 is what listeners' files have. 24 is for signals that are processed further: the
        rounding error stays 144 dB below full scale also where a quiet signal is amplified later.
    comments
        Vorbis comments, by name. FFmpeg writes ``COMMENT`` under its standard name, ``DESCRIPTION``.
    """

    def __init__(
        self,
        out: IO[bytes],
        name: str,
        *,
        sample_rate: int,
        channel_count: int,
        bit_depth: int,
        comments: Mapping[str, str],
    ) -> None:
        import av

        self._name, self._sample_rate, self._channel_count = name, sample_rate, channel_count
        self._bit_depth, self._sample_format = bit_depth, {16: "s16", 24: "s32"}[bit_depth]
        self._layout = {1: "mono", 2: "stereo"}[channel_count]
        self._sink = _Sink(out)
        self._container = av.open(self._sink, "w", format="flac", options=dict(_BITEXACT))
        self._stream: Any = self._container.add_stream("flac", rate=sample_rate, layout=self._layout)
        self._stream.codec_context.thread_count = 1
        self._stream.codec_context.format = av.AudioFormat(self._sample_format)
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._container.metadata.update(comments)
        self._digest = hashlib.sha256()
        self.frame_count = 0
        """Number of frames written so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._container:
            if kind is None and self.frame_count:
                self._container.mux(self._stream.encode(None))
        if kind is None:
            self._check_sink()
            if not self.frame_count:
                raise InputError("no_audio", f"{self._name} has no samples, and FLAC files without samples are invalid")

    def _check_sink(self) -> None:
        if self._sink.error:
            raise self._sink.error

    @property
    def samples_sha256(self) -> str:
        """SHA-256 of the samples so far, as hexadecimal text: what a decoder returns, in little-endian integers."""
        return self._digest.hexdigest()

    def write(self, signal: Float32Array) -> None:
        """Append frames of shape (n, channels). A sample of 1 becomes the greatest integer, -1 the least but one.

        Raises
        ------
        InputError
            ``bad_samples``: a sample is NaN or infinite. ``over_scale``: a sample is greater than 1 in absolute value,
            by more than the rounding of float32. Nothing is clipped: scale the whole signal, and all signals that are
            to remain in balance with it, by the reciprocal of the greatest peak.
        OSError
            The file cannot be written.
        ValueError
            The signal has another shape.
        """
        if signal.ndim != 2 or signal.shape[1] != self._channel_count:
            raise ValueError(f"the signal has the shape {signal.shape}, not (n, {self._channel_count})")
        for start in range(0, len(signal), _BLOCK_FRAMES):
            self._write_block(np.ascontiguousarray(signal[start : start + _BLOCK_FRAMES]))

    def _write_block(self, block: Float32Array) -> None:
        import av

        _check_range(block, self._name)
        full_scale = 2 ** (self._bit_depth - 1) - 1
        values: Int32Array = np.rint(block * np.float32(full_scale)).astype(np.int32)
        np.clip(values, -full_scale, full_scale, out=values)
        if self._bit_depth == 16:
            samples = values.astype("<i2")
            self._digest.update(samples.data)
        else:
            samples = values << 8  # FFmpeg takes the upper 24 of 32 bits
            self._digest.update(np.ascontiguousarray(samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:]).data)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), self._sample_format, self._layout)
        frame.sample_rate, frame.pts = self._sample_rate, self.frame_count
        self._container.mux(self._stream.encode(frame))
        self._check_sink()
        self.frame_count += len(block)


def _check_range(signal: Float32Array, name: str) -> None:
    peak = float(np.abs(signal).max(initial=0.0))
    if not np.isfinite(peak):
        raise InputError("bad_samples", f"{name} contains NaN or infinite samples: leave it out")
    if peak > 1 + _ROUNDING:
        raise InputError("over_scale", f"{name} has a peak of {peak:.3f}, over full scale: scale it by 1/peak")


@contextmanager
def write_flac(
    path: str | os.PathLike[str],
    *,
    sample_rate: int,
    channel_count: int,
    bit_depth: int,
    comments: Mapping[str, str],
) -> Iterator[FlacEncoder]:
    """Open a FLAC file for writing; a context manager. The file gets its name when it is complete.

    An existing file is replaced. After an error, the path is as before. The parameters are those of `FlacEncoder`.

    Raises
    ------
    RepriseError
        The file cannot be written, e.g. because the disk is full.
    """
    try:
        with (
            replace_file(path) as file,
            FlacEncoder(
                file,
                printable_name(path),
                sample_rate=sample_rate,
                channel_count=channel_count,
                bit_depth=bit_depth,
                comments=comments,
            ) as encoder,
        ):
            yield encoder
    except OSError as error:
        if error.filename and not Path(error.filename).name.startswith(UNFINISHED_PREFIX):
            raise  # in the block, something else failed
        reason = error.strerror or error
        raise RepriseError(f"{path} cannot be written ({reason}): free space there, or name another folder") from None


def _encode_libsndfile(signal: Float32Array, container: str, subtype: str, sample_rate: int) -> bytes:
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", sample_rate, signal.shape[1], format=container, subtype=subtype) as file:
        for start in range(0, len(signal), _BLOCK_FRAMES):  # libsndfile 1.2 overflows its stack on long Vorbis writes
            file.write(signal[start : start + _BLOCK_FRAMES])
    return out.getvalue()


def _encode_vorbis(mix: Float32Array, tags: OutputTags, sample_rate: int) -> bytes:
    import av

    # libsndfile writes a random stream serial number into an Ogg file, and it cannot write MusicBrainz tags. Therefore
    # FFmpeg copies the packets into a new Ogg file.
    source = io.BytesIO(_encode_libsndfile(mix, "OGG", "VORBIS", sample_rate))
    out = io.BytesIO()
    with av.open(source, "r", format="ogg") as old, av.open(out, "w", format="ogg", options=_BITEXACT) as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        stream.metadata.clear()
        stream.metadata.update(build_vorbis_comments(tags))
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return out.getvalue()


# with this option, FFmpeg writes neither a random stream serial number nor the current time
_BITEXACT = {"fflags": "+bitexact"}


def _encode_ffmpeg(mix: Float32Array, suffix: str, comments: dict[str, str], sample_rate: int) -> bytes:
    import av

    out = io.BytesIO()
    options = dict(_BITEXACT)
    if suffix == "mp3":
        options["id3v2_version"] = "0"
    with av.open(out, "w", format=_CONTAINERS[suffix], options=options) as container:
        rate = _OPUS_RATE if suffix == "opus" else sample_rate
        stream: Any = container.add_stream(_CODECS[suffix], rate=rate, layout="stereo")
        stream.codec_context.thread_count = 1
        stream.codec_context.options = _FAST_OPTIONS.get(suffix, {})
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        if suffix in _BITRATE_BPS:
            stream.bit_rate = _BITRATE_BPS[suffix]
        stream.metadata.update(comments)
        for start in range(0, len(mix), _BLOCK_FRAMES):
            block = mix[start : start + _BLOCK_FRAMES]
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "flt", "stereo")
            frame.sample_rate, frame.pts = sample_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
