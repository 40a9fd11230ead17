"""How good and how fast the chords are, on songs of POP909 that took no part in the fit, with every soundfont."""

import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
from measuring import Row

from reprise.jobs._shipped_models.rendered_midi import list_songs, list_soundfonts, read_chords, render_midi
from reprise.lib.analysis.analyser import analyse
from reprise.lib.analysis.chords import NO_CHORD, ROOTS, estimate_chords
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.detect.chroma import beat_chroma

POP909 = Path(__file__).resolve().parents[3] / "shared" / "data" / "midi" / "pop909"
OTHER_TEMPOS, EVERY = (0.75, 1.3), 5
"""Every fifth song is also rendered at these tempos."""

METRICS = ("majmin", "root", "sevenths")
CREMA_QUALITIES = (
    *("maj", "min", "aug", "dim", "7", "maj6", "maj7", "min6", "min7", "minmaj7", "dim7", "hdim7", "sus2", "sus4"),
)
CREMA_ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
CREMA_HZ, CREMA_HOP, CREMA_BINS, CREMA_BINS_PER_OCTAVE = 44_100, 4096, 216, 36

Estimate = Callable[[Float32Array, dict[str, Any], Float32Array], Sequence[str]]
"""Names of the chords of the beats, from signal, analysis and beat chroma."""


def estimate_ours(signal: Float32Array, analysis: dict[str, Any], chroma: Float32Array) -> Sequence[str]:
    """The estimator of the product."""
    return estimate_chords(chroma, analysis["beats_start"], analysis["bars_start"]).names


def match_templates(signal: Float32Array, analysis: dict[str, Any], chroma: Float32Array) -> Sequence[str]:
    """For each beat by itself, the triad whose three tones have the most of its chroma."""
    names = [f"{root}:{quality}" for root in ROOTS for quality in ("maj", "min")]
    tones = np.array([mir_eval.chord.encode(name)[1] for name in names])
    up = np.repeat(np.arange(12), 2)
    triads = np.array([np.roll(row, root) for row, root in zip(tones, up, strict=True)])
    found = (triads @ chroma).argmax(axis=0)
    return [names[i] if sounds else NO_CHORD for i, sounds in zip(found, chroma.max(axis=0) > 0, strict=True)]


