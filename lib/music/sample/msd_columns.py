"""Columns of a Million Song Dataset file for a composition: metadata, and the results of a simulated analyser."""

from typing import Any

import numpy as np

from reprise.lib.arrays import Float64Array
from reprise.lib.music.compose.composition import Composition
from reprise.lib.music.compose.plan import BEATLESS
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.sample.metadata import describe
from reprise.lib.music.sample.segments import simulate_segments

SAMPLE_RATE = 22050
_TATUMS_CUMULATIVE = np.cumsum([0.045, 0.785, 0.075, 0.08, 0.015])  # shares of tracks with 1..5 tatums per beat


def compute_msd_columns(song: Composition) -> dict[str, Any]:
    """Return all MSD fields of a composition, in the form that `lib.msd.write` takes.

    Scalars are int, float or str. A missing value is None. Numeric arrays are float64 of shape (n,) or (n, 12), except
    ``artist_mbtags_count``, which is int32 of shape (n,). Text arrays are lists of str. Times are in seconds, loudness
    in dB, tempo in beats per minute.
    """
    rng = make_generator(song.plan.seed, "analysis", song.track.index)
    segments = simulate_segments(rng, song)
    power = np.mean(10 ** (segments.loudness_max / 10))
    loudness = min(10 * np.log10(power) + 0.4 * float(rng.standard_normal()) + 0.9, -0.5)
    return {
        **describe(song.plan, song.track),
        "analysis_sample_rate": SAMPLE_RATE,
        "danceability": 0.0,  # always 0 in real files too, as is energy
        "energy": 0.0,
        "duration": song.duration_s,
        "loudness": round(float(loudness), 3),
        **_simulate_fades(rng, song),
        **_simulate_key(rng, song),
        **_simulate_meter(rng, song),
        "segments_start": segments.start,
        "segments_confidence": segments.confidence,
        "segments_pitches": segments.pitches,
        "segments_timbre": segments.timbre,
        "segments_loudness_start": segments.loudness_start,
        "segments_loudness_max": segments.loudness_max,
        "segments_loudness_max_time": segments.loudness_max_time,
    }


def _simulate_fades(rng: np.random.Generator, song: Composition) -> dict[str, float]:
    fade_in = 0.0 if rng.random() < 0.32 else 0.12 + 0.3 * float(rng.gamma(0.8)) ** 2
    fade_s = (
        song.fade_out_s + 1.5 if song.fade_out_s else song.duration_s - song.cell_s[-1] + 2.2 * float(rng.gamma(1.2))
    )
    fade_out = song.duration_s - (0.0 if rng.random() < 0.095 else min(fade_s, 0.5 * song.duration_s))
    return {
        "end_of_fade_in": round(min(fade_in, song.duration_s / 2), 3),
        "start_of_fade_out": min(round(float(fade_out), 3), song.duration_s),
    }


def _simulate_key(rng: np.random.Generator, song: Composition) -> dict[str, float | int]:
    track = song.track
    wrong = np.array([track.key_error != 0, track.mode_error])
    confidence = 0.5 + 0.24 * rng.standard_normal(2) * (1.0, 0.7) - 0.14 * wrong
    return {
        "key": (track.key + track.key_error) % 12,
        "key_confidence": round(float(np.clip(confidence[0], 0.0, 1.0)), 3),
        "mode": track.mode ^ track.mode_error,
        "mode_confidence": round(float(np.clip(confidence[1] + 0.02, 0.0, 1.0)), 3),
    }


