"""How good and how fast the analysis is, on songs that are composed and rendered, so that the truth is known."""

import re
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import mir_eval
import numpy as np
from measuring import Row
from threadpoolctl import threadpool_limits

from reprise.jobs._shipped_models.fit_analysis_weights import render_mono, score_beats
from reprise.jobs._shipped_models.rendered_midi import list_songs, list_soundfonts, read_beats, render_midi
from reprise.lib.analysis.analyser import analyse
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.audio.decoding import decode
from reprise.lib.music import sample
from reprise.lib.music.compose.composition import DRUM_PART
from reprise.lib.music.compose.plan import NORMAL

POP909 = Path(__file__).resolve().parents[3] / "shared" / "data" / "midi" / "pop909"
FRETS_ON_FIRE = Path("/usr/share/games/fretsonfire/data/songs")
TEMPO_FACTORS = (0.75, 1.0, 1.3)
LEVELS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 1, 3 / 2, 2, 3, 4)
"""Ratios of two tempos of one music at different metrical levels."""
SEED = 32
"""None of the plans that the weights were fitted to."""
N_SONGS = 80
OVERTONES = {7: 0.3, 4: 0.1}
"""Semitones above a note, as pitch classes, at which its third and fifth partials sound, and how strong."""


def score_chroma(song: sample.Composition, starts_s: Float64Array, pitches: Float64Array) -> float:
    """Mean over segments of the correlation of 12 pitches with those of the notes of bass, harmony and lead.

    A note counts by its velocity and by how long it sounds within the segment, with `OVERTONES`. Segments in which no
    note sounds are left out.
    """
    notes = song.notes
    pitched = notes.part != DRUM_PART
    start, pitch = notes.start_s[pitched], notes.pitch[pitched] % 12
    end, velocity = start + notes.duration_s[pitched], notes.velocity[pitched]
    ends = np.append(starts_s[1:], song.duration_s)
    truth = np.zeros((len(starts_s), 12))
    first = np.maximum(np.searchsorted(starts_s, start, side="right") - 1, 0)
    last = np.searchsorted(starts_s, end, side="left")
    for a, b, one, two, tone, loud in zip(start, end, first, last, pitch, velocity, strict=True):
        some = slice(one, two)
        truth[some, tone] += loud * np.maximum(np.minimum(b, ends[some]) - np.maximum(a, starts_s[some]), 0)
    truth = truth + sum(share * np.roll(truth, up, axis=1) for up, share in OVERTONES.items())
    heard = truth.sum(axis=1) > 0
    x, y = (v[heard] - v[heard].mean(axis=1, keepdims=True) for v in (truth, pitches))
    norm = np.sqrt(np.sum(x**2, axis=1) * np.sum(y**2, axis=1))
    return float(np.mean(np.divide(np.sum(x * y, axis=1), norm, out=np.zeros(len(x)), where=norm > 0)))


def score_sections(song: sample.Composition, starts_s: Float64Array) -> float:
    """F-measure of section boundaries within 3 s."""
    truth, found = (
        mir_eval.util.boundaries_to_intervals(np.unique(np.append(s, song.duration_s)))
        for s in (np.append(0, song.section_s[1:]), starts_s)
    )
    return float(mir_eval.segment.detection(truth, found, window=3.0)[2])


def measure_quality() -> list[Row]:
    """Figures by genre and of all."""
    plan = sample.SamplePlan(4000, seed=SEED)
    scores: dict[str, list[list[float]]] = defaultdict(list)
    for index in [i for i in range(plan.n_tracks) if plan.track(i).state == NORMAL][:N_SONGS]:
        song = sample.compose(plan, index)
        found = analyse(render_mono(song))
        track = song.track
        scores[sample.GENRE_NAMES[track.genre]].append([
            score_beats(song.beat_s, found["beats_start"]),
            abs(found["tempo"] / track.tempo_bpm - 1) <= 0.04,
            found["key"] == track.key and found["mode"] == track.mode,
            score_chroma(song, found["segments_start"], found["segments_pitches"]),
            mir_eval.beat.f_measure(*map(mir_eval.beat.trim_beats, (song.bar_s, found["bars_start"]))),
            found["time_signature"] == track.meter,
            score_sections(song, found["sections_start"]),
        ])  # fmt: skip
    everything = [one for some in scores.values() for one in some]
    return [
        {"genre": name, "songs": len(some), **dict(zip(_COLUMNS, np.mean(some, axis=0).tolist(), strict=True))}
        for name, some in [*sorted(scores.items()), ("all", everything)]
    ]


_COLUMNS = (
    "beat F (goal 0.9)",
    "tempo within 4 % (goal 0.9)",
    "key and mode (goal 0.85)",
    "chroma correlation (goal 0.8)",
    "bar F",
    "time signature",
    "section F, 3 s",
)


