"""What an analyser hears in the notes: segments with pitches, loudness and timbre in the Million Song Dataset's ranges.

Means and spreads come from 260 real track files.
"""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, Composition
from reprise.lib.music.compose.genre_styles import DRUMS, GENRES, INSTRUMENTS, Instrument

# activity of a cell: deep, middle and high drums, bass, harmony, lead
_N_GROUPS = 6
_DRUM_GROUP = np.zeros(128, dtype=np.int64)
_DRUM_GROUP[[DRUMS[d] for d in ("snare", "clap", "rim", "tom", "conga", "clave")]] = 1
_DRUM_GROUP[[DRUMS[d] for d in ("hat", "ride", "crash", "tambourine", "shaker", "cowbell")]] = 2
_SALIENCE = np.array([1.0, 1.0, 0.35, 0.45, 0.3, 0.55])  # how much each makes an onset heard
_POWER = np.array([1.0, 1.0, 0.3, 0.6, 0.35, 0.9])  # and how much loudness it brings

ONSET_LEAD_S = 0.03  # segments begin that much before the onset they are about
MIN_SEGMENT_S = 0.06
SEGMENTS_PER_S = (3.5, 0.28)  # median and spread of the logarithm, over tracks
FLOOR_DB = -60.0

# coefficients 1..11: mean and spread of tracks' means, spread within a track, and whether it changes slowly
_MEAN = np.array([6.7, 12.6, 0.6, -6.3, -6.6, -4.3, -1.5, 3.3, 2.2, -1.0, 2.6])
_BETWEEN = np.array([40.0, 30.5, 15.0, 21.5, 13.5, 12.6, 7.2, 9.0, 5.9, 4.1, 8.0])
_WITHIN = np.array([44.7, 41.7, 38.2, 29.6, 29.2, 24.4, 22.6, 19.7, 17.9, 17.0, 16.8])
_SLOW = np.array([0.4, 0.46, 0.0, 0.38, 0.12, 0.3, 0.0, 0.28, 0.06, 0.0, 0.28])
_BURSTS = np.array([0.0, 0.0, 0.75, 0.0, 0.55, 0.0, 0.4, 0.0, 0.3, 0.5, 0.0])  # heavy tails
# fixed directions in which instruments and drums move the timbre; constants, drawn once from a fixed seed
_DIRECTIONS = np.random.default_rng(1999)
_INSTRUMENT_COLOUR: dict[str, Float64Array] = {
    name: np.concatenate([np.array(instrument.colour) * 1.1, 0.55 * _DIRECTIONS.standard_normal(8)])
    for name, instrument in INSTRUMENTS.items()
}
_ACTIVITY_COLOUR: Float64Array = _DIRECTIONS.standard_normal((_N_GROUPS, 11)) * 0.45
_ACTIVITY_COLOUR[:3, 0] = (-0.9, 0.3, 0.8)
# how records of a genre are produced
_GENRE_COLOUR: Float64Array = _DIRECTIONS.standard_normal((len(GENRES), 11))


# _UP[s] moves energy from each pitch class to the one s semitones above
_UP: Float64Array = np.array([np.roll(np.eye(12), shift, axis=1) for shift in range(12)])


@dataclass(frozen=True)
class Segments:
    """The seven segment arrays of a track, N segments; see the MSD's field of the same name for each."""

    start: Float64Array
    confidence: Float64Array
    pitches: Float64Array
    timbre: Float64Array
    loudness_start: Float64Array
    loudness_max: Float64Array
    loudness_max_time: Float64Array


@dataclass(frozen=True)
class _Energy:
    """Energy per sixteenth: of pitch classes (12, cells), of onsets by group (cells, 6), in all (cells,)."""

    pitches: Float64Array
    onsets: Float64Array
    strength: Float64Array


def _measure(song: Composition, mix: Float64Array) -> _Energy:
    notes = song.notes
    cells = len(song.cell_s) - 1
    energy = mix[notes.part] * notes.velocity
    group = np.where(notes.part == DRUM_PART, _DRUM_GROUP[notes.pitch], notes.part + 2)
    onsets: Float64Array = np.zeros((cells, _N_GROUPS))
    onsets += np.bincount(notes.cell * _N_GROUPS + group, energy, cells * _N_GROUPS).reshape(cells, _N_GROUPS)

    pitched = slice(int(np.searchsorted(notes.part, DRUM_PART, side="right")), None)
    energy, row = energy[pitched], notes.pitch[pitched] % 12 * (cells + 1)
    sustain = np.array([instrument.sustain for instrument in song.instruments])[notes.part[pitched]]
    held = energy * (0.25 + 0.75 * sustain)
    place = row + notes.cell[pitched]
    size = (cells + 1) * 12
    # a note's energy is switched on at its cell and off at its end; the sum over time is what sounds
    switched = np.bincount(place, held, size) - np.bincount(row + notes.end_cell[pitched], held, size)
    sounding = np.cumsum(switched.reshape(12, cells + 1)[:, :cells], axis=1)
    struck = np.bincount(place, energy - held, size).reshape(12, cells + 1)[:, :cells]
    pitches: Float64Array = np.maximum(sounding, 0.0) + struck
    return _Energy(pitches, onsets, onsets @ _SALIENCE)


