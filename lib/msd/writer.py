"""Writer of Million Song Dataset HDF5 files that h5py and PyTables read as they read the real ones."""

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate, count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t
from isal import isal_zlib

from reprise.lib.arrays import UInt8Array
from reprise.lib.msd.fields import FIELDS, GROUPS, MATRIX_WIDTH, SEGMENTS, TABLES, Field

_TRACK_CHUNK = 8 << 10
_AGGREGATE_CHUNK = 64 << 10
"""Bytes of a chunk, as in the real files of either kind."""

_numbers = count()

_LEVEL = 0
"""igzip's fastest: a tenth larger than its level 1 and twice as fast. What a file declares is zlib's level 1."""


def write(path: str | os.PathLike[str], songs: Sequence[Mapping[str, Any]]) -> None:
    """Write a file of one song (a track file) or of many (an aggregate), all of it or nothing.

    Parameters
    ----------
    path
        Where to; an existing file is replaced, the folder must exist.
    songs
        As for `to_bytes`.

    Raises
    ------
    ValueError
        As `to_bytes`.
    OSError
        Where the file cannot be written.
    """
    content = to_bytes(songs)
    target = Path(path)
    handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(partial).replace(target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def to_bytes(songs: Sequence[Mapping[str, Any]]) -> bytes:
    """Make the content of a file of one song or many.

    Parameters
    ----------
    songs
        One mapping a song, from names out of `FIELDS` to values as `MsdFile.read` gives them. A field that is absent
        or None is stored as missing, an array as empty. Arrays may have any number type; they are stored as float64
        (int32 for counts). The ``idx_*`` are worked out here, and ignored where given.

    Raises
    ------
    ValueError
        For no songs, a field that does not exist, text longer than its field, an array of another shape, or arrays
        of unequal length that share their rows: the seven of the segments, terms, tags.
    """
    if not songs:
        raise ValueError("a file needs at least one song")
    for song in songs:
        if unknown := set(song) - set(FIELDS):
            raise ValueError(f"no such fields: {sorted(unknown)}")
    chunk_bytes = _TRACK_CHUNK if len(songs) == 1 else _AGGREGATE_CHUNK
    arrays = {field.name: _arrays(field, songs) for field in FIELDS.values() if not field.is_scalar}
    _check_segments(arrays)
    tables = {group: _table(group, songs, arrays) for group in GROUPS}
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, backing_store=False)
    access.set_file_image(template(chunk_bytes))
    # HDF5 takes two files in memory for one and the same when their names are equal
    file = h5f.open(f"writing {next(_numbers)}".encode(), h5f.ACC_RDWR, access)
    for group in GROUPS:
        parent = h5g.open(file, group.encode())
        _write_rows(parent, "songs", tables[group], chunk_bytes)
        for name, parts in arrays.items():
            if FIELDS[name].group == group and any(map(len, parts)):
                _write_rows(parent, name, parts[0] if len(parts) == 1 else np.concatenate(parts), chunk_bytes)
    h5f.flush(file)
    content: bytes = file.get_file_image()
    return content


def _arrays(field: Field, songs: Sequence[Mapping[str, Any]]) -> list[npt.NDArray[Any]]:
    """One array a song, in the stored type."""
    shape = (0, MATRIX_WIDTH) if field.kind == "matrix" else (0,)
    parts = []
    for song in songs:
        value = song.get(field.name)
        if value is None:
            value = np.empty(shape)
        elif field.kind == "texts":
            value = [_encoded(text, field) for text in value]
        part = np.asarray(value, field.dtype)
        if part.shape[1:] != shape[1:] or part.ndim != len(shape):
            raise ValueError(f"{field.name} has shape {part.shape}, expected {('n', *shape[1:])}")
        parts.append(part)
    return parts


def _encoded(text: str, field: Field) -> bytes:
    value = text.encode()
    if len(value) > np.dtype(field.dtype).itemsize or value.endswith(b"\0"):
        raise ValueError(f"{field.name}: {text!r} does not fit {field.dtype} as utf-8, or ends in a NUL")
    return value


def _check_segments(arrays: Mapping[str, list[npt.NDArray[Any]]]) -> None:
    for parts in zip(*(arrays[name] for name in SEGMENTS), strict=True):
        if len({len(part) for part in parts}) > 1:
            raise ValueError(f"segment arrays of unequal length: {dict(zip(SEGMENTS, map(len, parts), strict=True))}")


def _table(
    group: str, songs: Sequence[Mapping[str, Any]], arrays: Mapping[str, list[npt.NDArray[Any]]]
) -> npt.NDArray[np.void]:
    table = np.zeros(len(songs), TABLES[f"/{group}/songs"])
    for name in table.dtype.names or ():
        field = FIELDS[name]
        if name.startswith("idx_"):
            table[name] = _starts(name, arrays)
        elif field.kind == "text":
            table[name] = [_encoded(song.get(name) or "", field) for song in songs]
        else:
            missing = np.nan if field.kind == "float" else field.missing or 0
            table[name] = [missing if song.get(name) is None else song[name] for song in songs]
    return table


