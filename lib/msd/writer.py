"""Writer of Million Song Dataset HDF5 files that h5py and PyTables can read like the real files."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, count
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t
from isal import isal_zlib

from reprise.lib.arrays import UInt8Array
from reprise.lib.files import replace_file
from reprise.lib.msd.fields import FIELDS, GROUPS, MATRIX_WIDTH, SEGMENTS, TABLES, Field

_TRACK_CHUNK = 8 << 10
_AGGREGATE_CHUNK = 64 << 10
"""Chunk sizes in bytes, as in the real track and aggregate files."""

_file_numbers = count()

_COMPRESSION_LEVEL = 0
"""Fastest level of igzip: twice as fast as its level 1, with 10 % more bytes.

The written files still declare level 1 of zlib, as the real files do.
"""


def write(path: str | os.PathLike[str], songs: Sequence[Mapping[str, Any]]) -> None:
    """Atomically write a file with one song (a track file) or many songs (an aggregate).

    Parameters
    ----------
    path
        Path of the file to write. An existing file is replaced. The folder must exist.
    songs
        As in `to_bytes`.

    Raises
    ------
    ValueError
        The errors of `to_bytes`.
    OSError
        If the file cannot be written.
    """
    content = to_bytes(songs)
    with replace_file(path) as file:
        file.write(content)


def to_bytes(songs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the content of a file with one song or many songs.

    Parameters
    ----------
    songs
        One mapping per song, from names in `FIELDS` to values as returned by `MsdFile.read`. If a field is absent or
        None, a scalar is stored as missing and an array as empty. Arrays of any numeric dtype are accepted. They are
        stored as float64, and arrays of counts as int32. The ``idx_*`` fields are computed; given values are ignored.

    Raises
    ------
    ValueError
        For an empty ``songs``, an unknown field, text that is too long for its field or ends with NUL, an array of a
        wrong shape, or unequal lengths of arrays that share rows (the seven segment arrays, terms, tags).
    """
    if not songs:
        raise ValueError("a file needs at least one song")
    for song in songs:
        if unknown := set(song) - set(FIELDS):
            raise ValueError(f"unknown fields: {sorted(unknown)}; choose from msd.FIELDS")
    chunk_bytes = _TRACK_CHUNK if len(songs) == 1 else _AGGREGATE_CHUNK
    arrays = {field.name: _make_arrays(field, songs) for field in FIELDS.values() if not field.is_scalar}
    _check_segments(arrays)
    tables = {group: _make_table(group, songs, arrays) for group in GROUPS}
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, backing_store=False)
    access.set_file_image(make_empty_file(chunk_bytes))
    # HDF5 treats two in-memory files with equal names as the same file
    file = h5f.open(f"writing {next(_file_numbers)}".encode(), h5f.ACC_RDWR, access)
    for group in GROUPS:
        parent = h5g.open(file, group.encode())
        _write_rows(parent, "songs", tables[group], chunk_bytes)
        for name, parts in arrays.items():
            if FIELDS[name].group == group and any(map(len, parts)):
                _write_rows(parent, name, parts[0] if len(parts) == 1 else np.concatenate(parts), chunk_bytes)
    h5f.flush(file)
    content: bytes = file.get_file_image()
    return content


def _make_arrays(field: Field, songs: Sequence[Mapping[str, Any]]) -> list[npt.NDArray[Any]]:
    """Return one array per song for the array field ``field``, in the stored dtype."""
    shape = (0, MATRIX_WIDTH) if field.kind == "matrix" else (0,)
    parts = []
    for song in songs:
        value = song.get(field.name)
        if value is None:
            value = np.empty(shape)
        elif field.kind == "texts":
            value = [_encode(text, field) for text in value]
        part = np.asarray(value, field.dtype)
        if part.shape[1:] != shape[1:] or part.ndim != len(shape):
            raise ValueError(f"{field.name} has shape {part.shape}, expected {('n', *shape[1:])}")
        parts.append(part)
    return parts


def _encode(text: str, field: Field) -> bytes:
    value = text.encode()
    if len(value) > np.dtype(field.dtype).itemsize or value.endswith(b"\0"):
        raise ValueError(f"{field.name}: {text!r} is longer than {field.dtype} in UTF-8, or ends with NUL")
    return value


def _check_segments(arrays: Mapping[str, list[npt.NDArray[Any]]]) -> None:
    for parts in zip(*(arrays[name] for name in SEGMENTS), strict=True):
        if len({len(part) for part in parts}) > 1:
            lengths = dict(zip(SEGMENTS, map(len, parts), strict=True))
            raise ValueError(f"the segment arrays have unequal lengths: {lengths}")


def _make_table(
    group: str, songs: Sequence[Mapping[str, Any]], arrays: Mapping[str, list[npt.NDArray[Any]]]
) -> npt.NDArray[np.void]:
    table = np.zeros(len(songs), TABLES[f"/{group}/songs"])
    for name in table.dtype.names or ():
        field = FIELDS[name]
        if name.startswith("idx_"):
            table[name] = _first_rows(name, arrays)
        elif field.kind == "text":
            table[name] = [_encode(song.get(name) or "", field) for song in songs]
        else:
            missing = np.nan if field.kind == "float" else field.missing or 0
            table[name] = [missing if song.get(name) is None else song[name] for song in songs]
    return table


