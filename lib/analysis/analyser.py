"""The analysis of a recording, with the names, units and ranges of the Million Song Dataset's.

What made the dataset, the Echo Nest's analyser, is gone; its fields' meaning is known from its documentation and from
the values in the dataset. Where ours differ, beside that no two analysers agree on every segment or beat:

* **Levels** (``loudness``, ``segments_loudness_*``) are weighted as in ITU-R BS.1770, not by the Echo Nest's model of
  the ear, which was not published; a 1 kHz sine of full scale has 0 dB. ``loudness`` follows from the segments' peaks
  as it does in the dataset.
* **Pitches** are notes with their overtones taken off, raised to a power that makes weak pitch classes as strong
  beside the strongest as they are in the dataset on average.
* **Timbre**: the first coefficient is the mean loudness above -60 dB, as there. 2 to 12 are inner products of levels
  with a cosine in time times one in critical band, not with the Echo Nest's own patterns: the second falls with
  brightness, the fourth rises with a sudden start. Means and spreads are like the dataset's, but one kind cannot stand
  for the other.
* **Tempo**: one for the track, 50 to 220 BPM; beats follow it as far as it drifts, not where it jumps.
* **Key** is one for the track, major or minor. Where it is wrong it is mostly the relative's, which has the same notes.
* **Time signature** is 3 or 4; the dataset has 1, 5 and 7 too. Bars do not change in length.
* **Tatums** are two, three or four to a beat, evenly between beats.
* ``tempo_confidence`` is ours: the dataset has none. Confidences are 0 to 1 and compare tracks of ours only.
* **Silence** has pitches of 1 throughout, as in the dataset, but no beats, bars, tatums or sections.
"""

from typing import Any

import numpy as np

from reprise.lib.analysis.beats import choose_pulse, find_pulses, prepare_onsets
from reprise.lib.analysis.frames import FLOOR_DB, FRAME_RATE, HOP, Frames, check_signal, measure_frames
from reprise.lib.analysis.key import describe_harmony, find_key
from reprise.lib.analysis.meter import divide_beats, find_bars, halve_bars
from reprise.lib.analysis.pitches import Harmony, gather_tones, hear_chroma, sum_harmony
from reprise.lib.analysis.sections import find_sections
from reprise.lib.analysis.segments import cut_segments, describe_timbre
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE

_NO_TEMPO: dict[str, Any] = {
    "tempo": 0.0,
    "tempo_confidence": 0.0,
    "time_signature": 4,
    "time_signature_confidence": 0.0,
    **{f"{kind}_{field}": np.zeros(0) for kind in ("beats", "bars", "tatums") for field in ("start", "confidence")},
}
_LOUDNESS_OFFSET_DB = 0.96  # of a track above the mean power of its segments' peaks; as in the dataset, ± 0.3
_PITCH_EXPONENT = 0.6  # makes weak pitch classes as strong beside the strongest as they are on average in the dataset
_FADE_DB = 9.0  # below the track's loudness, within a second, is a fade


