"""Estimate the chord of each beat from beat chroma, with a small network and a conditional random field over the beats.

The network scores the chords of a beat from the chroma of the beat and its neighbours. It sees the chroma relative to
each of the 12 roots, with the same weights for all roots. So a transposed track gets the transposed chords. The random
field knows how readily chords change at bar lines, in the middle of bars and at other beats, and which chord follows
which. `reprise.jobs._shipped_models.fit_chords` fits both.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.analysis import chord_weights
from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.errors import InputError
from reprise.lib.text import PITCH_CLASSES

ESTIMATOR = "context-network-1"
"""Name and version of the estimator. With a new version, `estimate-chords` estimates the chords of all tracks again."""

NO_CHORD = "N"
ROOTS = tuple(name.replace("♯", "#").replace("♭", "b") for name in PITCH_CLASSES)
QUALITIES = ("maj", "min", "7", "maj7", "min7")
CHORDS = (*(f"{root}:{quality}" for root in ROOTS for quality in QUALITIES), NO_CHORD)
"""Names of all chords that are told apart: for each root the chords of `QUALITIES`, and at the end no chord.

The syntax is that of Harte et al., Symbolic representation of musical chords, ISMIR 2005.
"""

CONTEXT_BEATS = 3
"""The network sees this many beats before a beat, and as many after it."""

BAR_LINE, MID_BAR, OTHER_BEAT = range(3)
"""Places of a beat in its bar: at its start, exactly in its middle, elsewhere."""

_N_ROOTS, _N_QUALITIES = len(ROOTS), len(QUALITIES)
_MAJOR, _MINOR = [0, 2, 3], [1, 4]  # indices of QUALITIES: chords with a major third, chords with a minor third
_IMPOSSIBLE = -20.0  # log probability of a chord in a silent beat
_BATCH_BEATS = 4096  # one batch of the network needs 13 MB


@dataclass(frozen=True)
class Network:
    """Weights of the network, float32.

    Attributes
    ----------
    hidden, hidden_bias
        Shapes (k, h) and (h,), where k is the number of columns of `stack_context`: from the chroma relative to one
        root to h rectified units.
    quality, quality_bias
        Shapes (h, 5) and (5,): from the units of one root to the scores of the chords on this root.
    none, none_bias
        Shapes (h,) and (1,): from the mean units of all roots to the score of no chord.
    """

    hidden: Float32Array
    hidden_bias: Float32Array
    quality: Float32Array
    quality_bias: Float32Array
    none: Float32Array
    none_bias: Float32Array


@dataclass(frozen=True)
class Changes:
    """Parameters of the random field, float64. All but ``scale`` are added to the score of a sequence of chords.

    Attributes
    ----------
    scale
        Shape (1,), factor of the network's log probabilities.
    bias
        Shape (6,), for each beat with a chord of each quality, or with no chord.
    stay
        Shape (3, 6), for each beat at each place in the bar with the same chord as the beat before it, by quality; the
        last column is for no chord.
    follow
        Shape (5, 5, 12), for each chord after another, by the qualities of the two and the semitones between the roots,
        upwards.
    enter, leave
        Shape (5,), for each chord of a quality after no chord, and for no chord after a chord of a quality.
    """

    scale: Float64Array
    bias: Float64Array
    stay: Float64Array
    follow: Float64Array
    enter: Float64Array
    leave: Float64Array


@dataclass(frozen=True)
class Chords:
    """Chords of n beats.

    Attributes
    ----------
    names
        n names from `CHORDS`. A chord lasts until the next beat; the last chord lasts until the end of the track.
    probabilities
        float32 (n,): probability that root and third of the chord are right, whatever its seventh is. For no chord, the
        probability that there is no chord.
    """

    names: tuple[str, ...]
    probabilities: Float32Array


def estimate_chords(chroma: ArrayLike, beats_start: ArrayLike, bars_start: ArrayLike) -> Chords:
    """Estimate the chord of each beat.

    Parameters
    ----------
    chroma
        Shape (12, n), C first: chroma of each beat, as `reprise.lib.detect.chroma.beat_chroma` computes it, of a whole
        recording or of its stems with bass and harmony. Columns are scaled to a maximum of 1. A column of zeros is a
        silent beat.
    beats_start, bars_start
        Shapes (n,) and (m,), in s, ascending. ``bars_start`` is empty if the bars are unknown.

    Returns
    -------
    Chords
        First the triad with the highest probability is chosen (or no chord), then the most probable chord with this
        triad. The probability of a triad includes that of its sevenths.

    Raises
    ------
    InputError
        ``not_finite``, ``negative``, ``not_ascending`` or ``lengths_differ``: the input is damaged.
    """
    chroma, beats, bars = (np.asarray(values, dtype=np.float64) for values in (chroma, beats_start, bars_start))
    for name, values in (("chroma", chroma), ("beats_start", beats), ("bars_start", bars)):
        if not np.isfinite(values).all():
            raise InputError("not_finite", f"{name} contains NaN or infinite values")
    if chroma.shape != (_N_ROOTS, len(beats)):
        raise InputError("lengths_differ", f"chroma of shape {chroma.shape} does not match {len(beats)} beats")
    if (chroma < 0).any():
        raise InputError("negative", "chroma contains negative values")
    for name, times in (("beats_start", beats), ("bars_start", bars)):
        if np.any(np.diff(times) < 0):
            raise InputError("not_ascending", f"{name} must be ascending, but a time is smaller than the one before it")
    if not len(beats):
        return Chords((), np.zeros(0, np.float32))
    network, changes, calibration = _load_weights()
    log_probability = score_chords(stack_context(chroma), network)
    return choose_chords(smooth(log_probability, find_places(beats, bars), changes), calibration)


def stack_context(chroma: Float64Array) -> Float32Array:
    """Return the input of the network, (n, 96): chroma of the beat's neighbours and the beat, and the track's mean."""
    peak = chroma.max(axis=0)
    scaled = np.divide(chroma, peak, out=np.zeros(chroma.shape), where=peak > 0).T.astype(np.float32)
    mean = scaled.mean(axis=0)
    mean /= max(float(mean.max()), 1e-9)
    padded = np.pad(scaled, ((CONTEXT_BEATS, CONTEXT_BEATS), (0, 0)))
    windows = [padded[first : first + len(scaled)] for first in range(2 * CONTEXT_BEATS + 1)]
    return np.concatenate([*windows, np.broadcast_to(mean, scaled.shape)], axis=1)


def relate_to_roots(hidden: Float32Array) -> Float32Array:
    """Return the weights (k, 12 h) that see the chroma relative to each root, from those for one root, (k, h)."""
    groups = hidden.reshape(-1, _N_ROOTS, hidden.shape[1])
    return np.stack([np.roll(groups, root, axis=1) for root in range(_N_ROOTS)], axis=2).reshape(len(hidden), -1)


def score_chords(context: Float32Array, network: Network) -> Float64Array:
    """Return the network's log probability of each chord of `CHORDS` for each beat, (n, 61), from `stack_context`.

    A silent beat has no chord, whatever its neighbours are.
    """
    hidden, bias = relate_to_roots(network.hidden), np.tile(network.hidden_bias, _N_ROOTS)
    scores = np.empty((len(context), len(CHORDS)))
    for first in range(0, len(context), _BATCH_BEATS):
        batch = slice(first, first + _BATCH_BEATS)
        units = np.maximum(context[batch] @ hidden + bias, 0).reshape(-1, _N_ROOTS, len(network.hidden_bias))
        scores[batch, :-1] = (units @ network.quality + network.quality_bias).reshape(len(units), -1)
        scores[batch, -1] = units.mean(axis=1) @ network.none + network.none_bias
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    beat = slice(CONTEXT_BEATS * _N_ROOTS, (CONTEXT_BEATS + 1) * _N_ROOTS)
    scores[~context[:, beat].any(axis=1)] = np.append(np.full(len(CHORDS) - 1, _IMPOSSIBLE), 0.0)
    return scores


def find_places(beats_s: Float64Array, bars_s: Float64Array) -> Int64Array:
    """Return the place of each beat in its bar, (n,): `BAR_LINE`, `MID_BAR` or `OTHER_BEAT`.

    A bar begins at the beat that is nearest to its start, and the last bar is as long as most bars. Beats before the
    first bar are `OTHER_BEAT`.
    """
    places = np.full(len(beats_s), OTHER_BEAT)
    if not len(bars_s) or not len(beats_s):
        return places
    lines = np.unique(np.searchsorted((beats_s[1:] + beats_s[:-1]) / 2, bars_s))
    lengths = np.diff(lines)
    lengths = np.append(lengths, np.median(lengths) if len(lengths) else 0).astype(np.int64)
    middles = (lines + lengths // 2)[lengths % 2 == 0]
    places[middles[middles < len(beats_s)]] = MID_BAR
    places[lines] = BAR_LINE
    return places


def make_potentials(changes: Changes) -> Float64Array:
    """Return the score of each chord after each other, by the place of the second beat: (3, 61, 61)."""
    root, quality = np.divmod(np.arange(len(CHORDS) - 1), _N_QUALITIES)
    scores = np.zeros((3, len(CHORDS), len(CHORDS)))
    up = (root[None] - root[:, None]) % _N_ROOTS
    scores[:, :-1, :-1] = changes.follow[quality[:, None], quality[None], up]
    scores[:, -1, :-1] = changes.enter[quality]
    scores[:, :-1, -1] = changes.leave[quality]
    same = np.arange(len(CHORDS))
    scores[:, same, same] += changes.stay[:, np.append(quality, _N_QUALITIES)]
    return scores


def smooth(log_probability: Float64Array, places: Int64Array, changes: Changes) -> Float64Array:
    """Return the probability of each chord for each beat, given the network's scores of all beats, (n, 61).

    This is the forward–backward algorithm.
    """
    bias = np.append(np.tile(changes.bias[:-1], _N_ROOTS), changes.bias[-1])
    score = changes.scale * log_probability + bias
    evidence = np.exp(score - score.max(axis=1, keepdims=True))
    potentials = np.exp(make_potentials(changes))
    forward, backward = np.empty_like(evidence), np.ones_like(evidence)
    forward[0] = evidence[0]
    for beat in range(1, len(evidence)):
        forward[beat] = (forward[beat - 1] @ potentials[places[beat]]) * evidence[beat]
        forward[beat] /= forward[beat].sum()
    for beat in range(len(evidence) - 1, 0, -1):
        backward[beat - 1] = potentials[places[beat]] @ (evidence[beat] * backward[beat])
        backward[beat - 1] /= backward[beat - 1].sum()
    probability: Float64Array = forward * backward
    probability /= probability.sum(axis=1, keepdims=True)
    return probability


def choose_chords(probability: Float64Array, calibration: Float64Array) -> Chords:
    """Choose the chord of each beat from the probabilities of all chords, (n, 61). `estimate_chords` says how.

    The random field is too sure of its choice. ``calibration``, (2,), are factor and summand of the log odds that make
    the probability of the chosen triads equal to the share of right ones.
    """
    by_root = probability[:, :-1].reshape(-1, _N_ROOTS, _N_QUALITIES)
    triads = np.stack([by_root[:, :, thirds].sum(axis=2) for thirds in (_MAJOR, _MINOR)], axis=2)
    totals = np.concatenate([triads.reshape(len(probability), -1), probability[:, -1:]], axis=1)
    choice = totals.argmax(axis=1)
    names = []
    for beat, triad in enumerate(choice):
        root, minor = divmod(int(triad), 2)
        if root == _N_ROOTS:
            names.append(NO_CHORD)
            continue
        thirds = _MINOR if minor else _MAJOR
        quality = thirds[int(by_root[beat, root, thirds].argmax())]
        names.append(CHORDS[root * _N_QUALITIES + quality])
    best = np.clip(totals[np.arange(len(choice)), choice], 1e-6, 1 - 1e-6)
    log_odds = calibration[0] * np.log(best / (1 - best)) + calibration[1]
    return Chords(tuple(names), (1 / (1 + np.exp(-log_odds))).astype(np.float32))


@lru_cache(maxsize=1)
def _load_weights() -> tuple[Network, Changes, Float64Array]:
    w = chord_weights
    network = Network(
        *(np.asarray(values, dtype=np.float32) for values in (
            w.HIDDEN, w.HIDDEN_BIAS, w.QUALITY, w.QUALITY_BIAS, w.NONE, w.NONE_BIAS,
        ))
    )  # fmt: skip
    return network, Changes(w.SCALE, w.BIAS, w.STAY, w.FOLLOW, w.ENTER, w.LEAVE), w.CALIBRATION
