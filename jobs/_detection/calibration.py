"""What a model's distances mean: the probability of a version, learned from cliques that the model never saw."""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reprise.jobs._detection.search import MEASURES, NO_RERANKER, Model, align, fetch_queries, gallery, search
from reprise.jobs._engine.run import Run
from reprise.lib.detect.calibration import Calibration, measure_reliability

N_QUERIES = 120
N_CANDIDATES = 50


def calibrate(run: Run, model: Model, held_out: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Search for tracks of held-out cliques and fit, for each measure, how probable a version is at a distance.

    Parameters
    ----------
    held_out
        ``track_id`` and ``clique_id`` of tracks the model was not trained on; of them 120 are searched for, and of each
        the 50 nearest are looked at, as a search would.

    Returns
    -------
    dict
        By measure: ``weights`` and ``intercept`` of the fit, and the reliability, each half of the cliques judged by a
        fit on the other. Empty where no version was found, or nothing else.
    """
    cliques = held_out.set_index("track_id")["clique_id"]
    chosen = sorted(np.random.default_rng(run.settings.seed).permutation(sorted(cliques.index))[:N_QUERIES])
    tracks = gallery(run, model)
    queries = fetch_queries(run, tracks, chosen)
    if not queries.ids:
        return {}
    nearest = search(tracks, queries, N_CANDIDATES)
    found: dict[str, dict[str, Any]] = {}
    for reranker in MEASURES:
        pairs = align(run, queries, nearest, reranker)
        scores = pairs["distance" if reranker == NO_RERANKER else "alignment_distance"].to_numpy(dtype=np.float64)
        sought = cliques.reindex(np.array(queries.ids, dtype=object)[pairs["query"]]).to_numpy()
        is_version = sought == cliques.reindex(pairs["candidate_id"]).to_numpy()
        half = pd.factorize(sought)[0] % 2 == 0
        if not _both(is_version):
            continue
        fit = Calibration.fit(scores, is_version)
        found[reranker] = {"weights": list(fit.weights), "intercept": fit.intercept}
        if _both(is_version[half]) and _both(is_version[~half]):
            judged = np.empty(len(scores))
            for here in (half, ~half):
                judged[here] = Calibration.fit(scores[~here], is_version[~here]).probability(scores[here])
            figures = asdict(measure_reliability(judged, is_version))
            found[reranker] |= {name: None if math.isnan(value) else value for name, value in figures.items()}
    return found


def _both(truth: np.ndarray[Any, Any]) -> bool:
    return bool(truth.any() and not truth.all())
