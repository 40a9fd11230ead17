"""Files with another member order, width, byte order or storage layout, and files with seeded damage."""

import io
import os
import random
import resource
import signal
import zlib
from typing import Any

import h5py
import numpy as np
import pytest

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.msd import FIELDS, reader
from reprise.lib.msd.track_structure import UnsupportedLayout

GROUPS = ("analysis", "metadata", "musicbrainz")
LENGTHS = {"segments": 300, "beats": 40, "bars": 10, "tatums": 80, "sections": 0}


def song(seed):
    """Return a song with every field set to values that float32 represents exactly."""
    values: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    for position, (name, field) in enumerate(FIELDS.items()):
        length = LENGTHS.get(name.split("_")[0], 5)
        if field.kind == "text":
            values[name] = f"TRAAAAA{seed:011d}" if name == "track_id" else f"{name[:20]} ü"
        elif field.kind in {"int", "float"}:
            values[name] = position if field.kind == "int" else position + 0.25
        elif field.kind == "texts":
            values[name] = [f"{name[:6]} ñ {number}" for number in range(length)]
        elif field.kind == "ints":
            values[name] = rng.integers(0, 9, length).astype(np.int32)
        else:
            shape = (length, 12) if field.kind == "matrix" else (length,)
            values[name] = rng.random(shape).astype(np.float32)
            if name.endswith("_start"):
                values[name].sort()
    return {name: value for name, value in values.items() if not name.startswith("idx_")}


def same(one, other):
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


def rewrite(content, change, **options):
    """Rewrite every dataset of a file; ``change`` maps a dataset to its new data and storage options."""
    output = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(output, "w", **options) as new:
        for group in GROUPS:
            for name, dataset in old[group].items():
                data, storage = change(dataset)
                if "chunks" in storage:
                    storage["maxshape"] = (None, *[12] * (dataset.ndim - 1))
                new.create_dataset(f"{group}/{name}", data=data, **storage)
    return output.getvalue()


def chunk_shape(dataset, rows=64, columns=12):
    return (rows, columns)[: dataset.ndim]


def other_dtype(dtype, order=">", float_bytes=8, int_bytes=4):
    """Return the dtype with compound members in reverse order, another byte order and other widths."""
    if dtype.names:
        members = [(name, other_dtype(dtype[name], order, float_bytes, int_bytes)) for name in dtype.names[::-1]]
        return np.dtype([("first", "u2"), *members], align=False)
    if dtype.kind == "S":
        return np.dtype(f"S{dtype.itemsize + 7}")
    return np.dtype(f"{order}{dtype.kind}{float_bytes if dtype.kind == 'f' else int_bytes}")


def convert(dataset, **widths):
    old = dataset[...]
    new = np.zeros(old.shape, other_dtype(old.dtype, **widths))
    for name in old.dtype.names or ():
        new[name] = old[name]
    if not old.dtype.names:
        new[...] = old
    return new


def mark_as_utf8(dataset):
    """Return data of a text dataset with h5py's UTF-8 type, other data unchanged."""
    if dataset.dtype.kind == "S":
        return dataset[...].astype(h5py.string_dtype("utf-8", dataset.dtype.itemsize))
    return dataset[...]


