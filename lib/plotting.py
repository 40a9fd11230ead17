"""Shared parts of all plots: figures without pyplot, colours, and text cut to a width.

Figures are made without pyplot: pyplot keeps every open figure in a global list and is not thread-safe. Names of tracks
and genres come from datasets and tags. `fit_text` draws them literally, not as mathtext, and cuts long names.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Path = str | os.PathLike[str]

# the palette of Okabe & Ito, safe for colour-blind readers; its yellow is omitted, because it is too faint on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, FAINT, GRID = "#333333", "#888888", "#E4E4E4"
FONT = "DejaVu Sans"
"""matplotlib contains this font, so plots look the same on every machine."""
DPI = 150
_MAX_CHARS = 300  # a longer text is cut to this length before its width is measured


def new_figure(width_in: float, height_in: float) -> "Figure":
    """Return an empty figure of the given size in inches, with a canvas on which text can be measured."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)  # the constructor sets figure.canvas, on which text is measured
    return figure


def remove_spines(axes: "Axes") -> None:
    """Hide the top and right spines, because they have no scale, and draw the left and bottom spines in grey."""
    axes.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK)


def fit_text(text: "Text", content: str, max_px: float) -> None:
    """Set the string of ``text`` to ``content``, drawn literally on one line of at most ``max_px`` pixels.

    Content that is too long is cut and ends in an ellipsis. Characters that the font does not have become a box. The
    length is measured along the direction of the text, which may be rotated by 90 degrees.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties(family=FONT))).get_charmap()
    shown = " ".join(content[:_MAX_CHARS].split())
    # replace each missing glyph by a box: matplotlib would draw the same box, but would also issue a warning
    shown = "".join(character if ord(character) in glyphs else "□" for character in shown)
    text.set(text=shown, parse_math=False, fontfamily=FONT)
    if len(content) <= _MAX_CHARS and _length_px(text) <= max_px:
        return
    fits, fails = 0, len(shown) + 1  # bisection, because measuring is slow
    while fails - fits > 1:
        length = (fits + fails) // 2
        text.set_text(shown[:length].rstrip() + "…")
        fits, fails = (length, fails) if _length_px(text) <= max_px else (fits, length)
    text.set_text(shown[:fits].rstrip() + "…")


def save(figure: "Figure", path: Path) -> None:
    """Write the figure as a PNG. Equal figures give equal bytes."""
    # by default matplotlib writes its version into the file, so the bytes would change with each version of matplotlib
    figure.savefig(path, format="png", metadata={"Software": None})


def _length_px(text: "Text") -> float:
    box = text.get_window_extent()
    return float(box.height if text.get_rotation() == 90 else box.width)
