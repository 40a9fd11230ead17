"""The sets of features that genre models are made for, and windows pooled to what such a model was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GTZAN_COLUMNS, MSD_GENRE_FEATURES, Table

WHOLE_TRACK = -1
"""``window`` of the row of ``audio_genre_features`` that is of the whole track."""

TEMPO = "tempo"
"""The one feature that a window has not, and takes from its track."""

WINDOW_S = 3.0
"""Length of a window; the last one of a track may be shorter."""

CLIP_WINDOWS = 10
"""Windows in a clip of the GTZAN table."""


@dataclass(frozen=True)
class FeatureSet:
    """Columns of a table that a genre model reads.

    Parameters
    ----------
    name
        Key in ``FEATURE_SETS``.
    table
        Contract of the table that holds the columns.
    columns
        Their names, in the order of the contract.
    by_window
        Whether every 3 s window is a row to learn from, with the tempo of its track, and not the whole track.
    """

    name: str
    table: Table
    columns: tuple[str, ...]
    by_window: bool = False


def _features_of(table: Table) -> tuple[str, ...]:
    places = {"start_s", "length_s"}
    return tuple(column.name for column in table.columns if column.type == "float" and column.name not in places)


_GTZAN = tuple(column.name for column in GTZAN_COLUMNS)
_MSD = _features_of(MSD_GENRE_FEATURES)
_SEGMENTS = tuple(name for name in _MSD if name.startswith("segments_") and name.endswith(("_mean", "_var")))

FEATURE_SETS: Mapping[str, FeatureSet] = {
    one.name: one
    for one in (
        FeatureSet("gtzan", AUDIO_GENRE_FEATURES, _GTZAN),
        FeatureSet("gtzan_windows", AUDIO_GENRE_FEATURES, _GTZAN, by_window=True),
        FeatureSet("audio", AUDIO_GENRE_FEATURES, _features_of(AUDIO_GENRE_FEATURES)),
        FeatureSet(
            "msd_scalars",
            MSD_GENRE_FEATURES,
            tuple(name for name in _MSD if name not in (*_SEGMENTS, "beats_period_cv")),
        ),
        FeatureSet("msd_segments", MSD_GENRE_FEATURES, _SEGMENTS),
        FeatureSet("msd", MSD_GENRE_FEATURES, _MSD),
    )
}
"""Sets by their names. ``msd_scalars`` are the 15 that describe a track in a number each."""


def pool(
    windows: ArrayLike,
    lengths_s: ArrayLike,
    columns: Sequence[str],
    span: int = CLIP_WINDOWS,
    *,
    starts: ArrayLike = (0,),
) -> Float64Array:
    """Features of the ``span`` windows about each window: those of a clip of 30 s, if windows are of 3 s.

    A mean is that of the windows' means, a variance the mean of their variances and the variance of their means, each
    window weighing what it is long. That is what all frames together would give. Near an end of a track the span is
    moved, so that it has as many windows as there are up to ``span``. A window that lacks a mean or its variance does
    not count for this feature.

    Parameters
    ----------
    windows
        Shape (w, d): consecutive windows of a track, or of several tracks one after the other; NaN = unknown.
    lengths_s
        Shape (w,), > 0.
    columns
        The d names: ``…_mean`` and ``…_var``, both or none of each feature. A column of another name is given back as
        it is.
    span
        Windows to pool, at least 1.
    starts
        Ascending: rows at which the tracks begin, the first of them 0.

    Returns
    -------
    numpy.ndarray
        Shape (w, d). What is pooled for a window depends on the windows of its own track alone, to the last bit.
    """
    pooled = np.array(windows, dtype=np.float64)
    means = [place for place, name in enumerate(columns) if name.endswith("_mean")]
    place_of = {name: place for place, name in enumerate(columns)}
    variances = [place_of[f"{columns[place].removesuffix('_mean')}_var"] for place in means]
    mean, variance = pooled[:, means], pooled[:, variances]
    known = np.isfinite(mean) & np.isfinite(variance)
    weights = np.asarray(lengths_s, dtype=np.float64)[:, None]
    if not known.all():
        weights = np.where(known, weights, 0)
    mean, variance = np.where(known, mean, 0), np.where(known, variance, 0)

    first, stop = _spans(len(pooled), np.asarray(starts, dtype=np.int64), span)
    with np.errstate(invalid="ignore"):
        # about the middle of each track, since sums of squares about 0 would lose the digits of small variances
        begin = np.append(np.asarray(starts, dtype=np.int64), len(pooled))
        lengths = np.diff(begin)
        middles = _sum(weights * mean, begin[:-1], begin[1:]) / _sum(weights, begin[:-1], begin[1:])
        middle = np.repeat(np.nan_to_num(middles), lengths, axis=0)
        apart = mean - middle
        total = _sum(weights, first, stop)
        shift = _sum(weights * apart, first, stop) / total
        square = _sum(weights * (variance + apart * apart), first, stop) / total
    pooled[:, means] = middle + shift
    pooled[:, variances] = np.maximum(square - shift * shift, 0)
    return pooled


def _spans(count: int, starts: Int64Array, span: int) -> tuple[Int64Array, Int64Array]:
    """First row, and the one after the last, of what is pooled for each row."""
    lengths = np.diff(starts, append=count)
    begin, end = np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)
    first = np.maximum(np.minimum(np.arange(count) - span // 2, end - span), begin)
    return first, np.minimum(first + span, end)


def _sum(rows: Float64Array, first: Int64Array, stop: Int64Array) -> Float64Array:
    """Sums of the rows from each of ``first`` to before each of ``stop``, first < stop."""
    # reduceat takes no end beyond the last row
    padded = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
    bounds = np.stack([first, stop], axis=1).reshape(-1)
    sums: Float64Array = np.add.reduceat(padded, bounds, axis=0)[::2]
    return sums
