"""Beat tracking: track beats at several candidate tempos, and choose the most likely result.

The candidate tempos come from the peaks of the onset autocorrelation.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import fft, ndimage

from reprise.lib.analysis.frames import FRAME_RATE, N_RANGES
from reprise.lib.analysis.pitches import CumulativeChroma
from reprise.lib.analysis.weights import BEAT_HIDDEN, BEAT_OUTPUT
from reprise.lib.arrays import BoolArray, Float32Array, Float64Array, Int16Array, Int64Array

MIN_BPM, MAX_BPM = 40.0, 220.0
_MAX_DEVIATION = 0.16  # largest deviation of a beat interval from the period, as a fraction of the period
_INTERVAL_CHANGE_COST = 80.0  # per unit of log interval change; the onset strength has standard deviation 1
_MAX_INTERVAL_CHANGE = 4  # largest difference between the indices of successive intervals in the list of intervals
_ACF_FRAMES = 2048  # 24 s, length of each window whose autocorrelation is computed
_MAX_LAG_S = 8.0
_N_PERIODS = 5  # number of autocorrelation peaks used; multiples and fractions of these periods are added
_PERIOD_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3, 1.5, 2 / 3, 4.0, 0.25)
# One entry for straight eighths and one for swung eighths: the position of the second eighth within the beat, and the
# shifts of the tracked beats, in beats. Shifts are needed because the tracker can follow off-beat eighths or
# sixteenths.
_SUBDIVISIONS = ((0.5, (0.0, 0.5, 0.25, 0.75)), (0.64, (0.0, 0.36)))
_MIN_BEATS = 4
_MIN_ONSET_DEVIATION = 0.004  # a signal has no onsets if all its onset strengths have a lower standard deviation
_PREFERRED_BPM = 115.0
_SAME_TEMPO = 0.04  # difference of logarithms below which two tempos count as one
_N_TEMPOS = 5  # number of different tempos that are reported
# Penalty of a candidate whose off-beats are stronger than its beats in every frequency range, and on average by this
# difference of logarithms. The network chooses such beats in some songs, because in the music to which it was fitted,
# hi-hats or snares are often on off-beats.
_OFF_BEAT_PENALTY, _OFF_BEAT_DIFFERENCE = 5.0, 0.3
# places of the logarithms of the strengths at beats and at off-beats among the features of a frequency range
_FEATURES_PER_RANGE, _BEAT_FEATURE, _OFF_BEAT_FEATURE = 10, 0, 2
_INVERSE_TEMPERATURE = 0.6  # below 1, to lower the confidences: the weights were fitted to synthesised songs


@dataclass(frozen=True)
class Onsets:
    """Onset strengths of n frames. Each series is scaled to standard deviation 1; a constant series stays 0.

    Attributes
    ----------
    ranges
        Shape (n, 3), onset strength in each frequency range.
    combined
        Shape (n,), weighted sum of the columns of ``ranges``.
    acf
        Autocorrelation of ``combined``, indexed by the lag in frames. The value at lag 0 is 1.
    first, last
        Indices of the first and the last frame with music.
    count
        Number of onsets.
    """

    ranges: Float64Array
    combined: Float64Array
    acf: Float64Array
    first: int
    last: int
    count: int

    def strength_at(self, at: Float64Array) -> Float64Array:
        """Return for each position the maximum of ``combined`` over the nearest frame and the two frames beside it."""
        strongest: Float64Array = np.max(self.combined[self.nearest_frames(at)[..., None] + np.arange(-1, 2)], axis=-1)
        return strongest

    def nearest_frames(self, at: Float64Array) -> Int64Array:
        """Return the index of the frame nearest to each position, from 1 to n - 2."""
        return np.clip(np.round(at).astype(np.int64), 1, len(self.combined) - 2)


@dataclass(frozen=True)
class BeatCandidate:
    """A candidate sequence of beats: positions in fractional frames, and the features that determine its score."""

    beats: Float64Array
    features: Float64Array


@dataclass(frozen=True)
class Beats:
    """Chosen beats.

    Attributes
    ----------
    beats
        Positions in frames.
    tempo_bpm
        Tempo of these beats.
    candidate_tempos_bpm, probabilities
        Shape (n,), different tempos of the candidates and the probability of each, the most probable first. The sum of
        the probabilities is at most 1.
    confidence
        Confidence of the tempo from 0 to 1: the probability of ``tempo_bpm``.
    """

    beats: Float64Array
    tempo_bpm: float
    candidate_tempos_bpm: Float64Array
    probabilities: Float64Array
    confidence: float


def prepare_onsets(onset_strength: Float32Array, level_db: Float32Array) -> Onsets | None:
    """Remove slow changes from the onset strengths, and find the first and the last frame with music.

    Return None if the signal has too few onsets, or if its music lasts less than one second.

    Parameters
    ----------
    onset_strength, level_db
        Fields of `reprise.lib.analysis.frames.Frames`, of shape (n, 3) and (n,).
    """
    ranges = np.zeros((len(onset_strength), N_RANGES))
    width = max(1, round(0.8 * FRAME_RATE))
    for i in range(N_RANGES):
        strength = ndimage.uniform_filter1d(onset_strength[:, i].astype(np.float64), 3, mode="constant")
        ranges[:, i] = np.maximum(strength - ndimage.uniform_filter1d(strength, width, mode="nearest"), 0)
    deviation = ranges.std(axis=0)
    ranges = ranges / np.where(deviation > 1e-6, deviation, 1)
    combined = ranges @ np.array([0.8, 1.0, 0.7])
    loud = np.flatnonzero((level_db > max(float(level_db.max()) - 45, -55)) & (combined > 0))
    if onset_strength.std(axis=0).max() < _MIN_ONSET_DEVIATION or len(loud) < 2 or loud[-1] - loud[0] < FRAME_RATE:
        return None
    combined /= float(combined.std())
    count = int(np.count_nonzero(np.diff((combined > 0.5).astype(np.int8)) > 0))
    if count < _MIN_BEATS:
        return None
    return Onsets(ranges, combined, _autocorrelate(combined), int(loud[0]), int(loud[-1]), count)


def _autocorrelate(strength: Float64Array) -> Float64Array:
    """Return the mean autocorrelation of overlapping windows of 24 s, scaled to 1 at lag 0, for lags up to 8 s.

    The windows are short, so that a slow change of tempo does not blur the peaks.
    """
    n_lags = round(_MAX_LAG_S * FRAME_RATE) + 2
    total = np.zeros(n_lags)
    for first in range(0, max(len(strength) - _ACF_FRAMES // 2, 1), _ACF_FRAMES // 2):
        window = strength[first : first + _ACF_FRAMES]
        window = window - window.mean()
        power = np.abs(fft.rfft(window, 2 * _ACF_FRAMES)) ** 2
        total += fft.irfft(power)[:n_lags] / np.maximum(_ACF_FRAMES - np.arange(n_lags), 1) * len(window)
    return total / total[0] if total[0] > 0 else total


def find_beat_candidates(onsets: Onsets, harmony: CumulativeChroma) -> list[BeatCandidate]:
    """Track beats at the strongest periods of the onsets, and at multiples and fractions of these periods.

    Each sequence of beats gives several candidates: the sequence itself and copies shifted in time. The copies are
    needed because the tracker can follow off-beats.
    """
    candidates: list[BeatCandidate] = []
    for period in _find_periods(onsets.acf):
        for eighth, shifts in _SUBDIVISIONS:
            beats = track_beats(onsets.combined[onsets.first : onsets.last + 1], period, eighth) + onsets.first
            if len(beats) < _MIN_BEATS:
                continue
            intervals = np.append(np.diff(beats), beats[-1] - beats[-2])
            for shift in shifts:
                shifted = beats + shift * intervals
                if shift and shifted[0] - intervals[0] > onsets.first - 2:
                    shifted = np.concatenate([[shifted[0] - intervals[0]], shifted])
                shifted = shifted[(shifted <= onsets.last + 2) & (shifted >= 0)]
                if len(shifted) >= _MIN_BEATS:
                    candidates.append(BeatCandidate(shifted, compute_beat_features(onsets, harmony, shifted)))
    return candidates


def choose_beats(candidates: list[BeatCandidate]) -> Beats | None:
    """Choose the candidate with the highest score. Return None if there are no candidates.

    The score is a fitted function of the features, a small network, minus a penalty for candidates whose off-beats are
    stronger than their beats in every frequency range. The confidence is the sum of the softmax
    probabilities of all candidates whose tempo is within 4 % of the chosen tempo.
    """
    if not candidates:
        return None
    tempo = np.array([60 * FRAME_RATE * (len(c.beats) - 1) / (c.beats[-1] - c.beats[0]) for c in candidates])
    features = np.stack([candidate.features for candidate in candidates])
    score = apply_network(features, BEAT_HIDDEN, BEAT_OUTPUT) - _OFF_BEAT_PENALTY * _has_stronger_off_beats(features)
    probability = np.exp(_INVERSE_TEMPERATURE * (score - score.max()))
    probability /= probability.sum()
    best = int(np.argmax(score))
    tempos, sums = _group_tempos(tempo, score, probability)
    order = np.argsort(-sums, kind="stable")[:_N_TEMPOS]
    return Beats(candidates[best].beats, float(tempo[best]), tempos[order], sums[order], float(sums[0]))


def _has_stronger_off_beats(features: Float64Array) -> BoolArray:
    """Return for each candidate whether off-beats are stronger than beats in every frequency range: (n,)."""
    profiles = features[:, : _FEATURES_PER_RANGE * N_RANGES].reshape(-1, N_RANGES, _FEATURES_PER_RANGE)
    difference = profiles[:, :, _OFF_BEAT_FEATURE] - profiles[:, :, _BEAT_FEATURE]
    is_stronger: BoolArray = (difference > 0).all(axis=1) & (difference.mean(axis=1) > _OFF_BEAT_DIFFERENCE)
    return is_stronger


def apply_network(features: Float64Array, hidden: Float64Array, output: Float64Array) -> Float64Array:
    """Return the output of a network with one hidden layer of h units for each row of ``features``, (n, k).

    ``hidden``, (k + 1, h), and ``output``, (h + 1,), are the weights of its layers, with the biases last.
    """
    result: Float64Array = np.tanh(features @ hidden[:-1] + hidden[-1]) @ output[:-1] + output[-1]
    return result


def _group_tempos(
    tempo: Float64Array, score: Float64Array, probability: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Group candidates whose tempos differ by less than 4 %.

    Return the tempo of the best candidate of each group, and the sum of the group's probabilities. The group of the
    candidate with the highest score is the first.
    """
    tempos, sums = [], []
    rest = np.argsort(-score, kind="stable")
    while len(rest):
        is_same = np.abs(np.log(tempo[rest] / tempo[rest[0]])) < _SAME_TEMPO
        tempos.append(tempo[rest[0]])
        sums.append(probability[rest[is_same]].sum())
        rest = rest[~is_same]
    return np.array(tempos), np.array(sums)


