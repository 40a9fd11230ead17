"""The exploratory page of labelled features: one folder with ``index.html``, pictures and tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reprise.lib.arrays import Float64Array, ObjectArray
from reprise.lib.genres import exploration_plots as plots
from reprise.lib.genres.feature_rankings import rank_features
from reprise.lib.genres.plot_layout import MOST
from reprise.lib.genres.projections import project
from reprise.lib.genres.reports import write_csv, zip_rows
from reprise.lib.html import Section, render_page

MAX_PROJECTED = 3_000
"""Rows that are laid out in the plane; of more, so many are drawn."""
PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class _Data:
    """Labelled rows, and where the page about them is written; ``frequent`` are the names that pictures show."""

    folder: Path
    rows: Float64Array
    labels: ObjectArray
    features: Sequence[str]
    names: list[str]
    frequent: list[str]

    @property
    def shown(self) -> list[int]:
        """Places of the frequent among all names."""
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
    """Write the page of a set of labelled rows.

    It shows how many rows each genre has, what is unknown, how the features that say most are spread in each genre,
    how features correlate, and the rows laid out by PCA, t-SNE and UMAP. Each picture has a CSV file of its numbers;
    pictures show the thirty genres with most rows, the files all.

    Parameters
    ----------
    folder
        Made where it does not exist; files of these names in it are replaced.
    rows
        Shape (n, d), n >= 1, d >= 1; NaN and infinity are unknown.
    genres
        Shape (n,).
    features
        The d names.
    counts
        Rows of each genre in all; ``rows`` may be a sample of them.
    title
        Heads the page.
    seed
        Draws rows and starts the layouts: the same rows and seed give the same files.

    Returns
    -------
    list of Path
        What was written, the page first.

    Raises
    ------
    ValueError
        No row, no feature, or shapes that do not fit.
    """
    labels = np.asarray(genres, dtype=object)
    if rows.shape != (len(labels), len(features)) or not rows.size:
        raise ValueError(f"{rows.shape} rows, {labels.shape} genres and {len(features)} features do not fit")
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(set(labels.tolist()))
    frequent = sorted(sorted(names, key=lambda name: (-counts[name], name))[:MOST])
    known = np.where(np.isfinite(rows), rows, np.nan).astype(np.float64)
    data = _Data(folder, known, labels, features, names, frequent)
    total = sum(counts.values())
    parts = [
        _balance(folder, counts),
        _missing(data),
        _distributions(data, seed),
        _correlations(data),
        *_projections(data, seed, total),
    ]
    page = folder / "index.html"
    size = f"{total:,} rows, {_count(len(counts), 'genre')}, {_count(len(features), 'feature')}."
    if len(labels) < total:
        size += f" All but the class balance is counted on {len(labels):,} rows drawn from them."
    if len(names) > MOST:
        size += f" Pictures show the {MOST} genres with most rows, the files all."
    page.write_text(render_page(title, size, parts), "utf-8", "replace")
    return [page, *(folder / f"{part.name}.{suffix}" for part in parts for suffix in ("png", "csv"))]


def correlate(rows: Float64Array) -> Float64Array:
    """Pearson's correlation of each two columns, over the rows that know both.

    Parameters
    ----------
    rows
        Shape (n, d); NaN is unknown.

    Returns
    -------
    ndarray, float64, shape (d, d)
        NaN where fewer than three rows know both, or one of the two has no spread in these.
    """
    known = ~np.isnan(rows)
    scale = np.nanmax(np.abs(rows), axis=0, initial=0.0)
    scaled = rows / np.where(scale > 0, scale, 1)
    centre = np.where(known, scaled, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    values = np.where(known, scaled - centre, 0)  # centred, or the sums lose what lies far from 0
    mask = known.astype(np.float64)
    count = mask.T @ mask
    at = np.maximum(count, 1)
    total, square = values.T @ mask, (values**2).T @ mask  # of a column over the rows that know another, too
    product = values.T @ values - total * total.T / at
    spread = square - total**2 / at
    # what rounding leaves of no spread is none
    real = (spread > 1e-13 * count) & (count >= 3)
    with np.errstate(invalid="ignore"):
        found = product / np.sqrt(spread * spread.T)
    return np.where(real & real.T, np.clip(found, -1, 1), np.nan)


def quantiles(rows: Float64Array, labels: ObjectArray, names: Sequence[str]) -> Float64Array:
    """`PERCENTILES` of each feature in each genre.

    Returns
    -------
    ndarray, float64, shape (genres, percentiles, d)
        NaN where a genre knows no value.
    """
    found = np.full((len(names), len(PERCENTILES), rows.shape[1]), np.nan)
    for number, name in enumerate(names):
        of_genre = rows[labels == name]
        any_known = ~np.all(np.isnan(of_genre), axis=0)
        if any_known.any():
            found[number][:, any_known] = np.nanpercentile(of_genre[:, any_known], PERCENTILES, axis=0)
    return found


def _balance(folder: Path, counts: Mapping[str, int]) -> Section:
    total = sum(counts.values())
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    write_csv(folder / "balance.csv", ("genre", "rows", "share"), [(name, n, n / total) for name, n in rows])
    plots.draw_balance([name for name, _ in rows], [n for _, n in rows], folder / "balance.png")
    text = f"The largest genre has {rows[0][1]:,} rows, {rows[0][1] / rows[-1][1]:,.1f} times the smallest."
    return Section("balance", "Class balance", text)


def _missing(data: _Data) -> Section:
    unknown = np.isnan(data.rows)
    share = np.array([unknown[data.labels == name].mean(axis=0) for name in data.names]).T
    overall = unknown.mean(axis=0)
    lines = [(feature, overall[i], *share[i].tolist()) for i, feature in enumerate(data.features)]
    write_csv(data.folder / "missing.csv", ("feature", "all", *data.names), lines)
    plots.draw_missing(share[:, data.shown], overall, data.features, data.frequent, data.folder / "missing.png")
    text = (
        f"{int(np.count_nonzero(overall)):,} of {_count(len(overall), 'feature')} are unknown in some row,"
        f" {int(np.count_nonzero(overall == 1)):,} in all; {np.mean(~unknown.any(axis=1)):.1%} of the rows know every"
        " feature."
    )
    return Section("missing", "Missing values", text)


def _distributions(data: _Data, seed: int) -> Section:
    found = quantiles(data.rows, data.labels, data.names)
    ranking = [one["feature"] for one in rank_features(data.rows, data.labels, data.features, seed=seed)]
    place = {feature: number for number, feature in enumerate(data.features)}
    lines = [
        (feature, name, *map(_cell, found[i, :, place[feature]].tolist()))
        for feature in ranking
        for i, name in enumerate(data.names)
    ]
    header = ("feature", "genre", *(f"p{p}" for p in PERCENTILES))
    write_csv(data.folder / "distributions.csv", header, lines)
    order = [place[feature] for feature in ranking]
    plots.draw_distributions(found[data.shown][:, :, order], ranking, data.frequent, data.folder / "distributions.png")
    text = (
        "The features that say most about the genre, each alone (mutual information): the median, and the half and the"
        " nine tenths of the rows about it."
    )
    return Section("distributions", "Distributions by genre", text)


def _correlations(data: _Data) -> Section:
    found = correlate(data.rows)
    table = [[*map(_cell, row)] for row in found.tolist()]
    write_csv(data.folder / "correlation.csv", ("feature", *data.features), zip_rows(data.features, table))
    plots.draw_correlation(found, data.features, data.folder / "correlation.png")
    pairs = np.abs(found[np.triu_indices(len(found), 1)])
    text = (
        f"Pearson's correlation of each two features. {int(np.count_nonzero(pairs >= 0.9)):,} of"
        f" {_count(pairs.size, 'pair')} stand at 0.9 or more, of either sign."
    )
    return Section("correlation", "Correlation", text)


def _projections(data: _Data, seed: int, total: int) -> Iterator[Section]:
    n = len(data.labels)
    some = np.arange(n)
    if n > MAX_PROJECTED:
        some = np.sort(np.random.default_rng(seed).choice(n, MAX_PROJECTED, replace=False))
    for one in project(data.rows[some], seed=seed):
        name = one.name.lower().replace("-", "")
        points = np.empty((0, 2)) if one.points is None else one.points
        labels = data.labels[some][: len(points)]
        lines = zip_rows(labels.tolist(), points.tolist())
        write_csv(data.folder / f"{name}.csv", ("genre", "x", "y"), lines)
        text = f"{len(points):,} of {total:,} rows."
        if one.points is None:
            text = "There are too few rows, or features with a spread, for this picture."
        png, title = data.folder / f"{name}.png", f"{one.name}: {text}"
        plots.draw_points(points, labels, data.frequent, png, title=title, axes=one.axes)
        yield Section(name, one.name, text)


def _cell(value: float) -> float | None:
    return None if np.isnan(value) else value


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
