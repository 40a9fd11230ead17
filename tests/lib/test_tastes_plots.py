"""Tests of the taste plot: any name of a genre or listener is legible, and the same input gives the same bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from reprise.lib.tastes.plots import MAX_GENRES, draw_taste

HARD_NAMES = [
    "a $x_{1} $ \\frac",
    "_^{}\\",
    "音楽 🎵",
    "\x00\n\t",
    "W" * 10_000,
    "שלום",
    "\ud800",
    "<b>",
    "e\u0301",
    "",
]


def draw(png: Path, genres: list[str], **options: Any) -> None:
    """Draw a taste whose shares halve from genre to genre and sum to 1; ``options`` replace arguments."""
    k = len(genres)
    share = 0.5 ** np.arange(1, k + 1)
    ranges = np.column_stack([100 + 5 * np.arange(k), np.full(k, 10.0)])
    values = {
        "share": share / max(share.sum(), 1e-9),
        "population_share": np.full(k, 1 / max(k, 1)),
        "tempo_bpm": ranges,
    }
    draw_taste(genres, **{**values, "year": np.add(ranges, (1900, 0)), "title": "somebody", **options}, png=png)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_shares_and_ranges_are_drawn_at_their_values(tmp_path: Path, drawn: list[Figure]) -> None:
    tempo = [[120, 10], [np.nan, np.nan], [90, 0]]
    year = [[np.nan, np.nan], [1985, 5], [2003.5, 2]]
    draw(tmp_path / "a.png", ["Jazz", "Rock", "Folk"], share=[0.6, 0.3, 0.1], population_share=[0.2, 0.7, 0.1],
         tempo_bpm=tempo, year=year)  # fmt: skip
    all_axes: list[Any] = drawn[0].axes
    bars, tempos, years = all_axes
    assert [round(bar.get_width(), 9) for bar in bars.patches] == [60, 30, 10]
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[20, 0], [70, 1], [10, 2]])
    np.testing.assert_allclose(tempos.lines[0].get_xydata(), [[120, 0], [90, 2]])
    np.testing.assert_allclose(years.lines[0].get_xydata(), [[1985.0, 1.0], [2003.5, 2.0]])
    spans = [segment[:, 0].tolist() for segment in years.collections[0].get_segments()]
    assert spans == [[1980, 1990], [2001.5, 2005.5]]
    assert bars.get_ylim() == tempos.get_ylim() == years.get_ylim()
    assert {"Jazz", "Rock", "Folk", "somebody", "listener", "all listeners"} <= set(texts(drawn[0]))


def test_all_values_are_inside_the_axes(tmp_path: Path, drawn: list[Figure]) -> None:
    far = [[900.0, 99.0], [1.0, 0.5]]
    draw(tmp_path / "a.png", ["a", "b"], population_share=[0.001, 0.999], tempo_bpm=far, year=far)
    bars, *others = drawn[0].axes
    assert bars.get_xlim()[1] > 99.9
    for axes in others:
        assert axes.get_xlim()[0] < 0.5
        assert axes.get_xlim()[1] > 999


@pytest.mark.slow
def test_any_name_is_drawn_literally_and_inside_the_figure(tmp_path: Path, drawn: list[Figure]) -> None:
    for number, name in enumerate(HARD_NAMES):
        draw(tmp_path / f"{number}.png", HARD_NAMES, title=name)
        drawn[-1].draw_without_rendering()
        width = drawn[-1].bbox.width
        for text in [*drawn[-1].texts, *(text for axes in drawn[-1].axes for text in axes.texts)]:
            box = text.get_window_extent()
            assert -1 <= box.x0 <= box.x1 <= width + 1, text.get_text()
        assert "a $x_{1} $ \\frac" in texts(drawn[-1])


def test_one_genre_and_too_many_genres(tmp_path: Path, drawn: list[Figure]) -> None:
    unknown = [[np.nan, np.nan]]
    draw(tmp_path / "one.png", ["Jazz"], tempo_bpm=unknown, year=unknown)
    names = [f"genre {number}" for number in range(MAX_GENRES + 5)]
    draw(tmp_path / "many.png", names)
    assert [len(figure.axes[0].patches) for figure in drawn] == [1, MAX_GENRES]
    assert {names[0], names[MAX_GENRES - 1]} <= set(texts(drawn[1]))
    assert names[MAX_GENRES] not in texts(drawn[1])
    assert any(str(MAX_GENRES + 5) in text for text in texts(drawn[1]))
    assert imread(tmp_path / "one.png").shape[0] < imread(tmp_path / "many.png").shape[0]


def test_same_taste_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(tmp_path / name, ["Jazz", "Rock"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("genres", "options"),
    [
        ([], {}),
        (["Jazz"], {"share": [0.5, 0.5], "population_share": [0.5, 0.5]}),
        (["Jazz"], {"tempo_bpm": [[1.0]]}),
        (["Jazz"], {"year": [[1.0, 2.0], [1.0, 2.0]]}),
    ],
)
def test_invalid_shapes_are_refused(genres: list[str], options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="genres"):
        draw(tmp_path / "a.png", genres, **options)
    assert list(tmp_path.iterdir()) == []
