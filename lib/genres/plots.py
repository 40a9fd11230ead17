"""Pictures of a genre model, as PNG files: what it confuses, how sure it may be, what it learned from, one track.

Genres are told apart by where they stand, not by colour: there may be thirty of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

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
    short,
    some_of,
)
from reprise.lib.plotting import COLOURS, FAINT, GRID, INK, Path, new_figure, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_TOP = 20  # features that are drawn
_COURSE = 12  # genres of a track that are drawn
_COLUMNS = 1200  # of a course; longer ones are averaged
_WINDOW_S = 3.0
_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)


def draw_confusion(confusion: ArrayLike, genres: Sequence[str], png: Path, *, title: str = "") -> None:
    """Draw which genres are taken for which: counts, coloured by the share of the true genre's rows.

    The thirty genres with most rows are drawn.

    Parameters
    ----------
    confusion
        Shape (k, k): rows of each true genre by predicted genre.
    genres
        The k names.
    png
        File to write; an existing one is replaced.
    """
    counts = np.asarray(confusion, dtype=np.int64)
    total = counts.sum(axis=1)
    share = counts / np.maximum(total[:, None], 1)
    chosen = np.sort(np.argsort(-total, kind="stable")[:MOST])
    counts, share = counts[np.ix_(chosen, chosen)], share[np.ix_(chosen, chosen)]
    of_all, genres = len(genres), [genres[number] for number in chosen.tolist()]
    k = len(genres)
    cell = 0.5 if k <= 14 else 0.36
    named = measure_names(genres, 1.75)
    left, below, top = named + 0.6, named + 0.5, 0.75
    width, height = max(left + cell * k + 0.35, left + 4.1), top + cell * k + below
    figure = new_figure(width, height)
    axes = place(figure, left, below, cell * k, cell * k)
    axes.imshow(share, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(counts > 0).tolist():
        ink = "white" if share[row, column] > DARK else INK
        axes.text(
            column, row, short(int(counts[row, column])), ha="center", va="center", color=ink,
            fontsize=8 if k <= 14 else 6.5,
        )  # fmt: skip
    axes.set(xticks=np.arange(k + 1) - 0.5, yticks=np.arange(k + 1) - 0.5)
    axes.grid(color="white", linewidth=1)
    bare(axes)
    name_rows(axes, genres, named)
    name_columns(axes, genres, named)
    figure.text(
        0.16 / width, (below + cell * k / 2) / height, "true", rotation=90, va="center", fontsize=SIZE, color=FAINT
    )
    note = "predicted; the darker, the larger a share of the true genre"
    figure.text(left / width, 0.12 / height, note, fontsize=SIZE, color=FAINT)
    head(figure, (title or "Confusion") + some_of(k, of_all, "genres"))
    save(figure, png)


def draw_per_genre(per_genre: Mapping[str, Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw precision, recall and F1 of each of the thirty genres with most rows, the best F1 first.

    Parameters
    ----------
    per_genre
        As `reprise.lib.genres.metrics.measure` has it.
    """
    frequent = sorted(per_genre.items(), key=lambda item: (-item[1]["support"], item[0]))[:MOST]
    ordered = sorted(frequent, key=lambda item: (-item[1]["f1"], item[0]))
    figure, axes = rows_figure(len(ordered), right=0.9)
    lines = np.arange(len(ordered))
    axes.barh(lines, [one["f1"] for _, one in ordered], height=0.62, color="#BBD3E8", label="F1")
    for name, colour, mark in (("precision", COLOURS[0], ">"), ("recall", COLOURS[1], "D")):
        values = [one[name] for _, one in ordered]
        axes.plot(values, lines, mark, color=colour, markersize=4.5, label=name, clip_on=False, zorder=3)
    axes.set(xlim=(0, 1), ylim=(len(ordered) - 0.5, -0.5), xticks=_SHARES)
    name_rows(axes, [name for name, _ in ordered], 2.35)
    for number, (_, one) in enumerate(ordered):
        axes.annotate(
            f"{one['support']:,}", (1, number), (8, 0), textcoords="offset points", va="center", fontsize=7.5,
            color=FAINT, annotation_clip=False,
        )  # fmt: skip
    axes.annotate(
        "rows", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize=SIZE, color=FAINT
    )
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=SIZE)
    rule(axes)
    head(figure, (title or "Precision, recall and F1") + some_of(len(ordered), len(per_genre), "genres"))
    save(figure, png)


