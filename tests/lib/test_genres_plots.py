"""Plots of genre models: legible with any genre names, and reproducible."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reprise.lib.genres import exploration_plots, plots
from reprise.lib.genres import plot_layout as layout
from reprise.lib.genres.metrics import compute_metrics
from reprise.lib.plotting import fit_text, new_figure

HARD = [
    "a $x_{1} $ \\frac",
    "_^{}\\",
    "ヒップホップ 🎵",
    "\x00\x07\n\r\t",
    "W" * 10_000,
    "Jazz and Improvised Music of the Twentieth Century",
    "שלום",
    "\ud800",
    "<script>alert(1)</script>",
    "=1+1",
    "e\u0301",
    "rock",
    "",
]
"""Difficult names; 13, as many as the larger genre sets have."""


def boxes(figure: Figure) -> dict[str, list[Bbox]]:
    """Return the bounding boxes of the visible texts; ticks beyond the ends of an axis are not drawn."""
    axes = [axis for part in figure.axes for axis in (part.xaxis, part.yaxis)]
    hidden = {
        label
        for axis in axes
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not label.get_visible()
    }
    found: dict[str, list[Bbox]] = {}
    for text in figure.findobj(Text):
        if text.get_text() and text.get_visible() and text not in hidden:
            found.setdefault(text.get_text(), []).append(text.get_window_extent())
    return found


def values_of(artist: ScalarMappable) -> np.ndarray:
    """Return the values that an image or a mesh shows."""
    values = artist.get_array()
    assert values is not None
    return np.asarray(values)


def draw_all(folder: Path, genres: list[str], features: list[str]) -> None:
    """Draw every plot with extreme values."""
    rng, k, d = np.random.default_rng(len(genres)), len(genres), len(features)
    true = rng.integers(0, k, 2000)
    found = rng.dirichlet(np.full(k, 0.3), 2000)
    found[np.arange(2000), true] += 0.4
    metrics = compute_metrics(np.array(genres, dtype=object)[true], found / found.sum(axis=1, keepdims=True), genres)
    plots.draw_confusion(np.array(metrics["confusion"]) * 1234, genres, folder / "confusion.png")
    plots.draw_per_genre(metrics["per_genre"], folder / "per_genre.png")
    plots.draw_calibration(metrics["calibration"], folder / "calibration.png")
    curve = [{"rows": 10**n, "macro_f1": n / 8, "accuracy": n / 7, "spread": 0.1} for n in (6, 2, 4)]
    plots.draw_learning_curve(curve, folder / "learning_curve.png")
    ranking = [{"feature": name, "mutual_information": 0.5, "f_value": 12_345.678} for name in features]
    ranking += [{"feature": "unknown", "mutual_information": None, "f_value": None}]
    plots.draw_ranking(ranking, folder / "ranking.png")
    plots.draw_shap(rng.exponential(0.02, (d, k)), features, genres, folder / "shap.png")
    probabilities = rng.dirichlet(np.full(k, 0.3), 70)
    plots.draw_timeline(
        3 * np.arange(70), probabilities, genres, title=max(genres, key=len), png=folder / "timeline.png"
    )
    exploration_plots.draw_balance(genres, rng.integers(1, 10**6, k).tolist(), folder / "balance.png")
    share = rng.uniform(0, 0.1, (d, k))
    exploration_plots.draw_missing(share, share.mean(axis=1), features, genres, folder / "missing.png")
    spread = np.sort(rng.standard_normal((k, 5, d)), axis=1) * 1e6
    exploration_plots.draw_distributions(spread, features, genres, folder / "distributions.png")
    correlation = np.asarray(np.corrcoef(rng.standard_normal((d, 10)))) if d > 1 else np.full((1, 1), np.nan)
    exploration_plots.draw_correlation(correlation, features, folder / "correlation.png")
    labels = np.array(genres, dtype=object)[true[:300]]
    for axes in (("", ""), ("component 1", "component 2")):
        points = rng.standard_normal((300, 2)) * 1e3
        png = folder / f"points{len(axes[0])}.png"
        exploration_plots.draw_points(points, labels, genres, png, title="PCA", axes=axes)


@pytest.mark.parametrize("count", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_names_are_drawn_literally_inside_the_plot_without_overlap(
    tmp_path: Path, drawn: list[Figure], count: int
) -> None:
    genres = [*HARD, *(f"genre number {n}" for n in range(count))][:count]
    draw_all(tmp_path, genres, [*HARD, *(f"feature_{n}_mean" for n in range(20))][: 1 if count == 1 else 33])
    assert len(drawn) == 13
    for figure in drawn:
        assert max(figure.get_size_inches()) < 30
        found = [(name, box) for name, several in boxes(figure).items() for box in several if box.width > 1]
        low, high = np.array([box.min for _, box in found]), np.array([box.max for _, box in found])
        assert low.min() >= -1
        assert np.all(high <= [figure.bbox.width + 1, figure.bbox.height + 1])
        shared = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
        # single characters may touch, labels may not overlap
        overlaps = np.argwhere(np.triu(shared.min(axis=2) >= 4, 1)).tolist()
        assert [(found[a][0], found[b][0]) for a, b in overlaps] == []


@pytest.mark.slow
def test_plots_are_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        draw_all(tmp_path / name, ["blues", "pop"], ["x", "y"])
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert first == second


@pytest.mark.slow
def test_hundreds_of_genres_do_not_enlarge_the_plots(tmp_path: Path, drawn: list[Figure]) -> None:
    genres = [f"tag {n}" for n in range(200)]
    counts = np.diag(np.arange(200))
    plots.draw_confusion(counts, genres, tmp_path / "a.png")
    plots.draw_per_genre(
        {name: {"f1": 0.5, "precision": 0.4, "recall": 0.6, "support": n} for n, name in enumerate(genres)},
        tmp_path / "b.png",
    )
    plots.draw_shap(np.tile(np.arange(200.0), (3, 1)), ["x", "y", "z"], genres, tmp_path / "c.png")
    exploration_plots.draw_balance(genres[::-1], list(range(200))[::-1], tmp_path / "d.png")
    for figure in drawn:
        assert max(figure.get_size_inches()) < 16
        shown = set(boxes(figure))
        assert {"tag 199", "tag 170"} <= shown
        assert "tag 169" not in shown
        assert any("(30 of 200 genres)" in text for text in shown)


def test_confusion_is_coloured_by_the_share_of_the_true_genre(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.draw_confusion([[90, 10], [0, 4]], ["a", "b"], tmp_path / "a.png")
    np.testing.assert_allclose(values_of(drawn[0].axes[0].images[0]), [[0.9, 0.1], [0.0, 1.0]])
    assert {"90", "10", "4"} <= set(boxes(drawn[0]))
    assert "0" not in boxes(drawn[0])


def test_a_timeline_shows_windows_at_their_times(tmp_path: Path, drawn: list[Figure]) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]])
    plots.draw_timeline([0, 3, 6], probabilities, ["jazz", "pop"], title="x", png=tmp_path / "a.png")
    mesh = drawn[0].axes[0].collections[0]
    assert isinstance(mesh, QuadMesh)
    # the most probable genre of the track is the top row
    np.testing.assert_allclose(values_of(mesh).reshape(2, 3), probabilities[:, ::-1].T)
    np.testing.assert_allclose(np.asarray(mesh.get_coordinates())[0, :, 0], [0, 3, 6, 9])
    shown = boxes(drawn[0])
    assert {"jazz", "pop", "36.7 %", "63.3 %"} <= set(shown)
    assert shown["pop"][0].y0 > shown["jazz"][0].y1


def test_a_timeline_of_hours_and_many_genres_is_averaged(tmp_path: Path, drawn: list[Figure]) -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(40, 0.2), 12_000)
    names = [f"g{n}" for n in range(40)]
    plots.draw_timeline(3 * np.arange(12_000), probabilities, names, title="x", png=tmp_path / "a.png")
    values = values_of(drawn[0].axes[0].collections[0])
    assert values.shape == (13, 1200)
    np.testing.assert_allclose(values.sum(axis=0), 1)
    np.testing.assert_allclose(values[:12].mean(axis=1), np.sort(probabilities.mean(axis=0))[::-1][:12])
    assert {"28 others", "1:00:00", "10:00:00"} <= set(boxes(drawn[0]))


@pytest.mark.parametrize(("starts", "shape"), [([], (0, 2)), ([0.0], (1, 3)), ([0.0, 3.0], (1, 2))])
def test_a_timeline_with_invalid_shapes_is_rejected(
    tmp_path: Path, starts: list[float], shape: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="do not match"):
        plots.draw_timeline(starts, np.ones(shape), ["a", "b"], title="x", png=tmp_path / "a.png")


def test_one_window_and_one_genre(tmp_path: Path, drawn: list[Figure]) -> None:
    plots.draw_timeline([1.5], [[1.0]], ["a"], title="x", png=tmp_path / "a.png")
    assert "100.0 %" in boxes(drawn[0])


@pytest.mark.parametrize(
    "draw",
    [
        lambda png: plots.draw_learning_curve([], png),
        lambda png: plots.draw_calibration(compute_metrics(["a"], [[1.0]], ["a"])["calibration"], png),
        lambda png: exploration_plots.draw_missing(np.zeros((1, 1)), np.zeros(1), ["x"], ["a"], png),
        lambda png: exploration_plots.draw_points(np.empty((0, 2)), [], ["a"], png, title="x", axes=("", "")),
        lambda png: exploration_plots.draw_distributions(np.full((1, 5, 1), np.nan), ["x"], ["a"], png),
    ],
)
def test_empty_data_gives_a_plot(tmp_path: Path, draw: Callable[[Path], None]) -> None:
    draw(tmp_path / "a.png")
    assert imread(tmp_path / "a.png").ndim == 3


def test_counts_have_at_most_five_characters() -> None:
    shown = {
        count: layout.format_count(count) for count in (0, 7, 9999, 10_000, 123_456, 999_999, 1_000_000, 98_765_432)
    }
    assert max(map(len, shown.values())) <= 5
    assert [shown[0], shown[7], shown[9999], shown[10_000]] == ["", "7", "9999", "10k"]


def test_rotated_text_is_cut_by_its_height(tmp_path: Path) -> None:
    figure = new_figure(3, 3)
    text = figure.text(0.5, 0.5, "", rotation=90)
    fit_text(text, "many words " * 20, 200)
    assert 150 < text.get_window_extent().height <= 200
