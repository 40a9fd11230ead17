"""Fit the weights of ``lib/analysis/weights.py``: ``fit_analysis.py [--songs N] > lib/analysis/weights.py``.

Beats, bars and keys are chosen by softmax regressions over candidates. They are fitted to rendered songs of the plans
below, of which `bench_analysis` measures none; keys also to many songs that are not rendered, whose chroma is made from
their notes. Takes half an hour on one core, nearly all of it rendering.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from bench_analysis import play, score_beats
from scipy.optimize import minimize

from reprise.lib.analysis import beats, frames, key, meter, pitches, segments
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.music import sample
from reprise.lib.music.compose.plan import NORMAL

Choice = tuple[Float64Array, Float64Array]
"""Features of the candidates (n, k), and which of them are right: (n,), 1 or 0."""
Keyed = tuple[Float64Array, int, int]
"""Features by tonic, (12, k), the mode and the tonic."""

RENDERED_SEEDS, NOTES_SEEDS = (11, 12, 13), (101, 102, 103)
N_NOTES = 3800
TONICS = 12
LOW_PITCH = 50
HEAD = '''"""Weights of what chooses beats, bars and key: of `describe_pulse`, `describe_bars` and `describe_harmony`.

Made by ``python tests/bench/fit_analysis.py`` from composed songs; never edited.
"""

import numpy as np
'''


def list_songs(seed: int, count: int) -> Iterator[sample.Composition]:
    """The first ordinary songs of a plan."""
    plan = sample.Plan(4000, seed=seed)
    for index in [i for i in range(plan.n_tracks) if plan.track(i).state == NORMAL][:count]:
        yield sample.compose(plan, index)


def describe(song: sample.Composition, signal: Float32Array) -> tuple[Choice | None, Choice | None, Keyed]:
    """Candidates for beats, bars and key of one rendered song, as the analysis meets them."""
    heard = frames.measure_frames(signal)
    cut = segments.cut_segments(heard)
    starts_s = cut.start / frames.FRAME_RATE
    chroma = pitches.hear_chroma(pitches.gather_tones(signal, starts_s))
    harmony = pitches.sum_harmony(chroma, starts_s, len(signal) / frames.SAMPLE_RATE)
    onsets = beats.prepare_onsets(heard.rise, heard.level_db)
    if onsets is None:
        return None, None, choose_key(song, harmony)
    pulses = beats.find_pulses(onsets, harmony)
    scores = np.array([score_beats(song, pulse.beats / frames.FRAME_RATE) for pulse in pulses])
    if scores.max() < 0.85:
        return None, None, choose_key(song, harmony)
    found = pulses[int(np.argmax(scores))].beats
    first = int(np.argmin(np.abs(found[:, None] / frames.FRAME_RATE - song.bar_s[None, 2:3])))
    hypotheses, features = meter.describe_bars(onsets, harmony, found)
    right = [float(m == song.track.meter and phase == first % m) for m, phase in hypotheses]
    return (
        (np.stack([pulse.features for pulse in pulses]), (scores > scores.max() - 0.05).astype(float)),
        (features, np.array(right)),
        choose_key(song, harmony),
    )


def choose_key(song: sample.Composition, harmony: pitches.Harmony) -> Keyed:
    """The features as each tonic hears them, and the truth."""
    chords_s = song.beat_s[:: 2 if song.track.meter == 4 else 3]
    return key.turn_features(key.describe_harmony(harmony, chords_s)), song.track.mode, song.track.key


def hold_chords() -> list[Keyed]:
    """Nothing but a tone, or one chord: the songs have no such thing, and yet its key is plain."""
    held = []
    for mode, tones in ((1, (0,)), (1, (0, 4, 7)), (0, (0, 3, 7))):
        sounding = np.zeros((20, 12), dtype=np.float32)
        sounding[:, tones] = 1
        for bass in (sounding, np.zeros_like(sounding)):
            harmony = pitches.sum_harmony(pitches.Chroma(sounding, bass), np.arange(20.0), 20.0)
            held.append((key.turn_features(key.describe_harmony(harmony, np.arange(20.0))), mode, 0))
    return held


def imagine_harmony(song: sample.Composition, rng: np.random.Generator) -> pitches.Harmony:
    """Chroma of a song's notes by sixteenths, blurred about as much as the chroma of its sound is."""
    notes, count = song.notes, len(song.cell_s) - 1
    some = notes.part > 0
    pitch, cell = notes.pitch[some], notes.cell[some]
    gain = np.array([0, 0.8, 0.75, 1.0]) * np.exp(0.6 * rng.standard_normal(4))
    energy = (gain[notes.part[some]] * notes.velocity[some]) ** 2
    held = energy * np.array([instrument.sustain for instrument in song.instruments])[notes.part[some]] ** 2
    chroma = np.zeros((2, count, 12))
    for row, low in enumerate((np.ones(len(pitch), dtype=bool), pitch < LOW_PITCH)):
        size, on = (count + 1) * 12, cell[low] * 12 + pitch[low] % 12
        off = np.minimum(notes.end_cell[some][low], count) * 12 + pitch[low] % 12
        switched = np.bincount(on, held[low], size) - np.bincount(off, held[low], size)
        struck = np.bincount(on, (energy - held)[low], size).reshape(-1, 12)
        for later in range(3):
            chroma[row, later:] += 0.5**later * struck[: count - later]
        chroma[row] += np.maximum(np.cumsum(switched.reshape(-1, 12), axis=0), 0)[:count]
    chroma *= np.exp(0.6 * rng.standard_normal(chroma.shape))
    chroma += 0.003 * chroma.max() * np.exp(rng.standard_normal()) * rng.random(chroma.shape)
    everything, bass = chroma.astype(np.float32)
    return pitches.sum_harmony(pitches.Chroma(everything, bass), song.cell_s[:-1], float(song.cell_s[-1]))


