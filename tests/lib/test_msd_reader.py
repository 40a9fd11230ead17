"""The reader compared with plain h5py on every field of every real file, and on aggregates of these songs."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.msd import FIELDS, reader
from reprise.lib.msd.fields import SEGMENTS
from reprise.lib.msd.track_structure import TrackStructure, UnsupportedLayout

WAYS = ["path", "bytes", "h5py on bytes", "h5py on a path"]
GROUPS = ["analysis", "metadata", "musicbrainz"]
IDS = {"artist_7digitalid", "artist_playmeid", "release_7digitalid", "track_7digitalid"}


def plain(path):
    """Return every table member and every array of a one-song file, as read by h5py."""
    values: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        for group in GROUPS:
            for name, dataset in file[group].items():
                if name == "songs":
                    row = dataset[0]
                    values |= {member: row[member] for member in row.dtype.names}
                else:
                    values[name] = dataset[...]
    return values


def expected(name, value):
    """Return the reader's expected result for one value of h5py."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "S":
            return [text.decode("utf-8", "replace") for text in value]
        return value.astype(np.int32 if value.dtype.kind == "i" else np.float32)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") or None
    if np.isnan(value) or (name in IDS and value == -1) or (name == "year" and value == 0):
        return None
    return value.item()


def same(one, other):
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and one == other


def source_of(path, way, monkeypatch):
    """Return the file as a source for the reader and select the given code path."""
    if way.startswith("h5py"):
        monkeypatch.setattr(reader, "TrackStructure", refuse)
    if way == "h5py on a path":
        monkeypatch.setattr(reader, "MAX_CONTENT_BYTES", 0)
    return path.read_bytes() if "bytes" in way else path


def refuse(_):
    raise UnsupportedLayout


@pytest.fixture(scope="session")
def real_files(shared_data):
    files = sorted((shared_data / "msd").rglob("*.h5"))
    assert len(files) == 260
    return files


@pytest.fixture(scope="session")
def oracle(real_files):
    return {path: plain(path) for path in real_files}


@pytest.fixture(scope="session")
def real_aggregate(shared_data):
    return shared_data / "msd_bad" / "compact_aggregate_kx-Huang.h5"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.slow
def test_every_field_of_every_real_file(oracle, way, monkeypatch):
    for path, values in oracle.items():
        result = msd.read(source_of(path, way, monkeypatch), expect_id=path.stem)
        assert list(result) == list(FIELDS)
        assert set(result) == set(values)
        for name, value in values.items():
            assert len(result[name]) == 1
            assert same(result[name][0], expected(name, value)), (path.name, name)


def test_real_files_are_read_without_h5py(real_files):
    """Real files must use the fast code path; if not, it is dead code."""
    for path in real_files:
        with msd.open_msd(path) as file:
            file.read()
            assert isinstance(file._structure, TrackStructure)


@pytest.mark.parametrize("way", WAYS)
def test_real_aggregate(real_aggregate, way, monkeypatch):
    with h5py.File(real_aggregate) as plain_file:
        starts = plain_file["analysis/segments_start"][...]
        bounds = [*plain_file["analysis/songs"]["idx_segments_start"], len(starts)]
    with msd.open_msd(source_of(real_aggregate, way, monkeypatch)) as file:
        assert file.n_songs == 3
        result = file.read()
    assert result["track_id"] == ["TRAAADZ128F9348C2E", "TRAAABD128F429CF47", "TRAAAAW128F429D538"]
    for song in range(3):
        part = starts[bounds[song] : bounds[song + 1]]
        assert same(result["segments_start"][song], part.astype(np.float32))


def test_song_of_the_real_aggregate_equals_its_track_file(real_aggregate, shared_data):
    alone = msd.read(shared_data / "msd" / msd.track_path("TRAAAAW128F429D538"))
    together = msd.read(real_aggregate)
    for name in FIELDS:
        if not name.startswith("idx_"):
            assert same(together[name][2], alone[name][0]), name


def test_slices_of_an_aggregate_equal_the_whole_read(real_aggregate):
    with msd.open_msd(real_aggregate) as file:
        whole = file.read()
        for start in range(4):
            for stop in range(start, 4):
                part = file.read(start=start, stop=stop)
                for name, values in whole.items():
                    assert len(part[name]) == stop - start
                    assert all(map(same, part[name], values[start:stop])), name


