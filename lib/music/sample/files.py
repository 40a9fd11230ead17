"""A sample as files: the HDF5 tree, the annotation files in their original formats, and the truth."""

import csv
import gzip
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np

from reprise.lib import msd
from reprise.lib.annotations import (
    write_cover_cliques,
    write_genre_labels,
    write_plays,
    write_song_mismatches,
    write_unique_tracks,
)
from reprise.lib.arrays import Int64Array
from reprise.lib.music.compose.composition import compose
from reprise.lib.music.compose.genre_styles import GENRE_NAMES
from reprise.lib.music.compose.plan import Plan, layout
from reprise.lib.music.compose.random_draws import scramble, uniform
from reprise.lib.music.sample.listeners import Audience
from reprise.lib.music.sample.metadata import artist_names, make_ids, titles, track_id, work_titles
from reprise.lib.music.sample.msd_columns import analyse
from reprise.lib.music.sample.planted import is_labelled, is_mismatched, truth_columns

CHUNK = 4096
TRAIN_SHARE = 4128 / 5854  # of the cliques; the rest is the test list, as SecondHandSongs split theirs
NO_PERFORMANCE = 0.17  # share of list rows without a SecondHandSongs performance


def write_track(plan: Plan, index: int, root: str | os.PathLike[str]) -> Path:
    """Compose one track and write its HDF5 file at its place under root; an existing one is replaced.

    Returns
    -------
    Path
        The file, ``root / msd.track_path(track_id)``.
    """
    path = Path(root) / msd.track_path(track_id(plan, index))
    path.parent.mkdir(parents=True, exist_ok=True)
    msd.write(path, [analyse(compose(plan, index))])
    return path


def write_annotations(plan: Plan, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the annotation files of a sample and its truth, in chunks: memory does not grow with the lists.

    Writes shs_dataset_train.txt, shs_dataset_test.txt, msd_tagtraum.cls, train_triplets.txt.gz, sid_mismatches.txt,
    unique_tracks.txt, truth_tracks.csv and truth_listeners.csv. Same plan, same bytes.

    Returns
    -------
    list of Path
        The files, in that order.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = ("shs_dataset_train.txt", "shs_dataset_test.txt", "msd_tagtraum.cls", "train_triplets.txt.gz",
             "sid_mismatches.txt", "unique_tracks.txt", "truth_tracks.csv", "truth_listeners.csv")  # fmt: skip
    paths = [target / name for name in names]
    with ExitStack() as stack:
        train, test, labels, packed, mismatches, tracks = (stack.enter_context(path.open("wb")) for path in paths[:6])
        truth, listeners = (stack.enter_context(path.open("w", encoding="utf-8", newline="")) for path in paths[6:])
        # without a name and a time in its header the file is the same each time
        triplets = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0))
        _write_cliques(plan, train, test)
        _write_tracks(plan, labels, mismatches, tracks, truth)
        _write_listeners(plan, cast(BinaryIO, triplets), listeners)
    return paths


def _spans(total: int, size: int = CHUNK) -> Iterator[Int64Array]:
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))


def _write_cliques(plan: Plan, train: BinaryIO, test: BinaryIO) -> None:
    places = layout(plan)
    starts = places.clique_starts
    n_cliques = len(starts) - 1
    order = np.argsort(places.slots, kind="stable")
    trained = round(TRAIN_SHARE * n_cliques)
    for stream, name, first, last in ((train, "TRAINING", 0, trained), (test, "TEST", trained, n_cliques)):
        stream.write(f"# {name} SET\n# composed, in the format of the SecondHandSongs dataset\n".encode())
        for span in _spans(last - first):
            clique = first + span
            index = order[starts[clique[0]] : starts[clique[-1] + 1]]
            member = np.repeat(clique, np.diff(starts[clique[0] : clique[-1] + 2]))
            performance = 100_000 + 7 * index
            known = uniform(plan.seed, "performance", index) >= NO_PERFORMANCE
            write_cover_cliques(
                stream,
                {
                    # works that SecondHandSongs later merged stand together in one clique
                    "work_ids": [[1000 + 2 * c] + [1001 + 2 * c] * (c % 9 == 4) for c in member.tolist()],
                    "title": work_titles(plan, member),
                    "track_id": make_ids(plan, "TR", index),
                    "artist_id": make_ids(plan, "AR", plan.tracks(index).artist.astype(np.int64)),
                    "performance": [
                        p if k else None for p, k in zip(performance.tolist(), known.tolist(), strict=True)
                    ],
                },
            )


