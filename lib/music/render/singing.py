"""Singing by formant synthesis: a voice with glides, vibrato, vowels, consonants and breath.

No human voice is used. Source-filter model: harmonics of a gliding fundamental, weighted by the formants of vowels.
Source: Sundberg 1987, "The Science of the Singing Voice".
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.music.render.compiled import sum_harmonics
from reprise.lib.music.render.instruments import VOWELS
from reprise.lib.music.render.tones import SAMPLE_RATE, shape_noise

_HOP = 256
_FRAMES_PER_S = SAMPLE_RATE / _HOP
_HIGHEST_HZ = 14_000.0
_MAX_HARMONICS = 90
_FIRST_VOICED_HZ, _LAST_VOICED_HZ = 70.0, 1100.0
# consonants: lowest and highest frequency in Hz, length in s, level relative to the voice. s, sh, f, h, t, k, p
_CONSONANTS = (
    (5000.0, 11000.0, 0.11, 0.5),
    (2200.0, 7000.0, 0.11, 0.5),
    (1500.0, 9000.0, 0.09, 0.15),
    (600.0, 4000.0, 0.08, 0.15),
    (3000.0, 9000.0, 0.025, 0.6),
    (1200.0, 4000.0, 0.03, 0.6),
    (300.0, 1800.0, 0.02, 0.5),
)
_NASAL = ((270.0, 60.0, 12.0), (1100.0, 150.0, 1.0), (2200.0, 200.0, 0.8), (3300.0, 250.0, 0.4), (4200.0, 250.0, 0.2))
_SHAPES = np.array([*VOWELS, _NASAL])  # (vowels and one nasal, formants, 3)
_NASAL_INDEX = len(VOWELS)


@dataclass(frozen=True)
class Singer:
    """Properties of a singing voice.

    Attributes
    ----------
    size
        Length of the vocal tract relative to an average man's, 0.75 (a child) to 1.1. A larger size sounds darker.
    octave
        Octaves by which the written pitch is shifted.
    tilt
        Slope of the source: harmonic k has the amplitude k^-tilt.
    vibrato_hz, vibrato_cents
        Rate and depth of the vibrato of long notes.
    glide_s
        Time constant of the change from one pitch to the next.
    breath
        Level of the breath noise relative to the voice.
    consonant_share
        Share of the notes that begin with a consonant.
    """

    size: float
    octave: int
    tilt: float
    vibrato_hz: float
    vibrato_cents: float
    glide_s: float
    breath: float
    consonant_share: float


def draw_singer(rng: np.random.Generator, mean_pitch: float) -> Singer:
    """Draw a singer who can sing notes of a mean MIDI pitch: shift the notes by octaves into the range."""
    is_low = rng.random() < 0.5
    centre = rng.uniform(50, 58) if is_low else rng.uniform(60, 68)
    return Singer(
        size=rng.uniform(0.95, 1.1) if is_low else rng.uniform(0.78, 0.95),
        octave=round((centre - mean_pitch) / 12),
        tilt=rng.uniform(0.6, 1.3),
        vibrato_hz=rng.uniform(4.6, 6.6),
        vibrato_cents=rng.uniform(5, 60),
        glide_s=float(np.exp(rng.uniform(np.log(0.012), np.log(0.07)))),
        breath=float(10 ** rng.uniform(-2.8, -1.6)),
        consonant_share=rng.uniform(0.4, 0.9),
    )


def sing(
    start_s: Float64Array,
    duration_s: Float64Array,
    pitch: Int64Array,
    loudness: Float64Array,
    frames: int,
    singer: Singer,
    rng: np.random.Generator,
) -> Float32Array:
    """Sing a melody. The result is mono, float32 (frames,), at 44,100 Hz, with a peak of 0.9, or silence.

    Parameters
    ----------
    start_s, duration_s, pitch, loudness
        Notes, (n,). A note ends when the next one starts. The loudness is an amplitude from 0 to 1.
    """
    out = np.zeros(frames, dtype=np.float32)
    order = np.argsort(start_s, kind="stable")
    start_s, end_s = start_s[order], (start_s + duration_s)[order]
    keep = np.diff(start_s, append=np.inf) > 0.03  # of notes that start together the last one is sung
    start_s, end_s, pitch, loudness = start_s[keep], end_s[keep], pitch[order][keep], loudness[order][keep]
    end_s = np.minimum(end_s, np.append(start_s[1:], np.inf))
    if not len(start_s) or not frames:
        return out
    n_cells = frames // _HOP + 2
    t = np.arange(n_cells) / _FRAMES_PER_S
    note = np.maximum(np.searchsorted(start_s, t + 0.01, side="right") - 1, 0)
    hz = _compute_pitch(t, note, start_s, pitch + 12 * singer.octave, singer, rng)
    envelope = _compute_envelope(t, note, start_s, end_s, loudness)
    shapes = _draw_shapes(t, note, start_s, singer, rng)

    n_harmonics = int(min(_MAX_HARMONICS, _HIGHEST_HZ / hz.min()))
    k = np.arange(1.0, n_harmonics + 1)
    partial_hz = hz[:, None] * k
    gain = np.ones_like(partial_hz)
    for formant in range(shapes.shape[1]):
        centre, width, level = (shapes[:, formant, column, None] for column in range(3))
        gain += level / (1 + ((partial_hz - centre / singer.size) / (0.5 * width)) ** 2)
    # a louder voice is brighter
    tilt = singer.tilt + 0.5 * (1 - envelope[:, None])
    spectrum = k**-tilt * gain * envelope[:, None] * (partial_hz < _HIGHEST_HZ)
    phase = 2 * np.pi * np.cumsum(np.interp(np.arange(frames), np.arange(n_cells) * _HOP, hz)) / SAMPLE_RATE
    out += sum_harmonics(phase, spectrum.astype(np.float32), _HOP)

    loudest = max(float(np.abs(out).max()), 1e-9)
    level = np.interp(np.arange(frames), np.arange(n_cells) * _HOP, envelope).astype(np.float32)
    breath = shape_noise(rng, frames, 800 / singer.size, 7000.0).astype(np.float32)
    out += np.float32(singer.breath * loudest) * level * breath
    _add_consonants(out, start_s, loudness, loudest, singer, rng)
    return out * np.float32(0.9 / max(float(np.abs(out).max()), 1e-9))


def _smooth(values: Float64Array, seconds: float) -> Float64Array:
    width = max(1, round(seconds * _FRAMES_PER_S))
    if width == 1:
        return values
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    return np.asarray(sliding_window_view(padded, width) @ (window / window.sum()), dtype=np.float64)


def _compute_pitch(
    t: Float64Array,
    note: Int64Array,
    start_s: Float64Array,
    pitch: Int64Array,
    singer: Singer,
    rng: np.random.Generator,
) -> Float64Array:
    """Return the fundamental in Hz at each cell: steps that glide, scoops, vibrato and drift."""
    since = np.maximum(t - start_s[note], 0)
    scoop = np.where(rng.random(len(start_s)) < 0.4, rng.uniform(-2.0, -0.3, len(start_s)), 0.0)
    semitones = pitch[note] + scoop[note] * np.exp(-since / 0.05)
    semitones = _smooth(semitones, 4 * singer.glide_s)
    onset = np.clip((since - 0.25) / 0.3, 0, 1)
    rate = 2 * np.pi * singer.vibrato_hz / _FRAMES_PER_S
    vibrato = np.sin(np.cumsum(rate * (1 + 0.08 * _smooth(rng.standard_normal(len(t)), 0.5))))
    drift = _smooth(rng.standard_normal(len(t)), 0.3) * np.sqrt(0.3 * _FRAMES_PER_S)
    cents = singer.vibrato_cents * onset * vibrato + 7.0 * drift
    hz = 440.0 * 2 ** ((semitones - 69) / 12 + cents / 1200)
    return np.asarray(np.clip(hz, _FIRST_VOICED_HZ, _LAST_VOICED_HZ))


def _compute_envelope(
    t: Float64Array, note: Int64Array, start_s: Float64Array, end_s: Float64Array, loudness: Float64Array
) -> Float64Array:
    sounding = (t >= start_s[note] - 0.01) & (t < end_s[note])
    since = np.maximum(t - start_s[note], 0)
    # a re-articulated note dips at its start; a long note swells
    dip = 1 - 0.45 * np.exp(-since / 0.03)
    swell = 0.85 + 0.15 * np.clip(since / 0.4, 0, 1)
    return np.clip(_smooth(loudness[note] * sounding * dip * swell, 0.06), 0, 1)


def _draw_shapes(
    t: Float64Array, note: Int64Array, start_s: Float64Array, singer: Singer, rng: np.random.Generator
) -> Float64Array:
    """Return the formants at each cell, (cells, formants, 3): a vowel or a diphthong per note, some after a nasal."""
    n = len(start_s)
    first, last = rng.integers(0, _NASAL_INDEX, (2, n))
    last = np.where(rng.random(n) < 0.3, last, first)
    nasal = rng.random(n) < 0.3 * singer.consonant_share
    since = (t - start_s[note])[:, None, None]
    share = np.clip((since - 0.12) / 0.2, 0, 1)
    shapes = (1 - share) * _SHAPES[first[note]] + share * _SHAPES[last[note]]
    closed = (np.clip((0.07 - since) / 0.03, 0, 1)) * nasal[note][:, None, None]
    return np.asarray((1 - closed) * shapes + closed * _SHAPES[_NASAL_INDEX])


def _add_consonants(
    out: Float32Array,
    start_s: Float64Array,
    loudness: Float64Array,
    loudest: float,
    singer: Singer,
    rng: np.random.Generator,
) -> None:
    for start, level in zip(start_s.tolist(), loudness.tolist(), strict=True):
        if rng.random() > singer.consonant_share:
            continue
        low, high, length_s, gain = _CONSONANTS[int(rng.integers(len(_CONSONANTS)))]
        n = int(length_s * rng.uniform(0.6, 1.4) * SAMPLE_RATE)
        noise = shape_noise(rng, n, low, high)
        # plosives decay, fricatives swell
        noise *= np.exp(-np.arange(n) / (0.3 * n)) if length_s < 0.05 else np.hanning(n)
        at = max(int(start * SAMPLE_RATE) - n, 0)
        part = out[at : at + n]
        part += (gain * rng.uniform(0.3, 1.2) * level * loudest * noise[: len(part)]).astype(np.float32)
