"""Synthesis parameters of the pitched instruments."""

from dataclasses import dataclass

Resonances = tuple[tuple[float, float, float], ...]
"""Resonances of a body or a vocal tract: frequency in Hz, width in Hz, and the gain that is added to 1 at the peak."""


@dataclass(frozen=True)
class Noise:
    """Noise of a note: a pick, a hammer, a bow or breath.

    ``level`` is relative to the tone. ``low_hz`` and ``high_hz`` are the limits of the band. The noise falls to 1/e in
    ``decay_s`` seconds. If ``decay_s`` is 0, the noise follows the tone's envelope.
    """

    level: float
    low_hz: float
    high_hz: float
    decay_s: float = 0.0


@dataclass(frozen=True)
class StruckString:
    """A plucked or struck string: a sum of decaying partials.

    Parameters
    ----------
    slope
        Partial k has the initial amplitude k^-slope.
    pluck
        Plucking position as a fraction of the string's length. Partials with a node at this position are weak. 0
        disables this effect.
    cutoff_hz
        Frequency above which partials are weak. It rises with velocity.
    decay_s
        Time in which the fundamental of A3 falls to 1/e.
    damping
        Additional decay rate of high partials.
    stiffness
        Inharmonicity coefficient B of A3.
    strings_cents
        Detuning in cents of each of the strings that sound for one note.
    """

    slope: float
    pluck: float
    cutoff_hz: float
    decay_s: float
    damping: float
    attack_s: float
    release_s: float
    noise: Noise
    body: Resonances = ()
    stiffness: float = 0.0
    strings_cents: tuple[float, ...] = (0.0,)
    aftersound: float = 0.0  # share of the amplitude that decays four times more slowly


@dataclass(frozen=True)
class SustainedTone:
    """A bowed, blown, sung or electronic tone: harmonics of one varying fundamental.

    Parameters
    ----------
    harmonics
        Amplitudes of the harmonics. A single number is the exponent x of amplitudes k^-x.
    even_gain
        Gain of the even harmonics.
    cutoff_hz, sweep, sweep_s
        Cutoff frequency of the lowpass filter. It starts at cutoff_hz · (1 + sweep) and approaches cutoff_hz with the
        time constant sweep_s.
    cutoff_loudness
        Exponent with which the cutoff follows the loudness, as in brass instruments.
    sustain, settle_s
        Level after the attack, relative to the level of the attack, and time constant with which the tone
        approaches this level.
    voices_cents
        Detuning in cents of each of the players or oscillators that sound for one note. The first is the loudest.
    vibrato
        Rate in Hz, depth in cents, and delay in seconds.
    scoop
        Initial deviation from the pitch in cents, and time constant of its decay in seconds.
    tremolo
        Rate in Hz, and depth from 0 to 1.
    """

    harmonics: tuple[float, ...]
    cutoff_hz: float
    attack_s: float
    release_s: float
    body: Resonances = ()
    even_gain: float = 1.0
    sweep: float = 0.0
    sweep_s: float = 0.2
    cutoff_loudness: float = 0.0
    sustain: float = 1.0
    settle_s: float = 0.3
    voices_cents: tuple[float, ...] = (0.0,)
    vibrato: tuple[float, float, float] = (5.0, 0.0, 0.0)
    scoop: tuple[float, float] = (0.0, 0.03)
    tremolo: tuple[float, float] = (5.0, 0.0)
    noise: Noise = Noise(0.0, 20.0, 20.0)
    sings_vowels: bool = False  # filter the harmonics with the formants of vowels


@dataclass(frozen=True)
class ElectricPiano:
    """An electric piano by frequency modulation. One operator pair makes the tone's body, and another makes its chime.

    ``index`` is the modulation index of the body at full velocity. ``chime`` is the level of the chime, whose modulator
    has 14 times the frequency of the note.
    """

    index: float
    chime: float
    decay_s: float
    release_s: float
    tremolo: tuple[float, float]


