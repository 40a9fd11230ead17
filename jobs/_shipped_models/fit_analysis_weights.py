"""Fit the weights of the analysis.

Usage: ``python -m reprise.jobs._shipped_models.fit_analysis_weights MIDI RECORDINGS SOUNDFONT... > …/weights.py``. MIDI
is the folder of POP909. RECORDINGS is a folder of audio files; each of them has a text file of the same name beside it,
with the times of its beats in seconds, one on each line. Every SOUNDFONT is a General MIDI soundfont for FluidSynth.

The analysis chooses beats, bars and key by softmax over candidates. All choices are fitted to rendered songs of the
plans with the seeds ``RENDERED_SEEDS``; those of beats and bars also to songs of POP909, rendered with each soundfont
at several tempos; those of beats also to RECORDINGS. ``docs/analysis.md`` says which recordings the shipped weights
were fitted to. ``bench_analysis`` evaluates the weights on songs of another plan, and on other songs of POP909. The
training data of the key regression also include single tones and chords, and many songs without audio, whose chroma is
computed from their notes. The script takes an hour on two cores, mostly for rendering.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import mir_eval
import numpy as np
import soxr
from scipy.optimize import minimize

from reprise.jobs._shipped_models.rendered_midi import list_songs, read_beats, render_midi
from reprise.lib.analysis import beats, frames, key, pitches, segments
from reprise.lib.analysis import meter as meter_of_bars
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.audio.decoding import decode
from reprise.lib.music import sample
from reprise.lib.music.compose.plan import NORMAL
from reprise.lib.music.render import render
from reprise.lib.music.render.soundfont import Soundfont

if TYPE_CHECKING:
    from torch import Tensor

_T = TypeVar("_T")
ChoiceExample = tuple[Float64Array, Float64Array]
"""Features of n candidates, shape (n, k), and labels, shape (n,): 1 for a correct candidate, 0 for a wrong one."""
RhythmExamples = tuple[ChoiceExample, ChoiceExample, ChoiceExample]
"""Examples for beats, bars and downbeats. Each row of the last one is a beat, and its label says whether it begins a
bar."""
KeyExample = tuple[Float64Array, int, int]
"""Features for each tonic, shape (12, k), the true mode and the true tonic."""

RENDERED_SEEDS, NOTES_SEEDS = (11, 12, 13), (101, 102, 103)
SONGS_PER_NOTES_SEED = 3800
SONGS_PER_RENDERED_SEED = 95
TEMPO_FACTORS, N_TEMPO_FACTORS = (0.75, 1.3), 4
TONICS = 12
BASS_PITCH_LIMIT = 50
"""Notes with a MIDI pitch below this value count as bass notes."""
LEARNING_RATE = 3e-3
SAME_S = 0.07
"""Largest distance of an estimated from a true time that counts as the same, as in mir_eval."""
HEAD = '''"""Fitted weights of the features that determine the choice of beats, bars and key.

They have the order of the features of `compute_beat_features`, `compute_bar_features` and `compute_key_features`.
`reprise.jobs._shipped_models.fit_analysis_weights` fits them: do not edit them by hand.
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


def make_examples(song: sample.Composition) -> tuple[RhythmExamples | None, KeyExample]:
    """Render and analyse a composed song, and return its training examples for rhythm and key."""
    rhythm, harmony = make_rhythm_examples(render_mono(song), song.beat_s, song.bar_s, song.track.meter)
    return rhythm, make_key_example(song, harmony)


def make_midi_examples(path: Path, soundfonts: Sequence[Soundfont]) -> list[RhythmExamples]:
    """Render a MIDI file with each soundfont at several tempos, and return the training examples for rhythm."""
    rng = np.random.default_rng(int(path.stem))
    examples = []
    for soundfont in soundfonts:
        for tempo_factor in rng.uniform(*TEMPO_FACTORS, N_TEMPO_FACTORS):
            signal, truth = render_midi(path, soundfont, tempo_factor), read_beats(path, tempo_factor)
            rhythm, _ = make_rhythm_examples(signal, *truth, meter=4)
            examples += [rhythm] if rhythm else []
    return examples


