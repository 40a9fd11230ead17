"""Pictures of labelled features before any model: how many, how spread, how alike, how far apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array
from reprise.lib.genres.plot_layout import (
    DARK,
    MOST,
    ROW_IN,
    SHADES,
    SIZE,
    bare,
    head,
    measure_names,
    name_columns,
    name_rows,
    place,
    rows_figure,
    rule,
    some_of,
)
from reprise.lib.plotting import COLOURS, FAINT, INK, Path, new_figure, plain, save, write

_MARKS = "o^sD"
_SHOWN = 12  # features whose distributions are drawn
_LINES = 40  # features whose gaps are drawn
_PANEL_COLUMNS = {6: 2, 12: 3, 20: 4}


def draw_balance(genres: Sequence[str], counts: Sequence[int], png: Path) -> None:
    """Draw how many rows each of the first thirty genres has, in the order given.

    Parameters
    ----------
    png
        File to write; an existing one is replaced.
    """
    of_all, total, genres, counts = len(genres), sum(counts), genres[:MOST], counts[:MOST]
    figure, axes = rows_figure(len(genres), right=1.5)
    axes.barh(np.arange(len(genres)), counts, height=0.66, color=COLOURS[0])
    axes.set(xlim=(0, max([*counts, 1])), ylim=(len(genres) - 0.5, -0.5), xlabel="rows")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5, integer=True)
    name_rows(axes, genres, 2.35)
    for number, count in enumerate(counts):
        axes.annotate(
            f"{count:,}  ({count / max(total, 1):.1%})", (count, number), (5, 0), textcoords="offset points",
            va="center", fontsize=7.5, color=FAINT, annotation_clip=False,
        )  # fmt: skip
    rule(axes)
    head(figure, "Rows of each genre" + some_of(len(genres), of_all, "genres"))
    save(figure, png)


def draw_missing(
    share: Float64Array, overall: Float64Array, features: Sequence[str], genres: Sequence[str], png: Path
) -> None:
    """Draw which share of each genre's rows lacks which feature; features that no row lacks are left out.

    Parameters
    ----------
    share
        Shape (d, k).
    overall
        Shape (d,): of all rows.
    """
    order = np.argsort(-overall, kind="stable")
    order = order[overall[order] > 0]
    lacking, order = len(order), order[:_LINES]
    d, k = len(order), len(genres)
    if not d:
        _draw_title("Every row knows every feature", png)
        return
    cell, named = 0.5 if k <= 14 else 0.36, measure_names(genres, 1.75)
    left, below = 2.45, named + 0.25
    width, height = max(left + cell * k + 0.9, 6.8), 0.7 + ROW_IN * d + below
    figure = new_figure(width, height)
    axes = place(figure, left, below, cell * k, ROW_IN * d)
    shown = 100 * share[order]
    axes.imshow(shown, cmap=SHADES, vmin=0, vmax=100, aspect="auto")
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
    bare(axes)
    name_rows(axes, [features[number] for number in order.tolist()], left - 0.15)
    name_columns(axes, genres, named)
    head(figure, "Rows without a feature, per cent" + some_of(d, lacking, "features"))
    save(figure, png)


def draw_distributions(quantiles: Float64Array, features: Sequence[str], genres: Sequence[str], png: Path) -> None:
    """Draw how the first twelve features are spread in each genre.

    Parameters
    ----------
    quantiles
        Shape (k, 5, d): the 5th, 25th, 50th, 75th and 95th percentile; NaN where there is none.
    """
    shown, k = min(len(features), _SHOWN), len(genres)
    columns = min(3, shown)
    lines = -(-shown // columns)
    named, wide, high = measure_names(genres, 1.9), 3.3, 0.2 * k + 0.15
    across, up = wide + 0.35, high + 0.75
    figure = new_figure(max(named + across * columns + 0.25, 6.8), 0.55 + up * lines)
    bottom = up * lines
    for number in range(shown):
        line, column = divmod(number, columns)
        axes = place(figure, named + 0.1 + across * column, bottom - up * line - high - 0.25, wide, high)
        low, first, middle, third, top = quantiles[:, :, number].T
        level = np.arange(k)
        axes.hlines(level, low, top, color="#9DB9D3", linewidth=1.2)
        axes.hlines(level, first, third, color=COLOURS[0], linewidth=5)
        axes.plot(middle, level, "o", color="white", markeredgecolor=INK, markersize=4.2, markeredgewidth=0.9)
        axes.set(ylim=(k - 0.4, -0.6))
        rule(axes)
        axes.locator_params(axis="x", nbins=5)
        axes.tick_params(axis="x", labelsize=7)
        axes.xaxis.offsetText.set_fontsize(7)
        if not np.isfinite(middle).any():
            axes.set_xticks([])
        axes.set_yticks([])
        write(axes.set_title("", loc="left", fontsize=SIZE, pad=3, color=INK), features[number], wide * figure.dpi)
        if column == 0:
            name_rows(axes, genres, named)
    head(figure, "Median, half and nine tenths of each genre's rows")
    save(figure, png)


def draw_correlation(correlation: Float64Array, features: Sequence[str], png: Path) -> None:
    """Draw the correlation of each two features; what is not known stays grey.

    Parameters
    ----------
    correlation
        Shape (d, d), -1 to 1 or NaN.
    """
    d = len(features)
    cell = 0.125 if d > 30 else 0.24
    size = 5.6 if d > 30 else SIZE
    named = measure_names(features, 1.9, size=size)
    side = cell * d
    figure = new_figure(max(named + side + 1.2, 6.0), max(0.6 + side + named, 2.4))
    up = float(figure.get_size_inches()[1])
    axes = place(figure, named + 0.15, up - 0.6 - side, side, side)
    axes.set_facecolor("#BBBBBB")
    # blue to red through white: told apart without red or green vision
    shown = axes.imshow(np.ma.masked_invalid(correlation), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    bare(axes)
    name_rows(axes, features, named, size=size)
    name_columns(axes, features, named, size=size)
    scale = place(figure, named + side + 0.35, up - 0.6 - min(side, 2.0), 0.14, min(side, 2.0))
    figure.colorbar(shown, cax=scale, ticks=[-1, 0, 1]).outline.set_visible(False)
    scale.tick_params(labelsize=SIZE, colors=INK)
    head(figure, "Pearson correlation of the features")
    save(figure, png)


def draw_points(
    points: Float64Array, labels: ArrayLike, genres: Sequence[str], png: Path, *, title: str, axes: tuple[str, str]
) -> None:
    """Draw rows laid out in the plane: all of them by genre, and each genre before the others.

    Parameters
    ----------
    points
        Shape (n, 2); without one there is only the title.
    labels
        Shape (n,): genre of each point.
    genres
        Those that are shown, in this order; points of others stay grey.
    axes
        Names of the axes; without them the plane has no scale.
    """
    if not len(points):
        _draw_title(title, png)
        return
    of = np.asarray(labels, dtype=object)
    columns = next((c for most, c in _PANEL_COLUMNS.items() if len(genres) <= most), 5)
    lines = -(-len(genres) // columns)
    side, pad, caption = 6.0, 0.12, 0.24
    panel = 1.45
    left, below = (0.8, 0.6) if any(axes) else (0.16, 0.16)
    grid_high = lines * (panel + caption + pad)
    high = max(side, grid_high)
    width = left + side + 0.3 + columns * (panel + pad) + 0.1
    figure = new_figure(width, below + high + 0.6)
    whole = place(figure, left, below + high - side, side, side)
    looks = [(colour, mark) for mark in _MARKS for colour in COLOURS]
    style = {name: looks[number % len(looks)] for number, name in enumerate(genres)}
    size = float(np.clip(15_000 / max(len(points), 1), 5, 40))
    others = points[~np.isin(of, genres)]
    whole.scatter(others[:, 0], others[:, 1], s=size / 2, color="#DDDDDD", linewidth=0)
    for name in genres:
        chosen = points[of == name]
        colour, mark = style[name]
        whole.scatter(chosen[:, 0], chosen[:, 1], s=size, color=colour, marker=mark, alpha=0.65, linewidth=0)
    whole.set(xlabel=axes[0], ylabel=axes[1])
    whole.margins(0.03)
    plain(whole)
    if not any(axes):
        bare(whole)
        whole.set(xticks=[], yticks=[])
    bounds = {"xlim": whole.get_xlim(), "ylim": whole.get_ylim()}
    for number, name in enumerate(genres):
        line, column = divmod(number, columns)
        x = left + side + 0.3 + column * (panel + pad)
        small = place(figure, x, below + high - line * (panel + caption + pad) - caption - panel, panel, panel)
        chosen = points[of == name]
        colour, mark = style[name]
        small.scatter(points[:, 0], points[:, 1], s=1.5, color="#DDDDDD", linewidth=0)
        dot = float(np.clip(1500 / max(len(chosen), 1), 3, 14))
        small.scatter(chosen[:, 0], chosen[:, 1], s=dot, color=colour, marker=mark, linewidth=0)
        small.set(xticks=[], yticks=[], **bounds)
        for spine in small.spines.values():
            spine.set_color("#CCCCCC")
        small.plot(0.04, 1.075, mark, color=colour, markersize=5, transform=small.transAxes, clip_on=False)
        count = small.text(
            1, 1.03, f"{len(chosen):,}", transform=small.transAxes, fontsize=7.5, color=FAINT, ha="right"
        )
        text = small.text(0.11, 1.03, "", transform=small.transAxes, fontsize=SIZE, color=INK)
        write(text, name, 0.86 * panel * figure.dpi - count.get_window_extent().width)
    head(figure, title)
    save(figure, png)


def _draw_title(title: str, png: Path) -> None:
    figure = new_figure(7.5, 0.6)
    head(figure, title)
    save(figure, png)
