"""Model files: what was packed comes back, and other bytes raise a ValueError."""

import contextlib
import json
import pickle
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reprise.lib.tensors import pack_tensors, unpack_tensors

HEADER = {"format": 2, "genres": ["Blues", "Été", "音楽"], "limit": 0.1, "none": None, "nested": [{"a": [1, True]}]}
TENSORS = {"rows": np.arange(6.0).reshape(2, 3), "codes/é": np.array([1, 2], dtype=np.int64)}
DTYPES = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, min_side=0)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(  # the format gives the name __metadata__ a meaning
    tensors=st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__metadata__"), ARRAYS, max_size=4),
    header=st.dictionaries(st.text(), VALUES, max_size=4),
)
def test_the_header_and_the_arrays_come_back(tensors: dict[str, np.ndarray], header: dict[str, Any]) -> None:
    data = pack_tensors(tensors, header)
    found_header, found = unpack_tensors(data)
    assert found_header == header
    assert found.keys() == tensors.keys()
    for name, array in tensors.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    assert pack_tensors(found, found_header) == data


def test_the_order_of_names_and_the_layout_in_memory_do_not_change_the_bytes() -> None:
    data = pack_tensors(TENSORS, HEADER)
    turned = {name: np.asfortranarray(array) for name, array in reversed(TENSORS.items())}
    assert pack_tensors(turned, dict(reversed(HEADER.items()))) == data
    wide = np.repeat(TENSORS["rows"], 2, axis=1)[:, ::2]
    assert pack_tensors({**TENSORS, "rows": wide}, HEADER) == data
    assert unpack_tensors(data)[1]["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]


def with_header(header: str) -> bytes:
    return bytes(safetensors.numpy.save(TENSORS, {"reprise": header}))


def with_metadata(metadata: object) -> bytes:
    text = json.dumps({"__metadata__": metadata}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\3\4",
        b"\0" * 100,
        b"\xff" * 100,
        pickle.dumps(HEADER),
        pack_tensors(TENSORS, HEADER)[:-1],
        pack_tensors(TENSORS, HEADER) + b"\0",
        pack_tensors(TENSORS, HEADER)[:50],
        (1 << 60).to_bytes(8, "little") + pack_tensors(TENSORS, HEADER)[8:],
        bytes(safetensors.numpy.save(TENSORS)),
        bytes(safetensors.numpy.save(TENSORS, {"other": "{}"})),
        with_header(""),
        with_header("[]"),
        with_header("null"),
        with_header("[" * 100_000),
        with_header('{"format": 2'),
        with_metadata({"reprise": 2}),
        with_metadata(["reprise"]),
        with_metadata(None),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack_tensors(data)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_damaged_bytes_raise_nothing_but_a_value_error(at: int, value: int, cut: int) -> None:
    damaged = bytearray(pack_tensors(TENSORS, HEADER))
    damaged[at % len(damaged)] = value
    with contextlib.suppress(ValueError):
        unpack_tensors(bytes(damaged[: len(damaged) - cut]))
