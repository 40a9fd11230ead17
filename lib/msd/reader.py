"""Reader of Million Song Dataset HDF5 files, from a path or from bytes. An aggregate is a file with many songs."""

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
from reprise.lib.msd.track_structure import TrackStructure, UnsupportedLayout

MAX_SONG_BYTES = 64 << 20
"""Largest accepted size of the rows in one read, in bytes per song. The largest real song has 1 MB."""

MAX_CONTENT_BYTES = 64 << 20
"""Largest size in bytes of a file that is read whole into memory. Of larger files, h5py reads only the needed parts."""

MAX_RATIO = 64
"""The declared size of the rows in one read is at most `MAX_SONG_BYTES` plus this factor times the file size.

The ratio of the two sizes is 1.4 in real track files and below 20 in aggregates that contain only scalars.
"""

_OBJECT_BYTES = 100
"""Minimum size in bytes that is assumed for a row that becomes a Python object."""

_TRACK_ID = re.compile(r"TR[A-Z0-9]{16}")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLOATS = frozenset({"floats", "matrix"})
_INT32 = range(-(2**31), 2**31)

# raised by h5py for hostile files, and by numpy and Python for the values in these files
_READ_ERRORS = (RuntimeError, OSError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)


def open_msd(source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> "AbstractContextManager[MsdFile]":
    """Open a Million Song Dataset file for reading, for use in a ``with`` statement.

    Parameters
    ----------
    source
        Path of the file, or its whole content.
    name
        Name of the file in error messages; by default its path, or ``<bytes>`` for content.

    Raises
    ------
    InputError
        ``not_a_file``, ``empty_file``, ``not_hdf5``, ``truncated``, ``unreadable``, ``missing_group``, ``unsafe_link``,
        ``no_songs``, and the errors of `Hdf5File.open` for the table ``/analysis/songs``.
    """
    return MsdFile(source, name=name)


def read(
    source: str | os.PathLike[str] | bytes,
    columns: Collection[str] | None = None,
    *,
    expect_id: str | None = None,
    name: str | None = None,
) -> dict[str, list[Any]]:
    """Read all songs of one file.

    Parameters
    ----------
    source, name
        As in `open_msd`.
    columns
        Names from `FIELDS`; by default all of them.
    expect_id
        Track id that a file with one song must contain, usually the file name without suffix. It is not checked in
        aggregates.

    Returns
    -------
    dict
        As returned by `MsdFile.read`.

    Raises
    ------
    InputError
        The errors of `open_msd` and `MsdFile.read`; ``id_mismatch`` if the song's track id is not ``expect_id``.
    """
    with open_msd(source, name=name) as file:
        if expect_id is not None and file.n_songs == 1:
            found = file.read(["track_id"])["track_id"][0]
            if found != expect_id:
                raise InputError(
                    "id_mismatch", f"{file.name}: contains track {found}, expected {expect_id}: rename or replace it"
                )
        return file.read(columns)


def track_path(track_id: str) -> PurePosixPath:
    """Return the path of a track's file relative to the dataset's root: ``A/B/C/TRABC….h5``.

    The folders are the third, fourth and fifth character of the id.

    Raises
    ------
    InputError
        ``bad_track_id`` if ``track_id`` is not a valid track id.
    """
    if not _TRACK_ID.fullmatch(track_id):
        raise InputError(
            "bad_track_id", f"{track_id!r} is not a track id: expected TR and 16 capital letters or digits"
        )
    return PurePosixPath(track_id[2], track_id[3], track_id[4], f"{track_id}.h5")


class MsdFile:
    """An open file with one song or many songs, returned by `open_msd`.

    Attributes
    ----------
    name
        Name of the file in error messages.
    n_songs
        Number of songs, equal to the number of rows of each table.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes, *, name: str | None = None) -> None:
        self.name = name or ("<bytes>" if isinstance(source, bytes) else os.fspath(source))
        self._datasets: dict[str, Dataset] = {}
        self._source, self._size = _load(source)
        with self._convert_errors():
            try:
                if not self._source:
                    raise InputError("empty_file", "is empty: get the file again or remove it")
                self._structure: TrackStructure | Hdf5File | None = self._open_structure()
                self.n_songs = self._dataset(FIELDS["track_id"]).rows
                if not self.n_songs:
                    raise InputError("no_songs", "its tables have no rows: get the file again or remove it")
            except BaseException:
                self.close()
                raise

    def _open_structure(self) -> TrackStructure | Hdf5File:
        if isinstance(self._source, bytes):
            try:
                return TrackStructure(self._source)
            except UnsupportedLayout:
                pass
        return self._open_hdf5()

    def _open_hdf5(self) -> Hdf5File:
        try:
            # open the file through its descriptor, so that HDF5 opens the same file that was checked
            return Hdf5File(self._source if isinstance(self._source, bytes) else f"/dev/fd/{self._source.fileno()}")
        except InputError:
            raise
        except _READ_ERRORS as error:
            head = self._source[:8] if isinstance(self._source, bytes) else os.pread(self._source.fileno(), 8, 0)
            raise _open_error(error, head) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Arrays returned by `read` stay valid."""
        self._datasets = {}
        self._structure = None
        if not isinstance(self._source, bytes):
            self._source.close()
        self._source = b""

    def read(
        self, columns: Collection[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, list[Any]]:
        """Read columns of the songs [start, stop). Datasets that these columns do not need are not read.

        Parameters
        ----------
        columns
            Names from `FIELDS`; by default all names.
        start, stop
            Range of songs; by default all songs. Memory use grows with the range, not with the size of the file.

        Returns
        -------
        dict
            For each column, a list with one value per song. Fields of kind ``int``, ``float`` and ``text`` are Python
            values, or None for a missing value (stored as NaN, as −1 for the four catalogue ids, as year 0 or as empty
            text). ``floats`` are float32 arrays of shape (n,), ``matrix`` float32 (n, 12), ``ints`` int32 (n,),
            ``texts`` a list of str. Invalid UTF-8 is decoded with replacement characters. NaN inside arrays is kept,
            except in start times, where it is an error.

        Raises
        ------
        ValueError
            For an unknown column, or a range outside the file.
        InputError
            For an unusable file: the errors of `Hdf5File.open` and `Dataset.read`, and ``missing_field``,
            ``too_large``, ``unequal_lengths`` (tables, or the seven segment arrays), ``not_monotone`` (start times that
            decrease or are not finite), ``bad_index`` (``idx_*`` of an aggregate), ``bad_track_id``.
        """
        fields = [FIELDS[name] for name in FIELDS if columns is None or name in columns]
        if columns is not None and len(fields) != len(set(columns)):
            raise ValueError(f"unknown fields: {sorted(set(columns) - set(FIELDS))}; choose from msd.FIELDS")
        stop = self.n_songs if stop is None else stop
        if not 0 <= start <= stop <= self.n_songs:
            raise ValueError(f"songs [{start}, {stop}) are outside {self.name}, which has {self.n_songs} songs")
        if self._structure is None:
            raise ValueError(f"{self.name} is closed: open it again with open_msd, or read inside the with block")
        if start == stop:
            return {field.name: [] for field in fields}
        with self._convert_errors(), np.errstate(over="ignore", invalid="ignore"):
            return _Slice(self, fields, start, stop).read()

    def _dataset(self, field: Field) -> Dataset:
        dataset = self._datasets.get(field.path)
        if dataset is None:
            width = MATRIX_WIDTH if field.kind == "matrix" else 0
            assert self._structure is not None  # noqa: S101 - read() checks it
            try:
                dataset = self._structure.open(field.path, width)
            except UnsupportedLayout:
                self._structure = self._open_hdf5()
                dataset = self._structure.open(field.path, width)
            self._datasets[field.path] = dataset
        return dataset

    @contextmanager
    def _convert_errors(self) -> Iterator[None]:
        """Convert every error caused by a hostile file to an `InputError`. Its message starts with the file name."""
        try:
            yield
        except InputError as error:
            raise InputError(error.kind, f"{self.name}: {error.message}") from error
        except _READ_ERRORS as error:
            raise InputError("unreadable", f"{self.name}: HDF5 cannot read it: {_one_line(error)}") from error


class _Slice:
    """One read of a range of songs. Memory use stays below a limit, even if the file declares huge sizes."""

    def __init__(self, file: MsdFile, fields: list[Field], start: int, stop: int) -> None:
        self.file = file
        self.fields = fields
        # the arrays of the slice's last song end where those of the next song start, so that song's table row is needed
        self.reads_next_song = not all(field.is_scalar for field in fields)
        self.start = start
        self.stop = stop
        self.bytes_left = min(MAX_SONG_BYTES * (stop - start), MAX_SONG_BYTES + MAX_RATIO * file._size)
        self.tables: dict[str, dict[str, tuple[Any, ...]]] = {}

    def read(self) -> dict[str, list[Any]]:
        if any(field.name in SEGMENTS for field in self.fields):
            self._check_segments()
        result = {
            field.name: self._read_scalars(field) if field.is_scalar else self._read_arrays(field)
            for field in self.fields
        }
        for track_id in result.get("track_id", ()):
            if not _TRACK_ID.fullmatch(track_id or ""):
                raise InputError(
                    "bad_track_id", f"{track_id!r} is not a track id: expected TR and 16 capital letters or digits"
                )
        return result

    def _reserve(self, dataset: Dataset, rows: int, min_row_bytes: int = _OBJECT_BYTES) -> None:
        """Subtract the rows' size from the bytes left for this read. Raise ``too_large`` if too few are left."""
        size = rows * max(dataset.row_bytes, min_row_bytes)
        if size > self.bytes_left:
            message = f"{dataset.path} declares {size} bytes, too many for a file of {self.file._size} bytes: remove it"
            raise InputError("too_large", message)
        self.bytes_left -= size

    def _column(self, field: Field) -> tuple[Any, ...]:
        """Return a scalar field's values for the songs of the slice and, if arrays are read, the next song."""
        columns = self.tables.get(field.path)
        if columns is None:
            columns = self.tables[field.path] = self._read_table(field)
        values = columns.get(field.name)
        if values is None:
            raise InputError("missing_field", f"{field.path} has no field {field.name}: get the file again")
        return values

    def _read_table(self, field: Field) -> dict[str, tuple[Any, ...]]:
        dataset = self.file._dataset(field)
        if dataset.rows != self.file.n_songs:
            message = (
                f"{field.path} has {dataset.rows} rows, /analysis/songs has {self.file.n_songs}: get the file again"
            )
            raise InputError("unequal_lengths", message)
        row = dataset.layout.dtype
        if row.names is None:
            raise InputError("wrong_type", f"{field.path} is not a table: get the file again")
        end = min(self.stop + self.reads_next_song, self.file.n_songs)
        self._reserve(dataset, end - self.start)
        rows = dataset.read(self.start, end)
        names = list(row.names)
        if row != TABLES[field.path]:
            names = [name for name in names if name in FIELDS]
            rows = rows[names]
            for name in names:
                _check_kind(row[name], FIELDS[name])
        return dict(zip(names, zip(*rows.tolist(), strict=True), strict=True))

    def _read_scalars(self, field: Field) -> list[Any]:
        values = self._column(field)[: self.stop - self.start]
        if field.kind == "text":
            return [value.decode("utf-8", "replace") or None for value in values]
        if field.kind == "float":
            return [None if value != value else float(value) for value in values]
        _check_int32(values, field)
        return [None if value == field.missing else value for value in values]

    def _bounds(self, field: Field) -> list[int]:
        """Return the first row of each song of the slice in the array ``field``, then the last song's end row."""
        rows = self.file._dataset(field).rows
        if self.file.n_songs == 1:
            return [0, rows]
        assert field.index is not None  # noqa: S101 - every array has an index
        index = FIELDS[field.index]
        bounds = list(self._column(index))
        _check_int32(bounds, index)
        if self.stop == self.file.n_songs:
            bounds.append(rows)
        if bounds[0] < 0 or bounds[-1] > rows or any(low > high for low, high in pairwise(bounds)):
            raise InputError(
                "bad_index",
                f"{index.name} decreases or points outside the {rows} rows of {field.path}: get the file again",
            )
        return bounds

    def _check_segments(self) -> None:
        bounds = [self._bounds(FIELDS[name]) for name in SEGMENTS]
        rows = [self.file._dataset(FIELDS[name]).rows for name in SEGMENTS]
        if len(set(rows)) > 1 or any(other != bounds[0] for other in bounds):
            lengths = ", ".join(f"{name} {count}" for name, count in zip(SEGMENTS, rows, strict=True))
            raise InputError(
                "unequal_lengths", f"the segment arrays have different lengths ({lengths}): get the file again"
            )

    def _read_arrays(self, field: Field) -> list[Any]:
        dataset = self.file._dataset(field)
        _check_kind(dataset.layout.dtype, field)
        bounds = self._bounds(field)
        first, last = bounds[0], bounds[-1]
        self._reserve(dataset, last - first, np.dtype(np.float32).itemsize if field.kind in _FLOATS else _OBJECT_BYTES)
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
        raise InputError(
            "wrong_type", f"{field.path}: {field.name} contains an integer of more than 32 bits: get the file again"
        )


def _check_monotone(starts: Float32Array, field: Field) -> None:
    # comparisons with NaN are false, so one NaN or infinity anywhere makes at least one of these conditions false
    if len(starts) and not (starts[0] > -np.inf and starts[-1] < np.inf and (starts[1:] >= starts[:-1]).all()):
        raise InputError(
            "not_monotone", f"{field.path} decreases, or contains NaN or infinite values: get the file again"
        )


def _load(source: str | os.PathLike[str] | bytes) -> tuple[bytes | BufferedReader, int]:
    """Return the content of a source, and its size in bytes. For a large file, return an open file, not its content."""
    if isinstance(source, bytes):
        return source, len(source)
    file = open_regular(source)
    size = os.fstat(file.fileno()).st_size
    if size > MAX_CONTENT_BYTES:
        return file, size
    with file:
        content = file.read()
    return content, len(content)


def _open_error(error: BaseException, head: bytes) -> InputError:
    """Return the InputError for a file that h5py cannot open, from h5py's error and the first 8 bytes of the file."""
    reason = _one_line(error)
    if "truncated file" in reason:
        return InputError("truncated", f"is shorter than its header declares ({reason}): get the file again")
    if head != _SIGNATURE:
        return InputError("not_hdf5", "is not an HDF5 file")
    return InputError("unreadable", f"cannot be opened by HDF5 ({reason}): get the file again or remove it")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
