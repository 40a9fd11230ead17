"""Picture of a whole track: rows of time, chords without overlap, any title and length."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from reprise.lib import plotting
from reprise.lib.analysis import sheets
from reprise.lib.analysis.charts import to_symbol
from reprise.lib.analysis.chords import CHORDS, Chords
from reprise.lib.analysis.sheets import Sheet, draw_sheet, find_runs, loudness_envelope, measure_envelope, root_colour
from reprise.lib.text import format_time

HARD_TITLES = ["a $x_{1} $ \\frac", "$", "_^{}\\", "東京 🎵", "\x00\x07\n\r\t", "", "W" * 100_000, "שלום", "\ud800"]


def make_sheet(duration: float = 95.0, period_s: float = 0.5, title: str = "Song", change_every: int = 1) -> Sheet:
    """A track with chords that change at every beat, or more seldom."""
    beats = np.arange(0.25, duration - 0.25, period_s)
    rng = np.random.default_rng(0)
    segments = np.arange(0, duration, 0.3)
    names = np.repeat([CHORDS[i] for i in rng.integers(0, 61, len(beats) // change_every + 1)], change_every)
    return Sheet(
        title=title,
        summary="1:35  ·  120.0 BPM",
        duration=duration,
        envelope=loudness_envelope(segments, rng.uniform(-40, 0, len(segments)), duration),
        has_audio=False,
        beats_s=beats,
        bars_s=beats[::4],
        sections_s=beats[:: max(len(beats) // 7, 1)],
        chords=Chords(tuple(names[: len(beats)]), rng.random(len(beats)).astype(np.float32)),
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    save = plotting.save

    def keep(figure: Figure, path: Any) -> None:
        figures.append(figure)
        save(figure, path)

    monkeypatch.setattr(sheets, "save", keep)
    return figures


def labels(axes: Axes) -> list[Text]:
    return [text for text in axes.texts if text.get_text()]


@pytest.mark.parametrize(
    ("duration", "rows", "last"),
    [(0.02, 1, "0:00"), (30.0, 1, "0:30"), (30.5, 2, "0:30"), (300.0, 10, "5:00"), (599.0, 20, "9:55"),
     (3700.0, 13, "1:01:40")],
)  # fmt: skip
def test_rows_cover_the_track(duration: float, rows: int, last: str, drawn: list[Figure], tmp_path: Path) -> None:
    draw_sheet(make_sheet(duration, period_s=max(0.5, duration / 400)), tmp_path / "a.png")
    (figure,) = drawn
    assert len(figure.axes) == rows
    edges = [axes.get_xlim() for axes in figure.axes]
    assert edges[0][0] == 0
    assert [one[1] for one in edges[:-1]] == [other[0] for other in edges[1:]]
    assert edges[-1][0] < duration <= edges[-1][1]
    assert figure.axes[-1].get_xticklabels()[-1].get_text() == last
    assert figure.get_size_inches()[1] < 30


@pytest.mark.parametrize(("period_s", "change_every"), [(0.3, 1), (0.5, 2), (0.6, 8)])
def test_texts_overlap_nowhere(period_s: float, change_every: int, drawn: list[Figure], tmp_path: Path) -> None:
    draw_sheet(make_sheet(period_s=period_s, change_every=change_every), tmp_path / "a.png")
    (figure,) = drawn
    boxes = [text.get_window_extent() for axes in figure.axes for text in labels(axes)]
    boxes += [text.get_window_extent() for text in figure.texts if text.get_text()]
    boxes += [text.get_window_extent() for legend in figure.legends for text in legend.get_texts()]
    assert len(boxes) > 20
    for i, box in enumerate(boxes):
        assert not [other for other in boxes[:i] if box.overlaps(other)]
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


def test_slow_chords_all_have_names(drawn: list[Figure], tmp_path: Path) -> None:
    sheet = make_sheet(28.0, change_every=8)
    draw_sheet(sheet, tmp_path / "a.png")
    names = [text.get_text() for text in labels(drawn[0].axes[0]) if text.get_text() and not text.get_text().isdigit()]
    assert names == [to_symbol(run[2]) for run in find_runs(sheet.chords, np.append(sheet.beats_s, 28.0))]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("title", HARD_TITLES)
def test_any_title(title: str, drawn: list[Figure], tmp_path: Path) -> None:
    draw_sheet(make_sheet(10.0, title=title), tmp_path / "a.png")
    assert drawn[0].texts[0].get_window_extent().x1 <= drawn[0].bbox.width
    assert imread(tmp_path / "a.png").ndim == 3


def test_equal_tracks_have_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_sheet(make_sheet(), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_colours_tell_roots_and_thirds_apart() -> None:
    colours = {name: root_colour(name) for name in CHORDS if name.endswith((":maj", ":min")) or name == "N"}
    values = np.array(list(colours.values()))
    distance = np.linalg.norm(values[:, None] - values[None], axis=2) + np.eye(len(values))
    assert distance.min() > 0.1
    assert root_colour("C:7") == root_colour("C:maj7") == root_colour("C:maj")
    assert root_colour("C:min7") == root_colour("C:min")


def test_runs_of_chords() -> None:
    chords = Chords(("C:maj", "C:maj", "N", "C:maj"), np.array([0.5, 1.0, 0.25, 0.75], np.float32))
    runs = find_runs(chords, np.array([1.0, 2.0, 3.0, 4.0, 9.0]))
    assert runs == [(1.0, 3.0, "C:maj", 0.75), (3.0, 4.0, "N", 0.25), (4.0, 9.0, "C:maj", 0.75)]
    assert find_runs(Chords((), np.zeros(0, np.float32)), np.array([9.0])) == []


def test_envelopes() -> None:
    signal = np.zeros(22_050, np.float32)
    signal[100], signal[-1] = 0.5, -0.75
    envelope = measure_envelope(signal)
    assert envelope[0].tolist() == [0, 0.5]
    assert envelope[-1].tolist() == [-0.75, 0]
    assert abs(len(envelope) - sheets.COLUMNS_PER_S) <= 1
    loud = loudness_envelope(np.array([0.0, 1.0]), np.array([-60.0, -30.0]), 2.0)
    assert loud.shape == (2 * sheets.COLUMNS_PER_S, 2)
    assert loud[0].tolist() == [0, 0]
    assert loud[-1].tolist() == [-0.5, 0.5]
    assert not loudness_envelope(np.zeros(0), np.zeros(0), 1.0).any()


def test_times() -> None:
    assert [format_time(s) for s in (0, 0.6, 59.6, 61, 3599.4, 3600, 7325)] == [
        "0:00", "0:01", "1:00", "1:01", "59:59", "1:00:00", "2:02:05",
    ]  # fmt: skip
