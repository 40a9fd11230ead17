"""Pictures of a cover search, as PNG files: precision against recall, ranks of the first cover, two aligned tracks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprise.lib.arrays import Int64Array
from reprise.lib.detect.ranking_metrics import PrecisionRecall, RankHistogram
from reprise.lib.plotting import COLOURS, FAINT, GRID, INK, Path, new_figure, plain, save, write
from reprise.lib.text import PITCH_CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (6, 1.5, 1.5, 1.5)))
_LINKS = 90  # aligned pairs of beats that are drawn
_JUMP = 16  # beats of the candidate; gaps within an excerpt are shorter


def draw_precision_recall(curves: Mapping[str, PrecisionRecall], path: Path) -> None:
    """Draw precision against recall, one curve a method, in the order given.

    Parameters
    ----------
    curves
        By the name to be shown, e.g. with the MAP in it; colours and dashes tell up to 28 apart.
    path
        PNG file to write; an existing one is replaced.
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
    plain(axes)
    if curves:
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), frameon=False, fontsize=9, handlelength=2.6)
        figure.draw_without_rendering()  # only now it is known where the names begin
        room = 0.99 * figure.bbox.width - legend.get_texts()[0].get_window_extent().x0
        for text, name in zip(legend.get_texts(), curves, strict=True):
            write(text, name, room)
    save(figure, path)


def draw_rank_histogram(histograms: Mapping[str, RankHistogram], path: Path) -> None:
    """Draw how often the first cover stands at which ranks, one row of bars a method, in the order given.

    Parameters
    ----------
    histograms
        By the name to be shown. Bars are shares of the method's ranks, all rows have one scale.
    path
        PNG file to write; an existing one is replaced.
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
        write(axes.set_title("", loc="left", fontsize=9.5, pad=3), name, 0.92 * figure.bbox.width)
    for axes in grid:
        axes.set(ylim=(0, 1.3 * top), yticks=[], xlim=(-0.6, bins - 0.4))
        plain(axes)
        axes.spines["left"].set_visible(False)
    grid[-1].set_xticks(np.arange(bins + 1) - 0.5, [_count(edge) for edge in edges.tolist()], fontsize=8)
    grid[-1].set_xlabel("Rank of the first cover")
    figure.text(0.06, 1 - 0.2 / height, "Queries by rank of their first cover, in per cent", fontsize=11, va="center")
    save(figure, path)


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
    """Draw the beat chroma of two tracks, the candidate's in the query's key, and lines between the beats that match.

    What lies before the first and after the last beat that matches is drawn pale.

    Parameters
    ----------
    query_chroma, candidate_chroma
        Shapes (12, B) with B >= 1, C to B, values of 0 to 1.
    path
        Shape (n, 2): beats of query and candidate that match, in the order of the query's; may be empty.
    transposition
        Semitones that the candidate sounds above the query, as an `Alignment` has it.
    query_title, candidate_title
        Names of the tracks, cut with an ellipsis where too long.
    png
        File to write; an existing one is replaced.
    notes
        Facts to be shown below, e.g. ``"probability 0.97"``.

    Raises
    ------
    ValueError
        A shape that does not fit, or a beat in the path that there is not.
    """
    beats = [_n_beats(query_chroma), _n_beats(candidate_chroma)]
    pairs = np.asarray(path, dtype=np.int64).reshape(-1, 2)
    if np.any(pairs < 0) or np.any(pairs >= beats):
        raise ValueError(f"the path leads beyond the beats, of which there are {beats[0]} and {beats[1]}")
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
    # a path that jumps within the candidate goes on in another colour: lines of several excerpts may cross
    excerpt = np.cumsum(np.abs(np.diff(pairs[:, 1], prepend=pairs[:1, 1])) > _JUMP)
    shown = _spread(len(pairs))
    for (query_beat, candidate_beat), number in zip(pairs[shown].tolist(), excerpt[shown].tolist(), strict=True):
        # straight up for a little at both ends, so that one sees which beat is meant
        course = [candidate_beat, candidate_beat, query_beat, query_beat]
        between.plot(
            course, [1, 0.9, 0.1, 0], color=COLOURS[number % len(COLOURS)], linewidth=0.9, alpha=0.75, clip_on=False
        )
    room = width * figure.bbox.width
    shift = (5 - transposition) % 12 - 5
    below = figure.text(left + width, 0.04, "", ha="right", va="center", fontsize=9.5, color=FAINT)
    write(below, " · ".join(notes), room / 2)
    noted = below.get_window_extent().width + 30
    moved = f"moved by {shift:+d} semitone{'s' * (abs(shift) != 1)}".replace("-", "−") if shift else "in the same key"
    aside = figure.text(left + width, 0.966, moved, ha="right", va="center", fontsize=9.5, color=FAINT)
    taken = aside.get_window_extent().width + 30
    for y, title, space in (
        (0.966, f"Candidate: {candidate_title}", room - taken),
        (0.04, f"Query: {query_title}", room - noted),
    ):
        write(figure.text(left, y, "", va="center", fontsize=12, color=INK), title, space)
    save(figure, png)


def _draw_chroma(axes: "Axes", chroma: NDArray[np.floating[Any]], linked: Int64Array, n_beats: int) -> None:
    shape = chroma.shape[1]
    # squared, as the patches are taken of a power: else the loud and the faint look alike
    axes.imshow(
        chroma**2, origin="lower", aspect="auto", cmap="magma_r", vmin=0, vmax=1, interpolation="nearest",
        extent=(-0.5, shape - 0.5, -0.5, 11.5),
    )  # fmt: skip
    # a veil over what comes before and after the part that matches
    first, last = (int(linked.min()), int(linked.max())) if len(linked) else (shape, shape)
    for start, end in ((-0.5, min(first, shape) - 0.5), (last + 0.5, shape - 0.5)):
        if end > start:
            axes.axvspan(start, end, color="white", alpha=0.62, linewidth=0)
    axes.set(xlim=(-0.5, n_beats - 0.5), ylim=(-0.5, 11.5))
    axes.set_yticks(range(12), PITCH_CLASSES, fontsize=7)
    axes.tick_params(axis="both", length=0, labelsize=7.5, colors=FAINT)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _spread(n: int) -> Int64Array:
    """Places of at most `_LINKS` of n pairs, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, _LINKS)).round().astype(np.int64))


def _n_beats(chroma: NDArray[np.floating[Any]]) -> int:
    if chroma.ndim != 2 or chroma.shape[0] != 12 or chroma.shape[1] == 0:
        raise ValueError(f"expected chroma of shape (12, beats), got {chroma.shape}")
    return int(chroma.shape[1])


def _count(value: int) -> str:
    """Short form of a round number: 500, 2k, 1M."""
    return f"{value // 10**6}M" if value >= 10**6 else f"{value // 1000}k" if value >= 1000 else str(value)
