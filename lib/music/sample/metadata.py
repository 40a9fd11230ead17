"""Synthetic metadata of an MSD file: ids, names, places and tags, which do not depend on the music."""

from functools import lru_cache
from typing import Any

import numpy as np

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.plan import BLOCK, MAX_TRACKS, SamplePlan, Track, make_layout
from reprise.lib.music.compose.random_draws import draw_bits, draw_uniform, make_generator
from reprise.lib.music.sample.words import (
    ADJECTIVES,
    FIRST_NAMES,
    GENERAL_TAGS,
    GROUP_NOUNS,
    LAST_NAMES,
    NOUNS,
    PLACES,
    VERBS,
    VERSION_MARKS,
)

# shares of missing or zero values, counted on real files
NO_MBID, NO_LOCATION, NO_COORDINATES, NO_PLAYME_ID = 0.06, 0.29, 0.6, 0.27
NO_SONG_HOTTTNESSS, ZERO_SONG_HOTTTNESSS, NO_YEAR, NO_MBTAGS = 0.46, 0.065, 0.5, 0.45
SIMILAR_ARTISTS = 100

_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_HEX = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
# characters that follow the five letters in real ids; a repeated character is more frequent
_ID_MIDDLES = {
    "TR": (b"128F42", b"128F93", b"128F14", b"128F92", b"128F42", b"128E07", b"128C71", b"12903C"),
    "SO": (b"12A8C1", b"12AB01", b"12A6D4", b"12A58A", b"12AB01", b"12AF72", b"12A8AE", b"12AC46"),
    "AR": (b"1187B9", b"1187FB", b"1187B9", b"119B86", b"1187B9", b"124207", b"11C8A4", b"1187FB"),
}
_ID_MIDDLE_BYTES = {prefix: np.array([list(m) for m in middles], np.uint8) for prefix, middles in _ID_MIDDLES.items()}
_STRIDE = 7_343_597  # coprime to 26, so numbers below 26⁵ get different letters


