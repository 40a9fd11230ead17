"""What pictures of the library share: figures without pyplot, colours, and texts that may hold anything.

Figures are made without pyplot, so that nothing is kept between calls and they can be drawn in any thread. Names of
tracks and genres come from data sets and tags: they are drawn as they stand, never as formulas, and cut where too long.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Path = str | os.PathLike[str]

# Okabe & Ito's colours, told apart with any kind of colour vision; yellow is left out, being faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, GRID = "#333333", "#888888", "#E4E4E4"
FONT = "DejaVu Sans"
"""Comes with matplotlib, so that pictures are the same everywhere."""
DPI = 150
_LONGEST = 300  # characters of a text that are looked at


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches on which texts can be measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)  # sets itself as the figure's canvas, by which texts are measured
    return figure


def plain(axes: "Axes") -> None:
    """Leave of a frame what carries a scale."""
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK)


def write(text: "Text", words: str, room: float) -> None:
    """Set a text as it stands, on one line of at most ``room`` pixels along the way it runs."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties(family=FONT))).get_charmap()
    shown = " ".join(words[:_LONGEST].split())
    # a box for what the font has no sign for, which would otherwise be a warning and a box
    shown = "".join(sign if ord(sign) in glyphs else "□" for sign in shown)
    text.set(text=shown, parse_math=False, fontfamily=FONT)
    if len(words) <= _LONGEST and _length(text) <= room:
        return
    fits, fails = 0, len(shown) + 1  # by halves: measuring is slow
    while fails - fits > 1:
        length = (fits + fails) // 2
        text.set_text(shown[:length].rstrip() + "…")
        fits, fails = (length, fails) if _length(text) <= room else (fits, length)
    text.set_text(shown[:fits].rstrip() + "…")


def save(figure: "Figure", path: Path) -> None:
    """Write a PNG that is the same bytes each time."""
    # without the writer's name and version in it
    figure.savefig(path, format="png", metadata={"Software": None})


def _length(text: "Text") -> float:
    turned = text.get_rotation()
    box = text.get_window_extent()
    return float(box.height if turned == 90 else box.width)
