"""Simulated segments of a composition: start, chroma, loudness and timbre, in the ranges of the Million Song Dataset.

Means and standard deviations were measured on 260 real track files.
"""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.music.compose.composition import BASS_PART, DRUM_PART, Composition
from reprise.lib.music.compose.genre_styles import DRUMS, GENRES, INSTRUMENTS, Instrument

# groups of onsets: low, middle and high drums, bass, harmony, lead
_N_GROUPS = 6
_DRUM_GROUP = np.zeros(128, dtype=np.int64)
_DRUM_GROUP[[DRUMS[d] for d in ("snare", "clap", "rim", "tom", "conga", "clave")]] = 1
_DRUM_GROUP[[DRUMS[d] for d in ("hat", "ride", "crash", "tambourine", "shaker", "cowbell")]] = 2
_ONSET_WEIGHT = np.array([1.0, 1.0, 0.35, 0.45, 0.3, 0.55])  # weight of each group in the onset strength
_LOUDNESS_WEIGHT = np.array([1.0, 1.0, 0.3, 0.6, 0.35, 0.9])  # weight of each group in the loudness

ONSET_LEAD_S = 0.03  # time from a segment's start to its onset
MIN_SEGMENT_S = 0.06
SEGMENTS_PER_S = (3.5, 0.28)  # over all tracks: median, and standard deviation of the logarithm
FLOOR_DB = -60.0

# For timbre coefficients 1..11: mean and standard deviation of the tracks' means; standard deviation within a track;
# share of slow changes in this deviation; weight of the heavy tails, where 0 is a normal distribution.
_MEAN = np.array([6.7, 12.6, 0.6, -6.3, -6.6, -4.3, -1.5, 3.3, 2.2, -1.0, 2.6])
_BETWEEN = np.array([40.0, 30.5, 15.0, 21.5, 13.5, 12.6, 7.2, 9.0, 5.9, 4.1, 8.0])
_WITHIN = np.array([44.7, 41.7, 38.2, 29.6, 29.2, 24.4, 22.6, 19.7, 17.9, 17.0, 16.8])
_SLOW = np.array([0.4, 0.46, 0.0, 0.38, 0.12, 0.3, 0.0, 0.28, 0.06, 0.0, 0.28])
_BURSTS = np.array([0.0, 0.0, 0.75, 0.0, 0.55, 0.0, 0.4, 0.0, 0.3, 0.5, 0.0])
# effects of instruments, onsets and genres on the timbre: constants drawn from a fixed seed, in this order
_DIRECTIONS = np.random.default_rng(1999)
_INSTRUMENT_TIMBRE: dict[str, Float64Array] = {
    name: np.concatenate([np.array(instrument.timbre) * 1.1, 0.55 * _DIRECTIONS.standard_normal(8)])
    for name, instrument in INSTRUMENTS.items()
}
_ACTIVITY_TIMBRE: Float64Array = _DIRECTIONS.standard_normal((_N_GROUPS, 11)) * 0.45
_ACTIVITY_TIMBRE[:3, 0] = (-0.9, 0.3, 0.8)
# effect of a genre's typical production
_GENRE_TIMBRE: Float64Array = _DIRECTIONS.standard_normal((len(GENRES), 11))

# _TRANSPOSE[s] moves energy from each pitch class to the one s semitones above
_TRANSPOSE: Float64Array = np.array([np.roll(np.eye(12), shift, axis=1) for shift in range(12)])


@dataclass(frozen=True)
class Segments:
    """Segment arrays of a track: the attribute ``x`` contains the MSD field ``segments_x``.

    ``pitches`` and ``timbre`` have shape (n, 12), all other arrays have shape (n,).
    """

    start: Float64Array
    confidence: Float64Array
    pitches: Float64Array
    timbre: Float64Array
    loudness_start: Float64Array
    loudness_max: Float64Array
    loudness_max_time: Float64Array


@dataclass(frozen=True)
class _Energy:
    """Measures of each sixteenth of a composition.

    ``pitches`` is the energy of each pitch class, shape (12, cells). ``onsets`` is the onset energy of each group,
    shape (cells, 6). ``strength`` is the onset strength, shape (cells,).
    """

    pitches: Float64Array
    onsets: Float64Array
    strength: Float64Array


def _measure_energy(song: Composition, part_gain: Float64Array) -> _Energy:
    notes = song.notes
    cells = len(song.cell_s) - 1
    energy = part_gain[notes.part] * notes.velocity
    group = np.where(notes.part == DRUM_PART, _DRUM_GROUP[notes.pitch], notes.part + 2)
    onsets: Float64Array = np.zeros((cells, _N_GROUPS))
    onsets += np.bincount(notes.cell * _N_GROUPS + group, energy, cells * _N_GROUPS).reshape(cells, _N_GROUPS)

    pitched = slice(int(np.searchsorted(notes.part, DRUM_PART, side="right")), None)
    energy, row = energy[pitched], notes.pitch[pitched] % 12 * (cells + 1)
    sustain = np.array([instrument.sustain for instrument in song.instruments])[notes.part[pitched]]
    sustained = energy * (0.25 + 0.75 * sustain)
    slot = row + notes.cell[pitched]
    size = (cells + 1) * 12
    # add a note's energy at its first cell and subtract it at its end, so the cumulative sum is the sounding energy
    switched = np.bincount(slot, sustained, size) - np.bincount(row + notes.end_cell[pitched], sustained, size)
    sounding = np.cumsum(switched.reshape(12, cells + 1)[:, :cells], axis=1)
    struck = np.bincount(slot, energy - sustained, size).reshape(12, cells + 1)[:, :cells]
    pitches: Float64Array = np.maximum(sounding, 0.0) + struck
    return _Energy(pitches, onsets, onsets @ _ONSET_WEIGHT)


