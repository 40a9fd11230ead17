"""Reader of Million Song Dataset HDF5 files: one song or an aggregate, from a path or from bytes."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BufferedReader
from itertools import pairwise
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError
from reprise.lib.files import open_regular
from reprise.lib.msd.datasets import Dataset
from reprise.lib.msd.fields import FIELDS, MATRIX_WIDTH, SEGMENTS, TABLES, Field
from reprise.lib.msd.hdf5_structure import Hdf5File
from reprise.lib.msd.track_structure import Image, Unusual

MAX_SONG_BYTES = 64 << 20
"""Most bytes that the wanted columns of one song may declare; the largest real song has 1 MB."""

MAX_CONTENT = 64 << 20
"""Largest file that is read into memory whole; a larger one is an aggregate, of which HDF5 reads what is wanted."""

MAX_RATIO = 64
"""Most bytes declared by a read for each byte of the file; real tracks have 1.4, aggregates of scalars under 20."""

_OBJECT_BYTES = 100
"""What a row is counted as at least where it becomes a Python object."""

_TRACK_ID = re.compile(r"TR[A-Z0-9]{16}")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLOATS = frozenset({"floats", "matrix"})
_INT32 = range(-(2**31), 2**31)

# what h5py raises on crafted files, and what numpy and Python raise on the values that come out of them
_HOSTILE = (RuntimeError, OSError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)


def open_msd(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> "AbstractContextManager[MsdFile]":
    """Open a file of the Million Song Dataset's format for reading; use it in a ``with`` statement.

    Parameters
    ----------
    source
        Path of the file, or its whole content.
    name
        What messages call the file; by default its path.

    Raises
    ------
    InputError
        ``not_a_file``, ``empty_file``, ``not_hdf5``, ``truncated``, ``unreadable``, ``missing_group``,
        ``missing_dataset``, ``unsafe_link`` and what `Dataset` raises for the table ``/analysis/songs``.
    """
    return MsdFile(source, name=name)


def read(
    source: str | os.PathLike[str] | bytes,
    columns: Collection[str] | None = None,
    *,
    expect_id: str | None = None,
    name: str | None = None,
) -> dict[str, list[Any]]:
    """Read all songs of one file at once.

    Parameters
    ----------
    source, name
        As for `open_msd`.
    columns
        Names out of `FIELDS`; by default all of them.
    expect_id
        The track id that a file of one song must hold, usually its file name.

    Returns
    -------
    dict
        As `MsdFile.read`.

    Raises
    ------
    InputError
        As `open_msd` and `MsdFile.read`; ``id_mismatch`` where the song is not ``expect_id``.
    """
    with open_msd(source, name=name) as file:
        if expect_id is not None and file.n_songs == 1:
            found = file.read(["track_id"])["track_id"][0]
            if found != expect_id:
                raise InputError("id_mismatch", f"{file.name}: holds track {found}, expected {expect_id}")
        return file.read(columns)


def track_path(track_id: str) -> PurePosixPath:
    """Path of a track's file under the dataset's root: ``A/B/C/TRABC….h5``, after its third to fifth letters.

    Raises
    ------
    InputError
        ``bad_track_id``.
    """
    if not _TRACK_ID.fullmatch(track_id):
        raise InputError("bad_track_id", f"{track_id!r} is not TR and 16 capital letters or digits")
    return PurePosixPath(track_id[2], track_id[3], track_id[4], f"{track_id}.h5")


class MsdFile:
    """An open file of one song or many; made by `open_msd`.

    Attributes
    ----------
    name
        What messages call the file.
    n_songs
        Rows of its tables.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> None:
        self.name = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
        self._datasets: dict[str, Dataset] = {}
        self._source, self._size = _load(source)
        with self._guarded():
            try:
                if not self._source:
                    raise InputError("empty_file", "has no bytes")
                self._structure: Image | Hdf5File | None = self._open_structure()
                self.n_songs = self._dataset(FIELDS["track_id"]).rows
                if not self.n_songs:
                    raise InputError("no_songs", "its tables have no rows")
            except BaseException:
                self.close()
                raise

    def _open_structure(self) -> Image | Hdf5File:
        if isinstance(self._source, bytes):
            try:
                return Image(self._source)
            except Unusual:
                pass
        return self._open_library()

    def _open_library(self) -> Hdf5File:
        try:
            # through the handle, so that what was checked is what HDF5 opens
            return Hdf5File(self._source if isinstance(self._source, bytes) else f"/dev/fd/{self._source.fileno()}")
        except InputError:
            raise
        except _HOSTILE as error:
            head = self._source[:8] if isinstance(self._source, bytes) else os.pread(self._source.fileno(), 8, 0)
            raise _not_opened(error, head) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the arrays that were read stay valid."""
        self._datasets = {}
        self._structure = None
        if not isinstance(self._source, bytes):
            self._source.close()
        self._source = b""

    def read(
        self, columns: Collection[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, list[Any]]:
        """Read columns of the songs [start, stop); only the datasets that these need are touched.

        Parameters
        ----------
        columns
            Names out of `FIELDS`; by default all of them.
        start, stop
            Range of songs; by default all of them. Memory grows with the range, not with the file.

        Returns
        -------
        dict
            For each column one value a song. ``int``, ``float`` and ``text`` are Python values, None when missing
            (NaN, −1 for the four catalogue ids, year 0, empty text). ``floats`` are float32 arrays of shape (n,),
            ``matrix`` float32 (n, 12), ``ints`` int32 (n,), ``texts`` a list of str. Text that is not utf-8 is
            decoded with replacement characters. Arrays keep the NaN that the file holds.

        Raises
        ------
        ValueError
            For a column that does not exist, or a range outside the file.
        InputError
            For a file that cannot be used: what `Dataset` raises, and ``missing_field``, ``too_large``,
            ``unequal_lengths`` (tables, or the seven segment arrays), ``not_monotone`` (a ``*_start`` that
            decreases or is not finite), ``bad_index`` (``idx_*`` of an aggregate), ``bad_track_id``.
        """
        wanted = [FIELDS[name] for name in FIELDS if columns is None or name in columns]
        if columns is not None and len(wanted) != len(set(columns)):
            raise ValueError(f"no such fields: {sorted(set(columns) - set(FIELDS))}")
        stop = self.n_songs if stop is None else stop
        if not 0 <= start <= stop <= self.n_songs:
            raise ValueError(f"songs [{start}, {stop}) of a file that has {self.n_songs}")
        if self._structure is None:
            raise ValueError(f"{self.name} is closed")
        if start == stop:
            return {field.name: [] for field in wanted}
        with self._guarded(), np.errstate(over="ignore", invalid="ignore"):
            return _Slice(self, wanted, start, stop).read()

    def _dataset(self, field: Field) -> Dataset:
        dataset = self._datasets.get(field.path)
        if dataset is None:
            width = MATRIX_WIDTH if field.kind == "matrix" else 0
            assert self._structure is not None  # noqa: S101 - read() has checked
            try:
                dataset = self._structure.open(field.path, width)
            except Unusual:
                self._structure = self._open_library()
                dataset = self._structure.open(field.path, width)
            self._datasets[field.path] = dataset
        return dataset

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Every failure of a hostile file as one `InputError` that names the file."""
        try:
            yield
        except InputError as error:
            raise InputError(error.kind, f"{self.name}: {error.message}") from error
        except _HOSTILE as error:
            raise InputError("unreadable", f"{self.name}: HDF5 cannot read it: {_one_line(error)}") from error


