"""Playlists and listening histories of the listeners who have recordings, in the formats of common programs."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from reprise.lib.music.compose.composition import compose
from reprise.lib.music.compose.plan import SamplePlan, make_layout
from reprise.lib.music.compose.random_draws import make_generator
from reprise.lib.music.sample.metadata import describe, name_artists, title_works
from reprise.lib.music.sample.recordings import Recording, tag_recording

LISTENS_PER_HISTORY = 240
# shares of the entries of a history: songs of the listener's own files, and songs of the dataset; all other entries are
# invented songs, which are in no library and not in the dataset
_OWN_SHARE, _DATASET_SHARE = 0.62, 0.28
_N_DATASET_SONGS, _N_UNKNOWN_SONGS, _PLAYLIST_SONGS = 14, 6, 16
_FIRST_S = 1_262_304_000  # 1 January 2010 in Unix time
_MBID_SHARE = 0.7  # share of the ListenBrainz entries of own files that contain the recording's ids


@dataclass(frozen=True)
class _Song:
    artist: str
    title: str
    release: str
    recording_mbid: str = ""
    isrc: str = ""


def make_playlists_and_histories(
    plan: SamplePlan, recordings: Sequence[Recording], listeners: Sequence[str]
) -> dict[str, bytes]:
    """Return playlists and listening histories.

    Each listener has a playlist. The first listener also has a ListenBrainz history, and the second a Last.fm history.
    Playlists and histories contain the listener's own recordings and some invented songs, which are in no library. The
    histories also contain songs of the dataset.

    Returns
    -------
    dict of str to bytes
        File content by path relative to the folder of all libraries. Equal arguments give equal bytes.
    """
    files = {}
    for number, listener in enumerate(listeners):
        rng = make_generator(plan.seed, "listening", number)
        own = [recording for recording in recordings if _find_library_path(recording, listener)]
        unknown = _invent_songs(plan, number)
        files[f"{listener}/Playlists/Favourites.m3u8"] = _format_playlist(plan, rng, own, listener, unknown)
        if number < 2:
            songs = _choose_listens(plan, rng, own, _find_similar(plan, rng, recordings, own), unknown)
            times = _FIRST_S + np.cumsum(rng.integers(200, 30_000, len(songs)))
            name, format_history = (("listens.jsonl", _format_listenbrainz), ("lastfm.csv", _format_lastfm))[number]
            files[f"{listener}/{name}"] = format_history(rng, songs, times.tolist())
    return files


def _find_library_path(recording: Recording, listener: str) -> str | None:
    """Return the path of a recording in a listener's folder, or None if the listener does not have it."""
    paths = (path for path in (recording.path, *recording.copies) if path.startswith(f"{listener}/"))
    return next(paths, None)


def _invent_songs(plan: SamplePlan, listener: int) -> list[_Song]:
    """Return invented songs by artists who have no track in the plan."""
    artists = (
        int(make_layout(plan).artist_starts[-1]) + 1000 + listener * _N_UNKNOWN_SONGS + np.arange(_N_UNKNOWN_SONGS)
    )
    works = plan.n_tracks + 1000 + listener * _N_UNKNOWN_SONGS + np.arange(_N_UNKNOWN_SONGS)
    names = zip(name_artists(plan, artists), title_works(plan, works), strict=True)
    return [_Song(artist, title, title) for artist, title in names]


def _find_similar(
    plan: SamplePlan, rng: np.random.Generator, recordings: Sequence[Recording], own: Sequence[Recording]
) -> list[_Song]:
    """Draw at most 14 songs of the dataset in the three most frequent genres of ``own``. No song has a recording."""
    recorded = {recording.index for recording in recordings}
    genres = [genre for genre, _ in Counter(plan.track(recording.index).genre for recording in own).most_common(3)]
    drawn = [i for i in rng.integers(0, plan.n_tracks, 40 * _N_DATASET_SONGS).tolist() if i not in recorded]
    similar = [i for i in dict.fromkeys(drawn) if plan.track(i).genre in genres]
    descriptions = [describe(plan, plan.track(i)) for i in similar[:_N_DATASET_SONGS]]
    return [_Song(song["artist_name"], song["title"], song["release"]) for song in descriptions]


def _choose_listens(
    plan: SamplePlan, rng: np.random.Generator, own: Sequence[Recording], similar: list[_Song], unknown: list[_Song]
) -> list[_Song]:
    own_tags = [tag_recording(plan, recording.index) for recording in own]
    own_songs = [_Song(tags.artist, tags.title, tags.album, tags.recording_mbid, tags.isrc) for tags in own_tags]
    pools = [pool or unknown for pool in (own_songs, similar, unknown)]
    source = np.searchsorted([_OWN_SHARE, _OWN_SHARE + _DATASET_SHARE], rng.random(LISTENS_PER_HISTORY), side="right")
    # the square makes the first songs of each list the most played
    position = rng.random(LISTENS_PER_HISTORY) ** 2
    return [pools[k][int(u * len(pools[k]))] for k, u in zip(source.tolist(), position.tolist(), strict=True)]


def _format_playlist(
    plan: SamplePlan, rng: np.random.Generator, own: Sequence[Recording], listener: str, unknown: list[_Song]
) -> bytes:
    lines = ["#EXTM3U"]
    chosen = rng.permutation(len(own))[:_PLAYLIST_SONGS]
    for recording in (own[i] for i in chosen.tolist()):
        tags, path = tag_recording(plan, recording.index), _find_library_path(recording, listener) or ""
        lines += [
            f"#EXTINF:{round(compose(plan, recording.index).duration_s)},{tags.artist} - {tags.title}",
            "../" + path.partition("/")[2],
        ]
    for song in unknown[:3]:
        lines += [f"#EXTINF:215,{song.artist} - {song.title}", f"../{song.artist}/{song.release}/01 {song.title}.mp3"]
    return ("\n".join(lines) + "\n").encode()


def _format_listenbrainz(rng: np.random.Generator, songs: list[_Song], times: list[int]) -> bytes:
    """Return listens in ListenBrainz's export format, one JSON object per line."""
    lines = []
    for song, time, draw in zip(songs, times, rng.random(len(songs)).tolist(), strict=True):
        info = {"media_player": "Rhythmbox", "submission_client": "Rhythmbox"}
        if draw < _MBID_SHARE:
            info |= {"recording_mbid": song.recording_mbid} if song.recording_mbid else {}
            info |= {"isrc": song.isrc} if song.isrc else {}
        track = {"additional_info": info, "artist_name": song.artist, "release_name": song.release,
                 "track_name": song.title}  # fmt: skip
        lines.append(json.dumps({"listened_at": time, "track_metadata": track}, ensure_ascii=False, sort_keys=True))
    return ("\n".join(lines) + "\n").encode()


def _format_lastfm(_: np.random.Generator, songs: list[_Song], times: list[int]) -> bytes:
    """Return listens in the CSV format of lastfm.ghan.nl, newest first."""
    out = io.StringIO()
    out.write("uts,utc_time,artist,artist_mbid,album,album_mbid,track,track_mbid\n")
    table = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for song, time in zip(reversed(songs), reversed(times), strict=True):
        utc_time = datetime.fromtimestamp(time, UTC).strftime("%d %b %Y, %H:%M")
        table.writerow((time, utc_time, song.artist, "", song.release, "", song.title, song.recording_mbid))
    return out.getvalue().encode()
