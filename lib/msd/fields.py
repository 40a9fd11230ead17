"""Every field of a Million Song Dataset file: where it stands, its type there, and what "missing" looks like."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

Kind = Literal["int", "float", "text", "floats", "matrix", "texts", "ints"]

MATRIX_WIDTH = 12
"""Columns of a matrix field: twelve pitch classes, twelve timbre coefficients."""

GROUPS = ("analysis", "metadata", "musicbrainz")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the format.

    Parameters
    ----------
    name
        Bare name, unique over the three groups.
    path
        Dataset that holds it: a ``songs`` table for a scalar, the array's own dataset otherwise.
    kind
        ``int``, ``float`` and ``text`` are one value a song; ``floats``, ``ints`` and ``texts`` an array of shape
        (n,) a song; ``matrix`` is (n, 12).
    dtype
        numpy type of one element as the real files store it.
    missing
        The stored integer that means "not known", where there is one. For ``float`` that is NaN, for ``text`` "".
    index
        For an array: the scalar field that holds the first row of each song in an aggregate file.
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
        """True for one value a song, False for an array a song."""
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

# the three term arrays share one index, as do the two tag arrays
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
"""Every field by its bare name: 53 scalars and 21 arrays."""

TABLES: Mapping[str, np.dtype[np.void]] = MappingProxyType(
    {f"/{group}/songs": np.dtype(list(_SCALARS[group].items())) for group in GROUPS}
)
"""Row type of each ``songs`` table as the real files store it: members in alphabetical order, packed."""

SEGMENTS = tuple(name for name in FIELDS if name.startswith("segments_"))
"""The seven arrays that describe the same segments and must agree in length."""
