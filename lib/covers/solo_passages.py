"""Passages of a recording in which one instrument plays alone and cleanly, and why the rest is left out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from reprise.lib.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int64Array, release_pages
from reprise.lib.errors import RepriseError
from reprise.lib.features.spectra import iterate_frames
from reprise.lib.nets.instrument_network import FRAME_RATE, HOP
from reprise.lib.nets.pitch_tracker import FRAME_S, SAMPLE_RATE, VOICED_CONFIDENCE, PitchTrack, PitchTracker
from reprise.lib.text import format_time

SILENT, NO_PITCH, SEVERAL_NOTES = "silent", "no_pitch", "several_notes"
SPEECH, CLIPPED, TOO_SHORT = "speech", "clipped", "too_short"
REASONS = {
    SILENT: "silence",
    NO_PITCH: "no pitch (noise, drums, consonants)",
    SEVERAL_NOTES: "several notes at once",
    SPEECH: "speech (the pitch holds no notes)",
    CLIPPED: "clipped",
    TOO_SHORT: "pieces under 2 s",
}
"""Reasons for which time is left out, and how they are named for people."""

_NAMES, _KEPT = tuple(REASONS), -1

_REMEDIES = {
    SILENT: "check the recordings",
    NO_PITCH: "record one instrument that has a pitch, without drums and noise",
    SEVERAL_NOTES: "record one player alone, one note at a time, with little reverb",
    SPEECH: "record an instrument, not speech",
    CLIPPED: "record at a lower level",
    TOO_SHORT: "record longer phrases",
}

LEAST_S = 60.0
"""Least sum of clean passages to train an instrument with."""

_NARROW_SEMITONES, _NARROW_DB = 5, 6

SHORTEST_S = 2.0
"""Least length of a passage."""

_LONGEST_S = 30.0
"""Greatest length of a passage. Longer ones are divided, so that some can validate a training."""

_REST_S = 0.5
"""Longest rest within a passage."""

_ATTACK_S, _RELEASE_S = 0.05, 0.2
"""Time before the first and after the last pitch of a passage that belongs to its notes."""

_N_FFT = 2048
_STEP = round(FRAME_S * SAMPLE_RATE)
_PER_FRAME = _STEP // HOP
_BLOCK_FRAMES = 1024
_LOW_HZ, _HIGH_HZ = 60.0, 4000.0
_WIDTH_HZ, _WIDTH_SHARE = 16.0, 0.015
"""Half of the width of a harmonic: the main lobe of the window, and a share of its frequency for its movement."""

_PITCHES_AT = (0, -2, 2, -4)
"""Frames around a frame whose pitches explain its spectrum, too: the window covers the change of a note, and notes
ring on."""

_OWN_HARMONICS, _LEAST_OWN = (1, 5, 7, 11), 0.003
"""Harmonics that two notes a fifth apart do not have, where the pitch is taken for their common one, and their least
share of the power."""

_LARGEST_RESIDUAL = 0.1
"""Share of the power outside the harmonics from which a frame has several notes."""

_SEVERAL_WINDOW_S, _LARGEST_SEVERAL = 2.0, 0.3
_SPEECH_WINDOW_S, _LEAST_HELD = 6.0, 0.5
_NOISE_WINDOW_S, _LEAST_PITCHED, _TONAL_FLATNESS = 2.0, 0.4, 0.03
"""Where fewer frames have a pitch, there is noise, or there are chords, whose spectrum has peaks."""

_HELD_CENTS, _HELD_S, _LARGEST_SLOPE, _VIBRATO_S = 40.0, 0.12, 300.0, 0.18
"""A note stays so near to its mean for so long, and its pitch moves by so many cents a second at most, where vibrato is
averaged over a period."""

_HIT_N_FFT, _HIT_LOW_HZ, _TONE_HZ = 512, 4000.0, (50.0, 2000.0)
_HIT_DB, _TONE_DB, _HIT_LEVEL_DB, _HIT_CENTS, _HIT_AROUND = 9.0, 3.0, -45.0, 60.0, 4
"""A hit: high frequencies rise by so much, to a level relative to the loud tones, while the tones rise by less and the
pitch stays the same from so many frames before to so many after."""

_HIT_WINDOW_S, _MOST_HITS, _FEWEST_HITS = 10.0, 0.3, 3
"""Hits a second of held pitch, and in the window, from which there is something beside the notes."""

_SILENT_DBFS, _SILENT_DB = -65.0, -45.0
"""Level of silence, absolute and relative to the loud parts of the recording."""

_CLIP_LEVELS, _CLIP_WINDOW_S = (0.9, 0.98, 1.06), 0.25
_CLIP_SHARE, _CLIP_RATIO = 0.02, 1.5
"""Clipped: this share of the samples lies between the second and the third level, so many times as many as between the
first two, and more than above."""


@dataclass(frozen=True)
class SoloPassages:
    """Passages of a recording that an instrument plays alone, and the rest.

    Attributes
    ----------
    spans
        First frame of each passage, and the frame after its last one, 250 frames a second, in order.
    left_out_s
        Seconds that are left out, by reason: each of `REASONS`.
    """

    spans: tuple[tuple[int, int], ...]
    left_out_s: Mapping[str, float]

    @property
    def kept_s(self) -> float:
        """Seconds of all passages."""
        return sum(stop - start for start, stop in self.spans) / FRAME_RATE


@dataclass(frozen=True)
class Material:
    """What there is to train an instrument with.

    Attributes
    ----------
    kept_s
        Seconds of clean passages.
    left_out_s
        Seconds that are left out, by reason.
    pitch_s
        Seconds with a pitch, by MIDI number.
    loudness_s
        Seconds with a pitch, by loudness in whole dB.
    """

    kept_s: float
    left_out_s: Mapping[str, float]
    pitch_s: Mapping[int, float]
    loudness_s: Mapping[int, float]


def check_dataset(material: Material) -> list[str]:
    """Check that an instrument can be trained. Return warnings.

    Raises
    ------
    RepriseError
        There are less than `LEAST_S` of clean passages. The message says how much is left out, and why.
    """
    if material.kept_s < LEAST_S or not material.pitch_s:
        raise RepriseError(_explain(material))
    warnings = []
    low, high = _spread(material.pitch_s, 0.02)
    if high - low < _NARROW_SEMITONES:
        warnings.append(
            f"all notes lie within {high - low + 1} semitones: the instrument will sound false beyond them; record its"
            " whole range"
        )
    low, high = _spread(material.loudness_s, 0.1)
    if high - low < _NARROW_DB:
        warnings.append(
            f"all notes are about as loud, within {high - low + 1} dB: the instrument will play without dynamics;"
            " record loud and soft notes"
        )
    return warnings


def _explain(material: Material) -> str:
    total_s = material.kept_s + sum(material.left_out_s.values())
    shares = sorted(((value / max(total_s, 1e-9), name) for name, value in material.left_out_s.items()), reverse=True)
    shown = [f"{share:.0%} {REASONS[name]}" for share, name in shares if share >= 0.01]
    why = f" (left out: {', '.join(shown)})" if shown else ""
    remedy = _REMEDIES[shares[0][1]] if shares and shares[0][0] > 0.3 else "record more"
    return (
        f"there are {material.kept_s:.0f} s in which one instrument plays alone, of {format_time(total_s)}{why}, and"
        f" training needs at least {LEAST_S:.0f} s: {remedy}; 5 to 10 minutes are good"
    )


def _spread(seconds: Mapping[int, float], share: float) -> tuple[int, int]:
    """Return between which values all but a share at each end lies."""
    values = np.array(sorted(seconds))
    before = np.cumsum([seconds[one] for one in values])
    at = np.searchsorted(before, [share * before[-1], (1 - share) * before[-1]])
    return int(values[at[0]]), int(values[at[1]])


def find_solo_passages(samples: Float32Array, tracker: PitchTracker) -> SoloPassages:
    """Find the passages that one instrument plays alone and cleanly.

    Parameters
    ----------
    samples
        Finite mono samples at 16 kHz, which may be memory-mapped. Memory does not grow with them, except for a few
        numbers each 16 ms.
    """
    total_s = len(samples) / SAMPLE_RATE
    track = tracker.track(samples)
    count = len(samples) // _STEP
    if not count:
        return SoloPassages((), dict.fromkeys(REASONS, 0.0) | {TOO_SHORT: total_s})
    track = PitchTrack(*(_fit(one, count) for one in track))
    spectrum = _measure_spectrum(samples, track, count)
    reasons = _find_reasons(
        spectrum, track, hits=_find_hits(samples, track, count), clipped=_find_clipped(samples, count)
    )
    spans = _join(reasons)
    seconds = {name: float(np.sum(reasons == i)) * FRAME_S for i, name in enumerate(_NAMES)}
    # the end, which is shorter than a frame
    seconds[TOO_SHORT] += total_s - count * FRAME_S
    return SoloPassages(tuple((_PER_FRAME * start, _PER_FRAME * stop) for start, stop in spans), seconds)


class _Spectrum(NamedTuple):
    """Of each frame: level in dB, share of the power outside the harmonics, and flatness (1: white, 0: tones)."""

    level_db: Float64Array
    residual: Float64Array
    flatness: Float64Array


def _measure_spectrum(samples: Float32Array, track: PitchTrack, count: int) -> _Spectrum:
    level_db, residual, flatness = np.empty(count), np.empty(count), np.empty(count)
    hz = np.asarray(np.fft.rfftfreq(_N_FFT, 1 / SAMPLE_RATE), np.float64)
    inside = (hz >= _LOW_HZ) & (hz <= _HIGH_HZ)
    # an unvoiced frame has no pitch that could explain its neighbours
    f0_hz = np.where(track.confidence >= VOICED_CONFIDENCE, track.f0_hz, np.nan)
    for start, power in _iterate_power(samples, _N_FFT, count):
        stop = start + len(power)
        level_db[start:stop] = 10 * np.log10(power.sum(axis=1) + 1e-12)
        tones = power[:, inside] + np.float32(1e-20)
        own = _cover_harmonics(f0_hz[start:stop], hz[inside], _OWN_HARMONICS)
        explained = np.zeros(tones.shape, np.bool_)
        for shift in _PITCHES_AT:
            at = np.clip(np.arange(start, stop) + shift, 0, count - 1)
            explained |= _cover_harmonics(f0_hz[at], hz[inside])
        total = tones.sum(axis=1)
        is_own = (tones * own).sum(axis=1) >= _LEAST_OWN * total
        residual[start:stop] = np.where(is_own, (tones * ~explained).sum(axis=1) / total, 1)
        flatness[start:stop] = np.exp(np.log(tones).mean(axis=1)) / tones.mean(axis=1)
    return _Spectrum(level_db, residual, flatness)


def _iterate_power(samples: Float32Array, n_fft: int, count: int) -> Iterator[tuple[int, Float32Array]]:
    """Yield the number of a frame, and the power spectra of it and following ones, whose sums are mean squares."""
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    scale = np.float32(2 / n_fft / np.square(window).sum())
    for start, frames in iterate_frames(samples, n_fft, _STEP, count):
        yield start, scale * np.square(np.abs(np.fft.rfft(frames * window)))


def _cover_harmonics(f0_hz: Float32Array, hz: Float64Array, numbers: Sequence[int] = ()) -> BoolArray:
    """Say which frequencies belong to harmonics of each pitch: (pitches, frequencies). NaN has none.

    ``numbers`` are the harmonics, all by default.
    """
    ratio = hz / f0_hz[:, None]
    harmonic = np.maximum(np.round(ratio), 1)
    is_near = np.abs(ratio - harmonic) <= _WIDTH_HZ / f0_hz[:, None] + _WIDTH_SHARE * harmonic
    return np.asarray(is_near & np.isin(harmonic, numbers) if numbers else is_near)


def _find_hits(samples: Float32Array, track: PitchTrack, count: int) -> BoolArray:
    """Say of each frame whether it has hits beside its notes: drums, or consonants."""
    high_db, tone_db = np.empty(count), np.empty(count)
    hz = np.fft.rfftfreq(_HIT_N_FFT, 1 / SAMPLE_RATE)
    is_high, is_tone = hz >= _HIT_LOW_HZ, (hz >= _TONE_HZ[0]) & (hz < _TONE_HZ[1])
    for start, power in _iterate_power(samples, _HIT_N_FFT, count):
        at = slice(start, start + len(power))
        high_db[at], tone_db[at] = (10 * np.log10(power[:, one].sum(axis=1) + 1e-9) for one in (is_high, is_tone))
    cents = 1200 * np.log2(track.f0_hz, dtype=np.float64)
    voiced = track.confidence >= VOICED_CONFIDENCE
    n = _HIT_AROUND
    same = _shift(voiced, n) & voiced & _shift(voiced, -n)
    same &= np.abs(_shift(cents, n) - _shift(cents, -n)) < _HIT_CENTS
    rise_db = high_db - np.minimum.reduce([_shift(high_db, i) for i in (1, 2, 3)])
    tone_rise_db = np.maximum.reduce([_shift(tone_db, -i) for i in (0, 1, 2)])
    tone_rise_db -= np.minimum.reduce([_shift(tone_db, i) for i in (1, 2, 3, 4)])
    hits = same & (rise_db > _HIT_DB) & (tone_rise_db < _TONE_DB)
    hits &= high_db > np.percentile(tone_db, 95) + _HIT_LEVEL_DB
    hits &= ~np.logical_or.reduce([_shift(hits, i) for i in (1, 2, 3)])
    size = round(_HIT_WINDOW_S / FRAME_S)
    several = uniform_filter1d(hits.astype(np.float64), size, mode="constant") * size > _FEWEST_HITS - 0.5
    return np.asarray(several & _is_frequent(hits, same, _HIT_WINDOW_S, _MOST_HITS * FRAME_S))


def _shift(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Delay values by a number of frames, or advance them. The value at the end is repeated."""
    return np.asarray(values[np.clip(np.arange(len(values)) - count, 0, len(values) - 1)])