def make_recording_example(path: Path) -> ChoiceExample | None:
    """Return the training example for the beats of an annotated recording. None: see `make_beat_example`."""
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder, "samples.raw")
        decode(path, samples)
        found = find_candidates(np.fromfile(samples, dtype=np.float32))
    scores = score_candidates(np.loadtxt(path.with_suffix(".txt")), found.candidates)
    return make_beat_example(found.candidates, scores)


def make_rhythm_examples(
    signal: Float32Array, beats_s: Float64Array, bars_s: Float64Array, meter: int
) -> tuple[RhythmExamples | None, pitches.CumulativeChroma]:
    """Analyse a rendered song and return its training examples for beats, bars and downbeats, and its chroma.

    The examples are None if no candidate has the true beats: see `make_beat_example`.
    """
    found = find_candidates(signal)
    scores = score_candidates(beats_s, found.candidates)
    beat_example = make_beat_example(found.candidates, scores)
    if found.onsets is None or beat_example is None:
        return None, found.harmony
    best_beats = found.candidates[int(np.argmax(scores))].beats
    is_downbeat = np.abs(best_beats[:, None] / frames.FRAME_RATE - bars_s).min(axis=1) < SAME_S
    downbeat = int(np.argmin(np.abs(best_beats[:, None] / frames.FRAME_RATE - bars_s[None, 2:3])))
    hypotheses, features = meter_of_bars.compute_bar_features(found.onsets, found.harmony, best_beats)
    is_correct = [float(m == meter and phase == downbeat % m) for m, phase in hypotheses]
    downbeat_features = meter_of_bars.compute_downbeat_features(found.onsets, found.harmony, best_beats, meter)
    downbeat_example = (downbeat_features, is_downbeat.astype(float))
    return (beat_example, (features, np.array(is_correct)), downbeat_example), found.harmony


@dataclass(frozen=True)
class Found:
    """What the analysis of a signal finds before it chooses beats. Without enough onsets there are no candidates."""

    onsets: beats.Onsets | None
    harmony: pitches.CumulativeChroma
    candidates: list[beats.BeatCandidate]


def find_candidates(signal: Float32Array) -> Found:
    """Find the onsets, the chroma and the candidates for the beats of a mono signal at 22,050 Hz."""
    signal_frames = frames.measure_frames(signal)
    starts_s = segments.find_segments(signal_frames).start / frames.FRAME_RATE
    chroma = pitches.estimate_chroma(pitches.collect_peaks(signal, starts_s))
    harmony = pitches.accumulate_chroma(chroma, starts_s, len(signal) / SAMPLE_RATE)
    onsets = beats.prepare_onsets(signal_frames.onset_strength, signal_frames.level_db)
    return Found(onsets, harmony, beats.find_beat_candidates(onsets, harmony) if onsets else [])


def score_candidates(beats_s: Float64Array, candidates: Sequence[beats.BeatCandidate]) -> Float64Array:
    """Return the F-measure of each candidate, compared with the true beats: (n,)."""
    return np.array([score_beats(beats_s, candidate.beats / frames.FRAME_RATE) for candidate in candidates])


def make_beat_example(candidates: Sequence[beats.BeatCandidate], scores: Float64Array) -> ChoiceExample | None:
    """Return a training example for beats. Candidates are correct if their F-measure is near the highest.

    The result is None if no candidate has an F-measure of at least 0.85.
    """
    if scores.max(initial=0) < 0.85:
        return None
    return np.stack([candidate.features for candidate in candidates]), (scores > scores.max() - 0.05).astype(float)


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


