"""Analysis of a recording with the field names, units and ranges of the Million Song Dataset.

The dataset was made with the analyser of The Echo Nest, which no longer exists. The meaning of its fields is known from
its documentation and from the values in the dataset. Single segments and beats can differ between any two analysers. In
addition, this analyser differs from the Echo Nest's in the following points:

* **Levels** (``loudness``, ``segments_loudness_*``) use the weighting of ITU-R BS.1770, because the Echo Nest's model
  of the ear was not published. A full-scale sine of 1 kHz has 0 dB. ``loudness`` is computed from the peaks of the
  segments, as in the dataset.
* **Pitches** are the strengths of notes without their overtones, raised to a power. The power is chosen so that the
  average strength of weak pitch classes, relative to the strongest pitch class, is the same as in the dataset.
* **Timbre**: coefficient 1 is the mean loudness above -60 dB, as in the dataset. Coefficients 2 to 12 are inner
  products of the levels with fixed patterns, times a factor and minus an offset per coefficient. A pattern is the
  product of a cosine over time and a cosine over the critical bands. The Echo Nest used other patterns. Coefficient 2
  is lower for brighter sounds, and coefficient 4 is higher for a sudden attack. Over many recordings, means and
  standard deviations are similar to those in the dataset. But the two kinds of timbre are not interchangeable, and the
  means differ more between tracks.
* **Tempo** is one value per track, 40 to 220 BPM. Beats follow a slow change of tempo, but not a sudden change.
* **Key** is one value per track, major or minor. If the key is wrong, it is most often the relative key, which has the
  same notes.
* **Time signature** is 3 or 4; in the dataset it can also be 1, 5 or 7. All bars of a track have the same number of
  beats, except that a bar in 4/4 can have two or six beats where half a bar is left out or inserted.
* **Tatums** divide every interval between two beats equally. The number of tatums per beat is the same in the whole
  track: two, three or four.
* **Confidences** are from 0 to 1. Over many recordings, those of key, mode, time signature and segments have the same
  distribution as in the dataset. Those of beats, bars, tatums and sections are not comparable with the dataset's.
  ``tempo_confidence`` does not exist in the dataset.
* **Silence**: all pitches are 1, as in the dataset. There are no beats, bars, tatums or sections.
"""

from typing import Any

import numpy as np

from reprise.lib.analysis import dataset_scale
from reprise.lib.analysis.beats import choose_beats, find_beat_candidates, prepare_onsets
from reprise.lib.analysis.frames import FLOOR_DB, FRAME_RATE, HOP, Frames, check_signal, measure_frames
from reprise.lib.analysis.key import compute_key_features, find_key
from reprise.lib.analysis.meter import find_bars, find_tatums, list_chord_boundaries
from reprise.lib.analysis.pitches import CumulativeChroma, accumulate_chroma, collect_peaks, estimate_chroma
from reprise.lib.analysis.sections import find_sections
from reprise.lib.analysis.segments import compute_timbre, find_segments
from reprise.lib.arrays import Float32Array, Float64Array
from reprise.lib.audio import SAMPLE_RATE

VERSION = 3
"""Version of the analysis. A new version makes `ingest-library` analyse the stored tracks again."""

_NO_RHYTHM: dict[str, Any] = {
    "tempo": 0.0,
    "tempo_confidence": 0.0,
    "tempo_candidates": np.zeros(0),
    "tempo_probabilities": np.zeros(0),
    "time_signature": 4,
    "time_signature_confidence": 0.0,
    **{f"{kind}_{field}": np.zeros(0) for kind in ("beats", "bars", "tatums") for field in ("start", "confidence")},
}
_LOUDNESS_OFFSET_DB = 0.96  # track loudness minus the mean level of the segments' peaks; fitted to the dataset (± 0.3)
_PITCH_EXPONENT = 0.6  # makes the average strength of weak pitch classes the same as in the dataset
_FADE_DB = 9.0  # level at the end of the fade-in and at the start of the fade-out, below the track's loudness


def analyse(signal: Float32Array) -> dict[str, Any]:
    """Analyse a recording.

    Parameters
    ----------
    signal
        Shape (samples,), floats, mono, at 22,050 Hz. A memory map is accepted and is read in blocks of 24 s.

    Returns
    -------
    dict
        Fields named as the columns of ``library_tracks`` and ``library_analysis``.

        - Scalars: ``duration``, ``end_of_fade_in`` and ``start_of_fade_out`` in s; ``loudness`` in dB; ``tempo`` in
          BPM, or 0 if there are no beats; ``key``, 0 = C to 11 = B; ``mode``, 1 = major and 0 = minor;
          ``time_signature``; ``analysis_sample_rate`` in Hz.
        - Confidences of tempo, key, mode and time signature, from 0 to 1.
        - float64 arrays of shape (n,): start in s and confidence of ``segments``, ``sections``, ``beats``, ``bars``
          and ``tatums``. There is at least one segment. The other arrays can be empty.
        - float64 arrays of shape (n,), n at most five: ``tempo_candidates`` in BPM and ``tempo_probabilities``, the
          most probable first. The sum of the probabilities is at most 1.
        - float64 arrays of shape (n,) for the segments: ``segments_loudness_start`` and ``segments_loudness_max`` in
          dB, at least -60; ``segments_loudness_max_time`` in s from the start of the segment.
        - float64 arrays of shape (n, 12) for the segments: ``segments_pitches``, C first, with maximum 1 in each row;
          ``segments_timbre``.

    Raises
    ------
    InputError
        ``not_a_signal``: the array is not one channel of float samples, or it is empty. ``not_finite``: it contains NaN
        or infinite samples.
    """
    return _scale_to_dataset(measure(signal))


