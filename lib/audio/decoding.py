"""Any audio file as the samples that everything else works on: mono, 22,050 Hz, float32.

libsndfile reads what it can; FFmpeg what libsndfile refuses or does not read to the end: AAC, ALAC, a FLAC with a
damaged frame, two MP3 files in one. Files may be hostile: decode what was not made here in a process that may die
(`reprise.udfs.sandbox`).
"""

import contextlib
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
import soxr

from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.audio.decoders import BY_LIBSNDFILE, Source, Unfinished, open_pyav, open_soundfile
from reprise.lib.audio.headers import Header, read_header
from reprise.lib.errors import InputError
from reprise.lib.files import open_regular, printable_name

"""Samples a second of every decoded signal."""

MAX_DURATION_S = 6 * 3600
MAX_CHANNELS = 32
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 4_000, 384_000
BOMB_DURATION_S, BOMB_BYTES_A_SECOND = 600, 250
"""What is longer, from fewer bytes a second, is a bomb: speech in Opus takes 750, digital silence in FLAC 90 to 170."""

MAX_AMPLITUDE = 2.0**31
"""Float samples beyond are no sound that someone scaled otherwise but damage."""

LENGTH_TOLERANCE_S = 0.2
"""How far a length may be from the declared one: encoders add frames at both ends."""

MIN_KEPT_S = 1.0
"""What is left of a broken file is worth keeping from this length on."""


@dataclass(frozen=True)
class Decoded:
    """What a file turned out to hold.

    Attributes
    ----------
    codec
        What the audio is coded in: ``flac``, ``mp3``, ``aac``, ``alac``, ``vorbis``, ``opus``, ``pcm_16``, ``float``…
    sample_rate, channel_count
        Of the file; Hz.
    declared_duration_s
        Length that the file's header says, or None where it says none.
    duration_s
        Length as decoded.
    length_status
        ``ok``, or ``shorter`` or ``longer`` than declared by more than `LENGTH_TOLERANCE_S`, or ``undeclared``. Of an
        Ogg stream that stops before its end mark the length is unknown, and it is ``shorter``.
    """

    codec: str
    sample_rate: int
    channel_count: int
    declared_duration_s: float | None
    duration_s: float
    length_status: str


def decode(path: str | os.PathLike[str], out: str | os.PathLike[str]) -> Decoded:
    """Decode an audio file to mono at `SAMPLE_RATE`; the content decides what it is, not the name.

    For WAV, FLAC and Ogg the samples are those of ``librosa.load(path)``. Memory does not grow with the length.

    Parameters
    ----------
    path
        Audio file.
    out
        File to be written: float32 samples in native byte order, nothing else. After an error it may hold a part.

    Raises
    ------
    InputError
        What `open_regular` and `read_header` raise; ``damaged`` when a broken file gives less than `MIN_KEPT_S`;
        ``no_audio`` when there is none in it; ``too_long`` over `MAX_DURATION_S`, declared or decoded; ``bomb``, see
        `BOMB_DURATION_S`;
        ``bad_channels``, ``bad_sample_rate`` and ``bad_samples`` for what no recording has.
    """
    name = printable_name(path)
    with open_regular(path) as opened:
        file = opened.raw  # libsndfile would move the position behind the buffer's back
        assert isinstance(file, FileIO)  # noqa: S101 - for the type
        header = read_header(file, name)
        if header.format in BY_LIBSNDFILE:
            with contextlib.suppress(Unfinished):
                return _write(open_soundfile(file, header), header, file, Path(out), name)
        return _write(open_pyav(file, header, name), header, file, Path(out), name)


def _write(source: Source, header: Header, file: FileIO, out: Path, name: str) -> Decoded:
    """Resample what a decoder gives, as far as the limits let it."""
    rate, declared = source.sample_rate, source.declared_duration_s
    if not 1 <= source.channel_count <= MAX_CHANNELS:
        count = source.channel_count
        raise InputError("bad_channels", f"{name} has {count} channels: mix it to {MAX_CHANNELS} or fewer")
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
        limits = f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}"
        raise InputError("bad_sample_rate", f"{name} has {rate} samples a second: resample it to {limits}")
    if header.format not in {"wav", "aiff"}:  # whose bytes limit them, whatever they declare
        _check_length(declared or 0.0, f"{name} declares")
    n_frames, size = 0, os.fstat(file.fileno()).st_size
    with out.open("wb") as written:
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        for block in source.blocks:
            n_frames += len(block)
            _check_length(n_frames / rate, f"{name} decodes to")
            # not of the declared length: a download that was cut may be mended
            if n_frames > rate * BOMB_DURATION_S and size * rate < n_frames * BOMB_BYTES_A_SECOND:
                much = f"{n_frames / rate / 60:.0f} minutes of audio and more from {size} bytes"
                raise InputError("bomb", f"{name} makes {much}, which no music does: remove it")
            if not np.abs(block).max(initial=0.0) <= MAX_AMPLITUDE:  # NaN is not either
                raise InputError("bad_samples", f"{name} has samples that are no finite numbers: export it again")
            written.write((block if rate == SAMPLE_RATE else resampler.resample_chunk(block)).data)
        if n_frames and rate != SAMPLE_RATE:
            written.write(resampler.resample_chunk(np.empty(0, np.float32), last=True).data)
        # to librosa's length, which the resampler misses by a sample
        written.truncate(4 * int(np.ceil(n_frames * (float(SAMPLE_RATE) / rate))))
    duration = n_frames / rate
    status = _length_status(duration, declared, is_cut=header.is_cut)
    if status == "shorter" and duration < MIN_KEPT_S:
        raise InputError("damaged", f"{name} breaks off after {duration:.2f} s of audio: replace it with a whole copy")
    if not n_frames:
        raise InputError("no_audio", f"{name} holds no audio: replace or remove it")
    return Decoded(source.codec, rate, source.channel_count, declared, duration, status)


def _check_length(duration_s: float, says: str) -> None:
    if duration_s > MAX_DURATION_S:
        hours = f"{duration_s / 3600:.1f} hours of audio, over the {MAX_DURATION_S // 3600} that are read"
        raise InputError("too_long", f"{says} {hours}: split it")


def _length_status(duration_s: float, declared_s: float | None, *, is_cut: bool) -> str:
    if is_cut:
        return "shorter"
    if declared_s is None:
        return "undeclared"
    if abs(duration_s - declared_s) <= LENGTH_TOLERANCE_S:
        return "ok"
    return "shorter" if duration_s < declared_s else "longer"
