"""Bars and tatums: which beats bars begin with, and what beats divide into."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.analysis.beats import Onsets
from reprise.lib.analysis.frames import FRAME_RATE, N_RANGES
from reprise.lib.analysis.pitches import Harmony
from reprise.lib.analysis.weights import BAR_WEIGHTS
from reprise.lib.arrays import Float64Array, Int64Array

METERS = (4, 3)
_ENOUGH = 48  # beats, below which there is less to go by
_CAUTION = 0.4  # music at large is less like the songs that the weights come from than they are like each other


@dataclass(frozen=True)
class Bars:
    """``beats``: the beats that bars begin with; confidences, 0 to 1, of the meter and of where the bars begin."""

    meter: int
    beats: Int64Array
    meter_confidence: float
    phase_confidence: float


def find_bars(onsets: Onsets, harmony: Harmony, beats: Float64Array) -> Bars:
    """Choose the meter, and the beat that bars begin with."""
    hypotheses, features = describe_bars(onsets, harmony, beats)
    score = features @ BAR_WEIGHTS
    likely = np.exp(_CAUTION * (score - score.max()))
    likely /= likely.sum()
    meter, phase = hypotheses[int(np.argmax(score))]
    of_meter = np.array([other == meter for other, _ in hypotheses])
    sure = float(likely[of_meter].sum())
    share = min(1.0, len(beats) / _ENOUGH)
    return Bars(
        meter=meter,
        beats=np.arange(phase, len(beats), meter),
        meter_confidence=share * max(0.0, 2 * sure - 1),
        phase_confidence=share * float(likely.max()) / sure,
    )


def halve_bars(bars: Bars, beats: Float64Array) -> Float64Array:
    """Where chords may change: each half bar of four beats, each bar of three."""
    every = 2 if bars.meter == 4 else bars.meter
    return beats[bars.beats[0] % every :: every]


def divide_beats(onsets: Onsets, beats: Float64Array) -> Float64Array:
    """Tatums, in frames: as many to a beat as onsets between the beats tell."""
    steps = np.diff(beats)

    def strength(*shares: float) -> float:
        return float(np.mean([onsets.near(beats[:-1] + share * steps).mean() for share in shares]))

    half, thirds, quarters = strength(1 / 2), strength(1 / 3, 2 / 3), strength(1 / 4, 3 / 4)
    division = 2
    if thirds > 1.2 * max(half, quarters):
        division = 3
    elif quarters > 0.75 * half and quarters > 0.35 * strength(0):
        division = 4
    return np.interp(np.arange(division * (len(beats) - 1) + 1) / division, np.arange(len(beats)), beats)


def describe_bars(onsets: Onsets, harmony: Harmony, beats: Float64Array) -> tuple[list[tuple[int, int]], Float64Array]:
    """Hypotheses (beats a bar, first beat that begins one) and the features of each, shape (hypotheses, k)."""
    near = onsets.place(beats)
    steps = np.append(np.diff(beats), beats[-1] - beats[-2]) / FRAME_RATE
    at_s = beats / FRAME_RATE
    measures = [np.max(onsets.ranges[near[:, None] + np.arange(-1, 2), part], axis=1) for part in range(N_RANGES)]
    measures += [harmony.change(at_s, steps), harmony.change(at_s, 2 * steps)]
    period = float(np.median(np.diff(beats)))
    three, four = np.interp([3 * period, 4 * period], np.arange(len(onsets.acf)), onsets.acf)
    hypotheses, rows = [], []
    for meter in METERS:
        triple = float(meter == 3)
        for phase in range(meter):
            row = [triple, triple * (three - four)]
            place = (np.arange(len(beats)) - phase) % meter
            for values in measures:
                mean = float(values.mean()) + 1e-6
                profile = [float(values[place == p].mean()) / mean for p in range(meter)]
                row.append(profile[0] - float(np.mean(profile[1:])))
                row.append(0.0 if meter == 3 else profile[2] - 0.5 * (profile[1] + profile[3]))
                row.append(triple * row[-2])
            hypotheses.append((meter, phase))
            rows.append(row)
    return hypotheses, np.array(rows)
