"""From a track's analysis to its median patch, and from two tracks' chroma to an alignment: milliseconds, one core."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Row
from threadpoolctl import threadpool_limits

from reprise.lib import msd
from reprise.lib.arrays import Float32Array
from reprise.lib.detect.alignment import RERANKERS
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.patches import PATCH_BEATS, median_patch, raise_power
from reprise.lib.music import sample

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "msd"
INPUTS = ("segments_pitches", "segments_loudness_start", "segments_start", "beats_start")
N_TRACKS = 60
ROUNDS = 5
Inputs = list[Float32Array]


def find_inputs() -> tuple[str, list[Inputs]]:
    """Inputs of real tracks where there are some, else of composed ones: those long enough for a patch."""
    files = sorted(REAL.rglob("*.h5"))[:N_TRACKS]
    inputs: list[Inputs] = []
    for path in files:
        with msd.open_msd(path) as file:
            read = file.read(set(INPUTS), 0, 1)
        inputs.append([np.asarray(read[name][0], dtype=np.float32) for name in INPUTS])
    plan = sample.SamplePlan(N_TRACKS, seed=1)
    for index in range(0 if files else N_TRACKS):
        fields = sample.compute_msd_columns(sample.compose(plan, index))
        inputs.append([np.asarray(fields[name], dtype=np.float32) for name in INPUTS])
    return "real" if files else "composed", [one for one in inputs if len(one[3]) >= PATCH_BEATS and len(one[2]) > 2]


def extract(inputs: Inputs) -> object:
    """Ours."""
    return median_patch(beat_chroma(*inputs))


def extract_literally(inputs: Inputs) -> object:
    """Beat by beat and patch by patch, as the published code does."""
    pitches, loudness, start, beats = (np.asarray(one, dtype=np.float64) for one in inputs)
    columns = pitches.reshape(-1, 12).T * 10 ** (loudness / 20)
    start, columns = np.append(start, max(beats[-1], start[-1])), np.append(columns, columns[:, -1:], axis=1)
    chroma = np.zeros((12, len(beats)))
    for beat, (first, last) in enumerate(zip(beats, [*beats[1:], beats[-1]], strict=True)):
        one = max(int(np.flatnonzero(start <= first)[-1]) if start[0] <= first else 0, 0)
        two = max(one, int(np.flatnonzero(start < last)[-1]) if start[0] < last else 0)
        weights = np.diff(start)[one : two + 1].copy()
        if len(weights) > 1:
            weights[0] -= first - start[one]
            weights[-1] -= start[min(two + 1, len(start) - 1)] - last
        chroma[:, beat] = columns[:, one : one + len(weights)] @ (weights / weights.sum()) if weights.sum() else 0
    peak = chroma.max(axis=0)
    sharp = raise_power((chroma / np.where(peak > 0, peak, 1)).astype(np.float32))
    patches = [
        np.fft.fftshift(np.abs(np.fft.fft2(sharp[:, i : i + PATCH_BEATS]))).flatten("F")
        for i in range(sharp.shape[1] - PATCH_BEATS + 1)
    ]
    return np.median(patches, axis=0)


def measure_patches() -> list[Row]:
    """Ours beside the literal way, track by track in turns."""
    kind, inputs = find_inputs()
    ways: dict[str, Callable[[Inputs], object]] = {"reprise": extract, "literal": extract_literally}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(1):
        for one in inputs:
            for name, way in ways.items():
                times = [_time(partial(way, one)) for _ in range(ROUNDS)]
                spent[name].append(statistics.median(times))
    ours, literal = (1e3 * statistics.mean(spent[name]) for name in ways)
    segments = statistics.mean(len(one[2]) for one in inputs)
    beats = statistics.mean(len(one[3]) for one in inputs)
    return [
        {
            "what": f"analysis to median patch, {kind} tracks of {segments:.0f} segments and {beats:.0f} beats",
            "measured": f"{ours:.2f} ms a track",
            "ratio": ours / literal,
            "beside": f"beat by beat and patch by patch, {literal:.1f} ms",
            "goal": "≤ 1.5 ms",
        }
    ]


def measure_alignments() -> list[Row]:
    """Milliseconds a pair of each measure, at 500 beats by 500."""
    random = np.random.default_rng(1)
    chromas = [random.random((12, 500)).astype(np.float32) for _ in range(6)]
    plan = sample.SamplePlan(200, seed=1)
    composed = [beat_chroma(*(fields[name] for name in INPUTS)) for fields in _analyse(plan, 12)]
    composed = [chroma for chroma in composed if chroma.shape[1] >= PATCH_BEATS]
    mean = statistics.mean(chroma.shape[1] for chroma in composed)
    spent: dict[str, dict[str, float]] = {}
    with threadpool_limits(1):
        for name, align in RERANKERS.items():
            align(chromas[0], chromas[1])  # compiles
            spent[name] = {}
            for label, some in (("noise", chromas), ("composed", composed)):
                times = [_time(partial(align, a, b)) for a in some[:6] for b in some[:6] if a is not b]
                spent[name][label] = 1e3 * statistics.median(times)
    fastest = min(figures["composed"] for figures in spent.values())
    return [
        {
            "what": name,
            "measured": f"{figures['composed']:.2f} ms a pair of {mean:.0f} beats, {figures['noise']:.2f} ms of 500",
            "ratio": figures["composed"] / fastest,
            "beside": "the fastest",
            "goal": "",
        }
        for name, figures in spent.items()
    ]


def _analyse(plan: sample.SamplePlan, count: int) -> list[dict[str, Any]]:
    return [sample.compute_msd_columns(sample.compose(plan, index)) for index in range(count)]


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
