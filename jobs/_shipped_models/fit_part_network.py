"""Fit the embedding of parts that the package ships, on composed works and on rendered songs.

Usage: ``python -m reprise.jobs._shipped_models.fit_part_network MIDI SOUNDFONT SOUNDFONT``. MIDI is the folder of
POP909; its first 20 songs that do not only report take part, the other ten served to choose. SOUNDFONT is a General
MIDI soundfont for FluidSynth. The script writes the model, its card and its description to ``lib/detect/default/``. How
well it finds songs that it has not seen is measured by ``make bench ONLY=bare``.

Two versions of each composed work are viewed in two ways: through the simulated analysis of the synthetic dataset, and
as chroma that is computed from the notes, with random balance of the parts, overtones, noise, position of the beat and
beat rate. A view contains all parts, the lead, the accompaniment, or the lead with one part. The songs are rendered
whole, in parts and cut, in another key and at another tempo, and analysed.

The map of the features has a closed form: it makes the variation among the views of a work about equal in all
directions, as the first step of `Learned.fit` does for versions. The network is trained on a contrastive loss
(NT-Xent): it is low if a view is nearer to a complete view of the same work than to all other views in the batch. Both
views are in the same random key.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reprise.jobs._shipped_models.rendered_midi import list_songs, render_midi
from reprise.lib.analysis.analyser import analyse
from reprise.lib.arrays import Float32Array
from reprise.lib.detect import learned
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.embeddings import dump
from reprise.lib.detect.learned import Learned, extract_features
from reprise.lib.detect.part_network import MIN_BEATS, PartNetwork, prepare_input
from reprise.lib.detect.part_network_training import CHANNELS, KERNELS, N_DIMENSIONS, Phase, train_network
from reprise.lib.detect.patches import PATCH_BEATS
from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont

FOLDER = Path(__file__).resolve().parents[2] / "lib" / "detect" / "default"
SEED = 77
N_WORKS = 4_368
N_PAIRS = 96
N_SONGS = 20
N_SONGS_PER_BATCH = 14
N_FEATURE_WORKS = 1_500
SHRINKAGE = 1.0
"""Share of the mean variance that is added to the variation within works, in all directions of the features."""
FEATURE_SHARE = 0.6
"""Share of the features in the squared distance, chosen on the ten songs."""

INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
_DRUMS, _BASS, _HARMONY, _LEAD = range(4)
VIEWS = {
    "all": (_BASS, _HARMONY, _LEAD),
    "lead": (_LEAD,),
    "accompaniment": (_BASS, _HARMONY),
    "lead_harmony": (_HARMONY, _LEAD),
    "lead_bass": (_BASS, _LEAD),
}
"""Parts of the views."""
N_VIEWS = {"all": 3, "lead": 3, "accompaniment": 2, "lead_harmony": 1, "lead_bass": 1}
"""Number of views of a version that are computed from its notes."""
QUERY_WEIGHTS = {"all": 0.8, "lead": 2.5, "accompaniment": 1.2, "lead_harmony": 0.7, "lead_bass": 0.7}

View = tuple[str, Float32Array]
Works = Sequence[Sequence[Sequence[View]]]
"""Views of each version of each work: name and beat chroma."""


_WHOLE = [(320, 320), (256, 320), (160, 320), (64, 256), (40, 192)]
PHASES = (
    Phase(
        1_500, 0.003, [(32, 192), (48, 192), (72, 192), (128, 192), (192, 256)], [0.1, 0.15, 0.2, 0.3, 0.25], 0.5, False
    ),
    Phase(750, 0.002, _WHOLE, [0.4, 0.2, 0.15, 0.15, 0.1], 0.8, False),
    Phase(1_400, 0.0015, _WHOLE, [0.4, 0.15, 0.15, 0.2, 0.1], 0.8, True),
)


def _measure_notes(song: sample.Composition) -> tuple[Float32Array, Float32Array]:
    """Return the energy of the sounding and of the struck notes of each part: (4, 12, cells), drums empty."""
    notes, cells = song.notes, len(song.cell_s) - 1
    sounding, struck = np.zeros((2, 4, 12, cells + 1), dtype=np.float32)
    rows = notes.part != _DRUMS
    part, pitch, velocity = notes.part[rows], notes.pitch[rows] % 12, notes.velocity[rows]
    np.add.at(sounding, (part, pitch, notes.cell[rows]), velocity)
    np.add.at(sounding, (part, pitch, np.minimum(notes.end_cell[rows], cells)), -velocity)
    np.add.at(struck, (part, pitch, notes.cell[rows]), velocity)
    return np.maximum(np.cumsum(sounding, axis=2), 0)[:, :, :-1], struck[:, :, :-1]


def _draw_view(sounding: Float32Array, struck: Float32Array, parts: Sequence[int], rng: np.random.Generator) -> Any:
    """Return beat chroma (12, B) of some parts as an analyser might measure it, with random errors."""
    gain = np.zeros(4, dtype=np.float32)
    gain[list(parts)] = np.array([0, rng.uniform(0.2, 1.2), rng.uniform(0.3, 1.3), rng.uniform(0.4, 1.6)])[list(parts)]
    sustain = rng.uniform(0.1, 1)
    energy = np.tensordot(gain, sustain * sounding + (1 - sustain) * struck, 1)
    energy = energy[:, int(rng.choice([0, 0, 0, 0, 1, 2, 3])) :]  # a beat can start at any sixteenth
    n_beats = energy.shape[1] // 4
    decay = np.array([1, 0.8, 0.7, 0.6]) if rng.random() < 0.5 else np.ones(4)
    energy = (energy[:, : 4 * n_beats].reshape(12, n_beats, 4) * decay).mean(axis=2)
    energy[:, 1:] += rng.uniform(0, 0.35) * energy[:, :-1]
    for beat in np.flatnonzero(energy.sum(axis=0) < 1e-6):
        energy[:, beat] = 0.7 * energy[:, beat - 1] if beat else 0
    fifth, third, blur = rng.uniform(0, 0.3), rng.uniform(0, 0.12), rng.uniform(0, 0.08)
    energy = energy + fifth * np.roll(energy, 7, 0) + third * np.roll(energy, 4, 0)
    energy = energy + blur * (np.roll(energy, 1, 0) + np.roll(energy, -1, 0))
    chroma = (energy / np.maximum(energy.max(axis=0), 1e-9)) ** rng.uniform(0.4, 1.2)
    chroma = chroma * np.exp(rng.uniform(0, 0.5) * rng.standard_normal(chroma.shape))
    chroma = chroma + rng.uniform(0, 0.15) * rng.random(chroma.shape)
    rate = rng.choice([1, 1, 1, 1, 1, 1, 2, 0.5])
    if rate == 2:
        chroma = chroma[:, ::2]
    elif rate == 0.5:
        chroma = np.repeat(chroma, 2, axis=1) * np.exp(0.1 * rng.standard_normal((12, 2 * chroma.shape[1])))
    return chroma / np.maximum(chroma.max(axis=0), 1e-9)


def _simulate_analysis(song: sample.Composition, parts: Sequence[int], rng: np.random.Generator) -> Float32Array:
    """Return the beat chroma of the simulated analysis of some parts, with the errors of the beat tracker redrawn."""
    rows = np.isin(song.notes.part, parts)
    notes = sample.Notes(*(getattr(song.notes, field.name)[rows] for field in fields(sample.Notes)))
    factor = float(rng.choice([song.track.tempo_factor] * 7 + [0.5, 2, 1]))
    track = replace(song.track, tempo_factor=factor, off_beat=bool(rng.random() < 0.1))
    columns = sample.compute_msd_columns(replace(song, notes=notes, track=track))
    return beat_chroma(*(columns[name] for name in INPUTS))


def make_views(index: int, *, plan: sample.SamplePlan) -> tuple[int, list[View], list[View]]:
    """Return the work of a composed track, its simulated analyses, and its chromas from notes, in the work's key."""
    song = sample.compose(plan, index)
    rng = np.random.default_rng([9, plan.seed, index])
    sounding, struck = _measure_notes(song)
    analyses, from_notes = [], []
    for name, count in N_VIEWS.items():
        if sounding[list(VIEWS[name])].any():
            from_notes += [(name, _draw_view(sounding, struck, VIEWS[name], rng)) for _ in range(count)]
            analyses.append((name, _simulate_analysis(song, VIEWS[name], rng)))
    whole, drawn = (
        [(name, np.roll(view, -song.track.transposition, axis=0)) for name, view in views if view.shape[1] >= 32]
        for views in (analyses, from_notes)
    )
    return song.track.work, whole, drawn


