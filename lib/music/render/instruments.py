"""Pitched instruments: what makes each sound like its name, as data."""

from dataclasses import dataclass

Resonances = tuple[tuple[float, float, float], ...]
"""Of a body or a throat: frequency and width in Hz, and gain (as a factor) above 1."""


@dataclass(frozen=True)
class Noise:
    """Noise that belongs to a note: a pick, a hammer, a bow, breath.

    ``level`` beside the tone; ``low_hz`` and ``high_hz`` bound it; it falls to 1/e in ``decay_s``, or stays with 0.
    """

    level: float
    low_hz: float
    high_hz: float
    decay_s: float = 0.0


@dataclass(frozen=True)
class Struck:
    """A string that is plucked or struck, and then left to ring: partials that die away.

    ``slope``: partial k starts with the amplitude k^-slope. ``pluck``: where along the string it is plucked, which
    weakens the partials with a node there; 0 for none. ``cutoff_hz``: above it partials are weak; harder notes are
    brighter. ``decay_s``: in which the fundamental of A3 falls to 1/e; ``damping``: how much faster high partials do.
    ``stiffness``: inharmonicity B of A3. ``strings_cents``: detuning of the strings of one note.
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
    aftersound: float = 0.0  # share of the amplitude that dies four times more slowly


@dataclass(frozen=True)
class Sustained:
    """A tone that is fed while it lasts: bowed, blown, sung, or electronic: harmonics of one moving fundamental.

    ``harmonics``: their amplitudes, or with one number the exponent of k^-exponent; ``even``: gain of the even ones.
    ``cutoff_hz`` opens by the factor 1 + ``sweep`` at the start and closes in ``sweep_s``; ``blare``: how much it
    follows the loudness, as brass does. ``sustain``: level after the first ``settle_s``. ``voices_cents``: players or
    oscillators of one note, the first the loudest. ``vibrato``: Hz, cents, and the s before it begins. ``scoop``: cents
    it starts away from the pitch, and the s in which it gets there. ``tremolo``: Hz and depth.
    """

    harmonics: tuple[float, ...]
    cutoff_hz: float
    attack_s: float
    release_s: float
    body: Resonances = ()
    even: float = 1.0
    sweep: float = 0.0
    sweep_s: float = 0.2
    blare: float = 0.0
    sustain: float = 1.0
    settle_s: float = 0.3
    voices_cents: tuple[float, ...] = (0.0,)
    vibrato: tuple[float, float, float] = (5.0, 0.0, 0.0)
    scoop: tuple[float, float] = (0.0, 0.03)
    tremolo: tuple[float, float] = (5.0, 0.0)
    noise: Noise = Noise(0.0, 20.0, 20.0)
    throat: bool = False  # sings vowels


@dataclass(frozen=True)
class Tine:
    """An electric piano: frequency modulation, a slow pair for the body of the tone and a high one for its chime.

    ``index``: modulation of the body at full velocity; ``chime``: level of the modulator at 14 times the pitch.
    """

    index: float
    chime: float
    decay_s: float
    release_s: float
    tremolo: tuple[float, float]


Sound = Struck | Sustained | Tine

SOUNDS: dict[str, Sound] = {
    "electric bass": Struck(
        1.1, 0.18, 1500, 1.3, 1.2, 0.004, 0.08, Noise(0.05, 700, 2500, 0.01), stiffness=1e-4,
    ),
    "double bass": Struck(
        1.5, 0.3, 800, 0.6, 2.5, 0.010, 0.12, Noise(0.08, 300, 1200, 0.02), stiffness=5e-5,
        body=((110, 60, 1.5), (220, 100, 1.0)),
    ),
    "synth bass": Sustained((1.0,), 320, 0.004, 0.05, sweep=4.0, sweep_s=0.11, sustain=0.75, settle_s=0.15),
    "electric guitar": Struck(
        0.9, 0.13, 3000, 1.6, 0.35, 0.002, 0.07, Noise(0.05, 1500, 5000, 0.006), stiffness=5e-5,
    ),
    # its loudspeaker and distortion belong to the whole part: see rendering
    "distorted guitar": Struck(
        0.9, 0.1, 4000, 3.5, 0.2, 0.002, 0.06, Noise(0.08, 1500, 5000, 0.006), stiffness=5e-5,
    ),
    "acoustic guitar": Struck(
        0.85, 0.21, 6000, 0.9, 0.28, 0.0015, 0.1, Noise(0.12, 2000, 7000, 0.008), stiffness=8e-5,
        body=((105, 40, 2.0), (210, 60, 1.5), (420, 200, 0.8)),
    ),
    "nylon guitar": Struck(
        1.35, 0.3, 2400, 0.7, 0.8, 0.004, 0.1, Noise(0.06, 800, 2500, 0.012),
        body=((100, 40, 1.5), (200, 60, 1.5), (400, 200, 1.0)),
    ),
    "banjo": Struck(
        0.5, 0.1, 9000, 0.24, 0.12, 0.001, 0.06, Noise(0.25, 1800, 6000, 0.006), stiffness=6e-5,
        body=((700, 500, 2.5), (2500, 1500, 1.5)),
    ),
    "piano": Struck(
        1.2, 0.12, 3200, 1.2, 0.5, 0.002, 0.12, Noise(0.1, 300, 1800, 0.025), stiffness=4e-4,
        strings_cents=(-0.7, 0.0, 0.8), aftersound=0.25,
    ),
    "electric piano": Tine(1.1, 0.18, 1.4, 0.1, (4.6, 0.12)),
    "organ": Sustained(
        (1.0, 0.7, 0.5, 0.35, 0.08, 0.15, 0.0, 0.22), 9000, 0.006, 0.03, vibrato=(6.4, 5.0, 0.0), tremolo=(6.4, 0.1),
        noise=Noise(0.08, 1000, 6000, 0.006),
    ),
    "accordion": Sustained(
        (0.75,), 4500, 0.035, 0.06, body=((900, 500, 1.0), (2300, 900, 1.2)), voices_cents=(0.0, -9.0, 10.0),
        tremolo=(4.0, 0.04), noise=Noise(0.006, 800, 5000),
    ),
    "strings": Sustained(
        (1.0,), 3200, 0.09, 0.22, body=((480, 200, 0.8), (1100, 500, 0.7)), voices_cents=(0.0, -9.0, 8.0),
        vibrato=(5.3, 11.0, 0.05), noise=Noise(0.006, 1500, 7000),
    ),
    "pad": Sustained(
        (1.25,), 1100, 0.12, 0.45, voices_cents=(0.0, -10.0, 9.0), sweep=-0.4, sweep_s=0.35, tremolo=(0.6, 0.08),
    ),
    "synth keys": Sustained(
        (1.0,), 2200, 0.004, 0.12, voices_cents=(0.0, 11.0), sweep=2.5, sweep_s=0.16, sustain=0.6, settle_s=0.25,
    ),
    "synth lead": Sustained(
        (0.95,), 4500, 0.008, 0.08, even=0.25, voices_cents=(0.0, 8.0), vibrato=(5.6, 12.0, 0.22), sweep=0.8,
    ),
    "voice": Sustained(
        (1.15,), 5200, 0.045, 0.08, vibrato=(5.5, 32.0, 0.22), scoop=(-70.0, 0.035), noise=Noise(0.008, 2500, 8000),
        blare=0.3, throat=True,
    ),
    "harmonica": Sustained(
        (0.6,), 5500, 0.03, 0.06, body=((1100, 500, 1.5), (2700, 900, 1.5)), vibrato=(5.2, 8.0, 0.15),
        scoop=(-45.0, 0.04), tremolo=(5.2, 0.16), noise=Noise(0.01, 1500, 6000),
    ),
    "fiddle": Sustained(
        (0.85,), 6500, 0.04, 0.07, body=((290, 60, 1.0), (470, 120, 1.2), (860, 300, 0.8), (2700, 1100, 1.6)),
        vibrato=(6.0, 18.0, 0.12), scoop=(-25.0, 0.03), noise=Noise(0.01, 2000, 7000),
    ),
    "steel guitar": Sustained(
        (1.15,), 3200, 0.018, 0.12, sweep=0.6, sweep_s=0.5, sustain=0.45, settle_s=0.9, scoop=(-100.0, 0.03),
        vibrato=(4.8, 14.0, 0.2),
    ),
    "flute": Sustained(
        (1.0, 0.4, 0.16, 0.05, 0.03, 0.012), 6000, 0.045, 0.07, vibrato=(5.0, 9.0, 0.18), tremolo=(5.0, 0.14),
        noise=Noise(0.018, 700, 4000),
    ),
    "saxophone": Sustained(
        (0.85,), 3200, 0.03, 0.07, body=((560, 250, 1.5), (1350, 400, 1.0), (2600, 700, 0.6)), blare=0.6,
        vibrato=(5.0, 15.0, 0.25), scoop=(-40.0, 0.025), noise=Noise(0.01, 1200, 5000),
    ),
    "trumpet": Sustained(
        (0.4,), 2600, 0.024, 0.06, body=((1200, 700, 1.0), (2500, 900, 0.8)), blare=1.2, vibrato=(5.2, 9.0, 0.3),
        sustain=0.85, settle_s=0.08, noise=Noise(0.004, 1500, 6000),
    ),
}  # fmt: skip

DRIVE = {"distorted guitar": 9.0, "electric guitar": 0.8}
"""How far an amplifier is overdriven by a part's loudest notes; these instruments are heard through its loudspeaker."""

# first five formants of sung vowels (Hz, width, gain): Peterson & Barney 1952 for the first three, as men sing them
VOWELS: tuple[Resonances, ...] = (
    ((730, 80, 14.0), (1090, 90, 9.0), (2440, 120, 5.0), (3400, 150, 4.0), (4200, 250, 2.0)),  # a
    ((530, 60, 14.0), (1840, 100, 6.0), (2480, 120, 5.0), (3450, 150, 3.0), (4200, 250, 1.5)),  # e
    ((300, 50, 13.0), (2240, 100, 4.5), (2950, 140, 4.5), (3500, 170, 3.0), (4200, 250, 1.0)),  # i
    ((530, 60, 14.0), (880, 80, 8.0), (2400, 120, 2.5), (3300, 150, 2.0), (4200, 250, 1.0)),  # o
    ((320, 50, 14.0), (870, 80, 6.0), (2240, 120, 1.5), (3300, 150, 1.2), (4200, 250, 0.6)),  # u
)
# vowels that one note goes through
DIPHTHONGS = ((0, 0), (0, 2), (3, 4), (1, 1), (4, 0), (3, 3), (2, 1))
