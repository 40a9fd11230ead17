"""A composed sample: songs written as notes, their analysis as MSD files, annotations, and the truth about them.

`Plan` says who plays what; any track of it can be composed alone, in any order and in any process, with the same bytes.
"""

from reprise.lib.sample.analysis import analyse
from reprise.lib.sample.composition import Composition, Notes, compose
from reprise.lib.sample.files import write_annotations, write_track
from reprise.lib.sample.genres import DRUMS, GENRE_NAMES, GENRES, INSTRUMENTS, PARTS, Genre, Instrument
from reprise.lib.sample.listeners import Audience, Plays, Tastes
from reprise.lib.sample.metadata import song_id, track_id
from reprise.lib.sample.plan import AnalysisErrors, Difficulty, Plan, Track
from reprise.lib.sample.planted import truth, truth_columns

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