def _simulate_beats(rng: np.random.Generator, song: Composition) -> Float64Array:
    """Return the reported beat times with the planned errors: half or double tempo, off-beat, lost or extra beats."""
    track, beats = song.track, song.beat_s
    if track.state == BEATLESS:
        return beats[:0]
    if track.off_beat:
        beats = beats[:-1] + np.diff(beats) / 2 if len(beats) > 1 else beats + 30 / track.tempo_bpm
    if track.tempo_factor == 2:
        half_beats = np.arange(2 * len(beats)) / 2
        beats = np.interp(half_beats, np.arange(len(beats)), beats)[: max(1, 2 * len(beats) - 1)]
    elif track.tempo_factor == 0.5:
        beats = beats[int(rng.integers(2)) :: 2] if len(beats) > 2 else beats
    if track.lost_share and len(beats) > 8:
        extra = np.flatnonzero(rng.random(len(beats) - 1) < track.lost_share / 2)
        kept = beats[rng.random(len(beats)) >= track.lost_share]
        beats = np.sort(np.concatenate([kept, (beats[extra] + beats[extra + 1]) / 2]))
    jitter = 0.005 * np.exp(0.45 * rng.standard_normal())
    reported: Float64Array = np.maximum(beats + np.clip(jitter * rng.standard_normal(len(beats)), -0.03, 0.03), 0.0)
    return reported


def _simulate_meter(rng: np.random.Generator, song: Composition) -> dict[str, Any]:
    """Return beats, bars, tatums, sections, tempo and time signature, with their confidences."""
    track = song.track
    beats = _simulate_beats(rng, song)
    n = len(beats)
    if track.state == BEATLESS:
        return {
            **{f"{kind}_{field}": beats for kind in ("beats", "bars", "tatums", "sections") for field in _FIELDS},
            "tempo": 0.0,
            "time_signature": 0,
            "time_signature_confidence": 0.0,
        }
    meter = track.reported_meter
    # in real files the first bar often does not start at the first beat
    phase = int(rng.integers(meter)) if rng.random() < 0.8 else 0
    bars = beats[phase::meter]
    tatums_per_beat = 1 + int(np.searchsorted(_TATUMS_CUMULATIVE, rng.random()))
    tatums = beats
    if tatums_per_beat > 1:
        tatums = np.interp(np.arange(tatums_per_beat * (n - 1) + 1) / tatums_per_beat, np.arange(n), beats)
    period_s = float(np.median(np.diff(beats))) if n > 1 else 60 / track.tempo_bpm
    sections = _simulate_sections(rng, song)
    beat_confidence = float(np.clip(0.46 + 0.19 * rng.standard_normal(), 0.05, 0.92))
    meter_wrong = meter != track.meter
    meter_confidence = float(rng.beta(0.75, 1.1) if meter_wrong else rng.beta(1.3, 0.75))
    bar_confidence = beat_confidence * (0.9 if meter == 1 else 0.25)
    return {
        "beats_start": np.round(beats, 5),
        "beats_confidence": _draw_confidences(rng, n, beat_confidence, 0.19),
        "bars_start": np.round(bars, 5),
        "bars_confidence": _draw_confidences(rng, len(bars), bar_confidence, 0.21),
        "tatums_start": np.round(tatums, 5),
        "tatums_confidence": _draw_confidences(rng, len(tatums), 0.68 * beat_confidence, 0.2),
        "sections_start": np.round(sections, 5),
        "sections_confidence": np.round(np.concatenate([[1.0], rng.beta(1.6, 1.3, len(sections) - 1)]), 3),
        "tempo": round(60 / period_s * (1 + 0.0006 * float(rng.standard_normal())), 3),
        "time_signature": meter,
        "time_signature_confidence": round(meter_confidence if rng.random() > 0.06 else 0.0, 3),
    }


_FIELDS = ("start", "confidence")


def _draw_confidences(rng: np.random.Generator, n: int, mean: float, spread: float) -> Float64Array:
    confidences: Float64Array = np.clip(mean + spread * rng.standard_normal(n), 0.0, 1.0)
    return np.round(confidences, 3)


def _simulate_sections(rng: np.random.Generator, song: Composition) -> Float64Array:
    """Return the reported section starts: some are missing, the others are shifted, and false ones are added."""
    true_starts = song.section_s[1:]
    reported = true_starts[rng.random(len(true_starts)) < 0.62]
    reported = reported + 0.6 * rng.standard_normal(len(reported))
    extra = rng.uniform(0, song.duration_s, int(rng.poisson(song.duration_s / 150)))
    starts = np.sort(np.concatenate([[0.0], reported, extra]))
    kept = (np.diff(starts, prepend=-9.0) >= 4.0) & (starts < song.duration_s)
    return starts[kept]