def draw_calibration(calibration: Mapping[str, Any], png: Path, *, title: str = "") -> None:
    """Draw how often predictions of each probability are right, and how many there are.

    Parameters
    ----------
    calibration
        As `reprise.lib.genres.metrics.measure` has it.
    """
    bins = calibration["bins"]
    filled = [one for one in bins if one["rows"]]
    figure = new_figure(6.2, 6.4)
    axes = figure.add_axes((0.115, 0.34, 0.845, 0.565))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="as sure as right")
    # the area of a point says how many rows it stands for
    most = max((one["rows"] for one in filled), default=1)
    confidence, accuracy = ([one[name] for one in filled] for name in ("confidence", "accuracy"))
    axes.plot(confidence, accuracy, color=COLOURS[0], linewidth=1.4, label="this model")
    axes.scatter(
        confidence, accuracy, [12 + 110 * one["rows"] / most for one in filled], color=COLOURS[0], zorder=3,
        clip_on=False,
    )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=_SHARES, yticks=_SHARES, ylabel="share that is right")
    axes.legend(loc="upper left", frameon=False, fontsize=SIZE)
    axes.grid(color=GRID, linewidth=0.7)
    below = figure.add_axes((0.115, 0.095, 0.845, 0.17))
    edges = [one["low"] for one in bins] + [bins[-1]["high"]]
    bars = below.bar(edges[:-1], [one["rows"] for one in bins], np.diff(edges), align="edge", color="#BBD3E8")
    below.bar_label(bars, [short(one["rows"]) for one in bins], fontsize=7.5, padding=1, color=INK)
    below.set(
        xlim=(0, 1), ylim=(0, 1.25 * most), yticks=[], xticks=_SHARES, xlabel="probability of the predicted genre"
    )
    below.set_ylabel("rows", labelpad=18)
    for part in (axes, below):
        plain(part)
    error = calibration["expected_calibration_error"]
    head(figure, title or f"Calibration: probabilities are off by {error:.3f} on average")
    save(figure, png)