@pytest.mark.parametrize("way", WAYS)
def test_slices_of_a_written_aggregate_with_empty_songs(way, monkeypatch, tmp_path):
    songs = [song(number, segments) for number, segments in enumerate([3, 0, 9000, 0, 0, 1, 0])]
    path = tmp_path / "aggregate.h5"
    msd.write(path, songs)
    with msd.open_msd(source_of(path, way, monkeypatch)) as file:
        for start, stop in [(0, 7), (0, 1), (1, 3), (2, 5), (3, 5), (6, 7), (5, 7)]:
            part = file.read(["segments_pitches", "year", "artist_mbtags"], start, stop)
            for place, values in enumerate(songs[start:stop]):
                assert same(part["segments_pitches"][place], values["segments_pitches"])
                assert part["year"][place] == values["year"]
                assert part["artist_mbtags"][place] == values["artist_mbtags"]


def song(number, segments):
    random = np.random.default_rng(number)
    arrays = {name: random.random(segments).astype(np.float32) for name in SEGMENTS}
    arrays["segments_start"] = np.arange(segments, dtype=np.float32)
    for name in ("segments_pitches", "segments_timbre"):
        arrays[name] = random.random((segments, 12)).astype(np.float32)
    tags = {"artist_mbtags": ["rock"] * number, "artist_mbtags_count": np.arange(number)}
    return {"track_id": f"TRAAAAA{number:011d}", "year": 1900 + number, **tags, **arrays}


def test_only_requested_datasets_are_read(real_files):
    """The requested columns are read correctly after every chunk of all other datasets was overwritten."""
    columns = ["segments_start", "segments_pitches", "beats_start", "duration"]
    touched = {FIELDS[name].path for name in columns}
    content = bytearray(real_files[0].read_bytes())
    with h5py.File(real_files[0]) as file:
        for group in GROUPS:
            for dataset in file[group].values():
                for place in range(0 if dataset.name in touched else dataset.id.get_num_chunks()):
                    chunk = dataset.id.get_chunk_info(place)
                    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    result = msd.read(bytes(content), columns)
    correct = msd.read(real_files[0], columns)
    assert set(result) == set(columns)
    assert all(same(result[name][0], correct[name][0]) for name in columns)
    for name in set(FIELDS) - set(columns):
        if FIELDS[name].path not in touched and (
            FIELDS[name].is_scalar or len(msd.read(real_files[0], [name])[name][0])
        ):
            with pytest.raises(InputError):
                msd.read(bytes(content), [name])


def test_columns_follow_the_field_order_and_unknown_ones_are_rejected():
    content = msd.to_bytes([song(1, 2)])
    assert list(msd.read(content, ["year", "track_id"])) == ["track_id", "year"]
    assert msd.read(content, []) == {}
    with pytest.raises(ValueError, match="unknown fields"):
        msd.read(content, ["yaer"])


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 3), (2, 1)])
def test_range_outside_the_file_is_rejected(start, stop):
    with msd.open_msd(msd.to_bytes([song(1, 2), song(2, 2)])) as file, pytest.raises(ValueError, match="songs"):
        file.read(start=start, stop=stop)


def test_closed_file_is_rejected():
    with msd.open_msd(msd.to_bytes([song(1, 2)])) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_two_open_files_stay_separate(monkeypatch):
    """HDF5 treats two in-memory files with equal names as the same file."""
    monkeypatch.setattr(reader, "TrackStructure", refuse)
    with msd.open_msd(msd.to_bytes([song(1, 2)])) as one, msd.open_msd(msd.to_bytes([song(2, 2)])) as other:
        assert one.read(["year"]) == {"year": [1901]}
        assert other.read(["year"]) == {"year": [1902]}


def test_messages_name_the_file():
    with pytest.raises(InputError, match=r"^s3://bucket/x\.h5: "):
        msd.read(b"no", name="s3://bucket/x.h5")
    with pytest.raises(InputError, match=r"^cannot open x\.h5: "):
        msd.read(Path("/nowhere/x.h5"))


def test_track_path():
    assert str(msd.track_path("TRABCDE128F429D538")) == "A/B/C/TRABCDE128F429D538.h5"
    for bad in ("TRABC", "TRabcde128F429D538", "../../../etc/passwd", "TRABCDE128F429D538\n"):
        with pytest.raises(InputError) as caught:
            msd.track_path(bad)
        assert caught.value.kind == "bad_track_id"
