"""Model files: safetensors with arrays by name, and one JSON header."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

_HEADER = "reprise"


def pack_tensors(tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """Serialise arrays and a header that JSON can express. Equal input gives equal bytes."""
    # write one header entry only, because safetensors writes several entries in an arbitrary order
    text = json.dumps(dict(header), sort_keys=True)
    return bytes(
        safetensors.numpy.save({name: np.ascontiguousarray(one) for name, one in tensors.items()}, {_HEADER: text})
    )


def unpack_tensors(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the header and the arrays that `pack_tensors` serialised. No code from the bytes runs.

    Raises
    ------
    ValueError
        The bytes are not such a file.
    """
    size = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_HEADER])
        tensors = safetensors.numpy.load(data)
    except (KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, tensors
