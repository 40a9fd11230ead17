"""Find the meter, the first beat of each bar, and the tatums, which are the subdivisions of beats."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.analysis.beats import Onsets
from reprise.lib.analysis.frames import FRAME_RATE, N_RANGES
from reprise.lib.analysis.pitches import CumulativeChroma
from reprise.lib.analysis.weights import BAR_WEIGHTS
from reprise.lib.arrays import Float64Array, Int64Array

METERS = (4, 3)
_FULL_CONFIDENCE_BEATS = 48  # with fewer beats than this, confidences are reduced in proportion to the number of beats
_INVERSE_TEMPERATURE = 0.4  # below 1, to lower the confidences: the weights were fitted to synthetic songs


@dataclass(frozen=True)
class Bars:
    """Bars of a track.

    Attributes
    ----------
    meter
        Beats per bar.
    beats
        Indices of the beats that begin a bar.
    meter_confidence, phase_confidence
        Confidences of the meter and of the choice of the first beats, from 0 to 1.
    """

    meter: int
    beats: Int64Array
    meter_confidence: float
    phase_confidence: float


def find_bars(onsets: Onsets, harmony: CumulativeChroma, beats: Float64Array) -> Bars:
    """Choose the meter and the beats that begin bars. ``beats`` are positions in frames."""
    hypotheses, features = compute_bar_features(onsets, harmony, beats)
    score = features @ BAR_WEIGHTS
    probability = np.exp(_INVERSE_TEMPERATURE * (score - score.max()))
    probability /= probability.sum()
    meter, phase = hypotheses[int(np.argmax(score))]
    has_meter = np.array([other == meter for other, _ in hypotheses])
    meter_probability = float(probability[has_meter].sum())
    scale = min(1.0, len(beats) / _FULL_CONFIDENCE_BEATS)
    return Bars(
        meter=meter,
        beats=np.arange(phase, len(beats), meter),
        meter_confidence=scale * max(0.0, 2 * meter_probability - 1),
        phase_confidence=scale * float(probability.max()) / meter_probability,
    )


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
    near = onsets.nearest_frames(beats)
    intervals_s = np.append(np.diff(beats), beats[-1] - beats[-2]) / FRAME_RATE
    beats_s = beats / FRAME_RATE
    measures = [np.max(onsets.ranges[near[:, None] + np.arange(-1, 2), i], axis=1) for i in range(N_RANGES)]
    measures += [harmony.change_at(beats_s, intervals_s), harmony.change_at(beats_s, 2 * intervals_s)]
    period = float(np.median(np.diff(beats)))
    three, four = np.interp([3 * period, 4 * period], np.arange(len(onsets.acf)), onsets.acf)
    hypotheses, rows = [], []
    for meter in METERS:
        triple = float(meter == 3)
        for phase in range(meter):
            row = [triple, triple * (three - four)]
            position = (np.arange(len(beats)) - phase) % meter
            for values in measures:
                mean = float(values.mean()) + 1e-6
                profile = [float(values[position == p].mean()) / mean for p in range(meter)]
                row.append(profile[0] - float(np.mean(profile[1:])))
                row.append(0.0 if meter == 3 else profile[2] - 0.5 * (profile[1] + profile[3]))
                row.append(triple * row[-2])
            hypotheses.append((meter, phase))
            rows.append(row)
    return hypotheses, np.array(rows)
