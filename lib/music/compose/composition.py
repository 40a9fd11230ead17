"""Composition of a track: place the sections of a work in time, and play them with four parts in a genre's style."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from reprise.lib.arrays import BoolArray, Float64Array, Int8Array, Int64Array
from reprise.lib.music.compose.genre_styles import (
    DRUMS,
    GENRES,
    INSTRUMENTS,
    PARTS,
    WALTZ_BASS,
    WALTZ_DRUMS,
    WALTZ_HARMONY,
    Genre,
    Instrument,
)
from reprise.lib.music.compose.plan import NORMAL, SamplePlan, Track
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.compose.works import (
    CELLS_PER_BEAT,
    Material,
    colour_chords,
    vary_material,
    write_chords,
    write_form,
    write_melody,
)

DRUM_PART, BASS_PART, HARMONY_PART, LEAD_PART = range(4)
_INSTRUMENTS = tuple(INSTRUMENTS.values())
# for each letter of the form, index of the section whose chords are played, and index of the section whose melody is
# played; -1 means no melody
_CHORD_SECTION = {"A": 0, "B": 1, "C": 2, "S": 0, "X": 3, "I": 0, "O": 0}
_MELODY_SECTION = {"A": 0, "B": 1, "C": 2, "S": 3, "X": 4, "I": -1, "O": -1}
_INTRO_OUTRO_BARS = 4  # length of an intro or an outro


@dataclass(frozen=True)
class Notes:
    """Notes of a track as columns of shape (n,), ordered by part and not by time.

    ``start_s`` and ``duration_s`` are in seconds (float64). ``pitch`` is a MIDI pitch. For drums, ``pitch`` is a
    General MIDI percussion key. ``velocity`` is in 0..1. ``part`` is an index in PARTS. ``cell`` is the index of the
    first sixteenth of a note. ``end_cell`` is the index of the last sixteenth, plus 1.
    """

    start_s: Float64Array
    duration_s: Float64Array
    pitch: Int64Array
    velocity: Float64Array
    part: Int8Array
    cell: Int64Array
    end_cell: Int64Array

    def __len__(self) -> int:
        return len(self.pitch)


@dataclass(frozen=True)
class Composition:
    """One composed track: the input of rendering and of the simulated analysis.

    Parameters
    ----------
    cell_s
        Shape (cells + 1,): start of each sixteenth, and end of the last sixteenth, in seconds.
    bar_cells
        Number of sixteenths in a bar.
    form
        One letter for each section, see `works.write_form`.
    section_cells
        Shape (sections,): index of the first sixteenth of each section.
    section_db
        Shape (sections,): loudness of each section relative to the track, in dB.
    chord_roots, chord_voices
        Chord of each half bar: its root as a pitch class, shape (bars, 2), and its four voices in semitones above the
        root, shape (bars, 2, 4). A bar of three beats is divided after one and a half beats.
    instruments
        One instrument for each part, in the order of PARTS.
    duration_s
        Length in seconds, including the time after the last sixteenth.
    fade_out_s
        Length of the fade at the end in seconds. 0 means no fade.
    """

    plan: SamplePlan
    track: Track
    notes: Notes
    cell_s: Float64Array
    bar_cells: int
    form: str
    section_cells: Int64Array
    section_db: Float64Array
    chord_roots: Int64Array
    chord_voices: Int64Array
    instruments: tuple[Instrument, ...]
    duration_s: float
    fade_out_s: float

    @property
    def beat_s(self) -> Float64Array:
        """True beat times in seconds."""
        return self.cell_s[:-1:CELLS_PER_BEAT]

    @property
    def bar_s(self) -> Float64Array:
        """True time of each bar's first beat, in seconds."""
        return self.cell_s[: -1 : self.bar_cells]

    @property
    def section_s(self) -> Float64Array:
        """True starts of the sections in seconds."""
        return self.cell_s[self.section_cells]


@dataclass(frozen=True)
class _Pattern:
    """One bar of a part, as columns of shape (notes,). Starts and lengths are in sixteenths.

    ``tone`` is a drum key or the index of a chord voice. In a bass pattern, tone 4 is the octave of the root.
    """

    cell: Int64Array
    cells: Int64Array
    tone: Int64Array
    accent: Float64Array


@lru_cache(maxsize=256)
def _parse_pitched_pattern(text: str) -> _Pattern:
    cell = [i for i, c in enumerate(text) if c not in "-."]
    ends = [i + 1 + len(text[i + 1 :]) - len(text[i + 1 :].lstrip("-")) for i in cell]
    tone = [{"1": 0, "3": 1, "5": 2, "8": 4}.get(text[i], 0) for i in cell]
    accent = [0.85 if i % 4 == 0 else 0.72 for i in cell]
    return _Pattern(np.array(cell), np.array(ends) - np.array(cell), np.array(tone), np.array(accent))


