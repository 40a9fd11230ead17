"""Hashing and analysis of audio files, called directly with record batches."""

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
from reprise.udfs.audio_files import analyse_audio_files, hash_files, library_track_id
from reprise.udfs.sandbox import Sandbox

Record = Callable[..., Path]


def listed(*paths: Path, **more: Any) -> list[pa.RecordBatch]:
    constants = {"file_size": 1, "file_mtime_us": 2, "fault_kind": None, "fault": None, **more}
    return [pa.RecordBatch.from_pylist([{"uri": path.as_uri(), **constants} for path in paths])]


def tables(parts: Iterator[tuple[str, pa.RecordBatch]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, batch in parts:
        found.setdefault(name, []).extend(batch.to_pylist())
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_are_hashed_and_unreadable_ones_quarantined(tmp_path: Path) -> None:
    file, fifo, folder = tmp_path / "a.wav", tmp_path / "fifo.wav", tmp_path / "folder.wav"
    file.write_bytes(b"anything")
    os.mkfifo(fifo)
    folder.mkdir()
    gone = tmp_path / "gone.wav"
    found = tables(hash_files(listed(file, fifo, folder, gone), job="s", run_id="r"))
    assert found.keys() == {MANIFEST.name, QUARANTINE.name}
    assert [row["sha256"] for row in found[MANIFEST.name]] == [sha256(file), None, None, None]
    assert [row["status"] for row in found[MANIFEST.name]] == ["done", *["quarantined"] * 3]
    assert [row["error_class"] for row in found[QUARANTINE.name]] == ["not_a_file", "not_a_file", "unreadable"]


def test_faults_of_the_listing_are_quarantined_without_opening_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(b"anything")
    found = tables(hash_files(listed(file, fault_kind="kind", fault="message"), job="s", run_id="r"))
    assert [(row["error_class"], row["message"]) for row in found[QUARANTINE.name]] == [("kind", "message")]
    assert [(row["status"], row["sha256"]) for row in found[MANIFEST.name]] == [("quarantined", None)]


def test_track_rows_come_before_manifest_rows(record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good, bad = record(tmp_path / "no tags.flac"), tmp_path / "bad.mp3"
    bad.write_bytes(b"no audio" * 999)
    changed = record(tmp_path / "changed.flac", 1)
    batches = [*listed(good, sha256=sha256(good)), *listed(bad, sha256=sha256(bad)), *listed(changed, sha256="0" * 64)]
    with Sandbox(tmp_path) as sandbox:
        monkeypatch.setattr(sandboxes, "sandbox", lambda: sandbox)
        parts = list(analyse_audio_files(batches, job="s", run_id="r"))
        assert not list(tmp_path.glob("signals-*/*"))  # a killed worker leaves no samples on the disk
    order = [LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE]
    assert [name for name, batch in parts if batch.num_rows] == [table.name for table in order]
    found = tables(iter(parts))
    (track,), (analysis,) = found[LIBRARY_TRACKS.name], found[LIBRARY_ANALYSIS.name]
    assert track["track_id"] == analysis["track_id"] == f"LB{sha256(good)[:16]}" == library_track_id(sha256(good))
    assert (track["title"], track["artist_name"], track["genre_tags"]) == ("no tags", None, [])
    assert len(analysis["segments_pitches"]) == 12 * len(analysis["segments_start"])
    assert [row["status"] for row in found[MANIFEST.name]] == ["done", "quarantined", "quarantined"]
    # a file that changed while it was read has no hash in the manifest, so that the next run tries it again
    assert [row["sha256"] for row in found[MANIFEST.name]] == [sha256(good), sha256(bad), None]
    assert [row["error_class"] for row in found[QUARANTINE.name]] == ["not_audio", "changed"]


def test_long_file_yields_heartbeats(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(*_: object) -> None:
        time.sleep(0.5)
        raise InputError("kind", "message")

    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(audio_files, "_analyse_file", read)
    parts = list(analyse_audio_files(listed(tmp_path / "a.wav", sha256="0"), job="s", run_id="r"))
    beats = [batch for name, batch in parts if name == MANIFEST.name and not batch.num_rows]
    assert len(beats) >= 2
    assert [batch.num_rows for _, batch in parts if batch.num_rows] == [1, 1]


def test_error_of_the_machine_ends_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audio_files, "_analyse_file", read)
    with pytest.raises(OSError, match="No space left"):
        list(analyse_audio_files(listed(tmp_path / "a.wav", sha256="0"), job="s", run_id="r"))
