"""Structure of an ordinary track file, parsed from its bytes without h5py.

The parser needs a third of the time that h5py needs. It supports only one layout: HDF5's earliest format version, with
exactly the datatypes and filters of the real files. Our writer uses the same layout. For any other layout, the parser
raises `UnsupportedLayout`. The caller then reads the file through `hdf5_structure`, which also reports faults of the
file. Offsets and sizes come from the file and can be wrong, so every read stays inside the file and every loop is
bounded.

Format: HDF5 File Format Specification, sections II.A (superblock 0), III.A (B-tree 1), III.B (symbol table node), III.D
(local heap) and IV.A (object header 1).
"""

import struct
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from reprise.lib.errors import InputError
from reprise.lib.msd.datasets import Dataset, Layout
from reprise.lib.msd.fields import FIELDS, GROUPS, TABLES
from reprise.lib.msd.writer import make_empty_file

_SUPERBLOCK = struct.Struct("<8s 4B B2Bx HHI QQQQ Q Q")
_HEADER = struct.Struct("<BxHII4x")
_MESSAGE = struct.Struct("<HHB3x")
_NODE = struct.Struct("<4sBBHQQ")
_SYMBOLS = struct.Struct("<4sBxH")
_SYMBOL = struct.Struct("<QQI4x16x")
_LAYOUT = struct.Struct("<BBBQ")
_PAIR = struct.Struct("<QQ")
_ADDRESS = struct.Struct("<Q")

_DATASPACE, _DATATYPE, _LAYOUT_MESSAGE, _FILTERS, _CONTINUATION, _SYMBOL_TABLE = 0x01, 0x03, 0x08, 0x0B, 0x10, 0x11
_DESCRIPTION = frozenset({_DATASPACE, _DATATYPE, _LAYOUT_MESSAGE, _FILTERS})
_SHARED = 2
_UNDEFINED = 2**64 - 1
_MAX_NODE = 64
"""Upper bound of the number of entries in a B-tree node or symbol table node of a file with HDF5's default settings."""

_PARSE_ERRORS = (struct.error, LookupError, ValueError, ArithmeticError)


class UnsupportedLayout(Exception):  # noqa: N818 - not an error: h5py reads the file instead
    """The file does not have the layout that this module supports."""


class _ExpectedDataset(NamedTuple):
    """Header messages that a dataset must contain byte for byte, and the numpy dtype that they describe."""

    datatype: bytes
    filters: bytes
    dtype: np.dtype[np.generic]