class _Slice:
    """One read of a range of songs, with the memory that it may still declare."""

    def __init__(self, file: MsdFile, wanted: list[Field], start: int, stop: int) -> None:
        self.file = file
        self.wanted = wanted
        # the arrays of the last song end where those of the next one start
        self.reads_next = not all(field.is_scalar for field in wanted)
        self.start = start
        self.stop = stop
        self.left = min(MAX_SONG_BYTES * (stop - start), MAX_SONG_BYTES + MAX_RATIO * file._size)
        self.tables: dict[str, dict[str, tuple[Any, ...]]] = {}

    def read(self) -> dict[str, list[Any]]:
        if any(field.name in SEGMENTS for field in self.wanted):
            self._check_segments()
        result = {field.name: self._scalars(field) if field.is_scalar else self._arrays(field) for field in self.wanted}
        for track_id in result.get("track_id", ()):
            if not _TRACK_ID.fullmatch(track_id or ""):
                raise InputError("bad_track_id", f"{track_id!r} is not TR and 16 capital letters or digits")
        return result

    def _spend(self, dataset: Dataset, rows: int, least: int = _OBJECT_BYTES) -> None:
        size = rows * max(dataset.row_bytes, least)
        if size > self.left:
            message = f"{dataset.path} declares {size} bytes, more than a file of {self.file._size} bytes may"
            raise InputError("too_large", message)
        self.left -= size

    def _column(self, field: Field) -> tuple[Any, ...]:
        """One field of a table for the songs of the slice and, where there is one, the song after it."""
        columns = self.tables.get(field.path)
        if columns is None:
            columns = self.tables[field.path] = self._table(field)
        values = columns.get(field.name)
        if values is None:
            raise InputError("missing_field", f"{field.path} has no field {field.name}")
        return values

    def _table(self, field: Field) -> dict[str, tuple[Any, ...]]:
        dataset = self.file._dataset(field)
        if dataset.rows != self.file.n_songs:
            message = f"{field.path} has {dataset.rows} rows, /analysis/songs has {self.file.n_songs}"
            raise InputError("unequal_lengths", message)
        row = dataset.layout.dtype
        if row.names is None:
            raise InputError("wrong_type", f"{field.path} is not a table")
        end = min(self.stop + self.reads_next, self.file.n_songs)
        self._spend(dataset, end - self.start)
        rows = dataset.read(self.start, end)
        names = list(row.names)
        if row != TABLES[field.path]:
            names = [name for name in names if name in FIELDS]
            rows = rows[names]
            for name in names:
                _check_kind(row[name], FIELDS[name])
        return dict(zip(names, zip(*rows.tolist(), strict=True), strict=True))

    def _scalars(self, field: Field) -> list[Any]:
        values = self._column(field)[: self.stop - self.start]
        if field.kind == "text":
            return [value.decode("utf-8", "replace") or None for value in values]
        if field.kind == "float":
            return [None if value != value else float(value) for value in values]
        _check_int32(values, field)
        return [None if value == field.missing else value for value in values]

    def _bounds(self, field: Field) -> list[int]:
        """First row of every song of the slice in an array, and the end of the last one."""
        rows = self.file._dataset(field).rows
        if self.file.n_songs == 1:
            return [0, rows]
        assert field.index is not None  # noqa: S101 - every array has one
        index = FIELDS[field.index]
        bounds = list(self._column(index))
        _check_int32(bounds, index)
        if self.stop == self.file.n_songs:
            bounds.append(rows)
        if bounds[0] < 0 or bounds[-1] > rows or any(low > high for low, high in pairwise(bounds)):
            raise InputError("bad_index", f"{index.name} decreases, or points outside the {rows} rows of {field.path}")
        return bounds

    def _check_segments(self) -> None:
        bounds = [self._bounds(FIELDS[name]) for name in SEGMENTS]
        rows = [self.file._dataset(FIELDS[name]).rows for name in SEGMENTS]
        if len(set(rows)) > 1 or any(other != bounds[0] for other in bounds):
            lengths = ", ".join(f"{name} {count}" for name, count in zip(SEGMENTS, rows, strict=True))
            raise InputError("unequal_lengths", f"the segment arrays do not agree: {lengths}")

    def _arrays(self, field: Field) -> list[Any]:
        dataset = self.file._dataset(field)
        _check_kind(dataset.layout.dtype, field)
        bounds = self._bounds(field)
        first, last = bounds[0], bounds[-1]
        self._spend(dataset, last - first, np.dtype(np.float32).itemsize if field.kind in _FLOATS else _OBJECT_BYTES)
        values: Any
        if field.kind == "texts":
            values = [value.decode("utf-8", "replace") for value in dataset.read(first, last).tolist()]
        elif field.kind == "ints":
            stored = dataset.read(first, last)
            _check_int32(stored.tolist(), field)
            values = stored.astype(np.int32)
        else:
            values = dataset.read(first, last, np.float32)
        parts = [values[low - first : high - first] for low, high in pairwise(bounds)]
        if field.name.endswith("_start") and field.name != "segments_loudness_start":
            for part in parts:
                _check_monotone(part, field)
        return parts


