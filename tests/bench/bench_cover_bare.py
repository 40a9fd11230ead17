"""How well single parts and excerpts of songs find the whole song: POP909 among composed and real tracks.

The gallery holds 4,000 composed tracks, the 260 real ones, and the full arrangements of all songs of POP909 that are
beside the checkout, rendered. The queries are the songs that only report, in another key, at another tempo and played
by either soundfont. Rendering takes minutes, so the chroma of each song is kept in the folder CACHE.

The rendered songs are more like each other than like the other tracks of the gallery. Therefore the report also says
how often the right song is the nearest of the rendered ones alone.
"""

import shutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from measuring import Row

from reprise.jobs._shipped_models.rendered_midi import list_songs, render_midi
from reprise.lib import msd
from reprise.lib.analysis.analyser import VERSION, analyse
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.detect.alignment import DEFAULT_RERANKER, RERANKERS, SHORT_QUERY_BEATS, SHORT_RERANKER
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.embeddings import load
from reprise.lib.detect.learned import Learned
from reprise.lib.detect.part_network import MIN_BEATS, PartNetwork, read_shipped_model
from reprise.lib.detect.patches import PATCH_BEATS
from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont

CACHE = Path.home() / ".cache" / "reprise" / "bench"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SOUNDFONTS = Path("/usr/share/sounds/sf2")
INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
GALLERY = sample.SamplePlan(4_000, seed=4242)
TRAINING = sample.SamplePlan(2_000, seed=99, n_cliques=400, n_covers=1_200)
"""Composed tracks on which a model is trained as in a warehouse."""
EXCERPTS_S = (20, 30, 60)
QUERIES = {
    "melody": "melody alone",
    "piano": "piano alone",
    "middle": "middle 65 %",
    **{f"full{s}": f"excerpt of {s} s" for s in EXCERPTS_S},
    **{f"melody{s}": f"melody alone, {s} s" for s in EXCERPTS_S},
}
N_CANDIDATES = 100


def measure_chroma(signal: Float32Array) -> Float32Array:
    """Beat chroma of a signal."""
    fields = analyse(signal)
    return beat_chroma(*(fields[name] for name in INPUTS))


def render_song(path: Path) -> Mapping[str, Float32Array]:
    """Beat chroma of a song as it is written, ``full``, and of its queries."""
    kept = CACHE / f"pop909-{path.stem}-{VERSION}.npz"
    if not kept.exists():
        program = shutil.which("fluidsynth")
        assert program, "FluidSynth is not installed"
        fluid, tim = (Soundfont(program, str(SOUNDFONTS / f"{name}.sf2")) for name in ("FluidR3_GM", "TimGM6mb"))
        rng = np.random.default_rng([int(path.stem), 1])
        semitones = int(rng.integers(-6, 7))
        factor = float(np.exp(rng.uniform(np.log(0.75), np.log(1.3))))
        font = tim if rng.random() < 0.5 else fluid
        found = {"full": measure_chroma(render_midi(path, fluid))}
        for part, names in (("full", ()), ("melody", ("MELODY",)), ("piano", ("PIANO",))):
            signal = render_midi(path, font, factor, parts=names, semitones=semitones)
            n = len(signal)
            if part == "full":
                found["middle"] = measure_chroma(signal[int(0.175 * n) : int(0.825 * n)])
            else:
                found[part] = measure_chroma(signal)
            start = int(rng.uniform(0.2, 0.6) * n)
            for seconds in EXCERPTS_S:
                found[f"{part}{seconds}"] = measure_chroma(signal[start : start + seconds * SAMPLE_RATE])
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished.npz")
        np.savez(unfinished, **found)  # type: ignore[arg-type]
        unfinished.rename(kept)
    with np.load(kept) as stored:
        return dict(stored)


def compose(plan: sample.SamplePlan) -> list[Float32Array]:
    """Beat chroma of the tracks of a plan."""
    kept = CACHE / f"composed-{plan.seed}-{plan.n_tracks}.npz"
    if not kept.exists():
        found = []
        for index in range(plan.n_tracks):
            fields = sample.compute_msd_columns(sample.compose(plan, index))
            found.append(beat_chroma(*(fields[name] for name in INPUTS)))
        CACHE.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished.npz")
        np.savez(unfinished, chroma=np.concatenate(found, axis=1), beats=[one.shape[1] for one in found])
        unfinished.rename(kept)
    with np.load(kept) as stored:
        return list(np.split(stored["chroma"], np.cumsum(stored["beats"])[:-1], axis=1))