def measure_rhythm() -> list[Row]:
    """Figures by tempo and of all, of the songs of POP909 that took no part in the fit, with every soundfont."""
    fonts = list_soundfonts()
    scores: dict[float, list[list[float]]] = defaultdict(list)
    for path in list_songs(POP909, reports=True):
        for factor in TEMPO_FACTORS:
            beats_s, bars_s = read_beats(path, factor)
            for font in fonts:
                scores[factor].append(score_rhythm(beats_s, bars_s, analyse(render_midi(path, font, factor))))
    everything = [one for some in scores.values() for one in some]
    return [
        {"tempo": name, "renderings": len(some), **dict(zip(_RHYTHM_COLUMNS, np.mean(some, axis=0), strict=True))}
        for name, some in [*((f"× {factor}", some) for factor, some in scores.items()), ("all", everything)]
    ]


def score_rhythm(beats_s: Float64Array, bars_s: Float64Array, found: dict[str, Any]) -> list[float]:
    """Compare estimated tempo, beats and bars of one song with the true beats and downbeats, as `_RHYTHM_COLUMNS`."""
    return [*score_tempo_and_beats(beats_s, found), score_beats(bars_s, found["bars_start"])]


def score_tempo_and_beats(beats_s: Float64Array, found: dict[str, Any]) -> list[float]:
    """Compare estimated tempo and beats of one song with the true beats, as `_TEMPO_AND_BEATS_COLUMNS`."""
    ratio = found["tempo"] * np.median(np.diff(beats_s)) / 60
    trim = mir_eval.beat.trim_beats
    _, total, _, any_total = mir_eval.beat.continuity(trim(beats_s), trim(found["beats_start"]))
    return [
        abs(ratio - 1) <= 0.04,
        min(abs(ratio / level - 1) for level in LEVELS) <= 0.04,
        score_beats(beats_s, found["beats_start"]),
        total,
        any_total,
    ]


_TEMPO_AND_BEATS_COLUMNS = (
    "tempo within 4 % (goal 0.8)",
    "at any metrical level (goal 0.98)",
    "beat F (goal 0.88)",
    "CMLt (goal 0.75)",
    "AMLt (goal 0.96)",
)
_RHYTHM_COLUMNS = (*_TEMPO_AND_BEATS_COLUMNS, "bar F (goal 0.75)")


def measure_recordings() -> list[Row]:
    """Figures of each recording in Debian's packages fretsonfire-songs-*, whose tempo its authors wrote down."""
    scores: dict[str, list[float]] = {}
    for notes in sorted(FRETS_ON_FIRE.glob("*/*/notes.mid")):
        (tempo_event,) = set(re.findall(rb"\xff\x51\x03(...)", notes.read_bytes(), re.DOTALL))
        parts = [read_samples(notes.with_name(name)) for name in ("guitar.ogg", "song.ogg")]
        signal = np.mean([part[: min(map(len, parts))] for part in parts], axis=0)
        beats_s = np.arange(0, len(signal) / SAMPLE_RATE, int.from_bytes(tempo_event, "big") / 1e6)
        scores[notes.parent.name] = score_tempo_and_beats(beats_s, analyse(signal))
    assert scores, "Debian's packages fretsonfire-songs-muldjord and fretsonfire-songs-sectoid are not installed"
    scores["all"] = np.mean(list(scores.values()), axis=0).tolist()
    return [
        {"recording": name.replace("_", " "), **dict(zip(_TEMPO_AND_BEATS_COLUMNS, map(float, some), strict=True))}
        for name, some in scores.items()
    ]


def read_samples(path: Path) -> Float32Array:
    """Decode an audio file to a mono signal (samples,) at 22,050 Hz."""
    with tempfile.TemporaryDirectory() as folder:
        decode(path, Path(folder, "samples.raw"))
        return np.fromfile(Path(folder, "samples.raw"), dtype=np.float32)


def measure_speed() -> list[Row]:
    """How many times faster than it plays a recording is analysed, on one core."""
    plan = sample.SamplePlan(40, seed=SEED)
    signals = [render_mono(sample.compose(plan, i)) for i in range(4)]
    with threadpool_limits(1):
        analyse(signals[0])  # compiles
        spent = [statistics.median(_time(signal) for _ in range(5)) for signal in signals]
    length = sum(map(len, signals)) / SAMPLE_RATE
    return [
        {
            "what": f"analysis of {len(signals)} songs of {length / len(signals):.0f} s",
            "measured": f"{length / sum(spent):.0f} × real time on one core",
            "goal": "≥ 40 ×",
        }
    ]


def _time(signal: Float32Array) -> float:
    start = time.perf_counter()
    analyse(signal)
    return time.perf_counter() - start
