"""Listeners of the synthetic dataset: their tastes and their play counts, which go to train_triplets.txt.gz."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float64Array, Int32Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.plan import SamplePlan
from reprise.lib.music.compose.random_draws import choose, draw_bits, draw_normal, draw_uniform

SONGS_PER_LISTENER = (24.0, 0.75, 10, 400)  # median, standard deviation of the log, minimum, maximum
TOP_SHARE, SECOND_SHARE = (0.5, 0.8), (0.1, 0.2)  # ranges of the shares of a listener's top genre and second genre
PLAY_COUNT_EXPONENT = 0.806  # 1 / tail exponent of the play counts; 58 % of the counts are 1, as in real triplets
_CHUNK = 8192
HIT_EXPONENT = 2.0  # larger values concentrate the plays on a genre's first songs


@dataclass(frozen=True)
class Tastes:
    """Tastes of n listeners as columns of length n. Genres are indices in GENRES."""

    user_id: list[str]
    top_genre: Int64Array
    top_share: Float64Array
    second_genre: Int64Array
    second_share: Float64Array


@dataclass(frozen=True)
class Plays:
    """Plays as arrays of shape (m,), one row for each pair of a listener and a song.

    ``listener`` is the index of the listener in the chunk. ``track`` is the index of the track in the plan.
    """

    listener: Int64Array
    track: Int64Array
    count: Int64Array


class Audience:
    """All listeners of a plan. An instance keeps four bytes per track in memory. Callers draw listeners in chunks.

    Parameters
    ----------
    plan
        The synthetic dataset. The genres of its tracks are computed once.
    """

    def __init__(self, plan: SamplePlan) -> None:
        self.plan = plan
        starts = range(0, plan.n_tracks, _CHUNK)
        chunks = [plan.tracks(np.arange(i, min(i + _CHUNK, plan.n_tracks))).genre.astype(np.int8) for i in starts]
        genre = np.concatenate([np.zeros(0, np.int8), *chunks])
        self._order: Int32Array = np.argsort(genre, kind="stable").astype(np.int32)
        counts = np.bincount(genre, minlength=len(GENRES))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        shares = np.array([genre.share for genre in GENRES]) * (counts > 0)
        self._cumulative = np.cumsum(shares / max(shares.sum(), 1e-9))

    def draw_listeners(self, start: int, stop: int) -> tuple[Tastes, Plays]:
        """Draw the tastes and plays of the listeners from ``start`` to ``stop - 1``.

        ``Plays.listener`` counts from 0 for the listener ``start``.
        """
        plan = self.plan
        listeners = np.arange(start, stop)
        top = choose(self._cumulative, draw_uniform(plan.seed, "top genre", listeners))
        second = choose(self._cumulative, draw_uniform(plan.seed, "second taste", listeners))
        top_share = TOP_SHARE[0] + (TOP_SHARE[1] - TOP_SHARE[0]) * draw_uniform(plan.seed, "top share", listeners)
        second_share = SECOND_SHARE[0] + (SECOND_SHARE[1] - SECOND_SHARE[0]) * draw_uniform(
            plan.seed, "second share", listeners
        )
        tastes = Tastes(_make_user_ids(plan, listeners), top, top_share, second, second_share)

        median, spread, minimum, maximum = SONGS_PER_LISTENER
        wanted = median * np.exp(spread * draw_normal(plan.seed, "songs", listeners))
        n_songs = np.clip(wanted, minimum, maximum).astype(np.int64)
        listener = np.repeat(np.arange(len(listeners)), n_songs)
        song_number = np.arange(len(listener)) - np.repeat(np.cumsum(n_songs) - n_songs, n_songs)
        event = listeners[listener] * maximum + song_number  # a counter that differs for each song of each listener
        taste_draw = draw_uniform(plan.seed, "mood", event)
        genre = choose(self._cumulative, draw_uniform(plan.seed, "other genre", event))
        genre = np.where(taste_draw < top_share[listener] + second_share[listener], second[listener], genre)
        genre = np.where(taste_draw < top_share[listener], top[listener], genre)
        size = self._starts[genre + 1] - self._starts[genre]
        rank = (size * draw_uniform(plan.seed, "song", event) ** HIT_EXPONENT).astype(np.int64)
        track = self._order[self._starts[genre] + rank].astype(np.int64)
        _, kept = np.unique(listener * plan.n_tracks + track, return_index=True)
        count = np.minimum(draw_uniform(plan.seed, "plays", event[kept]) ** -PLAY_COUNT_EXPONENT, 500).astype(np.int64)
        return tastes, Plays(listener[kept], track[kept], count)


def _make_user_ids(plan: SamplePlan, listeners: Int64Array) -> list[str]:
    """Return a user id of 40 hexadecimal digits for each listener."""
    parts = [draw_bits(plan.seed, f"user {part}", listeners) for part in range(3)]
    text = np.column_stack(parts).astype(">u8").view(np.uint8).reshape(len(listeners), 24)[:, :20].tobytes().hex()
    return [text[i : i + 40] for i in range(0, len(text), 40)]
