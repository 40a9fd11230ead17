"""Compute genre probabilities of tracks from batches of features."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reprise.lib.arrays import Float64Array, Int64Array
from reprise.lib.errors import InputError
from reprise.lib.genres.default_model import DEFAULT_SHA256, load_default
from reprise.lib.genres.feature_sets import FEATURE_SETS, TEMPO, WHOLE_TRACK, pool
from reprise.lib.genres.models import GenreModel, load
from reprise.lib.tables import AUDIO_GENRE_FEATURES, GENRE_SCORES
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.model_cache import cached_model, load_artifact

MIN_BATCH_ROWS = 16_384
"""Minimum number of rows in a call of a model, except the last. Even a call with few rows takes some milliseconds."""

_WINDOW_COLUMNS = ("window", "length_s")


def load_genre_model(artifact: str | None, sha256: str) -> GenreModel:
    """Return a trained genre model or the package's default model, from the cache of this process if possible.

    Parameters
    ----------
    artifact
        URI of the model's file; None for the default model.
    sha256
        Checksum of the file, or of the default model.

    Raises
    ------
    InputError
        ``checksum``: the file is missing or has changed since the training, or this worker's default model differs from
        the driver's. ``not_a_model``: the file is not a genre model, or the model needs features that this version of
        reprise does not have.
    """
    if artifact is None and sha256 != DEFAULT_SHA256:
        raise InputError(
            "checksum",
            "the default model of this worker differs from the driver's: install the same version of reprise on both",
        )
    model = cached_model(sha256, load_default) if artifact is None else load_artifact(artifact, sha256, load)
    feature_set = FEATURE_SETS.get(model.feature_set)
    if feature_set is None or not set(model.features) <= set(feature_set.columns):
        raise InputError(
            "not_a_model",
            f"it needs features that this version of reprise does not have ({model.feature_set}): train it again",
        )
    return model


def input_columns(model: GenreModel) -> list[str]:
    """Return the names of the columns that the batches for `score_tracks` must have, in this order."""
    feature_set = FEATURE_SETS[model.feature_set]
    windows = _WINDOW_COLUMNS if feature_set.table is AUDIO_GENRE_FEATURES else ()
    return ["track_id", "sha256", *windows, *feature_set.columns]


def score_tracks(
    batches: Iterable[pa.RecordBatch], *, artifact: str | None, artifact_sha256: str, model_id: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Predict the genre probabilities of tracks.

    For audio, the model predicts each 3 s window, and the probability of a track is the mean over its windows. A model
    trained on whole tracks gets features pooled over the 30 s around each window. Audio shorter than one window is
    predicted as a whole.

    Parameters
    ----------
    batches
        Columns of `input_columns`, sorted by track and, for audio, by window. The rows of one track may be in several
        batches.
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
    is_audio = FEATURE_SETS[model.feature_set].table is AUDIO_GENRE_FEATURES
    for rows in _rebatch_by_track(batches):
        starts = _find_starts(rows)
        tracks = rows.select(["track_id", "sha256"]).take(pa.array(starts))
        if is_audio:
            probabilities, windows = _score_windows(model, rows, starts)
        else:
            probabilities, windows = model.predict(_to_matrix(rows, model.features)), None
        yield GENRE_SCORES.name, _to_scores(model.genres, tracks, probabilities, windows, model_id, run_id)


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


def _score_windows(model: GenreModel, rows: pa.RecordBatch, starts: Int64Array) -> tuple[Float64Array, pa.ListArray]:
    """Predict the tracks that start at the rows ``starts``.

    Returns
    -------
    tuple of numpy.ndarray and pyarrow.ListArray
        First: genre probabilities of the tracks, shape (tracks, k). Second: one list for each track and genre,
        ordered by track and then by genre. A list contains the genre's probabilities in the track's windows. For a
        track without windows, NULL takes the place of the list.
    """
    feature_set = FEATURE_SETS[model.feature_set]
    values = _to_matrix(rows, feature_set.columns)
    is_whole = rows.column("window").to_numpy() == WHOLE_TRACK
    sizes = np.diff(starts, append=len(values))
    track = np.repeat(np.arange(len(starts)), sizes)
    tempo = np.full(len(starts), np.nan)
    tempo[track[is_whole]] = values[is_whole, feature_set.columns.index(TEMPO)]
    values[:, feature_set.columns.index(TEMPO)] = tempo[track]
    n_windows = np.bincount(track[~is_whole], minlength=len(starts))
    used = ~is_whole | (n_windows[track] == 0)
    values, track = values[used], track[used]
    first_rows = np.searchsorted(track, np.arange(len(starts)))
    if not feature_set.by_window:
        values = pool(values, rows.column("length_s").to_numpy()[used], feature_set.columns, starts=first_rows)
    predicted = model.predict(values[:, [feature_set.columns.index(name) for name in model.features]])
    probabilities = np.add.reduceat(predicted, first_rows, axis=0) / np.maximum(n_windows, 1)[:, None]
    k = len(model.genres)
    offsets = np.concatenate([[0], np.cumsum(np.repeat(n_windows, k))])
    by_genre = [predicted[a : a + count].T.reshape(-1) for a, count in zip(first_rows, n_windows, strict=True)]
    windows = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(np.concatenate(by_genre), pa.float32()),
        type=arrow_schema(GENRE_SCORES).field("window_probabilities").type,
        mask=pa.array(np.repeat(n_windows == 0, k)),
    )
    return probabilities, windows


def _to_scores(
    genres: Sequence[str],
    tracks: pa.RecordBatch,
    probabilities: Float64Array,
    windows: pa.ListArray | None,
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
        **({} if windows is None else {"window_probabilities": windows}),
    }
    return to_batch(arrow_schema(GENRE_SCORES), columns)
