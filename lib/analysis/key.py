"""Key and mode, from which notes and chords sound, which follow which, and which phrases and the song begin with."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.analysis.pitches import Harmony
from reprise.lib.analysis.weights import KEY_WEIGHTS
from reprise.lib.arrays import Float64Array

_END_S = 6.0  # at the end of the sound, whose harmony counts by itself
_START_S = 6.0
_CAUTION = 0.5  # music at large is less like the songs that the weights come from than they are like each other
_GRID_S = 0.5
_FEWEST = 8
_PHRASE = 8  # chords: four bars of two, or eight bars of one
_SHARPNESS = 16.0  # how much the best chord is believed
_MAJOR, _MINOR = slice(0, 12), slice(12, 24)
_TRIADS = np.array(
    [np.isin(np.arange(12), [(root + step) % 12 for step in (0, third, 7)]) for third in (4, 3) for root in range(12)]
) / np.sqrt(3)


@dataclass(frozen=True)
class Key:
    """``key``: 0 = C to 11 = B; ``mode``: 1 major, 0 minor; confidences 0 to 1."""

    key: int
    key_confidence: float
    mode: int
    mode_confidence: float


def describe_harmony(harmony: Harmony, chords_s: Float64Array) -> Float64Array:
    """Features of a track, (24, 12): each row 12 shares, by pitch class or by root of a chord, C first.

    They are: all notes; low notes; major chords; minor chords; major and minor chords that a chord a fifth above leads
    to; roots that a chord 1, 2 ... 11 semitones below leads to; major and minor chords that phrases begin with; all and
    low notes of the first six seconds that sound, and of the last; notes that pass, as a melody's do.

    Parameters
    ----------
    chords_s
        When chords may change, ascending, e.g. every half bar; where there are few, every half second. Eight of them
        are taken to be a phrase, from where sound begins.
    """
    first, last = float(harmony.time_s[0]), float(harmony.time_s[-1])
    grid = chords_s if len(chords_s) > _FEWEST else np.arange(first, last + _GRID_S, _GRID_S)
    parts = np.maximum(np.diff(harmony.until(grid), axis=0), 0)
    everything, bass = parts[:, :12], parts[:, 12:]
    norm = np.sqrt(np.sum(everything**2, axis=1, keepdims=True))
    clear = np.divide(everything, norm, out=np.zeros_like(everything), where=norm > 0)
    deep = bass / np.maximum(bass.max(axis=1, keepdims=True), 1e-9)
    likeness = clear @ _TRIADS.T + 0.25 * np.concatenate([deep, deep], axis=1)
    chord = np.exp(_SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
    chord /= chord.sum(axis=1, keepdims=True)
    chord[norm[:, 0] <= 0] = 0
    root = chord[:, :12] + chord[:, 12:]
    before, after = chord[:-1], chord[1:]
    home = [np.sum(np.roll(before[:, :12], -7, axis=1) * after[:, some], axis=0) for some in (_MAJOR, _MINOR)]
    moves = [np.sum(np.roll(root[:-1], up, axis=1) * root[1:], axis=0) for up in range(1, 12)]
    sounding = np.flatnonzero(norm[:, 0] > 0.02 * norm.max()) if len(norm) else np.zeros(0, np.int64)
    phrases, ends = np.zeros((2, 12)), np.zeros((4, 12))
    if len(sounding):
        phrases = chord[sounding[0] :: _PHRASE].sum(axis=0).reshape(2, 12)
        start, end = float(grid[sounding[0]]), float(grid[sounding[-1] + 1])
        ends[0:2] = (harmony.until(np.array([start + _START_S])) - harmony.until(np.array([start]))).reshape(2, 12)
        ends[2:4] = (harmony.until(np.array([end])) - harmony.until(np.array([end - _END_S]))).reshape(2, 12)
    groups = [clear.sum(axis=0)[None], deep.sum(axis=0)[None], chord.sum(axis=0).reshape(2, 12), np.stack(home)]
    groups += [np.stack(moves), phrases, *ends[:, None], _find_passing(harmony, grid, everything)[None]]
    return np.concatenate([group / max(float(group.sum()), 1e-9) for group in groups])


def _find_passing(harmony: Harmony, grid: Float64Array, everything: Float64Array) -> Float64Array:
    """How long each pitch class stands out of what sounds between two chord changes: (12,)."""
    time_s, heard = harmony.time_s, np.diff(harmony.total[:, :12], axis=0)
    place = np.clip(np.searchsorted(grid, (time_s[:-1] + time_s[1:]) / 2) - 1, 0, len(everything) - 1)
    short, long = (part / np.maximum(part.sum(axis=1, keepdims=True), 1e-9) for part in (heard, everything))
    found: Float64Array = np.sum(np.maximum(short - long[place], 0) * np.diff(time_s)[:, None], axis=0)
    return found


def turn_features(features: Float64Array) -> Float64Array:
    """What `describe_harmony` found as each tonic hears it, the tonic first in every row: (12, k)."""
    return np.stack([np.roll(features, -tonic, axis=1).ravel() for tonic in range(12)])


def find_key(features: Float64Array) -> Key:
    """Choose the tonic and mode that what `describe_harmony` found speaks for most."""
    score = turn_features(features) @ KEY_WEIGHTS.T
    likely = np.exp(_CAUTION * (score - score.max()))
    likely /= likely.sum()
    key, mode = np.unravel_index(int(np.argmax(score)), score.shape)
    # an even choice among twelve, or between two, is no confidence
    tonic = float(likely[key].sum())
    return Key(int(key), max(0.0, (tonic - 1 / 12) * 12 / 11), int(mode), float(likely[key, mode]) / tonic * 2 - 1)
