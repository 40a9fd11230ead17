"""Compute genre probabilities of tracks from batches of features."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.feature_sets import FEATURE_SETS, TEMPO, WHOLE_TRACK, FeatureSet, pool_tags
from reprise.lib.genres.models import GenreModel, load
from reprise.lib.tables import GENRE_SCORES
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.model_cache import load_artifact
from reprise.udfs.numba_cache import compile_lock

MIN_BATCH_ROWS = 16_384
"""Minimum number of rows in a call of a model, except the last. Even a call with few rows takes some milliseconds."""

_WINDOW_COLUMNS = ("window", "length_s")

POOLED_DDL = ", ".join(["track_id string", *(f"{name} float" for name in FEATURE_SETS["track_tags"].features)])
_POOLED = pa.schema(
    [("track_id", pa.string()), *((name, pa.float32()) for name in FEATURE_SETS["track_tags"].features)]
)


def load_genre_model(artifact: str, sha256: str) -> GenreModel:
    """Return a genre model, from the cache of this process if possible.

    Parameters
    ----------
    artifact
        URI of the model's file.
    sha256
        Checksum of the file.

    Raises
    ------
    InputError
        ``checksum``: the file is missing or has changed since the training. ``not_a_model``: the file is not a genre
        model, or the model needs features that this version of reprise does not have.
    """
    with compile_lock("genre models"):
        model = load_artifact(artifact, sha256, load)
    feature_set = FEATURE_SETS.get(model.feature_set)
    if (
        feature_set is None
        or not set(model.features) <= set(feature_set.features)
        or (model.domain and not set(model.domain.features) <= set(feature_set.domain_set.features))
    ):
        raise InputError(
            "not_a_model",
            f"it needs features that this version of reprise does not have ({model.feature_set}): train it again",
        )
    return model


def input_columns(feature_set: FeatureSet) -> list[str]:
    """Return the names of the columns of a feature set's table that the batches for `score_tracks` must have."""
    windows = _WINDOW_COLUMNS if "window" in feature_set.table.key else ()
    return ["track_id", "sha256", *windows, *feature_set.columns]


