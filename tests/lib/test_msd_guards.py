"""Hostile and broken files: each is refused with its reason, or read rightly; none reads another file or hangs."""

import os
import signal
import zlib

import h5py
import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.msd import FIELDS, reader

TRACK = "TRABCDE128F429D538"
SEGMENTS = 50
STARTS = "/analysis/segments_start"
PITCHES = "/analysis/segments_pitches"


def song(**changes):
    arrays = {name: np.linspace(0, 1, SEGMENTS, dtype=np.float32) for name in reader.SEGMENTS}
    for name in ("segments_pitches", "segments_timbre"):
        arrays[name] = np.arange(12 * SEGMENTS, dtype=np.float32).reshape(-1, 12)
    terms = {"artist_terms": ["ska"], "artist_terms_freq": [1.0], "artist_terms_weight": [0.5]}
    return {"track_id": TRACK, "title": "Café", "duration": 12.5, **terms, **arrays, **changes}


@pytest.fixture(autouse=True)
def _no_hang():
    """A hang becomes a failure with a stack."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def path(tmp_path):
    """A good file, to be spoiled."""
    path = tmp_path / f"{TRACK}.h5"
    msd.write(path, [song()])
    return path


@pytest.fixture
def secret(tmp_path):
    """Another file of the machine, which nothing may read; its values are unlike any of ``path``."""
    path = tmp_path / "secret.h5"
    msd.write(path, [song(segments_start=np.arange(1000, 1000 + SEGMENTS))])
    np.arange(1000.0, 1000 + SEGMENTS).tofile(tmp_path / "secret.raw")
    return path


def refused(source, kind, columns=None, **options):
    """Assert that the reader refuses the source for the given kind, in one line; return that line."""
    with pytest.raises(InputError) as caught:
        msd.read(source, columns, **options)
    assert caught.value.kind == kind, caught.value
    assert "\n" not in caught.value.message
    assert len(caught.value.message) > 20
    return caught.value.message


def replace(path, where, **options):
    """Put another dataset in the place of one."""
    with h5py.File(path, "r+") as file:
        del file[where]
        return file.create_dataset(where, **options).name


def test_files_that_are_not_files(tmp_path):
    folder, pipe, empty, text = (tmp_path / f"{name}.h5" for name in ("folder", "pipe", "empty", "text"))
    folder.mkdir()
    os.mkfifo(pipe)
    empty.touch()
    text.write_text("<html>404</html>" * 100)
    refused(folder, "not_a_file")
    refused(pipe, "not_a_file")
    refused(tmp_path / "none.h5", "unreadable")
    refused("nul\0.h5", "unreadable")
    refused(empty, "empty_file")
    refused(b"", "empty_file")
    refused(text, "not_hdf5")
    refused(b"\x89HDF\r\n\x1a\n" + bytes(1000), "unreadable")


def test_files_of_other_people(shared_data):
    bad = shared_data / "msd_bad"
    refused(next(bad.glob("*empty*")), "missing_group")
    refused(next(bad.glob("*not_msd*")), "missing_group")


@pytest.mark.parametrize("length", [7, 8, 95, 96, 500, 3000, 20_000, 0.5, 0.9, -1])
def test_truncated(path, length):
    content = path.read_bytes()
    cut = int(length * len(content)) if isinstance(length, float) else length
    kind = refused(content[:cut], "not_hdf5" if length == 7 else "unreadable" if length == 8 else "truncated")
    path.write_bytes(content[:cut])
    assert kind.split(": ", 1)[1] == _message(path).split(": ", 1)[1]


def _message(source):
    with pytest.raises(InputError) as caught:
        msd.read(source)
    return caught.value.message


@pytest.mark.parametrize("where", ["/analysis", STARTS, "/metadata/songs"])
@pytest.mark.parametrize("link", ["soft", "external"])
def test_only_hard_links(path, secret, where, link):
    with h5py.File(path, "r+") as file:
        file.move(where, "/elsewhere")
        file[where] = h5py.SoftLink("/elsewhere") if link == "soft" else h5py.ExternalLink(str(secret), where)
    assert where in refused(path, "unsafe_link")


def test_external_storage(path, secret):
    raw = str(secret.with_suffix(".raw"))
    replace(path, STARTS, shape=(SEGMENTS,), dtype="f8", external=[(raw, 0, 8 * SEGMENTS)])
    with h5py.File(path) as file:
        assert file[STARTS][0] == 1000  # the trap works
    refused(path, "external_storage", ["segments_start"])


def test_virtual_dataset(path, secret):
    layout = h5py.VirtualLayout((SEGMENTS,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), STARTS, (SEGMENTS,))
    with h5py.File(path, "r+") as file:
        del file[STARTS]
        file.create_virtual_dataset(STARTS, layout)
        assert file[STARTS][0] == 1000  # the trap works
    refused(path, "virtual_dataset", ["segments_start"])


@pytest.mark.parametrize("options", [{"chunks": (1024,)}, {}], ids=["chunked", "contiguous"])
@pytest.mark.parametrize("where", [STARTS, "/metadata/artist_terms_freq"])
def test_eight_terabytes_declared(path, where, options):
    replace(path, where, shape=(10**12,), dtype="f8", **options)
    name = where.rsplit("/", 1)[1]
    refused(path, "unequal_lengths" if where == STARTS else "too_large", [name])


def test_a_table_of_eight_terabytes(path):
    with h5py.File(path, "r+") as file:
        for group in ("analysis", "metadata", "musicbrainz"):
            file[group]["songs"].resize((10**12,))
    refused(path, "too_large", ["title"])
    with msd.open_msd(path) as file:
        assert file.n_songs == 10**12
        assert file.read(["title"], 0, 1) == {"title": ["Café"]}


def test_rows_that_were_never_stored(path):
    for options in ({"chunks": (10,)}, {}):
        replace(path, "/analysis/beats_start", shape=(100,), dtype="f8", **options)
        refused(path, "truncated", ["beats_start"])


def test_a_bomb_that_declares_its_size(path):
    where = "/metadata/artist_terms_freq"
    replace(path, where, data=np.zeros(9 << 20), chunks=(1 << 20,), compression=1, shuffle=True)
    assert path.stat().st_size < 2 << 20
    refused(path, "too_large", ["artist_terms_freq"])


def test_a_bomb_of_tiny_texts(path):
    """Four megabytes of one-letter texts would become a gigabyte of Python objects."""
    where = "/metadata/artist_terms"
    replace(path, where, data=np.zeros(4 << 20, "S1"), chunks=(1 << 20,), compression=9)
    refused(path, "too_large", ["artist_terms"])


def test_a_bomb_in_a_chunk(path):
    with h5py.File(path, "r+") as file:
        chunk = file[STARTS].chunks
        file[STARTS].id.write_direct_chunk((0,), zlib.compress(bytes(8 * chunk[0] + 1)))
    refused(path, "too_large", ["segments_start"])
    bomb = zlib.compress(bytes(4 << 20))
    assert len(bomb) < 8 * chunk[0]
    with h5py.File(path, "r+") as file:
        file[STARTS].id.write_direct_chunk((0,), bomb)
    refused(path, "too_large", ["segments_start"])


def test_damaged_chunks(path):
    with h5py.File(path) as file:
        good = zlib.compress(bytes(8 * file[STARTS].chunks[0]), 0)
    cases = {
        good[:-10]: "truncated",
        good[:-1] + bytes([good[-1] ^ 1]): "unreadable",
        zlib.compress(b"short"): "unreadable",
        b"\xff" * 100: "unreadable",
        good + bytes(4000): "truncated",
    }
    for stored, kind in cases.items():
        with h5py.File(path, "r+") as file:
            file[STARTS].id.write_direct_chunk((0,), stored)
        refused(path, kind, ["segments_start"])


def test_huge_chunks(path):
    replace(path, STARTS, shape=(SEGMENTS,), dtype="f8", chunks=(1 << 28,), maxshape=(None,), compression=1)
    refused(path, "too_large", ["segments_start"])


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 3}])
def test_filters_that_are_not_read(path, options):
    replace(path, STARTS, data=np.arange(SEGMENTS, dtype="f8"), chunks=(SEGMENTS,), **options)
    assert "h5repack" in refused(path, "unsupported_filter", ["segments_start"])


def test_a_filter_that_nobody_has(path):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((SEGMENTS,))
    properties.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(path, "r+") as file:
        del file[STARTS]
        space = h5py.h5s.create_simple((SEGMENTS,))
        h5py.h5d.create(file["analysis"].id, b"segments_start", h5py.h5t.IEEE_F64LE, space, properties)
    refused(path, "unsupported_filter", ["segments_start"])


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (SEGMENTS,), "dtype": h5py.string_dtype()},
        {"shape": (SEGMENTS,), "dtype": h5py.vlen_dtype(np.float64)},
        {"shape": (SEGMENTS,), "dtype": h5py.ref_dtype},
        {"shape": (SEGMENTS,), "dtype": h5py.enum_dtype({"a": 1})},
        {"shape": (SEGMENTS,), "dtype": np.dtype("(3,)f8")},
        {"shape": (SEGMENTS,), "dtype": "c16"},
        {"shape": (SEGMENTS,), "dtype": "S8"},
        {"shape": (SEGMENTS,), "dtype": [("a", "f8")]},
        {"shape": (SEGMENTS, 1), "dtype": "f8"},
        {"shape": (), "dtype": "f8"},
        {"dtype": "f8", "data": h5py.Empty("f8")},
    ],
    ids=lambda options: f"{options.get('shape')} {options['dtype']}",
)
def test_wrong_types_and_shapes(path, options):
    replace(path, STARTS, **options)
    refused(path, "wrong_type", ["segments_start"])


@pytest.mark.parametrize("shape", [(SEGMENTS,), (SEGMENTS, 11), (SEGMENTS, 13), (12, SEGMENTS), (SEGMENTS, 12, 1)])
def test_wrong_matrix(path, shape):
    replace(path, PITCHES, shape=shape, dtype="f8")
    refused(path, "wrong_type", ["segments_pitches"])


@pytest.mark.parametrize("gone", ["/metadata", STARTS, "/musicbrainz/songs", "/analysis/songs"])
def test_missing_parts(path, gone):
    with h5py.File(path, "r+") as file:
        del file[gone]
    assert gone in refused(path, "missing_group" if gone == "/metadata" else "missing_dataset")


def test_a_dataset_for_a_group_and_a_group_for_a_dataset(path):
    with h5py.File(path, "r+") as file:
        del file["metadata"], file[STARTS]
        file["metadata"] = np.zeros(3)
        file.create_group(STARTS)
    refused(path, "missing_group")
    with h5py.File(path, "r+") as file:
        del file["metadata"]
        file.create_group("metadata")
    refused(path, "missing_dataset", ["segments_start"])


def test_missing_field(path):
    with h5py.File(path, "r+") as file:
        rows = file["/metadata/songs"][...]
    kept = [name for name in rows.dtype.names if name != "title"]
    replace(path, "/metadata/songs", data=rows[kept])
    assert "title" in refused(path, "missing_field")
    assert msd.read(path, ["duration"]) == {"duration": [12.5]}


def test_no_songs_and_tables_that_disagree(path):
    with h5py.File(path, "r+") as file:
        file["/metadata/songs"].resize((2,))
    refused(path, "unequal_lengths")
    with h5py.File(path, "r+") as file:
        file["/analysis/songs"].resize((0,))
    refused(path, "no_songs")


def test_unequal_segment_arrays(path):
    with h5py.File(path, "r+") as file:
        file["/analysis/segments_timbre"].resize((SEGMENTS - 1, 12))
    assert f"segments_timbre {SEGMENTS - 1}" in refused(path, "unequal_lengths", ["segments_start"])
    assert msd.read(path, ["beats_start"])["beats_start"][0].shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -5.0])
@pytest.mark.parametrize("place", [0, 7, SEGMENTS - 1])
def test_starts_that_are_not_monotone(path, value, place):
    with h5py.File(path, "r+") as file:
        file[STARTS][place] = value
    if (value, place) == (-5.0, 0):
        assert msd.read(path)["segments_start"][0][0] == -5
    else:
        refused(path, "not_monotone", ["segments_start"])
    assert len(msd.read(path, ["segments_confidence"])["segments_confidence"][0]) == SEGMENTS


def test_one_start_of_nan():
    refused(msd.to_bytes([song(beats_start=[np.nan])]), "not_monotone")


def test_nan_everywhere_else():
    floats = {name: np.nan for name, field in FIELDS.items() if field.kind == "float"}
    arrays = {
        name: np.full_like(value, np.nan)
        for name, value in song().items()
        if name in reader.SEGMENTS and name != "segments_start"
    }
    result = msd.read(msd.to_bytes([song(**floats, **arrays)]))
    assert all(result[name] == [None] for name in floats)
    assert all(np.isnan(result[name][0]).all() and len(result[name][0]) == SEGMENTS for name in arrays)


def test_text_that_is_not_utf8(path):
    with h5py.File(path, "r+") as file:
        row = file["/metadata/songs"][...]
        row["title"] = b"caf\xe9 \xff\xfe!"
        file["/metadata/songs"][...] = row
        file["/metadata/artist_terms"][0] = b"\xc3("
    result = msd.read(path)
    assert result["title"] == ["caf� ��!"]
    assert result["artist_terms"] == [["�("]]


@pytest.mark.parametrize(
    "track_id", [b"", b"TRABC", b"trabcde128f429d538", b"TRABCDE128F429D538X", b"../../etc/passwd"]
)
def test_bad_track_id(path, track_id):
    with h5py.File(path, "r+") as file:
        row = file["/analysis/songs"][...]
        row["track_id"] = track_id
        file["/analysis/songs"][...] = row
    refused(path, "bad_track_id", ["track_id"])
    refused(path, "bad_track_id", ["duration"], expect_id=TRACK)


def test_track_id_is_not_the_file_name(path):
    assert TRACK in refused(path, "id_mismatch", expect_id="TRAAAAW128F429D538")
    assert msd.read(path, ["duration"], expect_id=TRACK) == {"duration": [12.5]}


@pytest.mark.parametrize("starts", [[0, -1], [5, 0], [0, 10**6], [0, 2**31 - 1], [-1, 50]])
def test_bad_index_of_an_aggregate(tmp_path, starts):
    path = tmp_path / "aggregate.h5"
    msd.write(path, [song(), song()])
    with h5py.File(path, "r+") as file:
        rows = file["/analysis/songs"][...]
        for name in reader.SEGMENTS:
            rows[f"idx_{name}"] = starts
        file["/analysis/songs"][...] = rows
    assert "idx_segments" in refused(path, "bad_index")
    assert msd.read(path, ["duration"]) == {"duration": [12.5, 12.5]}


def test_segments_of_an_aggregate_must_agree_song_by_song(tmp_path):
    path = tmp_path / "aggregate.h5"
    msd.write(path, [song(), song()])
    with h5py.File(path, "r+") as file:
        rows = file["/analysis/songs"][...]
        rows["idx_segments_timbre"] = [0, SEGMENTS - 1]
        file["/analysis/songs"][...] = rows
    refused(path, "unequal_lengths", ["segments_start"])
