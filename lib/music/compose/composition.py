"""A track as notes: a work's sections laid out in time and played by four parts in a genre's manner."""

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
from reprise.lib.music.compose.plan import NORMAL, Plan, Track
from reprise.lib.music.compose.random_draws import generator
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
# which section's chords and which section's melody a letter of the form plays; -1 is no melody
_CHORDS_OF = {"A": 0, "B": 1, "C": 2, "S": 0, "X": 3, "I": 0, "O": 0}
_MELODY_OF = {"A": 0, "B": 1, "C": 2, "S": 3, "X": 4, "I": -1, "O": -1}
_END_BARS = 4  # of an intro or an outro


@dataclass(frozen=True)
class Notes:
    """The notes of a track as columns of shape (n,), ordered by part, not in time.

    ``start_s`` and ``duration_s`` in seconds (float64); ``pitch`` is a midi pitch, for drums the General MIDI
    percussion key; ``velocity`` in 0..1; ``part`` a position in PARTS. ``cell`` is the sixteenth each note stands on,
    ``end_cell`` the one it ends before.
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
    """One track, composed: everything that rendering to audio or analysing it needs.

    ``cell_s``: start of every sixteenth and the end of the last, shape (cells + 1,). ``bar_cells``: sixteenths in a
    bar. ``form``: one letter per section; ``section_cells``: where each begins. ``section_db``: how loud each is
    beside the track. ``instruments``: one per part. ``duration_s`` includes the silence after the last note;
    ``fade_out_s`` is the length of the fade at the end, 0 for none.
    """

    plan: Plan
    track: Track
    notes: Notes
    cell_s: Float64Array
    bar_cells: int
    form: str
    section_cells: Int64Array
    section_db: Float64Array
    instruments: tuple[Instrument, ...]
    duration_s: float
    fade_out_s: float

    @property
    def beat_s(self) -> Float64Array:
        """True beat times in seconds."""
        return self.cell_s[:-1:CELLS_PER_BEAT]

    @property
    def bar_s(self) -> Float64Array:
        """True times of the bars' first beats in seconds."""
        return self.cell_s[: -1 : self.bar_cells]

    @property
    def section_s(self) -> Float64Array:
        """True starts of the sections in seconds."""
        return self.cell_s[self.section_cells]


@dataclass(frozen=True)
class _Pattern:
    """One bar of a part: cells, lengths, and what is played (a drum's key, or a chord's voice)."""

    cell: Int64Array
    cells: Int64Array
    tone: Int64Array
    accent: Float64Array


@lru_cache(maxsize=256)
def _read_pitched(text: str) -> _Pattern:
    cell = [i for i, c in enumerate(text) if c not in "-."]
    ends = [i + 1 + len(text[i + 1 :]) - len(text[i + 1 :].lstrip("-")) for i in cell]
    tone = [{"1": 0, "3": 1, "5": 2, "8": 4}.get(text[i], 0) for i in cell]
    accent = [0.85 if i % 4 == 0 else 0.72 for i in cell]
    return _Pattern(np.array(cell), np.array(ends) - np.array(cell), np.array(tone), np.array(accent))


@lru_cache(maxsize=256)
def _read_drums(lines: tuple[tuple[str, str], ...]) -> _Pattern:
    hits = [(i, DRUMS[drum], 0.9 if c == "x" else 0.45) for drum, text in lines for i, c in enumerate(text) if c != "."]
    cell, tone, accent = (np.array(column) for column in zip(*hits, strict=True))
    return _Pattern(cell, np.ones_like(cell), tone, accent)


@dataclass(frozen=True)
class _Bars:
    """The bars of a track: their section, their chords, and who plays."""

    section: Int64Array  # position in the form
    voices: Int64Array  # (bars, 2, 4) semitones above the root
    root: Int64Array  # (bars, 2) pitch classes
    chorus: BoolArray
    playing: BoolArray  # (parts, bars)


def compose(plan: Plan, index: int) -> Composition:
    """Compose one track of a plan: the same notes whichever tracks were composed before, and wherever.

    Raises
    ------
    IndexError
        The plan has no such track.
    """
    track = plan.track(index)
    rng = generator(plan.seed, "version", index)
    genre = GENRES[track.genre]
    form = write_form(track, plan.difficulty)
    material, melody = _prepare(plan, track, rng, form)

    bar_cells = track.meter * CELLS_PER_BEAT
    lengths = np.array([_END_BARS if letter in "IO" else track.section_bars for letter in form])
    if track.state != NORMAL:
        lengths[0] = max(1, min(lengths[0], round(track.length_s * track.tempo_bpm / (60 * track.meter))))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    bars = _lay_out(rng, genre, track, form, lengths, starts, material)
    cell_s = _time_grid(rng, genre, track, int(starts[-1]))

    instruments = tuple(_INSTRUMENTS[number] for number in (track.drums, track.bass, track.harmony, track.lead))
    rhythm = GENRES[track.second_genre] if track.second_genre >= 0 and rng.random() < 0.4 else genre
    played = [
        *_play_drums(rng, rhythm, track, bars, starts[:-1] * bar_cells),
        *_play_chords(rng, rhythm, track, bars, instruments),
        _play_lead(form, starts, bar_cells, melody, track, instruments[LEAD_PART]),
    ]
    notes = _perform(rng, genre, played, cell_s)
    fades = rng.random() < 0.42 and track.state == NORMAL
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
        instruments=instruments,
        duration_s=round(float(cell_s[-1]) + 0.2 + 2.4 * float(rng.gamma(1.3)), 5),
        fade_out_s=float(rng.uniform(4, 14)) if fades else 0.0,
    )


