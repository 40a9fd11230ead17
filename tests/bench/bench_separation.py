"""How good and how fast the separation is: rendered songs whose stems are known, and the guitars of eight real songs.

The songs are ten of POP909 that only report, with the rhythm section of `reprise.lib.covers.scores`, played by a
soundfont that took no part in the training; half of the vocals are sung by formant synthesis. A song's SDR is
10·log10 of signal over error over the whole song.
"""

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import museval
import numpy as np
from measuring import Row
from scipy.signal import butter, sosfiltfilt

from reprise.jobs._shipped_models.rendered_midi import list_songs
from reprise.lib.arrays import Float32Array
from reprise.lib.audio.decoding import decode
from reprise.lib.covers.default_separator import find_default_separator, read_default_separator
from reprise.lib.covers.multitracks import render_multitrack
from reprise.lib.covers.scores import read_pop909
from reprise.lib.covers.separate import Mix, separate_mixes
from reprise.lib.music.render.soundfont_player import SoundfontPlayer
from reprise.lib.nets.separators import STEMS, Separator, load_separator

POP909 = Path(__file__).resolve().parents[3] / "shared" / "data" / "midi" / "pop909"
SOUNDFONT = Path("/usr/share/sounds/sf2/TimGM6mb.sf2")
RECORDED = Path("/usr/share/games/fretsonfire/data/songs")
EVERY, RATE = 3, 44_100
MUSEVAL_S = 60
"""Museval measures the first minute of each song: the median over its seconds."""

Stems = Mapping[str, Float32Array]
"""Stems by name, (frames, 2)."""

Separate = Callable[[Float32Array, Stems], Stems]
"""Returns stems of a mix (frames, 2). The true stems are given, too."""


def measure_sdr(truth: Any, estimate: Any) -> float:
    """10·log10 of signal over error; NaN if the true stem is silent."""
    signal, error = float((truth**2).sum()), float(((truth - estimate) ** 2).sum())
    return float("nan") if signal < 1e-3 else 10 * float(np.log10(signal / max(error, 1e-9)))


def keep_silent(mix: Float32Array, truth: Stems) -> Stems:
    """Silence for each stem: 0 dB."""
    return {name: np.zeros(mix.shape, dtype=np.float32) for name in STEMS}


def divide(mix: Float32Array, truth: Stems) -> Stems:
    """A quarter of the mix for each stem."""
    return dict.fromkeys(STEMS, np.asarray(mix / 4, dtype=np.float32))


def split_percussion(mix: Float32Array, truth: Stems) -> Stems:
    """Harmonic-percussive separation; the bass is what the harmonic part has below 150 Hz, the rest is halved."""
    import librosa

    harmonic, drums = (part.T for part in librosa.effects.hpss(np.ascontiguousarray(mix.T)))
    bass = sosfiltfilt(butter(4, 150, fs=RATE, output="sos"), harmonic, axis=0)
    half = (harmonic - bass) / 2
    return {"drums": drums, "bass": bass, "other": half, "vocals": half}


def mask_ideally(mix: Float32Array, truth: Stems) -> Stems:
    """The ideal ratio mask of magnitudes, frames of 2,048: the bound of separators that keep the mixture's phase."""
    import librosa

    spectra = {name: np.abs(librosa.stft(truth[name].T, n_fft=2048, hop_length=512)) for name in STEMS}
    total = sum(spectra.values()) + 1e-9
    mixed = librosa.stft(mix.T, n_fft=2048, hop_length=512)
    return {
        name: librosa.istft(mixed * spectra[name] / total, length=len(mix), n_fft=2048, hop_length=512).T
        for name in STEMS
    }


class Ours:
    """The separator of the package, through the function that the job calls."""

    def __init__(self, separator: Separator) -> None:
        self.separator, self.cpu_s, self.audio_s = separator, 0.0, 0.0

    def __call__(self, mix: Float32Array, truth: Stems) -> Stems:
        started = time.process_time()
        (raw,) = separate_mixes(self.separator, [Mix(None, "mix", mix)])
        self.cpu_s += time.process_time() - started
        self.audio_s += len(mix) / RATE
        stems = raw.samples
        raw.close()
        return stems


