"""Type aliases of numpy arrays, one for each dtype."""

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