def simulate_segments(rng: np.random.Generator, song: Composition) -> Segments:
    """Divide a composition into segments at its onsets, and simulate an analyser's measurements with their errors."""
    part_gain = np.array([1.0, 0.8, 0.75, 1.0]) * np.exp(0.3 * rng.standard_normal(4))
    energy = _measure_energy(song, part_gain)
    start, cell = _choose_starts(rng, song, energy.strength)
    n = len(start)
    noise = rng.standard_normal((n, 28), dtype=np.float32)
    span = np.diff(cell, append=len(song.cell_s) - 1)
    n_cells = np.maximum(span, 1)
    energy_cell = np.minimum(cell, len(energy.strength) - 1)
    onsets = energy.onsets[energy_cell]
    # the segment before the first note and those after the last note are silent
    silent = (start > song.cell_s[-1]) | (np.arange(n) == 0)
    onsets[silent] = 0.0
    pitches = np.add.reduceat(energy.pitches, energy_cell, axis=1) / n_cells
    pitches[:, silent] *= 0.05

    loudness_start, loudness_max, confidence = _simulate_loudness(rng, song, start, cell, onsets, noise[:, :4])
    length = np.diff(start, append=max(song.duration_s, start[-1] + MIN_SEGMENT_S))
    peak_s: Float64Array = np.minimum(np.exp(-3.2 + 0.55 * noise[:, 3] - 0.2 * noise[:, 1]), 0.9 * length)
    chroma = _simulate_chroma(rng, song, pitches, onsets, noise[:, 4:16])
    chroma[loudness_max <= FLOOR_DB] = 1.0  # in real files, all chroma values of digital silence are 1
    gap = np.exp(1.2 + 0.5 * noise[:, 27])
    timbre = np.empty((n, 12))
    timbre[:, 0] = np.clip(loudness_max + 60 - gap, 0.0, 60.0)
    timbre[:, 1:] = _simulate_timbre(rng, song, cell, onsets, noise[:, 16:27])
    return Segments(
        start=np.round(start, 5),
        confidence=np.round(confidence, 3),
        pitches=np.round(chroma, 3),
        timbre=np.round(timbre, 3),
        loudness_start=np.round(loudness_start, 3),
        loudness_max=np.round(loudness_max, 3),
        loudness_max_time=np.round(peak_s, 5),
    )


def _choose_starts(
    rng: np.random.Generator, song: Composition, strength: Float64Array
) -> tuple[Float64Array, Int64Array]:
    """Choose the starts of the segments. Return the starts in seconds, and the index of the sixteenth at each start."""
    cells = len(strength)
    first_s, last_s = float(song.cell_s[0]), float(song.cell_s[-1])
    median_per_s, spread = SEGMENTS_PER_S
    n_wanted = int((last_s - first_s) * np.clip(median_per_s * np.exp(spread * rng.standard_normal()), 1.5, 5.3)) + 1
    score = np.sqrt(strength + 0.02) * np.exp(0.6 * rng.standard_normal(cells, dtype=np.float32))
    cell = (
        np.flatnonzero(score >= np.partition(score, cells - n_wanted)[cells - n_wanted])
        if n_wanted < cells
        else np.arange(cells)
    )
    start = song.cell_s[cell] - ONSET_LEAD_S + 0.014 * rng.standard_normal(len(cell))
    tail = last_s + np.cumsum(0.12 + 0.45 * rng.exponential(size=2 + int(2 * (song.duration_s - last_s))))
    tail = tail[tail < song.duration_s - 0.1]
    start = np.concatenate([start, tail])
    cell = np.concatenate([cell, np.full(len(tail), cells - 1)])
    start.sort()  # jitter can have swapped two onsets
    kept = np.diff(start, prepend=0.0) >= MIN_SEGMENT_S
    return np.concatenate([[0.0], start[kept]]), np.concatenate([[0], cell[kept]])


