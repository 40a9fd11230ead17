"""The reader against plain h5py on every field of every real file, and on aggregates made of them."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.msd import FIELDS, reader

WAYS = ["path", "bytes", "library on bytes", "library on a path"]
GROUPS = ["analysis", "metadata", "musicbrainz"]
IDS = {"artist_7digitalid", "artist_playmeid", "release_7digitalid", "track_7digitalid"}


def plain(path):
    """Every member of every table and every array of a one-song file, as h5py gives them."""
    values = {}
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
    """What the reader must make of one plain value."""
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
    """The file as a source for the reader that goes the given way."""
    if way.startswith("library"):
        monkeypatch.setattr(reader, "Image", refuse)
    if way == "library on a path":
        monkeypatch.setattr(reader, "MAX_CONTENT", 0)
    return path.read_bytes() if "bytes" in way else path


def refuse(_):
    raise reader.Unusual


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
def test_every_field_of_every_real_file(oracle, way, monkeypatch):
    for path, values in oracle.items():
        result = msd.read(source_of(path, way, monkeypatch), expect_id=path.stem)
        assert list(result) == list(FIELDS)
        assert set(result) == set(values)
        for name, value in values.items():
            assert len(result[name]) == 1
            assert same(result[name][0], expected(name, value)), (path.name, name)


def test_real_files_are_read_without_the_library(real_files):
    """The fast path must be the one that real files take, or it is dead code."""
    for path in real_files:
        with msd.open_msd(path) as file:
            file.read()
            assert isinstance(file._structure, reader.Image)


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


def test_a_song_of_the_real_aggregate_equals_its_own_file(real_aggregate, shared_data):
    alone = msd.read(shared_data / "msd" / msd.track_path("TRAAAAW128F429D538"))
    together = msd.read(real_aggregate)
    for name in FIELDS:
        if not name.startswith("idx_"):
            assert same(together[name][2], alone[name][0]), name


def test_slices_of_an_aggregate_are_the_whole(real_aggregate):
    with msd.open_msd(real_aggregate) as file:
        whole = file.read()
        for start in range(4):
            for stop in range(start, 4):
                part = file.read(start=start, stop=stop)
                for name, values in whole.items():
                    assert len(part[name]) == stop - start
                    assert all(map(same, part[name], values[start:stop])), name


@pytest.mark.parametrize("way", WAYS)
def test_slices_of_a_made_aggregate_with_empty_songs(way, monkeypatch, tmp_path):
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
    arrays = {name: random.random(segments).astype(np.float32) for name in reader.SEGMENTS}
    arrays["segments_start"] = np.arange(segments, dtype=np.float32)
    for name in ("segments_pitches", "segments_timbre"):
        arrays[name] = random.random((segments, 12)).astype(np.float32)
    tags = {"artist_mbtags": ["rock"] * number, "artist_mbtags_count": np.arange(number)}
    return {"track_id": f"TRAAAAA{number:011d}", "year": 1900 + number, **tags, **arrays}


def test_only_the_wanted_datasets_are_read(real_files):
    """With every chunk of all other datasets overwritten, the wanted ones still come out right."""
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
    right = msd.read(real_files[0], columns)
    assert set(result) == set(columns)
    assert all(same(result[name][0], right[name][0]) for name in columns)
    for name in set(FIELDS) - set(columns):
        if FIELDS[name].path not in touched and (
            FIELDS[name].is_scalar or len(msd.read(real_files[0], [name])[name][0])
        ):
            with pytest.raises(InputError):
                msd.read(bytes(content), [name])


def test_columns_come_in_the_order_of_the_fields_and_unknown_ones_are_refused():
    content = msd.to_bytes([song(1, 2)])
    assert list(msd.read(content, ["year", "track_id"])) == ["track_id", "year"]
    assert msd.read(content, []) == {}
    with pytest.raises(ValueError, match="no such fields"):
        msd.read(content, ["yaer"])


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 3), (2, 1)])
def test_a_range_outside_the_file_is_refused(start, stop):
    with msd.open_msd(msd.to_bytes([song(1, 2), song(2, 2)])) as file, pytest.raises(ValueError, match="songs"):
        file.read(start=start, stop=stop)


def test_a_closed_file_is_refused():
    with msd.open_msd(msd.to_bytes([song(1, 2)])) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_files_open_at_once_are_not_mixed_up(monkeypatch):
    """HDF5 shares one file between two in memory of the same name."""
    monkeypatch.setattr(reader, "Image", refuse)
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
