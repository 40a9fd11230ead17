"""Beats: pulses are tracked at every tempo that the onsets repeat at, and the one that beats like a beat is chosen."""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import fft, ndimage

from reprise.lib.analysis.frames import FRAME_RATE, N_RANGES
from reprise.lib.analysis.pitches import Harmony
from reprise.lib.analysis.weights import PULSE_WEIGHTS
from reprise.lib.arrays import Float32Array, Float64Array, Int16Array, Int64Array

SLOWEST_BPM, FASTEST_BPM = 50.0, 220.0
_SPAN = 0.16  # how far a distance between beats may be from the usual one, as a share of it
_STEADINESS = 80.0  # what a change of that distance costs, by its logarithm, beside onset strength of spread 1
_REACH = 4  # steps of a frame or so that one change may have
_ACF_FRAMES = 2048  # 24 s of which each autocorrelation is made
_LONGEST_S = 8.0
_PERIODS = 5  # the strongest, from which related ones follow
_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3, 1.5, 2 / 3, 4.0, 0.25)
# where in the beat the second eighth falls, straight or swung; a beat found may be such an eighth, or a sixteenth
_FEELS = ((0.5, (0.0, 0.5, 0.25, 0.75)), (0.64, (0.0, 0.36)))
_FEWEST = 4  # beats
_FAINTEST = 0.004  # spread of onset strength, below which nothing begins
_USUAL_BPM = 115.0
_PRIOR = 0.5  # beside the weights: costs composed songs nothing, and takes real ones at 130 rather than at 65
_CAUTION = 0.25  # music at large is less like the songs that the weights come from than they are like each other


@dataclass(frozen=True)
class Onsets:
    """Onset strengths of n frames: of each range (n, 3) and of all (n,), each of spread 1; where they begin and end.

    ``acf`` is the autocorrelation of all, by lag in frames, 1 at 0.
    """

    ranges: Float64Array
    all: Float64Array
    acf: Float64Array
    first: int
    last: int

    def near(self, at: Float64Array) -> Float64Array:
        """The strongest of all within a frame of these frames, shape of ``at``."""
        strongest: Float64Array = np.max(self.all[self.place(at)[..., None] + np.arange(-1, 2)], axis=-1)
        return strongest

    def place(self, at: Float64Array) -> Int64Array:
        """The nearest frames that have neighbours."""
        return np.clip(np.round(at).astype(np.int64), 1, len(self.all) - 2)


@dataclass(frozen=True)
class Pulse:
    """A candidate: its beats in frames (may lie between two), and what describes it."""

    beats: Float64Array
    features: Float64Array


@dataclass(frozen=True)
class Beats:
    """The pulse that was chosen: beats in frames, its tempo, and how sure that is the tempo, 0 to 1."""

    beats: Float64Array
    tempo_bpm: float
    confidence: float


def prepare_onsets(rise: Float32Array, level_db: Float32Array) -> Onsets | None:
    """Onset strengths without their slow changes, and where music begins and ends; None where nothing begins."""
    ranges = np.zeros((len(rise), N_RANGES))
    around = max(1, round(0.8 * FRAME_RATE))
    for part in range(N_RANGES):
        strength = ndimage.uniform_filter1d(rise[:, part].astype(np.float64), 3, mode="constant")
        ranges[:, part] = np.maximum(strength - ndimage.uniform_filter1d(strength, around, mode="nearest"), 0)
    spread = ranges.std(axis=0)
    ranges = ranges / np.where(spread > 1e-6, spread, 1)
    together = ranges @ np.array([0.8, 1.0, 0.7])
    loud = np.flatnonzero((level_db > max(float(level_db.max()) - 45, -55)) & (together > 0))
    if rise.std(axis=0).max() < _FAINTEST or len(loud) < 2 or loud[-1] - loud[0] < FRAME_RATE:
        return None
    together /= float(together.std())
    if np.count_nonzero(np.diff((together > 0.5).astype(np.int8)) > 0) < _FEWEST:
        return None
    return Onsets(ranges, together, _correlate(together), int(loud[0]), int(loud[-1]))


