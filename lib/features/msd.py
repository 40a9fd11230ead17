"""Features of analyses for genre models: scalars of the track, event rates, and statistics of the segments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array
from reprise.lib.errors import InputError

SCALARS = (
    "duration",
    "tempo",
    "loudness",
    "key",
    "key_confidence",
    "mode",
    "mode_confidence",
    "time_signature",
    "time_signature_confidence",
    "end_of_fade_in",
    "start_of_fade_out",
)
"""Scalars of a track from which features are computed, named as in ``msd_tracks`` and ``library_tracks``."""

_SEGMENTS = (
    "segments_confidence",
    "segments_loudness_start",
    "segments_loudness_max",
    "segments_loudness_max_time",
    "segments_pitches",
    "segments_timbre",
)
_EVENTS = ("beats_start", "bars_start", "sections_start")
ARRAYS = ("segments_start", *_SEGMENTS, *_EVENTS)
"""Arrays of an analysis from which features are computed."""

_COPIED_SCALARS = tuple(name for name in SCALARS if name not in ("tempo", "end_of_fade_in", "start_of_fade_out"))
_RATES = ("segments", "beats", "bars", "sections")
_MIN_PERIODS = 2


def measure(track: Mapping[str, Any], analysis: Mapping[str, ArrayLike]) -> dict[str, float | None]:
    """Measure the features of one track.

    Parameters
    ----------
    track
        Values of the fields in ``SCALARS``; a missing value is None or NaN.
    analysis
        Arrays of the fields in ``ARRAYS``, one-dimensional, with times in s. For N segments, ``segments_pitches`` and
        ``segments_timbre`` have shape (N, 12), or (12 N,) in row-major order.

    Returns
    -------
    dict
        Features named as in ``msd_genre_features``. An undefined feature is None. Examples are the event rates if the
        duration is missing, the statistics if there are no segments, and the coefficient of variation of the beat
        periods if there are fewer than two periods.

    Raises
    ------
    InputError
        ``not_finite``, ``lengths_differ`` or ``not_ascending``: the analysis is damaged. The message states no remedy,
        because only the caller knows which file the analysis comes from.
    """
    scalars = {name: _finite_or_none(track[name]) for name in SCALARS}
    arrays = {name: _require_finite(name, analysis[name]) for name in ARRAYS}
    duration, fade_out = scalars["duration"] or None, scalars["start_of_fade_out"]
    per_s = {name: None if duration is None else len(arrays[f"{name}_start"]) / duration for name in _RATES}
    return {
        **{name: scalars[name] for name in _COPIED_SCALARS},
        "tempo": scalars["tempo"] or None,
        "fade_in_s": scalars["end_of_fade_in"],
        "fade_out_s": None if duration is None or fade_out is None else max(duration - fade_out, 0.0),
        **{f"{name}_per_s": per_s[name] for name in ("segments", "beats", "bars")},
        "sections_per_min": None if per_s["sections"] is None else 60 * per_s["sections"],
        "beats_period_cv": _coefficient_of_variation(np.diff(_require_ascending("beats_start", arrays["beats_start"]))),
        **_measure_segments(arrays, duration),
    }


def _measure_segments(arrays: Mapping[str, Float64Array], duration: float | None) -> dict[str, float | None]:
    """Compute mean and variance of each property of the segments. All values are None if there are no segments."""
    start = _require_ascending("segments_start", arrays["segments_start"])
    end = max(duration or 0.0, start[-1]) if len(start) else 0.0
    columns = {"segments_length": np.diff(start, append=end)[:, None]}
    for name in _SEGMENTS:
        width = 12 if name in ("segments_pitches", "segments_timbre") else 1
        if arrays[name].size != width * len(start):
            fault = f"{name} has size {arrays[name].size} instead of {width * len(start)} ({width} per segment)"
            raise InputError("lengths_differ", fault)
        columns[name] = arrays[name].reshape(-1, width)
    values = np.concatenate(list(columns.values()), axis=1)
    names = [f"{n}{i + 1}" if c.shape[1] > 1 else n for n, c in columns.items() for i in range(c.shape[1])]
    if not len(values):
        return {f"{name}_{kind}": None for name in names for kind in ("mean", "var")}
    pairs = zip(names, values.mean(axis=0), values.var(axis=0), strict=True)
    return {f"{n}_{kind}": float(v) for n, *both in pairs for kind, v in zip(("mean", "var"), both, strict=True)}


def _coefficient_of_variation(periods: Float64Array) -> float | None:
    """Return the standard deviation divided by the mean. It is None for fewer than two periods, or if all are 0."""
    if len(periods) < _MIN_PERIODS or not periods.any():
        return None
    return float(periods.std() / periods.mean())


def _finite_or_none(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _require_finite(name: str, values: ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise InputError("not_finite", f"{name} contains NaN or infinite values")
    return array


def _require_ascending(name: str, times: Float64Array) -> Float64Array:
    if (np.diff(times) < 0).any():
        raise InputError("not_ascending", f"{name} is not in ascending order")
    return times
