"""Decoding to stereo, encoding and measuring loudness: CPU seconds beside those of other tools on the same music."""

import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import librosa
import numpy as np
import soundfile
from measuring import PeakMemory, Row
from threadpoolctl import threadpool_limits

from reprise.lib.arrays import Float32Array
from reprise.lib.audio.decoding import decode
from reprise.lib.audio.encoding import write_flac
from reprise.lib.audio.loudness import LoudnessMeter
from reprise.lib.music import sample
from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.tones import SAMPLE_RATE

ROUNDS = 5
LONG_S = 3600
BLOCK = 1 << 16


def measure_audio() -> list[Row]:
    """How many times faster than it plays stereo music of 44.1 kHz is read, written and measured, on one core."""
    mix = sum(render(sample.compose(sample.SamplePlan(10, seed=1), 3)).values())
    assert isinstance(mix, np.ndarray)
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        folder = Path(name)
        rows = [
            _compare(
                f"decoding {suffix} to stereo, 44.1 kHz", len(mix), *_decoders(folder, mix, suffix), "librosa.load"
            )
            for suffix in ("flac", "ogg")
        ]
        rows.append(_compare("writing FLAC of 24 bits", len(mix), *_encoders(folder, mix), "soundfile.write"))
        if shutil.which("ffmpeg"):
            meters = _meters(folder, mix)
            rows.append(_compare("loudness and true peak", len(mix), *meters, "ffmpeg ebur128=peak=true"))
        rows.append(_measure_memory(folder, mix))
    return rows


def _decoders(folder: Path, mix: Float32Array, suffix: str) -> tuple[Callable[[], object], Callable[[], object]]:
    path = folder / f"mix.{suffix}"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2) as file:
        for start in range(0, len(mix), BLOCK):
            file.write(mix[start : start + BLOCK])
    return (
        lambda: decode(path, folder / "samples", sample_rate=SAMPLE_RATE, channel_count=2),
        lambda: librosa.load(path, sr=SAMPLE_RATE, mono=False),
    )


def _encoders(folder: Path, mix: Float32Array) -> tuple[Callable[[], object], Callable[[], object]]:
    return (
        lambda: _write(folder / "ours.flac", [mix]),
        lambda: soundfile.write(folder / "theirs.flac", mix, SAMPLE_RATE, subtype="PCM_24"),
    )


def _write(path: Path, signals: Iterable[Float32Array]) -> None:
    with write_flac(path, sample_rate=SAMPLE_RATE, channel_count=2, bit_depth=24, comments={}) as flac:
        for signal in signals:
            flac.write(signal)


def _meters(folder: Path, mix: Float32Array) -> tuple[Callable[[], object], Callable[[], object]]:
    soundfile.write(folder / "mix.wav", mix, SAMPLE_RATE, subtype="FLOAT")
    command = ["ffmpeg", "-nostats", "-i", str(folder / "mix.wav"), "-af", "ebur128=peak=true:framelog=verbose"]

    def measure() -> None:
        meter = LoudnessMeter(SAMPLE_RATE, 2)
        meter.add(mix)
        assert meter.integrated_lufs < meter.true_peak_dbtp

    return measure, lambda: subprocess.run([*command, "-f", "null", "-"], capture_output=True, check=True)


def _compare(what: str, n_frames: int, ours: Callable[[], object], theirs: Callable[[], object], name: str) -> Row:
    ours()  # compiles, and fills the page cache
    theirs()
    times = [[_cpu_s(work) for work in (ours, theirs)] for _ in range(ROUNDS)]
    our_s, their_s = (statistics.median(column) for column in zip(*times, strict=True))
    length_s = n_frames / SAMPLE_RATE
    return {
        "what": what,
        "measured": f"{length_s / our_s:.0f} × real time",
        "beside": f"{name}: {length_s / their_s:.0f} ×",
        "goal": "≥ 500 ×" if what.startswith("loudness") else "",
    }


def _cpu_s(work: Callable[[], object]) -> float:
    """CPU time of this process and of its finished children."""
    start = time.process_time() + _children_s()
    work()
    return time.process_time() + _children_s() - start


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _measure_memory(folder: Path, mix: Float32Array) -> Row:
    """Growth of the peak memory by writing, decoding and measuring an hour, after a minute of it."""
    minute = np.resize(mix, (60 * SAMPLE_RATE, 2))
    used = []
    for minutes in (1, LONG_S // 60):
        with PeakMemory() as peak:
            meter = LoudnessMeter(SAMPLE_RATE, 2)
            _write(folder / "long.flac", (minute for _ in range(minutes)))
            decode(folder / "long.flac", folder / "samples", sample_rate=48_000, channel_count=2)
            for _ in range(minutes):
                meter.add(minute)
        used.append(peak.mib)
    return {
        "what": "peak memory of writing, decoding and measuring 60 minutes, over that of one minute",
        "measured": f"{used[1] - used[0]:.0f} MiB",
        "beside": "",
        "goal": "≤ 20 MiB",
    }
