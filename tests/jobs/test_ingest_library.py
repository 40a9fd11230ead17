"""Listeners' audio into tables: what a file becomes, whose it is, and what happens when it changes."""

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import extract_chroma, find_covers, ingest_library
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.analysis.analyser import analyse
from reprise.lib.audio.decoding import decode
from reprise.lib.tables import (
    BEAT_CHROMA,
    JOB_RUNS,
    LIBRARY_ANALYSIS,
    LIBRARY_COPIES,
    LIBRARY_TRACKS,
    MANIFEST,
    QUARANTINE,
    Table,
)

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
Record = Callable[..., Path]
WRITTEN = (LIBRARY_TRACKS, LIBRARY_ANALYSIS, LIBRARY_COPIES, MANIFEST, QUARANTINE)
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


def versions(warehouse: Warehouse) -> dict[str, int]:
    return {k: v for k, v in Warehouse(warehouse.root).versions().items() if k != JOB_RUNS.name}


def copies(warehouse: Warehouse, rows_of: Rows) -> set[tuple[str, str, str]]:
    """Listener, track and file of each copy."""
    rows = rows_of(warehouse, LIBRARY_COPIES)
    return {(r.user_id, r.track_id, r.uri) for r in rows.itertuples()}


@pytest.fixture(scope="module")
def songs(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five recordings, ``0.flac`` to ``4.flac``, and the first of them with other tags, ``retagged.flac``."""
    folder = tmp_path_factory.mktemp("songs")
    for seed in range(5):
        record(folder / f"{seed}.flac", seed, title=f"Song {seed}", artist="Ann")
    record(folder / "retagged.flac", 0, title="Song 0 again", artist="Ann")
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tmp_path / "tree"


def put(song: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(song, place))


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


def test_chroma_and_covers_take_library_tracks(
    every_format: tuple[dict[str, Path], Warehouse],
    warehouse: Warehouse,
    run_job: Run,
    rows_of: Rows,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files, ingested = every_format
    shutil.copytree(ingested.root, warehouse.root)
    assert run_job(extract_chroma.main)["counts"]["extracted"] == len(CODECS)
    chroma = rows_of(warehouse, BEAT_CHROMA)
    assert set(chroma["track_id"]) == {track_id(path) for path in files.values()}
    assert run_job(extract_chroma.main)["counts"]["skipped"] == len(CODECS)
    said = run_job(find_covers.main, "--track", track_id(files[".mp3"]), exit_code=2)["error"]
    assert "there is no model" in said


def test_folders_are_listeners(songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    decomposed = unicodedata.normalize("NFD", "Zoë Ångström")
    one, other = put(songs / "0.flac", tree / decomposed / "a.flac"), put(songs / "1.flac", tree / "bob/x/y/b.FLAC")
    for hidden in (".Trash/c.flac", "bob/.cache/c.flac", "bob/._b.flac", ".c.flac"):
        put(songs / "2.flac", tree / hidden)
    stray = put(songs / "3.flac", tree / "stray.flac")
    (tree / "list.m3u8").write_text("#EXTM3U\nbob/x/y/b.FLAC\n")
    (tree / "bob/cover.jpg").write_bytes(b"")
    counts = run_job(ingest_library.main, "--source", tree, "--max-bad", "0.5")["counts"]
    assert copies(warehouse, rows_of) == {
        (unicodedata.normalize("NFC", decomposed), track_id(one), one.as_uri()),
        ("bob", track_id(other), other.as_uri()),
    }
    rejected = rows_of(warehouse, QUARANTINE)
    assert rejected["uri"].tolist() == [(tree / "list.m3u8").as_uri(), stray.as_uri()]
    assert set(rejected["error_class"]) == {"no_listener"}
    assert rejected["message"].str.contains("--user").all()
    assert (counts["files"], counts["quarantined"], counts["tracks"], counts["copies"]) == (4, 2, 2, 2)


def test_user_names_the_listener_of_everything(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    files = [put(songs / "0.flac", tree / "a.flac"), put(songs / "1.flac", tree / "x/b.flac")]
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


def test_duplicates_are_one_track_and_one_copy_a_listener(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    song, other = songs / "0.flac", songs / "1.flac"
    places = [tree / name for name in ("ann/a/1.flac", "ann/b.flac", "ann/c.flac", "bob/mine.flac", "bob/sub/too.flac")]
    for place in places:
        put(song, place)
    put(other, tree / "bob/other.flac")
    counts = run_job(ingest_library.main, "--source", tree, "--conf", "files_per_task=1")["counts"]
    assert (counts["tracks"], counts["copies"], counts["duplicates"]) == (2, 3, 3)
    assert len(rows_of(warehouse, LIBRARY_TRACKS)) == 2
    alike = {(user, uri) for user, track, uri in copies(warehouse, rows_of) if track == track_id(song)}
    assert alike == {("ann", places[0].as_uri()), ("bob", places[3].as_uri())}
    manifest = rows_of(warehouse, MANIFEST).set_index("uri")
    assert manifest.loc[[place.as_uri() for place in places], "status"].tolist() == [
        *("done", "duplicate", "duplicate", "done", "duplicate")
    ]
    before = versions(warehouse)
    assert run_job(ingest_library.main, "--source", tree)["counts"]["skipped"] == 6
    assert versions(warehouse) == before
    # the copy goes to the next in the order of names, and what nobody has any more stays
    places[0].unlink()
    (tree / "bob/other.flac").unlink()
    assert run_job(ingest_library.main, "--source", tree)["counts"]["tracks"] == 0
    assert ("ann", track_id(song), places[1].as_uri()) in copies(warehouse, rows_of)
    assert len(rows_of(warehouse, LIBRARY_TRACKS)) == 2
    # a name that comes before
    first = put(song, tree / "ann/_.flac")
    run_job(ingest_library.main, "--source", tree)
    assert ("ann", track_id(song), first.as_uri()) in copies(warehouse, rows_of)


def test_new_tags_are_another_track_and_the_old_one_goes_with_its_last_copy(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    old, new = track_id(songs / "0.flac"), track_id(songs / "retagged.flac")
    places = [put(songs / "0.flac", tree / user / "a.flac") for user in ("ann", "bob")]
    put(songs / "1.flac", tree / "ann/b.flac")
    run_job(ingest_library.main, "--source", tree)
    put(songs / "retagged.flac", places[0])
    counts = run_job(ingest_library.main, "--source", tree)["counts"]
    assert (counts["tracks"], counts["copies"]) == (1, 1)
    assert {old, new} < set(rows_of(warehouse, LIBRARY_TRACKS)["track_id"])
    assert {c[:2] for c in copies(warehouse, rows_of)} == {
        ("ann", new),
        ("ann", track_id(songs / "1.flac")),
        ("bob", old),
    }
    put(songs / "retagged.flac", places[1])
    counts = run_job(ingest_library.main, "--source", tree)["counts"]
    assert (counts["tracks"], counts["copies"]) == (0, 1)
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        assert set(rows_of(warehouse, table)["track_id"]) == {new, track_id(songs / "1.flac")}
    assert {c[:2] for c in copies(warehouse, rows_of) if c[0] == "bob"} == {("bob", new)}
    before = versions(warehouse)
    run_job(ingest_library.main, "--source", tree)
    assert versions(warehouse) == before


def test_a_track_whose_last_copy_moves_to_another_listener_stays(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    place = put(songs / "0.flac", tree / "ann/a.flac")
    run_job(ingest_library.main, "--source", tree)
    put(songs / "0.flac", tree / "bob/a.flac")
    put(songs / "1.flac", place)
    assert run_job(ingest_library.main, "--source", tree)["counts"]["tracks"] == 1
    assert len(rows_of(warehouse, LIBRARY_TRACKS)) == 2


def test_a_track_that_another_run_removed_is_read_again(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    put(songs / "0.flac", tree / "ann/a.flac")
    run_job(ingest_library.main, "--source", tree)
    rows = rows_of(warehouse, LIBRARY_ANALYSIS)
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        warehouse.merge(table, [], delete=pa.table({"track_id": rows["track_id"].tolist()}))
    assert run_job(ingest_library.main, "--source", tree)["counts"]["tracks"] == 1
    pd.testing.assert_frame_equal(rows_of(warehouse, LIBRARY_ANALYSIS), rows)


def test_bad_files_among_good_ones(songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    good = put(songs / "0.flac", tree / "ann/good.flac")
    half = put(songs / "1.flac", tree / "ann/half.flac")
    os.truncate(half, half.stat().st_size // 2)
    bad = tree / "ann/bad.mp3"
    bad.write_bytes(b"no audio " * 500)
    again = put(bad, tree / "bob/the same.mp3")
    (tree / "ann/empty.wav").touch()
    (tree / "ann/link.flac").symlink_to(songs / "2.flac")
    os.mkfifo(tree / "bob/pipe.ogg")
    wrong = [bad, again, tree / "ann/empty.wav", tree / "ann/link.flac", tree / "bob/pipe.ogg"]
    said = run_job(ingest_library.main, "--source", tree, exit_code=3)
    counts = said["counts"]
    assert (counts["files"], counts["quarantined"], counts["tracks"], counts["flagged"]) == (7, 5, 2, 1)
    rejected = rows_of(warehouse, QUARANTINE).set_index("uri")
    assert set(rejected.index) == {path.as_uri() for path in wrong}
    for path in wrong:
        assert path.name in rejected["message"][path.as_uri()]
    tracks = rows_of(warehouse, LIBRARY_TRACKS).set_index("track_id")
    assert tracks["length_status"].to_dict() == {track_id(good): "ok", track_id(half): "shorter"}
    before = versions(warehouse)
    assert run_job(ingest_library.main, "--source", tree, exit_code=3)["counts"]["skipped"] >= 4
    assert versions(warehouse) == before
    # mended, removed
    put(songs / "3.flac", bad)
    for path in wrong[1:]:
        path.unlink()
    run_job(ingest_library.main, "--source", tree)
    assert rows_of(warehouse, QUARANTINE).empty
    assert (rows_of(warehouse, MANIFEST)["status"] == "done").all()


def test_force_and_touched_files_leave_the_same_rows(
    songs: Path, tree: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    files = [put(songs / f"{n % 2}.flac", tree / f"ann/{n}.flac") for n in range(3)]
    run_job(ingest_library.main, "--source", tree)
    before = [rows_of(warehouse, table) for table in WRITTEN]
    for path in files:
        os.utime(path, (1e9, 1e9))
    assert run_job(ingest_library.main, "--source", tree)["counts"]["tracks"] == 0
    assert run_job(ingest_library.main, "--source", tree, "--force")["counts"]["tracks"] == 2
    for table, rows in zip(WRITTEN, before, strict=True):
        volatile = ["file_mtime_us"] if table is MANIFEST else []
        pd.testing.assert_frame_equal(rows_of(warehouse, table).drop(columns=volatile), rows.drop(columns=volatile))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--source", "hdfs://nowhere/music"), "is not local"),
        (("--source", "nowhere"), "does not exist"),
        (("--source", ".", "--user", " "), "--user must be a name"),
        (("--source", ".", "--user", "a\nb"), "--user must be a name"),
        ((), "required: --source"),
    ],
)
def test_bad_usage_is_one_line(arguments: tuple[str, ...], says: str, run_job: Run) -> None:
    said = run_job(ingest_library.main, *arguments, exit_code=2)["error"]
    assert says in said
    assert said.count("\n") == 1


def test_an_empty_tree_is_no_error(tree: Path, run_job: Run, warehouse: Warehouse) -> None:
    tree.mkdir()
    assert set(run_job(ingest_library.main, "--source", tree)["counts"].values()) == {0}
