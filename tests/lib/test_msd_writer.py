"""The writer: its files are read back unchanged by the reader, by plain h5py and by PyTables' getters."""

import io
import struct
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.lib import msd
from reprise.lib.msd import FIELDS

# test_msd_reader.py compares the reader with h5py, so these tests can use the reader to check the writer
SCALARS = [name for name, field in FIELDS.items() if field.is_scalar and not name.startswith("idx_")]
ARRAYS = [name for name, field in FIELDS.items() if not field.is_scalar]
# arrays of one family share their row index
FAMILIES = {
    name: "terms" if name.startswith("artist_terms") else "tags" if name.startswith("artist_mbtags") else stem
    for name in ARRAYS
    for stem in [name.split("_")[0]]
}


def texts(size):
    letters = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=size)
    return letters.filter(lambda text: len(text.encode()) <= size)


@st.composite
def songs(draw):
    """Draw a song that a file can contain, with values as returned by the reader."""
    song: dict[str, Any] = {}
    for name in SCALARS:
        field = FIELDS[name]
        if field.kind == "text":
            value = draw(st.none() | texts(min(30, np.dtype(field.dtype).itemsize)).filter(bool))
        elif field.kind == "float":
            value = draw(st.none() | st.floats(allow_nan=False))
        else:
            value = draw(st.integers(-(2**31), 2**31 - 1))
            value = None if value == field.missing else value
        song[name] = value
    song["track_id"] = draw(st.from_regex(r"TR[A-Z0-9]{16}", fullmatch=True))
    lengths = {family: draw(st.integers(0, 6) | st.just(1100)) for family in set(FAMILIES.values())}
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    for name in ARRAYS:
        kind, length = FIELDS[name].kind, lengths[FAMILIES[name]]
        if kind == "texts":
            size = np.dtype(FIELDS[name].dtype).itemsize
            few = draw(st.lists(texts(min(20, size)), min_size=1, max_size=3))
            song[name] = [few[place % len(few)] for place in range(length)]
        elif kind == "ints":
            song[name] = random.integers(-(2**31), 2**31, length).astype(np.int32)
        else:
            shape = (length, 12) if kind == "matrix" else (length,)
            values = random.normal(0, 100, shape).astype(np.float32)
            song[name] = np.sort(values) if name.endswith("_start") else values
            if length and not name.endswith("_start"):
                song[name][0] = draw(st.sampled_from([np.nan, np.inf, 0.0]))
    return song


def same(one, other):
    if isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and one == other


@settings(max_examples=25, deadline=None)
@given(st.lists(songs(), min_size=1, max_size=4))
def test_round_trip(written):
    result = msd.read(msd.to_bytes(written))
    for place, song in enumerate(written):
        for name, value in song.items():
            assert same(result[name][place], value), name


def test_real_files_survive_a_round_trip(shared_data, tmp_path):
    files = sorted((shared_data / "msd").rglob("*.h5"))[::10]
    written = [{name: values[0] for name, values in msd.read(path).items()} for path in files]
    path = tmp_path / "aggregate.h5"
    msd.write(path, written)
    together = msd.read(path)
    for place, song in enumerate(written):
        alone = msd.read(msd.to_bytes([song]))
        for name, value in song.items():
            assert same(alone[name][0], value), name
            assert name.startswith("idx_") or same(together[name][place], value), name


def example(number=0, segments=1500):
    random = np.random.default_rng(number)
    song = {name: random.random(segments) for name in ARRAYS if FAMILIES[name] == "segments"}
    song |= {name: random.random((segments, 12)) for name in ("segments_pitches", "segments_timbre")}
    song["segments_start"] = np.arange(segments) / 4
    song["beats_start"] = list(range(number))
    return song | {"track_id": f"TRAAAAA{number:011d}", "title": "Für Elise", "year": 1810 + number}


@pytest.mark.parametrize("count", [1, 30])
def test_layout_equals_the_real_files(shared_data, count):
    real_path = next((shared_data / "msd").rglob("*.h5"))
    if count > 1:
        real_path = shared_data / "msd_bad" / "compact_aggregate_kx-Huang.h5"
    content = msd.to_bytes([example(number) for number in range(count)])
    assert content[8:16] == bytes([0, 0, 0, 0, 0, 8, 8, 0])  # superblock 0
    assert struct.unpack_from("<Q", content, 40)[0] == len(content)
    with h5py.File(real_path) as real, h5py.File(io.BytesIO(content)) as ours:
        assert set(ours) == set(real)
        for group in real:
            assert set(ours[group]) == set(real[group])
            for name, dataset in real[group].items():
                other = ours[group][name]
                assert other.dtype == dataset.dtype
                assert other.id.get_type().equal(dataset.id.get_type()), name
                assert other.maxshape == dataset.maxshape
                assert other.shape[1:] == dataset.shape[1:]
                assert (other.shuffle, other.compression, other.compression_opts) == (True, "gzip", 1)
                # one known difference: the metadata table of real track files has chunks of three rows
                assert other.chunks == dataset.chunks or (name, group, count) == ("songs", "metadata", 1)
                assert {"CLASS", "TITLE", "VERSION"} <= set(other.attrs)