def _find_clipped(samples: Float32Array, count: int) -> BoolArray:
    """Find frames where the waveform is flat at full scale.

    There, more samples are near full scale than just below or above it. Resampling lets a flat top ripple, so runs of
    equal samples are not left.
    """
    near, below, above = np.empty((3, count))
    for start in range(0, count, _BLOCK_FRAMES):
        stop = min(start + _BLOCK_FRAMES, count)
        block = np.abs(np.asarray(samples[start * _STEP : stop * _STEP])).reshape(-1, _STEP)
        release_pages(samples)
        edges = [(block >= level).mean(axis=1) for level in _CLIP_LEVELS]
        below[start:stop], near[start:stop], above[start:stop] = edges[0] - edges[1], edges[1] - edges[2], edges[2]
    size = round(_CLIP_WINDOW_S / FRAME_S)
    near, below, above = (uniform_filter1d(one, size, mode="constant") for one in (near, below, above))
    is_clipped = (near >= _CLIP_SHARE) & (near > _CLIP_RATIO * below) & (near > above)
    return np.asarray(maximum_filter1d(is_clipped, size), np.bool_)


def _find_reasons(spectrum: _Spectrum, track: PitchTrack, *, hits: BoolArray, clipped: BoolArray) -> Int8Array:
    """Return the index of the reason in `REASONS` for which each frame is left out, or `_KEPT`."""
    level_db = spectrum.level_db
    loud_db = np.percentile(level_db[level_db > _SILENT_DBFS], 95) if (level_db > _SILENT_DBFS).any() else 0.0
    silent = level_db < max(_SILENT_DBFS, loud_db + _SILENT_DB)
    voiced = track.confidence >= VOICED_CONFIDENCE
    pitched, pitchless = voiced & ~silent, ~voiced & ~silent
    mixed = _is_frequent(
        pitched & (spectrum.residual > _LARGEST_RESIDUAL), pitched, _SEVERAL_WINDOW_S, _LARGEST_SEVERAL
    )
    speech = _is_frequent(pitched & ~_find_held(track, pitched), pitched, _SPEECH_WINDOW_S, 1 - _LEAST_HELD)
    unclear = _is_frequent(pitchless, ~silent, _NOISE_WINDOW_S, 1 - _LEAST_PITCHED)
    chords = _is_frequent(pitchless & (spectrum.flatness < _TONAL_FLATNESS), pitchless, _NOISE_WINDOW_S, 0.5)
    reasons = np.full(len(voiced), _KEPT, np.int8)
    for reason, where in (
        (NO_PITCH, ~voiced | hits),
        (SPEECH, speech),
        (SEVERAL_NOTES, mixed),
        (NO_PITCH, unclear & ~chords),
        (SEVERAL_NOTES, unclear & chords),
        (CLIPPED, clipped),
        (SILENT, silent),
    ):
        reasons[where] = _NAMES.index(reason)
    return reasons


