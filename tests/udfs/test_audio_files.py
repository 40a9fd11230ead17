"""Audio files into rows, where they are read."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from reprise.lib.errors import InputError
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE
from reprise.udfs import audio_files, heartbeat
from reprise.udfs import sandbox as sandboxes
from reprise.udfs.audio_files import NO_LISTENER, hash_files, library_track_id, read_audio
from reprise.udfs.known_tracks import find_known
from reprise.udfs.sandbox import Sandbox

Record = Callable[..., Path]


def listed(*paths: Path, fault: str | None = None, **more: Any) -> list[pa.RecordBatch]:
    rows = [{"uri": p.as_uri(), "file_size": 1, "file_mtime_us": 2, "fault": fault, **more} for p in paths]
    return [pa.RecordBatch.from_pylist(rows)]


def tables(parts: Iterator[tuple[str, pa.RecordBatch]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, batch in parts:
        found.setdefault(name, []).extend(batch.to_pylist())
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_hashes_and_what_has_none(tmp_path: Path) -> None:
    file, fifo, folder = tmp_path / "a.wav", tmp_path / "fifo.wav", tmp_path / "folder.wav"
    file.write_bytes(b"anything")
    os.mkfifo(fifo)
    folder.mkdir()
    gone = tmp_path / "gone.wav"
    found = tables(hash_files(listed(file, fifo, folder, gone), stage="s", run_id="r"))
    assert found.keys() == {MANIFEST.name, QUARANTINE.name}
    assert [row["sha256"] for row in found[MANIFEST.name]] == [sha256(file), None, None, None]
    assert [row["status"] for row in found[MANIFEST.name]] == ["done", *["quarantined"] * 3]
    assert [row["error_class"] for row in found[QUARANTINE.name]] == ["not_a_file", "not_a_file", "unreadable"]


@pytest.mark.parametrize(("fault", "kind"), [(NO_LISTENER, "no_listener"), ("is a folder", "not_a_file")])
def test_faults_of_the_listing_are_not_looked_at(fault: str, kind: str, tmp_path: Path) -> None:
    found = tables(hash_files(listed(tmp_path, fault=fault), stage="s", run_id="r"))
    assert [(row["error_class"], row["message"]) for row in found[QUARANTINE.name]] == [(kind, fault)]


def test_rows_of_tracks_come_before_those_that_vouch_for_them(
    record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good, bad = record(tmp_path / "no tags.flac"), tmp_path / "bad.mp3"
    bad.write_bytes(b"no audio" * 999)
    changed = record(tmp_path / "changed.flac", 1)
    batches = [*listed(good, sha256=sha256(good)), *listed(bad, sha256=sha256(bad)), *listed(changed, sha256="0" * 64)]
    with Sandbox(tmp_path) as sandbox:
        monkeypatch.setattr(sandboxes, "sandbox", lambda: sandbox)
        parts = list(read_audio(batches, stage="s", run_id="r"))
        assert not list(tmp_path.glob("signals-*/*"))  # a worker that is killed leaves no samples behind
    order = [LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE]
    assert [name for name, batch in parts if batch.num_rows] == [table.name for table in order]
    found = tables(iter(parts))
    (track,), (analysis,) = found[LIBRARY_TRACKS.name], found[LIBRARY_ANALYSIS.name]
    assert track["track_id"] == analysis["track_id"] == f"LB{sha256(good)[:16]}" == library_track_id(sha256(good))
    assert (track["title"], track["artist_name"], track["genre_tags"]) == ("no tags", None, [])
    assert len(analysis["segments_pitches"]) == 12 * len(analysis["segments_start"])
    assert [row["status"] for row in found[MANIFEST.name]] == ["done", "quarantined", "quarantined"]
    # what changed meanwhile has no hash in the books, and is tried again
    assert [row["sha256"] for row in found[MANIFEST.name]] == [sha256(good), sha256(bad), None]
    assert [row["error_class"] for row in found[QUARANTINE.name]] == ["not_audio", "changed"]


def test_a_long_file_does_not_look_like_a_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(*_: object) -> None:
        time.sleep(0.5)
        raise InputError("kind", "message")

    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(audio_files, "_read_file", read)
    parts = list(read_audio(listed(tmp_path / "a.wav", sha256="0"), stage="s", run_id="r"))
    beats = [batch for name, batch in parts if name == MANIFEST.name and not batch.num_rows]
    assert len(beats) >= 2
    assert [batch.num_rows for _, batch in parts if batch.num_rows] == [1, 1]


def test_what_is_no_fault_of_the_file_ends_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio_files, "_read_file", read)
    with pytest.raises(OSError, match="No space left"):
        list(read_audio(listed(tmp_path / "a.wav", sha256="0"), stage="s", run_id="r"))


def test_known_songs_are_those_with_a_wanted_key() -> None:
    names = ("track_id", "recording_mbid", "isrc", "artist_name", "title")
    rows = [
        ("1", None, None, "The Ann", "Song (Remastered)"),
        ("2", None, "USRC17607839", None, None),
        ("3", None, None, "Ann", None),
        ("4", None, None, None, None),
        ("5", None, None, "Bob", "Song"),
    ]
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    wanted = frozenset({"names:ann – song", "isrc:USRC17607839", "names:ann – "})
    assert [r["track_id"] for part in find_known([batch], wanted=wanted) for r in part.to_pylist()] == ["1", "2"]
    empty = next(iter(find_known([batch.slice(0, 0)], wanted=wanted)))
    assert (empty.num_rows, empty.schema) == (0, batch.schema)
