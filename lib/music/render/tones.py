"""One note of one instrument, as samples."""

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.render.compiled import ring_partials, sum_harmonics
from reprise.lib.music.render.instruments import (
    DIPHTHONGS,
    SOUNDS,
    VOWELS,
    Noise,
    Resonances,
    Sound,
    Struck,
    Sustained,
    Tine,
)

SAMPLE_RATE = 44_100
VARIANTS = len(DIPHTHONGS)
"""A singer's notes differ by their vowels, everyone's by their noise."""

_HOP = 256
_HIGHEST_HZ = 15_000.0
_MOST_PARTIALS = 48
_A3_HZ = 220.0
_INAUDIBLE = 1e-4


def play_note(
    name: str, frequency_hz: float, velocity: float, length_s: float, variant: int, size: float
) -> Float32Array:
    """Samples of one note held for its whole length, shape (n,), with a peak near 1 however hard it is played.

    Parameters
    ----------
    name
        One of INSTRUMENTS that has a pitch.
    velocity
        0 to 1: how bright it is. How loud it becomes is the mixer's business.
    length_s
        To render; a note that rings out may be silent before.
    variant
        0 to VARIANTS - 1.
    size
        Size of the singer or of the body against an average one, about 0.85 to 1.2: larger is darker.
    """
    sound: Sound = SOUNDS[name]
    n = max(int(length_s * SAMPLE_RATE), 64)
    # noise must not depend on what was rendered before
    rng = np.random.Generator(np.random.SFC64([round(frequency_hz * 100), round(velocity * 100), variant]))
    if isinstance(sound, Struck):
        note = _strike(sound, frequency_hz, velocity, n, rng, size)
    elif isinstance(sound, Tine):
        note = _strike_tine(sound, frequency_hz, velocity, n)
    else:
        note = _sustain(sound, frequency_hz, velocity, n, rng, variant, size)
    peak = float(np.abs(note).max())
    return (note * np.float32(0.9 / max(peak, 1e-9))).astype(np.float32)


def _resonate(frequency_hz: Float64Array, body: Resonances, size: float) -> Float64Array:
    """Gain of a body at each frequency."""
    gain = np.ones_like(frequency_hz)
    for centre, width, above in body:
        gain += above / (1.0 + ((frequency_hz - centre / size) / (0.5 * width)) ** 2)
    return gain


def _add_noise(note: Float32Array, noise: Noise, rng: np.random.Generator, envelope: Float64Array) -> None:
    if not noise.level:
        return
    n = len(note) if noise.decay_s == 0 else min(len(note), int(8 * noise.decay_s * SAMPLE_RATE))
    hiss = shape_noise(rng, n, noise.low_hz, noise.high_hz)
    if noise.decay_s:
        hiss *= np.exp(-np.arange(n) / (noise.decay_s * SAMPLE_RATE))
    else:
        hiss *= envelope[:n]
    note[:n] += (noise.level * float(np.abs(note).max()) * 1.5) * hiss.astype(np.float32)


def shape_noise(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> Float64Array:
    """Noise between two frequencies with gentle slopes beside them, shape (n,), with a root mean square of 0.5."""
    width = 1 << max(int(n) - 1, 255).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(width))
    hz = np.fft.rfftfreq(width, 1 / SAMPLE_RATE)
    spectrum /= np.sqrt((1 + (low_hz / np.maximum(hz, 1.0)) ** 4) * (1 + (hz / high_hz) ** 4))
    signal: Float64Array = np.fft.irfft(spectrum, width)
    return 0.5 * signal[:n] / max(float(np.sqrt(np.mean(signal**2))), 1e-12)


def _strike(
    sound: Struck, frequency_hz: float, velocity: float, n: int, rng: np.random.Generator, size: float
) -> Float32Array:
    ratio = frequency_hz / _A3_HZ
    stiffness = sound.stiffness * ratio**1.3
    k = np.arange(1, _MOST_PARTIALS + 1, dtype=np.float64)
    # the fundamental is where the tuner puts it; stiffness spreads the partials above it
    hz = frequency_hz * k * np.sqrt((1 + stiffness * k * k) / (1 + stiffness))
    k, hz = k[hz < _HIGHEST_HZ], hz[hz < _HIGHEST_HZ]
    amplitude = k**-sound.slope
    if sound.pluck:
        amplitude *= np.abs(np.sin(np.pi * k * sound.pluck)) + 0.02
    cutoff = sound.cutoff_hz * 2 ** (2.2 * (velocity - 0.8)) * max(ratio, 0.7) ** 0.35
    amplitude *= _resonate(hz, sound.body, size) / (1 + (hz / cutoff) ** 2.4)
    rate = ratio**0.45 / sound.decay_s + sound.damping * ((hz / 1000) ** 2 - (frequency_hz / 1000) ** 2)
    decay = SAMPLE_RATE / np.maximum(rate, 0.1)
    turn, parts = 2 * np.pi * hz / SAMPLE_RATE, []
    for cents in sound.strings_cents:
        parts.append((turn * 2 ** (cents / 1200), amplitude * (1 - sound.aftersound), decay))
        if sound.aftersound:
            parts.append((turn * 2 ** (0.6 * cents / 1200), amplitude * sound.aftersound, 4 * decay))
    turns, amplitudes, decays = (np.concatenate(column) for column in zip(*parts, strict=True))
    phase = np.tile(rng.uniform(0, 2 * np.pi, len(hz)), len(parts))
    loudest = float(amplitudes.max())
    note: Float32Array = ring_partials(turns, amplitudes / loudest, decays, phase, n)
    _add_noise(note, sound.noise, rng, np.ones(n))
    _rise(note, sound.attack_s, 1.0)
    return note