def _prepare(plan: Plan, track: Track, rng: np.random.Generator, form: str) -> tuple[Material, Material]:
    """Chords of sections A, B, C and X as this track plays them, and melodies of A, B, C, the solo and X."""
    home, genre = GENRES[track.work_genre], GENRES[track.genre]
    work_rng = generator(plan.seed, "work", track.work)
    root, kind = write_chords(work_rng, home, track, 3)
    material = write_melody(work_rng, home, track, root, kind)
    if track.version:
        material = vary_material(rng, material, track, plan.difficulty)
    if not (track.melody_lost or "S" in form or "X" in form):
        return material, material
    foreign_root, foreign_kind = write_chords(rng, genre, track, 1)
    root = np.concatenate([material.root, foreign_root])
    kind = np.concatenate([material.kind, foreign_kind])
    new = [0, 1, 2, 0, 3] if track.melody_lost else [0, 3]
    added = write_melody(rng, genre, track, root[new], kind[new])
    if track.melody_lost:
        melody = added
    else:
        melody = Material(
            root,
            kind,
            np.concatenate([material.section, added.section + 3]),
            np.concatenate([material.cell, added.cell]),
            np.concatenate([material.cells, added.cells]),
            np.concatenate([material.pitch, added.pitch]),
            np.concatenate([material.bounds, len(material.cell) + added.bounds[1:]]),
        )
    return Material(root, kind, *[np.zeros(0, dtype=np.int64)] * 5), melody


