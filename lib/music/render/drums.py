"""Drum kits: each drum is a sum of decaying modes, a frequency sweep and bands of noise."""

from dataclasses import dataclass, replace

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music.compose.genre_styles import DRUMS
from reprise.lib.music.render.compiled import sum_decaying_partials
from reprise.lib.music.render.tones import SAMPLE_RATE, shape_noise

Mode = tuple[float, float, float]  # frequency in Hz, amplitude, seconds to fall to 1/e
NoiseBand = tuple[float, float, float, float, float]  # low and high Hz, level, seconds to rise, seconds to fall to 1/e
VARIANTS = 2
"""Number of renderings of each drum. Their noise differs, so that successive strokes differ."""


@dataclass(frozen=True)
class Drum:
    """Parameters of one drum.

    ``sweep`` is (start Hz, end Hz, time constant of the frequency's fall in seconds, time constant of the decay in
    seconds, level). ``pan`` is from -1 (left) to 1 (right).
    """

    modes: tuple[Mode, ...] = ()
    noise_bands: tuple[NoiseBand, ...] = ()
    sweep: tuple[float, float, float, float, float] | None = None
    bursts: tuple[float, ...] = (0.0,)  # times in seconds at which the noise starts; several starts imitate many hands
    metal_modes: tuple[float, float, float, float] | None = (
        None  # low and high Hz of a cymbal's modes, level, seconds of the decay
    )
    level: float = 1.0
    pan: float = 0.0


_KIT: dict[str, Drum] = {
    "kick": Drum(((62, 0.25, 0.09),), ((1500, 5000, 0.2, 0.0, 0.006),), (150, 54, 0.022, 0.11, 1.0)),
    "rim": Drum(((480, 0.6, 0.014), (1720, 0.8, 0.012)), ((1500, 6000, 0.3, 0.0, 0.006),), level=0.5, pan=0.1),
    "snare": Drum(
        ((186, 0.6, 0.07), (332, 0.4, 0.05), (510, 0.15, 0.03)), ((1200, 9000, 0.55, 0.0, 0.075),), level=0.8
    ),
    "clap": Drum((), ((900, 4500, 1.0, 0.0, 0.009),), bursts=(0.0, 0.011, 0.022, 0.032), level=0.75, pan=-0.1),
    "hat": Drum((), ((6500, 14000, 0.6, 0.0, 0.03),), metal_modes=(3500, 12000, 0.5, 0.028), level=0.5, pan=0.35),
    "tom": Drum(((165, 0.2, 0.12),), ((800, 3000, 0.12, 0.0, 0.01),), (155, 98, 0.04, 0.2, 1.0), level=0.85, pan=-0.3),
    "crash": Drum((), ((3500, 14000, 0.7, 0.003, 0.5),), metal_modes=(1200, 11000, 0.5, 0.7), level=0.42, pan=-0.4),
    "ride": Drum(
        ((3150, 0.3, 0.2),),
        ((5000, 12000, 0.25, 0.0, 0.06),),
        metal_modes=(1800, 9500, 0.5, 0.35),
        level=0.46,
        pan=-0.35,
    ),
    "tambourine": Drum(
        (), ((6000, 14000, 0.5, 0.004, 0.05),), metal_modes=(5000, 11500, 0.6, 0.09), level=0.3, pan=0.45
    ),
    "cowbell": Drum(((562, 1.0, 0.08), (845, 0.8, 0.07), (1690, 0.3, 0.03), (2530, 0.2, 0.02)), level=0.4, pan=0.3),
    "conga": Drum(
        ((208, 1.0, 0.12), (330, 0.3, 0.05), (480, 0.2, 0.03)), ((900, 4000, 0.25, 0.0, 0.008),), level=0.7, pan=0.3
    ),
    "shaker": Drum((), ((4500, 11000, 1.0, 0.022, 0.03),), level=0.22, pan=-0.45),
    "clave": Drum(((2480, 1.0, 0.03), (5100, 0.2, 0.01)), ((2000, 8000, 0.1, 0.0, 0.002),), level=0.45, pan=-0.25),
}

