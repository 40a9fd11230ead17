"""Tests of the plots of cover detection: any title is legible, and the same input gives the same bytes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from reprise.lib.detect import plots, ranking_metrics
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.music import sample

HARD_TITLES = [
    "a $x_{1} $ \\frac",
    "$",
    "_^{}\\",
    "東京 🎵",
    "\x00\x07\n\r\t",
    "",
    "W" * 100_000,
    "שלום",
    "\ud800",
    "e\u0301",
]


@pytest.fixture(scope="module")
def chroma() -> tuple[np.ndarray, np.ndarray]:
    """Beat chroma of two versions of one synthetic work."""
    plan = sample.SamplePlan(12, seed=3, n_cliques=1, n_covers=4)
    tracks = plan.tracks(np.arange(12))
    chosen = np.flatnonzero((tracks.clique == 0) & (tracks.state == 0))[:2]
    found = [sample.compute_msd_columns(sample.compose(plan, int(index))) for index in chosen]
    first, second = (
        beat_chroma(f["segments_pitches"], f["segments_loudness_start"], f["segments_start"], f["beats_start"])
        for f in found
    )
    return first, second


def texts(figure: Figure) -> list[Text]:
    """Return all texts except tick labels: matplotlib does not draw ticks outside the axis limits, but lists them."""
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    ticks = {label for axis in axes for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)}
    return [text for text in figure.findobj(Text) if text.get_text() and text not in ticks]


def matches(n: int, start: int = 10) -> np.ndarray:
    return np.column_stack([np.arange(n), start + np.arange(n)])


def curves(names: list[str]) -> dict[str, ranking_metrics.PrecisionRecall]:
    return {name: ranking_metrics.precision_recall([0, 0], [1, i + 2]) for i, name in enumerate(names)}


def histograms(names: list[str]) -> dict[str, ranking_metrics.RankHistogram]:
    return {name: ranking_metrics.rank_histogram([1, 1, 3, 10 ** (i % 7)]) for i, name in enumerate(names)}


def draw_pair(chroma: Any, png: Path, title: str = "a", **options: Any) -> None:
    settings = {"path": matches(60), "transposition": 3, "query_title": title, "candidate_title": title, **options}
    plots.draw_alignment(chroma[0], chroma[1], png=png, **settings)


@pytest.mark.parametrize("title", HARD_TITLES)
def test_any_title_is_drawn_literally_and_inside_the_figure(
    chroma: Any, tmp_path: Path, title: str, drawn: list[Figure]
) -> None:
    draw_pair(chroma, tmp_path / "a.png", title, notes=[title, "distance 0.2"])
    plots.draw_precision_recall(curves([title, "b"]), tmp_path / "b.png")
    plots.draw_rank_histogram(histograms([title, "b"]), tmp_path / "c.png")
    assert len(drawn) == 3
    for figure in drawn:
        width, height = figure.bbox.width, figure.bbox.height
        for text in texts(figure):
            box = text.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= width + 1
            assert 0 <= box.y0 < box.y1 <= height + 1
    shown = [text.get_text() for text in texts(drawn[0])]
    if title == HARD_TITLES[0]:
        assert f"Query: {title}" in shown
    if len(title) > 1000:
        assert sum(text.endswith("…") for text in shown) == 3


def test_legend_has_space_for_28_methods(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.draw_precision_recall(curves([f"method {i}, MAP 0.{i:03d}" for i in range(28)]), tmp_path / "a.png")
    names = [text.get_window_extent() for text in texts(drawn[0]) if text.get_text().startswith("method")]
    assert len(names) == 28
    assert min(box.y0 for box in names) > 0
    lines: list[Any] = list(drawn[0].axes[0].lines)
    styles = {(line.get_color(), str(line.get_linestyle()), str(line._dash_pattern)) for line in lines}
    assert len(styles) == 28


def test_titles_do_not_overlap_other_text(chroma: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    draw_pair(chroma, tmp_path / "a.png", "m" * 500, notes=["n" * 500])
    candidate, moved, query, notes = (
        next(text.get_window_extent() for text in texts(drawn[0]) if text.get_text().startswith(start))
        for start in ("Candidate", "moved", "Query", "nnn")
    )
    assert candidate.x1 < moved.x0
    assert query.x1 < notes.x0


@pytest.mark.slow
def test_plots_are_not_empty_and_have_the_same_bytes_every_time(chroma: Any, tmp_path: Path) -> None:
    draws: list[Callable[[Path], None]] = [
        lambda path: draw_pair(chroma, path),
        lambda path: plots.draw_precision_recall(curves([f"method {i}" for i in range(9)]), path),
        lambda path: plots.draw_rank_histogram(histograms([f"method {i}" for i in range(9)]), path),
        lambda path: plots.draw_precision_recall({}, path),
        lambda path: plots.draw_rank_histogram({}, path),
        lambda path: plots.draw_rank_histogram({"none": ranking_metrics.rank_histogram([])}, path),
        lambda path: plots.draw_precision_recall({"none": ranking_metrics.precision_recall([], [])}, path),
    ]
    for number, draw in enumerate(draws):
        paths = [tmp_path / f"{number}{copy}.png" for copy in "ab"]
        for path in paths:
            draw(path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        pixels = imread(paths[0])
        assert pixels.shape[0] > 300
        assert pixels.shape[1] > 1000
        assert pixels.std() > 0.01


def test_candidate_is_drawn_in_the_key_of_the_query(chroma: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    draw_pair(chroma, tmp_path / "a.png", transposition=7)
    shown = [np.asarray(axes.get_images()[0].get_array()) for axes in drawn[0].axes if axes.get_images()]
    np.testing.assert_allclose(shown[0], np.roll(chroma[1], -7, axis=0) ** 2)
    np.testing.assert_allclose(shown[1], chroma[0] ** 2)


@pytest.mark.parametrize(
    ("transposition", "words"),
    [
        (0, "in the same key"),
        (11, "+1 semitone"),
        (6, "+6 semitones"),
        (5, "−5 semitones"),
        (1, "−1 semitone"),
        (12, "same"),
    ],
)
def test_smaller_transposition_is_shown(
    chroma: Any, tmp_path: Path, drawn: list[Figure], transposition: int, words: str
) -> None:
    draw_pair(chroma, tmp_path / "a.png", transposition=transposition)
    assert any(text.get_text().endswith(words) or words in text.get_text() for text in texts(drawn[0]))


def test_matches_are_thinned_and_keep_the_first_and_last(chroma: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    for expected, n in ((0, 0), (1, 1), (2, 2), (90, 100)):
        drawn.clear()
        draw_pair(chroma, tmp_path / "a.png", path=matches(n))
        lines = [line for axes in drawn[0].axes for line in axes.lines]
        assert len(lines) == expected
        if lines:
            ends = [line.get_xdata()[[0, -1]].tolist() for line in map(_as_arrays, lines)]
            assert ends[0] == [10, 0]
            assert ends[-1] == [10 + n - 1, n - 1]


def _as_arrays(line: Any) -> Any:
    line.set_xdata(np.asarray(line.get_xdata()))
    return line


def test_colour_changes_after_a_jump_of_the_path(chroma: Any, tmp_path: Path, drawn: list[Figure]) -> None:
    path = np.array([[0, 200], [1, 201], [2, 205], [3, 20], [4, 21], [5, 90]])
    draw_pair(chroma, tmp_path / "a.png", path=path)
    colours = [line.get_color() for axes in drawn[0].axes for line in axes.lines]
    assert [colours.index(colour) for colour in colours] == [0, 0, 0, 3, 3, 5]


def test_one_beat_and_very_long_tracks(chroma: Any, tmp_path: Path) -> None:
    long = np.tile(chroma[0], 10)
    for query, candidate in ((chroma[0][:, :1], chroma[1][:, :1]), (chroma[0][:, :1], long), (long, long)):
        draw_pair((query, candidate), tmp_path / "a.png", path=np.array([[0, 0]]))


@pytest.mark.parametrize("bad", [[[0, -1]], [[10**6, 0]], [[0, 10**6]]])
def test_paths_outside_the_tracks_are_refused(chroma: Any, tmp_path: Path, bad: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="beats outside the tracks"):
        draw_pair(chroma, tmp_path / "a.png", path=np.array(bad))
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("shape", [(12, 0), (11, 5), (12,)])
def test_chroma_of_another_shape_is_refused(chroma: Any, tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected chroma"):
        draw_pair((np.zeros(shape), chroma[1]), tmp_path / "a.png")


def test_module_does_not_import_matplotlib() -> None:
    code = "import sys, reprise.lib.detect.plots; print([m for m in sys.modules if m.startswith('matplotlib')])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.strip() == b"[]"
