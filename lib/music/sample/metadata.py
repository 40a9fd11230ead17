"""Ids, names, places and tags: the fields of an MSD file that do not come from the music."""

from functools import lru_cache
from typing import Any

import numpy as np

from reprise.lib.arrays import BoolArray, Float64Array, Int64Array
from reprise.lib.music.compose.genre_styles import GENRES
from reprise.lib.music.compose.plan import BLOCK, MAX_TRACKS, Plan, Track, layout
from reprise.lib.music.compose.random_draws import generator, scramble, uniform
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

# shares of missing values, as counted on real files
NO_MBID, NO_LOCATION, NO_COORDINATES, NO_PLAYME_ID = 0.06, 0.29, 0.6, 0.27
NO_SONG_HOTTTNESSS, ZERO_SONG_HOTTTNESSS, NO_YEAR, NO_MBTAGS = 0.46, 0.065, 0.5, 0.45
SIMILAR_ARTISTS = 100

_LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_HEX = np.frombuffer(b"0123456789ABCDEF", dtype=np.uint8)
# what follows the five letters in real ids
_MIDDLES = {
    "TR": (b"128F42", b"128F93", b"128F14", b"128F92", b"128F42", b"128E07", b"128C71", b"12903C"),
    "SO": (b"12A8C1", b"12AB01", b"12A6D4", b"12A58A", b"12AB01", b"12AF72", b"12A8AE", b"12AC46"),
    "AR": (b"1187B9", b"1187FB", b"1187B9", b"119B86", b"1187B9", b"124207", b"11C8A4", b"1187FB"),
}
_MIDDLE_BYTES = {prefix: np.array([list(m) for m in middles], np.uint8) for prefix, middles in _MIDDLES.items()}
_STRIDE = 7_343_597  # odd and no multiple of 13, so number -> five letters never repeats


