"""Importance of features for the genre: statistics of each feature alone, and SHAP values of a model's predictions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, Int64Array, ObjectArray

if TYPE_CHECKING:
    from reprise.lib.genres.models import GenreModel


MAX_RANKED = 10_000
"""Maximum number of rows that `rank_features` uses. Larger datasets are sampled."""
MAX_BACKGROUND = 15
MAX_EXPLAINED = 60
"""Maximum number of rows that `compute_mean_shap` explains, with `MAX_BACKGROUND` background rows. For d
features, the model predicts at most ``MAX_EXPLAINED * MAX_BACKGROUND * 2 * d`` rows. For the 57 features of the GTZAN
table, this is about 100,000 rows."""


def rank_features(
    rows: NDArray[np.floating[Any]], genres: ArrayLike, features: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Rank features by their mutual information with the genre, each feature alone.

    Parameters
    ----------
    rows
        Shape (n, d). NaN and infinite values are missing values. The statistics of a feature use only the rows in which
        it has a value.
    genres
        Shape (n,): genre of each row.
    features
        Names of the d features.
    seed
        Seed of the sample, which is drawn if there are more than `MAX_RANKED` rows. Also the seed of the noise that
        breaks ties in the estimate of the mutual information.

    Returns
    -------
    list of dict
        One entry per feature, sorted by decreasing mutual information, then by decreasing F, then by name. None is
        sorted as 0. Keys:

        - ``feature``: the name;
        - ``f_value``: F statistic of a one-way analysis of variance. It is None if there are fewer than two genres, if
          there is no variance within genres, or if the number of rows does not exceed the number of genres;
        - ``mutual_information``: mutual information with the genre in nats, estimated by nearest neighbours (Ross
          2014). It is None if no genre has two or more rows;
        - ``missing``: share of all rows, sampled or not, in which the feature is missing.

    Raises
    ------
    ValueError
        The shapes do not match.
    """
    values, labels = np.asarray(rows, dtype=np.float64), np.asarray(genres, dtype=object)
    if values.shape != (len(labels), len(features)) or labels.ndim != 1:
        raise ValueError(
            f"rows of shape {values.shape}, genres of shape {labels.shape} and {len(features)} features do not match"
        )
    missing = np.mean(~np.isfinite(values), axis=0) if len(values) else np.ones(len(features))
    if len(values) > MAX_RANKED:
        drawn = np.sort(np.random.default_rng(seed).choice(len(values), MAX_RANKED, replace=False))
        values, labels = values[drawn], labels[drawn]
    codes = _encode(labels)
    ranking = []
    for number, feature in enumerate(features):
        known = np.isfinite(values[:, number])
        column, code = values[known, number], codes[known]
        column = column / (np.abs(column).max(initial=0.0) or 1.0)  # squares of very large values would overflow
        ranking.append(
            {
                "feature": feature,
                "f_value": _f_value(column, code),
                "mutual_information": _mutual_information(column, code, seed),
                "missing": float(missing[number]),
            }
        )
    return sorted(ranking, key=lambda one: (-(one["mutual_information"] or 0), -(one["f_value"] or 0), one["feature"]))


