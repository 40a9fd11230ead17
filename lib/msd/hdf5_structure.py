"""Structure of any HDF5 file, hostile ones too, through the HDF5 library.

HDF5 is asked only for structure: links, types, shapes, where a chunk stands. It never inflates: its deflate filter
lets a chunk grow without limit, ours stops at the size that the file declares.
"""

from functools import cache
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5g, h5l, h5p, h5s, h5t, h5z

from reprise.lib.errors import InputError
from reprise.lib.msd.datasets import Dataset, Layout
from reprise.lib.msd.fields import GROUPS

_numbers = count()

# Per process: the last type seen at each path, and its numpy type. Files of one origin are alike, and comparing two
# types costs HDF5 a tenth of what asking for the members of a table costs us.
_types: dict[str, tuple[Any, np.dtype[Any]]] = {}


class Hdf5File:
    """An HDF5 file whose named datasets can be opened, through hard links only.

    Parameters
    ----------
    source
        Path of the file, or its whole content.

    Raises
    ------
    OSError, RuntimeError
        What h5py raises for a file that HDF5 cannot open.
    InputError
        ``missing_group`` or ``unsafe_link``.
    """

    def __init__(self, source: str | bytes) -> None:
        access = _access()
        if isinstance(source, bytes):
            access = access.copy()
            access.set_fapl_core(1 << 16, backing_store=False)
            access.set_file_image(source)
            # HDF5 takes two files in memory for one and the same when their names are equal
            path = f"reading {next(_numbers)}"
        else:
            path = source
        # the last reference to the file closes it and all that is open in it; FileID.close() does the same after a
        # walk over every HDF5 object of the process
        self._file = h5f.open(path.encode(), h5f.ACC_RDONLY, access)
        self._groups = {name: self._open_group(name) for name in GROUPS}

    def _open_group(self, name: str) -> tuple[h5g.GroupID, h5l.LinkProxy]:
        _check_hard(self._file.links, name, f"/{name}", "missing_group")
        try:
            group = h5g.open(self._file, name.encode())
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("missing_group", f"/{name} is not a group") from error
        return group, group.links

    def open(self, path: str, width: int) -> Dataset:
        """Open the dataset at ``/group/name``; ``width`` as for `Dataset`.

        Raises
        ------
        InputError
            ``missing_dataset``, ``unsafe_link``, ``virtual_dataset``, ``external_storage``, ``unsupported_filter``,
            and what `Dataset` raises.
        """
        _, group_name, name = path.split("/")
        group, links = self._groups[group_name]
        _check_hard(links, name, path, "missing_dataset")
        try:
            dataset = h5d.open(group, name.encode())
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("missing_dataset", f"{path} is not a dataset that HDF5 can open: {error}") from error
        return _Hdf5Dataset(dataset, path, width)


@cache
def _access() -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    # locks fail on many shared file systems, and the files never change
    access.set_file_locking(use_file_locking=False, ignore_when_disabled=True)
    return access


def _check_hard(links: h5l.LinkProxy, name: str, path: str, missing: str) -> None:
    try:
        kind = links.get_info(name.encode()).type
    except (KeyError, RuntimeError) as error:
        raise InputError(missing, f"{path} is not in the file") from error
    if kind != h5l.TYPE_HARD:
        # a soft link could lead anywhere in the file, an external one to any file of this machine
        raise InputError("unsafe_link", f"{path} is a soft, external or user-defined link: only hard links are read")


class _Hdf5Dataset(Dataset):
    __slots__ = ("_id",)

    def __init__(self, dataset: h5d.DatasetID, path: str, width: int) -> None:
        self._id = dataset
        # the order matters: asking a virtual dataset for its shape may open the files that it names
        layout = _layout(dataset, path)
        super().__init__(path, layout, dataset.get_space().get_simple_extent_dims() or (), width)

    def _stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, memoryview]:
        try:
            skipped, stored = self._id.read_direct_chunk(offset, out=bytearray(limit))
        except (RuntimeError, OSError, ValueError) as error:
            message = f"{self.path}: the chunk at {offset} is not stored, or not as large as declared: {error}"
            raise InputError("truncated", message) from error
        return skipped, stored

    def _read_unchunked(self, start: int, stop: int) -> npt.NDArray[Any]:
        if self._id.get_create_plist().get_layout() == h5d.CONTIGUOUS and self._id.get_offset() is None:
            raise InputError("truncated", f"{self.path} declares {self.rows} rows and stores none")
        shape = (stop - start, self.width) if self.width else (stop - start,)
        rows = self._id.get_space()
        rows.select_hyperslab((start, 0)[: len(shape)], shape)
        out = np.empty(shape, self.layout.dtype)
        self._id.read(h5s.create_simple(shape), rows, out, mtype=self._id.get_type())
        return out