def test_h5py_reads_written_files():
    written = [example(number) for number in range(3)]
    with h5py.File(io.BytesIO(msd.to_bytes(written))) as file:
        table = file["analysis/songs"][...]
        assert list(table["idx_beats_start"]) == [0, 0, 1]
        assert list(table["idx_segments_timbre"]) == [0, 1500, 3000]
        assert file["analysis/songs"].attrs["NROWS"] == 3
        assert np.isnan(file["metadata/songs"]["artist_latitude"]).all()
        assert set(file["metadata/songs"]["track_7digitalid"]) == {-1}
        assert file["metadata/songs"]["title"][0] == "Für Elise".encode()
        stored = file["analysis/segments_timbre"][...]
        assert np.array_equal(stored, np.concatenate([song["segments_timbre"] for song in written]))
        assert file["musicbrainz/artist_mbtags"].shape == (0,)


def getters(path, place):
    """Return every field of one song as read through PyTables by the dataset's official getters."""
    tables = pytest.importorskip("tables")
    values = {}
    with tables.open_file(str(path)) as file:
        count = file.root.metadata.songs.nrows
        for name, field in FIELDS.items():
            if field.is_scalar:
                values[name] = getattr(getattr(file.root, field.group).songs.cols, name)[place]
                continue
            assert field.index is not None
            index = getattr(getattr(file.root, FIELDS[field.index].group).songs.cols, field.index)
            array = getattr(getattr(file.root, field.group), name)
            last = place == count - 1
            values[name] = array[index[place] :] if last else array[index[place] : index[place + 1]]
    return values


def check_getters(path):
    result = msd.read(path)
    for place in range(len(result["track_id"])):
        for name, value in getters(path, place).items():
            ours = result[name][place]
            if FIELDS[name].kind == "text":
                assert (ours or "").encode() == value, name
            elif FIELDS[name].kind == "texts":
                assert [text.encode() for text in ours] == list(value), name
            elif ours is None:
                assert np.isnan(value) or value == FIELDS[name].missing
            else:
                assert np.array_equal(ours, np.asarray(value).astype(np.asarray(ours).dtype), equal_nan=True), name


def test_pytables_getters_on_written_files(tmp_path):
    for count in (1, 4):
        path = tmp_path / f"{count}.h5"
        msd.write(path, [example(number) for number in range(count)])
        check_getters(path)


def test_pytables_getters_on_real_files(shared_data):
    for path in [*sorted((shared_data / "msd").rglob("*.h5"))[::40], *(shared_data / "msd_bad").glob("compact*.h5")]:
        check_getters(path)


def test_equal_songs_give_equal_bytes():
    assert msd.to_bytes([example()]) == msd.to_bytes([example()])


def test_song_with_only_an_id():
    result = msd.read(msd.to_bytes([{"track_id": "TRAAAAW128F429D538"}]))
    for name, field in FIELDS.items():
        (value,) = result[name]
        if field.kind in {"text", "float"} or field.missing is not None:
            assert value is None or name == "track_id"
        elif not field.is_scalar:
            assert len(value) == 0
        else:
            assert value == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "titel"),
        ({"title": "x" * 1025}, "title"),
        ({"title": "ü" * 513}, "title"),
        ({"title": "x\0"}, "title"),
        ({"artist_terms": ["x" * 257]}, "artist_terms"),
        ({"segments_start": np.arange(3)}, "unequal"),
        ({"segments_timbre": np.zeros((1500, 11))}, "segments_timbre"),
        ({"beats_start": np.zeros((2, 2))}, "beats_start"),
        ({"artist_terms": ["x"]}, "artist_terms_freq"),
    ],
)
def test_songs_that_do_not_fit_the_format_are_rejected(change, message):
    with pytest.raises(ValueError, match=message):
        msd.to_bytes([example() | change])
    with pytest.raises(ValueError, match="at least one"):
        msd.to_bytes([])


def test_write_is_atomic(tmp_path):
    path = tmp_path / "track.h5"
    msd.write(path, [example(1)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="titel"):
        msd.write(path, [{"titel": "x"}])
    assert path.read_bytes() == before
    msd.write(path, [example(2)])
    assert msd.read(path, ["year"]) == {"year": [1812]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["track.h5"]
    with pytest.raises(OSError, match="none"):
        msd.write(tmp_path / "none" / "track.h5", [example()])


def test_write_leaves_no_temporary_file_when_the_target_is_a_folder(tmp_path):
    (tmp_path / "track.h5").mkdir()
    with pytest.raises(OSError, match="track"):
        msd.write(tmp_path / "track.h5", [example()])
    assert [entry.name for entry in tmp_path.iterdir()] == ["track.h5"]