def _find_periods(acf: Float64Array) -> list[float]:
    """Return the beat periods to try, in frames, for tempos from `MIN_BPM` to `MAX_BPM`.

    The score of a period is a weighted sum of the autocorrelation at one to four times the period. The result contains
    the periods with the highest peaks of the score, and multiples and fractions of these periods.
    """
    lags = np.geomspace(60 / MAX_BPM, 60 / MIN_BPM, 240) * FRAME_RATE
    acf_lags = np.arange(len(acf))
    score = np.sum([np.interp(lags * k, acf_lags, acf) / k for k in (1, 2, 3, 4)], axis=0)
    peaks = np.flatnonzero((score[1:-1] > score[:-2]) & (score[1:-1] >= score[2:])) + 1
    strongest = lags[peaks[np.argsort(-score[peaks], kind="stable")]][:_N_PERIODS]
    periods: list[float] = []
    for ratio in _PERIOD_RATIOS:
        for lag in strongest * ratio:
            is_in_range = 60 / MAX_BPM * FRAME_RATE <= lag <= 60 / MIN_BPM * FRAME_RATE
            if is_in_range and all(abs(np.log(lag / other)) > 0.04 for other in periods):
                periods.append(float(lag))
    return periods


def track_beats(strength: Float64Array, period: float, eighth: float) -> Float64Array:
    """Return the positions of beats that are on strong onsets and about ``period`` frames apart: whole frames, float64.

    The method is dynamic programming over beats and beat intervals, as in Ellis, Beat tracking by dynamic programming,
    Journal of New Music Research 36(1), 2007. Costs penalise changes of the interval, not its deviation from the
    period, as in Krebs, Böck & Widmer, An efficient state-space model for joint tempo and meter tracking, ISMIR 2015.
    Therefore the tempo can change slowly, and beats do not jump to the off-beat where off-beat onsets are stronger.

    Parameters
    ----------
    strength
        Shape (n,), onset strength of each frame.
    period
        Expected beat interval in frames.
    eighth
        Position of the second eighth within a beat: 0.5 for straight eighths, more for swung eighths.
    """
    smooth = ndimage.gaussian_filter1d(strength, max(period / 24, 1.0), mode="constant")
    # add the strength at the second eighth to its beat, so that a beat without an onset does not move to that eighth
    frame = np.arange(len(strength))
    smooth = smooth + (1.0 if eighth == 0.5 else 0.8) * np.interp(frame + eighth * period, frame, smooth, right=0.0)
    deviations = np.linspace(1 - _MAX_DEVIATION, 1 + _MAX_DEVIATION, 64)
    intervals = np.unique(np.round(period * deviations).astype(np.int64))
    intervals = intervals[intervals > 0]
    scaled = smooth / max(float(smooth.std()), 1e-9)
    return _find_best_path(scaled, intervals, float(period), _INTERVAL_CHANGE_COST).astype(np.float64)


