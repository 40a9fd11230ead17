"""How well four fifths of a listener's songs predict the genre, tempo and artist of the others.

Each is compared with the songs of all listeners together, towards whose shares those of the listener are shrunk, as in
the view ``taste_evidence``. The listeners are composed, of seeds that nothing else uses. Of the real triplets beside
the project, 10 of 14,438 are of a real file, each of another listener: nothing can be held out there.
"""

import zlib

import numpy as np
from measuring import Row

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.music.compose.plan import SamplePlan
from reprise.lib.music.sample.dataset_listeners import Audience, Plays
from reprise.lib.music.sample.metadata import song_id
from reprise.lib.tables.taste_formulas import HALF_CONFIDENCE_WEIGHT

SEEDS = (901, 902, 903)
N_TRACKS, N_LISTENERS, MIN_SONGS = 3_000, 600, 20
_FIFTHS = 5


def measure_prediction() -> list[Row]:
    """Bits a held-out song, and the share of listeners who are predicted better than by all listeners' songs."""
    gains: dict[str, list[Float64Array]] = {}
    for seed in SEEDS:
        plan = SamplePlan(N_TRACKS, seed, n_listeners=N_LISTENERS)
        _, plays = Audience(plan).draw_listeners(0, N_LISTENERS)
        index = np.arange(N_TRACKS)
        tracks = plan.tracks(index)
        is_held_out = np.array([zlib.crc32(song_id(plan, int(i)).encode()) % _FIFTHS == 0 for i in index])
        eighths = np.round(8 * np.log2(tracks.tempo_bpm / 60)).astype(np.int64)
        for name, value in (
            ("genre", tracks.genre),
            ("tempo, eighth of an octave", eighths),
            ("artist", tracks.artist),
        ):
            gains.setdefault(name, []).append(measure_gain(plays, tracks.genre, value, is_held_out))
    rows: list[Row] = []
    for name, of_seeds in gains.items():
        gain = np.concatenate(of_seeds)
        rows.append(
            {
                "what": name,
                "listeners": len(gain),
                "bits better than the prior": float(gain.mean()),
                "share of listeners better": float((gain > 0).mean()),
                "goal": "0.90" if name == "genre" else "",
            }
        )
    return rows


def measure_gain(plays: Plays, genre: Int64Array, value: Int64Array, is_held_out: BoolArray) -> Float64Array:
    """Bits by which the log-loss of each listener's held-out songs is lower than the prior's.

    ``value`` is the artist, say, of each track. A profile knows the genres of a listener, and within a genre it expects
    what all listeners hear. Listeners with fewer than 20 songs are left out.
    """
    codes = np.unique(value, return_inverse=True)[1]
    held_out, weight = is_held_out[plays.track], np.log2(1 + plays.count)
    n_genres, n_values = int(genre.max()) + 1, int(codes.max()) + 1

    kept = np.zeros((N_LISTENERS, n_genres))
    np.add.at(kept, (plays.listener[~held_out], genre[plays.track[~held_out]]), weight[~held_out])
    prior = kept.sum(axis=0) / kept.sum()
    own = (kept + HALF_CONFIDENCE_WEIGHT * prior) / (kept.sum(axis=1, keepdims=True) + HALF_CONFIDENCE_WEIGHT)

    # one hundredth of a song of each value, so that a value that nobody kept is possible
    within = np.full((n_genres, n_values), 0.01)
    np.add.at(within, (genre[plays.track[~held_out]], codes[plays.track[~held_out]]), weight[~held_out])
    within /= within.sum(axis=1, keepdims=True)

    listener, heard = plays.listener[held_out], codes[plays.track[held_out]]
    gains = np.log2((own[listener] * within.T[heard]).sum(axis=1) / (prior * within.T[heard]).sum(axis=1))
    tested = np.bincount(listener, minlength=N_LISTENERS)
    used = (np.bincount(plays.listener, minlength=N_LISTENERS) >= MIN_SONGS) & (tested > 0)
    means: Float64Array = np.bincount(listener, gains, N_LISTENERS)[used] / tested[used]
    return means
