"""Rows of many features as points of a plane: principal components, t-SNE and UMAP."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Float64Array

_CLIP = 5.0
_LEAST = 5  # rows of which neighbours can be told
_PERPLEXITY = 30.0
_NEIGHBOURS = 15


@dataclass(frozen=True)
class Projection:
    """Points of one method: shape (n, 2), or None where there are too few rows or features; ``axes`` names the axes."""

    name: str
    points: Float64Array | None
    axes: tuple[str, str]


def standardise(rows: NDArray[np.floating[Any]]) -> Float64Array:
    """Rows whose features weigh the same: unknown values become the median, then mean 0, deviation 1, within ±5.

    Features without a known value or without spread are left out.

    Parameters
    ----------
    rows
        Shape (n, d); NaN and infinity are unknown.

    Returns
    -------
    ndarray, float64, shape (n, at most d)
    """
    values = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    values = values[:, ~np.all(np.isnan(values), axis=0)] if len(values) else values[:, :0]
    if values.size:
        values = np.where(np.isnan(values), np.nanmedian(values, axis=0), values)
        # scaled first: squares of very large numbers have no room
        values = values / np.maximum(np.abs(values).max(axis=0), np.finfo(np.float64).tiny)
        values = values - values.mean(axis=0)
        spread = values.std(axis=0)
        # equal numbers have a mean that is off by a rounding error, and with it a spread
        varied = spread > 1e-12
        values = np.clip(values[:, varied] / spread[varied], -_CLIP, _CLIP)
    return values


def project(rows: NDArray[np.floating[Any]], *, seed: int) -> list[Projection]:
    """Lay rows out in the plane by each method.

    Rows are standardised first. All methods start from the principal components, of which a side is chosen by their
    largest weight, so that the same rows and seed give the same points. t-SNE (perplexity 30, less for under 100 rows)
    and UMAP (15 neighbours) take time that grows with the rows: give them some thousand.

    Parameters
    ----------
    rows
        Shape (n, d); NaN and infinity are unknown.

    Returns
    -------
    list of Projection
        ``PCA``, ``t-SNE``, ``UMAP``.
    """
    values = standardise(rows)
    n, d = values.shape
    if n < 2 or not d:
        return [
            Projection("PCA", None, ("", "")),
            Projection("t-SNE", None, ("", "")),
            Projection("UMAP", None, ("", "")),
        ]
    left, weight, right = np.linalg.svd(values, full_matrices=False)
    side = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    share = np.append(weight**2 / (weight**2).sum(), 0.0)
    points = np.zeros((n, 2))
    points[:, : min(2, len(weight))] = (left * weight * side)[:, :2]
    axes = tuple(f"component {i + 1} ({100 * share[i]:.0f} % of the variance)" for i in range(2))
    found = [Projection("PCA", points, (axes[0], axes[1]))]
    start = points / max(float(points[:, 0].std()), 1e-12)
    # moved a little: a start along a line stays there, and equal rows start from one point
    start += 1e-3 * np.random.default_rng(seed).standard_normal(start.shape)
    for name, method in (("t-SNE", _tsne), ("UMAP", _umap)):
        found.append(Projection(name, method(values, start, seed) if n >= _LEAST else None, ("", "")))
    return found


def _tsne(values: Float64Array, start: Float64Array, seed: int) -> Float64Array:
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    # a small start, as for sklearn's own "pca"
    method = TSNE(perplexity=perplexity, init=(1e-4 * start).astype(np.float32), random_state=seed, n_jobs=1)
    return np.asarray(method.fit_transform(values), dtype=np.float64)


def _umap(values: Float64Array, start: Float64Array, seed: int) -> Float64Array:
    with warnings.catch_warnings():
        # without TensorFlow it lacks a variant that is not used here, and says so
        warnings.simplefilter("ignore", ImportWarning)
        import umap

    neighbours = min(_NEIGHBOURS, len(values) - 1)
    method = umap.UMAP(n_neighbors=neighbours, init=10 * start, random_state=seed, n_jobs=1)
    return np.asarray(method.fit_transform(values), dtype=np.float64)