def make_ids(plan: Plan, prefix: str, numbers: Int64Array) -> list[str]:
    """Ids in the MSD's look, ``TR``, ``SO`` or ``AR`` and 16 characters; numbers below 26⁵ have different ones."""
    offset = int(scramble(plan.seed, "id " + prefix, np.zeros(1, dtype=np.int64))[0]) % MAX_TRACKS
    code = (numbers * _STRIDE + offset) % MAX_TRACKS
    bits = scramble(plan.seed, "id tail " + prefix, numbers)
    text = np.empty((len(numbers), 18), dtype=np.uint8)
    text[:, :2] = np.frombuffer(prefix.encode(), dtype=np.uint8)
    text[:, 2:7] = _LETTERS[code[:, None] // 26 ** np.arange(4, -1, -1) % 26]
    text[:, 7:13] = _MIDDLE_BYTES[prefix][(bits >> np.uint64(40)) % np.uint64(8)]
    text[:, 13:] = _HEX[(bits[:, None] >> np.arange(0, 20, 4, dtype=np.uint64)) & np.uint64(15)]
    joined = text.tobytes().decode("ascii")
    return [joined[i : i + 18] for i in range(0, len(joined), 18)]


@lru_cache(maxsize=8)
def _id_block(plan: Plan, prefix: str, block: int) -> list[str]:
    return make_ids(plan, prefix, np.arange(block * BLOCK, min((block + 1) * BLOCK, MAX_TRACKS)))


def track_id(plan: Plan, index: int) -> str:
    """Id of a track, known before it is composed."""
    return _id_block(plan, "TR", index // BLOCK)[index % BLOCK]


def song_id(plan: Plan, index: int) -> str:
    """Id of the song a track is a recording of; every track here has a song of its own."""
    return _id_block(plan, "SO", index // BLOCK)[index % BLOCK]


def _pick(words: tuple[str, ...], bits: int, shift: int) -> str:
    return words[(bits >> shift & 0xFFF) % len(words)]


def artist_names(plan: Plan, artists: Int64Array) -> list[str]:
    """One name for each artist number."""
    return [_name_artist(bits) for bits in scramble(plan.seed, "artist name", artists).tolist()]


def _name_artist(bits: int) -> str:
    form = bits & 7
    first, last = _pick(FIRST_NAMES, bits, 3), _pick(LAST_NAMES, bits, 15)
    group, adjective = _pick(GROUP_NOUNS, bits, 27), _pick(ADJECTIVES, bits, 39)
    if form < 4:
        return f"{first} {last}"
    if form == 4:
        return f"{first} {last} & The {group}"
    return f"The {adjective} {group}" if form < 7 else f"{adjective} {_pick(NOUNS, bits, 51)}"


def titles(plan: Plan, works: Int64Array, indices: Int64Array) -> list[str]:
    """One title for each track: its work's, now and then with a remark on the version."""
    marks = scramble(plan.seed, "version mark", indices).tolist()
    return [name + _pick(VERSION_MARKS, mark, 0) for name, mark in zip(work_titles(plan, works), marks, strict=True)]


def work_titles(plan: Plan, works: Int64Array) -> list[str]:
    """One title for each work."""
    return [_name_work(bits) for bits in scramble(plan.seed, "title", works).tolist()]


def _name_work(bits: int) -> str:
    form = bits & 7
    adjective, noun = _pick(ADJECTIVES, bits, 3), _pick(NOUNS, bits, 15)
    other, verb = _pick(NOUNS, bits, 27), _pick(VERBS, bits, 39)
    if form < 2:
        return f"{adjective} {noun}"
    if form == 2:
        return f"{noun} Of The {other}"
    if form == 3:
        return f"{verb} My {noun}"
    if form == 4:
        return f"{verb} The {adjective} {noun}"
    if form == 5:
        return f"{noun} And {other}"
    return f"Don't {verb} {noun}" if form == 6 else f"{other} ({verb} Me {adjective})"


@lru_cache(maxsize=512)
def _describe_artist(plan: Plan, artist: int) -> dict[str, Any]:
    rng = generator(plan.seed, "artist", artist)
    starts = layout(plan).artist_starts
    home = int(np.searchsorted(starts, artist, side="right")) - 1
    room, total = int(starts[home + 1] - starts[home]), int(starts[-1])
    # the neighbours in the genre, then artists of whom there is no track here
    away = np.arange(1, SIMILAR_ARTISTS + 1)
    near = np.where(away < room, starts[home] + (artist - starts[home] + away) % room, total + 1000 * home + away)
    ids = make_ids(plan, "AR", np.concatenate([[artist], near]))
    luck = rng.random(9)
    place, latitude, longitude = PLACES[int(luck[0] ** 2 * len(PLACES))]
    familiarity = float(np.clip(0.65 + 0.14 * rng.standard_normal(), 0.0, 1.0))
    terms, freq, weight = _tag(rng, home)
    tags = (
        []
        if luck[1] < NO_MBTAGS
        else [terms[i] for i in rng.permutation(min(len(terms), 20))[: 1 + int(rng.geometric(0.25))]]
    )
    return {
        "artist_id": ids[0],
        "artist_name": artist_names(plan, np.array([artist]))[0],
        "artist_mbid": None if luck[2] < NO_MBID else _uuid(rng.bytes(16).hex()),
        "artist_location": None if luck[3] < NO_LOCATION else place,
        "artist_latitude": None if luck[4] < NO_COORDINATES else latitude,
        "artist_longitude": None if luck[4] < NO_COORDINATES else longitude,
        "artist_familiarity": familiarity,
        "artist_hotttnesss": max(0.0, 0.68 * familiarity + 0.03 + 0.09 * float(rng.standard_normal())),
        "artist_7digitalid": int(500_000 * luck[5] ** 4.5) + 30,
        "artist_playmeid": None if luck[6] < NO_PLAYME_ID else int(220_000 * luck[7] ** 4) + 10,
        "similar_artists": ids[1:],
        "artist_terms": terms,
        "artist_terms_freq": freq,
        "artist_terms_weight": weight,
        "artist_mbtags": tags,
        "artist_mbtags_count": rng.geometric(0.8, len(tags)).astype(np.int32),
    }


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _tag(rng: np.random.Generator, home: int) -> tuple[list[str], Float64Array, Float64Array]:
    """Tags of an artist, weightiest first, with frequency and weight: mostly the genre's own."""
    own = GENRES[home].tags
    pool = list(dict.fromkeys([*own, *GENERAL_TAGS, *GENRES[(home + 1 + int(rng.integers(9))) % len(GENRES)].tags]))
    draw = rng.random(len(pool))
    draw[: len(own)] += 0.45
    draw[0] += 0.4
    wanted = min(len(pool), 6 + int(42 * rng.random() ** 1.05))
    chosen = np.argsort(-draw)[:wanted]
    weight = np.sort(np.clip(0.68 + 0.17 * rng.standard_normal(wanted), 0.13, 0.999))[::-1].copy()
    weight[0] = 1.0
    freq = np.clip(0.62 * weight + 0.2 + 0.2 * rng.standard_normal(wanted), 0.0, 1.0)
    return [pool[i] for i in chosen], freq, weight


def knows_year(plan: Plan, indices: Int64Array) -> BoolArray:
    """Whether a track's year is told in its file; half are not."""
    return uniform(plan.seed, "year known", indices) >= NO_YEAR


def describe(plan: Plan, track: Track) -> dict[str, Any]:
    """Return the fields of /metadata and /musicbrainz, and the ids of /analysis, for one track."""
    rng = generator(plan.seed, "song", track.index)
    luck = rng.random(7)
    index = np.array([track.index])
    heat = float(np.clip(0.5 + 0.17 * rng.standard_normal(), 0.19, 1.0))
    heat = 0.0 if luck[0] < ZERO_SONG_HOTTTNESSS / (1 - NO_SONG_HOTTTNESSS) else heat
    return {
        **_describe_artist(plan, track.artist),
        "track_id": track_id(plan, track.index),
        "song_id": song_id(plan, track.index),
        "title": titles(plan, np.array([track.work]), index)[0],
        "release": _name_work(int(scramble(plan.seed, "release", np.array([track.artist * 7 + int(7 * luck[1])]))[0])),
        "song_hotttnesss": None if luck[2] < NO_SONG_HOTTTNESSS else heat,
        "release_7digitalid": int(820_000 * luck[3] ** 1.4) + 1500,
        "track_7digitalid": int(9_000_000 * luck[4] ** 1.3) + 15_000,
        "year": track.year if knows_year(plan, index)[0] else None,
        "audio_md5": rng.bytes(16).hex(),
    }
