"""Musical works: chords and melody of each section relative to the tonic, and their changes in versions."""

from bisect import bisect
from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Int8Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES, Genre
from reprise.lib.music.compose.plan import NORMAL, Difficulty, Track

MAJOR, MINOR, DIMINISHED = 0, 1, 2
CELLS_PER_BEAT = 4
_CHORDS = {
    "I": (0, MAJOR), "ii": (2, MINOR), "iii": (4, MINOR), "IV": (5, MAJOR), "V": (7, MAJOR), "vi": (9, MINOR),
    "bVII": (10, MAJOR), "iv": (5, MINOR), "II": (2, MAJOR), "III": (4, MAJOR), "bVI": (8, MAJOR), "bIII": (3, MAJOR),
    "i": (0, MINOR), "v": (7, MINOR), "iiø": (2, DIMINISHED), "bII": (1, MAJOR),
}  # fmt: skip
_CHORD_NAMES = list(_CHORDS)
_CHORD_ROOT = np.array([root for root, _ in _CHORDS.values()])
_CHORD_KIND = np.array([kind for _, kind in _CHORDS.values()])
# relative frequency of each chord of _CHORDS: a row for major, a row for minor
_CHORD_FREQUENCY = np.array([
    [9, 3, 1.5, 6, 6, 4, 0.8, 0.5, 0.5, 0.4, 0.25, 0.2, 0, 0.2, 0.1, 0.1],
    [0, 0.3, 0, 1.0, 2.5, 0.1, 4, 4, 0.1, 0.1, 4, 3, 9, 2, 0.7, 0.5],
])  # fmt: skip
# weight of each root motion; the index is the ascending interval to the next root in semitones, 0 to 11
_ROOT_MOTION = np.array([0.15, 1.0, 1.6, 1.2, 1.2, 3.0, 0.3, 2.2, 1.2, 1.4, 1.4, 1.2])


def _make_transitions() -> list[list[list[float]]]:
    weights = _CHORD_FREQUENCY[:, None, :] * _ROOT_MOTION[(_CHORD_ROOT[None, :] - _CHORD_ROOT[:, None]) % 12] + 1e-6
    transitions: list[list[list[float]]] = np.cumsum(weights / weights.sum(-1, keepdims=True), axis=-1).tolist()
    return transitions


_TRANSITIONS = _make_transitions()
_FIRST_CHORDS: list[list[float]] = np.cumsum(_CHORD_FREQUENCY / _CHORD_FREQUENCY.sum(1, keepdims=True), axis=1).tolist()
# for each genre, its stock progressions in major and in minor; a progression that contains "i" is in minor
_STOCK_PROGRESSIONS: list[tuple[list[list[int]], list[list[int]]]] = [
    (
        [[_CHORD_NAMES.index(c) for c in text.split()] for text in genre.progressions if "i" not in text.split()]
        or [[0, 3, 0, 4]],
        [[_CHORD_NAMES.index(c) for c in text.split()] for text in genre.progressions if "i" in text.split()]
        or [[12, 7, 12, 13]],
    )
    for genre in GENRES
]

# Semitones of a chord's four voices above the root, shape (kinds, colours, 4). The colours are triad, seventh, dominant
# seventh and open fifth.
VOICES: Int64Array = np.array([
    [[0, 4, 7, 12], [0, 4, 7, 11], [0, 4, 7, 10], [0, 7, 12, 7]],
    [[0, 3, 7, 12], [0, 3, 7, 10], [0, 3, 7, 10], [0, 7, 12, 7]],
    [[0, 3, 6, 12], [0, 3, 6, 10], [0, 3, 6, 9], [0, 3, 6, 12]],
])  # fmt: skip
# diatonic, pentatonic and blues scales in major and in minor
_SCALES = (
    ([0, 2, 4, 5, 7, 9, 11], [0, 2, 4, 7, 9], [0, 2, 3, 4, 7, 9]),
    ([0, 2, 3, 5, 7, 8, 10], [0, 3, 5, 7, 10], [0, 3, 5, 6, 7, 10]),
)
_TRIADS = VOICES[:, 0, :3]


