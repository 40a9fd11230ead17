"""Timbre transfer: an instrument plays the pitch and the loudness of a melody.

The line is moved by whole octaves into the instrument's register, and its loudness into the range that the instrument
knows. Where the melody is silent or has no pitch, the result is silent.
"""

import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from reprise.lib.arrays import BoolArray, Float32Array, Int64Array, release_pages
from reprise.lib.audio.encoding import write_flac
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.covers.instruments import Instrument, Range
from reprise.lib.covers.performance import Performance
from reprise.lib.covers.synthesis import Synthesiser
from reprise.lib.nets.instrument_network import SAMPLE_RATE, Controls

OUTPUT_RATE = 44_100
"""Sample rate of the result in Hz."""

PEAK_DBTP = -1.0
"""Highest true peak of the result."""

_BLOCK_SAMPLES = 1 << 18

_SLOPES = (0.6, 1.5)
"""Least and greatest factor of differences in loudness. A constant tone must not get the dynamics of a melody."""

_GAP, _ISLAND = 10, 15
"""Frames: shorter gaps in the pitch are bridged, and shorter sounds are left out."""

_ATTACK, _RELEASE = 6, 20
"""Frames over which the gate opens before a note and closes after it."""

_SILENCE_DB = (-60.0, -50.0)
"""Loudness, relative to the loudest frame, below which nothing is played, and from which everything is."""

_MAX_OCTAVES = 4
_TOLERANCE = 2 ** (2 / 12)
"""An instrument plays two semitones beyond its range without harm."""


@dataclass(frozen=True, eq=False)
class Line:
    """A melody as an instrument plays it.

    Attributes
    ----------
    performance
        Pitch and loudness, fitted to the instrument.
    gate
        Factor of the amplitude of each frame, float32 (frames,), 0 where nothing is played.
    octaves
        Octaves by which all lines were moved up.
    outside
        Share of the time that they play in which the pitch is outside the range of the instrument.
    """

    performance: Performance
    gate: Float32Array
    octaves: int
    outside: float


def fit_lines(performances: Sequence[Performance], span: Range) -> list[Line]:
    """Fit performances of equal length, whose loudness is in the instrument's scale, to what the instrument knows.

    Voices of chords move together, so that their intervals and their balance stay.
    """
    loudest_db = max(float(one.loudness_db.max()) for one in performances)
    found = [_find_sounds(one, loudest_db) for one in performances]
    f0_hz = np.concatenate([one.f0_hz[sounds] for one, (sounds, _) in zip(performances, found, strict=True)])
    if not len(f0_hz):
        silence = np.zeros(len(performances[0]), np.float32)
        return [Line(one, silence, 0, 0.0) for one in performances]
    loudness_db = np.concatenate(
        [one.loudness_db[sounds] for one, (sounds, _) in zip(performances, found, strict=True)]
    )
    octaves = _choose_octaves(f0_hz, span)
    played_hz = f0_hz * 2.0**octaves
    outside = float(np.mean((played_hz < span.low_hz / _TOLERANCE) | (played_hz > span.high_hz * _TOLERANCE)))
    soft, middle, loud = np.percentile(loudness_db, (10, 50, 90))
    slope = 1.0 if span.spread_db is None else float(np.clip(span.spread_db / max(loud - soft, 0.1), *_SLOPES))
    lines = []
    for one, (sounds, audible) in zip(performances, found, strict=True):
        fitted = np.minimum(span.middle_db + slope * (one.loudness_db - middle), span.loudest_db)
        performance = replace(one, f0_hz=one.f0_hz * np.float32(2.0**octaves), loudness_db=fitted.astype(np.float32))
        lines.append(Line(performance, (_open_gate(sounds) * audible).astype(np.float32), octaves, outside))
    return lines


def _find_sounds(performance: Performance, loudest_db: float) -> tuple[BoolArray, Float32Array]:
    """Return which frames are part of a note, and how audible each frame is, from 0 to 1."""
    low, high = _SILENCE_DB
    audible = np.clip((performance.loudness_db - loudest_db - low) / (high - low), 0, 1)
    voiced = performance.voiced & (audible > 0)
    voiced = _drop_runs(voiced, False, _GAP) & (audible > 0)
    return _drop_runs(voiced, True, _ISLAND), audible


