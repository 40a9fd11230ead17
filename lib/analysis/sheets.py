"""Plot of a whole track in rows of time: waveform or loudness, beats, bars, sections and chords."""

from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from reprise.lib.analysis.charts import to_symbol
from reprise.lib.analysis.chords import NO_CHORD, ROOTS, Chords
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.plotting import FAINT, FONT, INK, Path, fit_text, new_figure, save
from reprise.lib.text import format_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS_PER_S = 40
"""Columns of an envelope in one second."""

_BAR, _BEAT, _SECTION, _WAVE = "#333333", "#8C8C8C", "#D55E00", "#B9C4CC"
_FLOOR_DB = -60.0
_WIDTH_IN, _LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN = 15.0, 0.35, 0.35, 1.25, 0.35
_ROW_IN, _GAP_IN = 0.8, 0.42
_ROW_S, _MAX_ROWS = (30, 60, 120, 300, 600, 1800), 20
_BAND = 0.34  # height of the chord names, as share of a row
_CHORD_SIZE, _SMALL, _PAD_PX = 8.0, 7.5, 4


@dataclass(frozen=True)
class Sheet:
    """What the plot shows of one track.

    Attributes
    ----------
    title, summary
        Name of the track; a line with duration, tempo, key and meter.
    duration
        In s.
    envelope
        Shape (n, 2), result of `measure_envelope` or of `loudness_envelope`.
    has_audio
        Whether the envelope is that of the audio.
    beats_s, bars_s, sections_s
        Shapes (b,), (m,) and (k,), in s, ascending.
    chords
        Chords of the b beats.
    """

    title: str
    summary: str
    duration: float
    envelope: Float32Array
    has_audio: bool
    beats_s: Float64Array
    bars_s: Float64Array
    sections_s: Float64Array
    chords: Chords


