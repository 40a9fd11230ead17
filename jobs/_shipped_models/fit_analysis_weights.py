"""Fit the weights of the analysis: ``python -m reprise.jobs._shipped_models.fit_analysis_weights > …/weights.py``.

The analysis chooses beats, bars and key by softmax regressions over candidates. All regressions are fitted to rendered
songs of the plans with the seeds ``RENDERED_SEEDS``. ``bench_analysis`` evaluates them on songs of another plan. The
training data of the key regression also include single tones and chords, and many songs without audio, whose chroma is
computed from their notes.
The script takes half an hour on one core, mostly for rendering.
"""

import argparse
import sys
from collections.abc import Iterator

import mir_eval
import numpy as np
import soxr
from scipy.optimize import minimize

from reprise.lib.analysis import beats, frames, key, meter, pitches, segments
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.music import sample
from reprise.lib.music.compose.plan import NORMAL
from reprise.lib.music.render import render

ChoiceExample = tuple[Float64Array, Float64Array]
"""Features of n candidates, shape (n, k), and labels, shape (n,): 1 for a correct candidate, 0 for a wrong one."""
KeyExample = tuple[Float64Array, int, int]
"""Features for each tonic, shape (12, k), the true mode and the true tonic."""

RENDERED_SEEDS, NOTES_SEEDS = (11, 12, 13), (101, 102, 103)
SONGS_PER_NOTES_SEED = 3800
TONICS = 12
BASS_PITCH_LIMIT = 50
"""Notes with a MIDI pitch below this value count as bass notes."""
HEAD = '''"""Fitted weights of the features that determine the choice of beats, bars and key.

They have the order of the features of `compute_beat_features`, `compute_bar_features` and `compute_key_features`.
`reprise.jobs._shipped_models.fit_analysis_weights` fits them to composed songs: do not edit them by hand.
"""

import numpy as np
'''


def render_mono(song: sample.Composition) -> Float32Array:
    """Render a song as a mono signal (samples,) at 22,050 Hz, rounded to 16 bits: the input of the analysis."""
    mix = np.sum(list(render(song).values()), axis=0).mean(axis=1)
    signal: Float32Array = np.round(soxr.resample(mix, 44_100, SAMPLE_RATE) * 32767).astype(np.float32) / 32768
    return signal


def score_beats(true_s: Float64Array, found_s: Float64Array) -> float:
    """Return the F-measure of the estimated beat times ``found_s``, compared with the true ones.

    As in mir_eval by default, the tolerance is 70 ms, and beats in the first 5 s are ignored.
    """
    trim = mir_eval.beat.trim_beats
    return float(mir_eval.beat.f_measure(trim(true_s), trim(found_s)))


def compose_songs(seed: int, count: int) -> Iterator[sample.Composition]:
    """Compose the first ``count`` normal songs of the plan with this seed: songs with beats that are not very short."""
    plan = sample.SamplePlan(4000, seed=seed)
    for index in [i for i in range(plan.n_tracks) if plan.track(i).state == NORMAL][:count]:
        yield sample.compose(plan, index)


def make_examples(
    song: sample.Composition, signal: Float32Array
) -> tuple[ChoiceExample | None, ChoiceExample | None, KeyExample]:
    """Analyse a rendered song and return its training examples for beats, bars and key.

    The examples for beats and bars are None if the signal has too few onsets, or if no candidate has an F-measure
    of at least 0.85.
    """
    signal_frames = frames.measure_frames(signal)
    starts_s = segments.find_segments(signal_frames).start / frames.FRAME_RATE
    chroma = pitches.estimate_chroma(pitches.collect_peaks(signal, starts_s))
    harmony = pitches.accumulate_chroma(chroma, starts_s, len(signal) / SAMPLE_RATE)
    onsets = beats.prepare_onsets(signal_frames.onset_strength, signal_frames.level_db)
    if onsets is None:
        return None, None, make_key_example(song, harmony)
    candidates = beats.find_beat_candidates(onsets, harmony)
    scores = np.array([score_beats(song.beat_s, candidate.beats / frames.FRAME_RATE) for candidate in candidates])
    if scores.max() < 0.85:
        return None, None, make_key_example(song, harmony)
    best_beats = candidates[int(np.argmax(scores))].beats
    downbeat = int(np.argmin(np.abs(best_beats[:, None] / frames.FRAME_RATE - song.bar_s[None, 2:3])))
    hypotheses, features = meter.compute_bar_features(onsets, harmony, best_beats)
    is_correct = [float(m == song.track.meter and phase == downbeat % m) for m, phase in hypotheses]
    return (
        (np.stack([candidate.features for candidate in candidates]), (scores > scores.max() - 0.05).astype(float)),
        (features, np.array(is_correct)),
        make_key_example(song, harmony),
    )


