"""Synthetic dataset: composed tracks, their simulated analysis as MSD files, annotation files, and the ground truth.

`SamplePlan` describes a dataset. Each track can be composed alone, in any order and in any process. With the same
version of numpy, equal plans give equal bytes.
"""

from reprise.lib.music.compose.composition import Composition, Notes, compose
from reprise.lib.music.compose.genre_styles import DRUMS, GENRE_NAMES, GENRES, INSTRUMENTS, PARTS, Genre, Instrument
from reprise.lib.music.compose.plan import AnalysisErrors, Difficulty, SamplePlan, Track
from reprise.lib.music.sample.dataset_files import write_annotations, write_track
from reprise.lib.music.sample.dataset_listeners import Audience, Plays, Tastes
from reprise.lib.music.sample.ground_truth import truth, truth_columns
from reprise.lib.music.sample.metadata import song_id, track_id
from reprise.lib.music.sample.msd_columns import compute_msd_columns

__all__ = [
    "DRUMS",
    "GENRES",
    "GENRE_NAMES",
    "INSTRUMENTS",
    "PARTS",
    "AnalysisErrors",
    "Audience",
    "Composition",
    "Difficulty",
    "Genre",
    "Instrument",
    "Notes",
    "Plays",
    "SamplePlan",
    "Tastes",
    "Track",
    "compose",
    "compute_msd_columns",
    "song_id",
    "track_id",
    "truth",
    "truth_columns",
    "write_annotations",
    "write_track",
]
