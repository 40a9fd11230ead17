"""Recordings of a plan: their choice, tags, playlists, histories, and the writing of their files."""

import csv
import io
import json
import re
import shutil
import uuid
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from reprise.lib.audio.encoding import FORMATS
from reprise.lib.files import sha256_of
from reprise.lib.music.sample import GENRE_NAMES, SamplePlan, compose, recording_files, track_id, truth, truth_columns
from reprise.lib.music.sample.playlists_and_histories import LISTENS_PER_HISTORY, make_playlists_and_histories
from reprise.lib.music.sample.recording_files import format_truth_csv, write_if_changed, write_recording
from reprise.lib.music.sample.recordings import Recording, choose_recordings, name_listeners, tag_recording
from reprise.lib.playlists import Entry, detect

PLAN = SamplePlan(900, seed=3)
RECORDINGS = choose_recordings(PLAN, 40, 3)
LISTENERS = name_listeners(PLAN, 3)
SHORT_PLAN = SamplePlan(400, seed=5)
SHORT = next(i for i in range(400) if SHORT_PLAN.track(i).state == 1 and SHORT_PLAN.track(i).length_s < 10)
SHORT_RECORDING = Recording(SHORT, "ada", "flac", "ada/A/B/01 C.flac", ("ada/Unsorted/01 C.flac", "bo/A/B/01 C.flac"))


def test_most_recordings_are_versions_of_works_that_stay_in_the_dataset() -> None:
    expected = [truth(PLAN, recording.index) for recording in RECORDINGS]
    versions = [row for row in expected if row["clique"] is not None]
    assert len(RECORDINGS) == len({recording.index for recording in RECORDINGS}) == 40
    assert len(versions) == 30
    assert all(row["version"] > 0 for row in versions)
    assert len({row["clique"] for row in versions}) == 30
    assert all(row["state"] == "normal" for row in expected)
    recorded = {recording.index for recording in RECORDINGS}
    columns = truth_columns(PLAN, np.arange(PLAN.n_tracks))
    remaining = {c for i, c in enumerate(columns["clique"]) if i not in recorded and c is not None}
    assert {row["clique"] for row in versions} <= remaining


def test_formats_and_listeners_alternate_and_some_recordings_have_copies() -> None:
    assert {recording.suffix for recording in RECORDINGS} == set(FORMATS)
    counts = [sum(recording.listener == listener for recording in RECORDINGS) for listener in LISTENERS]
    assert max(counts) - min(counts) <= 1
    paths = [path for recording in RECORDINGS for path in (recording.path, *recording.copies)]
    assert len(paths) == len(set(paths))
    shared = [r for r in RECORDINGS if {path.partition("/")[0] for path in r.copies} - {r.listener}]
    assert len(shared) == 6
    assert RECORDINGS[0].copies[0].startswith(f"{RECORDINGS[0].listener}/Unsorted/")


def test_paths_are_valid_on_every_file_system() -> None:
    for recording in RECORDINGS:
        for path in (recording.path, *recording.copies):
            parts = PurePosixPath(path).parts
            assert parts[0] in LISTENERS
            assert all(part not in (".", "..") and part == part.strip() for part in parts)
            assert not re.search(r'[\\:*?"<>|\x00-\x1f]', path)
            assert all(len(part.encode()) < 255 for part in parts)
            assert re.fullmatch(r"\d\d .+\.(flac|ogg|mp3|m4a|wav|aiff|opus)", parts[-1])


def test_impossible_number_of_recordings_is_an_error() -> None:
    for count, users in ((5, 0), (-1, 2), (901, 3)):
        with pytest.raises(ValueError, match="recordings"):
            choose_recordings(PLAN, count, users)
    assert choose_recordings(PLAN, 0, 1) == ()
    assert len(choose_recordings(SamplePlan(3, seed=1), 2, 5)) == 2
    assert len(set(name_listeners(PLAN, 300))) == 300


def test_choice_depends_only_on_the_plan() -> None:
    assert choose_recordings(PLAN, 40, 3) == RECORDINGS
    assert choose_recordings(SamplePlan(900, seed=4), 40, 3) != RECORDINGS


