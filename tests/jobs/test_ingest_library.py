"""Listeners' audio into tables: what a file becomes, whose it is, and what happens when it changes."""

import hashlib
import io
import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from reprise.jobs import extract_chroma, extract_genre_features, ingest_library
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.analysis.analyser import analyse
from reprise.lib.audio.decoding import decode
from reprise.lib.tables import (
    BEAT_CHROMA,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MANIFEST,
    MSD_GENRE_FEATURES,
    QUARANTINE,
    Table,
)
from reprise.udfs.arrow import arrow_schema
from tests.jobs.chain import records

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
Record = Callable[..., Path]
CODECS = {
    ".aac": "aac",
    ".aiff": "pcm_16",
    ".flac": "flac",
    ".m4a": "aac",
    ".mp3": "mp3",
    ".oga": "vorbis",
    ".ogg": "vorbis",
    ".opus": "opus",
    ".wav": "pcm_16",
}
MBID, ISRC = "f1d5a3d4-3e39-4f1a-8c1c-0a2b3c4d5e6f", "USRC17607839"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def track_id(path: Path) -> str:
    return f"LB{sha256(path)[:16]}"


def copies(warehouse: Warehouse, rows_of: Rows) -> set[tuple[str, str, str]]:
    """Listener, track and file of each copy."""
    rows = rows_of(warehouse, LIBRARY_COPIES)
    return {(r["user_id"], r["track_id"], r["uri"]) for r in records(rows)}


@pytest.fixture(scope="module")
def every_format(
    record: Record, spark: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Path], Warehouse]:
    """One file of each format, ingested, with the tags that it can hold; names are not ASCII."""
    folder = tmp_path_factory.mktemp("formats")
    files = {}
    for number, suffix in enumerate(CODECS):
        tags = {"title": f"Título {suffix} 音楽", "artist": "Björk", "album": "Début", "date": "2009-03-01"}
        if suffix in (".flac", ".mp3", ".opus"):
            tags |= {"genre": "Jazz", "ISRC": ISRC, "MUSICBRAINZ_TRACKID": MBID, "BPM": "99.5"}
        files[suffix] = record(folder / "tree/Ünï/Sigur Rós/[音] 100%" / f"#{number} søng{suffix}", number, **tags)
    warehouse = Warehouse(str(folder / "warehouse"))
    assert ingest_library.main(["--source", str(folder / "tree"), "--warehouse", warehouse.root]) == 0
    return files, warehouse


@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_of_every_format_is_a_track(
    suffix: str, every_format: tuple[dict[str, Path], Warehouse], rows_of: Rows, tmp_path: Path
) -> None:
    files, warehouse = every_format
    path, (table, arrays) = files[suffix], (rows_of(warehouse, t) for t in (LIBRARY_TRACKS, LIBRARY_ANALYSIS))
    (row,) = table[table["track_id"] == track_id(path)].to_dict("records")
    assert row["sha256"] == sha256(path)
    assert (row["codec"], row["sample_rate"], row["channel_count"]) == (CODECS[suffix], 48_000, 2)
    assert row["duration"] == pytest.approx(3.0, abs=0.1)
    assert row["length_status"] == ("undeclared" if suffix == ".aac" else "ok")
    if suffix == ".aac":  # a bare stream has no place for tags
        assert (row["title"], row["artist_name"]) == ("#0 søng", None)
    else:
        assert row["title"] == f"Título {suffix} 音楽"
    if suffix in (".flac", ".mp3", ".opus"):
        assert [row[k] for k in ("artist_name", "release", "year", "isrc", "recording_mbid", "bpm_tag")] == [
            *("Björk", "Début", 2009, ISRC, MBID),
            99.5,
        ]
        assert list(row["genre_tags"]) == ["Jazz"]
    decode(path, tmp_path / "signal")
    expected = analyse(np.fromfile(tmp_path / "signal", np.float32))
    (found,) = arrays[arrays["track_id"] == row["track_id"]].to_dict("records")
    for name in [c.name for c in LIBRARY_ANALYSIS.columns if c.type == "array<float>"]:
        # workers have one thread, and sums depend on how many there are
        np.testing.assert_allclose(found[name], np.ravel(expected[name]), rtol=1e-5, atol=1e-5, err_msg=name)
    for name in ("tempo", "key", "mode", "time_signature", "loudness", "start_of_fade_out", "analysis_sample_rate"):
        assert row[name] == pytest.approx(expected[name]), name


