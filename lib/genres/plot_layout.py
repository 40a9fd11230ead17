"""How pictures of genre models are laid out: in inches, with room for names that may be long and hold anything."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reprise.lib.plotting import GRID, INK, new_figure, plain, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_IN = 0.24
"""Height of a line of `SIZE`."""
SIZE = 8.5
SHADES = "Blues"
DARK = 0.55
"""Of the colour scale; darker cells are written on in white."""

MOST = 30
"""Genres that a picture shows; tags of a library may be hundreds. The tables have them all."""


def place(figure: "Figure", left: float, below: float, width: float, height: float) -> "Axes":
    """Axes at a place given in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, below / up, width / across, height / up))


def rows_figure(rows: int, *, right: float) -> tuple["Figure", "Axes"]:
    """Figure and axes with a line a row: names to the left, ``right`` inches to the right for figures."""
    width, left, below, height = 8.0, 2.5, 0.6, max(rows, 1) * ROW_IN
    figure = new_figure(width, height + below + 0.75)
    return figure, place(figure, left, below, width - left - right, height)


def head(figure: "Figure", title: str) -> None:
    """Set the title, cut where too long."""
    width, height = figure.get_size_inches()
    text = figure.text(0.16 / width, 1 - 0.26 / height, "", fontsize=11, color=INK, va="center")
    write(text, title, figure.bbox.width - 0.32 * figure.dpi)


def name_rows(axes: "Axes", names: Sequence[str], room_in: float, *, size: float = SIZE) -> None:
    """Name the rows 0, 1 … of axes to their left."""
    for number, name in enumerate(names):
        text = axes.annotate(
            "", (0, number), (-5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", ha="right",
            va="center", fontsize=size, color=INK,
        )  # fmt: skip
        write(text, name, room_in * axes.figure.dpi - 10)
    axes.tick_params(axis="y", length=0, labelleft=False)


def name_columns(axes: "Axes", names: Sequence[str], room_in: float, *, size: float = SIZE) -> None:
    """Name the columns 0, 1 … of axes below them, upwards."""
    for number, name in enumerate(names):
        text = axes.annotate(
            "", (number, 0), (0, -5), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
            va="top", rotation=90, fontsize=size, color=INK,
        )  # fmt: skip
        write(text, name, room_in * axes.figure.dpi - 10)
    axes.tick_params(axis="x", length=0, labelbottom=False)


def measure_names(names: Sequence[str], most_in: float, *, size: float = SIZE) -> float:
    """Inches that the longest of some names takes beside axes, at most ``most_in``."""
    figure = new_figure(1, 1)
    text = figure.text(0, 0, "", fontsize=size)
    longest = 0.0
    for name in names:
        write(text, name, most_in * figure.dpi - 10)
        longest = max(longest, text.get_window_extent().width)
    return longest / figure.dpi + 0.1


def rule(axes: "Axes") -> None:
    """Give axes of bars a scale below and nothing else."""
    plain(axes)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.tick_params(axis="x", labelsize=SIZE)
    axes.xaxis.label.set(fontsize=SIZE)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def bare(axes: "Axes") -> None:
    """Take away frame, ticks and their labels."""
    axes.tick_params(length=0, labelleft=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def some_of(shown: int, total: int, what: str) -> str:
    """An addition to a title that says of how many not all are shown; empty where all are."""
    return "" if shown == total else f" ({shown} of {total:,} {what})"


def short(count: int) -> str:
    """A count in at most four signs; nothing for none."""
    if count >= 10_000:
        return f"{count / 1e6:.1f}M" if count >= 1_000_000 else f"{count / 1000:.0f}k"
    return str(count) if count else ""
