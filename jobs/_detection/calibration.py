"""Calibrate the distances of a model: fit the probability that two tracks are versions of one work.

The fit uses held-out cliques.
"""

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from reprise.jobs._detection.models import MEASURES, NO_RERANKER, EmbeddingModel
from reprise.jobs._detection.search import fetch_queries, read_gallery, rerank, search_gallery
from reprise.jobs._engine.run import Run
from reprise.lib.detect.calibration import Calibration, measure_reliability

N_QUERIES = 120
N_CANDIDATES = 50


def calibrate(run: Run, model: EmbeddingModel, held_out: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """For each measure, fit the probability that two tracks are versions of a work, as a function of their distance.

    The training data come from searches like those of `find_covers`. The queries are 120 tracks drawn at random from
    ``held_out``, or all if there are fewer. The candidates of each query are its 50 nearest tracks.

    Parameters
    ----------
    run
        Run that reads the tables; its seed draws the queries.
    model
        Model to calibrate.
    held_out
        ``track_id`` and ``clique_id`` of the tracks in the cliques that the model was not trained on.

    Returns
    -------
    dict
        Maps each measure to a dictionary with the ``weights`` and the ``intercept`` of the fit, and reliability
        metrics. For the metrics, the cliques are divided into two halves, and each half is tested with a fit on the
        other half. The metrics are missing if a half does not contain both candidates that are versions of their query
        and candidates that are not. A measure is missing if the candidates of both halves together do not contain both
        kinds, or if no query has an embedding.
    """
    cliques = held_out.set_index("track_id")["clique_id"]
    chosen = sorted(np.random.default_rng(run.settings.seed).permutation(sorted(cliques.index))[:N_QUERIES])
    tracks = read_gallery(run, model)
    queries = fetch_queries(run, tracks, chosen)
    if not queries.ids:
        return {}
    nearest = search_gallery(tracks, queries, N_CANDIDATES)
    calibrations: dict[str, dict[str, Any]] = {}
    for reranker in MEASURES:
        pairs = rerank(run, queries, nearest, reranker)
        scores = pairs["distance" if reranker == NO_RERANKER else "alignment_distance"].to_numpy(dtype=np.float64)
        query_cliques = cliques.reindex(np.array(queries.ids, dtype=object)[pairs["query"]]).to_numpy()
        is_version = query_cliques == cliques.reindex(pairs["candidate_id"]).to_numpy()
        half = pd.factorize(query_cliques)[0] % 2 == 0
        if not _has_both_classes(is_version):
            continue
        fit = Calibration.fit(scores, is_version)
        calibrations[reranker] = {"weights": list(fit.weights), "intercept": fit.intercept}
        if _has_both_classes(is_version[half]) and _has_both_classes(is_version[~half]):
            predicted = np.empty(len(scores))
            for tested in (half, ~half):
                fit = Calibration.fit(scores[~tested], is_version[~tested])
                predicted[tested] = fit.probability(scores[tested])
            metrics = asdict(measure_reliability(predicted, is_version))
            calibrations[reranker] |= {name: None if math.isnan(value) else value for name, value in metrics.items()}
    return calibrations


def _has_both_classes(truth: np.ndarray[Any, Any]) -> bool:
    return bool(truth.any() and not truth.all())
