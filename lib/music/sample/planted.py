"""What was planted: one flat row per track, known without composing it."""

from typing import Any

import numpy as np

from reprise.lib.arrays import BoolArray, Int64Array
from reprise.lib.music.compose.genre_styles import GENRE_NAMES, INSTRUMENTS, PARTS
from reprise.lib.music.compose.plan import Plan
from reprise.lib.music.compose.random_draws import uniform
from reprise.lib.music.compose.works import write_form
from reprise.lib.music.sample.metadata import make_ids

LABELLED = 0.85  # share of tracks with an expert genre label
MISMATCHED = 0.019  # share of tracks that the MSD matched to a wrong song
_INSTRUMENT_NAMES = list(INSTRUMENTS)
_STATES = ("normal", "short", "beatless")
_NUMBERS = (
    "index", "work", "version", "artist", "year", "key", "mode", "work_key", "work_mode", "transposition", "tempo_bpm",
    "tempo_ratio", "meter", "drumless", "melody_lost", "tuning_cents", "tempo_factor", "key_error", "mode_error",
    "reported_meter", "off_beat", "lost_share",
)  # fmt: skip


def is_labelled(plan: Plan, index: Int64Array) -> BoolArray:
    """Whether the genre annotations know a track."""
    return uniform(plan.seed, "labelled", index) < LABELLED


def is_mismatched(plan: Plan, index: Int64Array) -> BoolArray:
    """Whether the list of mismatches has a track; never the only track there is."""
    return (uniform(plan.seed, "mismatched", index) < MISMATCHED) & (plan.n_tracks > 1)


def truth_columns(plan: Plan, index: Int64Array) -> dict[str, list[Any]]:
    """Truth about the tracks of these indices as columns of equal length; `truth` says what they mean."""
    tracks = plan.tracks(index)
    named: dict[str, list[Any]] = {
        "track_id": make_ids(plan, "TR", index),
        "song_id": make_ids(plan, "SO", index),
        "artist_id": make_ids(plan, "AR", tracks.artist.astype(np.int64)),
        "genre": [GENRE_NAMES[g] for g in tracks.genre.tolist()],
        "second_genre": [GENRE_NAMES[g] if g >= 0 else None for g in tracks.second_genre.tolist()],
        "work_genre": [GENRE_NAMES[g] for g in tracks.work_genre.tolist()],
        "clique": [c if c >= 0 else None for c in tracks.clique.tolist()],
        "state": [_STATES[s] for s in tracks.state.tolist()],
        "form": [write_form(track, plan.difficulty) for track in tracks.rows()],
        "labelled": is_labelled(plan, index).tolist(),
        "mismatched": is_mismatched(plan, index).tolist(),
    }
    for part in PARTS:
        named[part] = [_INSTRUMENT_NAMES[i] for i in getattr(tracks, part).tolist()]
    for name in _NUMBERS:
        named[name] = getattr(tracks, name).tolist()
    return named


def truth(plan: Plan, index: int) -> dict[str, Any]:
    """Truth about one track: a flat row of str, int, float, bool and None.

    ``genre``, ``second_genre``, ``work_genre``; ``clique`` and ``version`` (0 is the original), ``work``; ``key``,
    ``mode``, ``tempo_bpm`` and ``meter`` as played; ``transposition`` (semitones up) and ``tempo_ratio`` against the
    original; ``form`` (letters, see `works.write_form`); ``melody_lost`` when the lead improvises; the instrument of
    each part. What the analyser gets wrong: ``tempo_factor`` (heard over true), ``key_error`` (semitones),
    ``mode_error``, ``reported_meter``, ``off_beat``, ``lost_share`` of the beats. ``state`` is normal, short or
    beatless. ``labelled`` and ``mismatched`` say which annotation files know the track.
    """
    if not 0 <= index < plan.n_tracks:
        raise IndexError(f"track {index} of a plan of {plan.n_tracks}")
    return {name: values[0] for name, values in truth_columns(plan, np.array([index])).items()}
