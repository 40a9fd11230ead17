"""Scores with four parts: composed songs, and songs of POP909 with a rhythm section.

The parts are those of `reprise.lib.nets.separators.STEMS`. POP909 (Wang et al. 2020) has a melody, a
bridge and a piano part for each song. Its vocals are the melody; the lowest notes of the piano become the bass; the
drums play patterns of the genres of `reprise.lib.music` on the beats of the song.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.music.compose.composition import Composition
from reprise.lib.music.compose.genre_styles import DRUMS, GENRES

_DRUMS, _BASS, _OTHER, _VOCALS = range(4)
_BASS_LIMIT = 52  # the lowest notes of a piano below this MIDI pitch can be played by the bass
_BASS_RANGE = (28, 48)
_CELLS_PER_BEAT = 4
_TRIPLE_PATTERN = {"kick": "x...........", "snare": "....x...x...", "hat": "x.x.x.x.x.x."}


@dataclass(frozen=True)
class PartNotes:
    """Notes of one part, (n,) each: start and duration in s, MIDI pitch or drum key, amplitude from 0 to 1."""

    start_s: Float64Array
    duration_s: Float64Array
    pitch: Int64Array
    loudness: Float64Array

    def select(self, rows: Int64Array) -> "PartNotes":
        """Return the notes with the given indices."""
        return PartNotes(self.start_s[rows], self.duration_s[rows], self.pitch[rows], self.loudness[rows])


@dataclass(frozen=True)
class Score:
    """Notes of the parts in the order of `reprise.lib.nets.separators.STEMS`, and length in s."""

    parts: tuple[PartNotes, ...]
    duration_s: float

    def cut(self, start_s: float, length_s: float) -> "Score":
        """Return an excerpt: the notes that start in it."""
        parts = []
        for part in self.parts:
            rows = np.flatnonzero((part.start_s >= start_s) & (part.start_s < start_s + length_s))
            chosen = part.select(rows)
            parts.append(PartNotes(chosen.start_s - start_s, chosen.duration_s, chosen.pitch, chosen.loudness))
        return Score(tuple(parts), min(length_s, self.duration_s - start_s))

    def change_tempo(self, factor: float) -> "Score":
        """Return the score played ``factor`` times as fast."""
        parts = tuple(
            PartNotes(part.start_s / factor, part.duration_s / factor, part.pitch, part.loudness) for part in self.parts
        )
        return Score(parts, self.duration_s / factor)

    def transpose(self, semitones: int) -> "Score":
        """Return the score so many semitones higher. The drums stay."""
        parts = [self.parts[_DRUMS]]
        parts += [
            PartNotes(part.start_s, part.duration_s, part.pitch + semitones, part.loudness) for part in self.parts[1:]
        ]
        return Score(tuple(parts), self.duration_s)


def read_composition(song: Composition) -> Score:
    """Return the score of a composed song."""
    notes = song.notes
    section = np.searchsorted(song.section_cells, notes.cell, side="right") - 1
    loudness = np.minimum(10 ** (song.section_db[section] / 20) * notes.velocity**1.5, 1.0)
    everything = PartNotes(notes.start_s, notes.duration_s, np.asarray(notes.pitch, dtype=np.int64), loudness)
    return Score(tuple(everything.select(np.flatnonzero(notes.part == part)) for part in range(4)), song.duration_s)


def read_pop909(path: Path, rng: np.random.Generator) -> Score:
    """Return the score of a song of POP909, with a bass and drums that ``rng`` draws.

    Parameters
    ----------
    path
        MIDI file of the song, with ``beat_midi.txt`` beside it.
    """
    tracks = read_midi(path.read_bytes())
    piano, bridge, melody = (tracks.get(name, _NO_NOTES) for name in ("PIANO", "BRIDGE", "MELODY"))
    beats = np.loadtxt(path.with_name("beat_midi.txt"))
    bass_rows = _find_bass_notes(piano)
    stays = rng.random(len(bass_rows)) < rng.choice([0.0, 0.5, 1.0])
    other = _join(piano.select(np.setdiff1d(np.arange(len(piano.pitch)), bass_rows[~stays])), bridge)
    bass = piano.select(bass_rows)
    low, high = _BASS_RANGE
    pitch = np.where(bass.pitch < low, bass.pitch + 12, np.where(bass.pitch > high, bass.pitch - 12, bass.pitch))
    # a bass sounds until its next note
    until_s = np.append(bass.start_s[1:], np.inf) - bass.start_s
    held_s = np.minimum(np.maximum(bass.duration_s, rng.uniform(0.3, 1.2)), until_s)
    bass = PartNotes(bass.start_s, held_s, pitch, np.clip(bass.loudness + 0.2, 0, 1))
    duration_s = max(float(part.start_s.max(initial=0)) + 3 for part in (other, bass, melody))
    drums = _write_drums(beats[:, 0], beats[:, 2] > 0, rng)
    return Score((drums, bass, other, melody), duration_s)


def _find_bass_notes(piano: PartNotes) -> Int64Array:
    """Return the indices of the lowest notes of the onsets of a piano, if they are low, in the order of time."""
    order = np.lexsort((piano.pitch, np.round(piano.start_s, 2)))
    first = np.diff(np.round(piano.start_s[order], 2), prepend=-1.0) > 0
    rows = order[first]
    return rows[piano.pitch[rows] < _BASS_LIMIT]


def _join(*parts: PartNotes) -> PartNotes:
    columns = ("start_s", "duration_s", "pitch", "loudness")
    return PartNotes(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


def _write_drums(beats_s: Float64Array, is_downbeat: np.ndarray, rng: np.random.Generator) -> PartNotes:
    """Play patterns of a random genre on beats; every fourth or eighth bar ends in a fill."""
    genre = GENRES[int(rng.integers(len(GENRES)))]
    period_s = float(np.median(np.diff(beats_s)))
    edges = np.append(beats_s, beats_s[-1] + period_s)
    cell_s = np.interp(np.arange(_CELLS_PER_BEAT * len(beats_s)) / _CELLS_PER_BEAT, np.arange(len(edges)), edges)
    # a slow song is played in double time by half of the drummers
    step = int(rng.choice([1, 2])) if period_s > 0.75 else 1
    downbeats = np.flatnonzero(is_downbeat)
    bar_ends = np.append(downbeats[1:], len(beats_s))
    fill_every = int(rng.choice([4, 8]))
    start, pitch, loudness = [], [], []
    for number, (first, last) in enumerate(zip(downbeats.tolist(), bar_ends.tolist(), strict=True)):
        n_cells = _CELLS_PER_BEAT * (last - first)
        pattern = genre.drums[number // 16 % len(genre.drums)]
        if last - first == 3:
            pattern = _TRIPLE_PATTERN
        for drum, line in pattern.items():
            for cell in range(n_cells):
                stroke = line[cell * step % len(line)]
                if stroke == ".":
                    continue
                if number % fill_every == fill_every - 1 and cell >= n_cells - 4 and drum not in ("hat", "ride"):
                    continue
                start.append(cell_s[_CELLS_PER_BEAT * first + cell])
                pitch.append(DRUMS[drum])
                loudness.append(0.9 if stroke == "x" else 0.4)
        if number % fill_every == fill_every - 1:
            for cell in range(n_cells - 4, n_cells):
                start.append(cell_s[_CELLS_PER_BEAT * first + cell])
                pitch.append(int(rng.choice([38, 45, 47, 50, 41])))
                loudness.append(0.8)
        elif number % fill_every == 0 and rng.random() < 0.7:
            start.append(cell_s[_CELLS_PER_BEAT * first])
            pitch.append(49)
            loudness.append(0.8)
    if not start:
        return _NO_NOTES
    loud = np.array(loudness) * rng.uniform(0.7, 1.0, len(loudness))
    times = np.array(start) + 0.004 * rng.standard_normal(len(start))
    return PartNotes(np.maximum(times, 0), np.full(len(start), 0.1), np.array(pitch, dtype=np.int64), loud)


def read_midi(data: bytes) -> dict[str, PartNotes]:
    """Read the notes of the named tracks of a Standard MIDI File, with the tempo changes of its first track.

    Raises
    ------
    ValueError
        The bytes are not a Standard MIDI File with ticks per quarter note.
    """
    if data[:4] != b"MThd" or len(data) < 14 or data[12] & 0x80:
        raise ValueError("not a Standard MIDI File with ticks per quarter note")
    division = int.from_bytes(data[12:14], "big")
    at, tempos, tracks = 14, [(0, 500_000)], {}
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        name, notes, changes = _read_track(data[at + 8 : at + 8 + size])
        tempos += changes
        if len(notes):
            tracks[name] = notes
        at += 8 + size
    tempos.sort()
    ticks = np.array([tick for tick, _ in tempos])
    us = np.array([tempo for _, tempo in tempos])
    starts_s = np.concatenate([[0], np.cumsum(np.diff(ticks) * us[:-1])]) / (1e6 * division)

    def to_s(tick: Float64Array) -> Float64Array:
        row = np.searchsorted(ticks, tick, side="right") - 1
        return np.asarray(starts_s[row] + (tick - ticks[row]) * us[row] / (1e6 * division))

    named = {}
    for name, rows in tracks.items():
        start_s, end_s = to_s(rows[:, 0]), to_s(rows[:, 1])
        named[name] = PartNotes(start_s, end_s - start_s, rows[:, 2].astype(np.int64), (rows[:, 3] / 127) ** 2)
    return named


def _read_track(data: bytes) -> tuple[str, Float64Array, list[tuple[int, int]]]:
    """Return the name of a track, its notes (start tick, end tick, pitch, velocity), and its changes of tempo."""
    at, tick, status, name = 0, 0, 0, ""
    tempos: list[tuple[int, int]] = []
    open_notes: dict[tuple[int, int], tuple[int, int]] = {}
    notes = []

    def read_number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = data[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value

    while at < len(data):
        tick += read_number()
        if data[at] >= 0x80:
            status = data[at]
            at += 1
        if status in (0xFF, 0xF0, 0xF7):
            kind = data[at] if status == 0xFF else -1
            at += status == 0xFF
            size = read_number()
            content = data[at : at + size]
            at += size
            if kind == 0x51:
                tempos.append((tick, int.from_bytes(content, "big")))
            elif kind == 0x03:
                name = content.decode("latin-1").strip()
            continue
        kind, channel = status & 0xF0, status & 0x0F
        first = data[at]
        second = data[at + 1] if kind not in (0xC0, 0xD0) else 0
        at += 1 if kind in (0xC0, 0xD0) else 2
        if kind not in (0x80, 0x90):
            continue
        key = (channel, first)
        if key in open_notes:
            started, velocity = open_notes.pop(key)
            notes.append((started, tick, first, velocity))
        if kind == 0x90 and second:
            open_notes[key] = (tick, second)
    return name, np.array(notes, dtype=np.float64).reshape(-1, 4), tempos


_NO_NOTES = PartNotes(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64), np.empty(0))
