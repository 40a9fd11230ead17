"""Base class of HDF5 datasets: decompress, unshuffle and convert rows.

Subclasses provide the stored chunks. No other module decompresses chunks.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from isal import igzip_lib

from reprise.lib.errors import InputError

MAX_CHUNK_BYTES = 16 << 20
"""Largest accepted size of a decompressed chunk in bytes. Chunks have 8 kB in real track files and 64 kB in real
aggregates."""


class Layout(NamedTuple):
    """Storage layout of a dataset. Its values are already checked.

    Attributes
    ----------
    dtype
        numpy dtype of one element, exactly as stored.
    chunk
        Shape of a chunk; None if the data are not chunked.
    shuffle, deflate
        Value of the filter's bit in the mask that lists a chunk's skipped filters; 0 if the dataset does not use the
        filter.
    """

    dtype: np.dtype[Any]
    chunk: tuple[int, ...] | None
    shuffle: int
    deflate: int


class Dataset(ABC):
    """An open dataset whose shape and chunk size have been checked. `read` returns ranges of rows.

    Parameters
    ----------
    path
        Full path of the dataset in the file.
    layout
        Storage layout of the dataset.
    shape
        Shape in elements: (rows,) or (rows, columns).
    width
        Required number of columns; 0 for an array of shape (rows,).

    Raises
    ------
    InputError
        ``wrong_type`` for a shape that does not match ``width``; ``too_large`` for a chunk larger than
        ``MAX_CHUNK_BYTES``.
    """

    __slots__ = ("layout", "path", "row_bytes", "rows", "width")

    def __init__(self, path: str, layout: Layout, shape: tuple[int, ...], width: int) -> None:
        if len(shape) != (2 if width else 1) or (width and shape[1] != width):
            expected = f"(n, {width})" if width else "(n,)"
            raise InputError("wrong_type", f"{path} has shape {shape}, expected {expected}: get the file again")
        if layout.chunk is not None and math.prod(layout.chunk) * layout.dtype.itemsize > MAX_CHUNK_BYTES:
            message = (
                f"{path} has chunks of {layout.chunk} elements, which exceed {MAX_CHUNK_BYTES} bytes:"
                " repack it with smaller chunks (h5repack)"
            )
            raise InputError("too_large", message)
        self.path = path
        self.layout = layout
        self.width = width
        self.rows = shape[0]
        self.row_bytes = layout.dtype.itemsize * (width or 1)

    @abstractmethod
    def _read_stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, bytes | memoryview]:
        """Return the mask of a chunk's skipped filters, and the chunk's stored bytes.

        Raise InputError ``truncated`` if the chunk is not stored or has more than ``limit`` stored bytes.
        """

    def read(self, start: int, stop: int, dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
        """Return rows [start, stop) as an array of shape (stop - start,) or (stop - start, width).

        Parameters
        ----------
        start, stop
            Range of rows, inside the dataset. The caller must check beforehand that these rows fit in memory.
        dtype
            numpy dtype of the result; by default the stored dtype.

        Raises
        ------
        InputError
            ``truncated`` if declared rows are not stored or a deflate stream stops early; ``too_large`` if a chunk
            decompresses to more bytes than declared; ``unreadable`` if a chunk is damaged or has a wrong size.
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
        """Return rows [start, stop) of a dataset without chunks, in the stored dtype."""
        raise NotImplementedError

    def _read_chunks(self, start: int, stop: int, chunk: tuple[int, ...], column: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return rows [start, stop) of the chunks that begin at the same column, in the stored dtype.

        ``column`` is a tuple with the index of this column; an empty tuple for a dataset of shape (rows,).
        """
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
        """Return the decompressed bytes of one chunk. If the dataset uses shuffle, the bytes are still shuffled."""
        # deflate with fixed Huffman codes enlarges incompressible data by at most one eighth
        skipped, stored = self._read_stored_chunk(offset, size + size // 4 + 64)
        is_compressed = self.layout.deflate and not skipped & self.layout.deflate
        data = _inflate(stored, size, self.path) if is_compressed else bytes(stored)
        if len(data) != size:
            raise InputError(
                "unreadable", f"{self.path}: a chunk has {len(data)} bytes, expected {size}: get the file again"
            )
        if skipped & self.layout.shuffle:
            data = np.frombuffer(data, np.uint8).reshape(-1, self.layout.dtype.itemsize).T.tobytes()
        return data


# the cast is needed because the type stubs of igzip declare the error class as an instance
_INFLATE_ERRORS: tuple[type[Exception], ...] = (cast("type[Exception]", igzip_lib.IsalError), EOFError)


def _inflate(stored: bytes | memoryview, size: int, path: str) -> bytes:
    decoder = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_ZLIB)
    try:
        # the limit is the declared size plus one byte: the decoder then reaches the end of a valid stream and verifies
        # the checksum, but a decompression bomb cannot expand further
        data: bytes = decoder.decompress(stored, size + 1)
    except _INFLATE_ERRORS as error:
        raise InputError(
            "unreadable", f"{path}: a chunk's deflate stream is damaged ({error}): get the file again"
        ) from error
    if len(data) > size:
        raise InputError("too_large", f"{path}: a chunk expands beyond its declared {size} bytes: remove the file")
    if not decoder.eof:
        raise InputError("truncated", f"{path}: a chunk's deflate stream stops before its end: get the file again")
    return data
