"""How well covers are found: on a composed list as hard as the published one, and on cliques that no model has seen."""

import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import Row

from reprise.jobs import evaluate_covers, extract_chroma, ingest_annotations, ingest_msd, make_sample, train_cover_index
from reprise.lib.arrays import Float32Array, Int64Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.dictionary_lda import Dictionary, DictionaryLda
from reprise.lib.detect.median_pca import MedianPatch, MedianPca
from reprise.lib.detect.patches import PATCH_BEATS, median_patch, patch_magnitudes
from reprise.lib.detect.ranking_metrics import score_queries, summarise
from reprise.lib.detect.search import NO_GROUP, MateRanks, measure_distances
from reprise.lib.music import sample

INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
SHS = sample.SamplePlan(12_960, n_cliques=4_128, n_covers=12_960)
PATCHES_A_TRACK = 4
N_COVERS = 2_400
N_CANDIDATES = 50
METHODS = ("median_patch", "median_pca", "dictionary_lda", "learned")


def compose(index: int) -> Float32Array:
    """Beat chroma of a track of the list."""
    fields = sample.compute_msd_columns(sample.compose(SHS, index))
    return beat_chroma(*(fields[name] for name in INPUTS))


def mean_average_precision(vectors: Float32Array, cliques: Int64Array) -> float:
    """MAP of every track's mates among all tracks."""
    names = [f"{row:06d}" for row in range(len(vectors))]
    none = np.full(len(vectors), NO_GROUP)
    order = np.argsort(cliques, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(cliques[order])) + 1)
    pairs = np.array([(a, b) for clique in members for a in clique for b in clique if a != b])
    distances = measure_distances(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    ranks = MateRanks(vectors, names, none, pairs[:, 0], [names[row] for row in pairs[:, 1]], distances)
    ranks.add(vectors, names, none)
    return summarise(score_queries(pairs[:, 0], 1 + ranks.counts)).mean_average_precision


def measure_hardness() -> list[Row]:
    """The methods of 2012 and 2013 on a composed list with the cliques of the SecondHandSongs train list."""
    with multiprocessing.get_context("spawn").Pool() as pool:
        chromas = pool.map(compose, range(SHS.n_tracks), chunksize=64)
        kept = [row for row, chroma in enumerate(chromas) if chroma.shape[1] >= PATCH_BEATS and chroma.any()]
        chromas = [chromas[row] for row in kept]
        cliques = SHS.tracks(np.array(kept)).clique.astype(np.int64)
        patches = pool.map(median_patch, chromas, chunksize=64)
        random = np.random.default_rng(SHS.seed)
        drawn = [
            patch_magnitudes(chroma)[random.integers(0, chroma.shape[1] - PATCH_BEATS + 1, PATCHES_A_TRACK)]
            for chroma in chromas
        ]
        dictionary = Dictionary.fit(np.concatenate(drawn), seed=SHS.seed)
        codes = np.stack(pool.map(dictionary.encode, chromas, chunksize=64))
    found = {
        "2012, 900-D": (mean_average_precision(MedianPatch().embed(patches), cliques), "0.06 to 0.14", "0.089"),
        "2012, PCA-200": (
            mean_average_precision(MedianPca.fit(patches, 200).embed(patches), cliques), "0.06 to 0.14", "0.095"
        ),
        "2013, LDA-200, trained on the list": (
            mean_average_precision(_published(dictionary, codes, cliques).embed_codes(codes), cliques),
            "0.20 to 0.40",
            "0.283",
        ),
    }  # fmt: skip
    return [
        {"method": name, "MAP": f"{value:.4f}", "goal": goal, "published, real tracks": published}
        for name, (value, goal, published) in found.items()
    ]


def _published(dictionary: Dictionary, codes: Float32Array, cliques: Int64Array) -> DictionaryLda:
    return DictionaryLda.fit(dictionary, codes, cliques, 200, as_published=True)


def run(job: object, *arguments: object) -> float:
    """Seconds of a job that must succeed."""
    start = time.perf_counter()
    assert job.main([*map(str, arguments), "--json"]) == 0  # type: ignore[attr-defined]
    return time.perf_counter() - start


def measure_quality() -> list[Row]:
    """Every embedding with and without each reranker, by the jobs themselves, on the cliques of the test list."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        warehouse = ("--warehouse", folder / "warehouse")
        made = folder / "sample"
        run(make_sample, "--out", made, "--tracks", 20_000, "--cliques", 500, "--covers", N_COVERS, *warehouse)
        run(ingest_msd, "--source", made / "msd", *warehouse)
        run(ingest_annotations, "--source", made / "annotations", *warehouse)
        run(extract_chroma, *warehouse)
        for method in METHODS:
            seconds = run(train_cover_index, "--method", method, *warehouse)
            out = folder / method
            measures = ("none", *RERANKERS)
            flags = [flag for measure in measures for flag in ("--rerank", measure)]
            run(evaluate_covers, *warehouse, "--out", out, "--candidates", N_CANDIDATES, *flags)
            document = json.loads((out / "metrics.json").read_text("utf-8"))
            for measure in measures:
                figures = document["measures"][measure]["misses"]
                rows.append(
                    {
                        "embedding": method,
                        "reranker": measure,
                        "MAP": f"{figures['mean_average_precision']:.3f}",
                        "MR1": f"{figures['mean_first_rank']:,.0f}",
                        "P@10": f"{figures['precision_at_10']:.3f}",
                        "binary": f"{figures['binary_accuracy']:.3f}",
                        "model 1": f"{figures['model_1_accuracy'] or 0:.3f}",
                        "model 2 ROC area": f"{figures['model_2_roc_area']:.3f}",
                        "train and embed": f"{seconds:,.0f} s",
                    }
                )
                print(rows[-1], flush=True)
    return rows
