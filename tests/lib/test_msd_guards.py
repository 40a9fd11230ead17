"""Hostile and broken files are rejected with a reason or read correctly, without a hang or access to other files."""

import os
import signal
import zlib

import h5py
import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.msd import FIELDS
from reprise.lib.msd.fields import SEGMENTS

TRACK = "TRABCDE128F429D538"
N_SEGMENTS = 50
STARTS = "/analysis/segments_start"
PITCHES = "/analysis/segments_pitches"


def song(**changes):
    arrays = {name: np.linspace(0, 1, N_SEGMENTS, dtype=np.float32) for name in SEGMENTS}
    for name in ("segments_pitches", "segments_timbre"):
        arrays[name] = np.arange(12 * N_SEGMENTS, dtype=np.float32).reshape(-1, 12)
    terms = {"artist_terms": ["ska"], "artist_terms_freq": [1.0], "artist_terms_weight": [0.5]}
    return {"track_id": TRACK, "title": "Café", "duration": 12.5, **terms, **arrays, **changes}


@pytest.fixture(autouse=True)
def _no_hang():
    """Turn a hang into a failure with a stack trace."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def path(tmp_path):
    """A good file, to be damaged by the test."""
    path = tmp_path / f"{TRACK}.h5"
    msd.write(path, [song()])
    return path


@pytest.fixture
def secret(tmp_path):
    """Another file of this machine that the reader must not read; its values do not occur in ``path``."""
    path = tmp_path / "secret.h5"
    msd.write(path, [song(segments_start=np.arange(1000, 1000 + N_SEGMENTS))])
    np.arange(1000.0, 1000 + N_SEGMENTS).tofile(tmp_path / "secret.raw")
    return path


def assert_rejected(source, kind, columns=None, **options):
    """Assert that the reader rejects the source with this error kind and a one-line message; return the message."""
    with pytest.raises(InputError) as caught:
        msd.read(source, columns, **options)
    assert caught.value.kind == kind, caught.value
    assert "\n" not in caught.value.message
    assert len(caught.value.message) > 20
    return caught.value.message


def replace(path, where, **options):
    """Replace a dataset."""
    with h5py.File(path, "r+") as file:
        del file[where]
        return file.create_dataset(where, **options).name


def test_paths_that_are_not_regular_hdf5_files_are_rejected(tmp_path):
    folder, pipe, empty, text = (tmp_path / f"{name}.h5" for name in ("folder", "pipe", "empty", "text"))
    folder.mkdir()
    os.mkfifo(pipe)
    empty.touch()
    text.write_text("<html>404</html>" * 100)
    assert_rejected(folder, "not_a_file")
    assert_rejected(pipe, "not_a_file")
    assert_rejected(tmp_path / "none.h5", "unreadable")
    assert_rejected("nul\0.h5", "unreadable")
    assert_rejected(empty, "empty_file")
    assert_rejected(b"", "empty_file")
    assert_rejected(text, "not_hdf5")
    assert_rejected(b"\x89HDF\r\n\x1a\n" + bytes(1000), "unreadable")


def test_hdf5_files_of_other_projects_are_rejected(shared_data):
    bad = shared_data / "msd_bad"
    assert_rejected(next(bad.glob("*empty*")), "missing_group")
    assert_rejected(next(bad.glob("*not_msd*")), "missing_group")


@pytest.mark.parametrize("length", [7, 8, 95, 96, 500, 3000, 20_000, 0.5, 0.9, -1])
def test_truncated_file_is_rejected(path, length):
    content = path.read_bytes()
    cut = int(length * len(content)) if isinstance(length, float) else length
    message = assert_rejected(
        content[:cut], "not_hdf5" if length == 7 else "unreadable" if length == 8 else "truncated"
    )
    path.write_bytes(content[:cut])
    assert message.split(": ", 1)[1] == error_message(path).split(": ", 1)[1]


def error_message(source):
    with pytest.raises(InputError) as caught:
        msd.read(source)
    return caught.value.message


@pytest.mark.parametrize("where", ["/analysis", STARTS, "/metadata/songs"])
@pytest.mark.parametrize("link", ["soft", "external"])
def test_soft_and_external_links_are_rejected(path, secret, where, link):
    with h5py.File(path, "r+") as file:
        file.move(where, "/elsewhere")
        file[where] = h5py.SoftLink("/elsewhere") if link == "soft" else h5py.ExternalLink(str(secret), where)
    assert where in assert_rejected(path, "unsafe_link")


def test_external_storage_is_rejected(path, secret):
    raw = str(secret.with_suffix(".raw"))
    replace(path, STARTS, shape=(N_SEGMENTS,), dtype="f8", external=[(raw, 0, 8 * N_SEGMENTS)])
    with h5py.File(path) as file:
        assert file[STARTS][0] == 1000  # h5py itself follows the reference
    assert_rejected(path, "external_storage", ["segments_start"])


def test_virtual_dataset_is_rejected(path, secret):
    layout = h5py.VirtualLayout((N_SEGMENTS,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), STARTS, (N_SEGMENTS,))
    with h5py.File(path, "r+") as file:
        del file[STARTS]
        file.create_virtual_dataset(STARTS, layout)
        assert file[STARTS][0] == 1000  # h5py itself follows the reference
    assert_rejected(path, "virtual_dataset", ["segments_start"])


@pytest.mark.parametrize("options", [{"chunks": (1024,)}, {}], ids=["chunked", "contiguous"])
@pytest.mark.parametrize("where", [STARTS, "/metadata/artist_terms_freq"])
def test_dataset_that_declares_8_tb_is_rejected(path, where, options):
    replace(path, where, shape=(10**12,), dtype="f8", **options)
    name = where.rsplit("/", 1)[1]
    assert_rejected(path, "unequal_lengths" if where == STARTS else "too_large", [name])


def test_table_that_declares_8_tb_is_read_in_slices_only(path):
    with h5py.File(path, "r+") as file:
        for group in ("analysis", "metadata", "musicbrainz"):
            file[group]["songs"].resize((10**12,))
    assert_rejected(path, "too_large", ["title"])
    with msd.open_msd(path) as file:
        assert file.n_songs == 10**12
        assert file.read(["title"], 0, 1) == {"title": ["Café"]}


def test_declared_rows_without_data_are_rejected(path):
    for options in ({"chunks": (10,)}, {}):
        replace(path, "/analysis/beats_start", shape=(100,), dtype="f8", **options)
        assert_rejected(path, "truncated", ["beats_start"])


def test_decompression_bomb_with_declared_size_is_rejected(path):
    where = "/metadata/artist_terms_freq"
    replace(path, where, data=np.zeros(9 << 20), chunks=(1 << 20,), compression=1, shuffle=True)
    assert path.stat().st_size < 2 << 20
    assert_rejected(path, "too_large", ["artist_terms_freq"])


def test_many_short_texts_are_rejected(path):
    """4 MB of one-letter texts would become 1 GB of Python objects."""
    where = "/metadata/artist_terms"
    replace(path, where, data=np.zeros(4 << 20, "S1"), chunks=(1 << 20,), compression=9)
    assert_rejected(path, "too_large", ["artist_terms"])


def test_chunk_that_decompresses_to_more_than_declared_is_rejected(path):
    with h5py.File(path, "r+") as file:
        chunk = file[STARTS].chunks
        file[STARTS].id.write_direct_chunk((0,), zlib.compress(bytes(8 * chunk[0] + 1)))
    assert_rejected(path, "too_large", ["segments_start"])
    bomb = zlib.compress(bytes(4 << 20))
    assert len(bomb) < 8 * chunk[0]
    with h5py.File(path, "r+") as file:
        file[STARTS].id.write_direct_chunk((0,), bomb)
    assert_rejected(path, "too_large", ["segments_start"])


def test_damaged_chunks_are_rejected(path):
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
        assert_rejected(path, kind, ["segments_start"])


def test_too_large_chunks_are_rejected(path):
    replace(path, STARTS, shape=(N_SEGMENTS,), dtype="f8", chunks=(1 << 28,), maxshape=(None,), compression=1)
    assert_rejected(path, "too_large", ["segments_start"])


@pytest.mark.parametrize("options", [{"compression": "lzf"}, {"fletcher32": True}, {"scaleoffset": 3}])
def test_unsupported_filters_are_rejected(path, options):
    replace(path, STARTS, data=np.arange(N_SEGMENTS, dtype="f8"), chunks=(N_SEGMENTS,), **options)
    assert "h5repack" in assert_rejected(path, "unsupported_filter", ["segments_start"])


def test_unregistered_filter_is_rejected(path):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((N_SEGMENTS,))
    properties.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL, ())
    with h5py.File(path, "r+") as file:
        del file[STARTS]
        space = h5py.h5s.create_simple((N_SEGMENTS,))
        h5py.h5d.create(file["analysis"].id, b"segments_start", h5py.h5t.IEEE_F64LE, space, properties)
    assert_rejected(path, "unsupported_filter", ["segments_start"])


@pytest.mark.parametrize(
    "options",
    [
        {"shape": (N_SEGMENTS,), "dtype": h5py.string_dtype()},
        {"shape": (N_SEGMENTS,), "dtype": h5py.vlen_dtype(np.float64)},
        {"shape": (N_SEGMENTS,), "dtype": h5py.ref_dtype},
        {"shape": (N_SEGMENTS,), "dtype": h5py.enum_dtype({"a": 1})},
        {"shape": (N_SEGMENTS,), "dtype": np.dtype("(3,)f8")},
        {"shape": (N_SEGMENTS,), "dtype": "c16"},
        {"shape": (N_SEGMENTS,), "dtype": "S8"},
        {"shape": (N_SEGMENTS,), "dtype": [("a", "f8")]},
        {"shape": (N_SEGMENTS, 1), "dtype": "f8"},
        {"shape": (), "dtype": "f8"},
        {"dtype": "f8", "data": h5py.Empty("f8")},
    ],
    ids=lambda options: f"{options.get('shape')} {options['dtype']}",
)
def test_wrong_types_and_shapes_are_rejected(path, options):
    replace(path, STARTS, **options)
    assert_rejected(path, "wrong_type", ["segments_start"])


@pytest.mark.parametrize(
    "shape", [(N_SEGMENTS,), (N_SEGMENTS, 11), (N_SEGMENTS, 13), (12, N_SEGMENTS), (N_SEGMENTS, 12, 1)]
)
def test_wrong_matrix_shape_is_rejected(path, shape):
    replace(path, PITCHES, shape=shape, dtype="f8")
    assert_rejected(path, "wrong_type", ["segments_pitches"])


@pytest.mark.parametrize("removed", ["/metadata", STARTS, "/musicbrainz/songs", "/analysis/songs"])
def test_missing_groups_and_datasets_are_rejected(path, removed):
    with h5py.File(path, "r+") as file:
        del file[removed]
    assert removed in assert_rejected(path, "missing_group" if removed == "/metadata" else "missing_dataset")


def test_swapped_groups_and_datasets_are_rejected(path):
    with h5py.File(path, "r+") as file:
        del file["metadata"], file[STARTS]
        file["metadata"] = np.zeros(3)
        file.create_group(STARTS)
    assert_rejected(path, "missing_group")
    with h5py.File(path, "r+") as file:
        del file["metadata"]
        file.create_group("metadata")
    assert_rejected(path, "missing_dataset", ["segments_start"])


def test_missing_field_is_rejected_only_when_requested(path):
    with h5py.File(path, "r+") as file:
        rows = file["/metadata/songs"][...]
    kept = [name for name in rows.dtype.names if name != "title"]
    replace(path, "/metadata/songs", data=rows[kept])
    assert "title" in assert_rejected(path, "missing_field")
    assert msd.read(path, ["duration"]) == {"duration": [12.5]}


def test_empty_tables_and_tables_of_unequal_lengths_are_rejected(path):
    with h5py.File(path, "r+") as file:
        file["/metadata/songs"].resize((2,))
    assert_rejected(path, "unequal_lengths")
    with h5py.File(path, "r+") as file:
        file["/analysis/songs"].resize((0,))
    assert_rejected(path, "no_songs")


def test_segment_arrays_of_unequal_lengths_are_rejected(path):
    with h5py.File(path, "r+") as file:
        file["/analysis/segments_timbre"].resize((N_SEGMENTS - 1, 12))
    assert f"segments_timbre {N_SEGMENTS - 1}" in assert_rejected(path, "unequal_lengths", ["segments_start"])
    assert msd.read(path, ["beats_start"])["beats_start"][0].shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -5.0])
@pytest.mark.parametrize("position", [0, 7, N_SEGMENTS - 1])
def test_non_monotone_starts_are_rejected(path, value, position):
    with h5py.File(path, "r+") as file:
        file[STARTS][position] = value
    if (value, position) == (-5.0, 0):
        assert msd.read(path)["segments_start"][0][0] == -5
    else:
        assert_rejected(path, "not_monotone", ["segments_start"])
    assert len(msd.read(path, ["segments_confidence"])["segments_confidence"][0]) == N_SEGMENTS


def test_single_nan_start_is_rejected():
    assert_rejected(msd.to_bytes([song(beats_start=[np.nan])]), "not_monotone")


def test_nan_in_other_fields_is_read():
    floats = {name: np.nan for name, field in FIELDS.items() if field.kind == "float"}
    arrays = {
        name: np.full_like(value, np.nan)
        for name, value in song().items()
        if name in SEGMENTS and name != "segments_start"
    }
    result = msd.read(msd.to_bytes([song(**floats, **arrays)]))
    assert all(result[name] == [None] for name in floats)
    assert all(np.isnan(result[name][0]).all() and len(result[name][0]) == N_SEGMENTS for name in arrays)


def test_invalid_utf8_is_replaced(path):
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
def test_bad_track_id_is_rejected(path, track_id):
    with h5py.File(path, "r+") as file:
        row = file["/analysis/songs"][...]
        row["track_id"] = track_id
        file["/analysis/songs"][...] = row
    assert_rejected(path, "bad_track_id", ["track_id"])
    assert_rejected(path, "bad_track_id", ["duration"], expect_id=TRACK)


def test_unexpected_track_id_is_rejected(path):
    assert TRACK in assert_rejected(path, "id_mismatch", expect_id="TRAAAAW128F429D538")
    assert msd.read(path, ["duration"], expect_id=TRACK) == {"duration": [12.5]}


@pytest.mark.parametrize("starts", [[0, -1], [5, 0], [0, 10**6], [0, 2**31 - 1], [-1, 50]])
def test_bad_index_of_an_aggregate_is_rejected(tmp_path, starts):
    path = tmp_path / "aggregate.h5"
    msd.write(path, [song(), song()])
    with h5py.File(path, "r+") as file:
        rows = file["/analysis/songs"][...]
        for name in SEGMENTS:
            rows[f"idx_{name}"] = starts
        file["/analysis/songs"][...] = rows
    assert "idx_segments" in assert_rejected(path, "bad_index")
    assert msd.read(path, ["duration"]) == {"duration": [12.5, 12.5]}


def test_aggregate_needs_equal_segment_lengths_for_each_song(tmp_path):
    path = tmp_path / "aggregate.h5"
    msd.write(path, [song(), song()])
    with h5py.File(path, "r+") as file:
        rows = file["/analysis/songs"][...]
        rows["idx_segments_timbre"] = [0, N_SEGMENTS - 1]
        file["/analysis/songs"][...] = rows
    assert_rejected(path, "unequal_lengths", ["segments_start"])
