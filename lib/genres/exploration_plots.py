"""Plots of labelled features: class balance, missing values, distributions, correlation, projections."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array
from reprise.lib.genres.plot_layout import (
    COLOUR_MAP,
    DARK,
    FONT_SIZE,
    MAX_GENRES,
    ROW_HEIGHT_IN,
    add_axes,
    format_shown,
    hide_frame,
    label_columns,
    label_rows,
    measure_labels,
    new_row_figure,
    set_title,
    style_bars,
)
from reprise.lib.plotting import COLOURS, FAINT, INK, Path, fit_text, new_figure, remove_spines, save

_MARKERS = "o^sD"
_MAX_DISTRIBUTIONS = 12  # maximum number of features
_MAX_MISSING = 40  # maximum number of features
_PANEL_COLUMNS = {6: 2, 12: 3, 20: 4}  # maximum number of genres -> panels in a row; 5 for more than 20 genres


def draw_balance(genres: Sequence[str], counts: Sequence[int], png: Path) -> None:
    """Draw a bar chart of the number of rows in each genre. Only the first 30 genres are drawn, in the given order.

    Parameters
    ----------
    genres, counts
        Names of all genres, and number of rows of each genre.
    png
        File to write; an existing file is replaced.
    """
    total_genres, total_rows = len(genres), sum(counts)
    genres, counts = genres[:MAX_GENRES], counts[:MAX_GENRES]
    figure, axes = new_row_figure(len(genres), right_in=1.5)
    axes.barh(np.arange(len(genres)), counts, height=0.66, color=COLOURS[0])
    axes.set(xlim=(0, max([*counts, 1])), ylim=(len(genres) - 0.5, -0.5), xlabel="rows")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5, integer=True)
    label_rows(axes, genres, 2.35)
    for number, count in enumerate(counts):
        axes.annotate(
            f"{count:,}  ({count / max(total_rows, 1):.1%})", (count, number), (5, 0), textcoords="offset points",
            va="center", fontsize=7.5, color=FAINT, annotation_clip=False,
        )  # fmt: skip
    style_bars(axes)
    set_title(figure, "Rows of each genre" + format_shown(len(genres), total_genres, "genres"))
    save(figure, png)


def draw_missing(
    share: Float64Array, overall: Float64Array, features: Sequence[str], genres: Sequence[str], png: Path
) -> None:
    """Draw the share of missing values of each feature in each genre.

    Features without missing values are omitted. Only the 40 features with the largest shares of all rows are drawn. If
    no value is missing, only a title is drawn.

    Parameters
    ----------
    share
        Shape (d, k): for each feature and each genre, the share of the genre's rows in which the feature is missing.
    overall
        Shape (d,): for each feature, the share of all rows in which it is missing.
    features, genres
        Names of the d features and of the k genres.
    """
    order = np.argsort(-overall, kind="stable")
    order = order[overall[order] > 0]
    total_features, order = len(order), order[:_MAX_MISSING]
    d, k = len(order), len(genres)
    if not d:
        _draw_title("No missing values", png)
        return
    cell, label = 0.5 if k <= 14 else 0.36, measure_labels(genres, 1.75)
    left, bottom = 2.45, label + 0.25
    width, height = max(left + cell * k + 0.9, 6.8), 0.7 + ROW_HEIGHT_IN * d + bottom
    figure = new_figure(width, height)
    axes = add_axes(figure, left, bottom, cell * k, ROW_HEIGHT_IN * d)
    shown = 100 * share[order]
    axes.imshow(shown, cmap=COLOUR_MAP, vmin=0, vmax=100, aspect="auto")
    for row, column in np.argwhere(shown > 0).tolist():
        value = shown[row, column]
        ink = "white" if value > 100 * DARK else INK
        axes.text(column, row, "<1" if value < 0.5 else f"{value:.0f}", ha="center", va="center", color=ink, fontsize=7)
    for number, value in enumerate((100 * overall[order]).tolist()):
        axes.annotate(
            f"{value:.1f} %", (1, number), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=7.5, color=FAINT,
        )  # fmt: skip
    axes.set(xticks=np.arange(k + 1) - 0.5, yticks=np.arange(d + 1) - 0.5)
    axes.grid(color="white", linewidth=0.8)
    hide_frame(axes)
    label_rows(axes, [features[number] for number in order.tolist()], left - 0.15)
    label_columns(axes, genres, label)
    set_title(figure, "Missing values, % of rows" + format_shown(d, total_features, "features"))
    save(figure, png)


def draw_distributions(percentiles: Float64Array, features: Sequence[str], genres: Sequence[str], png: Path) -> None:
    """Draw the distributions of the first 12 features in each genre.

    Parameters
    ----------
    percentiles
        Shape (k, 5, d): the 5th, 25th, 50th, 75th and 95th percentile of d features in k genres. NaN is an undefined
        percentile.
    """
    shown, k = min(len(features), _MAX_DISTRIBUTIONS), len(genres)
    columns = min(3, shown)
    lines = -(-shown // columns)
    label, width, height = measure_labels(genres, 1.9), 3.3, 0.2 * k + 0.15
    panel_width, panel_height = width + 0.35, height + 0.75
    figure = new_figure(max(label + panel_width * columns + 0.25, 6.8), 0.55 + panel_height * lines)
    top = panel_height * lines
    for number in range(shown):
        line, column = divmod(number, columns)
        left, bottom = label + 0.1 + panel_width * column, top - panel_height * line - height - 0.25
        axes = add_axes(figure, left, bottom, width, height)
        p5, p25, p50, p75, p95 = percentiles[:, :, number].T
        level = np.arange(k)
        axes.hlines(level, p5, p95, color="#9DB9D3", linewidth=1.2)
        axes.hlines(level, p25, p75, color=COLOURS[0], linewidth=5)
        axes.plot(p50, level, "o", color="white", markeredgecolor=INK, markersize=4.2, markeredgewidth=0.9)
        axes.set(ylim=(k - 0.4, -0.6))
        style_bars(axes)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="x", labelsize=7)
        axes.xaxis.offsetText.set_fontsize(7)
        if not np.isfinite(p50).any():
            axes.set_xticks([])
        axes.set_yticks([])
        fit_text(
            axes.set_title("", loc="left", fontsize=FONT_SIZE, pad=3, color=INK), features[number], width * figure.dpi
        )
        if column == 0:
            label_rows(axes, genres, label)
    set_title(figure, "Median, middle 50 % and middle 90 % of each genre's rows")
    save(figure, png)


def draw_correlation(correlation: Float64Array, features: Sequence[str], png: Path) -> None:
    """Draw the correlation matrix of the features; undefined correlations are grey.

    Parameters
    ----------
    correlation
        Shape (d, d): values from -1 to 1, or NaN if undefined.
    """
    d = len(features)
    cell = 0.125 if d > 30 else 0.24
    size = 5.6 if d > 30 else FONT_SIZE
    label = measure_labels(features, 1.9, size=size)
    side = cell * d
    figure = new_figure(max(label + side + 1.2, 6.0), max(0.6 + side + label, 2.4))
    height = float(figure.get_size_inches()[1])
    axes = add_axes(figure, label + 0.15, height - 0.6 - side, side, side)
    axes.set_facecolor("#BBBBBB")
    # blue, white, red: distinguishable with red-green colour blindness
    shown = axes.imshow(np.ma.masked_invalid(correlation), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    hide_frame(axes)
    label_rows(axes, features, label, size=size)
    label_columns(axes, features, label, size=size)
    scale = add_axes(figure, label + side + 0.35, height - 0.6 - min(side, 2.0), 0.14, min(side, 2.0))
    figure.colorbar(shown, cax=scale, ticks=[-1, 0, 1]).outline.set_visible(False)
    scale.tick_params(labelsize=FONT_SIZE, colors=INK)
    set_title(figure, "Pearson correlation of the features")
    save(figure, png)


def draw_points(
    points: Float64Array, labels: ArrayLike, genres: Sequence[str], png: Path, *, title: str, axes: tuple[str, str]
) -> None:
    """Draw rows as points in the plane: one plot of all genres, and one panel for each genre.

    In the panel of a genre, all points are grey, and the points of the genre are drawn over them in colour.

    Parameters
    ----------
    points
        Shape (n, 2). If there are no points, only the title is drawn.
    labels
        Shape (n,): genre of each point.
    genres
        Genres to draw, in this order. Points of a genre that is not in ``genres`` are grey.
    axes
        Labels of the axes. If both are empty, the axes have no scale.
    """
    if not len(points):
        _draw_title(title, png)
        return
    genre_of = np.asarray(labels, dtype=object)
    columns = next((c for most, c in _PANEL_COLUMNS.items() if len(genres) <= most), 5)
    lines = -(-len(genres) // columns)
    side, pad, caption = 6.0, 0.12, 0.24
    panel = 1.45
    left, bottom = (0.8, 0.6) if any(axes) else (0.16, 0.16)
    height = max(side, lines * (panel + caption + pad))
    width = left + side + 0.3 + columns * (panel + pad) + 0.1
    figure = new_figure(width, bottom + height + 0.6)
    overview = add_axes(figure, left, bottom + height - side, side, side)
    styles = [(colour, marker) for marker in _MARKERS for colour in COLOURS]
    style = {name: styles[number % len(styles)] for number, name in enumerate(genres)}
    size = float(np.clip(15_000 / max(len(points), 1), 5, 40))
    others = points[~np.isin(genre_of, genres)]
    overview.scatter(others[:, 0], others[:, 1], s=size / 2, color="#DDDDDD", linewidth=0)
    for name in genres:
        chosen = points[genre_of == name]
        colour, marker = style[name]
        overview.scatter(chosen[:, 0], chosen[:, 1], s=size, color=colour, marker=marker, alpha=0.65, linewidth=0)
    overview.set(xlabel=axes[0], ylabel=axes[1])
    overview.margins(0.03)
    remove_spines(overview)
    if not any(axes):
        hide_frame(overview)
        overview.set(xticks=[], yticks=[])
    bounds = {"xlim": overview.get_xlim(), "ylim": overview.get_ylim()}
    for number, name in enumerate(genres):
        line, column = divmod(number, columns)
        x = left + side + 0.3 + column * (panel + pad)
        small = add_axes(figure, x, bottom + height - line * (panel + caption + pad) - caption - panel, panel, panel)
        chosen = points[genre_of == name]
        colour, marker = style[name]
        small.scatter(points[:, 0], points[:, 1], s=1.5, color="#DDDDDD", linewidth=0)
        dot = float(np.clip(1500 / max(len(chosen), 1), 3, 14))
        small.scatter(chosen[:, 0], chosen[:, 1], s=dot, color=colour, marker=marker, linewidth=0)
        small.set(xticks=[], yticks=[], **bounds)
        for spine in small.spines.values():
            spine.set_color("#CCCCCC")
        small.plot(0.04, 1.075, marker, color=colour, markersize=5, transform=small.transAxes, clip_on=False)
        count = small.text(
            1, 1.03, f"{len(chosen):,}", transform=small.transAxes, fontsize=7.5, color=FAINT, ha="right"
        )
        text = small.text(0.11, 1.03, "", transform=small.transAxes, fontsize=FONT_SIZE, color=INK)
        fit_text(text, name, 0.86 * panel * figure.dpi - count.get_window_extent().width)
    set_title(figure, title)
    save(figure, png)


def _draw_title(title: str, png: Path) -> None:
    figure = new_figure(7.5, 0.6)
    set_title(figure, title)
    save(figure, png)