def make_key_example(song: sample.Composition, harmony: pitches.CumulativeChroma) -> KeyExample:
    """Return the key example of a song: the key features for each tonic, the true mode and the true tonic."""
    chords_s = song.beat_s[:: 2 if song.track.meter == 4 else 3]
    return key.transpose_features(key.compute_key_features(harmony, chords_s)), song.track.mode, song.track.key


def make_chord_examples() -> list[KeyExample]:
    """Make key examples, each of a single tone or a single chord, whose key is obvious.

    They are needed because no composed song is that simple.
    """
    examples = []
    for mode, tones in ((1, (0,)), (1, (0, 4, 7)), (0, (0, 3, 7))):
        sounding = np.zeros((20, 12), dtype=np.float32)
        sounding[:, tones] = 1
        for bass in (sounding, np.zeros_like(sounding)):
            harmony = pitches.accumulate_chroma(pitches.Chroma(sounding, bass), np.arange(20.0), 20.0)
            examples.append((key.transpose_features(key.compute_key_features(harmony, np.arange(20.0))), mode, 0))
    return examples


def simulate_harmony(song: sample.Composition, rng: np.random.Generator) -> pitches.CumulativeChroma:
    """Compute the chroma of a song from its notes instead of from audio, one chroma vector for each sixteenth note.

    Noise is added, about as much as in the chroma of rendered audio.
    """
    notes, count = song.notes, len(song.cell_s) - 1
    pitched = notes.part > 0
    pitch, cell = notes.pitch[pitched], notes.cell[pitched]
    gain = np.array([0, 0.8, 0.75, 1.0]) * np.exp(0.6 * rng.standard_normal(4))
    energy = (gain[notes.part[pitched]] * notes.velocity[pitched]) ** 2
    sustained = energy * np.array([instrument.sustain for instrument in song.instruments])[notes.part[pitched]] ** 2
    chroma = np.zeros((2, count, 12))
    for row, in_range in enumerate((np.ones(len(pitch), dtype=bool), pitch < BASS_PITCH_LIMIT)):
        size, on = (count + 1) * 12, cell[in_range] * 12 + pitch[in_range] % 12
        off = np.minimum(notes.end_cell[pitched][in_range], count) * 12 + pitch[in_range] % 12
        changes = np.bincount(on, sustained[in_range], size) - np.bincount(off, sustained[in_range], size)
        struck = np.bincount(on, (energy - sustained)[in_range], size).reshape(-1, 12)
        for delay in range(3):
            chroma[row, delay:] += 0.5**delay * struck[: count - delay]
        chroma[row] += np.maximum(np.cumsum(changes.reshape(-1, 12), axis=0), 0)[:count]
    chroma *= np.exp(0.6 * rng.standard_normal(chroma.shape))
    chroma += 0.003 * chroma.max() * np.exp(rng.standard_normal()) * rng.random(chroma.shape)
    everything, bass = chroma.astype(np.float32)
    return pitches.accumulate_chroma(pitches.Chroma(everything, bass), song.cell_s[:-1], float(song.cell_s[-1]))


def fit_choices(examples: list[ChoiceExample], shrinkage: float) -> Float64Array:
    """Fit the weights (k,) of a softmax over candidates.

    The probability of an example is the total probability of its correct candidates. The fit maximises the sum of the
    log probabilities of the examples, minus the sum of the squared weights times ``shrinkage``. During the fit, each
    feature is divided by its standard deviation. The returned weights belong to the original features.
    """
    spread = np.concatenate([features for features, _ in examples[:400]]).std(axis=0) + 1e-9
    counts = np.array([len(features) for features, _ in examples])
    rows = np.concatenate([(features / spread).astype(np.float32) for features, _ in examples])
    correct, starts = np.concatenate([correct for _, correct in examples]), np.append(0, np.cumsum(counts)[:-1])

    def compute_loss(w: Float64Array) -> tuple[float, Float64Array]:
        score = (rows @ w.astype(np.float32)).astype(np.float64)
        score -= np.repeat(np.maximum.reduceat(score, starts), counts)
        probability = np.exp(score)
        probability /= np.repeat(np.add.reduceat(probability, starts), counts)
        joint = probability * correct
        total = np.add.reduceat(joint, starts) + 1e-300
        residual = joint / np.repeat(total, counts) - probability
        gradient = 2 * shrinkage * w - (residual.astype(np.float32) @ rows)
        return float(shrinkage * w @ w - np.log(total).sum()), gradient

    optimum = minimize(compute_loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 150})
    weights: Float64Array = optimum.x / spread
    return weights


