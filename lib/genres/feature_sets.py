"""Feature sets of genre models, and pooling of windows to the clip length that models are trained on.

Models of whole tracks get one row for each window: the features of the clip around it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GTZAN_COLUMNS, MSD_GENRE_FEATURES, TRACK_TAGS, Table
from reprise.lib.tables.tags import TAGS

WHOLE_TRACK = -1
"""Value of ``window`` in ``audio_genre_features`` and ``track_tags`` for the row of the whole track."""

TEMPO = "tempo"
"""The only feature of ``audio_genre_features`` that is not computed for windows. A window uses its track's value."""

WINDOW_S = 3.0
"""Length of a window in seconds. The last window of a track may be shorter."""

CLIP_WINDOWS = 10
"""Number of windows in a 30 s clip of the GTZAN table."""


@dataclass(frozen=True)
class FeatureSet:
    """Columns that a genre model reads from a table, and the features that it computes from them.

    Parameters
    ----------
    name
        Key in ``FEATURE_SETS``.
    table
        Contract of the table that contains the columns.
    columns
        Names of the columns, in the order of the table's contract.
    by_window
        If True, each 3 s window is a training row, with the tempo of its track. If False, each track is a training row.
    domain
        Key in ``FEATURE_SETS`` of the feature set that describes the domain of a model; None for the set itself. Tags
        do not: to a tagger, rendered music sounds like recordings of some genre.
    """

    name: str
    table: Table
    columns: tuple[str, ...]
    by_window: bool = False
    domain: str | None = None

    @property
    def domain_set(self) -> "FeatureSet":
        """The feature set that describes the domain of a model."""
        return self if self.domain is None else FEATURE_SETS[self.domain]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features. They are those of the columns, unless the columns are tags."""
        if self.table is not TRACK_TAGS:
            return self.columns
        return tuple(f"{column}_{suffix}" for suffix in _TAG_SUFFIXES for column in self.columns)

    def pool_windows(self, windows: Float64Array, lengths_s: ArrayLike, starts: ArrayLike) -> Float64Array:
        """Return the features of the clip around each window, shape (w, d); arguments as in `pool`."""
        if self.table is TRACK_TAGS:
            return pool_tags(windows, starts=starts)
        return windows if self.by_window else pool(windows, lengths_s, self.columns, starts=starts)


_TAG_SUFFIXES = ("logit_mean", "logit_std", "mean")

INPUT_TAGS, INPUT_AUDIO = "track tags", "audio"
INPUT_ANALYSES, INPUT_LIBRARY_ANALYSES = "analyses", "library analyses"
"""Inputs of genre models: tags of audio, features of audio, analyses of the dataset, analyses of listeners' audio."""


def name_input(feature_set: str, *, from_library: bool) -> str:
    """Return the input of a genre model, a value of the column ``input`` of ``models``.

    ``from_library`` says whether the labels were genre tags of listeners' files.
    """
    table = FEATURE_SETS[feature_set].table
    if table is MSD_GENRE_FEATURES:
        return INPUT_LIBRARY_ANALYSES if from_library else INPUT_ANALYSES
    return INPUT_TAGS if table is TRACK_TAGS else INPUT_AUDIO


def _feature_columns(table: Table) -> tuple[str, ...]:
    times = {"start_s", "length_s"}
    return tuple(column.name for column in table.columns if column.type == "float" and column.name not in times)


_GTZAN = tuple(column.name for column in GTZAN_COLUMNS)
_MSD = _feature_columns(MSD_GENRE_FEATURES)
_SEGMENTS = tuple(name for name in _MSD if name.startswith("segments_") and name.endswith(("_mean", "_var")))

FEATURE_SETS: Mapping[str, FeatureSet] = {
    one.name: one
    for one in (
        FeatureSet("gtzan", AUDIO_GENRE_FEATURES, _GTZAN),
        FeatureSet("gtzan_windows", AUDIO_GENRE_FEATURES, _GTZAN, by_window=True),
        FeatureSet("audio", AUDIO_GENRE_FEATURES, _feature_columns(AUDIO_GENRE_FEATURES)),
        FeatureSet(
            "msd_scalars",
            MSD_GENRE_FEATURES,
            tuple(name for name in _MSD if name not in (*_SEGMENTS, "beats_period_cv")),
        ),
        FeatureSet("msd_segments", MSD_GENRE_FEATURES, _SEGMENTS),
        FeatureSet("msd", MSD_GENRE_FEATURES, _MSD),
        FeatureSet("track_tags", TRACK_TAGS, tuple(TAGS), domain="gtzan"),
    )
}
"""Feature sets by name. ``msd_scalars`` are the 15 features with one value per track."""