def _correlate(strength: Float64Array) -> Float64Array:
    """Mean of the autocorrelations of overlapping stretches, so that a tempo that wanders does not blur it."""
    longest = round(_LONGEST_S * FRAME_RATE) + 2
    total = np.zeros(longest)
    for first in range(0, max(len(strength) - _ACF_FRAMES // 2, 1), _ACF_FRAMES // 2):
        part = strength[first : first + _ACF_FRAMES]
        part = part - part.mean()
        power = np.abs(fft.rfft(part, 2 * _ACF_FRAMES)) ** 2
        total += fft.irfft(power)[:longest] / np.maximum(_ACF_FRAMES - np.arange(longest), 1) * len(part)
    return total / total[0] if total[0] > 0 else total


def find_pulses(onsets: Onsets, harmony: Harmony) -> list[Pulse]:
    """Candidates: at each period that onsets repeat at, and its multiples and parts, on the beat and off it."""
    pulses: list[Pulse] = []
    for period in _find_periods(onsets.acf):
        for second, shifts in _FEELS:
            beats = track_pulse(onsets.all[onsets.first : onsets.last + 1], period, second) + onsets.first
            if len(beats) < _FEWEST:
                continue
            steps = np.append(np.diff(beats), beats[-1] - beats[-2])
            for shift in shifts:
                moved = beats + shift * steps
                if shift and moved[0] - steps[0] > onsets.first - 2:
                    moved = np.concatenate([[moved[0] - steps[0]], moved])
                moved = moved[(moved <= onsets.last + 2) & (moved >= 0)]
                if len(moved) >= _FEWEST:
                    pulses.append(Pulse(moved, describe_pulse(onsets, harmony, moved)))
    return pulses


def choose_pulse(pulses: list[Pulse]) -> Beats | None:
    """Choose the pulse that one would tap along with; None of none."""
    if not pulses:
        return None
    tempo = np.array([60 * FRAME_RATE * (len(p.beats) - 1) / (p.beats[-1] - p.beats[0]) for p in pulses])
    score = np.stack([pulse.features for pulse in pulses]) @ PULSE_WEIGHTS - _PRIOR * np.log2(tempo / _USUAL_BPM) ** 2
    likely = np.exp(_CAUTION * (score - score.max()))
    likely /= likely.sum()
    best = int(np.argmax(score))
    same = np.abs(np.log(tempo / tempo[best])) < 0.04
    return Beats(pulses[best].beats, float(tempo[best]), float(likely[same].sum()))


def _find_periods(acf: Float64Array) -> list[float]:
    lags = np.geomspace(60 / FASTEST_BPM, 60 / SLOWEST_BPM, 240) * FRAME_RATE
    place = np.arange(len(acf))
    score = np.sum([np.interp(lags * k, place, acf) / k for k in (1, 2, 3, 4)], axis=0)
    peaks = np.flatnonzero((score[1:-1] > score[:-2]) & (score[1:-1] >= score[2:])) + 1
    best = lags[peaks[np.argsort(-score[peaks], kind="stable")]][:_PERIODS]
    found: list[float] = []
    for ratio in _RATIOS:
        for lag in best * ratio:
            slow_enough = 60 / FASTEST_BPM * FRAME_RATE <= lag <= 60 / SLOWEST_BPM * FRAME_RATE
            if slow_enough and all(abs(np.log(lag / other)) > 0.04 for other in found):
                found.append(float(lag))
    return found


def track_pulse(strength: Float64Array, period: float, second: float) -> Float64Array:
    """Frames of the beats about ``period`` frames apart that lie on the strongest onsets at a steady tempo.

    The best path over beats and their distances, as in Ellis, Beat tracking by dynamic programming, Journal of New
    Music Research 36(1), 2007; but it is changes of the distance that cost, as in Krebs, Böck & Widmer, An efficient
    state-space model for joint tempo and meter tracking, ISMIR 2015: so a beat does not slip to where onsets are
    stronger for a while, and a tempo may drift.
    """
    smooth = ndimage.gaussian_filter1d(strength, max(period / 24, 1.0), mode="constant")
    # where the eighth between counts as much, it cannot draw the beat to itself where the beat is not struck
    place = np.arange(len(strength))
    smooth = smooth + (1.0 if second == 0.5 else 0.8) * np.interp(place + second * period, place, smooth, right=0.0)
    steps = np.unique(np.round(period * np.linspace(1 - _SPAN, 1 + _SPAN, 64)).astype(np.int64))
    steps = steps[steps > 0]
    return _track(smooth / max(float(smooth.std()), 1e-9), steps, float(period), _STEADINESS).astype(np.float64)


@njit(cache=True, nogil=True)
def _track(strength: Float64Array, steps: Int64Array, period: float, steadiness: float) -> Int64Array:
    count, widths = len(strength), len(steps)
    cost = np.empty((widths, widths))
    for one in range(widths):
        for two in range(widths):
            cost[one, two] = steadiness * abs(np.log(steps[one] / steps[two]))
    # best sum of strengths up to a beat at a frame, by the distance to the beat before, and the distance before that
    total = np.empty((count, widths), np.float32)
    source = np.full((count, widths), -1, np.int16)
    for now in range(count):
        for one in range(widths):
            before = now - steps[one]
            best, where = 0.0, -1
            if before >= 0:
                best = -np.inf
                for two in range(max(0, one - _REACH), min(widths, one + _REACH + 1)):
                    value = total[before, two] - cost[one, two]
                    if value > best:
                        best, where = value, two
            total[now, one] = strength[now] + best
            source[now, one] = where
    return _retrace(total, source, steps, int(period))


@njit(cache=True, nogil=True)
def _retrace(total: Float32Array, source: Int16Array, steps: Int64Array, period: int) -> Int64Array:
    """The best path's beats: the last stands in the last period; from there back."""
    count, widths = total.shape
    at, step, best = count - 1, 0, -np.inf
    for now in range(max(0, count - period), count):
        for one in range(widths):
            if total[now, one] > best:
                at, step, best = now, one, total[now, one]
    beats = np.empty(count // max(steps[0], 1) + 2, np.int64)
    size = 0
    while at >= 0:
        beats[size] = at
        size += 1
        following = source[at, step]
        at -= steps[step]
        if following < 0:
            break
        step = following
    return beats[:size][::-1].copy()


def describe_pulse(onsets: Onsets, harmony: Harmony, beats: Float64Array) -> Float64Array:
    """What the chooser goes by: how strong onsets are on beats and between, what alternates, where chords change."""
    steps = np.diff(beats)
    period = float(np.median(steps))
    inside = np.arange(12) / 12
    places = beats[:-1, None] + steps[:, None] * inside
    near = onsets.place(places)
    features: list[float] = []
    parts = [onsets.ranges[:, part] for part in range(N_RANGES)]
    for strength in parts:
        peak = np.maximum(np.maximum(strength[near - 1], strength[near]), strength[near + 1])
        mean = float(peak.mean()) + 1e-6
        profile = peak.mean(axis=0) / mean
        features += [float(np.log(profile[j] + 0.1)) for j in (0, 3, 6, 9, 4, 8)]
        features += [
            _contrast(peak[:, 0], 2),
            _contrast(peak[:, 6], 2),
            _contrast(peak[:, 0], 4),
            _contrast(peak[:, 0], 3),
        ]
    low, middle, high = (strength[near[:, 0]] - float(strength[near[:, 0]].mean()) for strength in parts)
    sign = np.where(np.arange(len(steps)) % 2, -1.0, 1.0)
    a, b, c = (float(np.mean(sign * one)) / (float(np.abs(one).mean()) + 1e-6) for one in (low, middle, high))
    features += [a * b, a * c, b * c]
    width = steps / FRAME_RATE
    change = np.stack([harmony.change(places[:, j] / FRAME_RATE, width) for j in (0, 3, 6, 9)], axis=1)
    mean = float(change.mean()) + 1e-6
    features += [float(np.log(change[:, j].mean() / mean + 0.1)) for j in range(4)]
    features += [
        _contrast(change[:, 0], 2),
        _contrast(change[:, 0], 3),
        _contrast(change[:, 0], 4),
        float(np.log(mean + 0.01)),
    ]
    lags = period * np.array([0.25, 1 / 3, 0.5, 1, 1.5, 2, 3, 4, 6])
    features += np.interp(lags, np.arange(len(onsets.acf)), onsets.acf).tolist()
    octave = float(np.log2(60 * FRAME_RATE / period / _USUAL_BPM))
    features += [octave, octave**2, float(np.std(np.log(steps)))]
    return np.array(features)


def _contrast(values: Float64Array, every: int) -> float:
    """How far the strongest of each ``every`` stands out, on average: 0 for not at all."""
    count = len(values) // every * every
    if not count:
        return 0.0
    means = values[:count].reshape(-1, every).mean(axis=0)
    return float((means.max() - means.mean()) / (means.mean() + 1e-6))