def fit_keys(examples: list[KeyExample], shrinkage: float) -> Float64Array:
    """Fit the weights (2, k) of a softmax over the 24 keys, one row for each mode. `fit_choices` explains the fit.

    The candidates of a song are the 12 tonics in both modes. The features of two tonics differ only by a transposition.
    """
    rows = np.concatenate([features.astype(np.float32) for features, _, _ in examples])
    spread = rows.std(axis=0) + 1e-9
    rows /= spread
    correct = np.zeros((len(examples), TONICS, 2))
    for row, (_, mode, tonic) in zip(correct, examples, strict=True):
        row[tonic, mode] = 1

    def compute_loss(w: Float64Array) -> tuple[float, Float64Array]:
        score = (rows @ w.reshape(2, -1).T.astype(np.float32)).reshape(correct.shape).astype(np.float64)
        score -= score.max(axis=(1, 2), keepdims=True)
        probability = np.exp(score)
        probability /= probability.sum(axis=(1, 2), keepdims=True)
        residual = (correct - probability).reshape(-1, 2).T.astype(np.float32) @ rows
        loss = float(shrinkage * w @ w - np.log(probability[correct > 0] + 1e-300).sum())
        return loss, 2 * shrinkage * w - residual.ravel()

    start = np.zeros(2 * rows.shape[1])
    optimum = minimize(compute_loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weights: Float64Array = optimum.x.reshape(2, -1) / spread
    return weights


def print_weights(name: str, weights: Float64Array) -> None:
    """Print weights as Python source. Lines are as wide as the formatter permits."""
    print(f"{name} = np.array([")
    texts = [f"{value:.4g}" for value in weights.ravel()]
    while texts:
        line = "   "
        while texts and len(line) + len(texts[0]) + 2 < 119:
            line += f" {texts.pop(0)},"
        print(line)
    print("])" + (f".reshape{weights.shape}" if weights.ndim > 1 else "") + "  # fmt: skip")


def main() -> int:
    """Make the examples, fit the weights and print ``weights.py``."""
    parser = argparse.ArgumentParser(description="Fit the weights of the analysis.")
    parser.add_argument("--songs", type=int, default=95, help="number of songs to render per plan (default: 95)")
    count = parser.parse_args().songs
    rendered = []
    for seed in RENDERED_SEEDS:
        for song in compose_songs(seed, count):
            rendered.append(make_examples(song, render_mono(song)))
            print(f"\r{len(rendered)} songs", end="", file=sys.stderr)
    simulated = []
    for seed in NOTES_SEEDS:
        rng = np.random.default_rng(seed)
        songs = compose_songs(seed, SONGS_PER_NOTES_SEED)
        simulated += [make_key_example(song, simulate_harmony(song, rng)) for song in songs]
    fit_and_print(rendered, simulated)
    return 0


def fit_and_print(
    rendered: list[tuple[ChoiceExample | None, ChoiceExample | None, KeyExample]], simulated: list[KeyExample]
) -> None:
    """Fit all weights and print them as the source of ``weights.py``."""
    print(HEAD)
    print_weights("BEAT_WEIGHTS", fit_choices([beat for beat, _, _ in rendered if beat], 2.0))
    print_weights("BAR_WEIGHTS", fit_choices([bar for _, bar, _ in rendered if bar], 3.0))
    key_examples = [*(example for _, _, example in rendered), *simulated, *make_chord_examples() * 20]
    print_weights("KEY_WEIGHTS", fit_keys(key_examples, 15.0))


if __name__ == "__main__":
    sys.exit(main())
