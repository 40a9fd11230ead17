"""Contracts of all tables: name, grain, key, columns, comments and constraints. Spark is not needed to import them.

These are derived from the contracts: the tables and the merge conditions (``jobs/_engine/warehouse``), the Arrow
schemas (``udfs/arrow.py``), the uniqueness test and the README's table list. A breaking change needs a new table whose
name has the suffix ``_v2``.
"""

from collections.abc import Mapping

from reprise.lib.tables.chords import BEAT_CHORDS
from reprise.lib.tables.contract import Column, Table, Type
from reprise.lib.tables.covers import BEAT_CHROMA, CHROMA_PATCHES, COVER_MATCHES, COVER_VECTORS
from reprise.lib.tables.features import AUDIO_GENRE_FEATURES, GENRE_IMAGES, GTZAN_COLUMNS, MSD_GENRE_FEATURES
from reprise.lib.tables.genres import GENRE_SCORES
from reprise.lib.tables.libraries import (
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    LIBRARY_VERSION_PAIRS,
    LIBRARY_VERSIONS,
    UNMATCHED_PLAYS,
)
from reprise.lib.tables.operations import JOB_RUNS, MANIFEST, MODELS, QUARANTINE, row_uri
from reprise.lib.tables.sources import (
    COVER_CLIQUES,
    GENRE_LABELS,
    MSD_ANALYSIS,
    MSD_TRACKS,
    PLAYS,
    SONG_MISMATCHES,
    UNIQUE_TRACKS,
)
from reprise.lib.tables.stems import COVER_STEMS
from reprise.lib.tables.tags import TRACK_TAGS
from reprise.lib.tables.tastes import TASTE_PROFILES

TABLES: Mapping[str, Table] = {
    table.name: table
    for table in (
        MSD_TRACKS,
        MSD_ANALYSIS,
        LIBRARY_TRACKS,
        LIBRARY_ANALYSIS,
        LIBRARY_COPIES,
        GENRE_LABELS,
        COVER_CLIQUES,
        PLAYS,
        UNMATCHED_PLAYS,
        SONG_MISMATCHES,
        UNIQUE_TRACKS,
        AUDIO_GENRE_FEATURES,
        MSD_GENRE_FEATURES,
        GENRE_IMAGES,
        GENRE_SCORES,
        TRACK_TAGS,
        TASTE_PROFILES,
        BEAT_CHORDS,
        BEAT_CHROMA,
        CHROMA_PATCHES,
        COVER_VECTORS,
        COVER_MATCHES,
        COVER_STEMS,
        LIBRARY_VERSIONS,
        LIBRARY_VERSION_PAIRS,
        MODELS,
        MANIFEST,
        QUARANTINE,
        JOB_RUNS,
    )
}

__all__ = [
    "AUDIO_GENRE_FEATURES",
    "BEAT_CHORDS",
    "BEAT_CHROMA",
    "CHROMA_PATCHES",
    "COVER_CLIQUES",
    "COVER_MATCHES",
    "COVER_STEMS",
    "COVER_VECTORS",
    "GENRE_IMAGES",
    "GENRE_LABELS",
    "GENRE_SCORES",
    "GTZAN_COLUMNS",
    "JOB_RUNS",
    "LIBRARY_ANALYSIS",
    "LIBRARY_COPIES",
    "LIBRARY_TRACKS",
    "LIBRARY_VERSIONS",
    "LIBRARY_VERSION_PAIRS",
    "MANIFEST",
    "MODELS",
    "MSD_ANALYSIS",
    "MSD_GENRE_FEATURES",
    "MSD_TRACKS",
    "PLAYS",
    "QUARANTINE",
    "SONG_MISMATCHES",
    "TABLES",
    "TASTE_PROFILES",
    "TRACK_TAGS",
    "UNIQUE_TRACKS",
    "UNMATCHED_PLAYS",
    "Column",
    "Table",
    "Type",
    "row_uri",
]
