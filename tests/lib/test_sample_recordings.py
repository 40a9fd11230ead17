"""Recordings of a plan: who has them, what their files and lists say, and how they are written."""

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
from reprise.lib.music.sample import GENRE_NAMES, Plan, compose, recording_files, track_id, truth, truth_columns
from reprise.lib.music.sample.listening import LISTENS, write_lists
from reprise.lib.music.sample.recording_files import list_truth, put_file, write_recording
from reprise.lib.music.sample.recordings import Recording, choose_recordings, name_users, tag_recording
from reprise.lib.playlists import Entry, detect

PLAN = Plan(900, seed=3)
RECORDINGS = choose_recordings(PLAN, 40, 3)
USERS = name_users(PLAN, 3)
SHORT_PLAN = Plan(400, seed=5)
SHORT = next(i for i in range(400) if SHORT_PLAN.track(i).state == 1 and SHORT_PLAN.track(i).length_s < 10)
SHORTS = Recording(SHORT, "ada", "flac", "ada/A/B/01 C.flac", ("ada/Unsorted/01 C.flac", "bo/A/B/01 C.flac"))


def test_most_are_versions_whose_originals_stay() -> None:
    told = [truth(PLAN, recording.index) for recording in RECORDINGS]
    covers = [row for row in told if row["clique"] is not None]
    assert len(RECORDINGS) == len({recording.index for recording in RECORDINGS}) == 40
    assert len(covers) == 30
    assert all(row["version"] > 0 for row in covers)
    assert len({row["clique"] for row in covers}) == 30
    assert all(row["state"] == "normal" for row in told)
    recorded = {recording.index for recording in RECORDINGS}
    columns = truth_columns(PLAN, np.arange(PLAN.n_tracks))
    staying = {c for i, c in enumerate(columns["clique"]) if i not in recorded and c is not None}
    assert {row["clique"] for row in covers} <= staying


def test_formats_and_users_take_turns_and_some_are_held_twice() -> None:
    assert {recording.suffix for recording in RECORDINGS} == set(FORMATS)
    counts = [sum(recording.user == user for recording in RECORDINGS) for user in USERS]
    assert max(counts) - min(counts) <= 1
    paths = [path for recording in RECORDINGS for path in (recording.path, *recording.copies)]
    assert len(paths) == len(set(paths))
    shared = [r for r in RECORDINGS if {path.partition("/")[0] for path in r.copies} - {r.user}]
    assert len(shared) == 6
    assert RECORDINGS[0].copies[0].startswith(f"{RECORDINGS[0].user}/Unsorted/")


def test_paths_are_names_that_every_file_system_takes() -> None:
    for recording in RECORDINGS:
        for path in (recording.path, *recording.copies):
            parts = PurePosixPath(path).parts
            assert parts[0] in USERS
            assert all(part not in (".", "..") and part == part.strip() for part in parts)
            assert not re.search(r'[\\:*?"<>|\x00-\x1f]', path)
            assert all(len(part.encode()) < 255 for part in parts)
            assert re.fullmatch(r"\d\d .+\.(flac|ogg|mp3|m4a|wav|aiff|opus)", parts[-1])


def test_what_cannot_be_chosen_is_an_error() -> None:
    for count, users in ((5, 0), (-1, 2), (901, 3)):
        with pytest.raises(ValueError, match="recordings"):
            choose_recordings(PLAN, count, users)
    assert choose_recordings(PLAN, 0, 1) == ()
    assert len(choose_recordings(Plan(3, seed=1), 2, 5)) == 2
    assert len(set(name_users(PLAN, 300))) == 300


def test_choice_follows_from_the_plan() -> None:
    assert choose_recordings(PLAN, 40, 3) == RECORDINGS
    assert choose_recordings(Plan(900, seed=4), 40, 3) != RECORDINGS


def test_tags_say_what_the_dataset_says() -> None:
    tags = [tag_recording(PLAN, recording.index) for recording in RECORDINGS]
    for tag, recording in zip(tags, RECORDINGS, strict=True):
        told = truth(PLAN, recording.index)
        assert tag.genre.replace("/", "_") == told["genre"] in GENRE_NAMES
        assert abs(tag.bpm - told["tempo_bpm"]) <= 0.5
        assert tag.date == str(told["year"])
        assert 1 <= tag.track_number <= 12
        assert not tag.isrc or re.fullmatch(r"[A-Z]{2}[A-Z0-9]{3}\d{7}", tag.isrc)
        for mbid in (tag.recording_mbid, tag.artist_mbid, tag.release_mbid):
            assert str(uuid.UUID(mbid)) == mbid
    assert len({tag.recording_mbid for tag in tags}) == len(tags)
    coded = [tag.isrc for tag in tags if tag.isrc]
    assert len(coded) == len(set(coded))
    assert 0.6 < len(coded) / len(tags) < 1


def entries(name: str, content: bytes) -> list[Entry]:
    form = detect(name, content)
    assert form is not None
    found = list(form.read(io.BytesIO(content)))
    assert all(isinstance(entry, Entry) for entry in found)
    return found  # type: ignore[return-value]


