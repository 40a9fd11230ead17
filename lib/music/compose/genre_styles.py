"""Style parameters of ten genres: tempo, meter, harmony, melody, rhythm, instruments and sound.

The numbers are chosen so that genres overlap as real genres do. One feature alone, e.g. tempo, loudness or timbre, does
not identify a genre. The genre names are taken from the tagtraum genre annotations (Schreiber 2015).
"""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float64Array


@dataclass(frozen=True)
class Genre:
    """Style parameters of one genre.

    A rhythm pattern has one character for each sixteenth of a 4/4 bar. ``.`` is a rest. Each drum has its own pattern:
    ``x`` is a loud stroke, and ``o`` is a soft stroke. In the bass pattern ``1``, ``3`` and ``5`` are chord tones,
    ``8`` is the octave of the root, and ``-`` holds the tone. In the harmony pattern ``x`` is a chord, and ``-`` holds
    the chord.
    """

    name: str
    share: float  # share of the tracks
    tempo_bpm: tuple[float, float]  # median, and standard deviation of the logarithm
    minor_share: float  # share of works in minor
    triple_share: float  # share of works in 3/4
    swing: float  # position of the second eighth in the beat: 0.5 straight, 0.67 triplet
    chord_colours: tuple[float, float, float]  # shares of chords played as sevenths, dominant sevenths and open fifths
    progressions: tuple[str, ...]  # common chord progressions as Roman numerals
    slow_harmony: float  # among progressions of at most four chords, share whose chords last two bars
    scales: tuple[float, float, float]  # shares of diatonic, pentatonic and blues scales
    note_density: float  # melody notes per sixteenth
    syncopation: float  # 0 on the beat, 1 off the beat
    forms: tuple[str, ...]
    drums: tuple[dict[str, str], ...]
    bass: tuple[str, ...]
    harmony: tuple[str, ...]
    # choices for drums, bass, harmony and lead; a repeated name is more likely
    instruments: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    drumless_share: float  # share of tracks without drums
    level_db: tuple[float, float]  # mean and standard deviation, over tracks, of the segments' maximum loudness
    dynamics_db: float  # scale of the loudness differences between sections
    brightness: float  # shift of timbre coefficient 1 in standard deviations
    timing_s: float  # standard deviation of the note onsets' distances from the grid
    tempo_drift: float  # standard deviation of the tempo within a track, relative to the tempo
    years: tuple[int, int]
    tags: tuple[str, ...]


ROCK_FORMS = ("IABABCBO", "IABABSBO", "IABABBO", "IAABABCBB", "ABABCBO")
SONG_FORMS = ("IAABABO", "AABAAABA", "IABABO", "AAAAA", "ABABAB")