_BRUSHES = {
    **_KIT,
    "kick": Drum(((58, 0.3, 0.1),), ((300, 1500, 0.1, 0.0, 0.01),), (95, 52, 0.03, 0.12, 1.0), level=0.75),
    "snare": Drum(((190, 0.12, 0.05),), ((1500, 8000, 0.8, 0.018, 0.06), (1500, 6000, 0.3, 0.0, 0.012)), level=0.6),
    "hat": replace(_KIT["hat"], noise_bands=((6000, 13000, 0.7, 0.006, 0.03),), level=0.36),
    "ride": replace(_KIT["ride"], modes=(), noise_bands=((4000, 10000, 0.4, 0.005, 0.08),), level=0.42),
    "crash": replace(_KIT["crash"], noise_bands=((3000, 11000, 0.8, 0.02, 0.4),), level=0.36),
    "tom": Drum(((150, 0.2, 0.1),), ((800, 4000, 0.2, 0.008, 0.03),), (128, 92, 0.04, 0.17, 1.0), level=0.7, pan=-0.3),
}
# modelled on an analogue drum machine of 1980, whose drums are swept sines, metallic squares and filtered noise
_DRUM_MACHINE = {
    **_KIT,
    "kick": Drum((), ((2000, 7000, 0.12, 0.0, 0.003),), (125, 47, 0.018, 0.26, 1.0)),
    "rim": Drum(((500, 0.5, 0.008), (1667, 1.0, 0.009)), level=0.45),
    "snare": Drum(((178, 0.7, 0.045), (331, 0.5, 0.03)), ((2500, 11000, 0.5, 0.0, 0.06),), level=0.75),
    "clap": Drum(
        (), ((800, 2200, 1.0, 0.0, 0.01), (900, 2000, 0.25, 0.03, 0.08)), bursts=(0.0, 0.01, 0.02, 0.03), level=0.75
    ),
    "hat": Drum((), ((8500, 15000, 0.4, 0.0, 0.018),), metal_modes=(6000, 13000, 0.8, 0.02), level=0.46, pan=0.2),
    "tom": Drum((), (), (150, 85, 0.05, 0.2, 1.0), level=0.8, pan=-0.2),
    "cowbell": Drum(((540, 1.0, 0.1), (800, 1.0, 0.1), (1620, 0.35, 0.05), (2400, 0.3, 0.05)), level=0.4, pan=0.2),
    "clave": Drum(((2500, 1.0, 0.018),), level=0.45, pan=-0.2),
    "shaker": Drum((), ((6000, 14000, 1.0, 0.012, 0.018),), level=0.22, pan=-0.3),
}
_ELECTRONIC = {
    **_KIT,
    "kick": Drum((), ((1800, 9000, 0.35, 0.0, 0.004),), (230, 50, 0.014, 0.15, 1.0)),
    "snare": Drum(((205, 0.4, 0.05),), ((900, 12000, 0.8, 0.0, 0.12),), (300, 180, 0.03, 0.07, 0.6), level=0.85),
    "hat": Drum((), ((7500, 16000, 0.9, 0.0, 0.022),), metal_modes=(7000, 14000, 0.3, 0.015), level=0.48, pan=0.25),
    "tom": Drum((), ((600, 5000, 0.15, 0.0, 0.03),), (280, 90, 0.07, 0.22, 1.0), level=0.85, pan=-0.3),
    "crash": Drum((), ((4500, 16000, 1.0, 0.002, 0.4),), metal_modes=(3000, 14000, 0.3, 0.4), level=0.42, pan=-0.4),
}
# congas, bongos and a cajón, played without sticks
_HAND_DRUMS = {
    **_KIT,
    "kick": Drum(((170, 0.3, 0.05),), ((300, 2000, 0.15, 0.0, 0.008),), (120, 82, 0.02, 0.1, 0.8)),
    "rim": Drum(((620, 0.7, 0.02), (1250, 0.4, 0.012)), ((1500, 5000, 0.3, 0.0, 0.005),), level=0.5),
    "snare": Drum(((395, 0.8, 0.05), (640, 0.4, 0.03)), ((1200, 6000, 0.5, 0.0, 0.014),), level=0.7, pan=0.2),
    "hat": Drum((), ((5000, 11000, 1.0, 0.015, 0.022),), level=0.26, pan=0.35),
    "tom": Drum(((170, 1.0, 0.14), (275, 0.3, 0.06)), ((700, 3000, 0.2, 0.0, 0.008),), level=0.8, pan=-0.3),
    "ride": replace(_KIT["shaker"], level=0.26, pan=-0.35),
    "crash": replace(_KIT["tambourine"], noise_bands=((5000, 13000, 0.7, 0.004, 0.2),), level=0.45),
    "conga": replace(_KIT["conga"], level=0.85),
}

