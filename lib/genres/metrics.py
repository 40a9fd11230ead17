"""Metrics of genre predictions: scores over all rows, scores per genre, and calibration.

Pass the probabilities of the held-out rows of all folds as one array, so that every row counts once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array, IntpArray

N_BINS = 10
"""Number of bins of the calibration curve, each 0.1 wide."""

SCALARS = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "log_loss")
"""Keys of the metrics that are single numbers."""

_MIN_PROBABILITY = float(np.finfo(np.float64).eps)  # lower limit, so that the log loss is finite
_SUM_TOLERANCE = 1e-6


def compute_metrics(genres: ArrayLike, probabilities: ArrayLike, names: Sequence[str]) -> dict[str, Any]:
    """Compare predictions with true genres.

    The predicted genre is the most probable one. In a tie, it is the one that comes first in ``names``. A row whose
    true genre is not in ``names`` is always counted as wrong. In means over genres, this true genre has recall 0 and
    F1 0.

    Parameters
    ----------
    genres
        Shape (n,), n >= 1: true genre of each row.
    probabilities
        Shape (n, k), k >= 1: probabilities of ``names``. Each row sums to at most 1.
    names
        The k genres that the model can predict.

    Returns
    -------
    dict
        Serialisable as JSON:

        - ``rows`` and ``accuracy``;
        - ``macro_f1``: mean F1 over the genres that occur as true or predicted genre;
        - ``weighted_f1``: mean F1 over the same genres, each weighted by the number of rows with this true genre;
        - ``balanced_accuracy``: mean recall of the genres that occur as true genre;
        - ``log_loss``: in nats; probabilities below 2.2e-16 are raised to 2.2e-16;
        - ``per_genre``: for each name ``precision``, ``recall``, ``f1`` (0 if undefined), ``support`` (number of rows
          with this true genre) and ``predicted`` (number of rows with this predicted genre);
        - ``names``;
        - ``confusion``: k lists of k counts, indexed by true genre, then by predicted genre;
        - ``calibration``: ``bins`` and the ``expected_calibration_error``. A bin has ``low``, ``high``, ``rows``,
          ``confidence`` (mean probability of the predicted genre) and ``accuracy``. Both are None in an
          empty bin. A probability on an edge belongs to the lower bin;
        - ``unknown``: true genres that are not in ``names``, with their number of rows.

    Raises
    ------
    ValueError
        There are no rows, the shapes do not match, a name occurs twice, or a value is not a probability, e.g. NaN.
    """
    checked, truth = _check_probabilities(probabilities, names), np.asarray(genres, dtype=object)
    if truth.shape != checked.shape[:1]:
        raise ValueError(f"expected genres of shape ({len(checked)},), got {truth.shape}")
    k, code = len(names), {name: number for number, name in enumerate(names)}
    unknown = sorted(set(truth.tolist()) - code.keys())
    # true genres that are not in ``names`` get the codes from k; these codes are never predicted
    code |= {name: k + number for number, name in enumerate(unknown)}
    true = np.array([code[name] for name in truth.tolist()], dtype=np.int64)
    predicted = checked.argmax(axis=1)
    size = len(code)
    table = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
    hits, support, n_predicted = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    precision, recall = _divide(hits, n_predicted), _divide(hits, support)
    f1 = _divide(2 * hits, support + n_predicted)
    occurs = (support + n_predicted) > 0
    of_true = np.where(true < k, checked[np.arange(len(true)), np.minimum(true, k - 1)], 0.0)
    return {
        "rows": len(true),
        "accuracy": float(hits.sum() / len(true)),
        "macro_f1": float(f1[occurs].mean()),
        "weighted_f1": float((f1 * support).sum() / len(true)),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "log_loss": float(-np.log(np.clip(of_true, _MIN_PROBABILITY, 1.0)).mean()),
        "per_genre": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
                "predicted": int(n_predicted[i]),
            }
            for i, name in enumerate(names)
        },
        "names": list(names),
        "confusion": table[:k, :k].tolist(),
        "calibration": _compute_calibration(checked.max(axis=1), true == predicted),
        "unknown": {name: int(support[code[name]]) for name in unknown},
    }


def summarise_metrics(metrics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return, for each of `SCALARS`, the ``mean`` and the ``deviation`` over the splits.

    The deviation is the sample standard deviation. It is 0 if there is only one split.

    Raises
    ------
    ValueError
        ``metrics`` is empty.
    """
    if not metrics:
        raise ValueError("no metrics to summarise: pass those of at least one split")
    columns = {name: np.array([one[name] for one in metrics], dtype=np.float64) for name in SCALARS}
    several = len(metrics) > 1
    return {
        name: {"mean": float(values.mean()), "deviation": float(values.std(ddof=1)) if several else 0.0}
        for name, values in columns.items()
    }


def _check_probabilities(probabilities: ArrayLike, names: Sequence[str]) -> Float64Array:
    checked = np.asarray(probabilities, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[1] != len(names) or not checked.size:
        raise ValueError(
            f"expected probabilities of shape (rows, {len(names)}) with at least one row, got {checked.shape}"
        )
    if len(set(names)) != len(names):
        raise ValueError("the names of the genres contain a duplicate")
    # the conditions are negated so that NaN is refused too
    if not (np.all(checked >= 0) and np.all(checked.sum(axis=1) <= 1 + _SUM_TOLERANCE)):
        raise ValueError("probabilities must be at least 0, not NaN, and sum to at most 1 per row")
    return checked


def _divide(part: Int64Array, whole: Int64Array) -> Float64Array:
    return np.asarray(part / np.maximum(whole, 1), dtype=np.float64)


def _compute_calibration(confidence: Float64Array, correct: BoolArray) -> dict[str, Any]:
    edges = np.linspace(0, 1, N_BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidence)
    rows = np.bincount(bins, minlength=N_BINS)
    mean, accuracy = (
        _sum_bins(bins, values) / np.maximum(rows, 1) for values in (confidence, correct.astype(np.float64))
    )
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


def _sum_bins(bins: IntpArray, values: Float64Array) -> Float64Array:
    return np.asarray(np.bincount(bins, weights=values, minlength=N_BINS), dtype=np.float64)


def macro_f1_of_counts(counts: Int64Array) -> float:
    """Return macro F1 from confusion counts (k, k), indexed by true genre, then by predicted genre.

    The mean is over the genres that occur as true or predicted genre.
    """
    occurrences = counts.sum(axis=0) + counts.sum(axis=1)
    occurs = occurrences > 0
    return float(np.mean(2 * counts.diagonal()[occurs] / occurrences[occurs]))