GENRES: tuple[Genre, ...] = (
    Genre(
        name="Blues", share=0.07, tempo_bpm=(104, 0.27), minor_share=0.22, triple_share=0.05, swing=0.64,
        chord_colours=(0.1, 0.65, 0.02), slow_harmony=0.25,
        progressions=("I I I I IV IV I I V IV I V", "I IV I I IV IV I I V IV I V", "I I IV I", "i i iv i", "I V IV I"),
        scales=(0.2, 0.3, 0.5), note_density=0.27, syncopation=0.45,
        forms=("IAASAAO", "AAASSA", "IAAASABA", "IABASABO"),
        drums=({"kick": "x.......x.o.....", "snare": "....x.......x...", "ride": "x.x.x.x.x.x.x.x."},
               {"kick": "x.....o.x.......", "snare": "....x.......x..o", "hat": "x.x.x.x.x.x.x.x."}),
        bass=("1-1-3-3-5-5-3-3-", "1---3---5---3---", "1-..5-..8-..5-.."),
        harmony=("x-..x-..x-..x-..", "..x...x...x...x.", "x-------....x-x-"),
        instruments=(("kit", "brushes"), ("electric bass", "double bass"),
                     ("electric guitar", "piano", "organ", "acoustic guitar"),
                     ("voice", "electric guitar", "harmonica", "voice")),
        drumless_share=0.14, level_db=(-13.0, 4.0), dynamics_db=2.2, brightness=-0.2, timing_s=0.014, tempo_drift=0.02,
        years=(1958, 2009),
        tags=("blues", "blues-rock", "chicago blues", "delta blues", "electric blues", "modern blues", "harmonica",
              "slide guitar", "boogie", "country blues", "louisiana blues", "texas blues", "piano blues"),
    ),
    Genre(
        name="Country", share=0.08, tempo_bpm=(116, 0.24), minor_share=0.08, triple_share=0.14, swing=0.53,
        chord_colours=(0.06, 0.12, 0.02), slow_harmony=0.25,
        progressions=("I I IV I V V I I", "I IV V I", "I V I IV I V I I", "I vi IV V", "I IV I V"),
        scales=(0.55, 0.4, 0.05), note_density=0.26, syncopation=0.25, forms=("IABABSBO", *SONG_FORMS),
        drums=({"kick": "x...o...x...o...", "snare": "..o.x.o...o.x.o.", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x.......x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x.......x.o.....", "snare": "....x.......x...", "tambourine": "..x...x...x...x."}),
        bass=("1---....5---....", "1---5---1---5---", "1-------5-------"),
        harmony=("..x-..x-..x-..x-", "x-x-x-x-x-x-x-x-", "x---..x-x---..x-"),
        instruments=(("kit", "brushes"), ("electric bass", "double bass"),
                     ("acoustic guitar", "banjo", "piano", "electric guitar"),
                     ("voice", "voice", "fiddle", "steel guitar")),
        drumless_share=0.1, level_db=(-11.8, 3.5), dynamics_db=2.0, brightness=0.1, timing_s=0.01, tempo_drift=0.012,
        years=(1958, 2010),
        tags=("country", "country rock", "honky tonk", "bluegrass", "nashville sound", "alternative country",
              "outlaw country", "americana", "country gospel", "cowboy", "steel guitar", "western swing", "line dance"),
    ),
    Genre(
        name="Electronic", share=0.13, tempo_bpm=(125, 0.17), minor_share=0.58, triple_share=0.01, swing=0.5,
        chord_colours=(0.22, 0.03, 0.1), slow_harmony=0.45,
        progressions=("i bVI bIII bVII", "i i i i", "vi IV I V", "i bVII bVI bVII", "i iv i v", "I IV I IV"),
        scales=(0.6, 0.38, 0.02), note_density=0.34, syncopation=0.5,
        forms=("IABABCBO", "IAABBCAABB", "IAXABBO", "IABCABCB", "IAAABBAA"),
        drums=({"kick": "x...x...x...x...", "clap": "....x.......x...", "hat": "..x...x...x...x.",
                "shaker": "o.o.o.o.o.o.o.o."},
               {"kick": "x...x...x...x...", "snare": "....x.......x...", "hat": "x.xxx.xxx.xxx.xx"},
               {"kick": "x.....x...x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xx"},
               {"kick": "x.........x.....", "snare": "....x.......x...", "hat": "xxxxxxxxxxxxxxxx"}),
        bass=("..1-..1-..1-..1-", "1.1.1.1.1.1.1.1.", "1--1--1-1--1--8-", "1-------1-----5-"),
        harmony=("x---------------", "x--x--x-..x--x--", "..x...x...x...x.", "x-x-x-x-x-x-x-x-"),
        instruments=(("drum machine", "electronic kit"), ("synth bass", "synth bass", "electric bass"),
                     ("pad", "synth keys", "strings", "organ"), ("synth lead", "synth lead", "voice", "synth keys")),
        drumless_share=0.12, level_db=(-11.5, 3.8), dynamics_db=3.2, brightness=0.25, timing_s=0.002, tempo_drift=0.002,
        years=(1978, 2010),
        tags=("electronic", "techno", "house", "electro", "trance", "downtempo", "ambient", "drum and bass", "idm",
              "electronica", "trip hop", "progressive house", "breakbeat", "synthpop", "dance music", "minimal"),
    ),
    Genre(
        name="Folk", share=0.08, tempo_bpm=(111, 0.28), minor_share=0.3, triple_share=0.2, swing=0.51,
        chord_colours=(0.12, 0.03, 0.02), slow_harmony=0.3,
        progressions=("I V vi IV", "I IV I V", "i bVII i bVII", "I I IV V", "vi IV I V", "i bIII bVII iv"),
        scales=(0.62, 0.37, 0.01), note_density=0.27, syncopation=0.25,
        forms=("AAAAA", "IABABO", "AABAAABA", "IAABAABO"),
        drums=({"kick": "x.......x.......", "snare": "....o.......o...", "shaker": "o.o.o.o.o.o.o.o."},
               {"kick": "x.....o.x.....o.", "rim": "....x.......x...", "tambourine": "..x...x...x...x."}),
        bass=("1-------5-------", "1---------------", "1---....1---5---"),
        harmony=("x-x-x-x-x-x-x-x-", "x--xx-x-x--xx-x-", "x-------x-------"),
        instruments=(("brushes", "hand drums", "kit"), ("double bass", "electric bass"),
                     ("acoustic guitar", "acoustic guitar", "piano", "banjo"), ("voice", "voice", "flute", "fiddle")),
        drumless_share=0.5, level_db=(-15.5, 4.2), dynamics_db=2.2, brightness=-0.25, timing_s=0.014, tempo_drift=0.02,
        years=(1960, 2010),
        tags=("folk", "folk rock", "singer-songwriter", "acoustic", "celtic", "traditional", "indie folk", "ballad",
              "british folk", "freak folk", "guitar", "neofolk", "folk-pop"),
    ),
    Genre(
        name="Jazz", share=0.10, tempo_bpm=(121, 0.32), minor_share=0.36, triple_share=0.09, swing=0.63,
        chord_colours=(0.72, 0.08, 0.0), slow_harmony=0.12,
        progressions=("ii V I I", "I vi ii V", "iii vi ii V", "ii V I vi ii V I I", "i iv iiø V", "I II ii V",
                      "i bVI iiø V"),
        scales=(0.72, 0.16, 0.12), note_density=0.33, syncopation=0.5,
        forms=("AABASSAABA", "IAABASSAO", "ASSSA", "IABSSAB"),
        drums=({"ride": "x...x.x.x...x.x.", "hat": "....x.......x...", "kick": "o.......o.......",
                "snare": "......o........o"},
               {"ride": "x...x.x.x...x.x.", "snare": "....o.....o.o...", "kick": "x...........o..."},
               {"ride": "x.x.x.x.x.x.x.x.", "rim": "...x..x...x..x..", "kick": "x.....o.x.....o."}),
        bass=("1---3---5---3---", "1---5---3---5---", "1-----5-1-----5-"),
        harmony=("x--...x-........", "..x-......x-..x-", "x-----x-----....", "x-------x-------"),
        instruments=(("kit", "brushes", "kit"), ("double bass", "double bass", "electric bass"),
                     ("piano", "electric guitar", "electric piano", "strings"),
                     ("saxophone", "trumpet", "piano", "voice", "flute")),
        drumless_share=0.16, level_db=(-16.2, 4.3), dynamics_db=2.6, brightness=-0.35, timing_s=0.016,
        tempo_drift=0.022, years=(1956, 2009),
        tags=("jazz", "smooth jazz", "cool jazz", "bebop", "swing", "hard bop", "latin jazz", "jazz funk", "fusion",
              "vocal jazz", "big band", "contemporary jazz", "acid jazz", "saxophone", "free jazz", "trumpet"),
    ),
    Genre(
        name="Latin", share=0.07, tempo_bpm=(112, 0.25), minor_share=0.46, triple_share=0.05, swing=0.5,
        chord_colours=(0.25, 0.12, 0.0), slow_harmony=0.3,
        progressions=("i iv V i", "I IV V IV", "i bVII bVI V", "ii V I I", "I V V I", "i V i V", "vi ii V I"),
        scales=(0.86, 0.12, 0.02), note_density=0.32, syncopation=0.6, forms=SONG_FORMS + ROCK_FORMS[:2],
        drums=({"kick": "x..x..x.x..x..x.", "conga": "..o.x.oo..o.x.oo", "shaker": "x.x.x.x.x.x.x.x."},
               {"kick": "x.......x.......", "clave": "x..x..x...x.x...", "conga": "..x...xx..x...xx",
                "cowbell": "x...x...x...x..."},
               {"kick": "x...x...x...x...", "snare": "...x..x....x..x.", "hat": "x.x.x.x.x.x.x.x."}),
        bass=("1--5--8-1--5--8-", "......5-....1---", "1-----5-1-----5-"),
        harmony=("x.xx.x.xx.x.xx.x", "x-..x-..x-..x-..", "..x-..x-..x-..x-"),
        instruments=(("hand drums", "kit"), ("electric bass", "double bass"),
                     ("piano", "nylon guitar", "nylon guitar", "accordion"), ("voice", "voice", "trumpet", "flute")),
        drumless_share=0.1, level_db=(-12.0, 3.8), dynamics_db=2.0, brightness=0.1, timing_s=0.01, tempo_drift=0.012,
        years=(1962, 2010),
        tags=("latin", "salsa", "bossa nova", "samba", "cumbia", "tropical", "bolero", "latin pop", "tango", "merengue",
              "brazil", "bachata", "flamenco", "reggaeton", "ranchera"),
    ),
    Genre(
        name="Pop_Rock", share=0.22, tempo_bpm=(123, 0.22), minor_share=0.28, triple_share=0.04, swing=0.5,
        chord_colours=(0.07, 0.02, 0.28), slow_harmony=0.25,
        progressions=("I V vi IV", "vi IV I V", "I IV V IV", "I bVII IV I", "i bVI bIII bVII", "I vi IV V", "I IV I IV",
               "i bVII bVI bVII", "I V IV V"),
        scales=(0.6, 0.36, 0.04), note_density=0.29, syncopation=0.4, forms=ROCK_FORMS,
        drums=({"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x..x....x.......", "snare": "....x.......x...", "ride": "x.x.x.x.x.x.x.x."},
               {"kick": "x.x.....x.x...x.", "snare": "....x.......x...", "hat": "x...x...x...x..."},
               {"kick": "x...x...x...x...", "snare": "..x...x...x...x.", "hat": "x.x.x.x.x.x.x.x."}),
        bass=("1-1-1-1-1-1-1-1-", "1-----1-1-----5-", "1-------1---5---", "1--1--1-1--1--1-"),
        harmony=("x-x-x-x-x-x-x-x-", "x-------x-------", "x--x--x-x--x--x-", "x---------------", "x-..x-x-..x-x-x-"),
        instruments=(("kit", "kit", "electronic kit"), ("electric bass",),
                     ("electric guitar", "distorted guitar", "acoustic guitar", "piano", "organ", "strings"),
                     ("voice", "voice", "voice", "electric guitar", "distorted guitar")),
        drumless_share=0.07, level_db=(-10.0, 4.2), dynamics_db=2.8, brightness=0.15, timing_s=0.008, tempo_drift=0.01,
        years=(1960, 2010),
        tags=("rock", "pop", "alternative rock", "indie rock", "hard rock", "classic rock", "pop rock", "punk", "metal",
              "heavy metal", "emo", "new wave", "grunge", "soft rock", "britpop", "hardcore", "power pop",
              "progressive rock"),
    ),
    Genre(
        name="Rap", share=0.10, tempo_bpm=(97, 0.2), minor_share=0.66, triple_share=0.0, swing=0.54,
        chord_colours=(0.25, 0.04, 0.08), slow_harmony=0.5,
        progressions=("i i i i", "i bVI i bVI", "i iv i iv", "i bVII i bVII", "i bVI bVII i", "vi IV vi IV"),
        scales=(0.35, 0.5, 0.15), note_density=0.42, syncopation=0.6,
        forms=("IABABAB", "IABABCB", "IAABAABB", "ABABAO"),
        drums=({"kick": "x..o..x...x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x......x..x..x..", "clap": "....x.......x...", "hat": "x.xxx.x.x.xxx.xx"},
               {"kick": "x.x...x....x....", "snare": "....x..o.o..x...", "hat": "x.x.x.x.x.x.x.o."}),
        bass=("1-----1-..1-....", "1---------1-----", "1--1--..1-..5-.."),
        harmony=("x---------------", "x-..x-..x-..x-..", "x-----x-....x---", "..x...x...x...x."),
        instruments=(("drum machine", "electronic kit", "kit"), ("synth bass", "electric bass", "synth bass"),
                     ("electric piano", "strings", "synth keys", "piano"), ("voice", "voice", "voice", "synth lead")),
        drumless_share=0.04, level_db=(-9.2, 3.2), dynamics_db=1.5, brightness=0.0, timing_s=0.006, tempo_drift=0.004,
        years=(1984, 2010),
        tags=("hip hop", "rap", "gangster rap", "underground hip hop", "alternative rap", "east coast", "west coast",
              "dirty south", "turntablism", "beats", "hardcore rap", "g-funk", "old school", "crunk"),
    ),
    Genre(
        name="Reggae", share=0.07, tempo_bpm=(128, 0.25), minor_share=0.4, triple_share=0.01, swing=0.54,
        chord_colours=(0.15, 0.03, 0.01), slow_harmony=0.35,
        progressions=("I IV I IV", "i bVII i bVII", "I V vi IV", "i iv i iv", "I ii I ii", "I IV V IV",
                      "i i bVII bVII"),
        scales=(0.5, 0.47, 0.03), note_density=0.27, syncopation=0.5,
        forms=("IABABSABO", "IABABO", "AABAABO", "IABABBO"),
        drums=({"kick": "........x.......", "rim": "........x.......", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x.......x.......", "snare": "........x.......", "hat": "x.xxx.x.x.xxx.x."},
               {"kick": "x...x...x...x...", "rim": "....x.......x...", "hat": "..x...x...x...x."}),
        bass=("1-1-..5-1-..3-5-", "1---..1-5-3-1---", "..1-1-..5---3-..", "1--1..5-........"),
        harmony=("....x.......x...", "..x...x...x...x.", "..xx..xx..xx..xx"),
        instruments=(("kit", "kit", "electronic kit"), ("electric bass", "electric bass", "synth bass"),
                     ("electric guitar", "organ", "piano"), ("voice", "voice", "voice", "trumpet")),
        drumless_share=0.04, level_db=(-12.0, 3.5), dynamics_db=1.6, brightness=-0.05, timing_s=0.01, tempo_drift=0.008,
        years=(1966, 2010),
        tags=("reggae", "dub", "ska", "dancehall", "roots reggae", "rocksteady", "lovers rock", "ragga", "jamaica",
              "lovers", "ska punk", "reggae-pop"),
    ),
    Genre(
        name="RnB", share=0.08, tempo_bpm=(105, 0.25), minor_share=0.46, triple_share=0.05, swing=0.55,
        chord_colours=(0.5, 0.1, 0.0), slow_harmony=0.25,
        progressions=("I vi ii V", "ii V I vi", "i bVII bVI bVII", "IV iii ii I", "I IV I IV", "vi ii V I", "i iv i v"),
        scales=(0.5, 0.42, 0.08), note_density=0.32, syncopation=0.55, forms=("IABABCBB", "IABABCBO", "IAABABO"),
        drums=({"kick": "x.....o.x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
               {"kick": "x..x...x..x..x..", "clap": "....x.......x...", "hat": "x.x.x.xxx.x.x.xx"},
               {"kick": "x......x.xx.....", "snare": "....x..o.o..x..o", "hat": "xoxoxoxoxoxoxoxo"}),
        bass=("1-----1-..5-8-..", "1--1..1-..1-3-5-", "1-------..1-5---"),
        harmony=("x-------..x-----", "x---..x-....x---", "..x-..x-..x-..x-", "x---------------"),
        instruments=(("kit", "drum machine", "electronic kit"), ("electric bass", "synth bass"),
                     ("electric piano", "piano", "strings", "electric guitar", "organ"),
                     ("voice", "voice", "voice", "saxophone")),
        drumless_share=0.05, level_db=(-11.0, 3.8), dynamics_db=2.0, brightness=0.0, timing_s=0.009, tempo_drift=0.008,
        years=(1962, 2010),
        tags=("soul", "r&b", "funk", "motown", "neo soul", "urban", "disco", "new jack swing", "northern soul",
              "quiet storm",
              "gospel", "classic soul", "contemporary r&b"),
    ),
)  # fmt: skip

GENRE_NAMES: tuple[str, ...] = tuple(genre.name for genre in GENRES)

# rhythm patterns in 3/4, used for all genres: one character per sixteenth, 12 in a bar
WALTZ_DRUMS = {"kick": "x...........", "snare": "....o...o...", "hat": "x...x.x.x..."}
WALTZ_BASS = "1-------5---"
WALTZ_HARMONY = "....x---x---"


@dataclass(frozen=True)
class Instrument:
    """General MIDI program of an instrument, and its effect on the simulated analysis.

    ``sustain`` is the level after the attack, relative to the level of the attack. ``overtones`` is the strength of the
    partials above the octave. ``timbre`` is brightness, flatness and attack, in standard deviations of the timbre
    coefficients 1 to 3.
    """

    name: str
    program: int
    register: int  # lowest MIDI pitch of the octave in which it plays
    sustain: float
    overtones: float
    timbre: tuple[float, float, float]


INSTRUMENTS: dict[str, Instrument] = {
    name: Instrument(name, program, register, sustain, overtones, timbre)
    for name, program, register, sustain, overtones, timbre in (
        ("kit", 0, 0, 0.0, 0.0, (0.3, 0.4, 0.6)),
        ("brushes", 40, 0, 0.0, 0.0, (0.5, 0.2, -0.2)),
        ("drum machine", 25, 0, 0.0, 0.0, (-0.1, 0.6, 0.8)),
        ("electronic kit", 24, 0, 0.0, 0.0, (0.2, 0.6, 0.7)),
        ("hand drums", 48, 0, 0.0, 0.0, (0.1, 0.1, 0.4)),
        ("electric bass", 33, 28, 0.6, 0.35, (-0.6, -0.3, 0.0)),
        ("double bass", 32, 28, 0.35, 0.3, (-0.9, -0.4, 0.1)),
        ("synth bass", 38, 28, 0.8, 0.5, (-0.5, 0.1, 0.0)),
        ("electric guitar", 27, 48, 0.5, 0.45, (0.3, 0.1, 0.1)),
        ("distorted guitar", 30, 45, 0.9, 0.8, (0.8, 0.7, -0.3)),
        ("acoustic guitar", 25, 48, 0.35, 0.4, (0.3, -0.3, 0.4)),
        ("nylon guitar", 24, 48, 0.3, 0.3, (0.0, -0.5, 0.3)),
        ("banjo", 105, 52, 0.15, 0.5, (0.7, -0.1, 0.7)),
        ("piano", 0, 50, 0.4, 0.35, (-0.2, -0.5, 0.4)),
        ("electric piano", 4, 50, 0.45, 0.25, (-0.4, -0.4, 0.2)),
        ("organ", 16, 50, 0.95, 0.5, (0.0, -0.2, -0.5)),
        ("accordion", 21, 52, 0.9, 0.6, (0.4, 0.0, -0.4)),
        ("strings", 48, 52, 0.9, 0.45, (0.0, -0.4, -0.8)),
        ("pad", 89, 50, 1.0, 0.3, (-0.3, 0.2, -0.9)),
        ("synth keys", 81, 52, 0.7, 0.5, (0.4, 0.3, 0.1)),
        ("synth lead", 80, 60, 0.85, 0.55, (0.5, 0.4, 0.0)),
        ("voice", 53, 57, 0.9, 0.5, (0.2, -0.1, -0.3)),
        ("harmonica", 22, 62, 0.85, 0.55, (0.5, -0.1, -0.2)),
        ("fiddle", 40, 60, 0.9, 0.55, (0.5, -0.2, -0.4)),
        ("steel guitar", 26, 57, 0.7, 0.4, (0.2, -0.3, -0.2)),
        ("flute", 73, 64, 0.9, 0.15, (-0.2, -0.1, -0.3)),
        ("saxophone", 65, 55, 0.9, 0.5, (0.2, -0.1, -0.3)),
        ("trumpet", 56, 58, 0.9, 0.55, (0.4, -0.2, -0.2)),
    )
}

PARTS: tuple[str, ...] = ("drums", "bass", "harmony", "lead")
DRUMS: dict[str, int] = {
    "kick": 36, "rim": 37, "snare": 38, "clap": 39, "hat": 42, "tom": 45, "crash": 49, "ride": 51, "tambourine": 54,
    "cowbell": 56, "conga": 63, "shaker": 70, "clave": 75,
}  # fmt: skip

TEMPO_LOG: Float64Array = np.log([genre.tempo_bpm[0] for genre in GENRES])
TEMPO_SPREAD: Float64Array = np.array([genre.tempo_bpm[1] for genre in GENRES])
SHARE_CUMULATIVE: Float64Array = np.cumsum([genre.share for genre in GENRES])