Sound = StruckString | SustainedTone | ElectricPiano

SOUNDS: dict[str, Sound] = {
    "electric bass": StruckString(
        1.1, 0.18, 1500, 1.3, 1.2, 0.004, 0.08, Noise(0.05, 700, 2500, 0.01), stiffness=1e-4,
    ),
    "double bass": StruckString(
        1.5, 0.3, 800, 0.6, 2.5, 0.010, 0.12, Noise(0.08, 300, 1200, 0.02), stiffness=5e-5,
        body=((110, 60, 1.5), (220, 100, 1.0)),
    ),
    "synth bass": SustainedTone((1.0,), 320, 0.004, 0.05, sweep=4.0, sweep_s=0.11, sustain=0.75, settle_s=0.15),
    "electric guitar": StruckString(
        0.9, 0.13, 3000, 1.6, 0.35, 0.002, 0.07, Noise(0.05, 1500, 5000, 0.006), stiffness=5e-5,
    ),
    # amplifier and loudspeaker are applied to the whole part, for the electric guitar too: see `rendering`
    "distorted guitar": StruckString(
        0.9, 0.1, 4000, 3.5, 0.2, 0.002, 0.06, Noise(0.08, 1500, 5000, 0.006), stiffness=5e-5,
    ),
    "acoustic guitar": StruckString(
        0.85, 0.21, 6000, 0.9, 0.28, 0.0015, 0.1, Noise(0.12, 2000, 7000, 0.008), stiffness=8e-5,
        body=((105, 40, 2.0), (210, 60, 1.5), (420, 200, 0.8)),
    ),
    "nylon guitar": StruckString(
        1.35, 0.3, 2400, 0.7, 0.8, 0.004, 0.1, Noise(0.06, 800, 2500, 0.012),
        body=((100, 40, 1.5), (200, 60, 1.5), (400, 200, 1.0)),
    ),
    "banjo": StruckString(
        0.5, 0.1, 9000, 0.24, 0.12, 0.001, 0.06, Noise(0.25, 1800, 6000, 0.006), stiffness=6e-5,
        body=((700, 500, 2.5), (2500, 1500, 1.5)),
    ),
    "piano": StruckString(
        1.2, 0.12, 3200, 1.2, 0.5, 0.002, 0.12, Noise(0.1, 300, 1800, 0.025), stiffness=4e-4,
        strings_cents=(-0.7, 0.0, 0.8), aftersound=0.25,
    ),
    "electric piano": ElectricPiano(1.1, 0.18, 1.4, 0.1, (4.6, 0.12)),
    "organ": SustainedTone(
        (1.0, 0.7, 0.5, 0.35, 0.08, 0.15, 0.0, 0.22), 9000, 0.006, 0.03, vibrato=(6.4, 5.0, 0.0), tremolo=(6.4, 0.1),
        noise=Noise(0.08, 1000, 6000, 0.006),
    ),
    "accordion": SustainedTone(
        (0.75,), 4500, 0.035, 0.06, body=((900, 500, 1.0), (2300, 900, 1.2)), voices_cents=(0.0, -9.0, 10.0),
        tremolo=(4.0, 0.04), noise=Noise(0.006, 800, 5000),
    ),
    "strings": SustainedTone(
        (1.0,), 3200, 0.09, 0.22, body=((480, 200, 0.8), (1100, 500, 0.7)), voices_cents=(0.0, -9.0, 8.0),
        vibrato=(5.3, 11.0, 0.05), noise=Noise(0.006, 1500, 7000),
    ),
    "pad": SustainedTone(
        (1.25,), 1100, 0.12, 0.45, voices_cents=(0.0, -10.0, 9.0), sweep=-0.4, sweep_s=0.35, tremolo=(0.6, 0.08),
    ),
    "synth keys": SustainedTone(
        (1.0,), 2200, 0.004, 0.12, voices_cents=(0.0, 11.0), sweep=2.5, sweep_s=0.16, sustain=0.6, settle_s=0.25,
    ),
    "synth lead": SustainedTone(
        (0.95,), 4500, 0.008, 0.08, even_gain=0.25, voices_cents=(0.0, 8.0), vibrato=(5.6, 12.0, 0.22), sweep=0.8,
    ),
    "voice": SustainedTone(
        (1.15,), 5200, 0.045, 0.08, vibrato=(5.5, 32.0, 0.22), scoop=(-70.0, 0.035), noise=Noise(0.008, 2500, 8000),
        cutoff_loudness=0.3, sings_vowels=True,
    ),
    "harmonica": SustainedTone(
        (0.6,), 5500, 0.03, 0.06, body=((1100, 500, 1.5), (2700, 900, 1.5)), vibrato=(5.2, 8.0, 0.15),
        scoop=(-45.0, 0.04), tremolo=(5.2, 0.16), noise=Noise(0.01, 1500, 6000),
    ),
    "fiddle": SustainedTone(
        (0.85,), 6500, 0.04, 0.07, body=((290, 60, 1.0), (470, 120, 1.2), (860, 300, 0.8), (2700, 1100, 1.6)),
        vibrato=(6.0, 18.0, 0.12), scoop=(-25.0, 0.03), noise=Noise(0.01, 2000, 7000),
    ),
    "steel guitar": SustainedTone(
        (1.15,), 3200, 0.018, 0.12, sweep=0.6, sweep_s=0.5, sustain=0.45, settle_s=0.9, scoop=(-100.0, 0.03),
        vibrato=(4.8, 14.0, 0.2),
    ),
    "flute": SustainedTone(
        (1.0, 0.4, 0.16, 0.05, 0.03, 0.012), 6000, 0.045, 0.07, vibrato=(5.0, 9.0, 0.18), tremolo=(5.0, 0.14),
        noise=Noise(0.018, 700, 4000),
    ),
    "saxophone": SustainedTone(
        (0.85,), 3200, 0.03, 0.07, body=((560, 250, 1.5), (1350, 400, 1.0), (2600, 700, 0.6)), cutoff_loudness=0.6,
        vibrato=(5.0, 15.0, 0.25), scoop=(-40.0, 0.025), noise=Noise(0.01, 1200, 5000),
    ),
    "trumpet": SustainedTone(
        (0.4,), 2600, 0.024, 0.06, body=((1200, 700, 1.0), (2500, 900, 0.8)), cutoff_loudness=1.2,
        vibrato=(5.2, 9.0, 0.3), sustain=0.85, settle_s=0.08, noise=Noise(0.004, 1500, 6000),
    ),
}  # fmt: skip