def test_the_books_name_every_file(every_format: tuple[dict[str, Path], Warehouse], rows_of: Rows) -> None:
    files, warehouse = every_format
    manifest = rows_of(warehouse, MANIFEST)
    assert dict(zip(manifest["uri"], manifest["sha256"], strict=True)) == {
        path.as_uri(): sha256(path) for path in files.values()
    }
    assert manifest[["stage", "status", "row_count"]].drop_duplicates().to_numpy().tolist() == [
        ["ingest_library", "done", 1]
    ]
    assert copies(warehouse, rows_of) == {("Ünï", track_id(path), path.as_uri()) for path in files.values()}
    assert rows_of(warehouse, QUARANTINE).empty


class Library:
    """A tree of several listeners, who each stand for a case, and the tables after each of three ingests of it."""

    def __init__(self, folder: Path, record: Record, rows_of: Rows) -> None:
        self.tree = folder / "tree"
        self.songs = [
            record(folder / f"songs/{seed}.flac", seed, title=f"Song {seed}", artist="Ann") for seed in range(12)
        ]
        self.retagged = record(folder / "songs/retagged.flac", 2, title="Song 2 again", artist="Ann")
        self._warehouse, self._rows_of = Warehouse(str(folder / "warehouse")), rows_of
        self.counts: list[dict[str, int]] = []
        self.tables: list[dict[str, pd.DataFrame]] = []

    def put(self, song: int | Path, place: str) -> Path:
        """Copy a song to a place in the tree."""
        path = self.tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(song if isinstance(song, Path) else self.songs[song], path))

    def ingest(self, *, exit_code: int) -> None:
        """Ingest the tree as it is now."""
        asked = [
            "--source",
            str(self.tree),
            "--warehouse",
            self._warehouse.root,
            "--json",
            "--conf",
            "files_per_task=8",
        ]
        with redirect_stdout(io.StringIO()) as printed:
            assert ingest_library.main(asked) == exit_code
        self.counts.append(json.loads(printed.getvalue())["counts"])
        written = (LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, MANIFEST, QUARANTINE)
        self.tables.append({table.name: self._rows_of(self._warehouse, table) for table in written})

    def remove_track(self, song: int) -> None:
        """Remove a track from the tables, as the run of somebody else may have."""
        keys = pa.table({"track_id": [track_id(self.songs[song])]})
        for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
            self._warehouse.merge(table, [], delete=keys)

    def rows(self, number: int, table: Table) -> pd.DataFrame:
        """Rows of a table after the ingest with this number, from 0."""
        return self.tables[number][table.name]

    def tracks(self, number: int, table: Table = LIBRARY_TRACKS) -> set[str]:
        """Tracks in a table."""
        return set(self.rows(number, table)["track_id"])

    def copies(self, number: int, *users: str) -> set[tuple[str, str, str]]:
        """Listener, track and place of each copy of some listeners."""
        rows = self.rows(number, LIBRARY_COPIES)
        rows = rows[rows["user_id"].isin(users)]
        return {(r["user_id"], r["track_id"], unquote(r["uri"]).partition("/tree/")[2]) for r in records(rows)}

    def ids(self, *songs: int) -> list[str]:
        """Tracks of some songs."""
        return [track_id(self.songs[song]) for song in songs]


