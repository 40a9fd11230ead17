"""Decode any supported audio file to float32 samples: mono at 22,050 Hz for every analysis, or another rate, or stereo.

libsndfile decodes most files. FFmpeg decodes the files that libsndfile cannot open or cannot read to the end, e.g. AAC,
ALAC, a FLAC file with a damaged frame, or two MP3 files joined into one. A hostile file can crash a decoder. Therefore
decode files of unknown origin in a separate process (`reprise.udfs.sandbox`).
"""

import contextlib
import os
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path

import numpy as np
import soxr

from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.audio.decoders import (
    LIBSNDFILE_FORMATS,
    DecodedStream,
    IncompleteDecodeError,
    open_pyav,
    open_soundfile,
)
from reprise.lib.audio.headers import Header, read_header
from reprise.lib.errors import InputError
from reprise.lib.files import open_regular, printable_name

MAX_DURATION_S = 6 * 3600
MAX_CHANNELS = 32
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 384_000
BOMB_DURATION_S, BOMB_BYTES_PER_SECOND = 600, 250
"""Limits of a decompression bomb: seconds of decoded audio, and bytes of the file per second of decoded audio.

A file is a decompression bomb if its decoded audio is longer than the first limit and its bytes per second are fewer
than the second limit. For comparison, speech in Opus takes 750 bytes per second. Digital silence in FLAC takes 90 to
170, so more than 600 s of it count as a bomb.
"""

MAX_AMPLITUDE = 2.0**31
"""Largest accepted absolute sample value. A larger value means that the file is damaged.

Some files store integer samples as floats without scaling them. These samples do not exceed the limit.
"""

LENGTH_TOLERANCE_S = 0.2
"""Largest accepted difference between declared and decoded length, in s. Encoders add frames at both ends."""

MIN_KEPT_S = 1.0
"""Minimum length of the audio in a truncated file, in s. A truncated file with less audio is rejected as damaged."""


@dataclass(frozen=True)
class DecodedAudio:
    """Properties of a decoded audio file.

    Attributes
    ----------
    codec
        Audio codec: ``flac``, ``mp3``, ``aac``, ``alac``, ``vorbis``, ``opus``, ``pcm_16``, ``float``…
    sample_rate, channel_count
        Sample rate in Hz and number of channels of the file.
    declared_duration_s
        Length in s that the file's header declares, or None if the header declares no length.
    duration_s
        Length of the decoded audio in s.
    length_status
        ``shorter`` or ``longer``: the decoded length differs from the declared length by more than
        `LENGTH_TOLERANCE_S`. ``ok``: the two lengths differ by at most `LENGTH_TOLERANCE_S`. ``undeclared``: the header
        declares no length. The status of an Ogg file that ends before its end-of-stream mark is always ``shorter``,
        although the file declares no length.
    """

    codec: str
    sample_rate: int
    channel_count: int
    declared_duration_s: float | None
    duration_s: float
    length_status: str


def decode(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sample_rate: int = SAMPLE_RATE,
    channel_count: int = 1,
) -> DecodedAudio:
    """Decode an audio file to mono or stereo. The format is recognised by the content of the file.

    For WAV, FLAC and Ogg files of one or two channels, the samples equal those of ``librosa.load(path, sr=sample_rate,
    mono=channel_count == 1)`` within 1e-6. Memory use does not grow with the length of the audio.

    Parameters
    ----------
    path
        Audio file.
    out
        File to write: float32 samples in native byte order, without a header, in frames of ``channel_count`` samples.
        The number of frames is the file's, times ``sample_rate`` / (the file's sample rate), rounded up. After an
        error, the file can be incomplete.
    sample_rate
        Sample rate of the output in Hz.
    channel_count
        1 for mono, the mean of the file's channels, or 2 for stereo. The two channels of a mono file are equal. For
        files of more channels, see `reprise.lib.audio.decoders.stereo_gains`.

    Raises
    ------
    InputError
        The errors of `open_regular`, `read_header` and `open_pyav`, and the following errors. ``damaged``: a truncated
        file contains less audio than `MIN_KEPT_S`. ``no_audio``: the file contains no audio. ``too_long``: the
        declared or decoded length exceeds `MAX_DURATION_S`. ``bomb``: the file is a decompression bomb, see
        `BOMB_DURATION_S`. ``bad_channels``: the number of channels is outside the accepted range. ``bad_sample_rate``:
        the sample rate is outside the accepted range. ``bad_samples``: a sample is NaN, infinite or greater than
        `MAX_AMPLITUDE` in absolute value.
    """
    name = printable_name(path)
    with open_regular(path) as opened:
        # use the unbuffered file, because libsndfile moves the descriptor's position and a buffer would not notice
        file = opened.raw
        assert isinstance(file, FileIO)  # noqa: S101 - narrows the type
        header = read_header(file, name)
        write = partial(
            _write_samples,
            header=header,
            file=file,
            name=name,
            out=Path(out),
            out_rate=sample_rate,
            width=channel_count,
        )
        if header.format in LIBSNDFILE_FORMATS:
            with contextlib.suppress(IncompleteDecodeError):
                return write(open_soundfile(file, header, channel_count=channel_count))
        return write(open_pyav(file, header, name, channel_count=channel_count))


