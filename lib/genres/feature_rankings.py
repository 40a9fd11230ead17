"""Which features tell genres apart: one by one in the data, and all together in a model's predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray

if TYPE_CHECKING:
    from reprise.lib.genres.models import GenreModel


MAX_RANKED = 10_000
"""Rows that features are ranked by; of more, so many are drawn."""
MAX_BACKGROUND = 15
MAX_EXPLAINED = 60
"""Rows that a summary explains, against `MAX_BACKGROUND` others: the model sees at most
``MAX_EXPLAINED * MAX_BACKGROUND * 2 d`` rows, about 100,000 for the 57 features of the GTZAN table."""


def rank_features(
    rows: NDArray[np.floating[Any]], genres: ArrayLike, features: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Rank features by how much each alone says about the genre.

    Parameters
    ----------
    rows
        Shape (n, d). NaN and infinity are unknown: a feature is judged by the rows that have it.
    genres
        Shape (n,).
    features
        The d names.
    seed
        Draws the rows, where there are more than `MAX_RANKED`, and breaks ties in the estimate of mutual information.

    Returns
    -------
    list of dict
        ``feature``; ``f_value`` of a one-way analysis of variance (None without two genres, without spread within
        them, or with no more rows than genres); ``mutual_information`` with the genre in nats, estimated by nearest
        neighbours (Ross 2014), None where no genre has two rows; ``missing``, the share of rows without it. The most
        informative feature first, then by F and name.

    Raises
    ------
    ValueError
        Shapes that do not fit.
    """
    values, labels = np.asarray(rows, dtype=np.float64), np.asarray(genres, dtype=object)
    if values.shape != (len(labels), len(features)) or labels.ndim != 1:
        raise ValueError(f"{values.shape} rows, {labels.shape} genres and {len(features)} features do not fit")
    missing = np.mean(~np.isfinite(values), axis=0) if len(values) else np.ones(len(features))
    if len(values) > MAX_RANKED:
        drawn = np.sort(np.random.default_rng(seed).choice(len(values), MAX_RANKED, replace=False))
        values, labels = values[drawn], labels[drawn]
    codes = _encode(labels)
    found = []
    for number, feature in enumerate(features):
        known = np.isfinite(values[:, number])
        column, code = values[known, number], codes[known]
        column = column / (np.abs(column).max(initial=0.0) or 1.0)  # squares of very large numbers have no room
        found.append(
            {
                "feature": feature,
                "f_value": _f_value(column, code),
                "mutual_information": _information(column, code, seed),
                "missing": float(missing[number]),
            }
        )
    return sorted(found, key=lambda one: (-(one["mutual_information"] or 0), -(one["f_value"] or 0), one["feature"]))


def explain(
    model: "GenreModel", rows: NDArray[np.floating[Any]], *, background: NDArray[np.floating[Any]], seed: int
) -> Float64Array:
    """SHAP values: by how much each feature of a row moves each genre's probability.

    One random order of the features is taken for each row, in which they come in and then go (antithetic permutation
    sampling, Mitchell et al. 2022; what the package shap calls a permutation explainer). A model is asked for
    ``2 d * len(background)`` rows for each; where features act alone or in pairs the values are exact. What a row has
    as the background has it, unknown values included, gets 0.

    Parameters
    ----------
    model
        Any whose ``predict`` turns (n, d) rows into (n, k) probabilities.
    rows
        Shape (n, d).
    background
        Shape (m, d), m >= 1: rows whose values stand in for those of features that are left out.
    seed
        Draws the orders.

    Returns
    -------
    ndarray, float64, shape (n, d, k)
        A row's values over its features sum to its prediction less the mean prediction of the background.
    """
    known, others = np.asarray(rows, dtype=np.float64), np.asarray(background, dtype=np.float64)
    if known.ndim != 2 or others.ndim != 2 or not len(others) or others.shape[1] != known.shape[1]:
        raise ValueError(f"rows of shape {known.shape} and a background of shape {others.shape} do not fit")
    n, d = known.shape
    rng, values = np.random.default_rng(seed), np.zeros((n, d, len(model.genres)))
    for number, row in enumerate(known):
        order = rng.permutation(d)
        turn = np.empty(d, dtype=np.int64)
        turn[order] = np.arange(d)
        step = np.arange(d + 1)[:, None]
        # features come in one by one in this order, and then go in the same
        taken = np.concatenate([turn < step, turn >= step[1:-1]])
        mixed = np.where(taken[:, None, :], row, others).reshape(-1, d)
        mean = model.predict(mixed).reshape(len(taken), len(others), -1).mean(axis=1)
        mean = np.concatenate([mean, mean[:1]])  # at last none is left, as at first
        gains = np.diff(mean, axis=0)
        values[number, order] = (gains[:d] - gains[d:]) / 2
    return values


def explain_summary(
    model: "GenreModel", rows: NDArray[np.floating[Any]], genres: ArrayLike, *, seed: int
) -> Float64Array:
    """Mean of the absolute SHAP values of `explain`, by feature and genre.

    At most `MAX_EXPLAINED` of the rows are explained, evenly drawn from the genres, against at most `MAX_BACKGROUND`
    drawn from all.

    Parameters
    ----------
    rows
        Shape (n, d), n >= 1: rows that the model was trained on, or others like them.
    genres
        Shape (n,).

    Returns
    -------
    ndarray, float64, shape (d, k)
    """
    rng = np.random.default_rng(seed)
    background = rows[np.sort(rng.choice(len(rows), min(MAX_BACKGROUND, len(rows)), replace=False))]
    values = explain(model, rows[draw_evenly(genres, MAX_EXPLAINED, seed=seed)], background=background, seed=seed)
    return np.asarray(np.abs(values).mean(axis=0), dtype=np.float64)


def draw_evenly(genres: ArrayLike, limit: int, *, seed: int) -> Int64Array:
    """Draw at most ``limit`` rows, as many of one genre as of another where there are as many.

    Returns
    -------
    ndarray, int64, shape (at most limit,)
        Ascending places in ``genres``.
    """
    codes = _encode(np.asarray(genres, dtype=object))
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    # the first of each genre come before the second of each, and so on
    turn = np.arange(len(order)) - np.searchsorted(codes[order], codes[order])
    return np.sort(order[np.argsort(turn, kind="stable")][:limit]).astype(np.int64)


def _encode(labels: ObjectArray) -> Int64Array:
    """Each label's place among the ascending labels."""
    place = {name: number for number, name in enumerate(sorted(set(labels.tolist())))}
    return np.array([place[name] for name in labels.tolist()], dtype=np.int64)


def _f_value(values: Float64Array, codes: Int64Array) -> float | None:
    names, place, count = np.unique(codes, return_inverse=True, return_counts=True)
    k, n = len(names), len(values)
    if k < 2 or n <= k:
        return None
    values = values - values.mean()  # numbers far from 0 would lose their spread in the sums
    means = np.bincount(place, weights=values) / count
    between, within = float((count * means**2).sum()), float(((values - means[place]) ** 2).sum())
    # a spread of rounding errors is none
    if within <= 1e-24 * max(between, float((values**2).sum())):
        return None
    return between / (k - 1) / (within / (n - k))


def _information(values: Float64Array, codes: Int64Array, seed: int) -> float | None:
    from sklearn.feature_selection import mutual_info_classif

    if np.bincount(codes, minlength=1).max() < 2:
        return None
    if len(np.unique(codes)) < 2 or values.min() == values.max():
        return 0.0
    found = mutual_info_classif(values[:, None], codes, discrete_features=False, random_state=seed)
    return float(found[0])