def _simulate_loudness(
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
    slow = 0.9 * _draw_slow_noise(rng, n, 30, 1)[:, 0] + 0.5 * _draw_slow_noise(rng, n, 8, 1)[:, 0]
    slow *= 1.35 * np.exp(0.4 * rng.standard_normal())
    struck = np.sqrt(onsets @ _LOUDNESS_WEIGHT)
    loudness_max = level + song.section_db[section] + 1.3 * (struck - 1.0) + 2.4 * slow + 0.8 * noise[:, 0]
    last_s = float(song.cell_s[-1])
    decay = 5.0 + 9.0 * rng.random()
    loudness_max -= np.maximum(start - last_s, 0.0) * decay + 4.0 * (start > last_s)
    if song.fade_out_s:
        fade_progress = np.maximum(start - (song.duration_s - song.fade_out_s), 0.0) / song.fade_out_s
        loudness_max -= 34.0 * fade_progress**1.6
    draw = rng.random()
    loudness_max[0] = FLOOR_DB if draw < 0.5 else level - 30 * rng.random()
    # compress loud values as the analyser does: full scale is about 0 dB
    loudness_max = np.where(loudness_max > -4, -4 + 4.5 * np.tanh((loudness_max + 4) / 4.5), loudness_max)
    loudness_max = np.clip(loudness_max, FLOOR_DB, 1.5)
    attack_db = np.exp(1.38 + 0.28 * rng.standard_normal() + 0.56 * noise[:, 1] + 0.45 * np.minimum(struck, 1.8))
    loudness_start = np.maximum(loudness_max - attack_db, FLOOR_DB)
    confidence = np.clip(1.6 * (attack_db - 2) / (attack_db + 7) + 0.13 * noise[:, 2], 0.0, 1.0)
    confidence[0] = 1.0
    return loudness_start, loudness_max, confidence


def _draw_slow_noise(rng: np.random.Generator, n: int, every: int, width: int) -> Float64Array:
    """Draw noise that changes every ``every`` segments, shape (n, width)."""
    return rng.standard_normal((n // every + 1, width))[np.arange(n) // every]


def _simulate_chroma(
    rng: np.random.Generator, song: Composition, energy: Float64Array, onsets: Float64Array, noise: Float32Array
) -> Float64Array:
    """Return the chroma of each segment, shape (n, 12). It includes overtones, detuning, drums and analysis noise."""
    noise_scale = song.plan.difficulty.chroma_noise
    played: tuple[Instrument, ...] = song.instruments[BASS_PART:]
    overtones = sum(instrument.overtones for instrument in played) / len(played)
    detuned = abs(song.track.tuning_cents) / 100
    mixing_matrix = _TRANSPOSE[0] + overtones * (0.32 * _TRANSPOSE[7] + 0.13 * _TRANSPOSE[4])
    neighbour = 1 if song.track.tuning_cents > 0 else 11
    mixing_matrix = (1 - detuned) * mixing_matrix + detuned * mixing_matrix @ _TRANSPOSE[neighbour]
    mixing_matrix += 0.05 * mixing_matrix @ (_TRANSPOSE[1] + _TRANSPOSE[11])
    drums = onsets[:, :3].sum(axis=1, keepdims=True)
    floor = (0.05 + 0.035 * drums).astype(np.float32) * np.float32(noise_scale * np.exp(0.7 * rng.standard_normal()))
    clean = (energy.T @ mixing_matrix).astype(np.float32) ** np.float32(0.7)
    noise_level = np.float32(0.44 * noise_scale * np.exp(0.25 * rng.standard_normal()))
    blurred = clean * np.exp(noise_level * noise) + floor * (0.5 + np.abs(noise[:, ::-1]))
    chroma: Float64Array = (blurred / blurred.max(axis=1, keepdims=True)).astype(np.float64)
    return chroma


def _simulate_timbre(
    rng: np.random.Generator, song: Composition, cell: Int64Array, onsets: Float64Array, noise: Float32Array
) -> Float64Array:
    """Return timbre coefficients 1..11, shape (n, 11), from instruments, genres, sections, onsets and noise."""
    genre = GENRES[song.track.genre]
    n = len(cell)
    instrument_timbre = (
        sum((_INSTRUMENT_TIMBRE[instrument.name] for instrument in song.instruments), np.zeros(11)) / 2.0
    )
    instrument_timbre[0] += genre.brightness
    genre_timbre = _GENRE_TIMBRE[song.track.genre]
    if song.track.second_genre >= 0:
        genre_timbre = 0.65 * genre_timbre + 0.35 * _GENRE_TIMBRE[song.track.second_genre]
    base = _MEAN + _BETWEEN * (0.5 * instrument_timbre + 0.55 * genre_timbre + 0.62 * rng.standard_normal(11))
    sections = rng.standard_normal((len(song.section_cells), 11))
    section = np.searchsorted(song.section_cells, cell, side="right") - 1
    slow = 0.7 * sections[section] + 0.8 * _draw_slow_noise(rng, n, 4, 11)
    slow *= np.exp(0.3 * rng.standard_normal()) * 0.95
    activity = np.sqrt(onsets)
    activity -= activity.mean(axis=0)
    bursts = np.exp(noise[:, :1] * 0.7) if n else noise[:, :1]
    fast_noise = noise * (1 + _BURSTS * (bursts - 1))
    within = (
        0.55 * (activity @ _ACTIVITY_TIMBRE)
        + 1.25 * np.sqrt(_SLOW) * slow
        + np.sqrt(1 - 0.9 * _SLOW) * 0.7 * fast_noise
    )
    timbre: Float64Array = base + _WITHIN * np.exp(0.24 * rng.standard_normal(11)) * within
    return timbre