@lru_cache(maxsize=256)
def _parse_drum_pattern(lines: tuple[tuple[str, str], ...]) -> _Pattern:
    hits = [(i, DRUMS[drum], 0.9 if c == "x" else 0.45) for drum, text in lines for i, c in enumerate(text) if c != "."]
    cell, tone, accent = (np.array(column) for column in zip(*hits, strict=True))
    return _Pattern(cell, np.ones_like(cell), tone, accent)


@dataclass(frozen=True)
class _Bars:
    """Section, chords and playing parts of each bar of a track."""

    section: Int64Array  # (bars,) index in the form
    voices: Int64Array  # (bars, 2, 4) semitones above the root, for each half bar and voice
    root: Int64Array  # (bars, 2) pitch class in each half bar
    chorus: BoolArray  # (bars,)
    playing: BoolArray  # (parts, bars)


def compose(plan: SamplePlan, index: int) -> Composition:
    """Compose one track of a plan. The notes do not depend on the process, or on the tracks composed before.

    Raises
    ------
    IndexError
        The index is not in the plan.
    """
    return compose_track(plan, plan.track(index))


def compose_track(plan: SamplePlan, track: Track) -> Composition:
    """Compose a track, which can differ from the track of the plan with the same index."""
    rng = make_generator(plan.seed, "version", track.index)
    genre = GENRES[track.genre]
    form = write_form(track, plan.difficulty)
    material, melody = _write_sections(plan, track, rng, form)

    bar_cells = track.meter * CELLS_PER_BEAT
    lengths = np.array([_INTRO_OUTRO_BARS if letter in "IO" else track.section_bars for letter in form])
    if track.state != NORMAL:
        lengths[0] = max(1, min(lengths[0], round(track.length_s * track.tempo_bpm / (60 * track.meter))))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    bars = _arrange_bars(rng, genre, track, form, lengths, starts, material)
    cell_s = _make_time_grid(rng, genre, track, int(starts[-1]))

    instruments = tuple(_INSTRUMENTS[number] for number in (track.drums, track.bass, track.harmony, track.lead))
    rhythm_genre = GENRES[track.second_genre] if track.second_genre >= 0 and rng.random() < 0.4 else genre
    part_notes = [
        *_play_drums(rng, rhythm_genre, track, bars, starts[:-1] * bar_cells),
        *_play_chords(rng, rhythm_genre, track, bars, instruments),
        _play_lead(form, starts, bar_cells, melody, track, instruments[LEAD_PART]),
    ]
    notes = _combine_parts(rng, genre, part_notes, cell_s)
    fades_out = rng.random() < 0.42 and track.state == NORMAL
    level = np.array([{"I": -3.0, "O": -2.2, "B": 1.0, "X": -0.5, "C": -1.2}.get(letter, 0.0) for letter in form])
    return Composition(
        plan=plan,
        track=track,
        notes=notes,
        cell_s=cell_s,
        bar_cells=bar_cells,
        form=form,
        section_cells=starts[:-1] * bar_cells,
        section_db=genre.dynamics_db * (0.6 * level + 0.65 * rng.standard_normal(len(form))),
        chord_roots=bars.root,
        chord_voices=bars.voices,
        instruments=instruments,
        duration_s=round(float(cell_s[-1]) + 0.2 + 2.4 * float(rng.gamma(1.3)), 5),
        fade_out_s=float(rng.uniform(4, 14)) if fades_out else 0.0,
    )


def _write_sections(plan: SamplePlan, track: Track, rng: np.random.Generator, form: str) -> tuple[Material, Material]:
    """Return the material with the track's chords and the material with its melodies.

    The chords are those of the sections A, B, C and X. The melodies are those of A, B, C, the solo and X. If there is
    no solo, no X and no new melody, the two materials are equal and contain only A, B and C.
    """
    work_genre, genre = GENRES[track.work_genre], GENRES[track.genre]
    work_rng = make_generator(plan.seed, "work", track.work)
    root, kind = write_chords(work_rng, work_genre, track, 3)
    material = write_melody(work_rng, work_genre, track, root, kind)
    if track.version:
        material = vary_material(rng, material, track, plan.difficulty)
    if not (track.melody_lost or "S" in form or "X" in form):
        return material, material
    new_root, new_kind = write_chords(rng, genre, track, 1)
    root = np.concatenate([material.root, new_root])
    kind = np.concatenate([material.kind, new_kind])
    rows = [0, 1, 2, 0, 3] if track.melody_lost else [0, 3]
    new_melody = write_melody(rng, genre, track, root[rows], kind[rows])
    if track.melody_lost:
        melody = new_melody
    else:
        melody = Material(
            root,
            kind,
            np.concatenate([material.section, new_melody.section + 3]),
            np.concatenate([material.cell, new_melody.cell]),
            np.concatenate([material.cells, new_melody.cells]),
            np.concatenate([material.pitch, new_melody.pitch]),
            np.concatenate([material.bounds, len(material.cell) + new_melody.bounds[1:]]),
        )
    return Material(root, kind, *[np.zeros(0, dtype=np.int64)] * 5), melody