def _starts(index: str, arrays: Mapping[str, list[npt.NDArray[Any]]]) -> list[int]:
    """First row of each song in the arrays that share an index."""
    sharing = [name for name in arrays if FIELDS[name].index == index]
    lengths = [list(map(len, arrays[name])) for name in sharing]
    if any(other != lengths[0] for other in lengths):
        raise ValueError(f"arrays that share {index} differ in length: {', '.join(sharing)}")
    return [0, *accumulate(lengths[0][:-1])]


def _write_rows(group: h5g.GroupID, name: str, rows: npt.NDArray[Any], chunk_bytes: int) -> None:
    dataset = h5d.open(group, name.encode())
    dataset.set_extent(rows.shape)
    if name == "songs" and len(rows) != 1:
        h5a.open(dataset, b"NROWS").write(np.array(len(rows), np.int64))
    height = _chunk_rows(rows.dtype.itemsize * math.prod(rows.shape[1:]), chunk_bytes)
    rest = (0,) * (rows.ndim - 1)
    for place, chunk in enumerate(_shuffled(rows, height)):
        dataset.write_direct_chunk((place * height, *rest), isal_zlib.compress(chunk, _LEVEL))


def _shuffled(rows: npt.NDArray[Any], height: int) -> UInt8Array:
    """Rows as chunks of ``height`` rows, the last one filled up with zeros: shape (chunks, itemsize, elements)."""
    count = -(-len(rows) // height)
    filled = np.zeros((count * height, *rows.shape[1:]), rows.dtype)
    filled[: len(rows)] = rows
    planes = filled.reshape(-1).view(np.uint8).reshape(count, -1, rows.dtype.itemsize)
    return np.ascontiguousarray(planes.transpose(0, 2, 1))


def _chunk_rows(row_bytes: int, chunk_bytes: int) -> int:
    return max(1, chunk_bytes // row_bytes)


@cache
def template(chunk_bytes: int = _TRACK_CHUNK) -> bytes:
    """Make a file with every group, dataset and attribute, and no rows; tables say one row, as in a track file."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, backing_store=False)
    access.set_libver_bounds(h5f.LIBVER_EARLIEST, h5f.LIBVER_LATEST)
    file = h5f.create(f"template {chunk_bytes}".encode(), h5f.ACC_TRUNC, fapl=access)
    root = h5g.open(file, b"/")
    _attributes(root, {"CLASS": "GROUP", "PYTABLES_FORMAT_VERSION": "2.0", "TITLE": "H5 Song File", "VERSION": "1.0"})
    for name in GROUPS:
        group = h5g.create(root, name.encode())
        _attributes(group, {"CLASS": "GROUP", "TITLE": name, "VERSION": "1.0"})
        table = TABLES[f"/{name}/songs"]
        dataset = _create(group, "songs", _table_type(table), table.itemsize, chunk_bytes)
        _attributes(dataset, dict(_table_attributes(name, table)))
        for field in FIELDS.values():
            if field.group == name and not field.is_scalar:
                width = MATRIX_WIDTH if field.kind == "matrix" else 0
                tid = _element_type(np.dtype(field.dtype))
                dataset = _create(group, field.name, tid, tid.get_size(), chunk_bytes, width)
                _attributes(dataset, {"CLASS": "EARRAY", "EXTDIM": 0, "TITLE": field.name, "VERSION": "1.0"})
    h5f.flush(file)
    content: bytes = file.get_file_image()
    return content


def _create(
    group: h5g.GroupID, name: str, tid: h5t.TypeID, itemsize: int, chunk_bytes: int, width: int = 0
) -> h5d.DatasetID:
    columns = (width,) if width else ()
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_chunk((_chunk_rows(itemsize * (width or 1), chunk_bytes), *columns))
    properties.set_shuffle()
    properties.set_deflate(1)
    properties.set_obj_track_times(track_times=False)  # the same songs give the same bytes
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
    for place, name in enumerate(dtype.names or ()):
        yield f"FIELD_{place}_NAME", name
        yield f"FIELD_{place}_FILL", "" if dtype[name].kind == "S" else dtype[name].type(0)


def _attributes(owner: h5g.GroupID | h5d.DatasetID, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        array = np.array(value.encode() or b"\0", "S") if isinstance(value, str) else np.asarray(value)
        if array.dtype == np.int64 and name != "NROWS":
            array = array.astype(np.int32)
        tid = _element_type(array.dtype)
        h5a.create(owner, name.encode(), tid, h5s.create(h5s.SCALAR)).write(array, mtype=tid)
