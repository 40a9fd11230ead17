"""Synthesis of single notes of pitched instruments."""

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.render.compiled import sum_decaying_partials, sum_harmonics
from reprise.lib.music.render.instruments import (
    DIPHTHONGS,
    SOUNDS,
    VOWELS,
    ElectricPiano,
    Noise,
    Resonances,
    Sound,
    StruckString,
    SustainedTone,
)

SAMPLE_RATE = 44_100
VARIANTS = len(DIPHTHONGS)
"""Number of renderings of each note. The renderings differ in noise. Renderings of the voice also differ in vowels."""

_HOP = 256
_HIGHEST_HZ = 15_000.0
_MAX_PARTIALS = 48
_A3_HZ = 220.0
_INAUDIBLE = 1e-4


def play_note(
    name: str, frequency_hz: float, velocity: float, length_s: float, variant: int, size: float
) -> Float32Array:
    """Return the samples of one note that is held for its whole length, shape (n,). The peak is 0.9 for every velocity.

    Parameters
    ----------
    name
        Key of SOUNDS.
    velocity
        0 to 1. It sets the brightness; the caller sets the loudness.
    length_s
        Length to render in seconds. A decaying note can become silent earlier.
    variant
        0 to VARIANTS - 1.
    size
        Size of the singer or of the instrument's body, about 0.85 to 1.2, where 1 is the average. A larger size sounds
        darker. Sounds without a body or vowels ignore it.
    """
    sound: Sound = SOUNDS[name]
    n = max(int(length_s * SAMPLE_RATE), 64)
    # use a separate generator for each note, because the noise must not depend on the notes rendered before
    rng = np.random.Generator(np.random.SFC64([round(frequency_hz * 100), round(velocity * 100), variant]))
    if isinstance(sound, StruckString):
        note = _play_struck_string(sound, frequency_hz, velocity, n, rng, size)
    elif isinstance(sound, ElectricPiano):
        note = _play_electric_piano(sound, frequency_hz, velocity, n)
    else:
        note = _play_sustained_tone(sound, frequency_hz, velocity, n, rng, variant, size)
    peak = float(np.abs(note).max())
    return (note * np.float32(0.9 / max(peak, 1e-9))).astype(np.float32)


def _compute_resonance_gain(frequency_hz: Float64Array, body: Resonances, size: float) -> Float64Array:
    """Return the gain of a resonating body at each frequency."""
    gain = np.ones_like(frequency_hz)
    for centre, width, gain_above_1 in body:
        gain += gain_above_1 / (1.0 + ((frequency_hz - centre / size) / (0.5 * width)) ** 2)
    return gain


def _add_noise(note: Float32Array, noise: Noise, rng: np.random.Generator, envelope: Float64Array) -> None:
    if not noise.level:
        return
    n = len(note) if noise.decay_s == 0 else min(len(note), int(8 * noise.decay_s * SAMPLE_RATE))
    noise_signal = shape_noise(rng, n, noise.low_hz, noise.high_hz)
    if noise.decay_s:
        noise_signal *= np.exp(-np.arange(n) / (noise.decay_s * SAMPLE_RATE))
    else:
        noise_signal *= envelope[:n]
    note[:n] += (noise.level * float(np.abs(note).max()) * 1.5) * noise_signal.astype(np.float32)


def shape_noise(rng: np.random.Generator, n: int, low_hz: float, high_hz: float) -> Float64Array:
    """Return band-limited noise, shape (n,). The band has gentle slopes. The root mean square is about 0.5."""
    width = 1 << max(int(n) - 1, 255).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(width))
    hz = np.fft.rfftfreq(width, 1 / SAMPLE_RATE)
    spectrum /= np.sqrt((1 + (low_hz / np.maximum(hz, 1.0)) ** 4) * (1 + (hz / high_hz) ** 4))
    signal: Float64Array = np.fft.irfft(spectrum, width)
    return 0.5 * signal[:n] / max(float(np.sqrt(np.mean(signal**2))), 1e-12)