def _drop_runs(flags: BoolArray, value: bool, shortest: int) -> BoolArray:
    """Invert runs of ``value`` that are shorter than ``shortest`` frames, except gaps at the ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags == value, [False]]).astype(np.int8)))
    starts, ends = edges[0::2], edges[1::2]
    is_short = ends - starts < shortest
    if not value:
        is_short &= (starts > 0) & (ends < len(flags))
    out = flags.copy()
    for start, end in zip(starts[is_short], ends[is_short], strict=True):
        out[start:end] = not value
    return out


def _choose_octaves(f0_hz: Float32Array, span: Range) -> int:
    """Return the shift with which the least time is outside the range; of equal ones, that nearest to its middle.

    In the middle an instrument sounds most like itself: a high trumpet can be taken for a flute.
    """
    middle = math.log2(span.low_hz * span.high_hz) / 2
    median = float(np.median(np.log2(f0_hz)))

    def distance(shift: int) -> tuple[float, float]:
        moved = f0_hz * 2.0**shift
        outside = np.mean((moved < span.low_hz) | (moved > span.high_hz))
        # differences of a few frames, of slurs or false pitches, must not move a whole line
        return round(float(outside), 1), abs(median + shift - middle)

    return min(range(-_MAX_OCTAVES, _MAX_OCTAVES + 1), key=distance)


def _open_gate(sounds: BoolArray) -> Float32Array:
    """Return 1 in notes, and a slope before and after them."""
    after = _distance(sounds)
    before = _distance(sounds[::-1])[::-1]
    return np.maximum(np.clip(1 - after / _RELEASE, 0, 1), np.clip(1 - before / _ATTACK, 0, 1)).astype(np.float32)


def _distance(flags: BoolArray) -> Int64Array:
    """Return how many frames ago a flag was set, 0 where it is."""
    index = np.arange(len(flags))
    last = np.maximum.accumulate(np.where(flags, index, -len(flags) - max(_RELEASE, _ATTACK)))
    return index - last


def play_lines(instrument: Instrument, lines: Sequence[Line], seed: int) -> Iterator[Float32Array]:
    """Yield the audio of lines of equal length, together, in blocks: float32 (samples,) at `OUTPUT_RATE`.

    The same seed gives the same samples.
    """
    synthesisers = [Synthesiser(OUTPUT_RATE, seed + number) for number in range(len(lines))]
    parts = [instrument.play(line.performance) for line in lines]
    start = 0
    for together in zip(*parts, strict=True):
        stop = start + len(together[0].amplitude)
        blocks = []
        for synthesiser, line, controls in zip(synthesisers, lines, together, strict=True):
            gate = line.gate[start:stop]
            gated = Controls(controls.amplitude * gate, controls.harmonics, controls.noise * gate[:, None])
            blocks.append(synthesiser.render(line.performance.f0_hz[start:stop], gated))
        yield np.sum(blocks, axis=0)
        start = stop
    yield np.sum([synthesiser.finish() for synthesiser in synthesisers], axis=0)


@dataclass(frozen=True)
class WrittenAudio:
    """A file that was written.

    Attributes
    ----------
    samples_sha256
        SHA-256 of the decoded samples.
    frame_count
        Number of samples at `OUTPUT_RATE`.
    gain_db
        Gain of the audio, with which its loudness became that of the melody.
    loudness_lufs, true_peak_dbtp
        Integrated loudness and true peak; None for silence.
    """

    samples_sha256: str
    frame_count: int
    gain_db: float
    loudness_lufs: float | None
    true_peak_dbtp: float | None


def write_audio(
    blocks: Iterable[Float32Array], path: Path, loudness_lufs: float | None, folder: str | os.PathLike[str]
) -> WrittenAudio:
    """Write audio as a FLAC file, mono, 24 bits, with a given loudness, or less if its peak exceeded `PEAK_DBTP`.

    Parameters
    ----------
    loudness_lufs
        Integrated loudness; None for the loudness as it is.
    folder
        Folder for the samples meanwhile, 4 bytes each. No file remains in it.

    Raises
    ------
    RepriseError
        The file cannot be written.
    """
    with tempfile.TemporaryFile(dir=folder) as raw:
        meter = LoudnessMeter(OUTPUT_RATE, 1)
        for block in blocks:
            raw.write(np.ascontiguousarray(block, np.float32).data)
            meter.add(block[:, None])
        raw.flush()
        found_lufs, peak_dbtp = _finite(meter.integrated_lufs), _finite(meter.true_peak_dbtp)
        gain_db = 0.0
        if peak_dbtp is not None:
            wanted_db = 0.0 if loudness_lufs is None or found_lufs is None else loudness_lufs - found_lufs
            gain_db = min(wanted_db, PEAK_DBTP - peak_dbtp)
        gain = np.float32(10 ** (gain_db / 20))
        frame_count = raw.tell() // 4
        raw.seek(0)
        with write_flac(path, sample_rate=OUTPUT_RATE, channel_count=1, bit_depth=24, comments={}) as flac:
            while data := raw.read(4 * _BLOCK_SAMPLES):
                flac.write(np.frombuffer(data, np.float32)[:, None] * gain)
    return WrittenAudio(
        flac.samples_sha256,
        frame_count,
        gain_db,
        None if found_lufs is None else found_lufs + gain_db,
        None if peak_dbtp is None else peak_dbtp + gain_db,
    )


def measure_level(samples: Float32Array) -> float | None:
    """Return the integrated loudness in LUFS of mono samples at 16 kHz, possibly memory-mapped; None for silence."""
    meter = LoudnessMeter(SAMPLE_RATE, 1)
    for start in range(0, len(samples), _BLOCK_SAMPLES):
        meter.add(np.asarray(samples[start : start + _BLOCK_SAMPLES])[:, None])
        release_pages(samples)
    return _finite(meter.integrated_lufs)


def _finite(level: float) -> float | None:
    return level if math.isfinite(level) else None
