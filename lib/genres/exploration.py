"""Exploration page of labelled features: a folder with ``index.html``, plots and CSV files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, ObjectArray
from reprise.lib.genres import exploration_plots as plots
from reprise.lib.genres.feature_rankings import rank_features
from reprise.lib.genres.plot_layout import MAX_GENRES
from reprise.lib.genres.projections import project
from reprise.lib.genres.reports import write_csv, zip_rows
from reprise.lib.html import Section, render_page

MAX_PROJECTED = 3_000
"""Maximum number of rows to project. Larger datasets are sampled."""
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class _LabelledRows:
    """Labelled rows, and the folder of their exploration page. ``frequent`` contains the genres shown in the plots."""

    folder: Path
    rows: Float64Array
    labels: ObjectArray
    features: Sequence[str]
    names: list[str]
    frequent: list[str]

    @property
    def frequent_indices(self) -> list[int]:
        """Indices of the frequent genres in ``names``."""
        return [self.names.index(name) for name in self.frequent]


def explore(
    folder: Path,
    rows: NDArray[np.floating[Any]],
    genres: ArrayLike,
    features: Sequence[str],
    *,
    counts: Mapping[str, int],
    title: str,
    seed: int,
) -> list[Path]:
    """Write the exploration page of labelled rows.

    The page shows the class balance, the missing values, the correlation of the features, and projections of the rows
    by PCA, t-SNE and UMAP. For the most informative features, it shows the distribution in each genre. The data of each
    plot is also written to a CSV file. The plots show the 30 genres with the most rows. The CSV files contain all
    genres.

    Parameters
    ----------
    folder
        Created if it does not exist. Existing files with the same names are replaced.
    rows
        Shape (n, d), n >= 1, d >= 1; NaN and infinite values are missing values.
    genres
        Shape (n,): genre of each row.
    features
        Names of the d features.
    counts
        Number of rows of each genre in the whole dataset, at least for the genres in ``genres``. ``rows`` can be a
        sample of this dataset.
    title
        Title of the page.
    seed
        Seed of the samples and of the projections. The same rows and seed give the same files.

    Returns
    -------
    list of Path
        Paths of the written files. The first is the page.

    Raises
    ------
    ValueError
        There are no rows or no features, or the shapes do not match.
    """
    labels = np.asarray(genres, dtype=object)
    if rows.shape != (len(labels), len(features)) or not rows.size:
        raise ValueError(
            f"rows of shape {rows.shape}, genres of shape {labels.shape} and {len(features)} features do not match"
            " or are empty"
        )
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(set(labels.tolist()))
    frequent = sorted(sorted(names, key=lambda name: (-counts[name], name))[:MAX_GENRES])
    known = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    data = _LabelledRows(folder, known, labels, features, names, frequent)
    total = sum(counts.values())
    parts = [
        _write_balance(folder, counts),
        _write_missing(data),
        _write_distributions(data, seed),
        _write_correlations(data),
        *_write_projections(data, seed, total),
    ]
    page = folder / "index.html"
    size = f"{_count(total, 'row')}, {_count(len(counts), 'genre')}, {_count(len(features), 'feature')}."
    if len(labels) < total:
        size += f" Everything except the class balance uses a sample of {len(labels):,} rows."
    if len(names) > MAX_GENRES:
        size += f" The plots show the {MAX_GENRES} genres with the most rows, the CSV files all genres."
    page.write_text(render_page(title, size, parts), "utf-8", "replace")
    return [page, *(folder / f"{part.name}.{suffix}" for part in parts for suffix in ("png", "csv"))]


def correlate(rows: Float64Array) -> Float64Array:
    """Compute the Pearson correlation of each pair of columns, over the rows in which neither value is missing.

    Parameters
    ----------
    rows
        Shape (n, d); NaN is a missing value.

    Returns
    -------
    ndarray, float64, shape (d, d)
        An entry is NaN if fewer than three rows have values in both columns, or if one of the two columns is constant
        in these rows.
    """
    known = ~np.isnan(rows)
    scale = np.nanmax(np.abs(rows), axis=0, initial=0.0)
    scaled = rows / np.where(scale > 0, scale, 1)
    centre = np.where(known, scaled, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    values = np.where(known, scaled - centre, 0)  # centred, because sums of values far from 0 lose digits
    mask = known.astype(np.float64)
    count = mask.T @ mask
    at = np.maximum(count, 1)
    # entry (i, j): sum of column i, and of its squares, over the rows in which columns i and j both have values
    total, square = values.T @ mask, (values**2).T @ mask
    product = values.T @ values - total * total.T / at
    scatter = square - total**2 / at
    # variance below this limit is rounding error
    real = (scatter > 1e-13 * count) & (count >= 3)
    with np.errstate(invalid="ignore"):
        found = product / np.sqrt(scatter * scatter.T)
    return np.where(real & real.T, np.clip(found, -1, 1), np.nan)


def compute_percentiles(rows: Float64Array, labels: ObjectArray, names: Sequence[str]) -> Float64Array:
    """Compute the `PERCENTILES` of each feature in each genre.

    Parameters
    ----------
    rows
        Shape (n, d); NaN is a missing value.
    labels
        Shape (n,): genre of each row.
    names
        The k genres.

    Returns
    -------
    ndarray, float64, shape (k, 5, d)
        NaN if all values of the feature are missing in the genre.
    """
    found = np.full((len(names), len(PERCENTILES), rows.shape[1]), np.nan)
    for number, name in enumerate(names):
        of_genre = rows[labels == name]
        any_known = ~np.all(np.isnan(of_genre), axis=0)
        if any_known.any():
            found[number][:, any_known] = np.nanpercentile(of_genre[:, any_known], PERCENTILES, axis=0)
    return found


def _write_balance(folder: Path, counts: Mapping[str, int]) -> Section:
    total = sum(counts.values())
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    write_csv(folder / "balance.csv", ("genre", "rows", "share"), [(name, n, n / total) for name, n in rows])
    plots.draw_balance([name for name, _ in rows], [n for _, n in rows], folder / "balance.png")
    text = (
        f"The largest genre has {_count(rows[0][1], 'row')}, {rows[0][1] / rows[-1][1]:,.1f} times as many as the"
        " smallest."
    )
    return Section("balance", "Class balance", text)


def _write_missing(data: _LabelledRows) -> Section:
    unknown = np.isnan(data.rows)
    share = np.array([unknown[data.labels == name].mean(axis=0) for name in data.names]).T
    overall = unknown.mean(axis=0)
    lines = [(feature, overall[i], *share[i].tolist()) for i, feature in enumerate(data.features)]
    write_csv(data.folder / "missing.csv", ("feature", "all", *data.names), lines)
    plots.draw_missing(
        share[:, data.frequent_indices], overall, data.features, data.frequent, data.folder / "missing.png"
    )
    text = (
        f"{int(np.count_nonzero(overall)):,} of {_count(len(overall), 'feature')} have missing values,"
        f" {int(np.count_nonzero(overall == 1)):,} have no value in any row; {np.mean(~unknown.any(axis=1)):.1%} of the"
        " rows are complete."
    )
    return Section("missing", "Missing values", text)


def _write_distributions(data: _LabelledRows, seed: int) -> Section:
    percentiles = compute_percentiles(data.rows, data.labels, data.names)
    ranking = [one["feature"] for one in rank_features(data.rows, data.labels, data.features, seed=seed)]
    column = {feature: number for number, feature in enumerate(data.features)}
    lines = [
        (feature, name, *map(_cell, percentiles[i, :, column[feature]].tolist()))
        for feature in ranking
        for i, name in enumerate(data.names)
    ]
    header = ("feature", "genre", *(f"p{p}" for p in PERCENTILES))
    write_csv(data.folder / "distributions.csv", header, lines)
    order = [column[feature] for feature in ranking]
    shown = percentiles[data.frequent_indices][:, :, order]
    plots.draw_distributions(shown, ranking, data.frequent, data.folder / "distributions.png")
    text = (
        "The features whose mutual information with the genre is highest, each feature alone. Each line shows the"
        " median, the middle 50 % and the middle 90 % of a genre's rows."
    )
    return Section("distributions", "Distributions by genre", text)


def _write_correlations(data: _LabelledRows) -> Section:
    found = correlate(data.rows)
    table = [[*map(_cell, row)] for row in found.tolist()]
    write_csv(data.folder / "correlation.csv", ("feature", *data.features), zip_rows(data.features, table))
    plots.draw_correlation(found, data.features, data.folder / "correlation.png")
    pairs = np.abs(found[np.triu_indices(len(found), 1)])
    text = (
        f"Pearson correlation of each pair of features. {int(np.count_nonzero(pairs >= 0.9)):,} of"
        f" {_count(pairs.size, 'pair')} have an absolute correlation of at least 0.9."
    )
    return Section("correlation", "Correlation", text)


def _write_projections(data: _LabelledRows, seed: int, total: int) -> Iterator[Section]:
    n = len(data.labels)
    sample = np.arange(n)
    if n > MAX_PROJECTED:
        sample = np.sort(np.random.default_rng(seed).choice(n, MAX_PROJECTED, replace=False))
    for one in project(data.rows[sample], seed=seed):
        name = one.name.lower().replace("-", "")
        points = np.empty((0, 2)) if one.points is None else one.points
        labels = data.labels[sample][: len(points)]
        lines = zip_rows(labels.tolist(), points.tolist())
        write_csv(data.folder / f"{name}.csv", ("genre", "x", "y"), lines)
        text = f"{len(points):,} of {total:,} rows."
        if one.points is None:
            text = "There are too few rows, or too few features that vary, for this plot."
        png, title = data.folder / f"{name}.png", f"{one.name}: {text}"
        plots.draw_points(points, labels, data.frequent, png, title=title, axes=one.axes)
        yield Section(name, one.name, text)


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else value


def _count(number: int, what: str) -> str:
    """Format a number with its noun in the singular or plural."""
    return f"{number:,} {what}{'s' * (number != 1)}"