def _first_rows(index: str, arrays: Mapping[str, list[npt.NDArray[Any]]]) -> list[int]:
    """Return the index of each song's first row in the arrays that share the index field ``index``."""
    sharing = [name for name in arrays if FIELDS[name].index == index]
    lengths = [list(map(len, arrays[name])) for name in sharing]
    if any(other != lengths[0] for other in lengths):
        raise ValueError(f"arrays that share {index} have unequal lengths: {', '.join(sharing)}")
    return [0, *accumulate(lengths[0][:-1])]


def _write_rows(group: h5g.GroupID, name: str, rows: npt.NDArray[Any], chunk_bytes: int) -> None:
    dataset = h5d.open(group, name.encode())
    dataset.set_extent(rows.shape)
    if name == "songs" and len(rows) != 1:
        h5a.open(dataset, b"NROWS").write(np.array(len(rows), np.int64))
    height = _chunk_rows(rows.dtype.itemsize * math.prod(rows.shape[1:]), chunk_bytes)
    rest = (0,) * (rows.ndim - 1)
    for number, chunk in enumerate(_shuffle_chunks(rows, height)):
        dataset.write_direct_chunk((number * height, *rest), isal_zlib.compress(chunk, _COMPRESSION_LEVEL))


def _shuffle_chunks(rows: npt.NDArray[Any], height: int) -> UInt8Array:
    """Return byte-shuffled chunks of ``height`` rows, as an array of shape (chunks, itemsize, elements).

    The last chunk is padded with zeros.
    """
    count = -(-len(rows) // height)
    filled = np.zeros((count * height, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    planes = filled.reshape(-1).view(np.uint8).reshape(count, -1, rows.dtype.itemsize)
    return np.ascontiguousarray(planes.transpose(0, 2, 1))


def _chunk_rows(row_bytes: int, chunk_bytes: int) -> int:
    return max(1, chunk_bytes // row_bytes)


@cache
def make_empty_file(chunk_bytes: int = _TRACK_CHUNK) -> bytes:
    """Return the content of a file with all groups, datasets and attributes, but without rows.

    In its tables, the attribute NROWS is already 1, as in a track file.
    """
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, backing_store=False)
    access.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_LATEST)
    file = h5f.create(f"template {chunk_bytes}".encode(), h5f.ACC_TRUNC, fapl=access)
    root = h5g.open(file, b"/")
    _write_attributes(
        root, {"CLASS": "GROUP", "PYTABLES_FORMAT_VERSION": "2.0", "TITLE": "H5 Song File", "VERSION": "1.0"}
    )
    for name in GROUPS:
        group = h5g.create(root, name.encode())
        _write_attributes(group, {"CLASS": "GROUP", "TITLE": name, "VERSION": "1.0"})
        table = TABLES[f"/{name}/songs"]
        dataset = _create_dataset(group, "songs", _table_type(table), table.itemsize, chunk_bytes)
        _write_attributes(dataset, dict(_table_attributes(name, table)))
        for field in FIELDS.values():
            if field.group == name and not field.is_scalar:
                width = MATRIX_WIDTH if field.kind == "matrix" else 0
                tid = _element_type(np.dtype(field.dtype))
                dataset = _create_dataset(group, field.name, tid, tid.get_size(), chunk_bytes, width)
                _write_attributes(dataset, {"CLASS": "EARRAY", "EXTDIM": 0, "TITLE": field.name, "VERSION": "1.0"})
    h5f.flush(file)
    content: bytes = file.get_file_image()
    return content


def _create_dataset(
    group: h5g.GroupID, name: str, tid: h5t.TypeID, itemsize: int, chunk_bytes: int, width: int = 0
) -> h5d.DatasetID:
    columns = (width,) if width else ()
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((_chunk_rows(itemsize * (width or 1), chunk_bytes), *columns))
    properties.set_shuffle()
    properties.set_deflate(1)
    properties.set_obj_track_times(track_times=False)  # with timestamps, equal songs would give different bytes
    space = h5s.create_simple((0, *columns), (h5s.UNLIMITED, *columns))
    return h5d.create(group, name.encode(), tid, space, properties)


def _element_type(dtype: np.dtype[Any]) -> h5t.TypeID:
    if dtype.kind != "S":
        return h5t.py_create(dtype)
    tid = h5t.C_S1.copy()
    tid.set_size(dtype.itemsize)
    return tid


def _table_type(dtype: np.dtype[np.void]) -> h5t.TypeID:
    tid = h5t.create(h5t.COMPOUND, dtype.itemsize)
    for name, (member, offset, *_) in (dtype.fields or {}).items():
        tid.insert(name.encode(), offset, _element_type(member))
    return tid


def _table_attributes(group: str, dtype: np.dtype[np.void]) -> Iterator[tuple[str, Any]]:
    yield from {"CLASS": "TABLE", "TITLE": f"{group} of the songs", "VERSION": "2.6", "NROWS": np.int64(1)}.items()
    for position, name in enumerate(dtype.names or ()):
        yield f"FIELD_{position}_NAME", name
        yield f"FIELD_{position}_FILL", "" if dtype[name].kind == "S" else dtype[name].type(0)


def _write_attributes(owner: h5g.GroupID | h5d.DatasetID, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        array = np.array(value.encode() or b"\0", "S") if isinstance(value, str) else np.asarray(value)
        if array.dtype == np.int64 and name != "NROWS":
            array = array.astype(np.int32)
        tid = _element_type(array.dtype)
        h5a.create(owner, name.encode(), tid, h5s.create(h5s.SCALAR)).write(array, mtype=tid)
