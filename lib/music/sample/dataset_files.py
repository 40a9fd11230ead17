"""Files of a synthetic dataset: HDF5 files, annotation files in their original formats, and ground truth."""

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
from reprise.lib.music.compose.plan import SamplePlan, make_layout
from reprise.lib.music.compose.random_draws import draw_bits, draw_uniform
from reprise.lib.music.sample.dataset_listeners import Audience
from reprise.lib.music.sample.ground_truth import is_labelled, is_mismatched, truth_columns
from reprise.lib.music.sample.metadata import make_ids, name_artists, title_tracks, title_works, track_id
from reprise.lib.music.sample.msd_columns import compute_msd_columns

CHUNK = 4096
TRAIN_SHARE = 4128 / 5854  # share of the cliques in the train list, as in SecondHandSongs; the rest is in the test list
NO_PERFORMANCE = 0.17  # of the tracks in cliques, the share without a SecondHandSongs performance id


def write_track(plan: SamplePlan, index: int, root: str | os.PathLike[str]) -> Path:
    """Compose one track and write its HDF5 file below ``root``. An existing file is replaced.

    Returns
    -------
    Path
        Path of the file: ``root / msd.track_path(track_id)``.
    """
    path = Path(root) / msd.track_path(track_id(plan, index))
    path.parent.mkdir(parents=True, exist_ok=True)
    msd.write(path, [compute_msd_columns(compose(plan, index))])
    return path