def test_lists_are_read_by_the_parsers_and_name_what_is_there() -> None:
    lists = write_lists(PLAN, RECORDINGS, USERS)
    assert lists == write_lists(PLAN, RECORDINGS, USERS)
    assert sorted(lists) == sorted(
        [
            *(f"{user}/Playlists/Favourites.m3u8" for user in USERS),
            f"{USERS[0]}/listens.jsonl",
            f"{USERS[1]}/lastfm.csv",
        ]
    )
    paths = {path for recording in RECORDINGS for path in (recording.path, *recording.copies)}
    for user in USERS:
        playlist = entries("Favourites.m3u8", lists[f"{user}/Playlists/Favourites.m3u8"])
        listed = [f"{user}/{(entry.path or '').removeprefix('../')}" for entry in playlist]
        assert [path in paths for path in listed] == [True] * (len(listed) - 3) + [False] * 3
        assert len(listed) > 8
    known = {(tags.artist, tags.title) for tags in (tag_recording(PLAN, r.index) for r in RECORDINGS)}
    for name in (f"{USERS[0]}/listens.jsonl", f"{USERS[1]}/lastfm.csv"):
        heard = entries(name, lists[name])
        assert sum(entry.play_count for entry in heard) == LISTENS
        mine = sum(entry.play_count for entry in heard if (entry.artist_name, entry.title) in known)
        assert 0.5 < mine / LISTENS < 0.75
        assert any(entry.recording_mbid for entry in heard)


def test_histories_look_like_their_programs() -> None:
    lists = write_lists(PLAN, RECORDINGS, USERS)
    listens = [json.loads(line) for line in lists[f"{USERS[0]}/listens.jsonl"].splitlines()]
    times = [listen["listened_at"] for listen in listens]
    assert times == sorted(times)
    scrobbles = list(csv.DictReader(io.StringIO(lists[f"{USERS[1]}/lastfm.csv"].decode())))
    assert [int(row["uts"]) for row in scrobbles] == sorted((int(row["uts"]) for row in scrobbles), reverse=True)
    assert re.fullmatch(r"\d\d \w{3} \d{4}, \d\d:\d\d", scrobbles[0]["utc_time"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    assert write_recording(SHORT_PLAN, SHORTS, folder) == 3
    return folder


def test_files_are_copies_and_stems_sum_to_the_mix(written: Path) -> None:
    import soundfile

    libraries = [written / "library" / path for path in (SHORTS.path, *SHORTS.copies)]
    assert len({path.read_bytes() for path in libraries}) == 1
    stems = written / "stems" / track_id(SHORT_PLAN, SHORT)
    mix, rate = soundfile.read(libraries[0])
    parts = [soundfile.read(path)[0] for path in sorted(stems.glob("*.flac"))]
    assert len(parts) == 4
    assert rate == 44_100
    assert np.abs(sum(parts) - mix).max() < 1e-4
    assert np.abs(mix).max() > 0.05


def test_score_is_that_of_the_composition(written: Path) -> None:
    song = compose(SHORT_PLAN, SHORT)
    stems = written / "stems" / track_id(SHORT_PLAN, SHORT)
    notes = list(csv.DictReader((stems / "notes.csv").read_text("utf-8").splitlines()))
    assert [int(row["pitch"]) for row in notes] == song.notes.pitch.tolist()
    assert np.allclose([float(row["start_s"]) for row in notes], song.notes.start_s, atol=1e-5)
    beats = list(csv.DictReader((stems / "beats.csv").read_text("utf-8").splitlines()))
    assert np.allclose([float(row["time"]) for row in beats], song.beat_s, atol=1e-5)
    bars = [float(row["time"]) for row in beats if row["is_bar"] == "1"]
    assert np.allclose(bars, song.bar_s, atol=1e-5)


def test_what_is_there_is_left_alone_and_what_is_lost_comes_back(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(written, again)
    whole = contents(again)
    assert not (again / "unfinished").exists() or not any((again / "unfinished").iterdir())
    assert write_recording(SHORT_PLAN, SHORTS, again) == 0
    (again / "library" / SHORTS.copies[1]).unlink()
    assert write_recording(SHORT_PLAN, SHORTS, again) == 1
    shutil.rmtree(again / "stems")
    assert write_recording(SHORT_PLAN, SHORTS, again) == 0
    assert contents(again) == whole


def test_killed_while_it_writes_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object, **__: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(recording_files, "_write_score", die)
    with pytest.raises(KeyboardInterrupt):
        write_recording(SHORT_PLAN, SHORTS, tmp_path)
    assert not (tmp_path / "stems").exists()
    assert not (tmp_path / "library").exists()
    monkeypatch.undo()
    monkeypatch.setattr(recording_files, "encode", die)
    with pytest.raises(KeyboardInterrupt):
        write_recording(SHORT_PLAN, SHORTS, tmp_path)
    assert not (tmp_path / "library").exists()
    monkeypatch.undo()
    assert write_recording(SHORT_PLAN, SHORTS, tmp_path) == 3


def test_truth_has_a_line_a_file(written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(list_truth(SHORT_PLAN, [SHORTS], written).decode())))
    assert [row["file"] for row in rows] == [SHORTS.path, *SHORTS.copies]
    assert [row["user"] for row in rows] == ["ada", "ada", "bo"]
    digest = sha256_of(written / "library" / SHORTS.path)
    assert {row["library_id"] for row in rows} == {f"LB{digest[:16]}"}
    told = truth(SHORT_PLAN, SHORT)
    assert rows[0]["track_id"] == told["track_id"]
    assert rows[0]["genre"] == told["genre"]
    played = [told[part] for part in ("drums", "bass", "harmony", "lead") if part != "drums" or not told["drumless"]]
    assert rows[0]["instruments"].split(";") == played


def test_put_file_replaces_only_what_differs(tmp_path: Path) -> None:
    put_file(tmp_path, "a/b.csv", b"one")
    before = (tmp_path / "a/b.csv").stat().st_mtime_ns
    put_file(tmp_path, "a/b.csv", b"one")
    assert (tmp_path / "a/b.csv").stat().st_mtime_ns == before
    put_file(tmp_path, "a/b.csv", b"two")
    assert (tmp_path / "a/b.csv").read_bytes() == b"two"