def _make_nearest_tones() -> Int8Array:
    """Return the interval in semitones to the nearest chord tone, indexed by (kind, pitch class above the root).

    The interval is negative if the chord tone is lower. When two chord tones are equally near, the lower one is chosen.
    """
    length = (_TRIADS[:, None, :] - np.arange(12)[None, :, None] + 6) % 12 - 6
    best = np.abs(length * 2 + 0.5).argmin(-1)
    return np.take_along_axis(length, best[..., None], -1)[..., 0].astype(np.int8)


_STEP_TO_CHORD_TONE = _make_nearest_tones()
_PHRASE_MOTIFS = np.array([[0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0]])
_MELODY_STEPS = np.array([-4, -3, -2, -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4])


@dataclass(frozen=True)
class Material:
    """Chords and melody of a work's sections, relative to its tonic.

    The melody is one flat list of notes, ordered by section.

    Parameters
    ----------
    root, kind
        Root and kind of the chord in each half bar, shape (sections, bars, 2). The root is a pitch class above the
        tonic.
    section
        Index of each note's section, shape (n,).
    cell, cells
        Start of each note in sixteenths from the section's start, and length of each note in sixteenths, shape (n,).
    pitch
        Pitch of each note, in semitones above the tonic in the lead's register, shape (n,). It can be negative.
    bounds
        Shape (sections + 1,): the notes of section s are ``bounds[s]:bounds[s + 1]``.
    """

    root: Int64Array
    kind: Int64Array
    section: Int64Array
    cell: Int64Array
    cells: Int64Array
    pitch: Int64Array
    bounds: Int64Array


