"""Ground truth of the tracks: one flat row per track, computed without composing the track."""

from typing import Any

import numpy as np

from reprise.lib.arrays import BoolArray, Int64Array
from reprise.lib.music.compose.genre_styles import GENRE_NAMES, INSTRUMENTS, PARTS
from reprise.lib.music.compose.plan import SamplePlan
from reprise.lib.music.compose.random_draws import draw_uniform
from reprise.lib.music.compose.works import write_form
from reprise.lib.music.sample.metadata import make_ids

LABELLED = 0.85  # share of tracks with a genre annotation
MISMATCHED = 0.019  # share of tracks that the MSD matched to the wrong song
_INSTRUMENT_NAMES = list(INSTRUMENTS)
_STATES = ("normal", "short", "beatless")
_NUMBERS = (
    "index", "work", "version", "artist", "year", "key", "mode", "work_key", "work_mode", "transposition", "tempo_bpm",
    "tempo_ratio", "meter", "drumless", "melody_lost", "tuning_cents", "tempo_factor", "key_error", "mode_error",
    "reported_meter", "off_beat", "lost_share",
)  # fmt: skip


def is_labelled(plan: SamplePlan, index: Int64Array) -> BoolArray:
    """Return for each index whether the track has a genre annotation."""
    return draw_uniform(plan.seed, "labelled", index) < LABELLED


def is_mismatched(plan: SamplePlan, index: Int64Array) -> BoolArray:
    """Return for each index whether the track is in the list of mismatches. A plan with one track has no mismatch."""
    return (draw_uniform(plan.seed, "mismatched", index) < MISMATCHED) & (plan.n_tracks > 1)


def truth_columns(plan: SamplePlan, index: Int64Array) -> dict[str, list[Any]]:
    """Return the ground truth of the tracks with these indices as columns of equal length. See `truth`."""
    tracks = plan.tracks(index)
    columns: dict[str, list[Any]] = {
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
        columns[part] = [_INSTRUMENT_NAMES[i] for i in getattr(tracks, part).tolist()]
    for name in _NUMBERS:
        columns[name] = getattr(tracks, name).tolist()
    return columns


def truth(plan: SamplePlan, index: int) -> dict[str, Any]:
    """Return the ground truth of one track: a flat dict with values of type str, int, float, bool or None.

    - ``index``, ``track_id``, ``song_id``, ``artist_id``, ``artist`` (number of the artist), ``year``
    - ``genre``, ``second_genre``, ``work_genre``
    - ``clique``, ``version`` (0 is the original), ``work``
    - ``key``, ``mode``, ``tempo_bpm``, ``meter`` and ``tuning_cents`` as played
    - ``work_key`` and ``work_mode`` of the original
    - ``transposition`` (semitones up) and ``tempo_ratio``, both relative to the original
    - ``form``: letters, see `works.write_form`
    - ``melody_lost``: whether the lead improvises instead of playing the melody
    - ``drums``, ``bass``, ``harmony``, ``lead``: the instrument of each part
    - ``drumless``: whether the drums do not play
    - errors of the simulated analyser: ``tempo_factor`` (reported / true), ``key_error`` (semitones), ``mode_error``,
      ``reported_meter``, ``off_beat``, ``lost_share`` (share of the beats)
    - ``state``: normal, short or beatless
    - ``labelled``: whether the track has a genre annotation
    - ``mismatched``: whether the track is in the list of mismatches

    Raises
    ------
    IndexError
        The index is not in the plan.
    """
    if not 0 <= index < plan.n_tracks:
        raise IndexError(f"track {index} is not in the plan: it has {plan.n_tracks} tracks, counted from 0")
    return {name: values[0] for name, values in truth_columns(plan, np.array([index])).items()}