KITS: dict[str, dict[str, Drum]] = {
    "kit": _KIT, "brushes": _BRUSHES, "drum machine": _DRUM_MACHINE, "electronic kit": _ELECTRONIC,
    "hand drums": _HAND_DRUMS,
}  # fmt: skip
DRUM_OF_KEY = {key: drum for drum, key in DRUMS.items()}
_N_METAL_MODES = 36
_DECAYS_TO_SILENCE = 7.0  # number of time constants until a drum is inaudible


def play_stroke(kit: str, drum: str, velocity: float, variant: int) -> Float32Array:
    """Return the samples of one stroke until it is inaudible, shape (n,). The drums of a kit are balanced.

    Parameters
    ----------
    kit, drum
        Key of KITS, and key of DRUMS.
    velocity
        0 to 1. Softer strokes have weaker noise and cymbal modes, so they sound duller.
    variant
        0 to VARIANTS - 1.
    """
    design = KITS[kit][drum]
    rng = np.random.Generator(np.random.SFC64([DRUMS[drum], list(KITS).index(kit), variant]))
    decays = [decay for _, _, decay in design.modes] + [decay + rise_s for *_, rise_s, decay in design.noise_bands]
    decays += [design.sweep[3]] if design.sweep else []
    decays += [design.metal_modes[3]] if design.metal_modes else []
    n = int((_DECAYS_TO_SILENCE * max(decays) + design.bursts[-1]) * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    out = np.zeros(n)
    if design.modes:
        hz, amplitude, decay = (np.array(column) for column in zip(*design.modes, strict=True))
        step_rad = 2 * np.pi * hz * (1 + 0.004 * rng.standard_normal(len(hz))) / SAMPLE_RATE
        out += sum_decaying_partials(step_rad, amplitude, decay * SAMPLE_RATE, np.full(len(hz), 0.5), n)
    if design.sweep:
        first, last, fall, decay_s, level = design.sweep
        phase = 2 * np.pi * (last * t + (first - last) * fall * (1 - np.exp(-t / fall)))
        out += level * np.sin(phase + 0.3) * np.exp(-t / decay_s)
    brightness = 0.35 + 0.65 * velocity
    for low_hz, high_hz, level, rise_s, decay_s in design.noise_bands:
        noise = shape_noise(rng, n, low_hz, high_hz)
        out += level * brightness * noise * _make_burst_envelope(t, design.bursts, rise_s, decay_s)
    if design.metal_modes:
        low_hz, high_hz, level, decay_s = design.metal_modes
        # the modes belong to the cymbal, so they are the same for all its strokes
        cymbal_rng = np.random.Generator(np.random.SFC64([DRUMS[drum], 7]))
        hz = np.exp(cymbal_rng.uniform(np.log(low_hz), np.log(high_hz), _N_METAL_MODES))
        decay = decay_s * cymbal_rng.uniform(0.4, 1.3, _N_METAL_MODES) * (low_hz / hz) ** 0.2 * SAMPLE_RATE
        amplitude = cymbal_rng.uniform(0.3, 1.0, _N_METAL_MODES) * (level * brightness / np.sqrt(_N_METAL_MODES) * 1.6)
        phase = rng.uniform(0, 2 * np.pi, _N_METAL_MODES)
        out += sum_decaying_partials(2 * np.pi * hz / SAMPLE_RATE, amplitude, decay, phase, n)
    fade_samples = min(n, 256)
    out[-fade_samples:] *= np.linspace(1.0, 0.0, fade_samples)
    return (0.8 * design.level * out).astype(np.float32)


def _make_burst_envelope(t: Float64Array, starts: tuple[float, ...], rise_s: float, decay_s: float) -> Float64Array:
    """Return the amplitude envelope of a series of noise bursts, shaped like ``t``. The last burst decays longest."""
    envelope = np.zeros_like(t)
    for number, start in enumerate(starts):
        elapsed_s = t - start
        decay = decay_s * (4.0 if number == len(starts) - 1 and number else 1.0)
        attack = np.clip(elapsed_s / rise_s, 0.0, 1.0) if rise_s else 1.0
        envelope = np.maximum(
            envelope, (elapsed_s >= 0) * attack * np.exp(-np.maximum(elapsed_s - rise_s, 0.0) / decay)
        )
    return envelope
