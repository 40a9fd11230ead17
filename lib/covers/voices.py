"""Voices of a polyphonic stem: each note goes to one of a few voices, and each voice gets its pitch and its level."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
from numba import njit
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import linear_sum_assignment

from reprise.lib.arrays import BoolArray, Float32Array, Float64Array, Int64Array, release_pages
from reprise.lib.covers.performance import a_weighting_db
from reprise.lib.features.spectra import read_samples
from reprise.lib.nets.instrument_network import FRAME_RATE
from reprise.lib.nets.note_transcriber import Notes

SILENT_DB = -80.0
"""Level of a voice where it does not sound, relative to the stem, and its smallest level elsewhere."""

_CHORD_S = 0.05  # notes that start within this time of the first one start together
_GAP_FRAMES = 5  # smallest gap between two notes of the same pitch: 20 ms
_MIN_FRAMES = 8  # shorter remainders of notes are left out
_OCTAVE = 12
_HARMONICS = (12, 19, 24, 28)  # semitones
_CUT_S = 0.5  # a note that has sounded for so long can be cut by a new one
# costs of a choice. A leap costs the square of its octaves
_NEW_VOICE_COST = 4.0
_CUT_COST = 5.0
_OLD_CUT_COST, _NEW_CUT_COST = 5.0, 25.0  # in addition, times the activation of the note that is cut
_DROP_COST = 40.0  # times the activation of the new note
_OUTER_SHARE = 0.5  # by so much the highest and the lowest new note matter more
_WINDOW_S = 0.093
_BLOCK_FRAMES = 512
_N_HARMONICS = 20
_LOBE = 2  # half of the width of the main lobe of a Hann window, in bins
_ROLL_OFF = 1.5  # exponent of the power of the harmonics
_ITERATIONS = 10


@dataclass(frozen=True, eq=False)
class Voice:
    """A voice with one note at a time, (frames,) each, 250 frames in a second.

    Attributes
    ----------
    f0_hz
        Float32: fundamental frequency. During rests, it is that of the note before, and before the first note, that of
        the first note.
    voiced
        A note sounds. There are at least 20 ms of silence between two notes of the same pitch.
    level_db
        Float32: A-weighted power of the voice relative to that of the stem in dB, `SILENT_DB` during rests.
    """

    f0_hz: Float32Array
    voiced: BoolArray
    level_db: Float32Array


def measure_polyphony(notes: Notes) -> float:
    """Return the share of the time with notes in which two or more sound, 0 to 1; 0 if there are no notes.

    Notes that can be harmonics of a note below do not count: the network hears them in tones whose second harmonic is
    stronger than the first, such as those of an oboe.
    """
    notes = notes.select(np.flatnonzero(~_find_harmonics(notes)))
    time_s = np.concatenate([notes.start_s, notes.end_s])
    change = np.repeat([1, -1], len(notes))
    order = np.argsort(time_s, kind="stable")
    count = np.cumsum(change[order])[:-1]
    length_s = np.diff(time_s[order])
    sounding_s = float(length_s[count >= 1].sum())
    return float(length_s[count >= 2].sum()) / sounding_s if sounding_s else 0.0


def _find_harmonics(notes: Notes) -> BoolArray:
    """Return which notes have, in their middle, a note below of which they can be the harmonic 2, 3, 4 or 5."""
    middle_s = (notes.start_s + notes.end_s) / 2
    found = np.zeros(len(notes), np.bool_)
    for pitch in np.unique(notes.pitch):
        below = np.flatnonzero(notes.pitch == pitch)
        below = below[np.argsort(notes.start_s[below])]
        for semitones in _HARMONICS:
            above = np.flatnonzero(notes.pitch == pitch + semitones)
            last = np.searchsorted(notes.start_s[below], middle_s[above], side="right") - 1
            found[above] |= (last >= 0) & (notes.end_s[below][last] > middle_s[above])
    return found


def split_voices(
    notes: Notes, samples: Float32Array, sample_rate: int, frame_count: int, *, max_voices: int = 4
) -> list[Voice]:
    """Split the notes of a stem into voices, the highest voice first. There are no voices without notes.

    Voices move to near notes. If more notes sound than there are voices, notes with a large activation, the highest and
    the lowest have priority, and a new note ends an old one rather than one that has just started.

    Parameters
    ----------
    notes
        Notes of the stem.
    samples
        The stem, mono (samples,). It can be memory-mapped: it is read in blocks. NaN and infinite samples count as
        zeros.
    sample_rate
        Sample rate of the stem in Hz.
    frame_count
        Number of frames of the voices.
    max_voices
        Largest number of voices.
    """
    lines = [_write_line(notes, rows, frame_count) for rows in _assign_voices(notes, max_voices)]
    lines = [line for line in lines if line[1].any()]
    if not lines:
        return []
    lines.sort(key=lambda line: float(line[0][line[1]].mean()), reverse=True)
    f0_hz = np.stack([line[0] for line in lines])
    voiced = np.stack([line[1] for line in lines])
    level_db = np.empty(f0_hz.shape, dtype=np.float32)
    for first, last, power in _compute_power(samples, sample_rate, frame_count):
        block = slice(first, last)
        bin_hz = sample_rate / (2 * (power.shape[1] - 1))
        level_db[:, block] = _share_power(power, f0_hz[:, block], voiced[:, block], bin_hz)
    return [Voice(*rows) for rows in zip(f0_hz, voiced, level_db, strict=True)]


def _assign_voices(notes: Notes, max_voices: int) -> list[Int64Array]:
    """Return the indices of the notes of each voice in the order of their starts. Some notes may have no voice."""
    voices: list[list[int]] = [[] for _ in range(max_voices)]
    order = np.lexsort((notes.pitch, notes.start_s))
    start_s = notes.start_s[order]
    first = 0
    while first < len(order):
        last = int(np.searchsorted(start_s, start_s[first] + _CHORD_S, side="right"))
        chord = order[first:last]
        rows, columns = linear_sum_assignment(_weigh_choices(notes, chord, voices))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if column < max_voices:
                voices[column].append(int(chord[row]))
        first = last
    return [np.array(rows, dtype=np.int64) for rows in voices]


def _weigh_choices(notes: Notes, chord: Int64Array, voices: list[list[int]]) -> Float64Array:
    """Return the costs of giving each note of a chord to each voice, or to none: (notes, voices + notes)."""
    now_s = float(notes.start_s[chord].min())
    pitch = notes.pitch[chord].astype(np.float64)
    weight = notes.activation[chord] * (1 + _OUTER_SHARE * ((pitch == pitch.max()) | (pitch == pitch.min())))
    costs = np.empty((len(chord), len(voices) + len(chord)))
    costs[:, len(voices) :] = _DROP_COST * weight[:, None]
    for column, voice in enumerate(voices):
        if not voice:
            costs[:, column] = _NEW_VOICE_COST
            continue
        before = voice[-1]
        costs[:, column] = np.square((pitch - notes.pitch[before]) / _OCTAVE)
        if notes.end_s[before] > now_s + _CHORD_S:
            age = min((now_s - float(notes.start_s[before])) / _CUT_S, 1.0)
            cut_cost = _NEW_CUT_COST + age * (_OLD_CUT_COST - _NEW_CUT_COST)
            costs[:, column] += _CUT_COST + cut_cost * notes.activation[before]
    return costs


def _write_line(notes: Notes, rows: Int64Array, frame_count: int) -> tuple[Float32Array, BoolArray]:
    """Return the fundamental frequency in Hz and the voiced frames of a voice, (frames,) each."""
    chosen = notes.select(rows)
    start = np.round(chosen.start_s * FRAME_RATE).astype(np.int64)
    end = np.round(chosen.end_s * FRAME_RATE).astype(np.int64)
    is_repeated = chosen.pitch[1:] == chosen.pitch[:-1]
    end[:-1] = np.minimum(end[:-1], start[1:] - _GAP_FRAMES * is_repeated)
    kept = (end - start >= _MIN_FRAMES) & (start < frame_count)
    if not kept.any():
        return np.zeros(frame_count, dtype=np.float32), np.zeros(frame_count, dtype=np.bool_)
    start, end = start[kept], end[kept]
    hz = 440 * 2 ** ((chosen.pitch[kept] + chosen.deviation[kept] - 69) / _OCTAVE)
    frames = np.arange(frame_count)
    note = np.maximum(np.searchsorted(start, frames, side="right") - 1, 0)
    return hz.astype(np.float32)[note], (frames >= start[note]) & (frames < end[note])


def _compute_power(
    samples: Float32Array, sample_rate: int, frame_count: int
) -> Iterator[tuple[int, int, Float32Array]]:
    """Yield the first and the last frame of each block, exclusive, and its A-weighted power spectra (frames, bins)."""
    n_fft = 2 ** round(np.log2(_WINDOW_S * sample_rate))
    window = np.hanning(n_fft + 1)[:-1].astype(np.float32)
    weights = 10 ** (a_weighting_db(np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)) / 10).astype(np.float32)
    for first in range(0, frame_count, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, frame_count)
        centre = np.round(np.arange(first, last) * (sample_rate / FRAME_RATE)).astype(np.int64)
        block = read_samples(samples, int(centre[0]) - n_fft // 2, int(centre[-1]) + n_fft // 2)
        release_pages(samples)
        spectra = scipy.fft.rfft(sliding_window_view(block, n_fft)[centre - centre[0]] * window, axis=1)
        yield first, last, (np.square(spectra.real) + np.square(spectra.imag)) * weights


@njit(cache=True, nogil=True)
def _share_power(power: Float32Array, f0_hz: Float32Array, voiced: BoolArray, bin_hz: float) -> Float32Array:
    """Return the power of each voice relative to that of the frame, (voices, frames) in dB.

    The power near the harmonics of a voice belongs to the voice. A bin that several voices share is divided in
    proportion to what harmonics with a common spectral slope have there; the strengths of the voices are those of
    non-negative matrix factorisation with the Kullback-Leibler divergence.

    Parameters
    ----------
    power
        Power spectra, (frames, bins).
    f0_hz, voiced
        The voices, (voices, frames).
    bin_hz
        Distance of two bins in Hz.
    """
    n_voices, n_frames = f0_hz.shape
    n_bins = power.shape[1]
    level_db = np.full((n_voices, n_frames), np.float32(SILENT_DB))
    size = _N_HARMONICS * (2 * _LOBE + 1)
    bins = np.empty((n_voices, size), dtype=np.int64)
    shapes = np.empty((n_voices, size), dtype=np.float64)
    counts = np.zeros(n_voices, dtype=np.int64)
    strength = np.empty(n_voices, dtype=np.float64)
    model = np.zeros(n_bins, dtype=np.float64)
    for t in range(n_frames):
        total = 0.0
        for k in range(n_bins):
            total += power[t, k]
        if total <= 0:
            continue
        for v in range(n_voices):
            counts[v] = _shape_harmonics(f0_hz[v, t] / bin_hz, n_bins, bins[v], shapes[v]) if voiced[v, t] else 0
            strength[v] = total
        for _ in range(_ITERATIONS):
            _sum_model(bins, shapes, counts, strength, model)
            for v in range(n_voices):
                fit, norm = 0.0, 0.0
                for i in range(counts[v]):
                    fit += shapes[v, i] * power[t, bins[v, i]] / model[bins[v, i]]
                    norm += shapes[v, i]
                if norm > 0:
                    strength[v] = max(strength[v] * fit / norm, 1e-12 * total)
        _sum_model(bins, shapes, counts, strength, model)
        for v in range(n_voices):
            own = 0.0
            for i in range(counts[v]):
                own += power[t, bins[v, i]] * strength[v] * shapes[v, i] / model[bins[v, i]]
            if own > 0:
                level_db[v, t] = max(10 * np.log10(own / total), SILENT_DB)
    return level_db


@njit(cache=True, nogil=True)
def _shape_harmonics(f0_bins: float, n_bins: int, bins: Int64Array, shapes: Float64Array) -> int:
    """Write the bins near the harmonics of a fundamental, and their power. Return the number of bins."""
    n = 0
    for harmonic in range(1, _N_HARMONICS + 1):
        centre = harmonic * f0_bins
        for k in range(int(np.ceil(centre - _LOBE)), int(np.floor(centre + _LOBE)) + 1):
            if 0 < k < n_bins:
                x = (k - centre) / _LOBE
                bins[n], shapes[n] = k, harmonic**-_ROLL_OFF * (np.cos(np.pi * x / 2) ** 4 + 1e-4)
                n += 1
    return n


@njit(cache=True, nogil=True)
def _sum_model(
    bins: Int64Array, shapes: Float64Array, counts: Int64Array, strength: Float64Array, model: Float64Array
) -> None:
    """Write the sum of the voices into the bins that they use."""
    for v in range(len(counts)):
        for i in range(counts[v]):
            model[bins[v, i]] = 0.0
    for v in range(len(counts)):
        for i in range(counts[v]):
            model[bins[v, i]] += strength[v] * shapes[v, i]