def _strike_tine(sound: Tine, frequency_hz: float, velocity: float, n: int) -> Float32Array:
    t = np.arange(n) / SAMPLE_RATE
    phase = 2 * np.pi * frequency_hz * t
    quick = sound.decay_s * (_A3_HZ / frequency_hz) ** 0.4
    body = sound.index * (0.35 + 0.65 * velocity**1.5) * np.exp(-t / (0.45 * quick))
    tone: Float64Array = np.exp(-t / quick) * np.sin(phase + body * np.sin(phase))
    if 14 * frequency_hz < _HIGHEST_HZ:
        tone += sound.chime * velocity * np.exp(-t / 0.09) * np.sin(phase + 0.8 * np.sin(14 * phase))
    hz, depth = sound.tremolo
    tone *= (1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * hz * t))) * np.minimum(t / 0.002, 1.0)
    return tone.astype(np.float32)


def _sustain(
    sound: Sustained,
    frequency_hz: float,
    velocity: float,
    n: int,
    rng: np.random.Generator,
    variant: int,
    size: float,
) -> Float32Array:
    frames = n // _HOP + 2
    t: Float64Array = np.arange(0.0, frames) * (_HOP / SAMPLE_RATE)
    swell = np.minimum(t / sound.attack_s, 1.0)
    level = sound.sustain + (1 - sound.sustain) * np.exp(-np.maximum(t - sound.attack_s, 0) / sound.settle_s)
    rate, depth = sound.tremolo
    envelope = level * (1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * rate * t)))

    cutoff = sound.cutoff_hz * 2 ** (2.0 * (velocity - 0.8)) * (1 + sound.sweep * np.exp(-t / sound.sweep_s))
    cutoff = np.maximum(cutoff * np.maximum(swell * level, 0.05) ** sound.blare, 1.2 * frequency_hz)[:, None]
    source = _list_harmonics(sound, frequency_hz)
    hz: Float64Array = frequency_hz * np.arange(1.0, len(source) + 1)
    body = _resonate(hz, sound.body, size)[None, :]
    if sound.throat:
        body = _open_throat(hz, t, n / SAMPLE_RATE, variant, size)
    spectrum = source * body / np.sqrt(1 + (hz / cutoff) ** 4) * envelope[:, None]
    # harmonics that are never heard need not be summed
    heard = np.flatnonzero(spectrum.max(axis=0) > _INAUDIBLE * spectrum.max())
    frames_heard = np.ascontiguousarray(spectrum[:, : heard[-1] + 1], dtype=np.float32)

    note = np.zeros(n, dtype=np.float32)
    for number, cents in enumerate(sound.voices_cents):
        voice = sum_harmonics(_bend(sound, frequency_hz, n, cents, rng), frames_heard, _HOP)
        # voices as loud as each other would cancel out now and then
        note += voice if number == 0 else np.float32(0.5) * voice
    _add_noise(note, sound.noise, rng, np.interp(np.arange(n) / SAMPLE_RATE, t, envelope))
    _rise(note, sound.attack_s, 1.3)
    return note


def _list_harmonics(sound: Sustained, frequency_hz: float) -> Float64Array:
    """Amplitudes of the harmonics below the highest frequency, before any filter."""
    if len(sound.harmonics) > 1:
        source = np.array(sound.harmonics)
    else:
        source = np.arange(1.0, _MOST_PARTIALS + 1) ** -sound.harmonics[0]
    source[1::2] *= sound.even
    return source[: max(int(_HIGHEST_HZ / frequency_hz), 1)]


def _rise(note: Float32Array, attack_s: float, bend: float) -> None:
    """Let a note begin from nothing, in place."""
    rise = max(int(attack_s * SAMPLE_RATE), 8)
    ramp = np.sin(0.5 * np.pi * np.arange(min(rise, len(note))) / rise) ** bend
    note[:rise] *= ramp.astype(np.float32)


def _bend(sound: Sustained, frequency_hz: float, n: int, cents: float, rng: np.random.Generator) -> Float64Array:
    """Phase of one player's fundamental at every sample."""
    t = np.arange(0, n + _HOP, _HOP) / SAMPLE_RATE
    rate, depth, delay = sound.vibrato
    # players of a section do not shake together
    together = len(sound.voices_cents) == 1
    start = 0.0 if together else rng.uniform(0, 2 * np.pi)
    grown = np.clip((t - delay) / 0.25, 0.0, 1.0)
    bend = cents + depth * grown * np.sin(2 * np.pi * rate * (t - delay) + start)
    if sound.scoop[0]:
        bend += sound.scoop[0] * np.exp(-t / sound.scoop[1])
    step = 2 * np.pi * frequency_hz / SAMPLE_RATE * 2 ** (bend / 1200)
    every = np.interp(np.arange(n), np.arange(len(t)) * _HOP, step)
    phase: Float64Array = np.cumsum(every) + (0.0 if together else rng.uniform(0, 2 * np.pi))
    return phase


def _open_throat(partial_hz: Float64Array, t: Float64Array, length_s: float, variant: int, size: float) -> Float64Array:
    """Gain of the vowels a note is sung on, shape (frames, harmonics)."""
    first, last = (_resonate(partial_hz, VOWELS[vowel], size) for vowel in DIPHTHONGS[variant])
    # the mouth moves in the first part of a note, however long it is
    moved = np.clip((t - 0.08) / min(0.25, max(0.6 * length_s, 0.05)), 0.0, 1.0)[:, None]
    return first + (last - first) * moved
