"""Fit the chord estimator: ``python -m reprise.jobs._shipped_models.fit_chords POP909 > …/chord_weights.py``.

The songs are those of POP909 that are not kept for reports, each rendered with every soundfont at random tempos, and
songs that are composed and rendered: as they are, with other levels of their stems, without drums and lead, and the
drums alone, in which there is no chord. They are analysed as listeners' audio is. The third part are simulated analyses
of composed songs, whose chroma is as noisy as that of the dataset. `bench_chords` evaluates the result.

The network is fitted to the beats of all songs; the random field and the calibration, to what networks score that were
fitted without the song. These scores also give the figures that the script prints to stderr. It takes one to two hours
on one core, mostly for rendering and analysis.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
import soxr
from scipy.optimize import minimize

from reprise.jobs._shipped_models.fit_analysis_weights import compose_songs, print_weights
from reprise.jobs._shipped_models.rendered_midi import list_songs, list_soundfonts, read_chords, render_midi
from reprise.lib.analysis import chords
from reprise.lib.analysis.analyser import analyse
from reprise.lib.analysis.chords import CHORDS, NO_CHORD, QUALITIES, ROOTS, Changes, Network
from reprise.lib.arrays import Float32Array, Float64Array, Int64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.music import sample
from reprise.lib.music.render import render

UNKNOWN = "X"
"""Name of a chord that is neither one of `CHORDS` nor near to one: suspended, diminished, augmented, a fifth."""

SEED, SIMULATED_SEED, TEMPO_SPAN, TEMPOS_PER_SOUNDFONT = 11, 101, (0.75, 1.3), 2
LEVELS_DB, DRUMLESS, LEADLESS, DRUMS_ALONE_EVERY = (-9.0, 6.0), 0.3, 0.2, 5
JITTER, FLOOR, SIMULATED_PER_SONG = 0.3, 0.4, 2
UNITS, EPOCHS, BATCH, RATE, DECAY = 64, 5, 512, 3e-3, 1e-2
FOLDS, CHUNK_BEATS, SHRINKAGE, MAX_ITERATIONS = 2, 64, 2.0, 25
SCALES = (0.4, 0.6, 0.8, 1.0)
NO_CHORD_PENALTY = 3.0
"""Subtracted from the score of no chord. The chroma of the dataset is noisier than that of any example: without this, a
third of the beats of real files of the dataset would have no chord."""
_CHANGES_SHAPES = ((1,), (6,), (3, 6), (5, 5, 12), (5,), (5,))
_SIMPLER = {"maj6": "maj", "min6": "min", "minmaj7": "min", "9": "7", "maj9": "maj7", "min9": "min7"}
_VOICES = {
    (0, 4, 7): "maj",
    (0, 3, 7): "min",
    (0, 4, 7, 10): "7",
    (0, 4, 7, 11): "maj7",
    (0, 3, 7, 10): "min7",
    (0, 3, 6): "dim",
    (0, 3, 6, 10): "hdim7",
    (0, 3, 6, 9): "dim7",
    (0, 7): "5",
}
HEAD = '''"""Fitted weights of the chord estimator, see `Network` and `Changes` in `reprise.lib.analysis.chords`.

