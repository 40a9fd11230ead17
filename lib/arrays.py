"""Type aliases of numpy arrays, one for each dtype, and memory of arrays that are mapped from files."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Int8Array = NDArray[np.int8]
Int16Array = NDArray[np.int16]
Int32Array = NDArray[np.int32]
IntpArray = NDArray[np.intp]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Complex64Array = NDArray[np.complex64]
ObjectArray = NDArray[np.object_]
"""Array of Python objects, usually ``str`` of any length, e.g. names and labels."""


def release_pages(array: NDArray[Any]) -> None:
    """Drop the pages of a memory-mapped file from the memory of this process; they are read again when needed.

    Otherwise a process that reads a long file has all of it in its resident memory, which a cluster's manager limits.
    An array that is not memory-mapped stays as it is.
    """
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)