def _write_tracks(plan: Plan, labels: BinaryIO, mismatches: BinaryIO, tracks: BinaryIO, truth: TextIO) -> None:
    header = list(truth_columns(plan, np.arange(0)))
    out = csv.writer(truth)
    out.writerow(header)
    for index in _spans(plan.n_tracks):
        planted = truth_columns(plan, index)
        out.writerows(zip(*planted.values(), strict=True))
        planned = plan.tracks(index)
        artist = artist_names(plan, planned.artist.astype(np.int64))
        title = titles(plan, planned.work.astype(np.int64), index)
        ids, songs = planted["track_id"], planted["song_id"]
        write_unique_tracks(tracks, {"track_id": ids, "song_id": songs, "artist_name": artist, "title": title})
        _write_labels(labels, planted, np.flatnonzero(is_labelled(plan, index)))
        wrong = np.flatnonzero(is_mismatched(plan, index))
        # the song is another track's: its id came to stand at this one by mistake
        step = 1 + scramble(plan.seed, "mismatch", index[wrong]) % np.uint64(max(plan.n_tracks - 1, 1))
        other = (index[wrong] + step.astype(np.int64)) % plan.n_tracks
        others = plan.tracks(other)
        write_song_mismatches(
            mismatches,
            {
                "song_id": [songs[i] for i in wrong],
                "track_id": [ids[i] for i in wrong],
                "song_artist": artist_names(plan, others.artist.astype(np.int64)),
                "song_title": titles(plan, others.work.astype(np.int64), other),
                "track_artist": [artist[i] for i in wrong],
                "track_title": [title[i] for i in wrong],
            },
        )


def _write_labels(stream: BinaryIO, planted: dict[str, list[Any]], rows: Int64Array) -> None:
    labels = [
        (planted["track_id"][i], rank, genre)
        for i in rows
        for rank, genre in enumerate((planted["genre"][i], planted["second_genre"][i]))
        if genre
    ]
    columns = {name: [label[i] for label in labels] for i, name in enumerate(("track_id", "rank", "genre"))}
    write_genre_labels(stream, columns)


def _write_listeners(plan: Plan, triplets: BinaryIO, truth: TextIO) -> None:
    out = csv.writer(truth)
    out.writerow(("user_id", "top_genre", "top_share", "second_genre", "second_share", "songs", "plays"))
    if plan.n_tracks == 0:
        return
    audience = Audience(plan)
    for number in _spans(plan.n_listeners or 0, 512):
        tastes, plays = audience.listen(int(number[0]), int(number[-1]) + 1)
        songs = make_ids(plan, "SO", plays.track)
        users = [tastes.user_id[row] for row in plays.listener.tolist()]
        write_plays(triplets, {"user_id": users, "song_id": songs, "play_count": plays.count.tolist()})
        n_songs = np.bincount(plays.listener, minlength=len(number))
        n_plays = np.bincount(plays.listener, plays.count, minlength=len(number)).astype(np.int64)
        out.writerows(
            zip(
                tastes.user_id,
                [GENRE_NAMES[genre] for genre in tastes.top_genre.tolist()],
                np.round(tastes.top_share, 4).tolist(),
                [GENRE_NAMES[genre] for genre in tastes.second_genre.tolist()],
                np.round(tastes.second_share, 4).tolist(),
                n_songs.tolist(),
                n_plays.tolist(),
                strict=True,
            )
        )
