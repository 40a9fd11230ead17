"""Features of 30 s of audio, ours beside a plain librosa script, in turns on one core."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from librosa_script import SAMPLE_RATE, measure_gtzan, measure_more
from measuring import Row
from threadpoolctl import threadpool_limits

from reprise.lib.features.gtzan import measure
from reprise.lib.features.images import AUDIO_KINDS, make_audio_images
from reprise.lib.music import sample
from reprise.lib.music.render import render

SONGS = 3
ROUNDS = 5
CLIP = 30 * SAMPLE_RATE


def play_clips() -> list[Any]:
    """Thirty seconds from the middle of composed songs, at 22,050 Hz."""
    plan = sample.SamplePlan(50, seed=1)
    clips = []
    for index in range(SONGS):
        song = np.sum(list(render(sample.compose(plan, index)).values()), axis=0).mean(axis=1)
        halves = song[: len(song) // 2 * 2].reshape(-1, 2).mean(axis=1)
        clips.append(np.ascontiguousarray(halves[len(halves) // 3 :][:CLIP], dtype=np.float32))
    return clips


def measure_features() -> list[Row]:
    """Milliseconds a clip of each way, and how far the columns are apart."""
    clips = play_clips()
    ways: dict[str, Callable[[Any], Any]] = {
        "reprise": lambda clip: measure(clip)[0],
        "gtzan": measure_gtzan,
        "more": measure_more,
        "images": lambda clip: make_audio_images(clip, AUDIO_KINDS),
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    apart = 0.0
    with threadpool_limits(1):
        for way in ways.values():
            way(clips[0][: 3 * SAMPLE_RATE])  # compiles
        for clip in clips:
            for _ in range(ROUNDS):
                for name, way in ways.items():
                    start = time.perf_counter()
                    found[name] = way(clip)
                    spent[name].append(time.perf_counter() - start)
            theirs = {**found["gtzan"], **found["more"]}
            apart = max(apart, *(abs(found["reprise"][n] - v) / max(abs(v), 1e-6) for n, v in theirs.items()))
    ours, gtzan, more, images = (1e3 * statistics.median(spent[name]) for name in ways)
    return [
        {
            "what": "columns of the GTZAN table and ours of a 30 s clip, with its windows",
            "measured": f"{ours:.0f} ms",
            "ratio": gtzan / ours,
            "beside": f"librosa script of the GTZAN columns alone, {gtzan:.0f} ms; with ours {gtzan + more:.0f} ms",
            "goal": "≥ 5 × faster, dream 8 ×",
        },
        {
            "what": "largest relative difference of any column from that script",
            "measured": f"{apart:.1e}",
            "ratio": "",
            "beside": f"{SONGS} clips",
            "goal": "≤ 1e-3",
        },
        {
            "what": "mel, MFCC and CQT image of a 30 s clip",
            "measured": f"{images:.0f} ms",
            "ratio": images / ours,
            "beside": "the features",
            "goal": "",
        },
    ]
