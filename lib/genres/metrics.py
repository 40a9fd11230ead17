"""How good predicted genres are: shares of right answers, by genre and over all, and whether probabilities hold.

Probabilities of held-out rows come as one array, those of all folds together, so every row counts once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array, IntpArray

N_BINS = 10
"""Bins of the calibration curve, each a tenth wide."""

SCALARS = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "log_loss")
"""Figures that are one number."""

_LEAST = float(np.finfo(np.float64).eps)  # a probability of 0 is worth this: its logarithm must be a number
_SLACK = 1e-6


def measure(genres: ArrayLike, probabilities: ArrayLike, names: Sequence[str]) -> dict[str, Any]:
    """Measure predictions against true genres.

    The predicted genre is the most probable one, of several the first of ``names``. A row whose true genre is not among
    ``names`` is wrong whatever was predicted; its genre counts in the means with recall and F1 of 0.

    Parameters
    ----------
    genres
        Shape (n,), n >= 1: the true genre of each row.
    probabilities
        Shape (n, k), k >= 1: probabilities of ``names``; each row sums to at most 1.
    names
        The k genres that can be predicted.

    Returns
    -------
    dict
        To be written as JSON as it is:

        - ``rows``; ``accuracy``; ``macro_f1`` and ``weighted_f1``, means over the genres that are true or predicted
          somewhere, the second weighted by how often they are true; ``balanced_accuracy``, the mean recall of the
          genres that are true somewhere; ``log_loss`` in nats, no probability counting less than 2.2e-16;
        - ``per_genre``: by name ``precision``, ``recall``, ``f1`` (0 where nothing could be counted), ``support`` (how
          often true) and ``predicted`` (how often predicted);
        - ``names`` and ``confusion``, k lists of k counts: true genre, then predicted genre;
        - ``calibration``: ``bins`` with ``low``, ``high``, ``rows``, ``confidence`` (mean probability of the predicted
          genre, null in an empty bin) and ``accuracy``, and the ``expected_calibration_error``. A probability on an
          edge lies in the lower bin;
        - ``unknown``: true genres not among ``names``, and how many rows they have.

    Raises
    ------
    ValueError
        No row, shapes that do not fit, a name twice, or probabilities that are none, NaN included.
    """
    found, truth = _checked(probabilities, names), np.asarray(genres, dtype=object)
    if truth.shape != found.shape[:1]:
        raise ValueError(f"expected genres of shape ({len(found)},), got {truth.shape}")
    k, place = len(names), {name: number for number, name in enumerate(names)}
    unknown = sorted(set(truth.tolist()) - place.keys())
    # unknown genres stand behind the known ones, as columns that nothing is ever predicted in
    place |= {name: k + number for number, name in enumerate(unknown)}
    true = np.array([place[name] for name in truth.tolist()], dtype=np.int64)
    predicted = found.argmax(axis=1)
    size = len(place)
    table = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
    hits, support, answers = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    precision, recall = _share(hits, answers), _share(hits, support)
    f1 = _share(2 * hits, support + answers)
    seen = (support + answers) > 0
    given = np.where(true < k, found[np.arange(len(true)), np.minimum(true, k - 1)], 0.0)
    return {
        "rows": len(true),
        "accuracy": float(hits.sum() / len(true)),
        "macro_f1": float(f1[seen].mean()),
        "weighted_f1": float((f1 * support).sum() / len(true)),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "log_loss": float(-np.log(np.clip(given, _LEAST, 1.0)).mean()),
        "per_genre": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
                "predicted": int(answers[i]),
            }
            for i, name in enumerate(names)
        },
        "names": list(names),
        "confusion": table[:k, :k].tolist(),
        "calibration": _calibrate(found.max(axis=1), true == predicted),
        "unknown": {name: int(support[place[name]]) for name in unknown},
    }


def spread(figures: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (of the sample; 0 for one) of each of `SCALARS` over several splits.

    Raises
    ------
    ValueError
        No figures.
    """
    if not figures:
        raise ValueError("there are no figures to be summed up")
    columns = {name: np.array([one[name] for one in figures], dtype=np.float64) for name in SCALARS}
    several = len(figures) > 1
    return {
        name: {"mean": float(values.mean()), "deviation": float(values.std(ddof=1)) if several else 0.0}
        for name, values in columns.items()
    }


def _checked(probabilities: ArrayLike, names: Sequence[str]) -> Float64Array:
    found = np.asarray(probabilities, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != len(names) or not found.size:
        raise ValueError(f"expected probabilities of shape (rows, {len(names)}) with a row, got {found.shape}")
    if len(set(names)) != len(names):
        raise ValueError("a genre is named twice")
    # written so that NaN fails, too
    if not (np.all(found >= 0) and np.all(found.sum(axis=1) <= 1 + _SLACK)):
        raise ValueError("probabilities must be at least 0, and not NaN, and sum to at most 1 in a row")
    return found


def _share(part: Int64Array, whole: Int64Array) -> Float64Array:
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def _calibrate(confidence: Float64Array, right: BoolArray) -> dict[str, Any]:
    edges = np.linspace(0, 1, N_BINS + 1)
    place = np.searchsorted(edges[1:-1], confidence)
    rows = np.bincount(place, minlength=N_BINS)
    mean, accuracy = (_sums(place, values) / np.maximum(rows, 1) for values in (confidence, right.astype(np.float64)))
    return {
        "bins": [
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "rows": int(rows[i]),
                "confidence": float(mean[i]) if rows[i] else None,
                "accuracy": float(accuracy[i]) if rows[i] else None,
            }
            for i in range(N_BINS)
        ],
        "expected_calibration_error": float((rows * np.abs(mean - accuracy)).sum() / len(confidence)),
    }


def _sums(place: IntpArray, values: Float64Array) -> Float64Array:
    return np.asarray(np.bincount(place, weights=values, minlength=N_BINS), dtype=np.float64)
