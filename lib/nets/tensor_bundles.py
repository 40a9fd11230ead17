"""Reader of TensorFlow checkpoints (tensor bundles), without TensorFlow.

A checkpoint has two files. The index is a sorted string table of LevelDB: names of variables and, for each, a message
with its type, shape and place. The data file contains the values. Source: ``tensor_bundle.proto`` of TensorFlow and
LevelDB's table format.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.errors import InputError

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_FLOAT32 = 1  # DT_FLOAT
_TYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5  # fields of a BundleEntryProto
_DIMENSION, _LENGTH = 2, 1  # fields of a TensorShapeProto and of its dimensions


def read_tensor_bundle(index: bytes, data: bytes) -> dict[str, Float32Array]:
    """Return the float32 variables of a checkpoint by name. Variables of other types are left out.

    Parameters
    ----------
    index, data
        Contents of the index file and of the only data file.

    Raises
    ------
    InputError
        ``not_a_model``: the files are not a checkpoint, are damaged, or are compressed.
    """
    try:
        return dict(_read_variables(index, data))
    except (IndexError, KeyError, OverflowError, TypeError, ValueError, struct.error) as error:
        raise InputError(
            "not_a_model", f"the checkpoint is damaged or is not one of TensorFlow ({error}): fetch it again"
        ) from None


def _read_variables(index: bytes, data: bytes) -> Iterator[tuple[str, Float32Array]]:
    footer = index[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack_from("<Q", footer, _FOOTER_BYTES - 8)[0] != _MAGIC:
        raise ValueError("the index has no footer of a string table")
    # the footer has the places of two blocks, each as offset and size: statistics, and the list of blocks
    _, _, offset, size = _read_varints(footer, 4)
    for _, place in _read_block(index, offset, size):
        for name, message in _read_block(index, *_read_varints(place, 2)):
            if not name:
                continue  # the header of the bundle
            entry = _read_message(message)
            if entry[_TYPE] != [_FLOAT32]:
                continue
            (shape_message,), (length,), (start,) = entry[_SHAPE], entry[_SIZE], entry.get(_OFFSET, [0])
            dimensions = _read_message(shape_message).get(_DIMENSION, [])
            shape = [_read_message(dimension).get(_LENGTH, [0])[0] for dimension in dimensions]
            values = np.frombuffer(data[start : start + length], dtype="<f4")
            yield name.decode("utf-8"), values.reshape(shape)


def _read_block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block. A key repeats only what differs from the key before it."""
    block = table[offset : offset + size]
    if table[offset + size] != 0:
        raise ValueError("its index is compressed")
    (n_restarts,) = struct.unpack_from("<I", block, size - 4)
    end, at, key = size - 4 * (n_restarts + 1), 0, b""
    while at < end:
        shared, at = _read_varint(block, at)
        added, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        key = key[:shared] + block[at : at + added]
        at += added + length
        yield key, block[at - length : at]


def _read_message(message: bytes) -> dict[int, list[Any]]:
    """Return the values of a protocol buffer by field number: int, or bytes if the value has its own length."""
    fields: dict[int, list[Any]] = {}
    at = 0
    value: int | bytes
    while at < len(message):
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(message, at)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                if kind != 2:
                    raise ValueError(f"a field has the wire type {kind}")
                length, at = _read_varint(message, at)
            value, at = message[at : at + length], at + length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _read_varints(data: bytes, count: int) -> list[int]:
    values, at = [], 0
    for _ in range(count):
        value, at = _read_varint(data, at)
        values.append(value)
    return values


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, and the index after it. Each byte has seven bits; the last byte is below 128."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