def fit(choices: list[Choice], shrinkage: float) -> Float64Array:
    """Weights of a softmax over candidates that makes the right ones likely; shrunk in units of features' spreads."""
    spread = np.concatenate([features for features, _ in choices[:400]]).std(axis=0) + 1e-9
    counts = np.array([len(features) for features, _ in choices])
    rows = np.concatenate([(features / spread).astype(np.float32) for features, _ in choices])
    right, starts = np.concatenate([right for _, right in choices]), np.append(0, np.cumsum(counts)[:-1])

    def lose(w: Float64Array) -> tuple[float, Float64Array]:
        score = (rows @ w.astype(np.float32)).astype(np.float64)
        score -= np.repeat(np.maximum.reduceat(score, starts), counts)
        likely = np.exp(score)
        likely /= np.repeat(np.add.reduceat(likely, starts), counts)
        good = likely * right
        of_good = np.add.reduceat(good, starts) + 1e-300
        pull = good / np.repeat(of_good, counts) - likely
        return float(shrinkage * w @ w - np.log(of_good).sum()), 2 * shrinkage * w - (pull.astype(np.float32) @ rows)

    found = minimize(lose, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 150})
    result: Float64Array = found.x / spread
    return result


def fit_keys(songs: list[Keyed], shrinkage: float) -> Float64Array:
    """Weights of each mode, (2, k): `fit` where all candidates share the features, each turned to its tonic."""
    turned = np.concatenate([features.astype(np.float32) for features, _, _ in songs])
    spread = turned.std(axis=0) + 1e-9
    turned /= spread
    right = np.zeros((len(songs), TONICS, 2))
    for row, (_, mode, tonic) in zip(right, songs, strict=True):
        row[tonic, mode] = 1

    def lose(w: Float64Array) -> tuple[float, Float64Array]:
        score = (turned @ w.reshape(2, -1).T.astype(np.float32)).reshape(right.shape).astype(np.float64)
        score -= score.max(axis=(1, 2), keepdims=True)
        likely = np.exp(score)
        likely /= likely.sum(axis=(1, 2), keepdims=True)
        pull = (right - likely).reshape(-1, 2).T.astype(np.float32) @ turned
        return float(shrinkage * w @ w - np.log(likely[right > 0] + 1e-300).sum()), 2 * shrinkage * w - pull.ravel()

    start = np.zeros(2 * turned.shape[1])
    found = minimize(lose, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    result: Float64Array = found.x.reshape(2, -1) / spread
    return result


def write(name: str, weights: Float64Array) -> None:
    """Print weights as source, in the columns that the formatter wants."""
    print(f"{name} = np.array([")
    texts = [f"{value:.4g}" for value in weights.ravel()]
    while texts:
        line = "   "
        while texts and len(line) + len(texts[0]) + 2 < 119:
            line += f" {texts.pop(0)},"
        print(line)
    print("])" + (f".reshape{weights.shape}" if weights.ndim > 1 else "") + "  # fmt: skip")


def main() -> int:
    """Render, describe, fit, print."""
    parser = argparse.ArgumentParser(description="Fit the weights of the analysis.")
    parser.add_argument("--songs", type=int, default=95, help="songs to render of each plan (default: 95)")
    count = parser.parse_args().songs
    rendered = []
    for seed in RENDERED_SEEDS:
        for song in list_songs(seed, count):
            rendered.append(describe(song, play(song)))
            print(f"\r{len(rendered)} songs", end="", file=sys.stderr)
    imagined = []
    for seed in NOTES_SEEDS:
        rng = np.random.default_rng(seed)
        imagined += [choose_key(song, imagine_harmony(song, rng)) for song in list_songs(seed, N_NOTES)]
    write_weights(rendered, imagined)
    return 0


def write_weights(rendered: list[tuple[Choice | None, Choice | None, Keyed]], imagined: list[Keyed]) -> None:
    """Fit and print."""
    print(HEAD)
    write("PULSE_WEIGHTS", fit([one[0] for one in rendered if one[0]], 2.0))
    write("BAR_WEIGHTS", fit([one[1] for one in rendered if one[1]], 3.0))
    write("KEY_WEIGHTS", fit_keys([*(one[2] for one in rendered), *imagined, *hold_chords() * 20], 15.0))


if __name__ == "__main__":
    sys.exit(main())