def _arrange_bars(
    rng: np.random.Generator,
    genre: Genre,
    track: Track,
    form: str,
    lengths: Int64Array,
    starts: Int64Array,
    material: Material,
) -> _Bars:
    section = np.repeat(np.arange(len(form)), lengths)
    within = np.arange(starts[-1]) - starts[section]
    source = np.array([_CHORD_SECTION[letter] for letter in form])[section]
    voices = colour_chords(rng, genre, material.root, material.kind)
    # probability that a part rests in a section: highest in intros and outros, lower in bridges and new sections
    rest_probability = np.array([{"I": 0.5, "O": 0.4, "C": 0.25, "X": 0.15}.get(letter, 0.03) for letter in form])
    playing = rng.random((len(PARTS), len(form))) >= rest_probability
    playing[HARMONY_PART] |= ~playing[BASS_PART]
    playing[LEAD_PART] = True
    playing[DRUM_PART] &= not track.drumless
    if track.state == NORMAL and len(form) > 3 and rng.random() < 0.3:
        playing[DRUM_PART, 1] &= rng.random() < 0.5  # half of these tracks have no drums in the second section
    return _Bars(
        section=section,
        voices=voices[source, within],
        root=(material.root[source, within] + track.key) % 12,
        chorus=np.array([letter in "BX" for letter in form])[section],
        playing=playing[:, section],
    )


def _make_time_grid(rng: np.random.Generator, genre: Genre, track: Track, bars: int) -> Float64Array:
    """Return the start of each sixteenth and the end of the last one in seconds.

    The times include the genre's swing and the tempo drift of human players.
    """
    beats = bars * track.meter
    spread = 1.3 * genre.tempo_drift * np.exp(0.7 * rng.standard_normal())
    # the tempo follows a random walk that returns to the initial tempo at the end
    drift = np.cumsum(rng.standard_normal(beats + 1)) * (2 * spread / np.sqrt(beats + 1))
    drift -= np.linspace(0, drift[-1], beats + 1)
    drift -= drift.mean()
    periods = 60 / track.tempo_bpm * (1 + np.clip(drift + 0.35 * spread * rng.standard_normal(beats + 1), -0.1, 0.1))
    beat_s = 0.05 + 0.15 * rng.gamma(1.4) + np.concatenate([[0.0], np.cumsum(periods[:beats])])
    swing = 0.5 + (genre.swing - 0.5) * min(1.0, 150 / track.tempo_bpm) * rng.uniform(0.6, 1.1)
    inside = np.array([0.0, swing / 2, swing, (1 + swing) / 2])
    cells = beat_s[:-1, None] + np.diff(beat_s)[:, None] * inside
    return np.concatenate([cells.ravel(), beat_s[-1:]])


_PartNotes = tuple[int, Int64Array, Int64Array, Int64Array, Float64Array]  # part, cells, end cells, pitches, velocities