def _lay_out(
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
    source = np.array([_CHORDS_OF[letter] for letter in form])[section]
    voices = colour_chords(rng, genre, material.root, material.kind)
    # who plays in which section: intros and outros are thin, bridges often too
    thin = np.array([{"I": 0.5, "O": 0.4, "C": 0.25, "X": 0.15}.get(letter, 0.03) for letter in form])
    playing = rng.random((len(PARTS), len(form))) >= thin
    playing[HARMONY_PART] |= ~playing[BASS_PART]
    playing[LEAD_PART] = True
    playing[DRUM_PART] &= not track.drumless
    if track.state == NORMAL and len(form) > 3 and rng.random() < 0.3:
        playing[DRUM_PART, 1] &= rng.random() < 0.5  # the drums come in later
    return _Bars(
        section=section,
        voices=voices[source, within],
        root=(material.root[source, within] + track.key) % 12,
        chorus=np.array([letter in "BX" for letter in form])[section],
        playing=playing[:, section],
    )


def _time_grid(rng: np.random.Generator, genre: Genre, track: Track, bars: int) -> Float64Array:
    """Start of every sixteenth in seconds, with the genre's swing and a tempo that wanders as players' do."""
    beats = bars * track.meter
    spread = 1.3 * genre.drift * np.exp(0.7 * rng.standard_normal())
    # a random walk that comes back to the tempo it began with
    wander = np.cumsum(rng.standard_normal(beats + 1)) * (2 * spread / np.sqrt(beats + 1))
    wander -= np.linspace(0, wander[-1], beats + 1)
    wander -= wander.mean()
    periods = 60 / track.tempo_bpm * (1 + np.clip(wander + 0.35 * spread * rng.standard_normal(beats + 1), -0.1, 0.1))
    beat_s = 0.05 + 0.15 * rng.gamma(1.4) + np.concatenate([[0.0], np.cumsum(periods[:beats])])
    swing = 0.5 + (genre.swing - 0.5) * min(1.0, 150 / track.tempo_bpm) * rng.uniform(0.6, 1.1)
    inside = np.array([0.0, swing / 2, swing, (1 + swing) / 2])
    cells = beat_s[:-1, None] + np.diff(beat_s)[:, None] * inside
    return np.concatenate([cells.ravel(), beat_s[-1:]])


_Played = tuple[int, Int64Array, Int64Array, Int64Array, Float64Array]  # part, cells, end cells, pitches, velocities


def _play_drums(
    rng: np.random.Generator, genre: Genre, track: Track, bars: _Bars, section_cells: Int64Array
) -> list[_Played]:
    bar_cells = track.meter * CELLS_PER_BEAT
    patterns = [tuple(d.items()) for d in genre.drums] if track.meter == 4 else [tuple(WALTZ_DRUMS.items())]
    played: list[_Played] = []
    first = int(rng.integers(len(patterns)))
    for chorus in (False, True):
        pattern = _read_drums(patterns[(first + (chorus and rng.random() < 0.5)) % len(patterns)])
        kept = rng.random(len(pattern.cell)) > 0.08
        at = np.flatnonzero(bars.playing[DRUM_PART] & (bars.chorus == chorus)) * bar_cells
        cell = (at[:, None] + pattern.cell[kept]).ravel()
        tone = np.tile(pattern.tone[kept], len(at))
        played.append((DRUM_PART, cell, cell + 1, tone, np.tile(pattern.accent[kept], len(at))))
    crash = section_cells[1:][bars.playing[DRUM_PART][section_cells[1:] // bar_cells]]
    # a roll over the last beat leads into each section
    fill = (crash[:, None] + np.arange(-4, 0)).ravel() if rng.random() < 0.7 else crash[:0]
    cell = np.concatenate([crash, fill])
    tone = np.where(np.arange(len(cell)) < len(crash), DRUMS["crash"], DRUMS["tom"])
    played.append((DRUM_PART, cell, cell + 1, tone, np.full(len(cell), 0.75)))
    return played


def _play_chords(
    rng: np.random.Generator, genre: Genre, track: Track, bars: _Bars, instruments: tuple[Instrument, ...]
) -> list[_Played]:
    bar_cells = track.meter * CELLS_PER_BEAT
    played: list[_Played] = []
    waltz = track.meter == 3
    basses, harmonies = ((WALTZ_BASS,), (WALTZ_HARMONY,)) if waltz else (genre.bass, genre.harmony)
    for part, texts in ((BASS_PART, basses), (HARMONY_PART, harmonies)):
        first = int(rng.integers(len(texts)))
        low = instruments[part].register + int(rng.integers(-2, 3))
        for chorus in (False, True):
            pattern = _read_pitched(texts[(first + (chorus and rng.random() < 0.5)) % len(texts)])
            bar = np.flatnonzero(bars.playing[part] & (bars.chorus == chorus))
            cell = bar[:, None] * bar_cells + pattern.cell
            half = np.minimum(pattern.cell // (bar_cells // 2), 1)
            root, voices = bars.root[bar][:, half], bars.voices[bar][:, half]
            if part == BASS_PART:
                tone = np.where(pattern.tone == 4, 0, pattern.tone)
                above = voices[:, np.arange(len(half)), tone]
                pitch = low + (root + above - low) % 12 + 12 * (pattern.tone == 4)
                velocity = np.broadcast_to(pattern.accent, cell.shape)
                end = cell + pattern.cells
            else:
                pitch = low + (root[..., None] + voices - low) % 12
                cell = np.broadcast_to(cell[..., None], pitch.shape)
                end = cell + pattern.cells[:, None]
                velocity = np.broadcast_to(0.8 * pattern.accent[:, None], pitch.shape)
            played.append((part, cell.ravel(), end.ravel(), pitch.ravel(), velocity.ravel()))
    return played


def _play_lead(
    form: str, starts: Int64Array, bar_cells: int, melody: Material, track: Track, instrument: Instrument
) -> _Played:
    low = instrument.register - 5
    tonic = low + (track.key - low) % 12
    sources = [_MELODY_OF[letter] for letter in form]
    singing = [(i, s) for i, s in enumerate(sources) if s >= 0]
    rows = [np.arange(melody.bounds[s], melody.bounds[s + 1]) for _, s in singing]
    row = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    shift = np.repeat(starts[[i for i, _ in singing]] * bar_cells, [len(r) for r in rows])
    cell = melody.cell[row] + shift
    kept = cell < starts[-1] * bar_cells
    row, cell = row[kept], cell[kept]
    accent = np.where(cell % CELLS_PER_BEAT == 0, 0.9, 0.78)
    return LEAD_PART, cell, cell + melody.cells[row], tonic + melody.pitch[row], accent


def _perform(rng: np.random.Generator, genre: Genre, played: list[_Played], cell_s: Float64Array) -> Notes:
    """Put the parts' notes into one table of seconds, each a little early or late, louder or softer."""
    cell = np.concatenate([p[1] for p in played])
    end_cell = np.minimum(np.concatenate([p[2] for p in played]), len(cell_s) - 1)
    part = np.repeat(np.array([p[0] for p in played], dtype=np.int8), [len(p[1]) for p in played])
    wobble = rng.standard_normal((2, len(cell)), dtype=np.float32)
    start_s = np.maximum(cell_s[cell] + genre.timing_s * wobble[0], 0.0)
    return Notes(
        start_s=start_s,
        duration_s=np.maximum(cell_s[end_cell] - start_s, 0.03) * 0.94,
        pitch=np.concatenate([p[3] for p in played]),
        velocity=np.clip(np.concatenate([p[4] for p in played]) * (1 + 0.1 * wobble[1]), 0.05, 1.0),
        part=part,
        cell=cell,
        end_cell=end_cell,
    )