def analyse(signal: Float32Array) -> dict[str, Any]:
    """Analyse a recording.

    Parameters
    ----------
    signal
        Shape (samples,), mono floats at 22,050 Hz; may be a memory map: it is read in blocks of 24 s.

    Returns
    -------
    dict
        Named as the columns of ``library_tracks`` and ``library_analysis``. Scalars: ``duration``, ``end_of_fade_in``
        and ``start_of_fade_out`` in s, ``loudness`` in dB, ``tempo`` in BPM (0 without beats), ``key`` 0 = C to 11 = B,
        ``mode`` 1 major or 0 minor, ``time_signature``, ``analysis_sample_rate``, and a confidence 0 to 1 for tempo,
        key, mode and time signature. float64 arrays (n,): start in s and confidence of ``segments``, ``sections``,
        ``beats``, ``bars`` and ``tatums``, all but the first possibly empty; ``segments_loudness_start`` and ``_max``
        in dB from -60, ``_max_time`` in s from the segment's start; (n, 12): ``segments_pitches`` from C, of maximum 1,
        and ``segments_timbre``.

    Raises
    ------
    InputError
        ``not_a_signal`` or ``not_finite``.
    """
    check_signal(signal)
    duration = len(signal) / SAMPLE_RATE
    frames = measure_frames(signal)
    segments = cut_segments(frames)
    starts_s = segments.start / FRAME_RATE
    timbre = describe_timbre(frames, segments.start)
    tones = gather_tones(signal, starts_s)
    chroma = hear_chroma(tones)
    harmony = sum_harmony(chroma, starts_s, duration)
    silent = bool(segments.loudness_max.max() <= FLOOR_DB)
    rhythm, chords_s = (_NO_TEMPO, np.zeros(0)) if silent else _find_rhythm(frames, harmony, duration)
    sections = (np.zeros(0), np.zeros(0))
    if not silent:
        sections = find_sections(harmony, timbre, starts_s, rhythm["bars_start"], duration)
    key = find_key(describe_harmony(harmony, chords_s))
    loudness = FLOOR_DB
    if not silent:
        loudness = float(10 * np.log10(np.mean(10 ** (segments.loudness_max / 10)))) + _LOUDNESS_OFFSET_DB
    fade_in, fade_out = _find_fades(frames.level_db, loudness, duration)
    return {
        "duration": duration,
        "analysis_sample_rate": SAMPLE_RATE,
        "loudness": loudness,
        "end_of_fade_in": fade_in,
        "start_of_fade_out": fade_out,
        "key": key.key,
        "key_confidence": key.key_confidence,
        "mode": key.mode,
        "mode_confidence": key.mode_confidence,
        **rhythm,
        "sections_start": sections[0],
        "sections_confidence": sections[1],
        "segments_start": starts_s,
        "segments_confidence": segments.confidence,
        "segments_pitches": _scale_pitches(chroma.all, segments.loudness_max),
        "segments_timbre": timbre,
        "segments_loudness_start": segments.loudness_start,
        "segments_loudness_max": segments.loudness_max,
        "segments_loudness_max_time": segments.loudness_max_time / FRAME_RATE,
    }


def _scale_pitches(strength: Float32Array, loudness_max: Float64Array) -> Float64Array:
    """Amplitudes beside the strongest; where nothing sounds, 1 throughout, as in the dataset."""
    highest = strength.max(axis=1, keepdims=True)
    heard = (highest > 0) & (loudness_max[:, None] > FLOOR_DB)
    pitches = np.ones(strength.shape)
    np.divide(strength, highest, out=pitches, where=heard)
    return pitches**_PITCH_EXPONENT


def _find_rhythm(frames: Frames, harmony: Harmony, duration: float) -> tuple[dict[str, Any], Float64Array]:
    """The fields about beats, and the times in s at which chords may change."""
    onsets = prepare_onsets(frames.rise, frames.level_db)
    chosen = choose_pulse(find_pulses(onsets, harmony)) if onsets else None
    if onsets is None or chosen is None:
        return _NO_TEMPO, np.zeros(0)
    beats, sure = chosen.beats, chosen.confidence
    bars = find_bars(onsets, harmony, beats)
    beats_s = np.clip(beats / FRAME_RATE, 0, duration)
    strength = onsets.near(beats)
    usual = float(np.median(strength)) + 1e-6
    trust = np.sqrt(sure) * strength / (strength + usual)
    tatums = divide_beats(onsets, beats)
    tatum_strength = onsets.near(tatums)
    found = {
        "tempo": chosen.tempo_bpm,
        "tempo_confidence": sure,
        "time_signature": bars.meter,
        "time_signature_confidence": bars.meter_confidence,
        "beats_start": beats_s,
        "beats_confidence": trust,
        "bars_start": beats_s[bars.beats],
        "bars_confidence": trust[bars.beats] * bars.phase_confidence,
        "tatums_start": np.clip(tatums / FRAME_RATE, 0, duration),
        "tatums_confidence": np.sqrt(sure) * tatum_strength / (tatum_strength + usual),
    }
    return found, halve_bars(bars, beats) / FRAME_RATE


def _find_fades(level_db: Float32Array, loudness_db: float, duration: float) -> tuple[float, float]:
    """When it is first, and last, about as loud as the track."""
    width = min(round(FRAME_RATE), len(level_db))
    power = np.cumsum(np.concatenate([np.zeros(1), 10 ** (level_db.astype(np.float64) / 10)]))
    mean_db = 10 * np.log10((power[width:] - power[:-width]) / width + 1e-12)
    loud = np.flatnonzero(mean_db > max(loudness_db - _FADE_DB, FLOOR_DB + 1))
    if not len(loud):
        return 0.0, duration
    fade_in = 0.0 if loud[0] == 0 else (loud[0] + width / 2) * HOP / SAMPLE_RATE
    fade_out = duration if loud[-1] == len(mean_db) - 1 else (loud[-1] + width / 2) * HOP / SAMPLE_RATE
    return min(fade_in, duration), min(max(fade_out, fade_in), duration)
