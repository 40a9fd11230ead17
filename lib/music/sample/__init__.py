"""A composed sample: songs written as notes, their analysis as MSD files, annotations, and the truth about them.

`Plan` says who plays what; any track of it can be composed alone, in any order and in any process, with the same bytes.
"""

from reprise.lib.music.compose.composition import Composition, Notes, compose
from reprise.lib.music.compose.genre_styles import DRUMS, GENRE_NAMES, GENRES, INSTRUMENTS, PARTS, Genre, Instrument
from reprise.lib.music.compose.plan import AnalysisErrors, Difficulty, Plan, Track
from reprise.lib.music.sample.files import write_annotations, write_track
from reprise.lib.music.sample.listeners import Audience, Plays, Tastes
from reprise.lib.music.sample.metadata import song_id, track_id
from reprise.lib.music.sample.msd_columns import analyse
from reprise.lib.music.sample.planted import truth, truth_columns

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
    "Plan",
    "Plays",
    "Tastes",
    "Track",
    "analyse",
    "compose",
    "song_id",
    "track_id",
    "truth",
    "truth_columns",
    "write_annotations",
    "write_track",
]