def _play_struck_string(
    sound: StruckString, frequency_hz: float, velocity: float, n: int, rng: np.random.Generator, size: float
) -> Float32Array:
    ratio = frequency_hz / _A3_HZ
    stiffness = sound.stiffness * ratio**1.3
    k = np.arange(1, _MAX_PARTIALS + 1, dtype=np.float64)
    # stiffness raises all partials except the fundamental
    hz = frequency_hz * k * np.sqrt((1 + stiffness * k * k) / (1 + stiffness))
    k, hz = k[hz < _HIGHEST_HZ], hz[hz < _HIGHEST_HZ]
    amplitude = k**-sound.slope
    if sound.pluck:
        amplitude *= np.abs(np.sin(np.pi * k * sound.pluck)) + 0.02
    cutoff = sound.cutoff_hz * 2 ** (2.2 * (velocity - 0.8)) * max(ratio, 0.7) ** 0.35
    amplitude *= _compute_resonance_gain(hz, sound.body, size) / (1 + (hz / cutoff) ** 2.4)
    rate = ratio**0.45 / sound.decay_s + sound.damping * ((hz / 1000) ** 2 - (frequency_hz / 1000) ** 2)
    decay = SAMPLE_RATE / np.maximum(rate, 0.1)
    step_rad, partials = 2 * np.pi * hz / SAMPLE_RATE, []
    for cents in sound.strings_cents:
        partials.append((step_rad * 2 ** (cents / 1200), amplitude * (1 - sound.aftersound), decay))
        if sound.aftersound:
            partials.append((step_rad * 2 ** (0.6 * cents / 1200), amplitude * sound.aftersound, 4 * decay))
    steps_rad, amplitudes, decays = (np.concatenate(column) for column in zip(*partials, strict=True))
    phase = np.tile(rng.uniform(0, 2 * np.pi, len(hz)), len(partials))
    loudest = float(amplitudes.max())
    note: Float32Array = sum_decaying_partials(steps_rad, amplitudes / loudest, decays, phase, n)
    _add_noise(note, sound.noise, rng, np.ones(n))
    _apply_attack(note, sound.attack_s, 1.0)
    return note


def _play_electric_piano(sound: ElectricPiano, frequency_hz: float, velocity: float, n: int) -> Float32Array:
    t = np.arange(n) / SAMPLE_RATE
    phase = 2 * np.pi * frequency_hz * t
    decay_s = sound.decay_s * (_A3_HZ / frequency_hz) ** 0.4
    body = sound.index * (0.35 + 0.65 * velocity**1.5) * np.exp(-t / (0.45 * decay_s))
    tone: Float64Array = np.exp(-t / decay_s) * np.sin(phase + body * np.sin(phase))
    if 14 * frequency_hz < _HIGHEST_HZ:
        tone += sound.chime * velocity * np.exp(-t / 0.09) * np.sin(phase + 0.8 * np.sin(14 * phase))
    hz, depth = sound.tremolo
    tone *= (1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * hz * t))) * np.minimum(t / 0.002, 1.0)
    return tone.astype(np.float32)