def _is_frequent(events: BoolArray, among: BoolArray, window_s: float, share: float) -> BoolArray:
    """Say of each frame whether more than a share of the frames ``among`` those around it are events."""
    size = round(window_s / FRAME_S)
    counts = [uniform_filter1d(one.astype(np.float64), size, mode="constant") for one in (events, among)]
    return np.asarray(counts[0] > share * counts[1] + 1e-9)


def _find_held(track: PitchTrack, pitched: BoolArray) -> BoolArray:
    """Find the frames of held notes, with vibrato or without."""
    held = np.zeros(len(pitched), np.bool_)
    cents = 1200 * np.log2(track.f0_hz, dtype=np.float64)
    for start, stop in _find_runs(pitched):
        run = cents[start:stop]
        held[start:stop] = _hold(run) | _hold(uniform_filter1d(run, round(_VIBRATO_S / FRAME_S), mode="nearest"))
    return held


def _hold(cents: Float64Array) -> BoolArray:
    """Say which frames of a run of pitches belong to held notes."""
    held = np.zeros(len(cents), np.bool_)
    start = 0
    while start < len(cents):
        stop, total = start + 1, float(cents[start])
        while stop < len(cents) and abs(cents[stop] - total / (stop - start)) < _HELD_CENTS:
            total += float(cents[stop])
            stop += 1
        if (stop - start) * FRAME_S >= _HELD_S:
            slope = np.polyfit(np.arange(stop - start) * FRAME_S, cents[start:stop], 1)[0]
            held[start:stop] = abs(slope) < _LARGEST_SLOPE
        start = stop
    return held