def _layout(dataset: h5d.DatasetID, path: str) -> Layout:
    plist = dataset.get_create_plist()
    kind = plist.get_layout()
    if kind == h5d.VIRTUAL:
        raise InputError("virtual_dataset", f"{path} is a virtual dataset, whose data stand in other files")
    if kind != h5d.CHUNKED and plist.get_external_count():
        raise InputError("external_storage", f"{path} keeps its data in another file")
    if kind not in {h5d.CHUNKED, h5d.CONTIGUOUS, h5d.COMPACT}:
        raise InputError("unreadable", f"{path} has an unknown storage layout")
    tid = dataset.get_type()
    known = _types.get(path)
    if known is not None and tid.equal(known[0]):
        dtype = known[1]
    else:
        dtype = _dtype(tid, path)
        _types[path] = (tid, dtype)
    chunk = plist.get_chunk() if kind == h5d.CHUNKED else None
    return Layout(dtype, chunk, *_filters(plist, dtype, path))


def _filters(plist: Any, dtype: np.dtype[Any], path: str) -> tuple[int, int]:
    """Mask bits of shuffle and deflate; any other filter, or another order, is refused."""
    bits = {h5z.FILTER_SHUFFLE: 0, h5z.FILTER_DEFLATE: 0}
    codes = []
    for place in range(plist.get_nfilters()):
        code, _, values, label = plist.get_filter(place)
        codes.append(code)
        if code not in bits:
            name = label.decode("ascii", "replace") or str(code)
            message = f"{path} is packed with the filter {name}: repack it with shuffle and deflate (h5repack)"
            raise InputError("unsupported_filter", message)
        if code == h5z.FILTER_SHUFFLE and (not values or values[0] != dtype.itemsize):
            raise InputError("unsupported_filter", f"{path}: its shuffle filter is not made for its element size")
        bits[code] = 1 << place
    if codes not in ([], [h5z.FILTER_SHUFFLE], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]):
        raise InputError("unsupported_filter", f"{path}: its filters are not shuffle, then deflate")
    return bits[h5z.FILTER_SHUFFLE], bits[h5z.FILTER_DEFLATE]


def _dtype(tid: Any, path: str) -> np.dtype[Any]:
    """Find the numpy type that has exactly the stored bytes: a number, fixed-length text, or a row of these."""
    if tid.get_class() != h5t.COMPOUND:
        return _element(tid, path)
    names = [tid.get_member_name(i).decode("utf-8", "replace") for i in range(tid.get_nmembers())]
    return np.dtype(
        {
            "names": names,
            "formats": [_element(tid.get_member_type(i), f"{path}: {name}") for i, name in enumerate(names)],
            "offsets": [tid.get_member_offset(i) for i in range(len(names))],
            "itemsize": tid.get_size(),
        }
    )


def _element(tid: Any, path: str) -> np.dtype[Any]:
    kind, size = tid.get_class(), tid.get_size()
    if kind == h5t.STRING and not tid.is_variable_str() and tid.get_strpad() != h5t.STR_SPACEPAD:
        return np.dtype(f"S{size}")
    dtype = None
    if kind == h5t.INTEGER and size in {1, 2, 4, 8}:
        dtype = np.dtype(f"{_order(tid)}{'i' if tid.get_sign() == h5t.SGN_2 else 'u'}{size}")
    elif kind == h5t.FLOAT and size in {2, 4, 8}:
        dtype = np.dtype(f"{_order(tid)}f{size}")
    # a type with odd precision, padding or bias has the right class and size and still means other numbers
    if dtype is None or not h5t.py_create(dtype).equal(tid):
        raise InputError("wrong_type", f"{path} is neither a plain number nor fixed-length text")
    return dtype


def _order(tid: Any) -> str:
    return ">" if tid.get_order() == h5t.ORDER_BE else "<"