def pool(
    windows: ArrayLike,
    lengths_s: ArrayLike,
    columns: Sequence[str],
    span: int = CLIP_WINDOWS,
    *,
    starts: ArrayLike = (0,),
) -> Float64Array:
    """Pool the features of the ``span`` windows around each window.

    The pooled features of ten windows of 3 s are the features of a 30 s clip. The pooled mean is the mean of the
    windows' means. The pooled variance is the mean of the windows' variances plus the variance of their means. Windows
    are weighted by their lengths. If the number of frames is proportional to the length, the results equal the mean and
    the variance over all frames of the windows.

    Near the ends of a track, the span is shifted to stay inside the track. A track shorter than the span is pooled as a
    whole. If the mean or the variance of a feature is missing in a window, the window is ignored for this feature. If
    this is so in all windows to pool, the result is NaN.

    Parameters
    ----------
    windows
        Shape (w, d): consecutive windows of one track, or of several tracks in sequence; NaN is a missing value.
    lengths_s
        Shape (w,): lengths of the windows in seconds, > 0.
    columns
        Names of the d columns. Each ``…_mean`` needs the matching ``…_var``. All columns outside these pairs are
        returned unchanged.
    span
        Number of windows to pool, at least 1.
    starts
        Index of the first window of each track. The indices ascend, and the first is 0.

    Returns
    -------
    ndarray, float64, shape (w, d)
        The pooled values of a window depend only on the windows of its track. Other tracks do not change a single bit
        of them.
    """
    pooled = np.array(windows, dtype=np.float64)
    means = [index for index, name in enumerate(columns) if name.endswith("_mean")]
    index_of = {name: index for index, name in enumerate(columns)}
    variances = [index_of[f"{columns[index].removesuffix('_mean')}_var"] for index in means]
    mean, variance = pooled[:, means], pooled[:, variances]
    known = np.isfinite(mean) & np.isfinite(variance)
    weights = np.asarray(lengths_s, dtype=np.float64)[:, None]
    if not known.all():
        weights = np.where(known, weights, 0)
    mean, variance = np.where(known, mean, 0), np.where(known, variance, 0)

    first, stop = _find_spans(len(pooled), np.asarray(starts, dtype=np.int64), span)
    with np.errstate(invalid="ignore"):
        # centre each track first: sums of squares about 0 would lose the digits of small variances
        begin = np.append(np.asarray(starts, dtype=np.int64), len(pooled))
        lengths = np.diff(begin)
        track_means = _sum_ranges(weights * mean, begin[:-1], begin[1:]) / _sum_ranges(weights, begin[:-1], begin[1:])
        centre = np.repeat(np.nan_to_num(track_means), lengths, axis=0)
        centred = mean - centre
        total = _sum_ranges(weights, first, stop)
        shift = _sum_ranges(weights * centred, first, stop) / total
        square = _sum_ranges(weights * (variance + centred * centred), first, stop) / total
    pooled[:, means] = centre + shift
    pooled[:, variances] = np.maximum(square - shift * shift, 0)
    return pooled


def pool_tags(windows: ArrayLike, span: int = CLIP_WINDOWS, *, starts: ArrayLike = (0,)) -> Float64Array:
    """Pool the tags of the ``span`` windows around each window, as `pool` does.

    Parameters
    ----------
    windows
        Shape (w, 50): probabilities of tags in consecutive windows of one track, or of several tracks in sequence.
    span, starts
        As in `pool`.

    Returns
    -------
    ndarray, float64, shape (w, 150)
        Mean and population standard deviation of the logits, and mean of the probabilities.
    """
    probabilities = np.asarray(windows, dtype=np.float64)
    logits = compute_logits(probabilities)
    first, stop = _find_spans(len(logits), np.asarray(starts, dtype=np.int64), span)
    count = (stop - first)[:, None]
    mean = _sum_ranges(logits, first, stop) / count
    square = _sum_ranges(logits * logits, first, stop) / count
    spread = np.sqrt(np.maximum(square - mean * mean, 0))
    return np.hstack([mean, spread, _sum_ranges(probabilities, first, stop) / count])


def compute_logits(probabilities: Float64Array) -> Float64Array:
    """Return the logits of probabilities, which are limited to 1e-7 … 1 - 1e-7."""
    limited = np.clip(probabilities, MIN_TAG_PROBABILITY, 1 - MIN_TAG_PROBABILITY)
    return np.asarray(np.log(limited / (1 - limited)), dtype=np.float64)


MIN_TAG_PROBABILITY = 1e-7


def _find_spans(count: int, starts: Int64Array, span: int) -> tuple[Int64Array, Int64Array]:
    """Return for each row the index of the first row to pool, and the index after the last row to pool."""
    lengths = np.diff(starts, append=count)
    begin, end = np.repeat(starts, lengths), np.repeat(starts + lengths, lengths)
    first = np.maximum(np.minimum(np.arange(count) - span // 2, end - span), begin)
    return first, np.minimum(first + span, end)


def _sum_ranges(rows: Float64Array, first: Int64Array, stop: Int64Array) -> Float64Array:
    """Sum the rows of each range from ``first`` to ``stop`` (exclusive). No range is empty."""
    # reduceat accepts only indices of rows, so add one row for the end
    padded = np.concatenate([rows, np.zeros((1, rows.shape[1]))])
    bounds = np.stack([first, stop], axis=1).reshape(-1)
    sums: Float64Array = np.add.reduceat(padded, bounds, axis=0)[::2]
    return sums
