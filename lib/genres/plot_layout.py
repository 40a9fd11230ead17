"""Layout of genre plots in inches, with space for labels of any length and content."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reprise.lib.plotting import GRID, INK, fit_text, new_figure, remove_spines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT_IN = 0.24
"""Height in inches of a row with text of size `FONT_SIZE`."""
FONT_SIZE = 8.5
COLOUR_MAP = "Blues"
DARK = 0.55
"""Position on the colour scale, 0 to 1, above which cells have white text."""

MAX_GENRES = 30
"""Maximum number of genres in a plot. A library can have hundreds of genre tags. The CSV files contain all genres."""


def add_axes(figure: "Figure", left_in: float, bottom_in: float, width_in: float, height_in: float) -> "Axes":
    """Add axes at a position in inches."""
    total_width, total_height = figure.get_size_inches()
    return figure.add_axes(
        (left_in / total_width, bottom_in / total_height, width_in / total_width, height_in / total_height)
    )


def new_row_figure(rows: int, *, right_in: float) -> tuple["Figure", "Axes"]:
    """Create a figure and axes for ``rows`` rows. The left margin is for labels, the right margin for numbers."""
    width, left, bottom, height = 8.0, 2.5, 0.6, max(rows, 1) * ROW_HEIGHT_IN
    figure = new_figure(width, height + bottom + 0.75)
    return figure, add_axes(figure, left, bottom, width - left - right_in, height)


def set_title(figure: "Figure", title: str) -> None:
    """Set the title. A title that is too long is cut."""
    width, height = figure.get_size_inches()
    text = figure.text(0.16 / width, 1 - 0.26 / height, "", fontsize=11, color=INK, va="center")
    fit_text(text, title, figure.bbox.width - 0.32 * figure.dpi)


def label_rows(axes: "Axes", names: Sequence[str], max_width_in: float, *, size: float = FONT_SIZE) -> None:
    """Label the rows 0, 1, … on the left of the axes. Labels wider than ``max_width_in`` are cut."""
    for number, name in enumerate(names):
        text = axes.annotate(
            "", (0, number), (-5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
            va="center", fontsize=size, color=INK,
        )  # fmt: skip
        fit_text(text, name, max_width_in * axes.figure.dpi - 10)
    axes.tick_params(axis="y", length=0, labelleft=False)


def label_columns(axes: "Axes", names: Sequence[str], max_width_in: float, *, size: float = FONT_SIZE) -> None:
    """Label the columns 0, 1, … below the axes, rotated by 90°. Labels longer than ``max_width_in`` are cut."""
    for number, name in enumerate(names):
        text = axes.annotate(
            "", (number, 0), (0, -5), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            va="top", rotation=90, fontsize=size, color=INK,
        )  # fmt: skip
        fit_text(text, name, max_width_in * axes.figure.dpi - 10)
    axes.tick_params(axis="x", length=0, labelbottom=False)


def measure_labels(names: Sequence[str], max_width_in: float, *, size: float = FONT_SIZE) -> float:
    """Return the width in inches that the longest label needs beside axes, at most ``max_width_in``."""
    figure = new_figure(1, 1)
    text = figure.text(0, 0, "", fontsize=size)
    longest = 0.0
    for name in names:
        fit_text(text, name, max_width_in * figure.dpi - 10)
        longest = max(longest, text.get_window_extent().width)
    return longest / figure.dpi + 0.1


def style_bars(axes: "Axes") -> None:
    """Style the axes of a bar chart: show only the horizontal scale."""
    remove_spines(axes)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.tick_params(axis="x", labelsize=FONT_SIZE)
    axes.xaxis.label.set(fontsize=FONT_SIZE)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def hide_frame(axes: "Axes") -> None:
    """Hide the frame, the ticks and the tick labels."""
    axes.tick_params(length=0, labelleft=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def format_shown(shown: int, total: int, what: str) -> str:
    """Return a title suffix such as " (30 of 45 genres)", empty when everything is shown."""
    return "" if shown == total else f" ({shown} of {total:,} {what})"


def format_count(count: int) -> str:
    """Format a count as a short string: from 10,000 up in thousands (k), from 1,000,000 up in millions (M).

    0 gives the empty string.
    """
    if count >= 10_000:
        return f"{count / 1e6:.1f}M" if count >= 1_000_000 else f"{count / 1000:.0f}k"
    return str(count) if count else ""