def _write_samples(
    stream: DecodedStream, *, header: Header, file: FileIO, name: str, out: Path, out_rate: int, width: int
) -> DecodedAudio:
    """Resample a decoded stream of ``width`` channels to ``out_rate`` and write it to ``out``.

    Raise InputError as soon as the stream exceeds a limit.
    """
    rate, declared = stream.sample_rate, stream.declared_duration_s
    if not 1 <= stream.channel_count <= MAX_CHANNELS:
        count = stream.channel_count
        raise InputError(
            "bad_channels", f"{name} has {count} channels, expected 1 to {MAX_CHANNELS}: downmix or replace it"
        )
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise InputError("bad_sample_rate", f"{name} has a sample rate of {rate} Hz: resample it to {limits} Hz")
    if header.format not in {"wav", "aiff"}:  # decoding hardly expands WAV and AIFF, so the decoded length suffices
        _check_length(declared or 0.0, f"{name} declares")
    n_frames, size = 0, os.fstat(file.fileno()).st_size
    with out.open("wb") as samples:
        resampler = soxr.ResampleStream(rate, out_rate, width, dtype="float32", quality="HQ")
        for block in stream.blocks:
            n_frames += len(block)
            _check_length(n_frames / rate, f"{name} decodes to")
            # check the decoded length: a truncated download declares more audio than it contains, but is not a bomb
            if n_frames > rate * BOMB_DURATION_S and size * rate < n_frames * BOMB_BYTES_PER_SECOND:
                amount = f"at least {n_frames / rate / 60:.0f} minutes of audio from {size} bytes"
                raise InputError("bomb", f"{name} expands to {amount} (suspected decompression bomb): remove it")
            if not np.abs(block).max(initial=0.0) <= MAX_AMPLITUDE:  # the negated comparison also catches NaN
                fault = f"contains samples that are NaN, infinite or over {MAX_AMPLITUDE:.0e}"
                raise InputError("bad_samples", f"{name} {fault}: export it again")
            samples.write((block if rate == out_rate else resampler.resample_chunk(block)).data)
        if n_frames and rate != out_rate:
            rest = np.empty((0, width) if width > 1 else 0, np.float32)
            samples.write(resampler.resample_chunk(rest, last=True).data)
        # the resampler can return one sample more or fewer than librosa
        samples.truncate(4 * width * int(np.ceil(n_frames * (float(out_rate) / rate))))
    duration = n_frames / rate
    status = _length_status(duration, declared, is_cut=header.is_cut)
    if status == "shorter" and duration < MIN_KEPT_S:
        raise InputError("damaged", f"{name} ends after {duration:.2f} s of audio: replace it with a complete copy")
    if not n_frames:
        raise InputError("no_audio", f"{name} contains no audio: replace or remove it")
    return DecodedAudio(stream.codec, rate, stream.channel_count, declared, duration, status)


def _check_length(duration_s: float, subject: str) -> None:
    """Raise InputError if a length exceeds `MAX_DURATION_S`.

    ``subject`` is the start of the error message: the file name and a verb.
    """
    if duration_s > MAX_DURATION_S:
        hours = f"{duration_s / 3600:.1f} hours of audio, over the limit of {MAX_DURATION_S // 3600} hours"
        raise InputError("too_long", f"{subject} {hours}: split it")


def _length_status(duration_s: float, declared_s: float | None, *, is_cut: bool) -> str:
    if is_cut:
        return "shorter"
    if declared_s is None:
        return "undeclared"
    if abs(duration_s - declared_s) <= LENGTH_TOLERANCE_S:
        return "ok"
    return "shorter" if duration_s < declared_s else "longer"