def _check_kind(dtype: np.dtype[Any], field: Field) -> None:
    allowed = {"text": "S", "texts": "S", "int": "iu", "ints": "iu"}.get(field.kind, "fiu")
    if dtype.kind not in allowed:
        raise InputError("wrong_type", f"{field.path}: {field.name} is {dtype}, expected {field.dtype}")


def _check_int32(values: Sequence[int], field: Field) -> None:
    if values and (min(values) not in _INT32 or max(values) not in _INT32):
        raise InputError("wrong_type", f"{field.path}: {field.name} holds a number over 32 bits")


def _check_monotone(starts: Float32Array, field: Field) -> None:
    # comparisons with NaN are false, so that NaN and infinity anywhere fail one of these
    if len(starts) and not (starts[0] > -np.inf and starts[-1] < np.inf and (starts[1:] >= starts[:-1]).all()):
        raise InputError("not_monotone", f"{field.path} decreases or holds a value that is not finite")


def _load(source: str | os.PathLike[str] | bytes) -> tuple[bytes | BufferedReader, int]:
    """Content of a source, or the open file where that is large, and its size."""
    if isinstance(source, bytes):
        return source, len(source)
    file = open_regular(source)
    size = os.fstat(file.fileno()).st_size
    if size > MAX_CONTENT:
        return file, size
    with file:
        content = file.read()
    return content, len(content)


def _not_opened(error: BaseException, head: bytes) -> InputError:
    reason = _one_line(error)
    if "truncated file" in reason:
        return InputError("truncated", f"is shorter than it says: {reason}")
    if head != _SIGNATURE:
        return InputError("not_hdf5", "is not an HDF5 file")
    return InputError("unreadable", f"HDF5 cannot open it: {reason}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
