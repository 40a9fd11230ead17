"""Key and mode, from which pitch classes and chords sound, and with which a song begins and ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise.lib.audio.fitted import KEY_WEIGHTS
from reprise.lib.audio.pitches import Harmony

Doubles = NDArray[np.float64]

_END_S = 6.0  # at the end of the sound, whose harmony counts by itself
_START_S = 6.0
_CAUTION = 0.5  # music at large is less like the songs that the weights come from than they are like each other
_GRID_S = 0.5
_FEWEST = 8
_SHARPNESS = 16.0  # how much the best chord is believed
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


def describe_harmony(harmony: Harmony, chords_s: Doubles) -> Doubles:
    """Features of a track, (10, 12): each row 12 shares, by pitch class or by root of a chord, C first.

    They are: all notes; low notes; major chords; minor chords; major and minor chords that a chord a fifth above leads
    to; all and low notes of the first six seconds that sound, and of the last.

    Parameters
    ----------
    chords_s
        When chords may change, ascending, e.g. every half bar; where there are few, every half second.
    """
    first, last = float(harmony.time_s[0]), float(harmony.time_s[-1])
    grid = chords_s if len(chords_s) > _FEWEST else np.arange(first, last + _GRID_S, _GRID_S)
    total = harmony.until(grid)
    parts = np.maximum(np.diff(total, axis=0), 0)
    everything, bass = parts[:, :12], parts[:, 12:]
    norm = np.sqrt(np.sum(everything**2, axis=1, keepdims=True))
    clear = np.divide(everything, norm, out=np.zeros_like(everything), where=norm > 0)
    deep = bass / np.maximum(bass.max(axis=1, keepdims=True), 1e-9)
    likeness = clear @ _TRIADS.T + 0.25 * np.concatenate([deep, deep], axis=1)
    chord = np.exp(_SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
    chord /= chord.sum(axis=1, keepdims=True)
    chord[norm[:, 0] <= 0] = 0
    moves = np.zeros((2, 12))
    # how often a chord a fifth above leads home: to a major, and to a minor chord
    before, after = chord[:-1], chord[1:]
    moves[0] = np.sum(np.roll(before[:, :12], -7, axis=1) * after[:, :12], axis=0)
    moves[1] = np.sum(np.roll(before[:, :12], -7, axis=1) * after[:, 12:], axis=0)
    sounding = np.flatnonzero(norm[:, 0] > 0.02 * norm.max()) if len(norm) else np.zeros(0, np.int64)
    ends = np.zeros((4, 12))
    if len(sounding):
        start, end = float(grid[sounding[0]]), float(grid[sounding[-1] + 1])
        ends[0:2] = (harmony.until(np.array([start + _START_S])) - harmony.until(np.array([start]))).reshape(2, 12)
        ends[2:4] = (harmony.until(np.array([end])) - harmony.until(np.array([end - _END_S]))).reshape(2, 12)
    groups = [clear.sum(axis=0)[None], deep.sum(axis=0)[None], chord.sum(axis=0).reshape(2, 12), moves, *ends[:, None]]
    return np.concatenate([group / max(float(group.sum()), 1e-9) for group in groups])


def find_key(features: Doubles) -> Key:
    """Choose the tonic and mode that what `describe_harmony` found speaks for most."""
    turned = np.stack([np.roll(features, -tonic, axis=1).ravel() for tonic in range(12)])
    score = turned @ KEY_WEIGHTS.T
    likely = np.exp(_CAUTION * (score - score.max()))
    likely /= likely.sum()
    key, mode = np.unravel_index(int(np.argmax(score)), score.shape)
    # an even choice among twelve, or between two, is no confidence
    tonic = float(likely[key].sum())
    return Key(int(key), max(0.0, (tonic - 1 / 12) * 12 / 11), int(mode), float(likely[key, mode]) / tonic * 2 - 1)