@njit(cache=True, nogil=True)
def _find_best_path(strength: Float64Array, intervals: Int64Array, period: float, change_cost: float) -> Int64Array:
    """Return the frame indices of the sequence of beats whose total onset strength minus costs is highest.

    Every interval between successive beats is an element of ``intervals``.
    """
    count, n_intervals = len(strength), len(intervals)
    cost = np.empty((n_intervals, n_intervals))
    for i in range(n_intervals):
        for j in range(n_intervals):
            cost[i, j] = change_cost * abs(np.log(intervals[i] / intervals[j]))
    # total[frame, i]: highest sum of a path whose last beat is at the frame and whose last interval has index i
    # source[frame, i]: index of the interval before the last interval of this path
    total = np.empty((count, n_intervals), np.float32)
    source = np.full((count, n_intervals), -1, np.int16)
    for frame in range(count):
        for i in range(n_intervals):
            previous = frame - intervals[i]
            best, best_index = 0.0, -1
            if previous >= 0:
                best = -np.inf
                for j in range(max(0, i - _MAX_INTERVAL_CHANGE), min(n_intervals, i + _MAX_INTERVAL_CHANGE + 1)):
                    value = total[previous, j] - cost[i, j]
                    if value > best:
                        best, best_index = value, j
            total[frame, i] = strength[frame] + best
            source[frame, i] = best_index
    return _trace_back(total, source, intervals, int(period))