class TrackStructure:
    """Parsed structure of an ordinary track file in memory. Its datasets are opened by name.

    Parameters
    ----------
    content
        Content of the whole file.

    Raises
    ------
    UnsupportedLayout
        The layout of the file is not supported.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        try:
            head = _SUPERBLOCK.unpack_from(content)
            # expected: signature, version numbers, sizes of offsets and lengths, no user block, no driver block
            if head[:8] != (b"\x89HDF\r\n\x1a\n", 0, 0, 0, 0, 0, 8, 8) or head[11] or head[14] != _UNDEFINED:
                raise UnsupportedLayout
            if head[13] > len(content):
                raise UnsupportedLayout
            root = self._members(head[16])
            self._groups = {name: self._members(root[name.encode()]) for name in GROUPS}
        except _PARSE_ERRORS as error:
            raise UnsupportedLayout from error

    def open(self, path: str, width: int) -> Dataset:
        """Open the dataset at ``/group/name``. ``width`` is as in `Dataset`.

        Raises
        ------
        UnsupportedLayout
            The layout of the dataset is not supported.
        InputError
            The errors of `Dataset`.
        """
        _, group, name = path.split("/")
        expected = _expected_datasets()[path]
        try:
            messages = self._messages(self._groups[group][name.encode()], _DESCRIPTION)
            if messages[_DATATYPE] != expected.datatype or messages[_FILTERS] != expected.filters:
                raise UnsupportedLayout
            shape = _parse_shape(messages[_DATASPACE])
            chunk, tree = _parse_chunk_layout(messages[_LAYOUT_MESSAGE], expected.dtype.itemsize)
            if len(chunk) != len(shape):
                raise UnsupportedLayout
            chunks = self._parse_chunk_index(tree, len(chunk)) if tree != _UNDEFINED else {}
        except _PARSE_ERRORS as error:
            raise UnsupportedLayout from error
        return _TrackDataset(self._content, chunks, path, Layout(expected.dtype, chunk, 1, 2), shape, width)

    def messages(self, path: str) -> dict[int, bytes]:
        """Return the raw header messages that describe the dataset at ``/group/name``, by message type."""
        _, group, name = path.split("/")
        return self._messages(self._groups[group][name.encode()], _DESCRIPTION)

    def _messages(self, header: int, wanted: Collection[int]) -> dict[int, bytes]:
        """Return one message of each wanted type from an object header. Raise UnsupportedLayout if one is absent."""
        content = self._content
        version, count, _, size = _HEADER.unpack_from(content, header)
        if version != 1:
            raise UnsupportedLayout
        found: dict[int, bytes] = {}
        blocks = [(header + _HEADER.size, size)]
        for start, size in blocks:
            position, end = start, start + size
            while position < end and count:
                kind, length, flags = _MESSAGE.unpack_from(content, position)
                position += _MESSAGE.size
                if kind in wanted:
                    if flags & _SHARED or kind in found:
                        raise UnsupportedLayout
                    found[kind] = content[position : position + length]
                    if len(found) == len(wanted):
                        return found
                elif kind == _CONTINUATION:
                    blocks.append(_PAIR.unpack_from(content, position))
                position += length
                count -= 1
        raise UnsupportedLayout

    def _members(self, header: int) -> dict[bytes, int]:
        """Return the object header address of each hard link in a group, by the link's name."""
        content = self._content
        tree, heap = _PAIR.unpack(self._messages(header, {_SYMBOL_TABLE})[_SYMBOL_TABLE])
        (names,) = _ADDRESS.unpack_from(content, heap + 24)
        members = {}
        for node in self._children(tree, 0, 8):
            signature, version, count = _SYMBOLS.unpack_from(content, node)
            if signature != b"SNOD" or version != 1 or count > _MAX_NODE:
                raise UnsupportedLayout
            for position in range(node + 8, node + 8 + count * _SYMBOL.size, _SYMBOL.size):
                offset, address, cached = _SYMBOL.unpack_from(content, position)
                # cache type 2 marks a soft link
                if cached not in {0, 1}:
                    raise UnsupportedLayout
                start = names + offset
                members[content[start : content.index(b"\0", start, start + 256)]] = address
        return members

    def _children(self, tree: int, kind: int, key_bytes: int) -> Iterator[int]:
        """Yield the address of each child of a B-tree that has only one node. Each address is stored after its key."""
        signature, found, level, count, _, _ = _NODE.unpack_from(self._content, tree)
        if signature != b"TREE" or found != kind or level or count > _MAX_NODE:
            raise UnsupportedLayout
        step = key_bytes + _ADDRESS.size
        first = tree + _NODE.size + key_bytes
        for position in range(first, first + count * step, step):
            yield _ADDRESS.unpack_from(self._content, position)[0]

    def _parse_chunk_index(self, tree: int, rank: int) -> dict[tuple[int, ...], tuple[int, int, int]]:
        """Return (mask of skipped filters, address, size) of each stored chunk, by the chunk's offset in elements."""
        key = struct.Struct(f"<II{rank}Q8x")
        chunks = {}
        position = tree + _NODE.size
        for address in self._children(tree, 1, key.size):
            size, skipped, *offset = key.unpack_from(self._content, position)
            chunks[tuple(offset)] = (skipped, address, size)
            position += key.size + _ADDRESS.size
        return chunks


class _TrackDataset(Dataset):
    __slots__ = ("_chunks", "_content")

    def __init__(
        self,
        content: bytes,
        chunks: dict[tuple[int, ...], tuple[int, int, int]],
        path: str,
        layout: Layout,
        shape: tuple[int, ...],
        width: int,
    ) -> None:
        super().__init__(path, layout, shape, width)
        self._content = content
        self._chunks = chunks

    def _read_stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, bytes]:
        skipped, address, size = self._chunks.get(offset, (0, 0, 0))
        stored = self._content[address : address + size]
        if not size or size > limit or len(stored) < size:
            message = f"{self.path}: the chunk at {offset} is missing or has the wrong size: get the file again"
            raise InputError("truncated", message)
        return skipped, stored


def _parse_shape(message: bytes) -> tuple[int, ...]:
    version, rank = message[0], message[1]
    if version != 1 or rank not in {1, 2}:
        raise UnsupportedLayout
    return struct.unpack_from(f"<{rank}Q", message, 8)


def _parse_chunk_layout(message: bytes, itemsize: int) -> tuple[tuple[int, ...], int]:
    """Return the shape of a chunk and the address of the B-tree of chunks."""
    version, kind, rank, tree = _LAYOUT.unpack_from(message)
    if version != 3 or kind != 2 or rank not in {2, 3}:
        raise UnsupportedLayout
    *chunk, size = struct.unpack_from(f"<{rank}I", message, _LAYOUT.size)
    if size != itemsize or not all(chunk):
        raise UnsupportedLayout
    return tuple(chunk), tree


@cache
def _expected_datasets() -> dict[str, _ExpectedDataset]:
    """Return the expected header messages of each dataset, read from an empty file of our writer.

    The real files have the same header messages.
    """
    structure = TrackStructure(make_empty_file())
    expected = {}
    for field in FIELDS.values():
        messages = structure.messages(field.path)
        dtype = TABLES.get(field.path, np.dtype(field.dtype))
        expected[field.path] = _ExpectedDataset(messages[_DATATYPE], messages[_FILTERS], dtype)
    return expected
