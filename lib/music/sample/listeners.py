"""Listeners with known tastes, and what they play."""

from dataclasses import dataclass

import numpy as np

from reprise.lib.arrays import Float64Array, Int32Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.plan import Plan
from reprise.lib.music.compose.random_draws import choose, normal, scramble, uniform

SONGS = (24.0, 0.75, 10, 400)  # songs a listener plays: median, spread of the logarithm, least, most
TOP_SHARE, SECOND_SHARE = (0.5, 0.8), (0.1, 0.2)  # of a listener's songs, before repeats
REPEATS = 0.806  # exponent of the play counts' tail: 58 % are played once, as in real triplets
_CHUNK = 8192
HIT_EXPONENT = 2.0  # how much more a genre's first songs are played than its last


@dataclass(frozen=True)
class Tastes:
    """What some listeners like: arrays of shape (n,); genres are positions in GENRES."""

    user_id: list[str]
    top_genre: Int64Array
    top_share: Float64Array
    second_genre: Int64Array
    second_share: Float64Array


@dataclass(frozen=True)
class Plays:
    """Who played what: arrays of shape (m,). ``listener`` counts from the first of the chunk, ``track`` is an index."""

    listener: Int64Array
    track: Int64Array
    count: Int64Array


class Audience:
    """All listeners of a plan. Holds four bytes a track of the sample; listeners are made in chunks.

    Parameters
    ----------
    plan
        The sample; its tracks' genres are looked up once.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        starts = range(0, plan.n_tracks, _CHUNK)
        chunks = [plan.tracks(np.arange(i, min(i + _CHUNK, plan.n_tracks))).genre.astype(np.int8) for i in starts]
        genre = np.concatenate([np.zeros(0, np.int8), *chunks])
        self._order: Int32Array = np.argsort(genre, kind="stable").astype(np.int32)
        counts = np.bincount(genre, minlength=len(GENRES))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        shares = np.array([genre.share for genre in GENRES]) * (counts > 0)
        self._cumulative = np.cumsum(shares / max(shares.sum(), 1e-9))

    def listen(self, start: int, stop: int) -> tuple[Tastes, Plays]:
        """Tastes and plays of the listeners start..stop-1, one row for every listener and song."""
        plan = self.plan
        number = np.arange(start, stop)
        top = choose(self._cumulative, uniform(plan.seed, "top genre", number))
        second = choose(self._cumulative, uniform(plan.seed, "second taste", number))
        top_share = TOP_SHARE[0] + (TOP_SHARE[1] - TOP_SHARE[0]) * uniform(plan.seed, "top share", number)
        second_share = SECOND_SHARE[0] + (SECOND_SHARE[1] - SECOND_SHARE[0]) * uniform(
            plan.seed, "second share", number
        )
        tastes = Tastes(_user_ids(plan, number), top, top_share, second, second_share)

        median, spread, least, most = SONGS
        wanted = np.clip(median * np.exp(spread * normal(plan.seed, "songs", number)), least, most).astype(np.int64)
        row = np.repeat(np.arange(len(number)), wanted)
        event = number[row] * most + np.arange(len(row)) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        mood = uniform(plan.seed, "mood", event)
        genre = choose(self._cumulative, uniform(plan.seed, "other genre", event))
        genre = np.where(mood < top_share[row] + second_share[row], second[row], genre)
        genre = np.where(mood < top_share[row], top[row], genre)
        size = self._starts[genre + 1] - self._starts[genre]
        place = (size * uniform(plan.seed, "song", event) ** HIT_EXPONENT).astype(np.int64)
        track = self._order[self._starts[genre] + place].astype(np.int64)
        _, kept = np.unique(row * plan.n_tracks + track, return_index=True)
        count = np.minimum(uniform(plan.seed, "plays", event[kept]) ** -REPEATS, 500).astype(np.int64)
        return tastes, Plays(row[kept], track[kept], count)


def _user_ids(plan: Plan, number: Int64Array) -> list[str]:
    """40 hex digits for each listener."""
    parts = [scramble(plan.seed, f"user {part}", number) for part in range(3)]
    text = np.column_stack(parts).astype(">u8").view(np.uint8).reshape(len(number), 24)[:, :20].tobytes().hex()
    return [text[i : i + 40] for i in range(0, len(text), 40)]