def fit_network(
    examples: list[ChoiceExample],
    loss: "Callable[[Tensor, Tensor], Tensor]",
    *,
    units: int,
    batch: int,
    epochs: int,
    noise: float,
) -> tuple[Float64Array, Float64Array]:
    """Fit a network with one hidden layer.

    Parameters
    ----------
    examples
        Features and labels of songs.
    loss
        Function of the network's output and the labels of one example, both (n,).
    units, batch, epochs
        Number of units of the hidden layer, number of examples per step, and number of passes over all examples.
    noise
        Standard deviation of the noise that is added to the standardised features.

    Returns
    -------
    tuple
        Weights of the layers with the biases last, (k + 1, ``units``) and (``units`` + 1,).
    """
    import torch

    torch.manual_seed(0)
    rows = np.concatenate([features for features, _ in examples])
    mean, spread = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    data = [
        (torch.tensor((features - mean) / spread, dtype=torch.float32), torch.tensor(labels, dtype=torch.float32))
        for features, labels in examples
    ]
    hidden, output = torch.nn.Linear(rows.shape[1], units), torch.nn.Linear(units, 1)
    parameters = [*hidden.parameters(), *output.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, epochs)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for first in range(0, len(order), batch):
            losses = []
            for features, labels in (data[i] for i in order[first : first + batch]):
                values = torch.tanh(hidden(features + noise * torch.randn_like(features)))
                losses.append(loss(output(values)[:, 0], labels))
            optimiser.zero_grad()
            torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    weights = hidden.weight.detach().numpy().T.astype(np.float64) / spread[:, None]
    bias = hidden.bias.detach().numpy() - mean @ weights
    return np.vstack([weights, bias]), np.append(output.weight.detach().numpy()[0], output.bias.detach().numpy())


def lose_choice(score: "Tensor", correct: "Tensor") -> "Tensor":
    """Return the negative logarithm of the softmax probability that a correct candidate is chosen."""
    return score.logsumexp(0) - score[correct > 0].logsumexp(0)


def lose_downbeats(log_odds: "Tensor", is_downbeat: "Tensor") -> "Tensor":
    """Return the mean log-loss of the beats."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(log_odds, is_downbeat)


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


def collect(results: Iterable[_T], what: str) -> list[_T]:
    """Return the results as a list, and print how many there are so far."""
    collected = []
    for result in results:
        collected.append(result)
        print(f"\r{len(collected)} {what}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return collected


def main() -> int:
    """Make the examples, fit the weights and print ``weights.py``."""
    parser = argparse.ArgumentParser(description="Fit the weights of the analysis.")
    parser.add_argument("midi", type=Path, help="folder of POP909")
    parser.add_argument("recordings", type=Path, help="folder of recordings with annotated beats")
    parser.add_argument("soundfonts", nargs="+", help="General MIDI soundfonts")
    args = parser.parse_args()
    soundfonts = [Soundfont(shutil.which("fluidsynth") or "fluidsynth", path) for path in args.soundfonts]
    songs = [song for seed in RENDERED_SEEDS for song in compose_songs(seed, SONGS_PER_RENDERED_SEED)]
    scores = list_songs(args.midi, reports=False)
    with ProcessPoolExecutor() as pool:
        composed = collect(pool.map(make_examples, songs), "composed songs")
        performed = collect(pool.map(partial(make_midi_examples, soundfonts=soundfonts), scores), "songs of POP909")
        annotated = sorted(path for path in args.recordings.iterdir() if path.suffix != ".txt")
        recorded = collect(pool.map(make_recording_example, annotated), "recordings")
    simulated = []
    for seed in NOTES_SEEDS:
        rng = np.random.default_rng(seed)
        more = compose_songs(seed, SONGS_PER_NOTES_SEED)
        simulated += [make_key_example(song, simulate_harmony(song, rng)) for song in more]
    rhythms = [*(rhythm for rhythm, _ in composed if rhythm), *(rhythm for some in performed for rhythm in some)]
    beat_examples, bar_examples, downbeat_examples = (list(some) for some in zip(*rhythms, strict=True))
    beat_examples += [example for example in recorded if example]
    print(HEAD)
    print_weights("BAR_WEIGHTS", fit_choices(bar_examples, 3.0))
    key_examples = [*(example for _, example in composed), *simulated, *make_chord_examples() * 20]
    print_weights("KEY_WEIGHTS", fit_keys(key_examples, 15.0))
    for name, network in (
        ("BEAT", fit_network(beat_examples, lose_choice, units=16, batch=16, epochs=60, noise=0.3)),
        ("DOWNBEAT", fit_network(downbeat_examples, lose_downbeats, units=32, batch=2, epochs=40, noise=0.6)),
    ):
        for layer, weights in zip(("HIDDEN", "OUTPUT"), network, strict=True):
            print_weights(f"{name}_{layer}", weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
