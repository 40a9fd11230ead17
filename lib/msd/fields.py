"""Fields of a Million Song Dataset file: path, stored type, and the stored value that marks a missing value."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Kind = Literal["int", "float", "text", "floats", "matrix", "texts", "ints"]

MATRIX_WIDTH = 12
"""Number of columns of a matrix field: 12 pitch classes or 12 timbre coefficients."""

GROUPS = ("analysis", "metadata", "musicbrainz")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the file format.

    Parameters
    ----------
    name
        Name without the path. It is unique in the whole file.
    path
        Path of the dataset that contains the field: a ``songs`` table for a scalar, a separate dataset for an array.
    kind
        ``int``, ``float`` or ``text``: one value per song. ``floats``, ``ints`` or ``texts``: an array of shape
        (n,) per song. ``matrix``: an array of shape (n, 12) per song.
    dtype
        numpy dtype of one element in the real files.
    missing
        Integer that is stored for a missing value; None if the field has no such integer. A missing ``float`` is always
        stored as NaN, and a missing ``text`` as "".
    index
        For an array: name of the scalar field with the index of each song's first row in an aggregate file. None for a
        scalar.
    """

    name: str
    path: str
    kind: Kind
    dtype: str
    missing: int | None = None
    index: str | None = None

    @property
    def group(self) -> str:
        """Name of the group: ``analysis``, ``metadata`` or ``musicbrainz``."""
        return self.path.split("/")[1]

    @property
    def is_scalar(self) -> bool:
        """True for one value per song, False for an array per song."""
        return self.kind in {"int", "float", "text"}


_SCALARS = {
    "metadata": {
        "analyzer_version": "S32",
        "artist_7digitalid": "<i4",
        "artist_familiarity": "<f8",
        "artist_hotttnesss": "<f8",
        "artist_id": "S32",
        "artist_latitude": "<f8",
        "artist_location": "S1024",
        "artist_longitude": "<f8",
        "artist_mbid": "S40",
        "artist_name": "S1024",
        "artist_playmeid": "<i4",
        "genre": "S1024",
        "idx_artist_terms": "<i4",
        "idx_similar_artists": "<i4",
        "release": "S1024",
        "release_7digitalid": "<i4",
        "song_hotttnesss": "<f8",
        "song_id": "S32",
        "title": "S1024",
        "track_7digitalid": "<i4",
    },
    "analysis": {
        "analysis_sample_rate": "<i4",
        "audio_md5": "S32",
        "danceability": "<f8",
        "duration": "<f8",
        "end_of_fade_in": "<f8",
        "energy": "<f8",
        "idx_bars_confidence": "<i4",
        "idx_bars_start": "<i4",
        "idx_beats_confidence": "<i4",
        "idx_beats_start": "<i4",
        "idx_sections_confidence": "<i4",
        "idx_sections_start": "<i4",
        "idx_segments_confidence": "<i4",
        "idx_segments_loudness_max": "<i4",
        "idx_segments_loudness_max_time": "<i4",
        "idx_segments_loudness_start": "<i4",
        "idx_segments_pitches": "<i4",
        "idx_segments_start": "<i4",
        "idx_segments_timbre": "<i4",
        "idx_tatums_confidence": "<i4",
        "idx_tatums_start": "<i4",
        "key": "<i4",
        "key_confidence": "<f8",
        "loudness": "<f8",
        "mode": "<i4",
        "mode_confidence": "<f8",
        "start_of_fade_out": "<f8",
        "tempo": "<f8",
        "time_signature": "<i4",
        "time_signature_confidence": "<f8",
        "track_id": "S32",
    },
    "musicbrainz": {
        "idx_artist_mbtags": "<i4",
        "year": "<i4",
    },
}

_MISSING = {
    "artist_7digitalid": -1,
    "artist_playmeid": -1,
    "release_7digitalid": -1,
    "track_7digitalid": -1,
    "year": 0,
}

# the three term arrays share one index field, and the two tag arrays share another
_ARRAYS: dict[str, dict[str, tuple[Kind, str, str]]] = {
    "metadata": {
        "artist_terms": ("texts", "S256", "idx_artist_terms"),
        "artist_terms_freq": ("floats", "<f8", "idx_artist_terms"),
        "artist_terms_weight": ("floats", "<f8", "idx_artist_terms"),
        "similar_artists": ("texts", "S20", "idx_similar_artists"),
    },
    "analysis": {
        "bars_confidence": ("floats", "<f8", "idx_bars_confidence"),
        "bars_start": ("floats", "<f8", "idx_bars_start"),
        "beats_confidence": ("floats", "<f8", "idx_beats_confidence"),
        "beats_start": ("floats", "<f8", "idx_beats_start"),
        "sections_confidence": ("floats", "<f8", "idx_sections_confidence"),
        "sections_start": ("floats", "<f8", "idx_sections_start"),
        "segments_confidence": ("floats", "<f8", "idx_segments_confidence"),
        "segments_loudness_max": ("floats", "<f8", "idx_segments_loudness_max"),
        "segments_loudness_max_time": ("floats", "<f8", "idx_segments_loudness_max_time"),
        "segments_loudness_start": ("floats", "<f8", "idx_segments_loudness_start"),
        "segments_pitches": ("matrix", "<f8", "idx_segments_pitches"),
        "segments_start": ("floats", "<f8", "idx_segments_start"),
        "segments_timbre": ("matrix", "<f8", "idx_segments_timbre"),
        "tatums_confidence": ("floats", "<f8", "idx_tatums_confidence"),
        "tatums_start": ("floats", "<f8", "idx_tatums_start"),
    },
    "musicbrainz": {
        "artist_mbtags": ("texts", "S256", "idx_artist_mbtags"),
        "artist_mbtags_count": ("ints", "<i4", "idx_artist_mbtags"),
    },
}

_SCALAR_KINDS: dict[str, Kind] = {"S": "text", "i": "int", "f": "float"}


def _fields() -> dict[str, Field]:
    fields = {}
    for group in GROUPS:
        for name, dtype in _SCALARS[group].items():
            kind = _SCALAR_KINDS[np.dtype(dtype).kind]
            fields[name] = Field(name, f"/{group}/songs", kind, dtype, missing=_MISSING.get(name))
        for name, (kind, dtype, index) in _ARRAYS[group].items():
            fields[name] = Field(name, f"/{group}/{name}", kind, dtype, index=index)
    return fields


FIELDS: Mapping[str, Field] = MappingProxyType(_fields())
"""All fields by name: 53 scalars and 21 arrays."""

TABLES: Mapping[str, np.dtype[np.void]] = MappingProxyType(
    {f"/{group}/songs": np.dtype(list(_SCALARS[group].items())) for group in GROUPS}
)
"""Structured dtype of each ``songs`` table in the real files: fields in alphabetical order, without padding."""

SEGMENTS = tuple(name for name in FIELDS if name.startswith("segments_"))
"""Names of the seven arrays with one row per segment. They must have equal lengths."""