def test_tags_agree_with_the_truth() -> None:
    tags = [tag_recording(PLAN, recording.index) for recording in RECORDINGS]
    for tagged, recording in zip(tags, RECORDINGS, strict=True):
        expected = truth(PLAN, recording.index)
        assert tagged.genre.replace("/", "_") == expected["genre"] in GENRE_NAMES
        assert abs(tagged.bpm - expected["tempo_bpm"]) <= 0.5
        assert tagged.date == str(expected["year"])
        assert 1 <= tagged.track_number <= 12
        assert not tagged.isrc or re.fullmatch(r"[A-Z]{2}[A-Z0-9]{3}\d{7}", tagged.isrc)
        for mbid in (tagged.recording_mbid, tagged.artist_mbid, tagged.release_mbid):
            assert str(uuid.UUID(mbid)) == mbid
    assert len({tagged.recording_mbid for tagged in tags}) == len(tags)
    isrcs = [tagged.isrc for tagged in tags if tagged.isrc]
    assert len(isrcs) == len(set(isrcs))
    assert 0.6 < len(isrcs) / len(tags) < 1


def read_entries(name: str, content: bytes) -> list[Entry]:
    parser = detect(name, content)
    assert parser is not None
    found = list(parser.read(io.BytesIO(content)))
    assert all(isinstance(entry, Entry) for entry in found)
    return found  # type: ignore[return-value]


@pytest.mark.slow
def test_parsers_read_the_lists_and_find_the_recordings() -> None:
    lists = make_playlists_and_histories(PLAN, RECORDINGS, LISTENERS)
    assert lists == make_playlists_and_histories(PLAN, RECORDINGS, LISTENERS)
    assert sorted(lists) == sorted(
        [
            *(f"{listener}/Playlists/Favourites.m3u8" for listener in LISTENERS),
            f"{LISTENERS[0]}/listens.jsonl",
            f"{LISTENERS[1]}/lastfm.csv",
        ]
    )
    paths = {path for recording in RECORDINGS for path in (recording.path, *recording.copies)}
    for listener in LISTENERS:
        playlist = read_entries("Favourites.m3u8", lists[f"{listener}/Playlists/Favourites.m3u8"])
        listed = [f"{listener}/{(entry.path or '').removeprefix('../')}" for entry in playlist]
        assert [path in paths for path in listed] == [True] * (len(listed) - 3) + [False] * 3
        assert len(listed) > 8
    own_tracks = {(tags.artist, tags.title) for tags in (tag_recording(PLAN, r.index) for r in RECORDINGS)}
    for name in (f"{LISTENERS[0]}/listens.jsonl", f"{LISTENERS[1]}/lastfm.csv"):
        history = read_entries(name, lists[name])
        assert sum(entry.play_count for entry in history) == LISTENS_PER_HISTORY
        own_listens = sum(entry.play_count for entry in history if (entry.artist_name, entry.title) in own_tracks)
        assert 0.5 < own_listens / LISTENS_PER_HISTORY < 0.75
        assert any(entry.recording_mbid for entry in history)


def test_histories_have_the_formats_of_their_programs() -> None:
    lists = make_playlists_and_histories(PLAN, RECORDINGS, LISTENERS)
    listens = [json.loads(line) for line in lists[f"{LISTENERS[0]}/listens.jsonl"].splitlines()]
    times = [listen["listened_at"] for listen in listens]
    assert times == sorted(times)
    scrobbles = list(csv.DictReader(io.StringIO(lists[f"{LISTENERS[1]}/lastfm.csv"].decode())))
    assert [int(row["uts"]) for row in scrobbles] == sorted((int(row["uts"]) for row in scrobbles), reverse=True)
    assert re.fullmatch(r"\d\d \w{3} \d{4}, \d\d:\d\d", scrobbles[0]["utc_time"])


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def recording_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    assert write_recording(SHORT_PLAN, SHORT_RECORDING, folder) == 3
    return folder