def score_tracks(
    batches: Iterable[pa.RecordBatch], *, artifact: str, artifact_sha256: str, model_id: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Predict the genre probabilities of tracks, and measure how far the tracks lie outside the model's domain.

    Audio is scored in windows, and the probability of a track is the mean over its windows. A model trained on whole
    tracks gets features pooled over the 30 s around each window. Audio shorter than one window is scored as a whole.

    If a track lies outside the domain, the probabilities are averaged with those of a guess among all genres: there,
    the model was never measured.

    Parameters
    ----------
    batches
        Column ``source``, the name of a table, and the columns of `input_columns` for the model's feature set and, if
        it is another one, for the feature set of its domain; columns of the other table are NULL. The rows are sorted
        by track, source and, for audio, by window. The rows of one track may be in several batches.
    artifact, artifact_sha256
        As ``artifact`` and ``sha256`` in `load_genre_model`.
    model_id, run_id
        Values of the columns ``model_id`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        The table name ``genre_scores``, and one row for each track and genre: tracks in the order of the input, genres
        in the order of the model.
    """
    model = load_genre_model(artifact, artifact_sha256)
    feature_set = FEATURE_SETS[model.feature_set]
    for rows in _rebatch_by_track(batches):
        clips = _read_clips(feature_set, rows)
        predicted = model.predict(clips.select(model.features))
        probabilities = clips.average(predicted)
        outside = _measure_outside(model, clips, rows)
        with np.errstate(invalid="ignore"):
            is_outside = np.isnan(outside) | (outside > 1) if model.domain else np.zeros(len(outside), dtype=np.bool_)
        abstains = is_outside | (probabilities.max(axis=1) < model.min_probability)
        probabilities[is_outside] = (probabilities[is_outside] + 1 / len(model.genres)) / 2
        windows = clips.list_windows(predicted) if clips.has_windows else None
        yield (
            GENRE_SCORES.name,
            _to_scores(model.genres, clips.tracks, probabilities, windows, outside, abstains, model_id, run_id),
        )


@dataclass(frozen=True)
class _Clips:
    """Features of the clips around the windows of tracks, or of whole tracks.

    ``tracks`` has the columns ``track_id`` and ``sha256``. ``values`` has a row for each clip, and ``names`` are its
    columns. ``first_rows`` are the first rows of the tracks, and ``n_windows`` the numbers of their windows, which are
    0 for a track shorter than a window.
    """

    tracks: pa.RecordBatch
    values: Float64Array
    names: Sequence[str]
    first_rows: Int64Array
    n_windows: Int64Array
    has_windows: bool

    def select(self, features: Sequence[str]) -> Float64Array:
        """Return the columns of some features."""
        return self.values[:, [self.names.index(name) for name in features]]

    def average(self, of_clips: Float64Array) -> Float64Array:
        """Return the means over the clips of each track, for rows of clips of shape (w, k)."""
        return np.add.reduceat(of_clips, self.first_rows, axis=0) / np.maximum(self.n_windows, 1)[:, None]

    def average_known(self, values: Float64Array) -> Float64Array:
        """Return the means over the clips of each track, for one value for each clip. NaN is ignored unless all are."""
        known = ~np.isnan(values)
        sums, counts = (
            np.add.reduceat(of, self.first_rows) for of in (np.where(known, values, 0), known.astype(float))
        )
        with np.errstate(invalid="ignore"):
            return np.asarray(sums / counts, dtype=np.float64)

    def list_windows(self, predicted: Float64Array) -> pa.ListArray:
        """Return for each track and each column of ``predicted`` the list of its values in the track's windows.

        For a track without windows, NULL takes the place of the list.
        """
        k = predicted.shape[1]
        offsets = np.concatenate([[0], np.cumsum(np.repeat(self.n_windows, k))])
        firsts = zip(self.first_rows, self.n_windows, strict=True)
        by_genre = [predicted[first : first + count].T.reshape(-1) for first, count in firsts]
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()),
            pa.array(np.concatenate(by_genre), pa.float32()),
            type=arrow_schema(GENRE_SCORES).field("window_probabilities").type,
            mask=pa.array(np.repeat(self.n_windows == 0, k)),
        )


def _read_clips(feature_set: FeatureSet, batch: pa.RecordBatch) -> _Clips:
    """Compute the features of a feature set from the rows of its table."""
    rows = batch.filter(pc.equal(batch.column("source"), feature_set.table.name))
    starts = _find_starts(rows)
    tracks = rows.select(["track_id", "sha256"]).take(pa.array(starts))
    values = _to_matrix(rows, feature_set.columns)
    if "window" not in feature_set.table.key:
        return _Clips(tracks, values, feature_set.features, starts, np.ones(len(starts), dtype=np.int64), False)
    is_whole = rows.column("window").to_numpy() == WHOLE_TRACK
    track = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    if TEMPO in feature_set.columns:
        tempo = np.full(len(starts), np.nan)
        tempo[track[is_whole]] = values[is_whole, feature_set.columns.index(TEMPO)]
        values[:, feature_set.columns.index(TEMPO)] = tempo[track]
    n_windows = np.bincount(track[~is_whole], minlength=len(starts))
    used = ~is_whole | (n_windows[track] == 0)
    first_rows = np.searchsorted(track[used], np.arange(len(starts)))
    lengths_s = rows.column("length_s").to_numpy()[used]
    clips = feature_set.pool_windows(values[used], lengths_s, first_rows)
    return _Clips(tracks, clips, feature_set.features, first_rows, n_windows, True)


def _measure_outside(model: GenreModel, clips: _Clips, batch: pa.RecordBatch) -> Float64Array:
    """Return for each track how far its clips lie outside the domain of the model, on average."""
    if model.domain is None:
        return np.full(len(clips.tracks), np.nan)
    domain_set = FEATURE_SETS[model.feature_set].domain_set
    if domain_set is FEATURE_SETS[model.feature_set]:
        return clips.average_known(model.domain.measure(clips.select(model.domain.features)))
    if pc.index(batch.column("source"), domain_set.table.name).as_py() < 0:
        return np.full(len(clips.tracks), np.nan)
    described = _read_clips(domain_set, batch)
    measured = described.average_known(model.domain.measure(described.select(model.domain.features)))
    found = dict(zip(described.tracks.column("track_id").to_pylist(), measured, strict=True))
    return np.array([found.get(track, np.nan) for track in clips.tracks.column("track_id").to_pylist()])


def pool_tracks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Compute the features of the set ``track_tags`` for whole tracks. Spark calls it through ``mapInArrow``.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``window`` and those of the tags; rows of windows, sorted by track and window.

    Yields
    ------
    pyarrow.RecordBatch
        Columns of ``POOLED_DDL``, one row for each track.
    """
    tags = FEATURE_SETS["track_tags"]
    for rows in _rebatch_by_track(batches):
        starts = _find_starts(rows)
        pooled = pool_tags(_to_matrix(rows, tags.columns), span=rows.num_rows, starts=starts)[starts]
        columns = {name: pooled[:, i].astype(np.float32) for i, name in enumerate(tags.features)}
        ids = rows.column("track_id").take(pa.array(starts))
        yield pa.RecordBatch.from_pydict({"track_id": ids, **columns}, schema=_POOLED)


def _rebatch_by_track(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Regroup the rows into batches of whole tracks. All but the last batch have at least ``MIN_BATCH_ROWS`` rows."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        ids = batch.column("track_id")
        cut = pc.index(ids, ids[-1]).as_py()  # first row of the last track: its remaining rows can be in the next batch
        ends = cut > 0 or (bool(pending) and pending[-1].column("track_id")[-1] != ids[0])
        if ends and sum(part.num_rows for part in pending) + cut >= MIN_BATCH_ROWS:
            yield pa.concat_batches([*pending, batch.slice(0, cut)])
            pending = [batch.slice(cut)]
        else:
            pending.append(batch)
    if pending:
        yield pa.concat_batches(pending)


def _find_starts(rows: pa.RecordBatch) -> Int64Array:
    """Return the index of the first row of each track."""
    ids = rows.column("track_id")
    changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _to_matrix(rows: pa.RecordBatch, columns: Sequence[str]) -> Float64Array:
    """Return the columns as a matrix (n, d), with NaN for NULL."""
    return np.column_stack([rows.column(name).to_numpy(zero_copy_only=False) for name in columns]).astype(np.float64)


def _to_scores(
    genres: Sequence[str],
    tracks: pa.RecordBatch,
    probabilities: Float64Array,
    windows: pa.ListArray | None,
    outside: Float64Array,
    abstains: BoolArray,
    model_id: str,
    run_id: str,
) -> pa.RecordBatch:
    """Return rows of ``genre_scores``, ordered as in ``tracks`` and, for each track, as in ``genres``."""
    n, k = probabilities.shape
    ranks = np.empty((n, k), dtype=np.int32)
    np.put_along_axis(ranks, np.argsort(-probabilities, axis=1, kind="stable"), np.arange(1, k + 1, dtype=np.int32), 1)
    of_track = pa.array(np.repeat(np.arange(n), k))
    columns = {
        "track_id": tracks.column("track_id").take(of_track),
        "model_id": pa.repeat(model_id, n * k),
        "genre": pa.array(genres).take(pa.array(np.tile(np.arange(k), n))),
        "probability": probabilities.reshape(-1),
        "rank": ranks.reshape(-1),
        "sha256": tracks.column("sha256").take(of_track),
        "run_id": pa.repeat(run_id, n * k),
        "outside": pa.array(np.repeat(outside, k), from_pandas=True),
        "abstains": np.repeat(abstains, k),
        **({} if windows is None else {"window_probabilities": windows}),
    }
    return to_batch(arrow_schema(GENRE_SCORES), columns)