def read_real() -> Iterator[Float32Array]:
    """Beat chroma of the real tracks."""
    for path in sorted((SHARED / "msd").rglob("*.h5")):
        fields = msd.read(path, INPUTS)
        yield beat_chroma(*(fields[name][0] for name in INPUTS))


@cache
def train() -> Learned:
    """The model of a warehouse of composed tracks: `Learned` with its defaults."""
    chromas = compose(TRAINING)
    kept = [row for row, chroma in enumerate(chromas) if chroma.shape[1] >= PATCH_BEATS and chroma.any()]
    cliques = TRAINING.tracks(np.array(kept)).clique
    return Learned.fit([chromas[row] for row in kept], cliques, seed=TRAINING.seed)


def measure_bare() -> list[Row]:
    """Recall of each index and of their union, and the first match after alignment, for each kind of query."""
    network = load(read_shipped_model())
    assert isinstance(network, PartNetwork)
    trained = train()
    songs = [
        *list_songs(SHARED / "midi" / "pop909", reports=True),
        *list_songs(SHARED / "midi" / "pop909", reports=False),
    ]
    rendered = {path.stem: render_song(path) for path in songs}
    asked = [path.stem for path in list_songs(SHARED / "midi" / "pop909", reports=True)]
    gallery = [one["full"] for one in rendered.values()]
    gallery += [one for one in (*compose(GALLERY), *read_real()) if one.shape[1] >= MIN_BEATS]
    in_network = network.embed(gallery)
    long = np.array([chroma.shape[1] >= PATCH_BEATS for chroma in gallery])
    in_trained = np.full((len(gallery), trained.projection.shape[1]), np.inf, dtype=np.float32)
    in_trained[long] = trained.embed([chroma for chroma in gallery if chroma.shape[1] >= PATCH_BEATS])
    rows: list[Row] = []
    numbers = {name: number for number, name in enumerate(rendered)}
    for kind, title in QUERIES.items():
        ranks: dict[str, list[float]] = {name: [] for name in ("trained", "network", "union", "rendered", "aligned")}
        for name in asked:
            query, own = rendered[name][kind], numbers[name]
            if query.shape[1] < MIN_BEATS:
                for values in ranks.values():
                    values.append(np.inf)
                continue
            by_network = _measure(network.embed_transpositions(query), in_network)
            by_trained = np.full(len(gallery), np.inf)
            if query.shape[1] >= PATCH_BEATS:
                by_trained = _measure(trained.embed([query]), in_trained)
            places = [_rank(distances, own) for distances in (by_trained, by_network)]
            ranks["trained"].append(places[0])
            ranks["network"].append(places[1])
            ranks["union"].append(min(places))
            ranks["rendered"].append(_rank(by_network[: len(rendered)], own))
            candidates = set(np.argsort(by_network, kind="stable")[:N_CANDIDATES].tolist())
            if np.isfinite(by_trained).any():
                candidates |= set(np.argsort(by_trained, kind="stable")[:N_CANDIDATES].tolist())
            ranks["aligned"].append(_align(query, own, gallery, candidates))
        rows.append(
            {
                "query": title,
                "recall@100, trained": _share(ranks["trained"], N_CANDIDATES),
                "recall@100, part network": _share(ranks["network"], N_CANDIDATES),
                "recall@100, both": _share(ranks["union"], N_CANDIDATES),
                "goal": "≥ 0.95" if kind in ("melody", "piano", "middle") else "",
                "hit@1, aligned": _share(ranks["aligned"], 1),
                "goal ": "≥ 0.93" if kind in ("melody", "piano", "middle") else "",
                "nearest of the rendered songs, part network": _share(ranks["rendered"], 1),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _measure(queries: Float32Array, gallery: Float32Array) -> Float64Array:
    """Distance of each gallery track from the nearest of some embeddings of a query."""
    finite = np.isfinite(gallery[:, 0])
    distances = np.full(len(gallery), np.inf)
    distances[finite] = (2 - 2 * (gallery[finite] @ queries.T)).min(axis=1, initial=np.inf)
    return distances


def _rank(distances: Float64Array, own: int) -> float:
    return float(1 + (distances < distances[own]).sum()) if np.isfinite(distances[own]) else np.inf


def _align(query: Float32Array, own: int, gallery: list[Float32Array], candidates: set[int]) -> float:
    if own not in candidates:
        return np.inf
    align = RERANKERS[SHORT_RERANKER if query.shape[1] < SHORT_QUERY_BEATS else DEFAULT_RERANKER]
    best = align(query, gallery[own]).distance
    return float(1 + sum(align(query, gallery[one]).distance < best for one in candidates - {own}))


def _share(ranks: list[float], most: int) -> str:
    return f"{np.mean(np.array(ranks) <= most):.2f}"
