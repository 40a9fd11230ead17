"""Plot of a listener's taste, written to a PNG file."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array
from reprise.lib.genres.plot_layout import FONT_SIZE, add_axes, format_shown, label_rows, set_title, style_bars
from reprise.lib.plotting import COLOURS, FAINT, INK, Path, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MAX_GENRES = 15
"""Maximum number of genres that the plot shows."""
_ROW_IN = 0.3
_PALE = "#BBD3E8"
_TEMPO_BPM, _YEAR = (60, 180), (1990, 2010)  # ranges that the axes always include


def draw_taste(
    genres: Sequence[str],
    share: ArrayLike,
    population_share: ArrayLike,
    tempo_bpm: ArrayLike,
    year: ArrayLike,
    *,
    title: str,
    png: Path,
) -> None:
    """Draw the genre shares of a listener and of all listeners, and the tempo and year of the music of each genre.

    Only the first 15 genres are drawn.

    Parameters
    ----------
    genres
        Names of the k genres, in the order in which they are drawn.
    share, population_share
        Shape (k,), 0 to 1: share of each genre in the listener's total weight, and in the total weight of all
        listeners.
    tempo_bpm, year
        Shape (k, 2): mean and standard deviation for each genre, by weight. NaN is a missing value: then the tempo or
        the year of the genre is not drawn.
    title
        Name of the listener. A name that is too long is cut, and ends with an ellipsis.
    png
        File to write; an existing file is replaced.

    Raises
    ------
    ValueError
        There are no genres, or the shapes do not match.
    """
    names = list(genres)[:MAX_GENRES]
    shares, tempo, years = (
        np.asarray(values, dtype=np.float64) for values in (np.column_stack([share, population_share]), tempo_bpm, year)
    )
    if not names or not shares.shape == tempo.shape == years.shape == (len(genres), 2):
        raise ValueError(
            "expected k >= 1 genres, two share arrays of shape (k,), tempo and year of shape (k, 2); got "
            f"{len(genres)} genres, shares stacked to {shares.shape}, tempo {tempo.shape}, year {years.shape}"
        )
    k = len(names)
    left, bar_in, range_in, gap, below, above = 2.2, 3.5, 2.1, 0.3, 0.62, 0.85
    width, height = left + bar_in + 2 * (gap + range_in) + 0.3, above + _ROW_IN * k + below
    figure = new_figure(width, height)
    top = (height - above + 0.12) / height

    bars = add_axes(figure, left, below, bar_in, _ROW_IN * k)
    _draw_shares(bars, 100 * shares[:k])
    label_rows(bars, names, left - 0.2)
    ends = bars.get_xlim()[1]
    for column, (label, colour, mark) in enumerate((("listener", _PALE, "s"), ("all listeners", COLOURS[1], "D"))):
        at = (0.04 + 0.22 * column) * ends
        figure.text((left + bar_in * at / ends) / width, top, label, fontsize=FONT_SIZE, color=INK)
        bars.plot(
            at - 0.02 * ends, 1 + 0.165 / (_ROW_IN * k), mark, color=colour, markersize=5, clip_on=False,
            transform=bars.get_xaxis_transform(),
        )  # fmt: skip
    for number, (values, label, least) in enumerate(((tempo, "tempo, BPM", _TEMPO_BPM), (years, "year", _YEAR))):
        axes = add_axes(figure, left + bar_in + gap + number * (gap + range_in), below, range_in, _ROW_IN * k)
        _draw_ranges(axes, values[:k], label, least)
    figure.text((left + bar_in + gap) / width, top, "mean ± one deviation, by weight", fontsize=FONT_SIZE, color=FAINT)
    set_title(figure, title + format_shown(k, len(genres), "genres"))
    save(figure, png)


def _draw_shares(axes: "Axes", percent: Float64Array) -> None:
    rows = np.arange(len(percent))
    axes.barh(rows, percent[:, 0], height=0.62, color=_PALE)
    axes.plot(percent[:, 1], rows, "D", color=COLOURS[1], markersize=4.5, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1.06 * float(percent.max()) or 1.0), ylim=(len(percent) - 0.5, -0.5), xlabel="% of listening")
    style_bars(axes)


def _draw_ranges(axes: "Axes", values: Float64Array, label: str, least: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    mean, deviation = values[rows].T
    axes.hlines(rows, mean - deviation, mean + deviation, color=COLOURS[0], linewidth=2, alpha=0.35)
    axes.plot(mean, rows, "o", color=COLOURS[0], markersize=4.5)
    axes.set(xlim=_axis_limits(values[rows], least), ylim=(len(values) - 0.5, -0.5), xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.tick_params(labelleft=False)
    style_bars(axes)


def _axis_limits(values: Float64Array, least: tuple[float, float]) -> tuple[float, float]:
    """Return axis limits that include the mean ± standard deviation of each genre, and the range ``least``.

    The range ``least`` makes plots of different listeners easy to compare.
    """
    ends = np.array([values[:, 0] - values[:, 1], values[:, 0] + values[:, 1]])
    low, high = float(ends.min(initial=least[0])), float(ends.max(initial=least[1]))
    margin = 0.04 * (high - low)
    return low - margin, high + margin