def hear_segments(rng: np.random.Generator, song: Composition) -> Segments:
    """Cut a composition into segments at its onsets and measure them."""
    mix = np.array([1.0, 0.8, 0.75, 1.0]) * np.exp(0.3 * rng.standard_normal(4))
    energy = _measure(song, mix)
    start, cell = _cut(rng, song, energy.strength)
    n = len(start)
    noise = rng.standard_normal((n, 28), dtype=np.float32)
    span = np.diff(cell, append=len(song.cell_s) - 1)
    inside = np.maximum(span, 1)
    at = np.minimum(cell, len(energy.strength) - 1)
    onsets = energy.onsets[at]
    # before the first note and after the last nothing sounds
    silent = (start > song.cell_s[-1]) | (np.arange(n) == 0)
    onsets[silent] = 0.0
    pitches = np.add.reduceat(energy.pitches, at, axis=1) / inside
    pitches[:, silent] *= 0.05

    loudness_start, loudness_max, confidence = _hear_loudness(rng, song, start, cell, onsets, noise[:, :4])
    length = np.diff(start, append=max(song.duration_s, start[-1] + MIN_SEGMENT_S))
    peak_s: Float64Array = np.minimum(np.exp(-3.2 + 0.55 * noise[:, 3] - 0.2 * noise[:, 1]), 0.9 * length)
    chroma = _hear_pitches(rng, song, pitches, onsets, noise[:, 4:16])
    chroma[loudness_max <= FLOOR_DB] = 1.0  # digital silence has every pitch
    gap = np.exp(1.2 + 0.5 * noise[:, 27])
    timbre = np.empty((n, 12))
    timbre[:, 0] = np.clip(loudness_max + 60 - gap, 0.0, 60.0)
    timbre[:, 1:] = _hear_timbre(rng, song, cell, onsets, noise[:, 16:27])
    return Segments(
        start=np.round(start, 5),
        confidence=np.round(confidence, 3),
        pitches=np.round(chroma, 3),
        timbre=np.round(timbre, 3),
        loudness_start=np.round(loudness_start, 3),
        loudness_max=np.round(loudness_max, 3),
        loudness_max_time=np.round(peak_s, 5),
    )


def _cut(rng: np.random.Generator, song: Composition, strength: Float64Array) -> tuple[Float64Array, Int64Array]:
    """Choose where segments start, in seconds, and the sixteenth each one begins at."""
    cells = len(strength)
    first_s, last_s = float(song.cell_s[0]), float(song.cell_s[-1])
    rate, spread = SEGMENTS_PER_S
    wanted = int((last_s - first_s) * np.clip(rate * np.exp(spread * rng.standard_normal()), 1.5, 5.3)) + 1
    score = np.sqrt(strength + 0.02) * np.exp(0.6 * rng.standard_normal(cells, dtype=np.float32))
    cell = (
        np.flatnonzero(score >= np.partition(score, cells - wanted)[cells - wanted])
        if wanted < cells
        else np.arange(cells)
    )
    start = song.cell_s[cell] - ONSET_LEAD_S + 0.014 * rng.standard_normal(len(cell))
    tail = last_s + np.cumsum(0.12 + 0.45 * rng.exponential(size=2 + int(2 * (song.duration_s - last_s))))
    tail = tail[tail < song.duration_s - 0.1]
    start = np.concatenate([start, tail])
    cell = np.concatenate([cell, np.full(len(tail), cells - 1)])
    start.sort()  # two onsets that jitter swapped
    kept = np.diff(start, prepend=0.0) >= MIN_SEGMENT_S
    return np.concatenate([[0.0], start[kept]]), np.concatenate([[0], cell[kept]])


