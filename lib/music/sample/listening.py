"""Playlists and histories of the listeners who have a sample's recordings, in the formats that programs write."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from reprise.lib.music.compose.composition import compose
from reprise.lib.music.compose.plan import Plan, layout
from reprise.lib.music.compose.random_draws import generator
from reprise.lib.music.sample.metadata import artist_names, describe, work_titles
from reprise.lib.music.sample.recordings import Recording, tag_recording

LISTENS = 240
_OWN, _DATASET = 0.62, 0.28  # of the listens: to their own files, to songs of the dataset; the rest nobody here has
_FROM_DATASET, _UNKNOWN, _LISTED = 14, 6, 16  # songs
_FIRST_S = 1_262_304_000  # the first of January 2010
_MBID_SHARE = 0.7  # of the listens to tagged files that name the recording


@dataclass(frozen=True)
class _Song:
    artist: str
    title: str
    release: str
    recording_mbid: str = ""
    isrc: str = ""


def write_lists(plan: Plan, recordings: Sequence[Recording], users: Sequence[str]) -> dict[str, bytes]:
    """Content of each listener's playlist, of the first one's ListenBrainz export, and of the second's from Last.fm.

    They name the listener's own tracks, songs of the dataset, and some that nobody has.

    Returns
    -------
    dict of str to bytes
        Content by file, relative to the folder of all libraries. Same plan, same bytes.
    """
    files = {}
    for number, user in enumerate(users):
        rng = generator(plan.seed, "listening", number)
        own = [recording for recording in recordings if _path_of(recording, user)]
        unknown = _invent_songs(plan, number)
        files[f"{user}/Playlists/Favourites.m3u8"] = _write_playlist(plan, rng, own, user, unknown)
        if number < 2:
            songs = _listen(plan, rng, own, _find_alike(plan, rng, recordings, own), unknown)
            times = _FIRST_S + np.cumsum(rng.integers(200, 30_000, len(songs)))
            name, write = (("listens.jsonl", _write_listenbrainz), ("lastfm.csv", _write_lastfm))[number]
            files[f"{user}/{name}"] = write(rng, songs, times.tolist())
    return files


def _path_of(recording: Recording, user: str) -> str | None:
    """Path of a recording in a listener's folder."""
    held = (path for path in (recording.path, *recording.copies) if path.startswith(f"{user}/"))
    return next(held, None)


def _invent_songs(plan: Plan, user: int) -> list[_Song]:
    """Songs by artists whom no track of the plan is by."""
    beyond = int(layout(plan).artist_starts[-1]) + 1000 + user * _UNKNOWN + np.arange(_UNKNOWN)
    works = plan.n_tracks + 1000 + user * _UNKNOWN + np.arange(_UNKNOWN)
    named = zip(artist_names(plan, beyond), work_titles(plan, works), strict=True)
    return [_Song(artist, title, title) for artist, title in named]


def _find_alike(
    plan: Plan, rng: np.random.Generator, recordings: Sequence[Recording], own: Sequence[Recording]
) -> list[_Song]:
    """Find songs of the dataset in the genres that the listener has most of."""
    recorded = {recording.index for recording in recordings}
    genres = [genre for genre, _ in Counter(plan.track(recording.index).genre for recording in own).most_common(3)]
    drawn = [i for i in rng.integers(0, plan.n_tracks, 40 * _FROM_DATASET).tolist() if i not in recorded]
    alike = [i for i in dict.fromkeys(drawn) if plan.track(i).genre in genres]
    told = [describe(plan, plan.track(i)) for i in alike[:_FROM_DATASET]]
    return [_Song(song["artist_name"], song["title"], song["release"]) for song in told]


def _listen(
    plan: Plan, rng: np.random.Generator, own: Sequence[Recording], alike: list[_Song], unknown: list[_Song]
) -> list[_Song]:
    tagged = [tag_recording(plan, recording.index) for recording in own]
    mine = [_Song(tags.artist, tags.title, tags.album, tags.recording_mbid, tags.isrc) for tags in tagged]
    pools = [pool or unknown for pool in (mine, alike, unknown)]
    kind = np.searchsorted([_OWN, _OWN + _DATASET], rng.random(LISTENS), side="right")
    # some songs are played much more than others
    place = rng.random(LISTENS) ** 2
    return [pools[k][int(u * len(pools[k]))] for k, u in zip(kind.tolist(), place.tolist(), strict=True)]


def _write_playlist(
    plan: Plan, rng: np.random.Generator, own: Sequence[Recording], user: str, unknown: list[_Song]
) -> bytes:
    lines = ["#EXTM3U"]
    chosen = rng.permutation(len(own))[:_LISTED]
    for recording in (own[i] for i in chosen.tolist()):
        tags, path = tag_recording(plan, recording.index), _path_of(recording, user) or ""
        lines += [
            f"#EXTINF:{round(compose(plan, recording.index).duration_s)},{tags.artist} - {tags.title}",
            "../" + path.partition("/")[2],
        ]
    for song in unknown[:3]:
        lines += [f"#EXTINF:215,{song.artist} - {song.title}", f"../{song.artist}/{song.release}/01 {song.title}.mp3"]
    return ("\n".join(lines) + "\n").encode()


def _write_listenbrainz(rng: np.random.Generator, songs: list[_Song], times: list[int]) -> bytes:
    """Listens as ListenBrainz exports them, one JSON object a line."""
    lines = []
    for song, time, luck in zip(songs, times, rng.random(len(songs)).tolist(), strict=True):
        info = {"media_player": "Rhythmbox", "submission_client": "Rhythmbox"}
        if luck < _MBID_SHARE:
            info |= {"recording_mbid": song.recording_mbid} if song.recording_mbid else {}
            info |= {"isrc": song.isrc} if song.isrc else {}
        track = {"additional_info": info, "artist_name": song.artist, "release_name": song.release,
                 "track_name": song.title}  # fmt: skip
        lines.append(json.dumps({"listened_at": time, "track_metadata": track}, ensure_ascii=False, sort_keys=True))
    return ("\n".join(lines) + "\n").encode()


def _write_lastfm(_: np.random.Generator, songs: list[_Song], times: list[int]) -> bytes:
    """Scrobbles as lastfm.ghan.nl exports them, the newest first."""
    out = io.StringIO()
    out.write("uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n")
    table = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for song, time in zip(reversed(songs), reversed(times), strict=True):
        when = datetime.fromtimestamp(time, UTC).strftime("%d %b %Y, %H:%M")
        table.writerow((time, when, song.artist, "", song.release, "", song.title, song.recording_mbid))
    return out.getvalue().encode()