DECOMPOSED = unicodedata.normalize("NFD", "Zoë Ångström")
STRAY = ("list.m3u8", "stray.flac")
NEVER_READ = ("bad ann/link.flac", "bad bob/pipe.ogg")
BAD = ("bad ann/bad.mp3", "bad bob/the same.mp3", "bad ann/empty.wav", *NEVER_READ)


@pytest.fixture(scope="module")
def library(record: Record, rows_of: Rows, spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("library")
    library = Library(folder, record, rows_of)
    put, tree = library.put, library.tree
    for place in (
        "same ann/a/1.flac",
        "same ann/b.flac",
        "same ann/c.flac",
        "same bob/mine.flac",
        "same bob/sub/too.flac",
    ):
        put(0, place)
    put(1, "same bob/other.flac")
    put(2, "tags ann/a.flac"), put(3, "tags ann/b.flac"), put(2, "tags bob/a.flac")
    put(4, "move ann/a.flac")
    put(6, "removed/a.flac")
    put(7, "bad ann/good.flac")
    half = put(8, "bad ann/half.flac")
    os.truncate(half, half.stat().st_size // 2)
    (tree / "bad ann/bad.mp3").write_bytes(b"no audio " * 500)
    put(tree / "bad ann/bad.mp3", "bad bob/the same.mp3")
    (tree / "bad ann/empty.wav").touch()
    (tree / "bad ann/link.flac").symlink_to(library.songs[2])
    os.mkfifo(tree / "bad bob/pipe.ogg")
    touched = [put(10, f"{DECOMPOSED}/a.flac"), put(11, "folders/x/y/b.FLAC")]
    for hidden in (".Trash/c.flac", "folders/.cache/c.flac", "folders/._b.flac", ".c.flac"):
        put(5, hidden)
    (tree / "folders/cover.jpg").write_bytes(b"")
    put(5, "stray.flac")
    (tree / "list.m3u8").write_text("#EXTM3U\nfolders/x/y/b.FLAC\n")
    library.ingest(exit_code=3)

    (tree / "same ann/a/1.flac").unlink()
    (tree / "same bob/other.flac").unlink()
    put(0, "same bob/_.flac")
    put(library.retagged, "tags ann/a.flac")
    put(4, "move bob/a.flac")
    put(5, "move ann/a.flac")
    library.remove_track(6)
    put(9, "bad ann/bad.mp3")
    for place in BAD[1:3]:
        (tree / place).unlink()
    for path in touched:
        os.utime(path, (1e9, 1e9))
    library.ingest(exit_code=3)

    put(library.retagged, "tags bob/a.flac")
    for place in (*STRAY, *NEVER_READ):
        (tree / place).unlink()
    library.ingest(exit_code=0)
    return library


def test_folders_are_listeners(library: Library) -> None:
    """Names that begin with a dot are passed over, and what is in nobody's folder is quarantined."""
    composed = unicodedata.normalize("NFC", DECOMPOSED)
    one, other = library.ids(10, 11)
    assert library.copies(0, composed, "folders") == {
        (composed, one, f"{DECOMPOSED}/a.flac"),
        ("folders", other, "folders/x/y/b.FLAC"),
    }
    assert set(library.rows(0, LIBRARY_COPIES)["user_id"]) == {
        composed, "folders", "same ann", "same bob", "tags ann", "tags bob", "move ann", "removed", "bad ann"
    }  # fmt: skip
    rejected = library.rows(0, QUARANTINE).query("error_class == 'no_listener'")
    assert rejected["uri"].tolist() == [(library.tree / name).as_uri() for name in STRAY]
    assert rejected["message"].str.contains("--user").all()


def test_the_first_summary_counts_everything(library: Library) -> None:
    """Of 22 files seven are bad; the others hold ten songs, one of them cut short."""
    assert library.counts[0] == {
        "files": 22, "skipped": 0, "tracks": 10, "copies": 12, "duplicates": 3, "flagged": 1, "quarantined": 7,
        "lists_read": 0, "plays_matched": 0, "plays_unmatched": 0,
    }  # fmt: skip


def test_duplicates_are_one_track_and_one_copy_a_listener(library: Library) -> None:
    """The copy is the first in the order of names, and what nobody has any more stays a track."""
    same, other = library.ids(0, 1)
    alike = {(user, place) for user, track, place in library.copies(0, "same ann", "same bob") if track == same}
    assert alike == {("same ann", "same ann/a/1.flac"), ("same bob", "same bob/mine.flac")}
    manifest = library.rows(0, MANIFEST)
    statuses = manifest[manifest["uri"].str.contains("/same%20")].set_index("uri")["status"]
    assert statuses.tolist() == ["done", "duplicate", "duplicate", "done", "done", "duplicate"]
    alike = {(user, place) for user, track, place in library.copies(1, "same ann", "same bob") if track == same}
    assert alike == {("same ann", "same ann/b.flac"), ("same bob", "same bob/_.flac")}
    assert {same, other} <= library.tracks(1)


def test_new_tags_are_another_track_and_the_old_one_goes_with_its_last_copy(library: Library) -> None:
    (old, kept), new = library.ids(2, 3), track_id(library.retagged)
    assert {c[:2] for c in library.copies(1, "tags ann", "tags bob")} == {
        ("tags ann", new),
        ("tags ann", kept),
        ("tags bob", old),
    }
    assert {old, new, kept} <= library.tracks(1)
    assert (library.counts[2]["tracks"], library.counts[2]["copies"]) == (0, 1)
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        assert old not in library.tracks(2, table)
        assert {new, kept} <= library.tracks(2, table)
    assert {c[:2] for c in library.copies(2, "tags bob")} == {("tags bob", new)}


def test_a_track_whose_last_copy_moves_to_another_listener_stays(library: Library) -> None:
    moved, instead = library.ids(4, 5)
    assert {c[:2] for c in library.copies(1, "move ann", "move bob")} == {("move ann", instead), ("move bob", moved)}
    assert {moved, instead} <= library.tracks(1)


def test_what_is_read_again_is_what_is_new_changed_or_was_removed(library: Library) -> None:
    """Not what has another time only; and the rows of what is read again are the same as before."""
    assert library.counts[1]["tracks"] == 4  # the retagged, the one instead of the moved, the mended, the removed
    (removed,) = library.ids(6)
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        before, after = (library.rows(n, table).set_index("track_id") for n in (0, 1))
        pd.testing.assert_frame_equal(after.loc[before.index], before)
        assert removed in before.index
    times = [library.rows(n, MANIFEST).set_index("uri")["file_mtime_us"] for n in (0, 1)]
    uri = (library.tree / "folders/x/y/b.FLAC").as_uri()
    assert times[0][uri] != times[1][uri] == 10**15


def test_bad_files_among_good_ones(library: Library) -> None:
    """They leave quarantine when they are mended or gone; a recording that is cut short is a track and says so."""
    rejected = library.rows(0, QUARANTINE).set_index("uri")["message"]
    assert set(rejected.index) == {(library.tree / place).as_uri() for place in (*BAD, *STRAY)}
    for place in BAD:
        assert Path(place).name in rejected[(library.tree / place).as_uri()]
    tracks = library.rows(0, LIBRARY_TRACKS).set_index("track_id")["length_status"]
    good, half = library.ids(7)[0], track_id(library.tree / "bad ann/half.flac")
    assert (tracks[good], tracks[half]) == ("ok", "shorter")
    left = set(library.rows(1, QUARANTINE)["uri"])
    assert left == {(library.tree / place).as_uri() for place in (*NEVER_READ, *STRAY)}
    assert library.rows(2, QUARANTINE).empty
    assert not (library.rows(2, MANIFEST)["status"] == "quarantined").any()


def test_user_names_the_listener_of_everything(
    record: Record, tmp_path: Path, run_job: RunJob, warehouse: Warehouse, rows_of: Rows
) -> None:
    tree = tmp_path / "tree"
    files = [record(tree / "a.flac", 0), record(tree / "x/b.flac", 1)]
    run_job(ingest_library.main, "--source", tree, exit_code=3)  # a.flac is nobody's
    run_job(ingest_library.main, "--source", tree, "--user", "  Zoe\u0308 ")
    assert copies(warehouse, rows_of) == {
        ("x", track_id(files[1]), files[1].as_uri()),
        *(("Zoë", track_id(path), path.as_uri()) for path in files),
    }
    assert rows_of(warehouse, QUARANTINE).empty
    one = run_job(ingest_library.main, "--source", files[1], "--user", "carl")["counts"]
    assert (one["files"], one["skipped"], one["tracks"], one["copies"]) == (1, 1, 0, 1)
    assert ("carl", track_id(files[1]), files[1].as_uri()) in copies(warehouse, rows_of)


def test_analyses_of_a_former_version_are_made_again_once(
    record: Record, run_job: RunJob, tmp_path: Path, rows_of: Rows, warehouse: Warehouse
) -> None:
    tree, outputs = tmp_path / "tree", (LIBRARY_TRACKS, LIBRARY_ANALYSIS, BEAT_CHROMA, MSD_GENRE_FEATURES)
    files = [record(tree / f"x/{seed}.flac", seed) for seed in range(2)]
    jobs = ((ingest_library, "--source", tree), (extract_chroma,), (extract_genre_features,))
    for module, *arguments in jobs:
        run_job(module.main, *arguments)
    before = [rows_of(warehouse, table) for table in outputs]
    uris = rows_of(warehouse, MANIFEST).set_index("uri")["sha256"]
    former = warehouse.lookup(LIBRARY_ANALYSIS, "track_id", "", "~").to_pandas()
    former["sha256"] = [uris[path.as_uri()] for path in sorted(files, key=track_id)]
    former[["tempo_candidates", "tempo_probabilities"]] = None
    former["beats_start"] = [beats[::2] for beats in former["beats_start"]]
    warehouse.merge(
        LIBRARY_ANALYSIS, pa.Table.from_pandas(former, arrow_schema(LIBRARY_ANALYSIS), preserve_index=False)
    )
    for module in (extract_chroma, extract_genre_features):
        run_job(module.main)
    assert not before[outputs.index(BEAT_CHROMA)].equals(rows_of(warehouse, BEAT_CHROMA))
    deleted = track_id(files[1])
    files[1].unlink()
    counts = [run_job(module.main, *arguments)["counts"] for module, *arguments in jobs]
    assert [(one["tracks"], one["skipped"]) for one in counts] == [(1, 0), (2, 1), (4, 3)]
    for table, rows in zip(outputs, before, strict=True):
        found = rows_of(warehouse, table)
        pd.testing.assert_frame_equal(found[found["track_id"] != deleted], rows[rows["track_id"] != deleted])
    assert [run_job(module.main, *arguments)["counts"]["skipped"] for module, *arguments in jobs] == [1, 2, 4]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--source", "hdfs://nowhere/music"), "is not local"),
        (("--source", "nowhere"), "does not exist"),
        (("--source", ".", "--user", " "), "--user is empty or contains unprintable"),
        (("--source", ".", "--user", "a\nb"), "--user is empty or contains unprintable"),
        ((), "required: --source"),
    ],
)
def test_what_cannot_be_ingested(arguments: tuple[str, ...], says: str, refusal: Callable[..., str]) -> None:
    assert says in refusal(ingest_library, *arguments)


def test_an_empty_tree_is_no_error(tmp_path: Path, spark: SparkSession, prepare: Callable[..., Any]) -> None:
    (tmp_path / "tree").mkdir()
    job, run = prepare(ingest_library, "--source", tmp_path / "tree")
    job.body(run)
    assert set(run.counts.values()) == {0}