@njit(cache=True, nogil=True)
def _trace_back(total: Float32Array, source: Int16Array, intervals: Int64Array, period: int) -> Int64Array:
    """Return the frame indices of the beats on the best path.

    The path is traced back from its last beat: the frame with the highest sum within the last period of the signal.
    """
    count, n_intervals = total.shape
    beat, index, best = count - 1, 0, -np.inf
    for frame in range(max(0, count - period), count):
        for i in range(n_intervals):
            if total[frame, i] > best:
                beat, index, best = frame, i, total[frame, i]
    beats = np.empty(count // max(intervals[0], 1) + 2, np.int64)
    size = 0
    while beat >= 0:
        beats[size] = beat
        size += 1
        previous_index = source[beat, index]
        beat -= intervals[index]
        if previous_index < 0:
            break
        index = previous_index
    return beats[:size][::-1].copy()


def compute_beat_features(onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array) -> Float64Array:
    """Compute the features of a candidate sequence of beats, (83,), in the order of the rows of `BEAT_HIDDEN`.

    The features measure the onset strength on and between beats, the alternation of strong and weak beats and its
    period in beats, chord changes and their period in beats, the autocorrelation of the onsets, the number of onsets
    per beat, the tempo, and the variation of the beat intervals. If you change the features, fit the weights again.
    """
    intervals = np.diff(beats)
    period = float(np.median(intervals))
    fractions = np.arange(12) / 12
    positions = beats[:-1, None] + intervals[:, None] * fractions
    near = onsets.nearest_frames(positions)
    features: list[float] = []
    strengths = [onsets.ranges[:, i] for i in range(N_RANGES)]
    for strength in strengths:
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
    low, middle, high = (strength[near[:, 0]] - float(strength[near[:, 0]].mean()) for strength in strengths)
    sign = np.where(np.arange(len(intervals)) % 2, -1.0, 1.0)
    a, b, c = (float(np.mean(sign * one)) / (float(np.abs(one).mean()) + 1e-6) for one in (low, middle, high))
    features += [a * b, a * c, b * c]
    width_s = intervals / FRAME_RATE
    change = np.stack([harmony.change_at(positions[:, j] / FRAME_RATE, width_s) for j in (0, 3, 6, 9)], axis=1)
    mean = float(change.mean()) + 1e-6
    features += [float(np.log(change[:, j].mean() / mean + 0.1)) for j in range(4)]
    features += [
        _contrast(change[:, 0], 2),
        _contrast(change[:, 0], 3),
        _contrast(change[:, 0], 4),
        _contrast(change[:, 0], 8),
        _contrast(change[:, 0], 16),
        float(np.log(mean + 0.01)),
        float(np.log(change[:, 0].mean() + 0.01)),
    ]
    features += _autocorrelations(change[:, 0])
    for strength in strengths:
        features += _autocorrelations(np.max(strength[near[:, :1] + np.arange(-1, 2)], axis=1))
    lags = period * np.array([0.25, 1 / 3, 0.5, 1, 1.5, 2, 3, 4, 6])
    features += np.interp(lags, np.arange(len(onsets.acf)), onsets.acf).tolist()
    octave = float(np.log2(60 * FRAME_RATE / period / _PREFERRED_BPM))
    features += [octave, octave**2, octave**3, float(np.std(np.log(intervals)))]
    seconds = (beats[-1] - beats[0]) / FRAME_RATE
    features += [float(np.log(onsets.count / len(beats))), float(np.log(onsets.count / seconds))]
    return np.array(features)


def _autocorrelations(values: Float64Array) -> list[float]:
    """Return the autocorrelation of values at beats for 1, 2, 3, 4, 6 and 8 beats; 0 if there are too few beats."""
    centred = values - values.mean()
    power = float(centred @ centred) + 1e-9
    lags = (1, 2, 3, 4, 6, 8)
    return [float(centred[:-lag] @ centred[lag:]) / power if len(values) > 2 * lag else 0.0 for lag in lags]


def _contrast(values: Float64Array, cycle: int) -> float:
    """Return how much one position in a repeating cycle of ``cycle`` values stands out.

    The values at each position are averaged over all complete cycles. If m is the mean of these averages, the contrast
    is (maximum average - m) / m. It is 0 if there are fewer than ``cycle`` values.
    """
    count = len(values) // cycle * cycle
    if not count:
        return 0.0
    means = values[:count].reshape(-1, cycle).mean(axis=0)
    return float((means.max() - means.mean()) / (means.mean() + 1e-6))