def compose_works(n_works: int) -> tuple[Works, Works]:
    """Return the simulated analyses of works, and these together with the chromas from their notes."""
    plan = sample.SamplePlan(2 * n_works, seed=SEED, n_cliques=n_works, n_covers=2 * n_works)
    analysed: dict[int, list[list[View]]] = {}
    every: dict[int, list[list[View]]] = {}
    with ProcessPoolExecutor() as pool:
        for work, analyses, from_notes in pool.map(partial(make_views, plan=plan), range(plan.n_tracks), chunksize=32):
            if any(name == "all" for name, _ in analyses):
                analysed.setdefault(work, []).append(analyses)
                every.setdefault(work, []).append(analyses + from_notes)
    return list(analysed.values()), list(every.values())


def render_song(path: Path, *, soundfonts: Sequence[Soundfont]) -> list[list[View]]:
    """Return the views of a song of POP909, in its own key, as those of one version."""

    def measure(signal: Float32Array) -> Float32Array:
        columns = analyse(signal)
        return beat_chroma(*(columns[name] for name in INPUTS))

    rng = np.random.default_rng([int(path.stem), 1])
    semitones, factor = int(rng.integers(-6, 7)), float(np.exp(rng.uniform(np.log(0.75), np.log(1.3))))
    font = soundfonts[int(rng.integers(len(soundfonts)))]
    views = [("all", measure(render_midi(path, soundfonts[0])))]
    for name, parts in (("all", ()), ("lead", ("MELODY",)), ("accompaniment", ("PIANO",))):
        signal = render_midi(path, font, factor, parts=parts, semitones=semitones)
        if name == "all":
            signal = signal[int(0.175 * len(signal)) : int(0.825 * len(signal))]
        views.append((name, np.roll(measure(signal), -semitones, axis=0)))
    return [views]