def load_ours() -> Ours:
    """Load the separator of the package."""
    described = find_default_separator()
    assert described is not None
    return Ours(load_separator(read_default_separator(described["sha256"])))


def render_songs() -> Mapping[str, Stems]:
    """Render every third song that only reports: stems by the number of the song."""
    player = SoundfontPlayer(str(SOUNDFONT))
    songs = {}
    for path in islice(list_songs(POP909, reports=True), 0, None, EVERY):
        rng = np.random.default_rng(int(path.stem))
        stems = render_multitrack(read_pop909(path, rng), [player], [], rng, own_share=0.0)
        songs[path.stem] = dict(zip(STEMS, stems, strict=True))
    return songs


def measure_museval(truth: Stems, estimate: Stems) -> dict[str, float]:
    """Museval's SDR of each stem in dB."""
    n = MUSEVAL_S * RATE
    stack = [np.stack([stems[name][:n] for name in STEMS]) for stems in (truth, estimate)]
    sdr, *_ = museval.evaluate(*stack, win=RATE, hop=RATE)
    return {name: float(np.nanmedian(row)) for name, row in zip(STEMS, sdr, strict=True)}


def measure_separation() -> list[Row]:
    """Measure the separator of the package beside plain ways and the bound of masks."""
    if not POP909.is_dir() or not SOUNDFONT.is_file():
        print(f"left out: {POP909} or {SOUNDFONT} is missing")
        return []
    ours = load_ours()
    ways: dict[str, Separate] = {
        "the package's separator": ours,
        "silence": keep_silent,
        "the mix divided by four": divide,
        "HPSS, bass below 150 Hz": split_percussion,
        "ideal ratio mask": mask_ideally,
    }
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    by_museval: dict[str, list[float]] = defaultdict(list)
    for number, truth in render_songs().items():
        mix: Float32Array = np.stack([truth[name] for name in STEMS]).sum(axis=0)
        for way, separate in ways.items():
            estimate = separate(mix, truth)
            for name in STEMS:
                found[way, name].append(measure_sdr(truth[name], estimate[name]))
            if separate is ours:
                for name, value in measure_museval(truth, estimate).items():
                    by_museval[name].append(value)
        print(number, {name: round(found["the package's separator", name][-1], 1) for name in STEMS}, flush=True)
    means = {way: {name: float(np.nanmean(found[way, name])) for name in STEMS} for way in ways}
    means["the package's separator, museval"] = {name: float(np.nanmedian(by_museval[name])) for name in STEMS}
    rows: list[Row] = [
        {"separator": way, **values, "mean": float(np.mean(list(values.values()))), "× real time, a core": ""}
        for way, values in means.items()
    ]
    rows[0]["× real time, a core"] = ours.audio_s / ours.cpu_s
    return rows


def measure_guitars() -> list[Row]:
    """Measure the guitar of recorded songs, taken as the stem ``other``, and the rest, as far as four stems can."""
    ours, rows = load_ours(), list[Row]()
    for path in sorted(RECORDED.glob("*/*/guitar.ogg")):
        guitar, rest = (_read(path.with_name(f"{part}.ogg")) / 2 for part in ("guitar", "song"))
        n = min(len(guitar), len(rest))
        guitar, rest = guitar[:n], rest[:n]
        stems = ours(np.asarray(guitar + rest, dtype=np.float32), {})
        others = np.sum([stems[name] for name in STEMS if name != "other"], axis=0)
        rows.append(
            {
                "song": path.parent.name,
                "guitar": measure_sdr(guitar, stems["other"]),
                "the rest": measure_sdr(rest, others),
                "guitar, nothing separated": measure_sdr(guitar, guitar + rest),
                "the rest, nothing separated": measure_sdr(rest, guitar + rest),
            }
        )
        print(rows[-1], flush=True)
    return rows


def _read(path: Path) -> Float32Array:
    folder = Path(tempfile.mkdtemp())
    decode(path, folder / "samples", sample_rate=RATE, channel_count=2)
    samples = np.fromfile(folder / "samples", dtype=np.float32).reshape(-1, 2)
    shutil.rmtree(folder)
    return samples
