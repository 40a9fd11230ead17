"""Plots of cover detection as PNG files: precision-recall curves, rank histograms, and two aligned tracks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Int64Array
from reprise.lib.detect.ranking_metrics import PrecisionRecall, RankHistogram
from reprise.lib.plotting import COLOURS, FAINT, GRID, INK, Path, fit_text, new_figure, remove_spines, save
from reprise.lib.text import PITCH_CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_MAX_LINES = 90  # maximum number of pairs of matching beats to draw
_JUMP_BEATS = 16  # a jump in the candidate by more than this number of beats starts a new excerpt


def draw_precision_recall(curves: Mapping[str, PrecisionRecall], png: Path) -> None:
    """Draw precision-recall curves, one per method, in the given order.

    Parameters
    ----------
    curves
        Curves by name. The names are shown in the legend. Colours and dashes distinguish up to 28 curves.
    png
        File to write; an existing file is replaced.
    """
    figure = new_figure(10, max(4.8, 0.7 + 0.2 * len(curves)))
    axes = figure.add_axes((0.07, 0.125, 0.54, 0.8))
    for number, curve in enumerate(curves.values()):
        axes.plot(
            curve.recall,
            curve.precision,
            label=str(number),
            color=COLOURS[number % len(COLOURS)],
            linestyle=_DASHES[number // len(COLOURS) % len(_DASHES)],
            linewidth=1.8,
        )
    axes.set(xlim=(0, 1), xlabel="Recall", ylabel="Precision", title="Covers found")
    axes.set_ylim(0, None if curves else 1)
    axes.grid(color=GRID, linewidth=0.7)
    remove_spines(axes)
    if curves:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), frameon=False, fontsize=9, handlelength=2.6)
        figure.draw_without_rendering()  # computes the positions of the names
        max_px = 0.99 * figure.bbox.width - legend.get_texts()[0].get_window_extent().x0
        for text, name in zip(legend.get_texts(), curves, strict=True):
            fit_text(text, name, max_px)
    save(figure, png)


def draw_rank_histogram(histograms: Mapping[str, RankHistogram], png: Path) -> None:
    """Draw histograms of ranks, one row of bars per method, in the given order.

    The rank is that of the first other version of the query's work.

    Parameters
    ----------
    histograms
        Histograms by name. The name is shown above the row of bars. The height of a bar is the share of the ranks in
        the bin. All rows have the same scale.
    png
        File to write; an existing file is replaced.
    """
    rows = max(len(histograms), 1)
    height = 1.15 + 1.3 * rows
    figure = new_figure(8.2, height)
    edges = max((h.edges for h in histograms.values()), key=len, default=np.array([1, 2]))
    bins = len(edges) - 1
    shares = [h.counts / max(int(h.counts.sum()), 1) for h in histograms.values()]
    top = max((float(share.max(initial=0)) for share in shares), default=0.0) or 1.0
    grid = figure.subplots(rows, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.06, right=0.985, top=1 - 0.55 / height, bottom=0.62 / height, hspace=0.42)
    for axes, name, share in zip(grid, histograms, shares, strict=False):
        bars = axes.bar(np.arange(len(share)), share, width=0.86, color=COLOURS[0])
        labels = ["" if value == 0 else "<1" if value < 0.01 else f"{100 * value:.0f}" for value in share.tolist()]
        axes.bar_label(bars, labels, padding=1.5, fontsize=8, color=INK)
        fit_text(axes.set_title("", loc="left", fontsize=9.5, pad=3), name, 0.92 * figure.bbox.width)
    for axes in grid:
        axes.set(ylim=(0, 1.3 * top), yticks=[], xlim=(-0.6, bins - 0.4))
        remove_spines(axes)
        axes.spines["left"].set_visible(False)
    grid[-1].set_xticks(np.arange(bins + 1) - 0.5, [_format_count(edge) for edge in edges.tolist()], fontsize=8)
    grid[-1].set_xlabel("Rank of the first other version")
    figure.text(
        0.06, 1 - 0.2 / height, "Queries by rank of the first other version, in per cent", fontsize=11, va="center"
    )
    save(figure, png)


def draw_alignment(
    query_chroma: NDArray[np.floating[Any]],
    candidate_chroma: NDArray[np.floating[Any]],
    path: NDArray[np.integer[Any]],
    transposition: int,
    query_title: str,
    candidate_title: str,
    png: Path,
    *,
    notes: Sequence[str] = (),
) -> None:
    """Draw the beat chromas of the query and of the candidate, and lines between matching beats.

    The candidate is transposed to the key of the query.

    At most 90 lines are drawn, evenly spaced along the path. Beats before the first match and after the last match are
    drawn pale.

    Parameters
    ----------
    query_chroma, candidate_chroma
        Shapes (12, B) with B >= 1, rows C to B, values 0 to 1.
    path
        Shape (n, 2): matching beats (query, candidate), ascending in the query. An empty path is accepted.
    transposition
        Number of semitones by which the candidate sounds above the query, as in `Alignment`.
    query_title, candidate_title
        Names of the tracks. A name that is too long is cut, and ends with an ellipsis.
    png
        File to write; an existing file is replaced.
    notes
        Texts that are shown below the plot, e.g. ``"probability 0.97"``.

    Raises
    ------
    ValueError
        A shape is wrong, or the path contains a beat outside the tracks.
    """
    beats = [_count_beats(query_chroma), _count_beats(candidate_chroma)]
    pairs = np.asarray(path, dtype=np.int64).reshape(-1, 2)
    if np.any(pairs < 0) or np.any(pairs >= beats):
        raise ValueError(f"the path contains beats outside the tracks, which have {beats[0]} and {beats[1]} beats")
    figure = new_figure(11, 5.9)
    left, width = 0.045, 0.94
    in_key = np.roll(candidate_chroma, -transposition, axis=0)
    top = figure.add_axes((left, 0.6, width, 0.315))
    between = figure.add_axes((left, 0.46, width, 0.14))
    bottom = figure.add_axes((left, 0.145, width, 0.315))
    for axes, chroma, side in ((top, in_key, 1), (bottom, query_chroma, 0)):
        _draw_chroma(axes, chroma, pairs[:, side], max(beats))
    top.xaxis.tick_top()
    top.tick_params(axis="x", pad=1)
    bottom.set_xlabel("Beat", labelpad=2, fontsize=8.5, color=FAINT)
    between.set(xlim=(-0.5, max(beats) - 0.5), ylim=(0, 1))
    between.axis("off")
    # the colour changes after a jump in the candidate, because lines of different excerpts can cross
    excerpt = np.cumsum(np.abs(np.diff(pairs[:, 1], prepend=pairs[:1, 1])) > _JUMP_BEATS)
    shown = _select_evenly(len(pairs))
    for (query_beat, candidate_beat), number in zip(pairs[shown].tolist(), excerpt[shown].tolist(), strict=True):
        # make the line vertical at both ends, so that the two beats are easy to see
        x = [candidate_beat, candidate_beat, query_beat, query_beat]
        between.plot(
            x, [1, 0.9, 0.1, 0], color=COLOURS[number % len(COLOURS)], linewidth=0.9, alpha=0.75, clip_on=False
        )
    width_px = width * figure.bbox.width
    shift = (5 - transposition) % 12 - 5
    below = figure.text(left + width, 0.04, "", ha="right", va="center", fontsize=9.5, color=FAINT)
    fit_text(below, " · ".join(notes), width_px / 2)
    below_px = below.get_window_extent().width + 30
    moved = f"moved by {shift:+d} semitone{'s' * (abs(shift) != 1)}".replace("-", "−") if shift else "in the same key"
    above = figure.text(left + width, 0.966, moved, ha="right", va="center", fontsize=9.5, color=FAINT)
    above_px = above.get_window_extent().width + 30
    for y, title, max_px in (
        (0.966, f"Candidate: {candidate_title}", width_px - above_px),
        (0.04, f"Query: {query_title}", width_px - below_px),
    ):
        fit_text(figure.text(left, y, "", va="center", fontsize=12, color=INK), title, max_px)
    save(figure, png)


def _draw_chroma(axes: "Axes", chroma: NDArray[np.floating[Any]], matched: Int64Array, max_beats: int) -> None:
    n_beats = chroma.shape[1]
    # square the chroma, so that strong and weak pitches look different; patches also use a power of chroma
    axes.imshow(
        chroma**2, origin="lower", aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest",
        extent=(-0.5, n_beats - 0.5, -0.5, 11.5),
    )  # fmt: skip
    first, last = (int(matched.min()), int(matched.max())) if len(matched) else (n_beats, n_beats)
    for start, end in ((-0.5, min(first, n_beats) - 0.5), (last + 0.5, n_beats - 0.5)):
        if end > start:
            axes.axvspan(start, end, color="white", alpha=0.62, linewidth=0)
    axes.set(xlim=(-0.5, max_beats - 0.5), ylim=(-0.5, 11.5))
    axes.set_yticks(range(12), PITCH_CLASSES, fontsize=7)
    axes.tick_params(axis="both", length=0, labelsize=7.5, colors=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _select_evenly(n: int) -> Int64Array:
    """Return at most `_MAX_LINES` evenly spaced indices from 0 to n - 1, including both ends."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, _MAX_LINES)).round().astype(np.int64))


def _count_beats(chroma: NDArray[np.floating[Any]]) -> int:
    if chroma.ndim != 2 or chroma.shape[0] != 12 or chroma.shape[1] == 0:
        raise ValueError(f"expected chroma of shape (12, beats), got {chroma.shape}")
    return int(chroma.shape[1])


def _format_count(value: int) -> str:
    """Format a round number in short form, e.g. 500, 2k or 1M."""
    return f"{value // 10**6}M" if value >= 10**6 else f"{value // 1000}k" if value >= 1000 else str(value)
