"""Structure of an ordinary track file, read from its bytes without the HDF5 library, in a third of the time.

It knows one form only: HDF5's earliest, as the real files and our writer have it, with types and filters byte for
byte the same. Anything else is `Unusual` and left to the HDF5 library, which also words what is wrong with it. Offsets
and sizes come from the file and may lie: every read is of bytes that the file has, every loop is bounded.

The format is HDF5's File Format Specification, sections II.A (superblock 0), III.A (B-tree 1), III.B (symbol table
node), III.D (local heap) and IV.A (object header 1).
"""

import struct
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from reprise.lib.errors import InputError
from reprise.lib.msd.datasets import Dataset, Layout
from reprise.lib.msd.fields import FIELDS, GROUPS, TABLES
from reprise.lib.msd.writer import template

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
"""Most entries of a B-tree or symbol table node in a file of default settings."""


_BROKEN = (struct.error, LookupError, ValueError, ArithmeticError)


class Unusual(Exception):  # noqa: N818 - not an error: the file goes to the HDF5 library
    """The file is not of the one form that is read here."""


class _Known(NamedTuple):
    """What a dataset's messages must be, byte for byte, and what they then mean."""

    datatype: bytes
    filters: bytes
    dtype: np.dtype[np.generic]


class Image:
    """An ordinary track file in memory, whose named datasets can be opened.

    Parameters
    ----------
    content
        The whole file.

    Raises
    ------
    Unusual
        For any other file.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        try:
            head = _SUPERBLOCK.unpack_from(content)
            # signature, versions, sizes of offsets and lengths, and no user block or driver block
            if head[:8] != (b"\x89HDF\r\n\x1a\n", 0, 0, 0, 0, 0, 8, 8) or head[11] or head[14] != _UNDEFINED:
                raise Unusual
            if head[13] > len(content):
                raise Unusual
            root = self._members(head[16])
            self._groups = {name: self._members(root[name.encode()]) for name in GROUPS}
        except _BROKEN as error:
            raise Unusual from error

    def open(self, path: str, width: int) -> Dataset:
        """Open the dataset at ``/group/name``; ``width`` as for `Dataset`.

        Raises
        ------
        Unusual
            For a dataset that is stored in another form.
        InputError
            What `Dataset` raises.
        """
        _, group, name = path.split("/")
        known = _known()[path]
        try:
            messages = self._messages(self._groups[group][name.encode()], _DESCRIPTION)
            if messages[_DATATYPE] != known.datatype or messages[_FILTERS] != known.filters:
                raise Unusual
            shape = _shape(messages[_DATASPACE])
            chunk, tree = _chunk(messages[_LAYOUT_MESSAGE], known.dtype.itemsize)
            if len(chunk) != len(shape):
                raise Unusual
            chunks = self._chunks(tree, len(chunk)) if tree != _UNDEFINED else {}
        except _BROKEN as error:
            raise Unusual from error
        return _ImageDataset(self._content, chunks, path, Layout(known.dtype, chunk, 1, 2), shape, width)

    def messages(self, path: str) -> dict[int, bytes]:
        """Raw header messages that describe the dataset at ``/group/name``, by their type."""
        _, group, name = path.split("/")
        return self._messages(self._groups[group][name.encode()], _DESCRIPTION)

    def _messages(self, header: int, wanted: Collection[int]) -> dict[int, bytes]:
        """The first message of each wanted type in an object header."""
        content = self._content
        version, count, _, size = _HEADER.unpack_from(content, header)
        if version != 1:
            raise Unusual
        found: dict[int, bytes] = {}
        blocks = [(header + _HEADER.size, size)]
        for start, size in blocks:
            place, end = start, start + size
            while place < end and count:
                kind, length, flags = _MESSAGE.unpack_from(content, place)
                place += _MESSAGE.size
                if kind in wanted:
                    if flags & _SHARED or kind in found:
                        raise Unusual
                    found[kind] = content[place : place + length]
                    if len(found) == len(wanted):
                        return found
                elif kind == _CONTINUATION:
                    blocks.append(_PAIR.unpack_from(content, place))
                place += length
                count -= 1
        raise Unusual

    def _members(self, header: int) -> dict[bytes, int]:
        """Header addresses of a group's hard links, by name."""
        content = self._content
        tree, heap = _PAIR.unpack(self._messages(header, {_SYMBOL_TABLE})[_SYMBOL_TABLE])
        (names,) = _ADDRESS.unpack_from(content, heap + 24)
        members = {}
        for node in self._children(tree, 0, 8):
            signature, version, count = _SYMBOLS.unpack_from(content, node)
            if signature != b"SNOD" or version != 1 or count > _MAX_NODE:
                raise Unusual
            for place in range(node + 8, node + 8 + count * _SYMBOL.size, _SYMBOL.size):
                offset, address, cached = _SYMBOL.unpack_from(content, place)
                # 2 is a soft link
                if cached not in {0, 1}:
                    raise Unusual
                start = names + offset
                members[content[start : content.index(b"\0", start, start + 256)]] = address
        return members

    def _children(self, tree: int, kind: int, key_bytes: int) -> Iterator[int]:
        """Child addresses of a B-tree of one node; the key of each stands before it."""
        signature, found, level, count, _, _ = _NODE.unpack_from(self._content, tree)
        if signature != b"TREE" or found != kind or level or count > _MAX_NODE:
            raise Unusual
        step = key_bytes + _ADDRESS.size
        first = tree + _NODE.size + key_bytes
        for place in range(first, first + count * step, step):
            yield _ADDRESS.unpack_from(self._content, place)[0]

    def _chunks(self, tree: int, rank: int) -> dict[tuple[int, ...], tuple[int, int, int]]:
        """Mask of skipped filters, address and size of each stored chunk, by its offset in elements."""
        key = struct.Struct(f"<II{rank}Q8x")
        chunks = {}
        place = tree + _NODE.size
        for address in self._children(tree, 1, key.size):
            size, skipped, *offset = key.unpack_from(self._content, place)
            chunks[tuple(offset)] = (skipped, address, size)
            place += key.size + _ADDRESS.size
        return chunks


class _ImageDataset(Dataset):
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

    def _stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, bytes]:
        skipped, address, size = self._chunks.get(offset, (0, 0, 0))
        stored = self._content[address : address + size]
        if not size or size > limit or len(stored) < size:
            message = f"{self.path}: the chunk at {offset} is not stored, or not as large as declared"
            raise InputError("truncated", message)
        return skipped, stored


def _shape(message: bytes) -> tuple[int, ...]:
    version, rank = message[0], message[1]
    if version != 1 or rank not in {1, 2}:
        raise Unusual
    return struct.unpack_from(f"<{rank}Q", message, 8)


def _chunk(message: bytes, itemsize: int) -> tuple[tuple[int, ...], int]:
    """Shape of a chunk, and the address of the B-tree of chunks."""
    version, kind, rank, tree = _LAYOUT.unpack_from(message)
    if version != 3 or kind != 2 or rank not in {2, 3}:
        raise Unusual
    *chunk, size = struct.unpack_from(f"<{rank}I", message, _LAYOUT.size)
    if size != itemsize or not all(chunk):
        raise Unusual
    return tuple(chunk), tree


@cache
def _known() -> dict[str, _Known]:
    """What our own empty file says of each dataset; the real files say the same."""
    image = Image(template())
    known = {}
    for field in FIELDS.values():
        messages = image.messages(field.path)
        dtype = TABLES.get(field.path, np.dtype(field.dtype))
        known[field.path] = _Known(messages[_DATATYPE], messages[_FILTERS], dtype)
    return known