def _hear_loudness(
    rng: np.random.Generator,
    song: Composition,
    start: Float64Array,
    cell: Int64Array,
    onsets: Float64Array,
    noise: Float32Array,
) -> tuple[Float64Array, Float64Array, Float64Array]:
    genre = GENRES[song.track.genre]
    level = min(0.6 + genre.level_db[0] + genre.level_db[1] * float(rng.standard_normal()), -2.5)
    section = np.searchsorted(song.section_cells, cell, side="right") - 1
    n = len(start)
    slow = 0.9 * _drift(rng, n, 30, 1)[:, 0] + 0.5 * _drift(rng, n, 8, 1)[:, 0]
    slow *= 1.35 * np.exp(0.4 * rng.standard_normal())
    struck = np.sqrt(onsets @ _POWER)
    loud = level + song.section_db[section] + 1.3 * (struck - 1.0) + 2.4 * slow + 0.8 * noise[:, 0]
    last_s = float(song.cell_s[-1])
    decay = 5.0 + 9.0 * rng.random()
    loud -= np.maximum(start - last_s, 0.0) * decay + 4.0 * (start > last_s)
    if song.fade_out_s:
        into = np.maximum(start - (song.duration_s - song.fade_out_s), 0.0) / song.fade_out_s
        loud -= 34.0 * into**1.6
    opening = rng.random()
    loud[0] = FLOOR_DB if opening < 0.5 else level - 30 * rng.random()
    # the analyser's compressed scale: full scale is about 0 dB
    loud = np.clip(np.where(loud > -4, -4 + 4.5 * np.tanh((loud + 4) / 4.5), loud), FLOOR_DB, 1.5)
    rise = np.exp(1.38 + 0.28 * rng.standard_normal() + 0.56 * noise[:, 1] + 0.45 * np.minimum(struck, 1.8))
    quiet = np.maximum(loud - rise, FLOOR_DB)
    confidence = np.clip(1.6 * (rise - 2) / (rise + 7) + 0.13 * noise[:, 2], 0.0, 1.0)
    confidence[0] = 1.0
    return quiet, loud, confidence


def _drift(rng: np.random.Generator, n: int, every: int, width: int) -> Float64Array:
    """Noise that changes every few segments: shape (n, width)."""
    return rng.standard_normal((n // every + 1, width))[np.arange(n) // every]


def _hear_pitches(
    rng: np.random.Generator, song: Composition, energy: Float64Array, onsets: Float64Array, noise: Float32Array
) -> Float64Array:
    """Chroma of each segment: what sounds, with overtones, detuning, drums and the analyser's own doubt."""
    hard = song.plan.difficulty.chroma_noise
    played: tuple[Instrument, ...] = song.instruments[BASS_PART:]
    overtones = sum(instrument.overtones for instrument in played) / len(played)
    detuned = abs(song.track.tuning_cents) / 100
    heard = _UP[0] + overtones * (0.32 * _UP[7] + 0.13 * _UP[4])
    heard = (1 - detuned) * heard + detuned * heard @ _UP[1 if song.track.tuning_cents > 0 else 11]
    heard += 0.05 * heard @ (_UP[1] + _UP[11])
    drums = onsets[:, :3].sum(axis=1, keepdims=True)
    floor = (0.05 + 0.035 * drums).astype(np.float32) * np.float32(hard * np.exp(0.7 * rng.standard_normal()))
    clear = (energy.T @ heard).astype(np.float32) ** np.float32(0.7)
    doubt = np.float32(0.44 * hard * np.exp(0.25 * rng.standard_normal()))
    blurred = clear * np.exp(doubt * noise) + floor * (0.5 + np.abs(noise[:, ::-1]))
    chroma: Float64Array = (blurred / blurred.max(axis=1, keepdims=True)).astype(np.float64)
    return chroma


def _hear_timbre(
    rng: np.random.Generator, song: Composition, cell: Int64Array, onsets: Float64Array, noise: Float32Array
) -> Float64Array:
    """Coefficients 1..11: the track's instruments, its sections, what is struck in the segment, and noise."""
    genre = GENRES[song.track.genre]
    n = len(cell)
    colour = sum((_INSTRUMENT_COLOUR[instrument.name] for instrument in song.instruments), np.zeros(11)) / 2.0
    colour[0] += genre.bright
    produced = _GENRE_COLOUR[song.track.genre]
    if song.track.second_genre >= 0:
        produced = 0.65 * produced + 0.35 * _GENRE_COLOUR[song.track.second_genre]
    base = _MEAN + _BETWEEN * (0.5 * colour + 0.55 * produced + 0.62 * rng.standard_normal(11))
    sections = rng.standard_normal((len(song.section_cells), 11))
    section = np.searchsorted(song.section_cells, cell, side="right") - 1
    slow = 0.7 * sections[section] + 0.8 * _drift(rng, n, 4, 11)
    slow *= np.exp(0.3 * rng.standard_normal()) * 0.95
    activity = np.sqrt(onsets)
    activity -= activity.mean(axis=0)
    bursts = np.exp(noise[:, :1] * 0.7) if n else noise[:, :1]
    white = noise * (1 + _BURSTS * (bursts - 1))
    within = (
        0.55 * (activity @ _ACTIVITY_COLOUR) + 1.25 * np.sqrt(_SLOW) * slow + np.sqrt(1 - 0.9 * _SLOW) * 0.7 * white
    )
    timbre: Float64Array = base + _WITHIN * np.exp(0.24 * rng.standard_normal(11)) * within
    return timbre