VARIANTS = {
    "contiguous": lambda d: (d[...], {}),
    "chunks without a filter": lambda d: (d[...], {"chunks": chunk_shape(d)}),
    "deflate only": lambda d: (d[...], {"chunks": chunk_shape(d), "compression": 9}),
    "shuffle only": lambda d: (d[...], {"chunks": chunk_shape(d), "shuffle": True}),
    "chunks of one row": lambda d: (d[...], {"chunks": chunk_shape(d, 1), "compression": 1, "shuffle": True}),
    "chunks of five columns": lambda d: (d[...], {"chunks": chunk_shape(d, 64, 5), "compression": 1, "shuffle": True}),
    "chunks of six columns": lambda d: (d[...], {"chunks": chunk_shape(d, 7, 6)}),
    "big-endian": lambda d: (convert(d), {"chunks": chunk_shape(d), "compression": 1, "shuffle": True}),
    "big-endian contiguous": lambda d: (convert(d), {}),
    "narrow": lambda d: (convert(d, order="<", float_bytes=4, int_bytes=2), {}),
    "wide": lambda d: (convert(d, order="<", int_bytes=8), {"chunks": chunk_shape(d), "shuffle": True}),
    "utf-8 text": lambda d: (mark_as_utf8(d), {"chunks": chunk_shape(d)}),
}
FILES: list[dict[str, Any]] = [
    {},
    {"libver": "latest"},
    {"libver": ("v108", "v110")},
    {"userblock_size": 512},
    {"track_order": True},
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("count", [1, 3])
def test_other_storage_gives_the_same_songs(variant, count, tmp_path):
    songs = [song(seed) for seed in range(count)]
    content = msd.to_bytes(songs)
    for number, options in enumerate(FILES):
        changed = rewrite(content, VARIANTS[variant], **options)
        path = tmp_path / f"{number}.h5"
        path.write_bytes(changed)
        for source in (changed, path):
            result = msd.read(source)
            for name in songs[0]:
                assert all(same(result[name][i], one[name]) for i, one in enumerate(songs)), name


def test_chunks_with_skipped_filters(tmp_path):
    """When a filter fails, HDF5 stores the chunk without it and sets the filter's bit in the chunk's mask."""
    path = tmp_path / "skipped.h5"
    one = song(1)
    msd.write(path, [one])
    with h5py.File(path, "r+") as file:
        dataset = file["/analysis/segments_start"]
        raw = np.zeros(dataset.chunks, "<f8")
        raw[: len(dataset)] = dataset[...]
        shuffled = raw.view(np.uint8).reshape(-1, 8).T.tobytes()
    for mask, stored in {1: zlib.compress(raw.tobytes()), 2: shuffled, 3: raw.tobytes()}.items():
        with h5py.File(path, "r+") as file:
            del file["/analysis/segments_start"]
            dataset = file.create_dataset(
                "/analysis/segments_start",
                (300,),
                "<f8",
                chunks=raw.shape,
                maxshape=(None,),
                shuffle=True,
                compression=1,
            )
            dataset.id.write_direct_chunk((0,), stored, mask)
        with h5py.File(path) as file:
            assert np.array_equal(file["/analysis/segments_start"][...], one["segments_start"])
        assert same(msd.read(path)["segments_start"][0], one["segments_start"])


@pytest.mark.parametrize("name", ["year", "artist_mbtags_count"])
def test_integers_of_more_than_32_bits_are_rejected(name):
    def wide(dataset):
        data = convert(dataset, order="<", int_bytes=8)
        if dataset.name.endswith(FIELDS[name].path):
            (data if dataset.dtype.names is None else data[name])[...] = 2**31
        return data, {}

    with pytest.raises(InputError, match="32 bits") as caught:
        msd.read(rewrite(msd.to_bytes([song(1)]), wide))
    assert caught.value.kind == "wrong_type"


def test_aggregate_without_arrays():
    """The dataset's official summary file has only tables."""
    output = io.BytesIO()
    with h5py.File(io.BytesIO(msd.to_bytes([song(1), song(2)]))) as old, h5py.File(output, "w") as new:
        for group in GROUPS:
            new[f"{group}/songs"] = old[group]["songs"][...]
    content = output.getvalue()
    assert msd.read(content, ["year", "title"])["title"] == [song(1)["title"]] * 2
    with pytest.raises(InputError) as caught:
        msd.read(content)
    assert caught.value.kind == "missing_dataset"


def damage(draw, contents):
    """Damage bits, bytes, addresses or the end of one of the contents, mostly near HDF5's structures."""
    content = bytearray(draw.choice(contents))
    positions = [position for mark in (b"TREE", b"SNOD", b"HEAP", b"OHDR") for position in find_all(content, mark)]
    for _ in range(draw.choice((1, 1, 2, 8))):
        where = draw.random()
        near = (
            draw.choice(positions) + draw.randrange(-200, 500)
            if positions and where < 0.6
            else draw.randrange(len(content))
        )
        position = min(max(near if where > 0.1 else draw.randrange(200), 0), len(content) - 1)
        how = draw.random()
        if how < 0.5:
            content[position] ^= 1 << draw.randrange(8)
        elif how < 0.7:
            content[position] = draw.choice((0, 1, 127, 128, 255))
        elif how < 0.95:
            address = draw.choice((0, 96, len(content), 2**32 - 1, 2**64 - 1, draw.randrange(len(content))))
            content[position : position + 8] = address.to_bytes(8, "little")
        else:
            del content[max(position, 1) :]
            break
    return bytes(content)


def find_all(content, mark):
    position = content.find(mark)
    while position >= 0:
        yield position
        position = content.find(mark, position + 4)


def check_damaged(seed, contents):
    """Read one damaged file and assert that it gives an `InputError` or a well-formed result."""
    content = damage(random.Random(seed), contents)
    try:
        result = msd.read(content)
    except InputError:
        return
    count = len(result["track_id"])
    for name, values in result.items():
        assert len(values) == count
        if FIELDS[name].kind in {"floats", "matrix"}:
            assert all(value.dtype == np.float32 for value in values)


@pytest.mark.parametrize("with_h5py", [False, True])
def test_damaged_files_do_not_crash_the_process(with_h5py, monkeypatch):
    """Read 400 seeded mutations in child processes of limited memory and time; a failure names the seed."""
    one = msd.to_bytes([song(1)])
    latest = rewrite(one, VARIANTS["chunks of one row"], libver="latest")
    contents = [one, one, msd.to_bytes([song(1), song(2)]), latest]
    if with_h5py:
        monkeypatch.setattr(reader, "TrackStructure", _refuse)
    for first in range(0, 400, 100):
        read_end, write_end = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.alarm(60)
                for seed in range(first, first + 100):
                    os.write(write_end, bytes([seed - first]))
                    check_damaged(seed, contents)
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)
        _, status = os.waitpid(child, 0)
        started = os.read(read_end, 200)
        os.close(read_end)
        assert status == 0, f"seed {first + started[-1]} ended the child with status {status}"


def _refuse(_):
    raise UnsupportedLayout