def load_crema() -> Estimate | None:
    """Crema's network (McFee & Bello 2017), if it and TensorFlow are installed: its mean tags over our beats.

    Its smoothing over time is stored as a pickle, which is not read.
    """
    if not all(importlib.util.find_spec(name) for name in ("crema", "tf_keras", "tensorflow")):
        return None
    import librosa
    import soxr
    import tensorflow as tf
    import tf_keras

    class SqueezeLayer(tf_keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, axis: int = -1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.axis = axis

        def call(self, x: Any) -> Any:
            return tf.squeeze(x, axis=self.axis)

    spec = importlib.util.find_spec("crema")
    assert spec
    assert spec.submodule_search_locations
    weights = Path(spec.submodule_search_locations[0], "models", "chord", "model.h5")
    model = tf_keras.models.load_model(weights, custom_objects={"SqueezeLayer": SqueezeLayer}, compile=False)
    output = next(name for name in model.output_names if "tag" in name)
    names = sorted([*(f"{r}:{q}" for r, q in product(CREMA_ROOTS, CREMA_QUALITIES)), "N", "X"])

    def estimate(signal: Float32Array, analysis: dict[str, Any], chroma: Float32Array) -> Sequence[str]:
        loud = soxr.resample(signal, SAMPLE_RATE, CREMA_HZ)
        planes = [
            librosa.amplitude_to_db(
                np.abs(
                    librosa.cqt(
                        loud, sr=CREMA_HZ, hop_length=CREMA_HOP, fmin=harmonic * librosa.note_to_hz("C1"),
                        n_bins=CREMA_BINS, bins_per_octave=CREMA_BINS_PER_OCTAVE,
                    )
                ),
                ref=np.max,
            ).T
            for harmonic in (1, 2)
        ]  # fmt: skip
        answer = dict(zip(model.output_names, model.predict(np.stack(planes, axis=-1)[None], verbose=0), strict=True))
        tags = answer[output][0]
        edges = np.append(analysis["beats_start"], analysis["duration"]) * CREMA_HZ / CREMA_HOP
        bounds = np.clip(np.round(edges).astype(int), 0, len(tags) - 1)
        return [names[int(tags[first : max(end, first + 1)].mean(axis=0).argmax())] for first, end in pairwise(bounds)]

    return estimate


def score(names: Sequence[str], analysis: dict[str, Any], true_s: Float64Array, truth: Sequence[str]) -> list[float]:
    """Compare the chords of the beats with the true ones: share of the time, by `METRICS` of mir_eval."""
    edges = np.append(analysis["beats_start"], max(analysis["duration"], analysis["beats_start"][-1] + 0.01))
    intervals, labels = mir_eval.util.adjust_intervals(
        np.column_stack([edges[:-1], edges[1:]]), list(names), true_s.min(), true_s.max(), NO_CHORD, NO_CHORD
    )
    merged, reference, estimate = mir_eval.util.merge_labeled_intervals(true_s, list(truth), intervals, labels)
    seconds = mir_eval.util.intervals_to_durations(merged)
    return [
        mir_eval.chord.weighted_accuracy(getattr(mir_eval.chord, metric)(reference, estimate), seconds)
        for metric in METRICS
    ]


def calibrate(
    analysis: dict[str, Any], chroma: Float32Array, true_s: Float64Array, truth: Sequence[str]
) -> Float64Array:
    """Probability of each beat's chord and whether its triad is right in the middle of the beat, (n, 2).

    Beats with a chord that `majmin` does not compare are left out.
    """
    beats = np.asarray(analysis["beats_start"])
    found = estimate_chords(chroma, beats, analysis["bars_start"])
    middles = (beats + np.append(beats[1:], analysis["duration"])) / 2
    index = np.searchsorted(true_s[:, 0], middles, side="right") - 1
    inside = (index >= 0) & (middles < true_s[index, 1])
    names = [truth[i] if is_inside else NO_CHORD for i, is_inside in zip(index, inside, strict=True)]
    right = mir_eval.chord.majmin(names, list(found.names))
    compared: Float64Array = np.column_stack([found.probabilities, right])[right >= 0]
    return compared


def measure_chords() -> list[Row]:
    """Figures by estimator and tempo; calibration error: mean gap between probability and share of right beats."""
    estimators: dict[str, Estimate] = {"ours": estimate_ours, "plain templates": match_templates}
    if crema := load_crema():
        estimators["crema's network"] = crema
    scores: dict[tuple[str, float], list[list[float]]] = defaultdict(list)
    seconds: dict[tuple[str, float], list[float]] = defaultdict(list)
    beats: dict[float, list[Float64Array]] = defaultdict(list)
    for number, path in enumerate(list_songs(POP909, reports=True)):
        for factor in (1.0, *(OTHER_TEMPOS if number % EVERY == 0 else ())):
            true_s, truth = read_chords(path, factor)
            for font in list_soundfonts():
                signal = render_midi(path, font, factor)
                minutes = len(signal) / SAMPLE_RATE / 60
                start = time.process_time()
                analysis = analyse(signal)
                chroma = beat_chroma(
                    analysis["segments_pitches"],
                    analysis["segments_loudness_start"],
                    analysis["segments_start"],
                    analysis["beats_start"],
                )
                shared_s = time.process_time() - start
                beats[factor].append(calibrate(analysis, chroma, true_s, truth))
                for name, estimate in estimators.items():
                    start = time.process_time()
                    names = estimate(signal, analysis, chroma)
                    seconds[name, factor].append((shared_s + time.process_time() - start) / minutes)
                    scores[name, factor].append(score(names, analysis, true_s, truth))
    rows: list[Row] = []
    for (name, factor), some in scores.items():
        gap = f"{_calibration_error(np.concatenate(beats[factor])):.3f}" if name == "ours" else ""
        rows.append({
            "chords": f"{name}, tempo × {factor}",
            "renderings": len(some),
            **dict(zip(("majmin (goal 0.75)", *METRICS[1:]), np.mean(some, axis=0).tolist(), strict=True)),
            "calibration error": gap,
            "CPU s a minute of audio, analysis included (goal 0.5)": float(np.median(seconds[name, factor])),
        })  # fmt: skip
    return rows


def _calibration_error(beats: Float64Array) -> float:
    probability, right = beats.T
    bins = np.minimum((probability * 10).astype(int), 9)
    return float(
        sum((bins == b).mean() * abs(probability[bins == b].mean() - right[bins == b].mean()) for b in np.unique(bins))
    )
