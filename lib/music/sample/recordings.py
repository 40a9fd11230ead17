"""Choice of the tracks that become recordings in listeners' libraries, with their listener, file format and tags."""

import re
import unicodedata
import uuid
from dataclasses import dataclass

import numpy as np

from reprise.lib.audio.encoding import FORMATS
from reprise.lib.audio.tag_writing import OutputTags
from reprise.lib.music.compose.genre_styles import GENRE_NAMES, INSTRUMENTS
from reprise.lib.music.compose.plan import NORMAL, SamplePlan
from reprise.lib.music.compose.random_draws import draw_bits
from reprise.lib.music.sample.metadata import describe, track_id
from reprise.lib.music.sample.words import FIRST_NAMES

VERSION_SHARE = 0.75  # share of the recordings whose work has other versions in the dataset
NO_ISRC = 0.15  # share of recordings without ISRC
_SHARED_EVERY = 6  # one of this many recordings is in two libraries
_CHUNK = 4096
_MAX_NAME_BYTES = 120  # file systems allow 255
_FORBIDDEN_CHARACTERS = re.compile(r'[\\/:*?"<>|\x00-\x1f]')  # forbidden by some file system


@dataclass(frozen=True)
class Recording:
    """A track as an audio file in a listener's library.

    ``path`` is relative to the folder of all libraries and begins with the listener's name. ``copies`` are the paths of
    files with the same bytes. ``suffix`` is one of `lib.audio.encoding.FORMATS`.
    """

    index: int
    listener: str
    suffix: str
    path: str
    copies: tuple[str, ...]


def choose_recordings(plan: SamplePlan, count: int, n_listeners: int) -> tuple[Recording, ...]:
    """Choose the tracks that become recordings.

    Most recordings are versions, each of a different work. The original and the other versions of these works stay in
    the dataset. The other recordings are tracks outside the cliques. If a small dataset has too few tracks of one of
    these kinds, any other tracks of normal length are chosen. Formats and listeners are assigned in turn. Some
    recordings are in the libraries of two listeners. The first listener has one recording twice.

    Raises
    ------
    ValueError
        There are fewer tracks of normal length than ``count``, ``count`` is negative, or there is no listener.
    """
    if n_listeners < 1 or count < 0:
        raise ValueError(
            f"the number of recordings is {count} and the number of listeners is {n_listeners}: choose at least 0"
            " recordings and 1 listener"
        )
    names = name_listeners(plan, n_listeners)
    used_paths: dict[str, set[str]] = {name: set() for name in names}
    recordings = []
    for position, index in enumerate(_choose_tracks(plan, count)):
        listener, suffix = names[position % n_listeners], FORMATS[position % len(FORMATS)]
        path = _choose_path(plan, index, suffix, used_paths[listener])
        copies = []
        if position == 0:
            copies.append(f"{listener}/Unsorted/{path.rpartition('/')[2]}")
        other = names[(position + 1) % n_listeners]
        if position % _SHARED_EVERY == _SHARED_EVERY - 2 and other != listener and path not in used_paths[other]:
            used_paths[other].add(path)
            copies.append(f"{other}/{path}")
        recordings.append(Recording(index, listener, suffix, f"{listener}/{path}", tuple(copies)))
    return tuple(recordings)


def name_listeners(plan: SamplePlan, n_listeners: int) -> list[str]:
    """Return a different name for each listener. The folder of the listener has the same name."""
    order = np.argsort(draw_bits(plan.seed, "library", np.arange(len(FIRST_NAMES))))
    names = [unicodedata.normalize("NFC", FIRST_NAMES[i].lower()) for i in order.tolist()]
    return [names[i % len(names)] + (f" {i // len(names) + 1}" if i >= len(names) else "") for i in range(n_listeners)]


def _choose_tracks(plan: SamplePlan, count: int) -> list[int]:
    n_versions = round(VERSION_SHARE * count)
    versions: list[int] = []
    unrelated: list[int] = []
    rest: list[int] = []
    cliques: set[int] = set()
    for start in range(0, plan.n_tracks, _CHUNK):
        if len(versions) >= n_versions and len(unrelated) >= count - n_versions:
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
                versions.append(index)
            else:
                rest.append(index)
    # a small dataset can have too few cliques, or too few tracks outside the cliques
    chosen = versions[:n_versions] + unrelated[: count - n_versions]
    chosen += (versions[n_versions:] + unrelated[count - n_versions :] + rest)[: count - len(chosen)]
    if len(chosen) < count:
        raise ValueError(
            f"cannot make {count} recordings from the tracks of normal length ({len(chosen)} found): choose more tracks"
            " or fewer recordings"
        )
    return sorted(chosen)


def _choose_path(plan: SamplePlan, index: int, suffix: str, used_paths: set[str]) -> str:
    """Return a path artist/album/file. Increase the track number until the path is unused."""
    tags = tag_recording(plan, index)
    number = tags.track_number
    while True:
        file_name = f"{number:02d} {tags.title}"
        path = "/".join(
            [*map(_sanitise_name, (tags.album_artist, tags.album)), f"{_sanitise_name(file_name)}.{suffix}"]
        )
        if path not in used_paths:
            used_paths.add(path)
            return path
        number += 1


def _sanitise_name(text: str) -> str:
    name = _FORBIDDEN_CHARACTERS.sub("_", unicodedata.normalize("NFC", text))
    return name.encode()[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .") or "_"


def tag_recording(plan: SamplePlan, index: int) -> OutputTags:
    """Return the tags of a track.

    Title, artist and album are those of its HDF5 file. Year, genre and tempo are the true ones of the plan. The ids
    have the formats of MusicBrainz and ISRC.
    """
    track = plan.track(index)
    metadata = describe(plan, track)
    number = np.array([index])
    bits = int(draw_bits(plan.seed, "recording", number)[0])
    namespace = uuid.uuid5(uuid.NAMESPACE_URL, f"reprise:sample/{plan.seed}")
    artist, album = str(metadata["artist_name"]), str(metadata["release"])
    isrc = f"ZZR{bits >> 8 & 0xFF:02X}{track.year % 100:02d}{index % 100_000:05d}"
    return OutputTags(
        title=str(metadata["title"]),
        artist=artist,
        album=album,
        album_artist=artist,
        track_number=1 + (bits >> 16) % 12,
        date=str(track.year),
        genre=GENRE_NAMES[track.genre].replace("_", "/"),
        bpm=round(track.tempo_bpm),
        recording_mbid=str(uuid.uuid5(namespace, f"recording {track_id(plan, index)}")),
        artist_mbid=str(metadata["artist_mbid"] or uuid.uuid5(namespace, f"artist {metadata['artist_id']}")),
        release_mbid=str(uuid.uuid5(namespace, f"release {metadata['artist_id']} {album}")),
        isrc="" if (bits & 0xFF) < 256 * NO_ISRC else isrc,
    )


def list_instruments(plan: SamplePlan, index: int) -> str:
    """Return the instruments of a track's parts, separated by semicolons. Omit the drum kit if there are no drums."""
    track, names = plan.track(index), list(INSTRUMENTS)
    instruments = [] if track.drumless else [track.drums]
    return ";".join(names[number] for number in [*instruments, track.bass, track.harmony, track.lead])
