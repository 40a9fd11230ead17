"""Which tracks of a plan are recordings in listeners' libraries: who has them, in which format, with which tags."""

import re
import unicodedata
import uuid
from dataclasses import dataclass

import numpy as np

from reprise.lib.audio.encoding import FORMATS
from reprise.lib.audio.tag_writing import Tags
from reprise.lib.music.compose.genre_styles import GENRE_NAMES, INSTRUMENTS
from reprise.lib.music.compose.plan import NORMAL, Plan
from reprise.lib.music.compose.random_draws import scramble
from reprise.lib.music.sample.metadata import describe, track_id
from reprise.lib.music.sample.words import FIRST_NAMES

COVER_SHARE = 0.75  # of the recordings: versions of works whose other versions stay in the dataset
NO_ISRC = 0.15  # share of recordings whose file says none
_SHARED_EVERY = 6  # of so many recordings one is held by two listeners
_CHUNK = 4096
_LONGEST_NAME = 120  # bytes: file systems take 255
_FORBIDDEN = re.compile(r'[\\/:*?"<>|\x00-\x1f]')  # by one file system or another, as taggers replace them


@dataclass(frozen=True)
class Recording:
    """A track as a file. ``path`` is relative to the folder of all libraries and begins with the listener's name.

    ``copies``: where the same bytes lie once more.
    """

    index: int
    user: str
    suffix: str
    path: str
    copies: tuple[str, ...]


def choose_recordings(plan: Plan, count: int, users: int) -> tuple[Recording, ...]:
    """Choose which tracks become recordings: mostly one version of each of several works, the rest unrelated songs.

    The original and the other versions of these works stay in the dataset. Formats and listeners take turns; some
    recordings are held by two listeners, and the first listener has one of theirs twice.

    Raises
    ------
    ValueError
        There are fewer tracks of ordinary length than ``count``, or no listener.
    """
    if users < 1 or count < 0:
        raise ValueError(f"{count} recordings of {users} listeners cannot be made")
    names = name_users(plan, users)
    taken: dict[str, set[str]] = {name: set() for name in names}
    recordings = []
    for position, index in enumerate(_choose_tracks(plan, count)):
        user, suffix = names[position % users], FORMATS[position % len(FORMATS)]
        place = _place(plan, index, suffix, taken[user])
        copies = []
        if position == 0:
            copies.append(f"{user}/Unsorted/{place.rpartition('/')[2]}")
        other = names[(position + 1) % users]
        if position % _SHARED_EVERY == _SHARED_EVERY - 2 and other != user and place not in taken[other]:
            taken[other].add(place)
            copies.append(f"{other}/{place}")
        recordings.append(Recording(index, user, suffix, f"{user}/{place}", tuple(copies)))
    return tuple(recordings)


def name_users(plan: Plan, users: int) -> list[str]:
    """Names of as many listeners, all different: what their folders are called."""
    order = np.argsort(scramble(plan.seed, "library", np.arange(len(FIRST_NAMES))))
    names = [unicodedata.normalize("NFC", FIRST_NAMES[i].lower()) for i in order.tolist()]
    return [names[i % len(names)] + (f" {i // len(names) + 1}" if i >= len(names) else "") for i in range(users)]


def _choose_tracks(plan: Plan, count: int) -> list[int]:
    wanted = round(COVER_SHARE * count)
    covers: list[int] = []
    unrelated: list[int] = []
    rest: list[int] = []
    cliques: set[int] = set()
    for start in range(0, plan.n_tracks, _CHUNK):
        if len(covers) >= wanted and len(unrelated) >= count - wanted:
            break
        tracks = plan.tracks(np.arange(start, min(start + _CHUNK, plan.n_tracks)))
        for index, clique, version, state in zip(
            *(tracks.columns[name].tolist() for name in ("index", "clique", "version", "state")), strict=True
        ):
            if state != NORMAL:
                continue
            if clique < 0:
                unrelated.append(index)
            elif version and clique not in cliques:
                cliques.add(clique)
                covers.append(index)
            else:
                rest.append(index)
    # a small sample has few cliques, or nothing else
    chosen = covers[:wanted] + unrelated[: count - wanted]
    chosen += (covers[wanted:] + unrelated[count - wanted :] + rest)[: count - len(chosen)]
    if len(chosen) < count:
        raise ValueError(f"{count} recordings cannot be made of {len(chosen)} tracks of ordinary length")
    return sorted(chosen)


def _place(plan: Plan, index: int, suffix: str, taken: set[str]) -> str:
    """Artist, album and file, as players sort them; the track number goes up until nothing stands there."""
    tags = tag_recording(plan, index)
    number = tags.track_number
    while True:
        stem = f"{number:02d} {tags.title}"
        place = "/".join([*map(_safe_name, (tags.album_artist, tags.album)), f"{_safe_name(stem)}.{suffix}"])
        if place not in taken:
            taken.add(place)
            return place
        number += 1


def _safe_name(text: str) -> str:
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", text))
    return name.encode()[:_LONGEST_NAME].decode("utf-8", "ignore").strip(" .") or "_"


def tag_recording(plan: Plan, index: int) -> Tags:
    """Tags of a track: what its HDF5 file would say, and ids as MusicBrainz and the ISRC agencies give them."""
    track = plan.track(index)
    told = describe(plan, track)
    number = np.array([index])
    bits = int(scramble(plan.seed, "recording", number)[0])
    space = uuid.uuid5(uuid.NAMESPACE_URL, f"reprise:sample/{plan.seed}")
    artist, album = str(told["artist_name"]), str(told["release"])
    isrc = f"ZZR{bits >> 8 & 0xFF:02X}{track.year % 100:02d}{index % 100_000:05d}"
    return Tags(
        title=str(told["title"]),
        artist=artist,
        album=album,
        album_artist=artist,
        track_number=1 + (bits >> 16) % 12,
        date=str(track.year),
        genre=GENRE_NAMES[track.genre].replace("_", "/"),
        bpm=round(track.tempo_bpm),
        recording_mbid=str(uuid.uuid5(space, f"recording {track_id(plan, index)}")),
        artist_mbid=str(told["artist_mbid"] or uuid.uuid5(space, f"artist {told['artist_id']}")),
        release_mbid=str(uuid.uuid5(space, f"release {told['artist_id']} {album}")),
        isrc="" if (bits & 0xFF) < 256 * NO_ISRC else isrc,
    )


def list_instruments(plan: Plan, index: int) -> str:
    """Instruments of a track's parts, separated by semicolons; drums only where there are some."""
    track, names = plan.track(index), list(INSTRUMENTS)
    played = [] if track.drumless else [track.drums]
    return ";".join(names[number] for number in [*played, track.bass, track.harmony, track.lead])