def _fit(values: Float32Array, count: int) -> Float32Array:
    """Cut values to a number of frames, or repeat the last one."""
    return np.pad(values, (0, max(count - len(values), 0)), mode="edge")[:count]


def _find_runs(flags: BoolArray) -> Int64Array:
    """Return the start and the end of each run of true values: (runs, 2)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return edges.reshape(-1, 2)


def _join(reasons: Int8Array) -> list[tuple[int, int]]:
    """Return start and end of the passages. Short rests are joined, and ``reasons`` is updated."""
    can_rest = np.isin(reasons, [_NAMES.index(SILENT), _NAMES.index(NO_PITCH)])
    joined = reasons == _KEPT
    for start, stop in _find_runs(~joined):
        is_inside = start > 0 and stop < len(joined)
        if is_inside and (stop - start) * FRAME_S <= _REST_S and can_rest[start:stop].all():
            joined[start:stop] = True
    for _ in range(round(_ATTACK_S / FRAME_S)):
        joined[:-1] |= joined[1:] & can_rest[:-1]
    for _ in range(round(_RELEASE_S / FRAME_S)):
        joined[1:] |= joined[:-1] & can_rest[1:]
    spans: list[tuple[int, int]] = []
    for start, stop in _find_runs(joined):
        part = reasons[start:stop]
        if (stop - start) * FRAME_S >= SHORTEST_S:
            part[:] = _KEPT
            edges = np.linspace(start, stop, math.ceil((stop - start) * FRAME_S / _LONGEST_S) + 1).astype(int)
            spans += zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        else:
            part[part == _KEPT] = _NAMES.index(TOO_SHORT)
    return spans
