"""Find the meter, the first beat of each bar, and the tatums, which are the subdivisions of beats."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit

from reprise.lib.analysis.beats import Onsets, apply_network
from reprise.lib.analysis.frames import FRAME_RATE, N_RANGES
from reprise.lib.analysis.pitches import CumulativeChroma
from reprise.lib.analysis.weights import BAR_WEIGHTS, DOWNBEAT_HIDDEN, DOWNBEAT_OUTPUT
from reprise.lib.arrays import Float64Array, Int64Array

METERS = (4, 3)
_FULL_CONFIDENCE_BEATS = 48  # with fewer beats than this, confidences are reduced in proportion to the number of beats
_INVERSE_TEMPERATURE = 0.4  # below 1, to lower the confidences: the weights were fitted to synthetic songs


_BAR_LENGTH_COST = 6.0
"""Cost of a bar of two or six beats in 4/4, in log odds. All other bars have the beats of the meter."""
_CONTEXT_BEATS = 4  # beats before and after a beat whose strengths are features
_CONTEXT_BARS = 4  # bars before and after a beat over which strengths at the same place in the bar are averaged
_LOCAL_BEATS = 17  # strengths are relative to their mean over this number of beats


@dataclass(frozen=True)
class Bars:
    """Bars of a track.

    Attributes
    ----------
    meter
        Beats per bar. Where a track leaves out or inserts half a bar, a bar in 4/4 can have two or six beats.
    beats
        Shape (n,), indices of the beats that begin a bar.
    meter_confidence
        Confidence of the meter, from 0 to 1.
    confidences
        Shape (n,), confidence that each of ``beats`` begins a bar, from 0 to 1.
    """

    meter: int
    beats: Int64Array
    meter_confidence: float
    confidences: Float64Array


def find_bars(onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array) -> Bars:
    """Choose the meter and the beats that begin bars. ``beats`` are positions in frames."""
    hypotheses, features = compute_bar_features(onsets, harmony, beats)
    score = features @ BAR_WEIGHTS
    probability = np.exp(_INVERSE_TEMPERATURE * (score - score.max()))
    probability /= probability.sum()
    meter, _ = hypotheses[int(np.argmax(score))]
    has_meter = np.array([other == meter for other, _ in hypotheses])
    features = compute_downbeat_features(onsets, harmony, beats, meter)
    log_odds = apply_network(features, DOWNBEAT_HIDDEN, DOWNBEAT_OUTPUT)
    first_beats = find_downbeats(log_odds, meter)
    scale = min(1.0, len(beats) / _FULL_CONFIDENCE_BEATS)
    return Bars(
        meter=meter,
        beats=first_beats,
        meter_confidence=scale * max(0.0, 2 * float(probability[has_meter].sum()) - 1),
        confidences=scale * expit(log_odds[first_beats]),
    )


def find_downbeats(log_odds: Float64Array, meter: int) -> Int64Array:
    """Return the indices of the beats that begin bars, such that the sum of their log odds minus costs is highest.

    Before the first bar and after the beginning of the last bar, there are fewer beats than in a bar.
    """
    lengths = ((4, 0.0), (2, _BAR_LENGTH_COST), (6, _BAR_LENGTH_COST)) if meter == 4 else ((meter, 0.0),)
    total, source = log_odds.copy(), np.full(len(log_odds), -1)
    for beat in range(len(log_odds)):
        steps = [(total[beat - n] - cost, beat - n) for n, cost in lengths if beat >= n]
        # a path can begin only in the first bar
        if steps and (beat >= meter or max(steps)[0] > 0):
            best, source[beat] = max(steps)
            total[beat] += best
    last = max(0, len(total) - meter)
    path = [last + int(np.argmax(total[last:]))]
    while source[path[-1]] >= 0:
        path.append(int(source[path[-1]]))
    return np.array(path[::-1])


def list_chord_boundaries(bars: Bars, beats: Float64Array) -> Float64Array:
    """Return the possible positions of chord changes, in frames: every half bar in 4/4, every bar in 3/4."""
    n_beats = 2 if bars.meter == 4 else bars.meter
    return beats[bars.beats[0] % n_beats :: n_beats]


def find_tatums(onsets: Onsets, beats: Float64Array) -> Float64Array:
    """Return the positions of the tatums in frames, from the first to the last beat.

    The number of tatums per beat is the same in the whole track: two, three or four, depending on the onsets between
    beats.
    """
    intervals = np.diff(beats)

    def strength(*fractions: float) -> float:
        return float(np.mean([onsets.strength_at(beats[:-1] + f * intervals).mean() for f in fractions]))

    half, thirds, quarters = strength(1 / 2), strength(1 / 3, 2 / 3), strength(1 / 4, 3 / 4)
    division = 2
    if thirds > 1.2 * max(half, quarters):
        division = 3
    elif quarters > 0.75 * half and quarters > 0.35 * strength(0):
        division = 4
    return np.interp(np.arange(division * (len(beats) - 1) + 1) / division, np.arange(len(beats)), beats)


def compute_bar_features(
    onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array
) -> tuple[list[tuple[int, int]], Float64Array]:
    """Return all hypotheses about the bars, and the features of each hypothesis.

    A hypothesis is a tuple (beats per bar, index of the first beat that begins a bar). The features are an array of
    shape (hypotheses, 17), with columns in the order of `BAR_WEIGHTS`.
    """
    measures = _measure_beats(onsets, harmony, beats)
    period = float(np.median(np.diff(beats)))
    three, four = np.interp([3 * period, 4 * period], np.arange(len(onsets.acf)), onsets.acf)
    hypotheses, rows = [], []
    for meter in METERS:
        triple = float(meter == 3)
        for phase in range(meter):
            row = [triple, triple * (three - four)]
            position = (np.arange(len(beats)) - phase) % meter
            for values in measures.T:
                mean = float(values.mean()) + 1e-6
                profile = [float(values[position == p].mean()) / mean for p in range(meter)]
                row.append(profile[0] - float(np.mean(profile[1:])))
                row.append(0.0 if meter == 3 else profile[2] - 0.5 * (profile[1] + profile[3]))
                row.append(triple * row[-2])
            hypotheses.append((meter, phase))
            rows.append(row)
    return hypotheses, np.array(rows)


def compute_downbeat_features(
    onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array, meter: int
) -> Float64Array:
    """Compute the features of each beat that say whether it begins a bar, (beats, 86).

    The columns have the order of the rows of `DOWNBEAT_HIDDEN`: the relative strengths of the beat and of its
    neighbours, then the means over the beats at the same place in the bar and at other places, once over the
    neighbouring bars and once over the track, then 1 for a meter of 3.
    """
    strengths = _measure_beats(onsets, harmony, beats)
    relative = strengths / (ndimage.uniform_filter1d(strengths, _LOCAL_BEATS, axis=0, mode="nearest") + 1e-3) - 1
    columns = [_shift(relative, by) for by in range(-_CONTEXT_BEATS, _CONTEXT_BEATS + 1)]
    place = np.arange(len(beats)) % meter
    kernel = np.zeros(2 * _CONTEXT_BARS * meter + 1)
    kernel[::meter] = 1 / (2 * _CONTEXT_BARS + 1)
    of_track = np.stack([relative[place == p].mean(axis=0) for p in range(meter) if p in place])[place]
    for means in (ndimage.convolve1d(relative, kernel, axis=0, mode="constant"), of_track):
        columns += [_shift(means, by) for by in (0, 1, 2, -1)]
    return np.hstack([*columns, np.full((len(beats), 1), float(meter == 3))])


def _measure_beats(onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array) -> Float64Array:
    """Return onset strengths in the frequency ranges, and chord changes over one and over two beats: (beats, 5)."""
    near = onsets.nearest_frames(beats)
    intervals_s = np.append(np.diff(beats), beats[-1] - beats[-2]) / FRAME_RATE
    beats_s = beats / FRAME_RATE
    measures = [np.max(onsets.ranges[near[:, None] + np.arange(-1, 2), i], axis=1) for i in range(N_RANGES)]
    measures += [harmony.change_at(beats_s, intervals_s), harmony.change_at(beats_s, 2 * intervals_s)]
    return np.stack(measures, axis=1)


def _shift(values: Float64Array, by: int) -> Float64Array:
    """Return rows such that row i is row ``i + by`` of ``values``, or 0 where there is none. At most 4 rows."""
    padded = np.pad(values, ((_CONTEXT_BEATS, _CONTEXT_BEATS), (0, 0)))
    return padded[_CONTEXT_BEATS + by : _CONTEXT_BEATS + by + len(values)]