def test_copies_are_equal_and_stems_sum_to_the_mix(recording_folder: Path) -> None:
    import soundfile

    libraries = [recording_folder / "library" / path for path in (SHORT_RECORDING.path, *SHORT_RECORDING.copies)]
    assert len({path.read_bytes() for path in libraries}) == 1
    stems = recording_folder / "stems" / track_id(SHORT_PLAN, SHORT)
    mix, rate = soundfile.read(libraries[0])
    parts = [soundfile.read(path)[0] for path in sorted(stems.glob("*.flac"))]
    assert len(parts) == 4
    assert rate == 44_100
    assert np.abs(sum(parts) - mix).max() < 1e-4
    assert np.abs(mix).max() > 0.05


def test_score_agrees_with_the_composition(recording_folder: Path) -> None:
    song = compose(SHORT_PLAN, SHORT)
    stems = recording_folder / "stems" / track_id(SHORT_PLAN, SHORT)
    notes = list(csv.DictReader((stems / "notes.csv").read_text("utf-8").splitlines()))
    assert [int(row["pitch"]) for row in notes] == song.notes.pitch.tolist()
    assert np.allclose([float(row["start_s"]) for row in notes], song.notes.start_s, atol=1e-5)
    beats = list(csv.DictReader((stems / "beats.csv").read_text("utf-8").splitlines()))
    assert np.allclose([float(row["time"]) for row in beats], song.beat_s, atol=1e-5)
    bars = [float(row["time"]) for row in beats if row["is_bar"] == "1"]
    assert np.allclose(bars, song.bar_s, atol=1e-5)


def test_existing_files_are_kept_and_missing_files_are_written_again(recording_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "again"
    shutil.copytree(recording_folder, copy)
    before = read_files(copy)
    assert not (copy / "unfinished").exists() or not any((copy / "unfinished").iterdir())
    assert write_recording(SHORT_PLAN, SHORT_RECORDING, copy) == 0
    (copy / "library" / SHORT_RECORDING.copies[1]).unlink()
    assert write_recording(SHORT_PLAN, SHORT_RECORDING, copy) == 1
    shutil.rmtree(copy / "stems")
    assert write_recording(SHORT_PLAN, SHORT_RECORDING, copy) == 0
    assert read_files(copy) == before


def test_interrupted_write_leaves_no_partial_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_interrupt(*_: object, **__: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(recording_files, "_write_score", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_recording(SHORT_PLAN, SHORT_RECORDING, tmp_path)
    assert not (tmp_path / "stems").exists()
    assert not (tmp_path / "library").exists()
    monkeypatch.undo()
    monkeypatch.setattr(recording_files, "encode", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_recording(SHORT_PLAN, SHORT_RECORDING, tmp_path)
    assert not (tmp_path / "library").exists()
    monkeypatch.undo()
    assert write_recording(SHORT_PLAN, SHORT_RECORDING, tmp_path) == 3


def test_truth_has_one_line_per_file(recording_folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(format_truth_csv(SHORT_PLAN, [SHORT_RECORDING], recording_folder).decode())))
    assert [row["file"] for row in rows] == [SHORT_RECORDING.path, *SHORT_RECORDING.copies]
    assert [row["user"] for row in rows] == ["ada", "ada", "bo"]
    digest = sha256_of(recording_folder / "library" / SHORT_RECORDING.path)
    assert {row["library_id"] for row in rows} == {f"LB{digest[:16]}"}
    expected = truth(SHORT_PLAN, SHORT)
    assert rows[0]["track_id"] == expected["track_id"]
    assert rows[0]["genre"] == expected["genre"]
    instruments = [
        expected[part] for part in ("drums", "bass", "harmony", "lead") if part != "drums" or not expected["drumless"]
    ]
    assert rows[0]["instruments"].split(";") == instruments


def test_write_if_changed_keeps_equal_files(tmp_path: Path) -> None:
    write_if_changed(tmp_path, "a/b.csv", b"one")
    before = (tmp_path / "a/b.csv").stat().st_mtime_ns
    write_if_changed(tmp_path, "a/b.csv", b"one")
    assert (tmp_path / "a/b.csv").stat().st_mtime_ns == before
    write_if_changed(tmp_path, "a/b.csv", b"two")
    assert (tmp_path / "a/b.csv").read_bytes() == b"two"
