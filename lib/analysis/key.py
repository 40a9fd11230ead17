"""Estimate the key and mode of a track from its notes, its chord sequence, its phrase starts, and its start and end."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.analysis.pitches import CumulativeChroma
from reprise.lib.analysis.weights import KEY_WEIGHTS
from reprise.lib.arrays import Float64Array

_START_S = _END_S = 6.0  # lengths in s of the start and of the end of the sound, which have separate features
_INVERSE_TEMPERATURE = 0.5  # below 1, to lower the confidences: the weights were fitted to synthetic songs
_GRID_S = 0.5
_MIN_CHORDS = 8
_PHRASE_CHORDS = 8  # chord intervals per phrase: four bars of two chords, or eight bars of one chord
_CHORD_SHARPNESS = 16.0  # inverse temperature of the softmax over chords
_MAJOR, _MINOR = slice(0, 12), slice(12, 24)
_TRIADS = np.array(
    [np.isin(np.arange(12), [(root + step) % 12 for step in (0, third, 7)]) for third in (4, 3) for root in range(12)]
) / np.sqrt(3)


@dataclass(frozen=True)
class Key:
    """Key of a track. ``key``: 0 = C to 11 = B. ``mode``: 1 = major, 0 = minor. Confidences are from 0 to 1."""

    key: int
    key_confidence: float
    mode: int
    mode_confidence: float


def compute_key_features(harmony: CumulativeChroma, chords_s: Float64Array) -> Float64Array:
    """Compute the features of a track, (24, 12). Each row has 12 shares, by pitch class or by chord root, C first.

    The rows are shares of the following, in the order of `KEY_WEIGHTS`:

    * all notes; low notes; major chords; minor chords (4 rows);
    * major chords, and minor chords, that follow a major chord a fifth above (2 rows);
    * chord roots that follow a root 1, 2 … 11 semitones below (11 rows);
    * major chords, and minor chords, at the starts of phrases (2 rows);
    * all notes, and low notes, in the first six seconds of sound (2 rows);
    * all notes, and low notes, in the last six seconds of sound (2 rows);
    * passing notes, as in a melody (1 row).

    The shares of major and minor chords in one line of this list add up to 1. The shares of the 11 rows of chord roots
    add up to 1. The shares of every row of notes add up to 1. If there is nothing to count, they are 0.

    Parameters
    ----------
    harmony
        Cumulative chroma of the track.
    chords_s
        Possible times of chord changes in s, ascending, e.g. every half bar. If there are eight or fewer times, a grid
        of half seconds replaces them. Eight intervals form a phrase. The first phrase begins where sound begins.
    """
    first, last = float(harmony.time_s[0]), float(harmony.time_s[-1])
    grid = chords_s if len(chords_s) > _MIN_CHORDS else np.arange(first, last + _GRID_S, _GRID_S)
    sums = np.maximum(np.diff(harmony.sum_until(grid), axis=0), 0)
    everything, bass = sums[:, :12], sums[:, 12:]
    norm = np.sqrt(np.sum(everything**2, axis=1, keepdims=True))
    unit = np.divide(everything, norm, out=np.zeros_like(everything), where=norm > 0)
    low = bass / np.maximum(bass.max(axis=1, keepdims=True), 1e-9)
    similarity = unit @ _TRIADS.T + 0.25 * np.concatenate([low, low], axis=1)
    chord = np.exp(_CHORD_SHARPNESS * (similarity - similarity.max(axis=1, keepdims=True)))
    chord /= chord.sum(axis=1, keepdims=True)
    chord[norm[:, 0] <= 0] = 0
    root = chord[:, :12] + chord[:, 12:]
    before, after = chord[:-1], chord[1:]
    falling_fifths = [np.sum(np.roll(before[:, :12], -7, axis=1) * after[:, m], axis=0) for m in (_MAJOR, _MINOR)]
    moves = [np.sum(np.roll(root[:-1], up, axis=1) * root[1:], axis=0) for up in range(1, 12)]
    sounding = np.flatnonzero(norm[:, 0] > 0.02 * norm.max()) if len(norm) else np.zeros(0, np.int64)
    phrases, ends = np.zeros((2, 12)), np.zeros((4, 12))
    if len(sounding):
        phrases = chord[sounding[0] :: _PHRASE_CHORDS].sum(axis=0).reshape(2, 12)
        start, end = float(grid[sounding[0]]), float(grid[sounding[-1] + 1])
        bounds = harmony.sum_until(np.array([start, start + _START_S, end - _END_S, end]))
        ends[0:2] = (bounds[1] - bounds[0]).reshape(2, 12)
        ends[2:4] = (bounds[3] - bounds[2]).reshape(2, 12)
    groups = [unit.sum(axis=0)[None], low.sum(axis=0)[None], chord.sum(axis=0).reshape(2, 12), np.stack(falling_fifths)]
    groups += [np.stack(moves), phrases, *ends[:, None], _find_passing_notes(harmony, grid, everything)[None]]
    return np.concatenate([group / max(float(group.sum()), 1e-9) for group in groups])


def _find_passing_notes(harmony: CumulativeChroma, grid: Float64Array, everything: Float64Array) -> Float64Array:
    """Return the strength of passing notes by pitch class, (12,).

    The excess of a pitch class is its share in a segment minus its share in the chord interval that contains the middle
    of the segment. Positive excesses are multiplied by the duration of the segment and summed over the segments.
    """
    time_s, segments = harmony.time_s, np.diff(harmony.total[:, :12], axis=0)
    interval = np.clip(np.searchsorted(grid, (time_s[:-1] + time_s[1:]) / 2) - 1, 0, len(everything) - 1)
    short, long = (sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9) for sums in (segments, everything))
    duration: Float64Array = np.sum(np.maximum(short - long[interval], 0) * np.diff(time_s)[:, None], axis=0)
    return duration


def transpose_features(features: Float64Array) -> Float64Array:
    """Transpose key features to each of the 12 tonics. Return (12, k), one row per tonic.

    In a row, every group of 12 shares starts with the share of the tonic.
    """
    return np.stack([np.roll(features, -tonic, axis=1).ravel() for tonic in range(12)])


def find_key(features: Float64Array) -> Key:
    """Choose the tonic and mode with the highest score. ``features`` is the result of `compute_key_features`."""
    score = transpose_features(features) @ KEY_WEIGHTS.T
    probability = np.exp(_INVERSE_TEMPERATURE * (score - score.max()))
    probability /= probability.sum()
    key, mode = np.unravel_index(int(np.argmax(score)), score.shape)
    tonic = float(probability[key].sum())
    # scale the confidences so that a uniform distribution over tonics or modes gives confidence 0
    key_confidence = max(0.0, (tonic - 1 / 12) * 12 / 11)
    return Key(int(key), key_confidence, int(mode), float(probability[key, mode]) / tonic * 2 - 1)
