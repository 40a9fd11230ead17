"""A musical work: sections of chords and melody, relative to the tonic; and what a version does to them."""

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
_NAMES = list(_CHORDS)
_ROOT = np.array([root for root, _ in _CHORDS.values()])
_KIND = np.array([kind for _, kind in _CHORDS.values()])
# how often each chord is met in major and in minor
_POPULAR = np.array([
    [9, 3, 1.5, 6, 6, 4, 0.8, 0.5, 0.5, 0.4, 0.25, 0.2, 0, 0.2, 0.1, 0.1],
    [0, 0.3, 0, 1.0, 2.5, 0.1, 4, 4, 0.1, 0.1, 4, 3, 9, 2, 0.7, 0.5],
])  # fmt: skip
_MOTION = np.array([0.15, 1.0, 1.6, 1.2, 1.2, 3.0, 0.3, 2.2, 1.2, 1.4, 1.4, 1.2])  # by semitones up from root to root


def _walks() -> list[list[list[float]]]:
    weights = _POPULAR[:, None, :] * _MOTION[(_ROOT[None, :] - _ROOT[:, None]) % 12] + 1e-6
    walks: list[list[list[float]]] = np.cumsum(weights / weights.sum(-1, keepdims=True), axis=-1).tolist()
    return walks


_WALKS = _walks()
_STARTS: list[list[float]] = np.cumsum(_POPULAR / _POPULAR.sum(1, keepdims=True), axis=1).tolist()
# a stock progression says its mode by how it names the tonic, or by keeping to one mode's chords
_STOCK: list[tuple[list[list[int]], list[list[int]]]] = [
    (
        [[_NAMES.index(c) for c in text.split()] for text in genre.stock if "i" not in text.split()] or [[0, 3, 0, 4]],
        [[_NAMES.index(c) for c in text.split()] for text in genre.stock if "i" in text.split()] or [[12, 7, 12, 13]],
    )
    for genre in GENRES
]

# semitones of the four voices of a chord: rows are triad kinds x colours (triad, seventh, dominant, fifth)
VOICES: Int64Array = np.array([
    [[0, 4, 7, 12], [0, 4, 7, 11], [0, 4, 7, 10], [0, 7, 12, 7]],
    [[0, 3, 7, 12], [0, 3, 7, 10], [0, 3, 7, 10], [0, 7, 12, 7]],
    [[0, 3, 6, 12], [0, 3, 6, 10], [0, 3, 6, 9], [0, 3, 6, 12]],
])  # fmt: skip
_SCALES = (
    ([0, 2, 4, 5, 7, 9, 11], [0, 2, 4, 7, 9], [0, 2, 3, 4, 7, 9]),
    ([0, 2, 3, 5, 7, 8, 10], [0, 3, 5, 7, 10], [0, 3, 5, 6, 7, 10]),
)
_TRIADS = VOICES[:, 0, :3]


def _nearest_tones() -> Int8Array:
    """Table [kind, pitch class above the root] -> steps to the nearest chord tone, downwards when two are as near."""
    gap = (_TRIADS[:, None, :] - np.arange(12)[None, :, None] + 6) % 12 - 6
    best = np.abs(gap * 2 + 0.5).argmin(-1)
    return np.take_along_axis(gap, best[..., None], -1)[..., 0].astype(np.int8)


_NEAREST = _nearest_tones()
_PHRASES = np.array([[0, 0, 1, 0, 0, 1], [0, 1, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1], [0, 1, 1, 0, 1, 0]])
_STEPS = np.array([-4, -3, -2, -2, -1, -1, -1, -1, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 4])


@dataclass(frozen=True)
class Material:
    """Sections of one work, relative to its tonic.

    ``root`` and ``kind``: shape (sections, bars, 2), one chord for every half bar. The melody is flat and ordered by
    section: section, ``cell`` (sixteenths from the section's start), ``cells`` (length), ``pitch`` (semitones from the
    tonic around the lead's register); ``bounds[s]:bounds[s + 1]`` are the notes of section s.
    """

    root: Int64Array
    kind: Int64Array
    section: Int64Array
    cell: Int64Array
    cells: Int64Array
    pitch: Int64Array
    bounds: Int64Array