def measure_envelope(signal: Float32Array) -> Float32Array:
    """Return lowest and highest value of a mono signal at 22,050 Hz, `COLUMNS_PER_S` times a second: (n, 2)."""
    starts = np.arange(0, len(signal), SAMPLE_RATE // COLUMNS_PER_S)
    return np.column_stack([np.minimum.reduceat(signal, starts), np.maximum.reduceat(signal, starts)])


def loudness_envelope(segments_s: Float64Array, loudness_db: Float64Array, duration: float) -> Float32Array:
    """Return minus and plus the loudness of the segments, `COLUMNS_PER_S` times a second: (n, 2).

    -60 dB is 0, and 0 dB is 1.
    """
    time_s = np.arange(0, max(duration, 1 / COLUMNS_PER_S), 1 / COLUMNS_PER_S)
    if not len(segments_s):
        return np.zeros((len(time_s), 2), np.float32)
    height = np.clip(1 - loudness_db / _FLOOR_DB, 0, 1)
    values = height[np.maximum(np.searchsorted(segments_s, time_s, side="right") - 1, 0)]
    return np.column_stack([-values, values]).astype(np.float32)


def draw_sheet(sheet: Sheet, png: Path) -> None:
    """Draw a track in rows of half a minute, or longer if there would be more than 20 rows.

    A row shows the envelope with short lines for beats and long lines for bars. Above it are the chords: a name where
    the chord changes, on a colour for each root, paler where it is less probable. A name that does not fit is left out;
    its colour stays. Sections are numbered lines.

    Parameters
    ----------
    png
        File to write; an existing file is replaced.
    """
    row_s = next((s for s in _ROW_S if sheet.duration <= s * _MAX_ROWS), _ROW_S[-1])
    n_rows = max(1, int(np.ceil(sheet.duration / row_s - 1e-6)))
    height = _TOP_IN + n_rows * (_ROW_IN + _GAP_IN) + _BOTTOM_IN
    figure = new_figure(_WIDTH_IN, height)
    axes_width = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    _write_head(figure, sheet, height)
    scale = max(float(np.abs(sheet.envelope).max(initial=0)), 1e-6)
    for row in range(n_rows):
        bottom = height - _TOP_IN - (row + 1) * (_ROW_IN + _GAP_IN) + _GAP_IN
        axes = figure.add_axes(
            (_LEFT_IN / _WIDTH_IN, bottom / height, axes_width / _WIDTH_IN, _ROW_IN / height), facecolor="none"
        )
        axes.set(xlim=(row * row_s, (row + 1) * row_s), ylim=(0, 1), yticks=[])
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
        _scale_time(axes, row_s, sheet.duration)
        _draw_row(axes, sheet, scale)
    save(figure, png)


def root_colour(name: str) -> tuple[float, float, float]:
    """Return the colour of a chord: roots a fifth apart have neighbouring hues, minor chords are darker."""
    from matplotlib.colors import hsv_to_rgb

    if name == NO_CHORD:
        return (0.85, 0.85, 0.85)
    root, _, quality = name.partition(":")
    minor = quality.startswith("min")
    hue = ROOTS.index(root) * 7 % 12 / 12
    red, green, blue = hsv_to_rgb((hue, 0.75 if minor else 0.55, 0.75 if minor else 1.0))
    return float(red), float(green), float(blue)


def find_runs(chords: Chords, bounds_s: Float64Array) -> list[tuple[float, float, str, float]]:
    """Return start and end in s, name and mean probability of each run of beats with one chord.

    ``bounds_s`` are the times of the beats and the end of the last one.
    """
    runs, first = [], 0
    for name, same in groupby(chords.names):
        end = first + len(list(same))
        probability = float(chords.probabilities[first:end].mean())
        runs.append((float(bounds_s[first]), float(bounds_s[end]), name, probability))
        first = end
    return runs


def _write_head(figure: "Figure", sheet: Sheet, height: float) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    limit = (_WIDTH_IN - _LEFT_IN - _RIGHT_IN) * figure.dpi
    title = figure.text(_LEFT_IN / _WIDTH_IN, 1 - 0.28 / height, "", fontsize=14, color=INK, va="center")
    fit_text(title, sheet.title, limit)
    summary = figure.text(_LEFT_IN / _WIDTH_IN, 1 - 0.58 / height, "", fontsize=10, color=INK, va="center")
    fit_text(summary, sheet.summary, limit)
    figure.legend(
        handles=[
            Patch(color=_WAVE, label="waveform" if sheet.has_audio else "loudness of the segments (no audio)"),
            Line2D([], [], color=_BEAT, linewidth=0.9, marker="|", linestyle="", markersize=6, label="beat"),
            Line2D([], [], color=_BAR, linewidth=1.2, marker="|", linestyle="", markersize=12, label="bar line"),
            Line2D([], [], color=_SECTION, linewidth=2.2, marker="|", linestyle="", markersize=14,
                   markeredgewidth=2.2, label="section"),
            Patch(color=root_colour("C:maj"), label="chord: a colour for each root, darker for minor chords"),
            Patch(color=root_colour("C:maj"), alpha=0.3, label="less probable"),
        ],
        loc="center left", bbox_to_anchor=(_LEFT_IN / _WIDTH_IN - 0.005, 1 - 0.87 / height), ncols=6, frameon=False,
        prop={"family": FONT, "size": 8.5}, labelcolor=INK, columnspacing=1.6, handletextpad=0.5,
    )  # fmt: skip


def _scale_time(axes: "Axes", row_s: int, duration: float) -> None:
    first = axes.get_xlim()[0]
    ticks = first + np.arange(0, row_s + 1, row_s / 6)
    ticks = ticks[ticks <= max(duration, first)]
    axes.set_xticks(ticks, [format_time(float(tick)) for tick in ticks], fontfamily=FONT)
    axes.tick_params(axis="x", labelsize=_SMALL, colors=INK, length=3, color=FAINT, pad=1)


def _draw_row(axes: "Axes", sheet: Sheet, scale: float) -> None:
    first, end = axes.get_xlim()
    columns = slice(int(first * COLUMNS_PER_S), int(end * COLUMNS_PER_S) + 1)
    part = sheet.envelope[columns] / scale
    middle, half = (1 - _BAND) / 2, (1 - _BAND) / 2 - 0.02
    time_s = (np.arange(len(part)) + columns.start) / COLUMNS_PER_S
    axes.fill_between(time_s, middle + half * part[:, 0], middle + half * part[:, 1], color=_WAVE, linewidth=0)

    def within(times_s: Float64Array) -> Float64Array:
        return times_s[(times_s >= first) & (times_s < end)]

    axes.vlines(within(sheet.beats_s), 0, 0.12, color=_BEAT, linewidth=0.9)
    axes.vlines(within(sheet.bars_s), 0, 1 - _BAND, color=_BAR, linewidth=0.9)
    _draw_chords(axes, sheet)
    _draw_sections(axes, sheet)


def _draw_chords(axes: "Axes", sheet: Sheet) -> None:
    first, end = axes.get_xlim()
    limit_px = _to_px(axes, min(end, sheet.duration))
    free_px = -np.inf
    for start, stop, name, probability in find_runs(sheet.chords, np.append(sheet.beats_s, sheet.duration)):
        left, right = max(start, first), min(stop, end)
        if right <= left:
            continue
        axes.barh(1 - _BAND / 2, right - left, left=left, height=_BAND - 0.04, color=root_colour(name),
                  alpha=0.15 + 0.65 * probability, linewidth=0)  # fmt: skip
        axes.vlines(left, 1 - _BAND + 0.02, 0.98, color="white", linewidth=0.8)
        symbol, left_px = to_symbol(name), _to_px(axes, left) + _PAD_PX
        right_px = left_px + _measure_symbol(symbol)
        if left_px >= free_px and right_px <= limit_px:
            axes.annotate(
                symbol, (left, 1 - _BAND / 2), (_PAD_PX, 0), textcoords="offset pixels", va="center",
                fontsize=_CHORD_SIZE, fontfamily=FONT, color="black",
            )  # fmt: skip
            free_px = right_px


@cache
def _measure_symbol(symbol: str) -> float:
    """Return the width of a chord's symbol in pixels."""
    text = new_figure(1, 1).text(0, 0, symbol, fontsize=_CHORD_SIZE, fontfamily=FONT)
    return float(text.get_window_extent().width)


def _to_px(axes: "Axes", time_s: float) -> float:
    return float(axes.transData.transform((time_s, 0))[0])


def _draw_sections(axes: "Axes", sheet: Sheet) -> None:
    first, end = axes.get_xlim()
    free_px = -np.inf
    for number, start in enumerate(sheet.sections_s, start=1):
        if not first <= start < end:
            continue
        axes.vlines(start, 0, 1.0, color=_SECTION, linewidth=2.2)
        text = axes.annotate(
            str(number), (start, 1.0), (0, 2), textcoords="offset points", ha="left", va="bottom", fontsize=_SMALL,
            color=_SECTION, fontweight="bold", fontfamily=FONT, annotation_clip=False,
        )  # fmt: skip
        box = text.get_window_extent()
        if box.x0 < free_px:
            text.remove()
        else:
            free_px = box.x1 + 2
