"""Projections of feature rows to two dimensions: PCA, t-SNE and UMAP."""

import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float64Array

_CLIP = 5.0
_MIN_ROWS = 5  # minimum number of rows for t-SNE and UMAP
_PERPLEXITY = 30.0
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Projection:
    """Projection by one method: points of shape (n, 2), and the labels of the axes.

    The points are None if there are too few rows or features. The labels are empty for t-SNE and UMAP.
    """

    name: str
    points: Float64Array | None
    axes: tuple[str, str]


def standardise(rows: NDArray[np.floating[Any]]) -> Float64Array:
    """Standardise features: replace missing values by the median, scale to mean 0 and variance 1, clip to ±5.

    Features whose values are all missing, and constant features, are dropped.

    Parameters
    ----------
    rows
        Shape (n, d); NaN and infinite values are missing values.

    Returns
    -------
    ndarray, float64, shape (n, at most d)
    """
    values = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    values = values[:, ~np.all(np.isnan(values), axis=0)] if len(values) else values[:, :0]
    if values.size:
        values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
        # divide by the largest magnitude first, because squares of very large values would overflow
        values = values / np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)
        values = values - values.mean(axis=0)
        deviation = values.std(axis=0)
        # the mean of equal values has a rounding error, which gives a constant feature a tiny deviation
        varies = deviation > 1e-12
        values = np.clip(values[:, varies] / deviation[varies], -_CLIP, _CLIP)
    return values


def project(rows: NDArray[np.floating[Any]], *, seed: int) -> list[Projection]:
    """Project rows to two dimensions by each method.

    Rows are standardised first. The sign of each principal component makes its weight of largest magnitude positive.
    t-SNE and UMAP start from the first two principal components. The same rows and seed give the same points.

    t-SNE uses perplexity 30, or (n - 1) / 3 for fewer than 91 rows. UMAP uses 15 neighbours, or n - 1 for fewer than 16
    rows. Both need at least five rows, and PCA needs two. Their time grows with the number of rows: pass a few thousand
    rows at most.

    Parameters
    ----------
    rows
        Shape (n, d); NaN and infinite values are missing values.

    Returns
    -------
    list of Projection
        The projections ``PCA``, ``t-SNE`` and ``UMAP``, in this order.
    """
    values = standardise(rows)
    n, d = values.shape
    if n < 2 or not d:
        return [
            Projection("PCA", None, ("", "")),
            Projection("t-SNE", None, ("", "")),
            Projection("UMAP", None, ("", "")),
        ]
    left, singular, right = np.linalg.svd(values, full_matrices=False)
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    share = np.append(singular**2 / (singular**2).sum(), 0.0)
    points = np.zeros((n, 2))
    points[:, : min(2, len(singular))] = (left * singular * sign)[:, :2]
    axes = tuple(f"component {i + 1} ({100 * share[i]:.0f} % of the variance)" for i in range(2))
    projections = [Projection("PCA", points, (axes[0], axes[1]))]
    start = points / max(float(points[:, 0].std()), 1e-12)
    # add noise, because points that start on a line would stay on it, and equal rows would start at one point
    start += 1e-3 * np.random.default_rng(seed).standard_normal(start.shape)
    for name, method in (("t-SNE", _tsne), ("UMAP", _umap)):
        projections.append(Projection(name, method(values, start, seed) if n >= _MIN_ROWS else None, ("", "")))
    return projections


def _tsne(values: Float64Array, start: Float64Array, seed: int) -> Float64Array:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    # the scale that scikit-learn uses for init="pca"
    method = TSNE(perplexity=perplexity, init=(1e-4 * start).astype(np.float32), random_state=seed, n_jobs=1)
    return np.asarray(method.fit_transform(values), dtype=np.float64)


def _umap(values: Float64Array, start: Float64Array, seed: int) -> Float64Array:
    umap = _import_umap()
    neighbours = min(_NEIGHBOURS, len(values) - 1)
    method = umap.UMAP(n_neighbors=neighbours, init=10 * start, random_state=seed, n_jobs=1)
    return np.asarray(method.fit_transform(values), dtype=np.float64)


def _import_umap() -> Any:
    """Import umap without Parametric UMAP, which imports TensorFlow and torch: seconds, and 1 GB of memory."""
    unused = "umap.parametric_umap"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # umap warns that it is missing
        # such an entry lets an import fail
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
        try:
            import umap
        finally:
            if sys.modules.get(unused) is None:
                del sys.modules[unused]
    return umap