def fit_features(works: Works) -> Learned:
    """Fit the map of the features on the views of works and on excerpts of them."""
    rng = np.random.default_rng(SEED)
    features, labels, complete = [], [], []
    for number in rng.permutation(len(works))[:N_FEATURE_WORKS].tolist():
        views = [view for version in works[number] for view in version]
        others = [view for view in views if view[0] != "all"]
        chosen = [view for view in views if view[0] == "all"][:2]
        chosen += [others[row] for row in rng.permutation(len(others))[:5]]
        for row in rng.permutation(len(views))[:2].tolist():
            length = int(np.exp(rng.uniform(np.log(28), np.log(160))))
            chosen.append(("excerpt", _cut(views[row][1], min(length, views[row][1].shape[1]), rng)))
        for name, view in chosen:
            repeated = np.tile(view, max(1, -(-PATCH_BEATS // view.shape[1]))).astype(np.float32)
            features.append(extract_features(repeated))
            labels.append(number)
            complete.append(name == "all")
    points, groups = np.array(features), np.unique(labels, return_inverse=True)[1]
    mean, scale = points.mean(axis=0), learned.scale_features(points[np.array(complete)])
    basis = learned.find_principal_axes((points - mean) * scale, SEED)
    weights = learned.whiten_groups((points - mean) * scale @ basis, groups, SHRINKAGE)
    return Learned(mean, np.ascontiguousarray(scale[:, None] * (basis @ weights), dtype=np.float32))


def _cut(view: Float32Array, length: int, rng: np.random.Generator) -> Float32Array:
    padded = np.pad(view, ((0, 0), (0, max(0, length - view.shape[1]))))
    start = int(rng.integers(0, padded.shape[1] - length + 1))
    return padded[:, start : start + length]


def _draw_pairs(
    works: Works, songs: Works, phase: Phase, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array]:
    """Draw a batch: views of parts or of all parts, (n, 12, L1), and complete views of the same works, (n, 12, L2)."""
    lengths = phase.lengths[int(rng.choice(len(phase.lengths), p=phase.shares))]
    left, right = [], []
    drawn = [songs[number] for number in rng.permutation(len(songs))[:N_SONGS_PER_BATCH]] if phase.songs else []
    drawn += [works[number] for number in rng.permutation(len(works))[: N_PAIRS - len(drawn)]]
    for versions in drawn:
        first = versions[int(rng.integers(len(versions)))]
        second = first if rng.random() < phase.same_version else versions[int(rng.integers(len(versions)))]
        weights = np.array([QUERY_WEIGHTS[name] for name, _ in first])
        view = first[int(rng.choice(len(first), p=weights / weights.sum()))][1]
        complete = [one for name, one in second if name == "all"]
        semitones = int(rng.integers(12))
        left.append(np.roll(_cut(view, lengths[0], rng), semitones, axis=0))
        right.append(np.roll(_cut(complete[int(rng.integers(len(complete)))], lengths[1], rng), semitones, axis=0))
    return np.array(left, dtype=np.float32), np.array(right, dtype=np.float32)


def _prepare(works: Works) -> Works:
    return [[[(name, prepare_input(view)) for name, view in version] for version in work] for work in works]


def train(works: Works, songs: Works) -> dict[str, Float32Array]:
    """Train the network. Return its weights."""
    prepared, prepared_songs = _prepare(works), _prepare(songs)
    return train_network(partial(_draw_pairs, prepared, prepared_songs), PHASES, SEED)


CARD = """# Part network: {model_id}

Embedding of beat chroma that finds a work by its melody alone, its accompaniment alone or an excerpt. `find-covers`
searches it beside the model that `train-cover-index` trains, and aligns the candidates of both.

- **File**: `part_network.safetensors`, SHA-256 `{sha256}`.
- **Input**: beat chroma from {min_beats} beats on.
- **Output**: {dimensions} values of norm 1; the distance is Euclidean. Half of them do not depend on the key.
- **Data**: {n_works} works in two versions each, which this package composes; their parts are known. {n_songs} songs of
  POP909 (MIT), rendered with FluidSynth and analysed; their numbers are not divisible by 30. No recording was used.
- **Training**: `python -m reprise.jobs._shipped_models.fit_part_network`: a map in closed form, and a network by
  NT-Xent in {n_phases} phases of {steps} steps. Another machine or another version of a package gives other weights of
  about the same quality. The share of the map in the squared distance is {share}, chosen on thirty songs of POP909.
- **Quality**: measured by `make bench ONLY=bare`.
- **Limits**: it was trained on composed popular music with four parts. It knows nothing of music without beats. A
  melody of less than a minute is often not found. Its distances are not calibrated, so a search with this model alone
  gives no probabilities.
- **Licence**: Apache-2.0.
"""


def write_model(network: PartNetwork) -> None:
    """Write the network, its card and its description into the package."""
    params = {"channels": list(CHANNELS), "kernels": list(KERNELS), "dimensions": N_DIMENSIONS, "seed": SEED}
    data = dump(network, params)
    sha256 = hashlib.sha256(data).hexdigest()
    model_id = f"default-part-network-{sha256[:12]}"
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "part_network.safetensors").write_bytes(data)
    described = {
        "model_id": model_id,
        "sha256": sha256,
        "params": params,
        "metrics": {},
        "trained_on": {"data": f"{N_WORKS} composed works, {N_SONGS} songs of POP909"},
    }
    (FOLDER / "part_network.json").write_text(json.dumps(described, indent=2) + "\n", "utf-8")
    card = CARD.format(
        model_id=model_id,
        sha256=sha256,
        min_beats=MIN_BEATS,
        dimensions=2 * N_DIMENSIONS,
        n_works=f"{N_WORKS:,}",
        n_songs=N_SONGS,
        share=FEATURE_SHARE,
        n_phases=len(PHASES),
        steps=", ".join(f"{phase.steps:,}" for phase in PHASES),
    )
    (FOLDER / "part_network.md").write_text(card, "utf-8")
    print(f"written: {FOLDER / 'part_network.safetensors'}, {len(data):,} bytes")


def main() -> int:
    """Compose the works, render the songs, fit both halves, and write the model into the package."""
    parser = argparse.ArgumentParser(description="Fit the embedding of parts that the package ships.")
    parser.add_argument("midi", type=Path, help="folder of POP909")
    parser.add_argument("soundfonts", nargs=2, help="General MIDI soundfonts")
    args = parser.parse_args()
    started = time.monotonic()
    soundfonts = [Soundfont("fluidsynth", path) for path in args.soundfonts]
    with ProcessPoolExecutor() as pool:
        paths = list_songs(args.midi, reports=False)[:N_SONGS]
        songs = list(pool.map(partial(render_song, soundfonts=soundfonts), paths))
    analysed, works = compose_works(N_WORKS)
    print(f"{len(works):,} works composed in {time.monotonic() - started:.0f} s", flush=True)
    write_model(PartNetwork(fit_features(analysed), train(works, songs), FEATURE_SHARE))
    return 0


if __name__ == "__main__":
    sys.exit(main())