def compute_shap_values(
    model: "GenreModel", rows: NDArray[np.floating[Any]], *, background: NDArray[np.floating[Any]], seed: int
) -> Float64Array:
    """Compute SHAP values: the contribution of each feature of a row to each genre's probability.

    The method is antithetic permutation sampling (Mitchell et al. 2022), as in the permutation explainer of the package
    shap. For each row, the features are added in one random order and then removed in the same order. The model
    predicts ``2 d * len(background)`` rows for each explained row. The values are exact if the model has no
    interactions between more than two features. A feature gets 0 if all background rows have the same value of this
    feature as the row. Two missing values count as the same.

    Parameters
    ----------
    model
        Model whose ``predict`` maps rows of shape (n, d) to the probabilities of its k genres, shape (n, k).
    rows
        Shape (n, d).
    background
        Shape (m, d), m >= 1: rows whose values replace the values of removed features.
    seed
        Seed of the random orders of the features.

    Returns
    -------
    ndarray, float64, shape (n, d, k)
        The SHAP values of a row, summed over the features, equal its prediction minus the mean prediction of the
        background rows.

    Raises
    ------
    ValueError
        The shapes do not match, or there are no background rows.
    """
    explained, others = np.asarray(rows, dtype=np.float64), np.asarray(background, dtype=np.float64)
    if explained.ndim != 2 or others.ndim != 2 or not len(others) or others.shape[1] != explained.shape[1]:
        raise ValueError(f"rows of shape {explained.shape} and a background of shape {others.shape} do not match")
    n, d = explained.shape
    rng, values = np.random.default_rng(seed), np.zeros((n, d, len(model.genres)))
    for number, row in enumerate(explained):
        order = rng.permutation(d)
        rank = np.empty(d, dtype=np.int64)
        rank[order] = np.arange(d)
        step = np.arange(d + 1)[:, None]
        # add the features one by one in this order, then remove them in the same order
        present = np.concatenate([rank < step, rank >= step[1:-1]])
        mixed = np.where(present[:, None, :], row, others).reshape(-1, d)
        mean = model.predict(mixed).reshape(len(present), len(others), -1).mean(axis=1)
        mean = np.concatenate([mean, mean[:1]])  # the last state, without features, equals the first
        gains = np.diff(mean, axis=0)
        values[number, order] = (gains[:d] - gains[d:]) / 2
    return values


def compute_mean_shap(
    model: "GenreModel", rows: NDArray[np.floating[Any]], genres: ArrayLike, *, seed: int
) -> Float64Array:
    """Compute the mean absolute SHAP value of each feature for each genre.

    The explained rows are a sample of at most `MAX_EXPLAINED` rows, balanced over genres. The background is a random
    sample of at most `MAX_BACKGROUND` rows.

    Parameters
    ----------
    model
        Model of k genres.
    rows
        Shape (n, d), n >= 1: training rows of the model, or similar rows.
    genres
        Shape (n,): genre of each row.
    seed
        Seed of the samples and of the random orders of the features.

    Returns
    -------
    ndarray, float64, shape (d, k)
    """
    rng = np.random.default_rng(seed)
    background = rows[np.sort(rng.choice(len(rows), min(MAX_BACKGROUND, len(rows)), replace=False))]
    explained = rows[sample_evenly(genres, MAX_EXPLAINED, seed=seed)]
    values = compute_shap_values(model, explained, background=background, seed=seed)
    return np.asarray(np.abs(values).mean(axis=0), dtype=np.float64)


def sample_evenly(genres: ArrayLike, limit: int, *, seed: int) -> Int64Array:
    """Draw at most ``limit`` rows: about the same number from each genre, or all rows of a genre that has fewer.

    Returns
    -------
    ndarray, int64, shape (at most limit,)
        Ascending row indices.
    """
    codes = _encode(np.asarray(genres, dtype=object))
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    # take the first row of each genre, then the second of each, and so on
    rank = np.arange(len(order)) - np.searchsorted(codes[order], codes[order])
    return np.sort(order[np.argsort(rank, kind="stable")][:limit]).astype(np.int64)


def _encode(labels: ObjectArray) -> Int64Array:
    """Return for each label its index in the sorted distinct labels."""
    index = {name: number for number, name in enumerate(sorted(set(labels.tolist())))}
    return np.array([index[name] for name in labels.tolist()], dtype=np.int64)


def _f_value(values: Float64Array, codes: Int64Array) -> float | None:
    names, genre, count = np.unique(codes, return_inverse=True, return_counts=True)
    k, n = len(names), len(values)
    if k < 2 or n <= k:
        return None
    values = values - values.mean()  # centred, because the sums would lose the variance of values far from 0
    means = np.bincount(genre, weights=values) / count
    between, within = float((count * means**2).sum()), float(((values - means[genre]) ** 2).sum())
    # variance below this limit is rounding error
    if within <= 1e-24 * max(between, float((values**2).sum())):
        return None
    return between / (k - 1) / (within / (n - k))


def _mutual_information(values: Float64Array, codes: Int64Array, seed: int) -> float | None:
    from sklearn.feature_selection import mutual_info_classif

    if np.bincount(codes, minlength=1).max() < 2:
        return None
    if len(np.unique(codes)) < 2 or values.min() == values.max():
        return 0.0
    information = mutual_info_classif(values[:, None], codes, discrete_features=False, random_state=seed)
    return float(information[0])