def measure(signal: Float32Array) -> dict[str, Any]:
    """Analyse a recording like `analyse`, but without scaling timbre and confidences to the dataset."""
    check_signal(signal)
    duration = len(signal) / SAMPLE_RATE
    frames = measure_frames(signal)
    segments = find_segments(frames)
    starts_s = segments.start / FRAME_RATE
    timbre = compute_timbre(frames, segments.start)
    chroma = estimate_chroma(collect_peaks(signal, starts_s))
    harmony = accumulate_chroma(chroma, starts_s, duration)
    is_silent = bool(segments.loudness_max.max() <= FLOOR_DB)
    rhythm, chords_s = (_NO_RHYTHM, np.zeros(0)) if is_silent else _find_rhythm(frames, harmony, duration)
    sections = (np.zeros(0), np.zeros(0))
    if not is_silent:
        sections = find_sections(harmony, timbre, starts_s, rhythm["bars_start"], duration)
    key = find_key(compute_key_features(harmony, chords_s))
    loudness = FLOOR_DB
    if not is_silent:
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


def _scale_to_dataset(measured: dict[str, Any]) -> dict[str, Any]:
    """Scale timbre and confidences so that, over many recordings, they are distributed as in the dataset."""
    scaled = dict(measured)
    for name, (from_values, to_values) in dataset_scale.CONFIDENCES.items():
        values = np.interp(measured[name], from_values, to_values)
        scaled[name] = values if np.ndim(measured[name]) else float(values)
    timbre = measured["segments_timbre"]
    scaled["segments_timbre"] = timbre * dataset_scale.TIMBRE_FACTORS - dataset_scale.TIMBRE_OFFSETS
    return scaled


def _scale_pitches(strength: Float32Array, loudness_max: Float64Array) -> Float64Array:
    """Scale the pitch strengths of each segment to a maximum of 1, and raise them to the power `_PITCH_EXPONENT`.

    All pitches of a silent segment are 1, as in the dataset.
    """
    highest = strength.max(axis=1, keepdims=True)
    is_sounding = (highest > 0) & (loudness_max[:, None] > FLOOR_DB)
    pitches = np.ones(strength.shape)
    np.divide(strength, highest, out=pitches, where=is_sounding)
    return pitches**_PITCH_EXPONENT


def _find_rhythm(frames: Frames, harmony: CumulativeChroma, duration: float) -> tuple[dict[str, Any], Float64Array]:
    """Return the fields for tempo, beats, bars and tatums, and the possible times of chord changes in s."""
    onsets = prepare_onsets(frames.onset_strength, frames.level_db)
    chosen = choose_beats(find_beat_candidates(onsets, harmony)) if onsets else None
    if onsets is None or chosen is None:
        return _NO_RHYTHM, np.zeros(0)
    beats, tempo_confidence = chosen.beats, chosen.confidence
    bars = find_bars(onsets, harmony, beats)
    beats_s = np.clip(beats / FRAME_RATE, 0, duration)
    strength = onsets.strength_at(beats)
    median = float(np.median(strength)) + 1e-6
    beat_confidence = np.sqrt(tempo_confidence) * strength / (strength + median)
    tatums = find_tatums(onsets, beats)
    tatum_strength = onsets.strength_at(tatums)
    fields = {
        "tempo": chosen.tempo_bpm,
        "tempo_confidence": tempo_confidence,
        "tempo_candidates": chosen.candidate_tempos_bpm,
        "tempo_probabilities": chosen.probabilities,
        "time_signature": bars.meter,
        "time_signature_confidence": bars.meter_confidence,
        "beats_start": beats_s,
        "beats_confidence": beat_confidence,
        "bars_start": beats_s[bars.beats],
        "bars_confidence": beat_confidence[bars.beats] * bars.confidences,
        "tatums_start": np.clip(tatums / FRAME_RATE, 0, duration),
        "tatums_confidence": np.sqrt(tempo_confidence) * tatum_strength / (tatum_strength + median),
    }
    return fields, list_chord_boundaries(bars, beats) / FRAME_RATE


def _find_fades(level_db: Float32Array, loudness_db: float, duration: float) -> tuple[float, float]:
    """Return the end of the fade-in and the start of the fade-out in s.

    These are the first and the last time at which the level, averaged over one second, is less than 9 dB below the
    track's loudness and more than 1 dB above the floor of -60 dB. A track that starts or ends at such a level has no
    fade there: the result is 0 or ``duration``.
    """
    width = min(round(FRAME_RATE), len(level_db))
    power = np.cumsum(np.concatenate([np.zeros(1), 10 ** (level_db.astype(np.float64) / 10)]))
    mean_db = 10 * np.log10((power[width:] - power[:-width]) / width + 1e-12)
    loud = np.flatnonzero(mean_db > max(loudness_db - _FADE_DB, FLOOR_DB + 1))
    if not len(loud):
        return 0.0, duration
    fade_in = 0.0 if loud[0] == 0 else (loud[0] + width / 2) * HOP / SAMPLE_RATE
    fade_out = duration if loud[-1] == len(mean_db) - 1 else (loud[-1] + width / 2) * HOP / SAMPLE_RATE
    return min(fade_in, duration), min(max(fade_out, fade_in), duration)