def draw_learning_curve(curve: Sequence[Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw macro F1 and accuracy against the rows that were learned from.

    Parameters
    ----------
    curve
        ``rows``, ``macro_f1``, ``accuracy`` and ``spread``, the standard deviation of macro F1; any order.
    """
    points = sorted(curve, key=lambda one: one["rows"])
    figure = new_figure(7, 4.4)
    axes = figure.add_axes((0.095, 0.125, 0.87, 0.755))
    rows = [one["rows"] for one in points]
    f1, around = (np.array([one[name] for one in points], dtype=np.float64) for name in ("macro_f1", "spread"))
    axes.fill_between(rows, f1 - around, f1 + around, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(rows, f1, "o-", color=COLOURS[0], linewidth=1.6, markersize=5, label="macro F1, ± one deviation")
    axes.plot(
        rows, [one["accuracy"] for one in points], "s", color=COLOURS[1], linestyle=(0, (4, 2)), linewidth=1.4,
        markersize=4.5, label="accuracy",
    )  # fmt: skip
    axes.set(xlim=(0, 1.04 * max(rows, default=1)), ylim=(0, 1), yticks=_SHARES, xlabel="rows learned from")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.legend(loc="lower right", frameon=False, fontsize=SIZE)
    axes.grid(color=GRID, linewidth=0.7)
    plain(axes)
    head(figure, title or "Learning curve: held-out figures by rows learned from")
    save(figure, png)


def draw_ranking(ranking: Sequence[Mapping[str, Any]], png: Path, *, title: str = "") -> None:
    """Draw how much the best features say about the genre, each alone.

    Parameters
    ----------
    ranking
        As `reprise.lib.genres.feature_rankings.rank_features` has it.
    """
    shown = ranking[:_TOP]
    figure, axes = rows_figure(len(shown), right=0.95)
    values = [one["mutual_information"] or 0.0 for one in shown]
    axes.barh(np.arange(len(shown)), values, height=0.66, color=COLOURS[0])
    most = max(values, default=0) or 1.0
    axes.set(xlim=(0, 1.02 * most), ylim=(len(shown) - 0.5, -0.5), xlabel="mutual information with the genre, nats")
    name_rows(axes, [one["feature"] for one in shown], 2.35)
    for number, one in enumerate(shown):
        value = "—" if one["f_value"] is None else f"{one['f_value']:,.3g}"
        axes.annotate(
            value, (1, number), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            fontsize=7.5, color=FAINT,
        )  # fmt: skip
    axes.annotate("F", (1, 1), (8, 3), xycoords="axes fraction", textcoords="offset points", fontsize=SIZE, color=FAINT)
    rule(axes)
    title = title or "Features that say most, each alone"
    head(figure, title + some_of(len(shown), len(ranking), "features"))
    save(figure, png)


def draw_shap(shap: ArrayLike, features: Sequence[str], genres: Sequence[str], png: Path, *, title: str = "") -> None:
    """Draw by how much the features that matter most move each genre's probability.

    Parameters
    ----------
    shap
        Shape (d, k): mean of the absolute SHAP values, from `feature_rankings.explain_summary`.
    """
    values = np.asarray(shap, dtype=np.float64)
    chosen = np.sort(np.argsort(-values.sum(axis=0), kind="stable")[:MOST])
    values, of_all, genres = values[:, chosen], len(genres), [genres[number] for number in chosen.tolist()]
    order = np.argsort(-values.sum(axis=1), kind="stable")[:_TOP]
    d, k = len(order), len(genres)
    cell = 0.5 if k <= 14 else 0.36
    named = measure_names(genres, 1.75)
    left, below, top = 2.45, named + 0.25, 0.7
    width, height = max(left + cell * k + 0.35, 6.8), top + ROW_IN * max(d, 1) + below
    figure = new_figure(width, height)
    axes = place(figure, left, below, cell * k, ROW_IN * max(d, 1))
    shown = values[order] * 100
    most = float(shown.max(initial=0)) or 1.0
    axes.imshow(shown, cmap=SHADES, vmin=0, vmax=most, aspect="auto")
    for row, column in np.argwhere(shown >= 0.05).tolist():
        ink = "white" if shown[row, column] > DARK * most else INK
        axes.text(column, row, f"{shown[row, column]:.1f}", ha="center", va="center", color=ink, fontsize=6.5)
    axes.set(xticks=np.arange(k + 1) - 0.5, yticks=np.arange(d + 1) - 0.5)
    axes.grid(color="white", linewidth=0.8)
    bare(axes)
    name_rows(axes, [features[number] for number in order.tolist()], left - 0.15)
    name_columns(axes, genres, named)
    title = title or "Mean |SHAP| in percentage points"
    head(figure, title + some_of(d, len(features), "features") + some_of(k, of_all, "genres"))
    save(figure, png)


def draw_timeline(
    starts_s: ArrayLike, probabilities: ArrayLike, genres: Sequence[str], *, title: str, png: Path
) -> None:
    """Draw the genre of one track over time: a line a genre, the darker the more probable, and its share of the track.

    The twelve genres with the largest shares are drawn, what the others have together stands in a last line.

    Parameters
    ----------
    starts_s
        Shape (w,), w >= 1, ascending: starts of the windows in s.
    probabilities
        Shape (w, k), rows that sum to 1.
    genres
        The k names.
    title
        Name of the track, cut where too long.
    png
        File to write; an existing one is replaced.

    Raises
    ------
    ValueError
        No window, or shapes that do not fit.
    """
    starts, found = np.asarray(starts_s, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if found.shape != (len(starts), len(genres)) or not found.size:
        raise ValueError(f"{starts.shape} windows, {found.shape} probabilities and {len(genres)} genres do not fit")
    end = starts[-1] + (float(np.median(np.diff(starts))) if len(starts) > 1 else _WINDOW_S)
    shares = found.mean(axis=0)
    order = np.argsort(-shares, kind="stable")
    names = [genres[number] for number in order.tolist()]
    course, percent = found[:, order], 100 * shares[order]
    if len(names) > _COURSE + 1:
        rest = slice(_COURSE, None)
        names = [*names[:_COURSE], f"{len(names) - _COURSE} others"]
        course = np.column_stack([course[:, :_COURSE], course[:, rest].sum(axis=1)])
        percent = np.append(percent[:_COURSE], percent[rest].sum())
    edges = np.append(starts, end)
    if len(starts) > _COLUMNS:
        first = np.unique(np.linspace(0, len(starts), _COLUMNS, endpoint=False).astype(np.int64))
        count = np.diff(np.append(first, len(starts)))
        course, edges = np.add.reduceat(course, first) / count[:, None], np.append(starts[first], end)
    row_in, k = 0.3, len(names)
    width, height, left, right, below = 11.0, 1.15 + row_in * k + 0.3, 2.0, 1.9, 0.62
    figure = new_figure(width, height)
    axes = place(figure, left, below, width - left - right, row_in * k)
    axes.pcolormesh(edges, np.arange(k + 1) - 0.5, course.T, cmap=SHADES, vmin=0, vmax=1, rasterized=True)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(k - 0.5, -0.5), yticks=np.arange(k + 1) - 0.5, yticklabels=[])
    axes.hlines(np.arange(k - 1) + 0.5, *edges[[0, -1]], color="white", linewidth=1.2)
    bare(axes)
    _scale_time(axes, end - starts[0])
    name_rows(axes, names, left - 0.15)
    bars = place(figure, width - right + 0.15, below, right - 0.85, row_in * k)
    bars.barh(np.arange(k), percent, height=0.62, color=COLOURS[0])
    bars.set(ylim=(k - 0.5, -0.5), xlim=(0, max(float(percent.max()), 1e-9)), xticks=[], yticks=[])
    for number, value in enumerate(percent.tolist()):
        bars.annotate(
            f"{value:.1f} %", (1, number), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=SIZE, color=INK,
        )  # fmt: skip
    bare(bars)
    head(figure, title)
    above = 1 - 0.72 / height
    figure.text(left / width, above, "the darker, the more probable", fontsize=SIZE, color=FAINT)
    figure.text(1 - (right - 0.15) / width, above, "of the track", fontsize=SIZE, color=FAINT)
    save(figure, png)


def _scale_time(axes: "Axes", length_s: float) -> None:
    """Marks at whole seconds or minutes, at most a dozen."""
    from matplotlib.ticker import MultipleLocator

    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
    step = next((step for step in steps if length_s <= 12 * step), 3600 * -(-length_s // (12 * 3600)))
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(lambda value, _: _clock(value))
    axes.tick_params(axis="x", length=3, labelbottom=True, labelsize=SIZE, colors=INK)


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(round(time_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
