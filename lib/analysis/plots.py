"""Plot of an analysis: waveform, sections, beats, bars, segments, pitches, timbre and loudness over time."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.text import PITCH_CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_INK, _BEAT, _BAR, _SECTION = "#333333", "#56B4E9", "#D55E00", "#009E73"
_WAVEFORM_COLUMNS = 2400
_DETAIL_S = 12.0  # length in s of the panel that shows single beats
_DPI = 130


def draw_analysis(signal: Float32Array, analysis: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the analysis of a recording as a PNG file.

    There are five panels. From top to bottom, they show:

    1. the waveform with sections and fades;
    2. the middle twelve seconds of the waveform with beats, bars and segments;
    3. the pitches of the segments;
    4. the timbre of the segments, each coefficient standardised;
    5. the loudness of the segments and the confidence of the beats.

    Parameters
    ----------
    signal
        Shape (samples,), mono at 22,050 Hz.
    analysis
        Result of `reprise.lib.analysis.analyser.analyse`.
    path
        PNG file to write. An existing file is replaced.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 11), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    whole, detail, chroma, timbre, loudness = figure.subplots(5, 1, height_ratios=(1, 1, 1.4, 1.4, 1))
    duration = analysis["duration"]
    mode = "major" if analysis["mode"] else "minor"
    figure.suptitle(
        f"{analysis['tempo']:.1f} BPM ({analysis['tempo_confidence']:.2f})   {PITCH_CLASSES[analysis['key']]} {mode}"
        f" ({analysis['key_confidence']:.2f}, {analysis['mode_confidence']:.2f})   {analysis['time_signature']}/4"
        f" ({analysis['time_signature_confidence']:.2f})   {analysis['loudness']:.1f} dB   {duration:.1f} s",
        color=_INK,
        family="DejaVu Sans",
    )
    _draw_waveform(whole, signal, 0, duration)
    for start, confidence in zip(analysis["sections_start"], analysis["sections_confidence"], strict=True):
        whole.axvline(start, color=_SECTION, linewidth=2, alpha=0.3 + 0.7 * float(confidence))
    for time in (analysis["end_of_fade_in"], analysis["start_of_fade_out"]):
        whole.axvline(time, color=_INK, linestyle=":", linewidth=1)
    whole.set_ylabel("sections")

    first = max(0.0, (duration - _DETAIL_S) / 2)
    _draw_waveform(detail, signal, first, min(first + _DETAIL_S, duration))
    for name, colour, top, width in (("beats", _BEAT, 0.75, 1.5), ("bars", _BAR, 1.0, 2.0)):
        detail.vlines(analysis[f"{name}_start"], 0, top, color=colour, linewidth=width)
    detail.vlines(analysis["segments_start"], -1, -0.6, color=_INK, linewidth=0.8)
    detail.set(ylabel="beats, bars; segments", xlim=(first, max(min(first + _DETAIL_S, duration), first + 1e-3)))

    edges = np.append(analysis["segments_start"], max(duration, analysis["segments_start"][-1] + 1e-3))
    rows = np.arange(13) - 0.5
    chroma.pcolormesh(edges, rows, np.asarray(analysis["segments_pitches"]).T, cmap="magma", vmin=0, vmax=1)
    chroma.set_yticks(range(12), PITCH_CLASSES, fontsize=7)
    chroma.set_ylabel("pitches")
    levels = np.asarray(analysis["segments_timbre"]).T
    deviation = levels.std(axis=1, keepdims=True)
    scaled = (levels - levels.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    timbre.pcolormesh(edges, rows + 1, scaled, cmap="RdBu_r", vmin=-2.5, vmax=2.5)
    timbre.set(ylabel="timbre", ylim=(12.5, 0.5))
    loudness.step(edges[:-1], analysis["segments_loudness_max"], where="post", color=_INK, linewidth=0.8)
    loudness.set(ylabel="loudness, dB", ylim=(-62, 3), xlabel="s")
    beat_confidence = loudness.twinx()
    beat_confidence.plot(analysis["beats_start"], analysis["beats_confidence"], ".", color=_BEAT, markersize=3)
    beat_confidence.set(ylim=(0, 1), ylabel="beat confidence")
    for axes in (whole, chroma, timbre, loudness):
        axes.set_xlim(0, max(duration, 1e-3))
    figure.savefig(path, format="png")


def _draw_waveform(axes: "Axes", signal: Float32Array, first_s: float, last_s: float) -> None:
    part = signal[int(first_s * SAMPLE_RATE) : max(int(last_s * SAMPLE_RATE), int(first_s * SAMPLE_RATE) + 1)]
    starts = np.unique(np.linspace(0, len(part), _WAVEFORM_COLUMNS, endpoint=False).astype(np.int64))
    time = first_s + starts / SAMPLE_RATE
    low, high = np.minimum.reduceat(part, starts), np.maximum.reduceat(part, starts)
    scale = max(float(np.abs(part).max()), 1e-6)
    axes.fill_between(time, low / scale, high / scale, color="#AAAAAA", linewidth=0)
    axes.set(ylim=(-1, 1), yticks=[])
