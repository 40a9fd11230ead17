"""Pictures of listeners' tastes, as PNG files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array
from reprise.lib.genres.plot_layout import SIZE, head, name_rows, place, rule, some_of
from reprise.lib.plotting import COLOURS, FAINT, INK, Path, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST = 15
"""Genres that a picture shows."""
_ROW_IN = 0.3
_PALE = "#BBD3E8"
_TEMPO, _YEAR = (60, 180), (1990, 2010)  # what the axes show at least


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
    """Draw what a listener likes beside what all listeners like, and the tempo and age of their music of each genre.

    The first fifteen genres are drawn, those of smallest shares left out.

    Parameters
    ----------
    genres
        The k names, in the order in which they are drawn.
    share, population_share
        Shape (k,): share of the listener's weight and of that of all listeners, 0 to 1.
    tempo_bpm, year
        Shape (k, 2): mean and standard deviation; NaN where unknown.
    title
        Name of the listener, cut where too long.
    png
        File to write; an existing one is replaced.

    Raises
    ------
    ValueError
        No genre, or shapes that do not fit.
    """
    names = list(genres)[:MOST]
    shares, tempo, years = (
        np.asarray(values, dtype=np.float64) for values in (np.column_stack([share, population_share]), tempo_bpm, year)
    )
    if not names or not shares.shape == tempo.shape == years.shape == (len(genres), 2):
        raise ValueError(f"{len(genres)} genres, {shares.shape} shares, {tempo.shape} tempos, {years.shape} years")
    k = len(names)
    left, bar_in, range_in, gap, below, above = 2.2, 3.5, 2.1, 0.3, 0.62, 0.85
    width, height = left + bar_in + 2 * (gap + range_in) + 0.3, above + _ROW_IN * k + below
    figure = new_figure(width, height)
    top = (height - above + 0.12) / height

    bars = place(figure, left, below, bar_in, _ROW_IN * k)
    _draw_shares(bars, 100 * shares[:k])
    name_rows(bars, names, left - 0.2)
    ends = bars.get_xlim()[1]
    for column, (label, colour, mark) in enumerate((("listener", _PALE, "s"), ("all listeners", COLOURS[1], "D"))):
        at = (0.04 + 0.22 * column) * ends
        figure.text((left + bar_in * at / ends) / width, top, label, fontsize=SIZE, color=INK)
        bars.plot(
            at - 0.02 * ends, 1 + 0.165 / (_ROW_IN * k), mark, color=colour, markersize=5, clip_on=False,
            transform=bars.get_xaxis_transform(),
        )  # fmt: skip
    for number, (values, label, usual) in enumerate(((tempo, "tempo, BPM", _TEMPO), (years, "year", _YEAR))):
        axes = place(figure, left + bar_in + gap + number * (gap + range_in), below, range_in, _ROW_IN * k)
        _draw_ranges(axes, values[:k], label, usual)
    figure.text((left + bar_in + gap) / width, top, "mean ± one deviation, by weight", fontsize=SIZE, color=FAINT)
    head(figure, title + some_of(k, len(genres), "genres"))
    save(figure, png)


def _draw_shares(axes: "Axes", percent: Float64Array) -> None:
    rows = np.arange(len(percent))
    axes.barh(rows, percent[:, 0], height=0.62, color=_PALE)
    axes.plot(percent[:, 1], rows, "D", color=COLOURS[1], markersize=4.5, zorder=3, clip_on=False)
    axes.set(xlim=(0, 1.06 * float(percent.max()) or 1.0), ylim=(len(percent) - 0.5, -0.5), xlabel="% of listening")
    rule(axes)


def _draw_ranges(axes: "Axes", values: Float64Array, label: str, usual: tuple[float, float]) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = np.flatnonzero(np.isfinite(values).all(axis=1))
    mean, around = values[rows].T
    axes.hlines(rows, mean - around, mean + around, color=COLOURS[0], linewidth=2, alpha=0.35)
    axes.plot(mean, rows, "o", color=COLOURS[0], markersize=4.5)
    axes.set(xlim=_edges(values[rows], usual), ylim=(len(values) - 0.5, -0.5), xlabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    axes.tick_params(labelleft=False)
    rule(axes)


def _edges(values: Float64Array, usual: tuple[float, float]) -> tuple[float, float]:
    """Of an axis that holds all ranges, and the usual ones in any case, so that pictures can be compared."""
    ends = np.array([values[:, 0] - values[:, 1], values[:, 0] + values[:, 1]])
    least, most = float(ends.min(initial=usual[0])), float(ends.max(initial=usual[1]))
    room = 0.04 * (most - least)
    return least - room, most + room
