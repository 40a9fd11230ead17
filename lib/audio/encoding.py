"""Encode samples as tagged audio files in common formats. Equal samples and tags produce equal bytes."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.audio.tag_writing import (
    OutputTags,
    append_aiff_tags,
    append_mp4_tags,
    append_riff_tags,
    build_id3,
    build_vorbis_comments,
)

FORMATS = ("flac", "ogg", "mp3", "m4a", "wav", "aiff", "opus")
"""Supported file name suffixes, in this order: FLAC, Ogg Vorbis, MP3, AAC, WAV, AIFF, Opus."""

_BLOCK_FRAMES = 1 << 18
_BITRATE_BPS = {"mp3": 192_000, "m4a": 160_000, "opus": 112_000}
_CODECS = {"flac": "flac", "mp3": "libmp3lame", "m4a": "aac", "opus": "libopus"}
_CONTAINERS = {"flac": "flac", "mp3": "mp3", "m4a": "ipod", "opus": "ogg"}
_OPUS_RATE = 48_000
# these options reduce the encoding time to a third; the slightly lower quality is sufficient for synthetic recordings
_FAST_OPTIONS = {"mp3": {"compression_level": "7"}, "m4a": {"aac_coder": "fast"}}


def encode(mix: Float32Array, suffix: str, tags: OutputTags, *, sample_rate: int) -> bytes:
    """Encode a mix of shape (frames, 2), dtype float32, into the bytes of a tagged file.

    Lossless formats have 16 bits per sample. Opus is resampled to 48 kHz, the rate of every Opus file.

    Raises
    ------
    KeyError
        ``suffix`` is not in `FORMATS`.
    """
    if suffix in ("wav", "aiff"):
        append = append_riff_tags if suffix == "wav" else append_aiff_tags
        return append(_encode_libsndfile(mix, suffix.upper(), "PCM_16", sample_rate), tags)
    if suffix == "ogg":
        return _encode_vorbis(mix, tags, sample_rate)
    comments = build_vorbis_comments(tags) if suffix in ("flac", "opus") else {}
    audio = _encode_ffmpeg(mix, suffix, comments, sample_rate)
    if suffix == "mp3":
        return build_id3(tags) + audio
    return append_mp4_tags(audio, tags) if suffix == "m4a" else audio


def write_stem(stem: Float32Array, path: Path, *, sample_rate: int) -> None:
    """Write a stem of shape (frames, 2) as FLAC with 16 bits per sample."""
    path.write_bytes(_encode_libsndfile(stem, "FLAC", "PCM_16", sample_rate))


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
        if suffix == "flac":
            container.metadata.update(comments)
        is_lossless = suffix == "flac"
        for start in range(0, len(mix), _BLOCK_FRAMES):
            block = mix[start : start + _BLOCK_FRAMES]
            if is_lossless:
                block = np.round(block * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "s16" if is_lossless else "flt", "stereo")
            frame.sample_rate, frame.pts = sample_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
