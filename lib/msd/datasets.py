"""Rows of a dataset whose chunks come from anywhere: the one place that inflates, unshuffles and converts."""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from isal import igzip_lib

from reprise.lib.errors import InputError

MAX_CHUNK_BYTES = 16 << 20
"""Largest inflated chunk that is accepted; the real files have 8 kB, aggregates 64 kB."""


class Layout(NamedTuple):
    """How a dataset's elements are stored, once checked.

    Attributes
    ----------
    dtype
        numpy type of one element, byte for byte as stored.
    chunk
        Shape of a chunk; None when the data stand in one piece.
    shuffle, deflate
        Bit of the filter in a chunk's mask of skipped filters; 0 when the filter is not in the pipeline.
    """

    dtype: np.dtype[Any]
    chunk: tuple[int, ...] | None
    shuffle: int
    deflate: int


class Dataset(ABC):
    """One dataset that passed the checks, open for reading by ranges of rows.

    Parameters
    ----------
    path
        Its full path in the file.
    layout
        How its elements are stored.
    shape
        Its shape in elements: (rows,) or (rows, columns).
    width
        0 for an array of shape (rows,), else the second dimension that it must have.

    Raises
    ------
    InputError
        ``wrong_type`` for another shape, ``too_large`` for a chunk over ``MAX_CHUNK_BYTES``.
    """

    __slots__ = ("layout", "path", "row_bytes", "rows", "width")

    def __init__(self, path: str, layout: Layout, shape: tuple[int, ...], width: int) -> None:
        if len(shape) != (2 if width else 1) or (width and shape[1] != width):
            expected = f"(n, {width})" if width else "(n,)"
            raise InputError("wrong_type", f"{path} has shape {shape}, expected {expected}")
        if layout.chunk is not None and math.prod(layout.chunk) * layout.dtype.itemsize > MAX_CHUNK_BYTES:
            message = f"{path} has chunks of {layout.chunk} elements, more than {MAX_CHUNK_BYTES} bytes each"
            raise InputError("too_large", message)
        self.path = path
        self.layout = layout
        self.width = width
        self.rows = shape[0]
        self.row_bytes = layout.dtype.itemsize * (width or 1)

    @abstractmethod
    def _stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, bytes | memoryview]:
        """Mask of skipped filters and stored bytes of the chunk at ``offset``; never more than ``limit`` bytes."""

    def read(self, start: int, stop: int, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
        """Rows [start, stop) as an array of shape (stop - start,) or (stop - start, width).

        Parameters
        ----------
        start, stop
            Range of rows, inside the dataset; the caller has checked that it may be held in memory.
        dtype
            numpy type of the result; by default the type as stored.

        Raises
        ------
        InputError
            ``truncated`` where rows were declared and never stored, ``unreadable`` where a chunk does not inflate
            to what it declares.
        """
        shape = (stop - start, self.width) if self.width else (stop - start,)
        out = np.empty(shape, self.layout.dtype if dtype is None else dtype)
        if start == stop:
            return out
        chunk = self.layout.chunk
        if chunk is None:
            out[...] = self._read_unchunked(start, stop)
        elif self.width:
            for column in range(0, self.width, chunk[1]):
                part = out[:, column : column + chunk[1]]
                part[...] = self._read_chunks(start, stop, chunk, (column,))[:, : part.shape[1]]
        else:
            out[...] = self._read_chunks(start, stop, chunk, ())
        return out

    def _read_unchunked(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows [start, stop) of a dataset that stands in one piece, in the stored type."""
        raise NotImplementedError

    def _read_chunks(self, start: int, stop: int, chunk: tuple[int, ...], column: tuple[int, ...]) -> npt.NDArray[Any]:
        """Rows [start, stop) of one column of chunks, in the stored type."""
        itemsize = self.layout.dtype.itemsize
        height, per_row = chunk[0], math.prod(chunk[1:])
        size = height * per_row * itemsize
        first = start // height * height
        blocks = [self._read_chunk((row, *column), size) for row in range(first, stop, height)]
        planes = np.frombuffer(blocks[0] if len(blocks) == 1 else b"".join(blocks), np.uint8)
        low, high = (start - first) * per_row, (stop - first) * per_row
        if not self.layout.shuffle:
            flat = planes.view(self.layout.dtype)[low:high]
        elif len(blocks) == 1:
            flat = np.ascontiguousarray(planes.reshape(itemsize, -1)[:, low:high].T).view(self.layout.dtype)
        else:
            planes = planes.reshape(len(blocks), itemsize, -1).transpose(0, 2, 1)
            flat = np.ascontiguousarray(planes).reshape(-1).view(self.layout.dtype)[low:high]
        return flat.reshape(-1, per_row) if self.width else flat.reshape(-1)

    def _read_chunk(self, offset: tuple[int, ...], size: int) -> bytes:
        """One chunk, inflated and still shuffled."""
        # deflate may make data that it cannot compress larger, with fixed codes by an eighth
        skipped, stored = self._stored_chunk(offset, size + size // 4 + 64)
        packed = self.layout.deflate and not skipped & self.layout.deflate
        data = _inflate(stored, size, self.path) if packed else bytes(stored)
        if len(data) != size:
            raise InputError("unreadable", f"{self.path}: a chunk holds {len(data)} bytes, expected {size}")
        if skipped & self.layout.shuffle:
            data = np.frombuffer(data, np.uint8).reshape(-1, self.layout.dtype.itemsize).T.tobytes()
        return data


# igzip's stubs call its error class an instance
_DAMAGED: tuple[type[Exception], ...] = (cast("type[Exception]", igzip_lib.IsalError), EOFError)


def _inflate(stored: bytes | memoryview, size: int, path: str) -> bytes:
    decoder = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB)
    try:
        # one byte more than declared: enough to see the end and its checksum, too little for a bomb
        data: bytes = decoder.decompress(stored, size + 1)
    except _DAMAGED as error:
        raise InputError("unreadable", f"{path}: a chunk's deflate stream is damaged: {error}") from error
    if len(data) > size:
        raise InputError("too_large", f"{path}: a chunk inflates to more than the {size} bytes that it declares")
    if not decoder.eof:
        raise InputError("truncated", f"{path}: a chunk's deflate stream stops before its end")
    return data