def write_annotations(plan: SamplePlan, folder: str | os.PathLike[str]) -> list[Path]:
    """Write the annotation files and the ground truth of a synthetic dataset.

    The files are shs_dataset_train.txt, shs_dataset_test.txt, msd_tagtraum.cls, train_triplets.txt.gz,
    sid_mismatches.txt, unique_tracks.txt, truth_tracks.csv and truth_listeners.csv. Equal plans give equal bytes. The
    files are written in chunks, so memory use grows only by some bytes per track.

    Returns
    -------
    list of Path
        Paths of the files, in the order above.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    names = ("shs_dataset_train.txt", "shs_dataset_test.txt", "msd_tagtraum.cls", "train_triplets.txt.gz",
             "sid_mismatches.txt", "unique_tracks.txt", "truth_tracks.csv", "truth_listeners.csv")  # fmt: skip
    paths = [target / name for name in names]
    with ExitStack() as stack:
        train, test, labels, gzip_file, mismatches, tracks = (
            stack.enter_context(path.open("wb")) for path in paths[:6]
        )
        truth, listeners = (stack.enter_context(path.open("w", encoding="utf-8", newline="")) for path in paths[6:])
        # omit the file name and the time in the gzip header, so that equal plans give equal bytes
        triplets = stack.enter_context(
            gzip.GzipFile(filename="", mode="wb", fileobj=gzip_file, compresslevel=6, mtime=0)
        )
        _write_cliques(plan, train, test)
        _write_tracks(plan, labels, mismatches, tracks, truth)
        _write_listeners(plan, cast(BinaryIO, triplets), listeners)
    return paths


def _split_range(total: int, size: int = CHUNK) -> Iterator[Int64Array]:
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total))


def _write_cliques(plan: SamplePlan, train: BinaryIO, test: BinaryIO) -> None:
    layout = make_layout(plan)
    starts = layout.clique_starts
    n_cliques = len(starts) - 1
    order = np.argsort(layout.slots, kind="stable")
    n_train = round(TRAIN_SHARE * n_cliques)
    for stream, name, first, last in ((train, "TRAINING", 0, n_train), (test, "TEST", n_train, n_cliques)):
        stream.write(f"# {name} SET\n# composed, in the format of the SecondHandSongs dataset\n".encode())
        for span in _split_range(last - first):
            clique = first + span
            index = order[starts[clique[0]] : starts[clique[-1] + 1]]
            member = np.repeat(clique, np.diff(starts[clique[0] : clique[-1] + 2]))
            performance = 100_000 + 7 * index
            has_performance = draw_uniform(plan.seed, "performance", index) >= NO_PERFORMANCE
            write_cover_cliques(
                stream,
                {
                    # some cliques have two work ids, as in the real lists, because SecondHandSongs later merged works
                    "work_ids": [[1000 + 2 * c] + [1001 + 2 * c] * (c % 9 == 4) for c in member.tolist()],
                    "title": title_works(plan, member),
                    "track_id": make_ids(plan, "TR", index),
                    "artist_id": make_ids(plan, "AR", plan.tracks(index).artist.astype(np.int64)),
                    "performance": [
                        p if k else None for p, k in zip(performance.tolist(), has_performance.tolist(), strict=True)
                    ],
                },
            )


def _write_tracks(plan: SamplePlan, labels: BinaryIO, mismatches: BinaryIO, tracks: BinaryIO, truth: TextIO) -> None:
    header = list(truth_columns(plan, np.arange(0)))
    out = csv.writer(truth)
    out.writerow(header)
    for index in _split_range(plan.n_tracks):
        true_columns = truth_columns(plan, index)
        out.writerows(zip(*true_columns.values(), strict=True))
        plans = plan.tracks(index)
        artist = name_artists(plan, plans.artist.astype(np.int64))
        title = title_tracks(plan, plans.work.astype(np.int64), index)
        ids, songs = true_columns["track_id"], true_columns["song_id"]
        write_unique_tracks(tracks, {"track_id": ids, "song_id": songs, "artist_name": artist, "title": title})
        _write_labels(labels, true_columns, np.flatnonzero(is_labelled(plan, index)))
        mismatched = np.flatnonzero(is_mismatched(plan, index))
        # the artist and title of the song are taken from another track, as if the MSD had matched the wrong song
        step = 1 + draw_bits(plan.seed, "mismatch", index[mismatched]) % np.uint64(max(plan.n_tracks - 1, 1))
        other = (index[mismatched] + step.astype(np.int64)) % plan.n_tracks
        other_plans = plan.tracks(other)
        write_song_mismatches(
            mismatches,
            {
                "song_id": [songs[i] for i in mismatched],
                "track_id": [ids[i] for i in mismatched],
                "song_artist": name_artists(plan, other_plans.artist.astype(np.int64)),
                "song_title": title_tracks(plan, other_plans.work.astype(np.int64), other),
                "track_artist": [artist[i] for i in mismatched],
                "track_title": [title[i] for i in mismatched],
            },
        )


def _write_labels(stream: BinaryIO, true_columns: dict[str, list[Any]], rows: Int64Array) -> None:
    labels = [
        (true_columns["track_id"][i], rank, genre)
        for i in rows
        for rank, genre in enumerate((true_columns["genre"][i], true_columns["second_genre"][i]))
        if genre
    ]
    columns = {name: [label[i] for label in labels] for i, name in enumerate(("track_id", "rank", "genre"))}
    write_genre_labels(stream, columns)


def _write_listeners(plan: SamplePlan, triplets: BinaryIO, truth: TextIO) -> None:
    out = csv.writer(truth)
    out.writerow(("user_id", "top_genre", "top_share", "second_genre", "second_share", "songs", "plays"))
    if plan.n_tracks == 0:
        return
    audience = Audience(plan)
    for numbers in _split_range(plan.n_listeners or 0, 512):
        tastes, plays = audience.draw_listeners(int(numbers[0]), int(numbers[-1]) + 1)
        songs = make_ids(plan, "SO", plays.track)
        users = [tastes.user_id[row] for row in plays.listener.tolist()]
        write_plays(triplets, {"user_id": users, "song_id": songs, "play_count": plays.count.tolist()})
        n_songs = np.bincount(plays.listener, minlength=len(numbers))
        n_plays = np.bincount(plays.listener, plays.count, minlength=len(numbers)).astype(np.int64)
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