def _play_sustained_tone(
    sound: SustainedTone,
    frequency_hz: float,
    velocity: float,
    n: int,
    rng: np.random.Generator,
    variant: int,
    size: float,
) -> Float32Array:
    frames = n // _HOP + 2
    t: Float64Array = np.arange(0.0, frames) * (_HOP / SAMPLE_RATE)
    attack = np.minimum(t / sound.attack_s, 1.0)
    level = sound.sustain + (1 - sound.sustain) * np.exp(-np.maximum(t - sound.attack_s, 0) / sound.settle_s)
    rate, depth = sound.tremolo
    envelope = level * (1 - depth * (0.5 - 0.5 * np.cos(2 * np.pi * rate * t)))

    cutoff = sound.cutoff_hz * 2 ** (2.0 * (velocity - 0.8)) * (1 + sound.sweep * np.exp(-t / sound.sweep_s))
    cutoff = np.maximum(cutoff * np.maximum(attack * level, 0.05) ** sound.cutoff_loudness, 1.2 * frequency_hz)[:, None]
    source = _list_harmonics(sound, frequency_hz)
    hz: Float64Array = frequency_hz * np.arange(1.0, len(source) + 1)
    body = _compute_resonance_gain(hz, sound.body, size)[None, :]
    if sound.sings_vowels:
        body = _compute_vowel_gain(hz, t, n / SAMPLE_RATE, variant, size)
    spectrum = source * body / np.sqrt(1 + (hz / cutoff) ** 4) * envelope[:, None]
    # skip the highest harmonics if they are inaudible throughout
    audible = np.flatnonzero(spectrum.max(axis=0) > _INAUDIBLE * spectrum.max())
    audible_spectrum = np.ascontiguousarray(spectrum[:, : audible[-1] + 1], dtype=np.float32)

    note = np.zeros(n, dtype=np.float32)
    for number, cents in enumerate(sound.voices_cents):
        voice = sum_harmonics(_compute_phase(sound, frequency_hz, n, cents, rng), audible_spectrum, _HOP)
        # all voices but the first are quieter, because equally loud voices would sometimes cancel each other
        note += voice if number == 0 else np.float32(0.5) * voice
    _add_noise(note, sound.noise, rng, np.interp(np.arange(n) / SAMPLE_RATE, t, envelope))
    _apply_attack(note, sound.attack_s, 1.3)
    return note


def _list_harmonics(sound: SustainedTone, frequency_hz: float) -> Float64Array:
    """Return the amplitudes, before filtering, of the harmonics below `_HIGHEST_HZ`."""
    if len(sound.harmonics) > 1:
        source = np.array(sound.harmonics)
    else:
        source = np.arange(1.0, _MAX_PARTIALS + 1) ** -sound.harmonics[0]
    source[1::2] *= sound.even_gain
    return source[: max(int(_HIGHEST_HZ / frequency_hz), 1)]


def _apply_attack(note: Float32Array, attack_s: float, exponent: float) -> None:
    """Fade a note in from silence, in place."""
    attack_samples = max(int(attack_s * SAMPLE_RATE), 8)
    ramp = np.sin(0.5 * np.pi * np.arange(min(attack_samples, len(note))) / attack_samples) ** exponent
    note[:attack_samples] *= ramp.astype(np.float32)


def _compute_phase(
    sound: SustainedTone, frequency_hz: float, n: int, cents: float, rng: np.random.Generator
) -> Float64Array:
    """Return the phase of one player's fundamental at each sample, in radians."""
    t = np.arange(0, n + _HOP, _HOP) / SAMPLE_RATE
    rate, depth, delay = sound.vibrato
    # several players have independent vibrato phases
    is_solo = len(sound.voices_cents) == 1
    start = 0.0 if is_solo else rng.uniform(0, 2 * np.pi)
    vibrato_onset = np.clip((t - delay) / 0.25, 0.0, 1.0)
    bend_cents = cents + depth * vibrato_onset * np.sin(2 * np.pi * rate * (t - delay) + start)
    if sound.scoop[0]:
        bend_cents += sound.scoop[0] * np.exp(-t / sound.scoop[1])
    sparse_step_rad = 2 * np.pi * frequency_hz / SAMPLE_RATE * 2 ** (bend_cents / 1200)
    step_rad = np.interp(np.arange(n), np.arange(len(t)) * _HOP, sparse_step_rad)
    phase: Float64Array = np.cumsum(step_rad) + (0.0 if is_solo else rng.uniform(0, 2 * np.pi))
    return phase


def _compute_vowel_gain(
    partial_hz: Float64Array, t: Float64Array, length_s: float, variant: int, size: float
) -> Float64Array:
    """Return the gain that the vowels of a sung note give each harmonic over time, shape (frames, harmonics)."""
    first, last = (_compute_resonance_gain(partial_hz, VOWELS[vowel], size) for vowel in DIPHTHONGS[variant])
    # the vowel changes near the start of a note, within at most 0.25 s
    transition = np.clip((t - 0.08) / min(0.25, max(0.6 * length_s, 0.05)), 0.0, 1.0)[:, None]
    return first + (last - first) * transition