DRIVE = {"distorted guitar": 9.0, "electric guitar": 0.8}
"""Drive of the amplifier at a part's loud notes, for instruments that are played through an amplifier."""

# first five formants of sung vowels (Hz, width, gain); the first three are those of men in Peterson & Barney 1952
VOWELS: tuple[Resonances, ...] = (
    ((730, 80, 14.0), (1090, 90, 9.0), (2440, 120, 5.0), (3400, 150, 4.0), (4200, 250, 2.0)),  # a
    ((530, 60, 14.0), (1840, 100, 6.0), (2480, 120, 5.0), (3450, 150, 3.0), (4200, 250, 1.5)),  # e
    ((300, 50, 13.0), (2240, 100, 4.5), (2950, 140, 4.5), (3500, 170, 3.0), (4200, 250, 1.0)),  # i
    ((530, 60, 14.0), (880, 80, 8.0), (2400, 120, 2.5), (3300, 150, 2.0), (4200, 250, 1.0)),  # o
    ((320, 50, 14.0), (870, 80, 6.0), (2240, 120, 1.5), (3300, 150, 1.2), (4200, 250, 0.6)),  # u
)
# first and last vowel of a note, as indices in VOWELS
DIPHTHONGS = ((0, 0), (0, 2), (3, 4), (1, 1), (4, 0), (3, 3), (2, 1))