def write_chords(rng: np.random.Generator, genre: Genre, track: Track, sections: int) -> tuple[Int64Array, Int64Array]:
    """Draw chord roots and kinds, each of shape (sections, bars, 2), in the work's mode and the style of a genre."""
    minor = 1 - track.work_mode
    progressions = _STOCK_PROGRESSIONS[GENRES.index(genre)][minor]
    draws = rng.random((sections, 12)).tolist()
    halves = np.arange(2 * track.section_bars)
    rows = []
    for draw in draws:
        if draw[0] < 0.5:
            progression = progressions[int(draw[1] * len(progressions))]
        else:
            progression = [bisect(_FIRST_CHORDS[minor], draw[1])]
            for u in draw[2:9]:
                progression.append(bisect(_TRANSITIONS[minor][progression[-1]], u))
            progression = progression[: 4 if draw[9] < 0.5 else 8]
        halves_per_chord = (
            4
            if draw[10] < genre.slow_harmony and len(progression) <= 4
            else 1
            if draw[11] < genre.chord_colours[0] / 4
            else 2
        )
        rows.append(np.array(progression)[halves // halves_per_chord % len(progression)])
    chords = np.minimum(np.stack(rows), len(_CHORD_NAMES) - 1).reshape(sections, track.section_bars, 2)
    return _CHORD_ROOT[chords], _CHORD_KIND[chords]


def write_melody(rng: np.random.Generator, genre: Genre, track: Track, root: Int64Array, kind: Int64Array) -> Material:
    """Compose a melody for each section over its chords. Each melody repeats two motifs of two bars."""
    sections, bars, _ = root.shape
    weight = (
        np.array([1.0, 0.25, 0.7, 0.3]) * (1 - genre.syncopation) + np.array([0.45, 0.5, 0.75, 0.5]) * genre.syncopation
    )
    bar_cells = track.meter * CELLS_PER_BEAT
    probability = np.tile(weight * (genre.note_density / weight.mean()), 2 * track.meter)
    density = np.exp(0.25 * rng.standard_normal((sections, 1, 1)))
    motif = rng.random((sections, 2, 2 * bar_cells)) < probability * density
    steps = _MELODY_STEPS[rng.integers(0, len(_MELODY_STEPS), motif.shape)] * motif
    contour = np.cumsum(steps, axis=-1) + rng.integers(0, 6, (sections, 2, 1)) + np.arange(sections)[:, None, None] % 2
    motif_order = _PHRASE_MOTIFS[rng.integers(0, len(_PHRASE_MOTIFS), sections), : bars // 2]
    rows = np.arange(sections)[:, None]
    has_note = motif[rows, motif_order].reshape(sections, bars * bar_cells)
    # singers must breathe, so most of the notes in the last six sixteenths of each four-bar phrase are dropped
    is_breath = rng.random((sections, bars * bar_cells)) < 0.75
    is_breath &= np.arange(bars * bar_cells) % (4 * bar_cells) >= 4 * bar_cells - 6
    section, cell = np.nonzero(has_note & ~is_breath)

    span = 9
    degree = contour[rows, motif_order].reshape(sections, bars * bar_cells)[section, cell] % (2 * span)
    degree = np.minimum(degree, 2 * span - degree)
    scale = np.array(_SCALES[1 - track.work_mode][bisect(np.cumsum(genre.scales)[:2].tolist(), rng.random())])
    pitch = scale[degree % len(scale)] + 12 * (degree // len(scale))
    half = cell // (bar_cells // 2)
    chord_root, chord_kind = root[section, half // 2, half % 2], kind[section, half // 2, half % 2]
    strong = (cell % 4 == 0) & (rng.random(len(cell)) < 0.8)
    pitch = pitch + strong * _STEP_TO_CHORD_TONE[chord_kind, (pitch - chord_root) % 12]
    return _finish_melody(root, kind, section, cell, pitch)


def _finish_melody(
    root: Int64Array, kind: Int64Array, section: Int64Array, cell: Int64Array, pitch: Int64Array
) -> Material:
    """Make each note last until the next one, but at most two beats."""
    length = np.full(len(cell), 8)
    if len(cell):
        following = np.diff(cell)
        length[:-1] = np.where(following > 0, np.minimum(following, 8), 8)
    bounds = np.searchsorted(section, np.arange(root.shape[0] + 1))
    return Material(root, kind, section, cell, length, pitch, bounds)


def vary_material(rng: np.random.Generator, material: Material, track: Track, difficulty: Difficulty) -> Material:
    """Return a version of a work's sections. Substitute some chords, and change, move, drop or add some notes.

    If the version has another mode than the work, convert chords and melody to this mode.
    """
    root, kind = _substitute(rng, material.root, material.kind, difficulty.chord_substituted)
    n = len(material.cell)
    draws = rng.random((4, n))
    kept = draws[0] >= difficulty.note_dropped
    changed = (draws[1] < difficulty.note_changed) * np.array([-3, -2, -1, 1, 2, 3, 4, -4])[rng.integers(0, 8, n)]
    moved = (draws[2] < difficulty.note_moved) * np.array([-2, -1, 1, 2])[rng.integers(0, 4, n)]
    last = root.shape[1] * track.meter * CELLS_PER_BEAT - 1
    section, pitch = material.section, material.pitch + changed
    cell = np.clip(material.cell + moved, 0, last)
    ornamented = kept & (draws[3] < difficulty.note_added) & (cell < last)
    section = np.concatenate([section[kept], section[ornamented]])
    pitch = np.concatenate(
        [pitch[kept], pitch[ornamented] + np.array([-2, 2])[rng.integers(0, 2, int(ornamented.sum()))]]
    )
    cell = np.concatenate([cell[kept], cell[ornamented] + 1])
    # the melody has one voice, so keep only the first of several notes on one sixteenth
    _, order = np.unique(section * (last + 1) + cell, return_index=True)
    section, cell, pitch = section[order], cell[order], pitch[order]
    if track.mode != track.work_mode:
        root, kind, pitch = _flip_mode(root, kind, pitch, to_minor=track.mode == 0)
    return _finish_melody(root, kind, section, cell, pitch)


def _substitute(
    rng: np.random.Generator, root: Int64Array, kind: Int64Array, share: float
) -> tuple[Int64Array, Int64Array]:
    """Replace the chords of some bars. A new chord shares two tones with the old one, or is a fourth above it."""
    replaced = (rng.random(root.shape[:2]) < share)[..., None]
    option = rng.integers(0, 3, root.shape[:2])[..., None]
    shift = np.array([[9, 4, 5], [3, 8, 5], [8, 5, 3]])[kind, option]
    new_kind = np.array([[MINOR, MINOR, MAJOR], [MAJOR, MAJOR, MINOR], [MAJOR, MINOR, MINOR]])[kind, option]
    return np.where(replaced, (root + shift) % 12, root), np.where(replaced, new_kind, kind)


def _flip_mode(
    root: Int64Array, kind: Int64Array, pitch: Int64Array, *, to_minor: bool
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Convert chords and melody to the parallel mode.

    The third, the sixth and the seventh of the scale move by a semitone, and so do the chords on them. These chords and
    those on the tonic and the subdominant change between major and minor.
    """
    lowered = np.zeros(12, dtype=np.int64)
    lowered[[4, 9, 11] if to_minor else [3, 8, 10]] = -1 if to_minor else 1
    tonic_or_subdominant = (root == 0) | (root == 5)
    flipped = np.where(
        tonic_or_subdominant,
        MINOR if to_minor else MAJOR,
        np.where(lowered[root] != 0, MAJOR if to_minor else MINOR, kind),
    )
    return (root + lowered[root]) % 12, flipped, pitch + lowered[pitch % 12]


def colour_chords(rng: np.random.Generator, genre: Genre, root: Int64Array, kind: Int64Array) -> Int64Array:
    """Return the four voices of each chord, shape (..., 4). Draw one colour for each root from the genre's shares."""
    colour = 1 + np.searchsorted(np.cumsum(genre.chord_colours), rng.random(12))
    colour = np.where(colour > 3, 0, colour)[root]
    # the seventh of a dominant, or of a major chord with dominant function, is a dominant seventh
    acts_dominant = np.isin(root, (2, 4, 7, 10)) & (kind == MAJOR)
    return VOICES[kind, np.where((colour == 1) & acts_dominant, 2, colour)]


def write_form(track: Track, difficulty: Difficulty) -> str:
    """Return the letters of a track's sections. Their number fits the planned length of the track.

    I is the intro, A is the verse, B is the chorus, C is the bridge, S is a solo over the verse, X is a section that is
    not from the work, and O is the outro. A short or beatless track has only the section A.
    """
    if track.state != NORMAL:
        return "A"
    forms = GENRES[track.work_genre].forms
    form = forms[track.work_bits % len(forms)]
    if track.version:
        form = _edit_form(form, track.version_bits, int(256 * difficulty.structure_edit))
    bars = track.length_s * track.tempo_bpm / (60 * track.meter)
    intro, outro = form.startswith("I"), form.endswith("O")
    body = form.strip("IO")
    n_sections = max(1, round((bars - 4 * intro - 4 * outro) / track.section_bars))
    while len(body) < n_sections:
        body += body[-(n_sections - len(body)) :]
    return "I" * intro + body[:n_sections] + "O" * outro


def _edit_form(form: str, bits: int, threshold: int) -> str:
    """Drop, add and move sections.

    Each of seven edits reads its own eight bits of ``bits``, and is made if their value is below ``threshold``.
    """
    edited = [(bits >> shift & 255) < threshold for shift in range(0, 56, 8)]
    if edited[0]:
        form = form.replace("C", "")
    if edited[1]:
        middle = len(form) // 2
        form = form[:middle] + "S" + form[middle:]
    if edited[2]:
        form = form[1:] if form.startswith("I") else "I" + form
    if edited[3]:
        form = form.replace("AB", "BA", 1)
    if edited[4]:
        form = form.replace("A", "AX", 1)
    if edited[5]:
        form = form[:-1] if form.endswith("O") else form + "O"
    if edited[6]:
        form = form.replace("AA", "A", 1)
    return form if form.strip("IO") else "A"