def make_ids(plan: SamplePlan, prefix: str, numbers: Int64Array) -> list[str]:
    """Return ids in the MSD's format: ``TR``, ``SO`` or ``AR``, and 16 characters.

    Different numbers below 26⁵ give different ids.
    """
    offset = int(draw_bits(plan.seed, "id " + prefix, np.zeros(1, dtype=np.int64))[0]) % MAX_TRACKS
    code = (numbers * _STRIDE + offset) % MAX_TRACKS
    bits = draw_bits(plan.seed, "id tail " + prefix, numbers)
    text = np.empty((len(numbers), 18), dtype=np.uint8)
    text[:, :2] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    text[:, 2:7] = _LETTERS[code[:, None] // 26 ** np.arange(4, -1, -1) % 26]
    text[:, 7:13] = _ID_MIDDLE_BYTES[prefix][(bits >> np.uint64(40)) % np.uint64(8)]
    text[:, 13:] = _HEX[(bits[:, None] >> np.arange(0, 20, 4, dtype=np.uint64)) & np.uint64(15)]
    joined = text.tobytes().decode("ascii")
    return [joined[i : i + 18] for i in range(0, len(joined), 18)]


@lru_cache(maxsize=8)
def _make_id_block(plan: SamplePlan, prefix: str, block: int) -> list[str]:
    return make_ids(plan, prefix, np.arange(block * BLOCK, min((block + 1) * BLOCK, MAX_TRACKS)))


def track_id(plan: SamplePlan, index: int) -> str:
    """Return the id of a track. The track is not composed."""
    return _make_id_block(plan, "TR", index // BLOCK)[index % BLOCK]


def song_id(plan: SamplePlan, index: int) -> str:
    """Return the id of a track's song. In the synthetic dataset, each track has a different song."""
    return _make_id_block(plan, "SO", index // BLOCK)[index % BLOCK]


def _pick(words: tuple[str, ...], bits: int, shift: int) -> str:
    return words[(bits >> shift & 0xFFF) % len(words)]


def name_artists(plan: SamplePlan, artists: Int64Array) -> list[str]:
    """Return a name for each artist number."""
    return [_name_artist(bits) for bits in draw_bits(plan.seed, "artist name", artists).tolist()]


def _name_artist(bits: int) -> str:
    pattern = bits & 7
    first, last = _pick(FIRST_NAMES, bits, 3), _pick(LAST_NAMES, bits, 15)
    group, adjective = _pick(GROUP_NOUNS, bits, 27), _pick(ADJECTIVES, bits, 39)
    if pattern < 4:
        return f"{first} {last}"
    if pattern == 4:
        return f"{first} {last} & The {group}"
    return f"The {adjective} {group}" if pattern < 7 else f"{adjective} {_pick(NOUNS, bits, 51)}"


def title_tracks(plan: SamplePlan, works: Int64Array, indices: Int64Array) -> list[str]:
    """Return a title for each track: the title of its work, in many cases with a version mark like " (Live)"."""
    marks = draw_bits(plan.seed, "version mark", indices).tolist()
    return [name + _pick(VERSION_MARKS, mark, 0) for name, mark in zip(title_works(plan, works), marks, strict=True)]


def title_works(plan: SamplePlan, works: Int64Array) -> list[str]:
    """Return a title for each work."""
    return [_name_work(bits) for bits in draw_bits(plan.seed, "title", works).tolist()]


def _name_work(bits: int) -> str:
    pattern = bits & 7
    adjective, noun = _pick(ADJECTIVES, bits, 3), _pick(NOUNS, bits, 15)
    other, verb = _pick(NOUNS, bits, 27), _pick(VERBS, bits, 39)
    if pattern < 2:
        return f"{adjective} {noun}"
    if pattern == 2:
        return f"{noun} Of The {other}"
    if pattern == 3:
        return f"{verb} My {noun}"
    if pattern == 4:
        return f"{verb} The {adjective} {noun}"
    if pattern == 5:
        return f"{noun} And {other}"
    return f"Don't {verb} {noun}" if pattern == 6 else f"{other} ({verb} Me {adjective})"


@lru_cache(maxsize=512)
def _draw_artist(plan: SamplePlan, artist: int) -> dict[str, Any]:
    rng = make_generator(plan.seed, "artist", artist)
    starts = make_layout(plan).artist_starts
    genre_index = int(np.searchsorted(starts, artist, side="right")) - 1
    n_artists, n_all_artists = int(starts[genre_index + 1] - starts[genre_index]), int(starts[-1])
    # similar artists are the next artists of the genre, then artists without tracks in the plan
    distance = np.arange(1, SIMILAR_ARTISTS + 1)
    similar = np.where(
        distance < n_artists,
        starts[genre_index] + (artist - starts[genre_index] + distance) % n_artists,
        n_all_artists + 1000 * genre_index + distance,
    )
    ids = make_ids(plan, "AR", np.concatenate([[artist], similar]))
    draws = rng.random(9)
    place, latitude, longitude = PLACES[int(draws[0] ** 2 * len(PLACES))]
    familiarity = float(np.clip(0.65 + 0.14 * rng.standard_normal(), 0.0, 1.0))
    terms, freq, weight = _draw_terms(rng, genre_index)
    tags = (
        []
        if draws[1] < NO_MBTAGS
        else [terms[i] for i in rng.permutation(min(len(terms), 20))[: 1 + int(rng.geometric(0.25))]]
    )
    return {
        "artist_id": ids[0],
        "artist_name": name_artists(plan, np.array([artist]))[0],
        "artist_mbid": None if draws[2] < NO_MBID else _format_uuid(rng.bytes(16).hex()),
        "artist_location": None if draws[3] < NO_LOCATION else place,
        "artist_latitude": None if draws[4] < NO_COORDINATES else latitude,
        "artist_longitude": None if draws[4] < NO_COORDINATES else longitude,
        "artist_familiarity": familiarity,
        "artist_hotttnesss": max(0.0, 0.68 * familiarity + 0.03 + 0.09 * float(rng.standard_normal())),
        "artist_7digitalid": int(500_000 * draws[5] ** 4.5) + 30,
        "artist_playmeid": None if draws[6] < NO_PLAYME_ID else int(220_000 * draws[7] ** 4) + 10,
        "similar_artists": ids[1:],
        "artist_terms": terms,
        "artist_terms_freq": freq,
        "artist_terms_weight": weight,
        "artist_mbtags": tags,
        "artist_mbtags_count": rng.geometric(0.8, len(tags)).astype(np.int32),
    }


def _format_uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _draw_terms(rng: np.random.Generator, genre_index: int) -> tuple[list[str], Float64Array, Float64Array]:
    """Draw an artist's terms with their frequencies and weights, in order of decreasing weight.

    Tags of the artist's genre are more likely than other terms.
    """
    genre_terms = GENRES[genre_index].tags
    other_terms = GENRES[(genre_index + 1 + int(rng.integers(9))) % len(GENRES)].tags
    pool = list(dict.fromkeys([*genre_terms, *GENERAL_TAGS, *other_terms]))
    draw = rng.random(len(pool))
    draw[: len(genre_terms)] += 0.45
    draw[0] += 0.4
    n_terms = min(len(pool), 6 + int(42 * rng.random() ** 1.05))
    chosen = np.argsort(-draw)[:n_terms]
    weight = np.sort(np.clip(0.68 + 0.17 * rng.standard_normal(n_terms), 0.13, 0.999))[::-1].copy()
    weight[0] = 1.0
    freq = np.clip(0.62 * weight + 0.2 + 0.2 * rng.standard_normal(n_terms), 0.0, 1.0)
    return [pool[i] for i in chosen], freq, weight


def has_year(plan: SamplePlan, indices: Int64Array) -> BoolArray:
    """Return for each track whether its file contains the year. About half of the files do not contain it."""
    return draw_uniform(plan.seed, "year known", indices) >= NO_YEAR


def describe(plan: SamplePlan, track: Track) -> dict[str, Any]:
    """Return the fields of /metadata and /musicbrainz, and the ids of /analysis, for one track."""
    rng = make_generator(plan.seed, "song", track.index)
    draws = rng.random(7)
    index = np.array([track.index])
    release_number = np.array([track.artist * 7 + int(7 * draws[1])])  # an artist has up to seven releases
    hotttnesss = float(np.clip(0.5 + 0.17 * rng.standard_normal(), 0.19, 1.0))
    hotttnesss = 0.0 if draws[0] < ZERO_SONG_HOTTTNESSS / (1 - NO_SONG_HOTTTNESSS) else hotttnesss
    return {
        **_draw_artist(plan, track.artist),
        "track_id": track_id(plan, track.index),
        "song_id": song_id(plan, track.index),
        "title": title_tracks(plan, np.array([track.work]), index)[0],
        "release": _name_work(int(draw_bits(plan.seed, "release", release_number)[0])),
        "song_hotttnesss": None if draws[2] < NO_SONG_HOTTTNESSS else hotttnesss,
        "release_7digitalid": int(820_000 * draws[3] ** 1.4) + 1500,
        "track_7digitalid": int(9_000_000 * draws[4] ** 1.3) + 15_000,
        "year": track.year if has_year(plan, index)[0] else None,
        "audio_md5": rng.bytes(16).hex(),
    }
