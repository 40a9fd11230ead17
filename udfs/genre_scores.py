"""Features of tracks, a batch at a time, into probabilities of genres."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

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
from reprise.udfs.model_cache import load_artifact

ROWS_AT_ONCE = 16_384
"""Rows that a model is given at a time, at least: a call costs some milliseconds however few they are."""

_PLACES = ("window", "length_s")


def load_genre_model(artifact: str | None, sha256: str) -> GenreModel:
    """A genre model by its file, or the package's own, loaded once a process.

    Parameters
    ----------
    artifact
        Where its file is; None for the package's own.

    Raises
    ------
    InputError
        The file is not the one that was trained, or it reads features that there are not.
    """
    if artifact is None and sha256 != DEFAULT_SHA256:
        raise InputError("checksum", "the default model here is another one than on the driver: install one version")
    model = _load_own() if artifact is None else load_artifact(artifact, sha256, load)
    known = FEATURE_SETS.get(model.feature_set)
    if known is None or not set(model.features) <= set(known.columns):
        raise InputError("not_a_model", f"it reads features that this version has not ({model.feature_set})")
    return model


@lru_cache(maxsize=1)
def _load_own() -> GenreModel:
    return load_default()


def columns_of(model: GenreModel) -> list[str]:
    """Columns that `score_tracks` wants for a model, by its feature set."""
    known = FEATURE_SETS[model.feature_set]
    return ["track_id", "sha256", *(_PLACES if known.table is AUDIO_GENRE_FEATURES else ()), *known.columns]


def score_tracks(
    batches: Iterable[pa.RecordBatch], *, artifact: str | None, artifact_sha256: str, model_id: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Ask a model for the genres of tracks.

    A model of whole tracks of audio is asked about the 30 s around each window; a track's probability is the mean over
    its windows. Audio that is too short for a window is asked about as a whole.

    Parameters
    ----------
    batches
        Columns as `columns_of` names them, in the order of the track and, of audio, of the window. Rows of a track may
        stand in several batches.
    artifact, artifact_sha256
        As `load_genre_model`.
    model_id, run_id
        For the key and the provenance.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        ``genre_scores`` and rows of it: a row a genre of each track, tracks in their order, genres in the model's.
    """
    model = load_genre_model(artifact, artifact_sha256)
    is_audio = FEATURE_SETS[model.feature_set].table is AUDIO_GENRE_FEATURES
    for rows in _gather_tracks(batches):
        starts = _find_starts(rows)
        tracks = rows.select(["track_id", "sha256"]).take(pa.array(starts))
        if is_audio:
            probabilities, windows = _score_windows(model, rows, starts)
        else:
            probabilities, windows = model.predict(_to_matrix(rows, model.features)), None
        yield GENRE_SCORES.name, _to_scores(model.genres, tracks, probabilities, windows, model_id, run_id)


def _gather_tracks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about ``ROWS_AT_ONCE`` that end where a track ends."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        if not batch.num_rows:
            continue
        ids = batch.column("track_id")
        cut = pc.index(ids, ids[-1]).as_py()  # where the track begins that may go on in the next batch
        ends = cut > 0 or (bool(held) and held[-1].column("track_id")[-1] != ids[0])
        if ends and sum(part.num_rows for part in held) + cut >= ROWS_AT_ONCE:
            yield pa.concat_batches([*held, batch.slice(0, cut)])
            held = [batch.slice(cut)]
        else:
            held.append(batch)
    if held:
        yield pa.concat_batches(held)


def _find_starts(rows: pa.RecordBatch) -> Int64Array:
    """Rows at which the tracks begin."""
    ids = rows.column("track_id")
    changes = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _to_matrix(rows: pa.RecordBatch, columns: Sequence[str]) -> Float64Array:
    """Columns as (n, d); NULL is NaN."""
    return np.column_stack([rows.column(name).to_numpy(zero_copy_only=False) for name in columns]).astype(np.float64)


def _score_windows(model: GenreModel, rows: pa.RecordBatch, starts: Int64Array) -> tuple[Float64Array, pa.ListArray]:
    """Probabilities (tracks, k) of the tracks that begin at ``starts``, and by track and genre those of its windows."""
    known = FEATURE_SETS[model.feature_set]
    values = _to_matrix(rows, known.columns)
    whole = rows.column("window").to_numpy() == WHOLE_TRACK
    sizes = np.diff(starts, append=len(values))
    track = np.repeat(np.arange(len(starts)), sizes)
    tempo = np.full(len(starts), np.nan)
    tempo[track[whole]] = values[whole, known.columns.index(TEMPO)]
    values[:, known.columns.index(TEMPO)] = tempo[track]
    counts = np.bincount(track[~whole], minlength=len(starts))
    asked = ~whole | (counts[track] == 0)
    values, track = values[asked], track[asked]
    begin = np.searchsorted(track, np.arange(len(starts)))
    if not known.by_window:
        values = pool(values, rows.column("length_s").to_numpy()[asked], known.columns, starts=begin)
    found = model.predict(values[:, [known.columns.index(name) for name in model.features]])
    of_tracks = np.add.reduceat(found, begin, axis=0) / np.maximum(counts, 1)[:, None]
    k = len(model.genres)
    offsets = np.concatenate([[0], np.cumsum(np.repeat(counts, k))])
    courses = [found[a : a + count].T.reshape(-1) for a, count in zip(begin, counts, strict=True)]
    windows = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        pa.array(np.concatenate(courses), pa.float32()),
        type=arrow_schema(GENRE_SCORES).field("window_probabilities").type,
        mask=pa.array(np.repeat(counts == 0, k)),
    )
    return of_tracks, windows


def _to_scores(
    genres: Sequence[str],
    tracks: pa.RecordBatch,
    probabilities: Float64Array,
    windows: pa.ListArray | None,
    model_id: str,
    run_id: str,
) -> pa.RecordBatch:
    """Rows of ``genre_scores``, those of a track one after the other in the order of ``genres``."""
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