def _play_drums(
    rng: np.random.Generator, genre: Genre, track: Track, bars: _Bars, section_cells: Int64Array
) -> list[_PartNotes]:
    bar_cells = track.meter * CELLS_PER_BEAT
    patterns = [tuple(d.items()) for d in genre.drums] if track.meter == 4 else [tuple(WALTZ_DRUMS.items())]
    part_notes: list[_PartNotes] = []
    first_pattern = int(rng.integers(len(patterns)))
    for chorus in (False, True):
        pattern = _parse_drum_pattern(patterns[(first_pattern + (chorus and rng.random() < 0.5)) % len(patterns)])
        kept = rng.random(len(pattern.cell)) > 0.08
        bar_start = np.flatnonzero(bars.playing[DRUM_PART] & (bars.chorus == chorus)) * bar_cells
        cell = (bar_start[:, None] + pattern.cell[kept]).ravel()
        tone = np.tile(pattern.tone[kept], len(bar_start))
        part_notes.append((DRUM_PART, cell, cell + 1, tone, np.tile(pattern.accent[kept], len(bar_start))))
    crash = section_cells[1:][bars.playing[DRUM_PART][section_cells[1:] // bar_cells]]
    # a tom roll on the last beat before each section
    fill = (crash[:, None] + np.arange(-4, 0)).ravel() if rng.random() < 0.7 else crash[:0]
    cell = np.concatenate([crash, fill])
    tone = np.where(np.arange(len(cell)) < len(crash), DRUMS["crash"], DRUMS["tom"])
    part_notes.append((DRUM_PART, cell, cell + 1, tone, np.full(len(cell), 0.75)))
    return part_notes


def _play_chords(
    rng: np.random.Generator, genre: Genre, track: Track, bars: _Bars, instruments: tuple[Instrument, ...]
) -> list[_PartNotes]:
    bar_cells = track.meter * CELLS_PER_BEAT
    part_notes: list[_PartNotes] = []
    is_waltz = track.meter == 3
    basses, harmonies = ((WALTZ_BASS,), (WALTZ_HARMONY,)) if is_waltz else (genre.bass, genre.harmony)
    for part, texts in ((BASS_PART, basses), (HARMONY_PART, harmonies)):
        first_pattern = int(rng.integers(len(texts)))
        lowest_pitch = instruments[part].register + int(rng.integers(-2, 3))
        for chorus in (False, True):
            pattern = _parse_pitched_pattern(texts[(first_pattern + (chorus and rng.random() < 0.5)) % len(texts)])
            bar = np.flatnonzero(bars.playing[part] & (bars.chorus == chorus))
            cell = bar[:, None] * bar_cells + pattern.cell
            half = np.minimum(pattern.cell // (bar_cells // 2), 1)
            root, voices = bars.root[bar][:, half], bars.voices[bar][:, half]
            if part == BASS_PART:
                tone = np.where(pattern.tone == 4, 0, pattern.tone)
                semitones_above_root = voices[:, np.arange(len(half)), tone]
                pitch = lowest_pitch + (root + semitones_above_root - lowest_pitch) % 12 + 12 * (pattern.tone == 4)
                velocity = np.broadcast_to(pattern.accent, cell.shape)
                end = cell + pattern.cells
            else:
                pitch = lowest_pitch + (root[..., None] + voices - lowest_pitch) % 12
                cell = np.broadcast_to(cell[..., None], pitch.shape)
                end = cell + pattern.cells[:, None]
                velocity = np.broadcast_to(0.8 * pattern.accent[:, None], pitch.shape)
            part_notes.append((part, cell.ravel(), end.ravel(), pitch.ravel(), velocity.ravel()))
    return part_notes


def _play_lead(
    form: str, starts: Int64Array, bar_cells: int, melody: Material, track: Track, instrument: Instrument
) -> _PartNotes:
    lowest_pitch = instrument.register - 5
    tonic = lowest_pitch + (track.key - lowest_pitch) % 12
    sections = [_MELODY_SECTION[letter] for letter in form]
    melodic = [(i, s) for i, s in enumerate(sections) if s >= 0]
    rows = [np.arange(melody.bounds[s], melody.bounds[s + 1]) for _, s in melodic]
    row = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    shift = np.repeat(starts[[i for i, _ in melodic]] * bar_cells, [len(r) for r in rows])
    cell = melody.cell[row] + shift
    kept = cell < starts[-1] * bar_cells
    row, cell = row[kept], cell[kept]
    accent = np.where(cell % CELLS_PER_BEAT == 0, 0.9, 0.78)
    return LEAD_PART, cell, cell + melody.cells[row], tonic + melody.pitch[row], accent


def _combine_parts(rng: np.random.Generator, genre: Genre, part_notes: list[_PartNotes], cell_s: Float64Array) -> Notes:
    """Combine the notes of all parts, with times in seconds and small random deviations of timing and velocity."""
    cell = np.concatenate([p[1] for p in part_notes])
    end_cell = np.minimum(np.concatenate([p[2] for p in part_notes]), len(cell_s) - 1)
    part = np.repeat(np.array([p[0] for p in part_notes], dtype=np.int8), [len(p[1]) for p in part_notes])
    jitter = rng.standard_normal((2, len(cell)), dtype=np.float32)
    start_s = np.maximum(cell_s[cell] + genre.timing_s * jitter[0], 0.0)
    return Notes(
        start_s=start_s,
        duration_s=np.maximum(cell_s[end_cell] - start_s, 0.03) * 0.94,
        pitch=np.concatenate([p[3] for p in part_notes]),
        velocity=np.clip(np.concatenate([p[4] for p in part_notes]) * (1 + 0.1 * jitter[1]), 0.05, 1.0),
        part=part,
        cell=cell,
        end_cell=end_cell,
    )
