"""Plots of a genre model as PNG files: confusion, calibration, learning curve, features, timeline of a track.

Genres are identified by their position in a plot and not by colour, because a plot can contain 30 genres.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.genres.plot_layout import (
    COLOUR_MAP,
    DARK,
    FONT_SIZE,
    MAX_GENRES,
    ROW_HEIGHT_IN,
    add_axes,
    format_count,
    format_shown,
    hide_frame,
    label_columns,
    label_rows,
    measure_labels,
    new_row_figure,
    set_title,
    style_bars,
)
from reprise.lib.plotting import COLOURS, FAINT, GRID, INK, Path, new_figure, remove_spines, save
from reprise.lib.text import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_MAX_FEATURES = 20
_MAX_TIMELINE_GENRES = 12
_MAX_TIMELINE_COLUMNS = 1200  # in a longer timeline, adjacent windows are averaged
_WINDOW_S = 3.0
_TICKS = (0, 0.2, 0.4, 0.6, 0.8, 1)


def draw_confusion(confusion: ArrayLike, genres: Sequence[str], png: Path, *, title: str = "") -> None:
    """Draw a confusion matrix: the number of rows in each cell, coloured by its share of the true genre's rows.

    Only the 30 genres with the most rows are drawn. The rows of a genre are those with this true genre.

    Parameters
    ----------
    confusion
        Shape (k, k): number of rows, indexed by true genre, then by predicted genre.
    genres
        Names of the k genres.
    png
        File to write; an existing file is replaced.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    total = counts.sum(axis=1)
    share = counts / np.maximum(total[:, None], 1)
    chosen = np.sort(np.argsort(-total, kind="stable")[:MAX_GENRES])
    counts, share = counts[np.ix_(chosen, chosen)], share[np.ix_(chosen, chosen)]
    total_genres, genres = len(genres), [genres[number] for number in chosen.tolist()]
    k = len(genres)
    cell = 0.5 if k <= 14 else 0.36
    label = measure_labels(genres, 1.75)
    left, bottom, top = label + 0.6, label + 0.5, 0.75
    width, height = max(left + cell * k + 0.35, left + 4.1), top + cell * k + bottom
    figure = new_figure(width, height)
    axes = add_axes(figure, left, bottom, cell * k, cell * k)
    axes.imshow(share, cmap=COLOUR_MAP, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(counts > 0).tolist():
        ink = "white" if share[row, column] > DARK else INK
        axes.text(
            column, row, format_count(int(counts[row, column])), ha="center", va="center", color=ink,
            fontsize=8 if k <= 14 else 6.5,
        )  # fmt: skip
    axes.set(xticks=np.arange(k + 1) - 0.5, yticks=np.arange(k + 1) - 0.5)
    axes.grid(color="white", linewidth=1)
    hide_frame(axes)
    label_rows(axes, genres, label)
    label_columns(axes, genres, label)
    figure.text(
        0.16 / width,
        (bottom + cell * k / 2) / height,
        "true",
        rotation=90,
        va="center",
        fontsize=FONT_SIZE,
        color=FAINT,
    )
    note = "predicted; darker: larger share of the true genre"
    figure.text(left / width, 0.12 / height, note, fontsize=FONT_SIZE, color=FAINT)
    set_title(figure, (title or "Confusion") + format_shown(k, total_genres, "genres"))
    save(figure, png)


def draw_per_genre(per_genre: Mapping[str, Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw precision, recall and F1 of the 30 genres with the most rows, sorted by decreasing F1.

    Parameters
    ----------
    per_genre
        The entry ``per_genre`` of the result of `reprise.lib.genres.metrics.compute_metrics`.
    """
    frequent = sorted(per_genre.items(), key=lambda item: (-item[1]["support"], item[0]))[:MAX_GENRES]
    ordered = sorted(frequent, key=lambda item: (-item[1]["f1"], item[0]))
    figure, axes = new_row_figure(len(ordered), right_in=0.9)
    lines = np.arange(len(ordered))
    axes.barh(lines, [one["f1"] for _, one in ordered], height=0.62, color="#BBD3E8", label="F1")
    for name, colour, mark in (("precision", COLOURS[0], ">"), ("recall", COLOURS[1], "D")):
        values = [one[name] for _, one in ordered]
        axes.plot(values, lines, mark, color=colour, markersize=4.5, label=name, clip_on=False, zorder=3)
    axes.set(xlim=(0, 1), ylim=(len(ordered) - 0.5, -0.5), xticks=_TICKS)
    label_rows(axes, [name for name, _ in ordered], 2.35)
    for number, (_, one) in enumerate(ordered):
        axes.annotate(
            f"{one['support']:,}", (1, number), (8, 0), textcoords="offset points", va="center", fontsize=7.5,
            color=FAINT, annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "rows", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize=FONT_SIZE, color=FAINT
    )
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=FONT_SIZE)
    style_bars(axes)
    set_title(figure, (title or "Precision, recall and F1") + format_shown(len(ordered), len(per_genre), "genres"))
    save(figure, png)


def draw_calibration(calibration: Mapping[str, Any], png: Path, *, title: str = "") -> None:
    """Draw the reliability diagram: accuracy by predicted probability, with the number of rows in each bin.

    Parameters
    ----------
    calibration
        The entry ``calibration`` of the result of `reprise.lib.genres.metrics.compute_metrics`.
    """
    bins = calibration["bins"]
    filled = [one for one in bins if one["rows"]]
    figure = new_figure(6.2, 6.4)
    axes = figure.add_axes((0.115, 0.34, 0.845, 0.565))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    # the area of a point is a constant plus a term proportional to its number of rows
    most = max((one["rows"] for one in filled), default=1)
    confidence, accuracy = ([one[name] for one in filled] for name in ("confidence", "accuracy"))
    axes.plot(confidence, accuracy, color=COLOURS[0], linewidth=1.4, label="this model")
    axes.scatter(
        confidence, accuracy, [12 + 110 * one["rows"] / most for one in filled], color=COLOURS[0], zorder=3,
        clip_on=False,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=_TICKS, yticks=_TICKS, ylabel="accuracy")
    axes.legend(loc="upper left", frameon=False, fontsize=FONT_SIZE)
    axes.grid(color=GRID, linewidth=0.7)
    histogram = figure.add_axes((0.115, 0.095, 0.845, 0.17))
    edges = [one["low"] for one in bins] + [bins[-1]["high"]]
    bars = histogram.bar(edges[:-1], [one["rows"] for one in bins], np.diff(edges), align="edge", color="#BBD3E8")
    histogram.bar_label(bars, [format_count(one["rows"]) for one in bins], fontsize=7.5, padding=1, color=INK)
    histogram.set(
        xlim=(0, 1), ylim=(0, 1.25 * most), yticks=[], xticks=_TICKS, xlabel="probability of the predicted genre"
    )
    histogram.set_ylabel("rows", labelpad=18)
    for part in (axes, histogram):
        remove_spines(part)
    error = calibration["expected_calibration_error"]
    set_title(figure, title or f"Calibration: expected calibration error {error:.3f}")
    save(figure, png)


def draw_learning_curve(curve: Sequence[Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw macro F1 and accuracy against the number of training rows.

    Parameters
    ----------
    curve
        Points in any order. Each has the keys ``rows``, ``macro_f1``, ``accuracy`` and ``spread``, the standard
        deviation of macro F1 over the folds.
    """
    points = sorted(curve, key=lambda one: one["rows"])
    figure = new_figure(7, 4.4)
    axes = figure.add_axes((0.095, 0.125, 0.87, 0.755))
    rows = [one["rows"] for one in points]
    f1, deviation = (np.array([one[name] for one in points], dtype=np.float64) for name in ("macro_f1", "spread"))
    axes.fill_between(rows, f1 - deviation, f1 + deviation, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(rows, f1, "o-", color=COLOURS[0], linewidth=1.6, markersize=5, label="macro F1 ± 1 standard deviation")
    axes.plot(
        rows, [one["accuracy"] for one in points], "s", color=COLOURS[1], linestyle=(0, (4, 2)), linewidth=1.4,
        markersize=4.5, label="accuracy",
    )  # fmt: skip
    axes.set(xlim=(0, 1.04 * max(rows, default=1)), ylim=(0, 1), yticks=_TICKS, xlabel="training rows")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(loc="lower right", frameon=False, fontsize=FONT_SIZE)
    axes.grid(color=GRID, linewidth=0.7)
    remove_spines(axes)
    set_title(figure, title or "Learning curve: held-out metrics by training rows")
    save(figure, png)


def draw_ranking(ranking: Sequence[Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw, for each of the 20 best-ranked features, its mutual information with the genre and its F value.

    Parameters
    ----------
    ranking
        The result of `reprise.lib.genres.feature_rankings.rank_features`.
    """
    shown = ranking[:_MAX_FEATURES]
    figure, axes = new_row_figure(len(shown), right_in=0.95)
    values = [one["mutual_information"] or 0.0 for one in shown]
    axes.barh(np.arange(len(shown)), values, height=0.66, color=COLOURS[0])
    most = max(values, default=0) or 1.0
    axes.set(xlim=(0, 1.02 * most), ylim=(len(shown) - 0.5, -0.5), xlabel="mutual information with the genre, nats")
    label_rows(axes, [one["feature"] for one in shown], 2.35)
    for number, one in enumerate(shown):
        value = "—" if one["f_value"] is None else f"{one['f_value']:,.3g}"
        axes.annotate(
            value, (1, number), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=7.5, color=FAINT,
        )  # fmt: skip
    axes.annotate(
        "F", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize=FONT_SIZE, color=FAINT
    )
    style_bars(axes)
    title = title or "Most informative features, each alone"
    set_title(figure, title + format_shown(len(shown), len(ranking), "features"))
    save(figure, png)


def draw_shap(shap: ArrayLike, features: Sequence[str], genres: Sequence[str], png: Path, *, title: str = "") -> None:
    """Draw the mean absolute SHAP value of each feature for each genre, in percentage points.

    Only the 30 genres with the largest sums over all features are drawn. Of the features, only the 20 with the largest
    sums over the drawn genres are drawn.

    Parameters
    ----------
    shap
        Shape (d, k), the result of `reprise.lib.genres.feature_rankings.compute_mean_shap`.
    features, genres
        Names of the d features and of the k genres.
    """
    values = np.asarray(shap, dtype=np.float64)
    chosen = np.sort(np.argsort(-values.sum(axis=0), kind="stable")[:MAX_GENRES])
    values, total_genres = values[:, chosen], len(genres)
    genres = [genres[number] for number in chosen.tolist()]
    order = np.argsort(-values.sum(axis=1), kind="stable")[:_MAX_FEATURES]
    d, k = len(order), len(genres)
    cell = 0.5 if k <= 14 else 0.36
    label = measure_labels(genres, 1.75)
    left, bottom, top = 2.45, label + 0.25, 0.7
    width, height = max(left + cell * k + 0.35, 6.8), top + ROW_HEIGHT_IN * max(d, 1) + bottom
    figure = new_figure(width, height)
    axes = add_axes(figure, left, bottom, cell * k, ROW_HEIGHT_IN * max(d, 1))
    shown = values[order] * 100
    most = float(shown.max(initial=0)) or 1.0
    axes.imshow(shown, cmap=COLOUR_MAP, vmin=0, vmax=most, aspect="auto")
    for row, column in np.argwhere(shown >= 0.05).tolist():
        ink = "white" if shown[row, column] > DARK * most else INK
        axes.text(column, row, f"{shown[row, column]:.1f}", ha="center", va="center", color=ink, fontsize=6.5)
    axes.set(xticks=np.arange(k + 1) - 0.5, yticks=np.arange(d + 1) - 0.5)
    axes.grid(color="white", linewidth=0.8)
    hide_frame(axes)
    label_rows(axes, [features[number] for number in order.tolist()], left - 0.15)
    label_columns(axes, genres, label)
    title = title or "Mean |SHAP| in percentage points"
    set_title(figure, title + format_shown(d, len(features), "features") + format_shown(k, total_genres, "genres"))
    save(figure, png)


def draw_timeline(
    starts_s: ArrayLike, probabilities: ArrayLike, genres: Sequence[str], *, title: str, png: Path
) -> None:
    """Draw the genres of one track over time: one row per genre, shaded by probability.

    Each row also shows the genre's share of the track, which is the mean probability of the genre. If there are more
    than 13 genres, only the 12 genres with the largest shares have rows of their own. One more row is the sum of all
    other genres.

    Parameters
    ----------
    starts_s
        Shape (w,), w >= 1, ascending: starts of the windows in seconds.
    probabilities
        Shape (w, k): probability of each genre in each window. Each row sums to 1.
    genres
        Names of the k genres.
    title
        Name of the track; cut if it is too long.
    png
        File to write; an existing file is replaced.

    Raises
    ------
    ValueError
        There are no windows, or the shapes do not match.
    """
    starts, values = np.asarray(starts_s, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if values.shape != (len(starts), len(genres)) or not values.size:
        raise ValueError(
            f"starts of shape {starts.shape}, probabilities of shape {values.shape} and {len(genres)} genres "
            "do not match or are empty"
        )
    end = starts[-1] + (float(np.median(np.diff(starts))) if len(starts) > 1 else _WINDOW_S)
    shares = values.mean(axis=0)
    order = np.argsort(-shares, kind="stable")
    names = [genres[number] for number in order.tolist()]
    values, percent = values[:, order], 100 * shares[order]
    if len(names) > _MAX_TIMELINE_GENRES + 1:
        rest = slice(_MAX_TIMELINE_GENRES, None)
        names = [*names[:_MAX_TIMELINE_GENRES], f"{len(names) - _MAX_TIMELINE_GENRES} others"]
        values = np.column_stack([values[:, :_MAX_TIMELINE_GENRES], values[:, rest].sum(axis=1)])
        percent = np.append(percent[:_MAX_TIMELINE_GENRES], percent[rest].sum())
    edges = np.append(starts, end)
    if len(starts) > _MAX_TIMELINE_COLUMNS:
        first = np.unique(np.linspace(0, len(starts), _MAX_TIMELINE_COLUMNS, endpoint=False).astype(np.int64))
        count = np.diff(np.append(first, len(starts)))
        values, edges = np.add.reduceat(values, first) / count[:, None], np.append(starts[first], end)
    row_height, k = 0.3, len(names)
    width, height, left, right, bottom = 11.0, 1.15 + row_height * k + 0.3, 2.0, 1.9, 0.62
    figure = new_figure(width, height)
    axes = add_axes(figure, left, bottom, width - left - right, row_height * k)
    axes.pcolormesh(edges, np.arange(k + 1) - 0.5, values.T, cmap=COLOUR_MAP, vmin=0, vmax=1, rasterized=True)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(k - 0.5, -0.5), yticks=np.arange(k + 1) - 0.5, yticklabels=[])
    axes.hlines(np.arange(k - 1) + 0.5, *edges[[0, -1]], color="white", linewidth=1.2)
    hide_frame(axes)
    _scale_time(axes, end - starts[0])
    label_rows(axes, names, left - 0.15)
    bars = add_axes(figure, width - right + 0.15, bottom, right - 0.85, row_height * k)
    bars.barh(np.arange(k), percent, height=0.62, color=COLOURS[0])
    bars.set(ylim=(k - 0.5, -0.5), xlim=(0, max(float(percent.max()), 1e-9)), xticks=[], yticks=[])
    for number, value in enumerate(percent.tolist()):
        bars.annotate(
            f"{value:.1f} %", (1, number), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=FONT_SIZE, color=INK,
        )  # fmt: skip
    hide_frame(bars)
    set_title(figure, title)
    note_y = 1 - 0.72 / height
    figure.text(left / width, note_y, "darker: more probable", fontsize=FONT_SIZE, color=FAINT)
    figure.text(1 - (right - 0.15) / width, note_y, "share of track", fontsize=FONT_SIZE, color=FAINT)
    save(figure, png)


def _scale_time(axes: "Axes", length_s: float) -> None:
    """Set at most 13 ticks on the time axis, at multiples of a whole number of seconds."""
    from matplotlib.ticker import MultipleLocator

    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    step = next((step for step in steps if length_s <= 12 * step), 3600 * -(-length_s // (12 * 3600)))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(lambda value, _: format_time(value))
    axes.tick_params(axis="x", length=3, labelbottom=True, labelsize=FONT_SIZE, colors=INK)