`reprise.jobs._shipped_models.fit_chords` fits them to rendered songs: do not edit them by hand.
"""

import numpy as np
'''


@dataclass(frozen=True)
class Example:
    """One analysed recording and the true chords of its beats.

    Attributes
    ----------
    kind, song
        Where the recording comes from, and the name of the song. All recordings of a song are in one fold.
    context
        Input of the network, (n, 96).
    places
        Place of each beat in its bar, (n,).
    truth
        Share of each chord of `CHORDS` in the time of each beat; in the last column, that of unknown chords: (n, 62).
    """

    kind: str
    song: str
    context: Float32Array
    places: Int64Array
    truth: Float64Array


def make_example(
    kind: str, song: str, analysis: dict[str, Any], intervals_s: Float64Array, names: Sequence[str]
) -> Example:
    """Return the example of an analysed recording, whose true chords are ``names`` in ``intervals_s``, (m, 2)."""
    beats_s = analysis["beats_start"]
    chroma = beat_chroma(
        analysis["segments_pitches"], analysis["segments_loudness_start"], analysis["segments_start"], beats_s
    )
    edges = np.append(beats_s, max(analysis["duration"], beats_s[-1]))[: chroma.shape[1] + 1]
    truth = np.zeros((chroma.shape[1], len(CHORDS) + 1))
    for (start, end), name in zip(intervals_s, names, strict=True):
        truth[:, find_class(name)] += np.maximum(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0)
    truth /= np.maximum(np.diff(edges), 1e-9)[:, None]
    truth[:, CHORDS.index(NO_CHORD)] += np.maximum(1 - truth.sum(axis=1), 0)
    places = chords.find_places(beats_s, analysis["bars_start"])[: len(truth)]
    return Example(kind, song, chords.stack_context(chroma.astype(np.float64)), places, truth)


def find_class(name: str) -> int:
    """Return the index in `CHORDS` of the chord ``name``, in the syntax of Harte, or that of unknown chords."""
    if name == NO_CHORD:
        return CHORDS.index(NO_CHORD)
    root, quality, _, _ = mir_eval.chord.split(name)
    quality = _SIMPLER.get(quality, quality)
    if name == UNKNOWN or quality not in QUALITIES:
        return len(CHORDS)
    return int(mir_eval.chord.pitch_class_to_semitone(root)) * len(QUALITIES) + QUALITIES.index(quality)


def list_chords(song: sample.Composition) -> tuple[Float64Array, list[str]]:
    """Return the intervals in s, (m, 2), and the names of the chords of a composed song."""
    count = song.chord_roots.size
    cells = np.arange(count) // 2 * song.bar_cells + np.arange(count) % 2 * (song.bar_cells // 2)
    edges = np.append(song.cell_s[cells], song.cell_s[-1])
    names = [
        f"{ROOTS[root]}:{_VOICES[tuple(np.unique(voices % 12).tolist())]}"
        for root, voices in zip(song.chord_roots.ravel(), song.chord_voices.reshape(count, 4), strict=True)
    ]
    return np.column_stack([edges[:-1], edges[1:]]), names


def analyse_stems(stems: Float32Array) -> dict[str, Any]:
    """Analyse the mean of the channels of a recording, (frames, 2) at 44,100 Hz."""
    return analyse(soxr.resample(stems.mean(axis=1), 44_100, SAMPLE_RATE).astype(np.float32))


def make_composed_examples(seed: int, count: int) -> Iterator[Example]:
    """Compose, render and analyse songs of a plan, each in three mixes, and some drums alone."""
    rng = np.random.default_rng(seed)
    for number, song in enumerate(compose_songs(seed, count)):
        drums, bass, harmony, lead = render(song).values()
        truth, name = list_chords(song), f"{seed} {number}"
        gains = 10 ** (rng.uniform(*LEVELS_DB, 4) / 20) * [rng.random() >= DRUMLESS, 1, 1, rng.random() >= LEADLESS]
        other = sum(gain * stem for gain, stem in zip(gains, (drums, bass, harmony, lead), strict=True))
        mixes = [drums + bass + harmony + lead, other / max(1.0, float(np.abs(other).max())), bass + harmony]
        for mix in mixes:
            yield from _make_example("composed", name, analyse_stems(mix), *truth)
        if number % DRUMS_ALONE_EVERY == 0 and drums.any():
            whole = np.array([[0.0, song.duration_s]])
            yield from _make_example("composed", name, analyse_stems(drums), whole, [NO_CHORD])


def make_simulated_examples(seed: int, count: int) -> Iterator[Example]:
    """Compose songs of a plan and simulate their analyses in the Million Song Dataset."""
    for number, song in enumerate(compose_songs(seed, count)):
        analysis = sample.compute_msd_columns(song) | {"duration": song.duration_s}
        yield from _make_example("simulated", f"{seed} {number}", analysis, *list_chords(song))


def make_pop909_examples(folder: Path) -> Iterator[Example]:
    """Render and analyse the songs of POP909 that are not kept for reports."""
    rng = np.random.default_rng(909)
    for path in list_songs(folder, reports=False):
        for font in list_soundfonts():
            for factor in rng.uniform(*TEMPO_SPAN, TEMPOS_PER_SOUNDFONT):
                analysis = analyse(render_midi(path, font, factor))
                yield from _make_example("POP909", path.stem, analysis, *read_chords(path, factor))


def _make_example(
    kind: str, song: str, analysis: dict[str, Any], intervals_s: Float64Array, names: Sequence[str]
) -> Iterator[Example]:
    """Yield the example of a recording, unless the recording has too few beats."""
    if len(analysis["beats_start"]) > CHUNK_BEATS:
        yield make_example(kind, song, analysis, intervals_s, names)


def fit_network(examples: Sequence[Example], seed: int = 0) -> Network:
    """Fit the network to the true chords, with AdamW and a rate that falls to 0 after a short rise.

    The loss of a beat is the cross entropy of the network with the shares of the chords, without unknown chords.
    """
    context = np.concatenate([one.context for one in examples])
    truth = np.concatenate([one.truth[:, :-1] for one in examples]).astype(np.float32)
    rng = np.random.default_rng(seed)
    shapes = [(context.shape[1], UNITS), (UNITS,), (UNITS, len(QUALITIES)), (len(QUALITIES),), (UNITS,), (1,)]
    parameters = [np.zeros(shape, np.float32) for shape in shapes]
    for weights in parameters[:3:2]:
        weights[:] = rng.standard_normal(weights.shape) / np.sqrt(len(weights))
    moments = [(np.zeros_like(values), np.zeros_like(values)) for values in parameters]
    steps = EPOCHS * (len(context) // BATCH)
    for step in range(steps):
        if step % (len(context) // BATCH) == 0:
            order = rng.permutation(len(context))
        batch = order[step % (len(context) // BATCH) * BATCH :][:BATCH]
        gradients = compute_gradients(Network(*parameters), add_noise(context[batch], rng), truth[batch])
        progress = (step + 1) / steps
        rate = RATE * min(progress / 0.1, 0.5 + 0.5 * np.cos(np.pi * progress))
        for values, gradient, (mean, square) in zip(parameters, gradients, moments, strict=True):
            mean[...] = 0.9 * mean + 0.1 * gradient
            square[...] = 0.999 * square + 0.001 * gradient**2
            change = mean / (1 - 0.9 ** (step + 1)) / (np.sqrt(square / (1 - 0.999 ** (step + 1))) + 1e-8)
            values[...] -= rate * (change + DECAY * values)
    return Network(*parameters)


def add_noise(context: Float32Array, rng: np.random.Generator) -> Float32Array:
    """Return rows of `chords.stack_context` with noise: factors and a floor, different in each row."""
    beats = context.reshape(len(context), -1, len(ROOTS))
    level = rng.uniform(0, FLOOR, (len(context), 1, 1)) * (beats.max(axis=2, keepdims=True) > 0)
    noisy = beats * np.exp(JITTER * rng.standard_normal(beats.shape)) + level * rng.random(beats.shape)
    noisy /= np.maximum(noisy.max(axis=2, keepdims=True), 1e-9)
    rows: Float32Array = noisy.reshape(context.shape).astype(np.float32)
    return rows


def compute_gradients(network: Network, context: Float32Array, truth: Float32Array) -> list[Float32Array]:
    """Return the gradients of the mean loss by the parameters of the network, in their order."""
    n_roots, units_per_root = len(ROOTS), len(network.hidden_bias)
    weights = chords.relate_to_roots(network.hidden)
    units = context @ weights + np.tile(network.hidden_bias, n_roots)
    np.maximum(units, 0, out=units)
    units = units.reshape(len(context), n_roots, units_per_root)
    mean = units.mean(axis=1)
    scores = np.empty((len(context), len(CHORDS)), np.float32)
    scores[:, :-1] = (units @ network.quality + network.quality_bias).reshape(len(context), -1)
    scores[:, -1] = mean @ network.none + network.none_bias
    probability = np.exp(scores - scores.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    residual = (probability * truth.sum(axis=1, keepdims=True) - truth) / np.float32(len(context))
    by_root = residual[:, :-1].reshape(len(context), n_roots, -1)
    into_units = by_root @ network.quality.T + (residual[:, -1:] * network.none / n_roots)[:, None]
    into_units *= units > 0
    flat = into_units.reshape(len(context), -1)
    # each weight is used once for each root, at another place of the chroma
    by_place = (context.T @ flat).reshape(-1, n_roots, n_roots, units_per_root)
    hidden = sum(np.roll(by_place[:, :, root], -root, axis=1) for root in range(n_roots))
    return [
        np.asarray(hidden).reshape(network.hidden.shape),
        flat.sum(axis=0).reshape(n_roots, -1).sum(axis=0),
        np.einsum("nru,nrq->uq", units, by_root),
        by_root.sum(axis=(0, 1)),
        mean.T @ residual[:, -1],
        residual[:, -1].sum(keepdims=True),
    ]


def unpack_changes(values: Float64Array) -> Changes:
    """Return the parameters of the random field from one vector of them, (335,)."""
    parts = np.split(values, np.cumsum([int(np.prod(shape)) for shape in _CHANGES_SHAPES])[:-1])
    return Changes(*(part.reshape(shape) for part, shape in zip(parts, _CHANGES_SHAPES, strict=True)))


def fit_changes(examples: Sequence[Example], scores: Sequence[Float64Array]) -> Changes:
    """Fit the random field to the log probabilities ``scores`` of networks that were fitted without the song.

    The fit maximises the log likelihood of the true chords, cut into pieces of 64 beats, minus the sum of the squared
    parameters times `SHRINKAGE`. A beat with several chords counts as each of them, by its share.
    """
    rows = [
        (score[i:][:CHUNK_BEATS], one.places[i:][:CHUNK_BEATS], np.log(one.truth[i:, :-1][:CHUNK_BEATS]
         + one.truth[i:, -1:][:CHUNK_BEATS] + 1e-4))
        for one, score in zip(examples, scores, strict=True)
        for i in range(0, len(score) - CHUNK_BEATS + 1, CHUNK_BEATS)
    ]  # fmt: skip
    score, places, truth = (np.stack([row[i] for row in rows], axis=1) for i in range(3))  # beats first
    start = np.zeros(sum(int(np.prod(shape)) for shape in _CHANGES_SHAPES))
    start[0] = 1

    def compute_loss(values: Float64Array) -> tuple[float, Float64Array]:
        changes = unpack_changes(values)
        bias = np.append(np.tile(changes.bias[:-1], len(ROOTS)), changes.bias[-1])
        unary = changes.scale * score + bias
        free, free_counts = compute_expectations(unary, places, score, changes)
        bound, bound_counts = compute_expectations(unary + truth, places, score, changes)
        penalty = SHRINKAGE * float(values[1:] @ values[1:])
        gradient = free_counts - bound_counts
        gradient[1:] += 2 * SHRINKAGE * values[1:]
        return free - bound + penalty, gradient

    optimum = minimize(compute_loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS})
    return unpack_changes(optimum.x)


def compute_expectations(
    unary: Float64Array, places: Int64Array, score: Float64Array, changes: Changes
) -> tuple[float, Float64Array]:
    """Return the sum of the log partition functions of all pieces, and its gradient by the parameters, (335,).

    ``unary`` and ``score`` have the shape (beats, pieces, 61), ``places`` has the shape (beats, pieces).
    """
    potentials = np.exp(chords.make_potentials(changes))
    beats, pieces, _ = unary.shape
    peak = unary.max(axis=2, keepdims=True)
    evidence = np.exp(unary - peak)
    forward, backward = np.empty_like(evidence), np.ones_like(evidence)
    log_total = float(peak.sum())
    rows = [[np.flatnonzero(places[beat] == place) for place in range(3)] for beat in range(beats)]
    for beat in range(beats):
        message = np.ones((pieces, len(CHORDS)))
        for place in range(3) if beat else ():
            some = rows[beat][place]
            message[some] = forward[beat - 1][some] @ potentials[place]
        forward[beat] = message * evidence[beat]
        total = forward[beat].sum(axis=1, keepdims=True)
        forward[beat] /= total
        log_total += float(np.log(total).sum())
    pairs = np.zeros_like(potentials)
    for beat in range(beats - 1, 0, -1):
        ahead = evidence[beat] * backward[beat]
        for place in range(3):
            some = rows[beat][place]
            message = ahead[some] @ potentials[place].T
            norm = (forward[beat - 1][some] * message).sum(axis=1, keepdims=True)
            pairs[place] += forward[beat - 1][some].T @ (ahead[some] / norm)
            backward[beat - 1][some] = message / message.sum(axis=1, keepdims=True)
    pairs *= potentials
    posterior = forward * backward
    posterior /= posterior.sum(axis=2, keepdims=True)
    return log_total, _collect_gradient(pairs, posterior, score)


def _collect_gradient(pairs: Float64Array, posterior: Float64Array, score: Float64Array) -> Float64Array:
    """Sum the expected counts of pairs of chords and of chords by parameter, in the order of `unpack_changes`."""
    root, quality = np.divmod(np.arange(len(CHORDS) - 1), len(QUALITIES))
    up = (root[None] - root[:, None]) % len(ROOTS)
    follow = np.zeros((len(QUALITIES), len(QUALITIES), len(ROOTS)))
    all_pairs = pairs.sum(axis=0)
    np.add.at(follow, (quality[:, None], quality[None], up), all_pairs[:-1, :-1])
    same = np.einsum("pcc->pc", pairs)
    counts = posterior.sum(axis=(0, 1))

    def by_quality(values: Float64Array) -> Float64Array:
        total: Float64Array = values.reshape(*values.shape[:-1], len(ROOTS), len(QUALITIES)).sum(axis=-2)
        return total

    return np.concatenate([
        [float((posterior * score).sum())],
        by_quality(counts[:-1]), counts[-1:],
        np.column_stack([by_quality(same[:, :-1]), same[:, -1]]).ravel(),
        follow.ravel(),
        by_quality(all_pairs[-1, :-1]), by_quality(all_pairs[:-1, -1]),
    ])  # fmt: skip


def fit(examples: Sequence[Example]) -> tuple[Network, Changes, Float64Array]:
    """Fit network, random field and calibration.

    Print to stderr how good and how well calibrated the result is, with networks that were fitted without the song.
    """
    songs = sorted({one.song for one in examples})
    fold = dict(zip(np.random.default_rng(1).permutation(songs), np.arange(len(songs)) % FOLDS, strict=True))
    scores: list[Float64Array] = [np.zeros((0, 0))] * len(examples)
    for number in range(FOLDS):
        network = fit_network([one for one in examples if fold[one.song] != number])
        for i, one in enumerate(examples):
            if fold[one.song] == number:
                scores[i] = chords.score_chords(one.context, network)
    changes, calibration = tune(examples, scores, fit_changes(examples, scores))
    return fit_network(examples), changes, calibration


def tune(examples: Sequence[Example], scores: Sequence[Float64Array], changes: Changes) -> tuple[Changes, Float64Array]:
    """Make no chord rarer, choose the scale with the most right beats, fit the calibration, and print how good it is.

    The likelihood alone prefers a smaller scale: its probabilities are calibrated, but more of its chords are wrong.
    """
    changes = replace(changes, bias=changes.bias - NO_CHORD_PENALTY * (np.arange(len(changes.bias)) == len(QUALITIES)))
    beats = {}
    for scale in SCALES:
        scaled = replace(changes, scale=np.array([scale]))
        beats[scale] = [_judge(one, score, scaled) for one, score in zip(examples, scores, strict=True)]
    best = max(SCALES, key=lambda scale: float(np.concatenate(beats[scale])[:, 1].mean()))
    pairs = np.concatenate(beats[best])
    log_odds = np.log(pairs[:, 0] / (1 - pairs[:, 0]))

    def compute_loss(values: Float64Array) -> float:
        z = values[0] * log_odds + values[1]
        return float(np.mean(np.logaddexp(0, z) - pairs[:, 1] * z))

    calibration: Float64Array = minimize(compute_loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    for kind in sorted({one.kind for one in examples}):
        some = [rows for one, rows in zip(examples, beats[best], strict=True) if one.kind == kind]
        print(f"{kind}: {len(some)} recordings, {_describe(np.concatenate(some), calibration)}", file=sys.stderr)
    return replace(changes, scale=np.array([best])), calibration


def _judge(one: Example, score: Float64Array, changes: Changes) -> Float64Array:
    """Return probability of the triad and share in which it is right, of each beat with a known chord, (n, 2)."""
    found = chords.choose_chords(chords.smooth(score, one.places, changes), np.array([1.0, 0.0]))
    triads = np.array([_triad(name) for name in CHORDS])
    same = triads == np.array([_triad(name) for name in found.names])[:, None]
    pairs = np.column_stack([np.clip(found.probabilities, 1e-6, 1 - 1e-6), (one.truth[:, :-1] * same).sum(axis=1)])
    return pairs[one.truth[:, -1] < 0.5]


def _describe(pairs: Float64Array, calibration: Float64Array) -> str:
    """Return the share of right beats, and the probabilities beside it in tenths."""
    log_odds = calibration[0] * np.log(pairs[:, 0] / (1 - pairs[:, 0])) + calibration[1]
    probability, right = 1 / (1 + np.exp(-log_odds)), pairs[:, 1]
    tenth = np.minimum((probability * 10).astype(int), 9)
    table = [
        (share.mean(), probability[share].mean(), right[share].mean()) for share in (tenth == b for b in set(tenth))
    ]
    gap = sum(share * abs(stated - found) for share, stated, found in table)
    beside = " ".join(sorted(f"{stated:.2f}:{found:.2f}" for _, stated, found in table))
    return f"{right.mean():.3f} of the beats right, calibration error {gap:.3f} ({beside})"


def _triad(name: str) -> int:
    """Return the index of a chord's triad: 2 root + 1 if the third is minor; 24 for no chord."""
    if name == NO_CHORD:
        return 24
    root, quality = name.split(":")
    return 2 * ROOTS.index(root) + quality.startswith("min")


def main() -> int:
    """Make the examples, fit the estimator and print ``chord_weights.py``."""
    parser = argparse.ArgumentParser(description="Fit the chord estimator.")
    parser.add_argument("pop909", type=Path, metavar="POP909", help="folder of the songs of POP909")
    parser.add_argument("--songs", type=int, default=45, help="number of songs to compose and render (default: 45)")
    args = parser.parse_args()
    examples = list(make_pop909_examples(args.pop909))
    examples += make_composed_examples(SEED, args.songs)
    examples += make_simulated_examples(SIMULATED_SEED, SIMULATED_PER_SONG * args.songs)
    print_estimator(*fit(examples))
    return 0


def print_estimator(network: Network, changes: Changes, calibration: Float64Array) -> None:
    """Print the weights as the source of ``chord_weights.py``."""
    print(HEAD)
    for part in (network, changes):
        for field in fields(part):
            print_weights(field.name.upper(), np.asarray(getattr(part, field.name), dtype=np.float64))
    print_weights("CALIBRATION", calibration)


if __name__ == "__main__":
    sys.exit(main())
