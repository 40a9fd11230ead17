"""Features of analyses for genre models: scalars of the track, and statistics of its segments."""

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
"""Scalars of a track that are read, by their names in ``msd_tracks`` and ``library_tracks``."""

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
"""Arrays of an analysis that are read."""

_AS_THEY_ARE = tuple(name for name in SCALARS if name not in ("tempo", "end_of_fade_in", "start_of_fade_out"))
MIN_BEATS_OF_SPREAD = 3


def measure(track: Mapping[str, Any], analysis: Mapping[str, ArrayLike]) -> dict[str, float | None]:
    """Measure one track.

    Parameters
    ----------
    track
        ``SCALARS``; what is missing is None or NaN.
    analysis
        ``ARRAYS``: (N,) or, pitches and timbre, (N, 12) or (12 N,) row-major; times in s.

    Returns
    -------
    dict
        Features by the names of ``msd_genre_features``. None where they are undefined: rates of a track without
        duration, statistics of no segments, the spread of fewer than two periods between beats.

    Raises
    ------
    InputError
        ``not_finite``, ``lengths_differ`` or ``not_ascending``: the analysis is damaged.
    """
    scalars = {name: _known(track[name]) for name in SCALARS}
    arrays = {name: _finite(name, analysis[name]) for name in ARRAYS}
    duration, fade_out = scalars["duration"] or None, scalars["start_of_fade_out"]
    per_s = {name: None if duration is None else len(arrays[f"{name}_start"]) / duration for name in _RATES}
    return {
        **{name: scalars[name] for name in _AS_THEY_ARE},
        "tempo": scalars["tempo"] or None,
        "fade_in_s": scalars["end_of_fade_in"],
        "fade_out_s": None if duration is None or fade_out is None else max(duration - fade_out, 0.0),
        **{f"{name}_per_s": per_s[name] for name in ("segments", "beats", "bars")},
        "sections_per_min": None if per_s["sections"] is None else 60 * per_s["sections"],
        "beats_period_cv": _spread(np.diff(_ascending("beats_start", arrays["beats_start"]))),
        **_measure_segments(arrays, duration),
    }


_RATES = ("segments", "beats", "bars", "sections")


def _measure_segments(arrays: Mapping[str, Float64Array], duration: float | None) -> dict[str, float | None]:
    start = _ascending("segments_start", arrays["segments_start"])
    end = max(duration or 0.0, start[-1]) if len(start) else 0.0
    columns = {"segments_length": np.diff(start, append=end)[:, None]}
    for name in _SEGMENTS:
        rows = 12 if name in ("segments_pitches", "segments_timbre") else 1
        if arrays[name].size != rows * len(start):
            raise InputError(
                "lengths_differ", f"{len(start)} segment starts and {arrays[name].size} {name} do not go together"
            )
        columns[name] = arrays[name].reshape(-1, rows)
    values = np.concatenate(list(columns.values()), axis=1)
    names = [f"{n}{i + 1}" if c.shape[1] > 1 else n for n, c in columns.items() for i in range(c.shape[1])]
    if not len(values):
        return {f"{name}_{kind}": None for name in names for kind in ("mean", "var")}
    pairs = zip(names, values.mean(axis=0), values.var(axis=0), strict=True)
    return {f"{n}_{kind}": float(v) for n, *both in pairs for kind, v in zip(("mean", "var"), both, strict=True)}


def _spread(periods: Float64Array) -> float | None:
    """Standard deviation over mean."""
    if len(periods) < MIN_BEATS_OF_SPREAD - 1 or not periods.any():
        return None
    return float(periods.std() / periods.mean())


def _known(value: Any) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _finite(name: str, values: ArrayLike) -> Float64Array:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if not np.isfinite(array).all():
        raise InputError("not_finite", f"{name} holds a value that is not a finite number")
    return array


def _ascending(name: str, times: Float64Array) -> Float64Array:
    if (np.diff(times) < 0).any():
        raise InputError("not_ascending", f"{name} goes backwards in time")
    return times
