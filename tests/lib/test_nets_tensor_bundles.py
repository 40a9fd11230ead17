"""Checkpoints of TensorFlow, written here from their description."""

import contextlib
import struct
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.lib.errors import InputError
from reprise.lib.nets.tensor_bundles import read_tensor_bundle

FLOAT, INT64 = 1, 9
MAGIC = 0xDB4775248B80FB57


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A block of a string table, in which each key shares what it can with the one before."""
    made, last = b"", b""
    for name, value in entries:
        shared = 0
        while shared < min(len(name), len(last)) and name[shared] == last[shared]:
            shared += 1
        made += varint(shared) + varint(len(name) - shared) + varint(len(value)) + name[shared:] + value
        last = name
    return made + struct.pack("<II", 0, 1)


def write(variables: Mapping[str, tuple[tuple[int, ...], bytes, int]], per_block: int = 3) -> tuple[bytes, bytes]:
    """Index and data of variables: shape, bytes and type by name."""
    entries, data = [(b"", field(1, 1))], b""
    for name in sorted(variables, key=str.encode):
        shape, values, kind = variables[name]
        dimensions = b"".join(field(2, field(1, size) if size else b"") for size in shape)
        message = field(1, kind) + field(2, dimensions)
        message += field(4, len(data)) if data else b""  # a zero is not written
        message += field(5, len(values)) + varint(6 << 3 | 5) + b"crc!"
        entries.append((name.encode(), message))
        data += values
    index, places = b"", []
    for start in range(0, len(entries), per_block):
        part = block(entries[start : start + per_block])
        places.append((entries[start][0] + b"~", varint(len(index)) + varint(len(part))))
        index += part + b"\0crc!"
    listed, handles = block(places), b""
    for part in (block([]), listed):
        handles += varint(len(index)) + varint(len(part))
        index += part + b"\0crc!"
    return index + handles.ljust(40, b"\0") + struct.pack("<Q", MAGIC), data


SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
NAMES = st.text("ab/_é", min_size=1, max_size=12)


@given(shapes=st.dictionaries(NAMES, SHAPES, max_size=12), per_block=st.integers(1, 5))
def test_variables_are_read_as_they_were_written(shapes: dict[str, tuple[int, ...]], per_block: int) -> None:
    rng = np.random.default_rng(len(shapes))
    arrays = {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}
    written = {name: (array.shape, array.tobytes(), FLOAT) for name, array in arrays.items()}
    counter = {"\x7fglobal_step": ((), bytes(8), INT64)}
    found = read_tensor_bundle(*write(written | counter, per_block))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_damaged_files_are_one_error() -> None:
    index, data = write({"a": ((2, 3), bytes(24), FLOAT), "b": ((4,), bytes(16), FLOAT)})
    rng = np.random.default_rng(1)
    read = 0
    for _ in range(400):
        changed = bytearray(index)
        for place in rng.integers(len(index), size=rng.integers(1, 4)):
            changed[place] ^= 1 << rng.integers(8)
        with contextlib.suppress(InputError):  # another error fails the test
            read_tensor_bundle(bytes(changed), data)
            read += 1
    assert read < 300


@pytest.mark.parametrize("size", [0, 10, 47, 60])
def test_truncated_files_are_one_error(size: int) -> None:
    index, data = write({"a": ((2, 3), bytes(24), FLOAT)})
    with pytest.raises(InputError, match="fetch it again"):
        read_tensor_bundle(index[:size], data)
    with pytest.raises(InputError, match="fetch it again"):
        read_tensor_bundle(index, data[:20])