def write_chords(rng: np.random.Generator, genre: Genre, track: Track, sections: int) -> tuple[Int64Array, Int64Array]:
    """Roots and kinds, each of shape (sections, bars, 2), in the work's mode and a genre's manner."""
    minor = 1 - track.work_mode
    stock = _STOCK[GENRES.index(genre)][minor]
    draws = rng.random((sections, 12)).tolist()
    halves = np.arange(2 * track.section_bars)
    rows = []
    for draw in draws:
        if draw[0] < 0.5:
            progression = stock[int(draw[1] * len(stock))]
        else:
            progression = [bisect(_STARTS[minor], draw[1])]
            for u in draw[2:9]:
                progression.append(bisect(_WALKS[minor][progression[-1]], u))
            progression = progression[: 4 if draw[9] < 0.5 else 8]
        held = (
            4 if draw[10] < genre.slow_harmony and len(progression) <= 4 else 1 if draw[11] < genre.colour[0] / 4 else 2
        )
        rows.append(np.array(progression)[halves // held % len(progression)])
    chords = np.minimum(np.stack(rows), len(_NAMES) - 1).reshape(sections, track.section_bars, 2)
    return _ROOT[chords], _KIND[chords]


def write_melody(rng: np.random.Generator, genre: Genre, track: Track, root: Int64Array, kind: Int64Array) -> Material:
    """Compose a melody over the chords of every section: two motifs of two bars each, taken up again and again."""
    sections, bars, _ = root.shape
    beat = (
        np.array([1.0, 0.25, 0.7, 0.3]) * (1 - genre.syncopation) + np.array([0.45, 0.5, 0.75, 0.5]) * genre.syncopation
    )
    bar = track.meter * CELLS_PER_BEAT
    weight = np.tile(beat * (genre.note_density / beat.mean()), 2 * track.meter)
    dense = np.exp(0.25 * rng.standard_normal((sections, 1, 1)))
    motif = rng.random((sections, 2, 2 * bar)) < weight * dense
    steps = _STEPS[rng.integers(0, len(_STEPS), motif.shape)] * motif
    contour = np.cumsum(steps, axis=-1) + rng.integers(0, 6, (sections, 2, 1)) + np.arange(sections)[:, None, None] % 2
    plan = _PHRASES[rng.integers(0, len(_PHRASES), sections), : bars // 2]
    rows = np.arange(sections)[:, None]
    played = motif[rows, plan].reshape(sections, bars * bar)
    # singers breathe: most four-bar phrases end in a rest
    breath = rng.random((sections, bars * bar)) < 0.75
    breath &= np.arange(bars * bar) % (4 * bar) >= 4 * bar - 6
    section, cell = np.nonzero(played & ~breath)

    span = 9
    degree = contour[rows, plan].reshape(sections, bars * bar)[section, cell] % (2 * span)
    degree = np.minimum(degree, 2 * span - degree)
    scale = np.array(_SCALES[1 - track.work_mode][bisect(np.cumsum(genre.scales)[:2].tolist(), rng.random())])
    pitch = scale[degree % len(scale)] + 12 * (degree // len(scale))
    half = cell // (bar // 2)
    chord_root, chord_kind = root[section, half // 2, half % 2], kind[section, half // 2, half % 2]
    strong = (cell % 4 == 0) & (rng.random(len(cell)) < 0.8)
    pitch = pitch + strong * _NEAREST[chord_kind, (pitch - chord_root) % 12]
    return _finish_melody(root, kind, section, cell, pitch)


def _finish_melody(
    root: Int64Array, kind: Int64Array, section: Int64Array, cell: Int64Array, pitch: Int64Array
) -> Material:
    """Give every note the time to the next one, and no more than two beats."""
    gap = np.full(len(cell), 8)
    if len(cell):
        following = np.diff(cell)
        gap[:-1] = np.where(following > 0, np.minimum(following, 8), 8)
    bounds = np.searchsorted(section, np.arange(root.shape[0] + 1))
    return Material(root, kind, section, cell, gap, pitch, bounds)


def vary_material(rng: np.random.Generator, material: Material, track: Track, hard: Difficulty) -> Material:
    """Return what a version makes of a work's sections: other chords here and there, a melody sung its own way."""
    root, kind = _substitute(rng, material.root, material.kind, hard.chord_substituted)
    n = len(material.cell)
    luck = rng.random((4, n))
    kept = luck[0] >= hard.note_dropped
    changed = (luck[1] < hard.note_changed) * np.array([-3, -2, -1, 1, 2, 3, 4, -4])[rng.integers(0, 8, n)]
    moved = (luck[2] < hard.note_moved) * np.array([-2, -1, 1, 2])[rng.integers(0, 4, n)]
    last = root.shape[1] * track.meter * CELLS_PER_BEAT - 1
    section, pitch = material.section, material.pitch + changed
    cell = np.clip(material.cell + moved, 0, last)
    graced = kept & (luck[3] < hard.note_added) & (cell < last)
    section = np.concatenate([section[kept], section[graced]])
    pitch = np.concatenate([pitch[kept], pitch[graced] + np.array([-2, 2])[rng.integers(0, 2, int(graced.sum()))]])
    cell = np.concatenate([cell[kept], cell[graced] + 1])
    # one voice sings one note at a time: notes that fell on one cell leave the first
    _, order = np.unique(section * (last + 1) + cell, return_index=True)
    section, cell, pitch = section[order], cell[order], pitch[order]
    if track.mode != track.work_mode:
        root, kind, pitch = _flip_mode(root, kind, pitch, to_minor=track.mode == 0)
    return _finish_melody(root, kind, section, cell, pitch)


def _substitute(
    rng: np.random.Generator, root: Int64Array, kind: Int64Array, share: float
) -> tuple[Int64Array, Int64Array]:
    """Replace the chords of some bars by relatives that share two tones, or by the chord a fourth above."""
    replaced = (rng.random(root.shape[:2]) < share)[..., None]
    option = rng.integers(0, 3, root.shape[:2])[..., None]
    shift = np.array([[9, 4, 5], [3, 8, 5], [8, 5, 3]])[kind, option]
    new_kind = np.array([[MINOR, MINOR, MAJOR], [MAJOR, MAJOR, MINOR], [MAJOR, MINOR, MINOR]])[kind, option]
    return np.where(replaced, (root + shift) % 12, root), np.where(replaced, new_kind, kind)


def _flip_mode(
    root: Int64Array, kind: Int64Array, pitch: Int64Array, *, to_minor: bool
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Move thirds, sixths and sevenths of the scale to the parallel mode, tonic and subdominant chords with them."""
    lowered = np.zeros(12, dtype=np.int64)
    lowered[[4, 9, 11] if to_minor else [3, 8, 10]] = -1 if to_minor else 1
    home = (root == 0) | (root == 5)
    flipped = np.where(
        home, MINOR if to_minor else MAJOR, np.where(lowered[root] != 0, MAJOR if to_minor else MINOR, kind)
    )
    return (root + lowered[root]) % 12, flipped, pitch + lowered[pitch % 12]


def colour_chords(rng: np.random.Generator, genre: Genre, root: Int64Array, kind: Int64Array) -> Int64Array:
    """Voices of every chord, shape (..., 4): each root keeps one colour, chosen by the genre's habits."""
    colour = 1 + np.searchsorted(np.cumsum(genre.colour), rng.random(12))
    colour = np.where(colour > 3, 0, colour)[root]
    # a seventh on the dominant, and on major chords that act as one, is a dominant seventh
    acts_dominant = np.isin(root, (2, 4, 7, 10)) & (kind == MAJOR)
    return VOICES[kind, np.where((colour == 1) & acts_dominant, 2, colour)]


def write_form(track: Track, hard: Difficulty) -> str:
    """Letters of a track's sections, long enough for its length.

    I intro, A verse, B chorus, C bridge, S solo over the verse, X foreign material, O outro.
    """
    if track.state != NORMAL:
        return "A"
    forms = GENRES[track.work_genre].forms
    form = forms[track.work_bits % len(forms)]
    if track.version:
        form = _edit_form(form, track.version_bits, int(256 * hard.structure_edit))
    bars = track.length_s * track.tempo_bpm / (60 * track.meter)
    intro, outro = form.startswith("I"), form.endswith("O")
    body = form.strip("IO")
    wanted = max(1, round((bars - 4 * intro - 4 * outro) / track.section_bars))
    while len(body) < wanted:
        body += body[-(wanted - len(body)) :]
    return "I" * intro + body[:wanted] + "O" * outro


def _edit_form(form: str, bits: int, odds: int) -> str:
    """Drop, add and move sections; every edit has its own eight bits."""
    yes = [(bits >> shift & 255) < odds for shift in range(0, 56, 8)]
    if yes[0]:
        form = form.replace("C", "")
    if yes[1]:
        middle = len(form) // 2
        form = form[:middle] + "S" + form[middle:]
    if yes[2]:
        form = form[1:] if form.startswith("I") else "I" + form
    if yes[3]:
        form = form.replace("AB", "BA", 1)
    if yes[4]:
        form = form.replace("A", "AX", 1)
    if yes[5]:
        form = form[:-1] if form.endswith("O") else form + "O"
    if yes[6]:
        form = form.replace("AA", "A", 1)
    return form if form.strip("IO") else "A"
