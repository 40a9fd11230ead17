"""Reports of trained instruments: passages that did not train, as the instrument plays them, and how near that is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import soxr

from reprise.lib import plotting
from reprise.lib.arrays import Float32Array
from reprise.lib.covers.instrument_training import Passage
from reprise.lib.covers.instruments import Instrument
from reprise.lib.covers.performance import Performance, measure_performance
from reprise.lib.covers.transfer import OUTPUT_RATE, fit_lines, play_lines
from reprise.lib.nets.instrument_network import FRAME_RATE, SAMPLE_RATE
from reprise.lib.nets.pitch_tracker import PitchTracker

_LONGEST_S = 120.0
_SEED = 0
_N_FFT, _HOP = 1024, 256
_RANGE_DB = 70.0


@dataclass(frozen=True)
class Resynthesis:
    """A passage that an instrument played again.

    Attributes
    ----------
    passage
        The passage.
    audio
        What the instrument plays, float32 (n,) at `OUTPUT_RATE`.
    samples
        The same at 16 kHz, as long as the passage.
    performance
        Pitch and loudness of ``samples``.
    """

    passage: Passage
    audio: Float32Array
    samples: Float32Array
    performance: Performance


def resynthesise(instrument: Instrument, passages: Sequence[Passage]) -> list[Resynthesis]:
    """Let an instrument play passages again, two minutes at most, but at least one passage."""
    tracker = PitchTracker()
    played: list[Resynthesis] = []
    seconds = 0.0
    for passage in passages:
        seconds += len(passage.performance) / FRAME_RATE
        if played and seconds > _LONGEST_S:
            break
        # the passage as it is, where it sounds: a low passage must not move to the middle of the range
        (fitted,) = fit_lines([passage.performance], instrument.range)
        line = replace(fitted, performance=passage.performance, octaves=0)
        audio = np.concatenate(list(play_lines(instrument, [line], _SEED))).astype(np.float32)
        samples = soxr.resample(audio, OUTPUT_RATE, SAMPLE_RATE, "HQ")[: len(passage.samples)]
        samples = np.pad(samples, (0, len(passage.samples) - len(samples)))
        played.append(Resynthesis(passage, audio, samples, measure_performance(samples, tracker)))
    return played


def compare(played: Sequence[Resynthesis]) -> dict[str, float | None]:
    """Compare pitch and loudness of passages with their resyntheses.

    Returns
    -------
    dict
        ``pitch_error_cents``: median absolute difference where both are voiced, None where nothing is.
        ``voiced_share``: share of the voiced time in which the resynthesis is voiced. ``loudness_correlation``
        (Pearson) and ``level_difference_db`` (median, resynthesis minus passage) are of the frames that are voiced in
        the passage.
    """
    pairs = [(one.passage.performance, one.performance) for one in played]
    voiced = np.concatenate([passage.voiced for passage, _ in pairs])
    both = voiced & np.concatenate([again.voiced for _, again in pairs])
    cents = 1200 * np.abs(np.concatenate([np.log2(again.f0_hz / passage.f0_hz) for passage, again in pairs]))
    first_db, second_db = (np.concatenate([pair[i].loudness_db for pair in pairs])[voiced] for i in (0, 1))
    varies = len(first_db) > 1 and first_db.std() > 0 and second_db.std() > 0
    return {
        "pitch_error_cents": round(float(np.median(cents[both])), 2) if both.any() else None,
        "voiced_share": round(float(both.sum() / max(voiced.sum(), 1)), 4),
        "loudness_correlation": round(float(np.corrcoef(first_db, second_db)[0, 1]), 4) if varies else None,
        "level_difference_db": round(float(np.median(second_db - first_db)), 2) if len(first_db) else None,
    }


def draw_resynthesis(path: str | os.PathLike[str], one: Resynthesis, title: str) -> None:
    """Plot the spectrograms of a passage and of its resynthesis, and pitch and loudness of both."""
    figure = plotting.new_figure(11, 7)
    figure.suptitle(title)
    axes = figure.subplots(2, 2)
    spectra = [_compute_spectrogram(samples) for samples in (one.passage.samples, one.samples)]
    highest = max(float(spectrum.max()) for spectrum in spectra)
    length_s = len(one.passage.samples) / SAMPLE_RATE
    for panel, spectrum, name in zip(axes[0], spectra, ("original", "resynthesis"), strict=True):
        panel.imshow(
            spectrum.T, origin="lower", aspect="auto", cmap="magma", vmin=highest - _RANGE_DB, vmax=highest,
            extent=(0, length_s, 0, SAMPLE_RATE / 2000), interpolation="nearest",
        )  # fmt: skip
        panel.set_title(name)
        panel.set_ylabel("kHz")
    for number, (name, performance) in enumerate(
        (("original", one.passage.performance), ("resynthesis", one.performance))
    ):
        style = {"color": plotting.COLOURS[number], "linewidth": 1.2, "label": name, "alpha": 0.8}
        time_s = np.arange(len(performance)) / FRAME_RATE
        axes[1, 0].plot(time_s, np.where(performance.voiced, performance.f0_hz, np.nan), **style)
        axes[1, 1].plot(time_s, performance.loudness_db, **style)
    axes[1, 0].set_yscale("log", base=2)
    axes[1, 0].yaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
    for panel, name in zip(axes[1], ("pitch (Hz)", "loudness (dB)"), strict=True):
        panel.set_ylabel(name)
        panel.set_xlim(0, length_s)
        panel.legend(fontsize=8, frameon=False)
        plotting.remove_spines(panel)
    for panel in axes.flat:
        panel.set_xlabel("s")
    figure.tight_layout()
    plotting.save(figure, path)


def _compute_spectrogram(samples: Float32Array) -> Float32Array:
    """Return the spectrogram in dB: (frames, frequencies)."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, _N_FFT // 2), _N_FFT)[::_HOP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(_N_FFT).astype(np.float32))))
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)), np.float32)
