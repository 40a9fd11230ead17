"""Structure of an HDF5 file with the groups of the MSD, even of a hostile file, read through h5py.

h5py provides the structure (links, types and shapes), the stored bytes of chunks, and the rows of datasets without
chunks. It does not decompress chunks, because HDF5's deflate filter has no size limit. `Dataset` decompresses them and
stops at the declared size.
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

_file_numbers = count()

# For each dataset path, the last HDF5 type that this process read, and its numpy dtype. Files from one source have
# equal types. Comparing two types takes a tenth of the time that reading the members of a table's type takes.
_dtype_cache: dict[str, tuple[Any, np.dtype[Any]]] = {}


class Hdf5File:
    """An open HDF5 file. Its datasets are reached by name and only through hard links.

    Parameters
    ----------
    source
        Path of the file, or its whole content.

    Raises
    ------
    OSError, RuntimeError
        HDF5 cannot open the file. Raised by h5py.
    InputError
        ``missing_group`` if one of `GROUPS` is missing or is not a group; ``unsafe_link`` for a group behind a soft,
        external or user-defined link.
    """

    def __init__(self, source: str | bytes) -> None:
        access = _access_properties()
        if isinstance(source, bytes):
            access = access.copy()
            access.set_fapl_core(1 << 16, backing_store=False)
            access.set_file_image(source)
            # HDF5 treats two in-memory files with equal names as the same file
            path = f"reading {next(_file_numbers)}"
        else:
            path = source
        # the file and its open objects are closed when the last reference is dropped. FileID.close() is slower, because
        # it visits every HDF5 object of the process
        self._file = h5f.open(path.encode(), h5f.ACC_RDONLY, access)
        self._groups = {name: self._open_group(name) for name in GROUPS}

    def _open_group(self, name: str) -> tuple[h5g.GroupID, h5l.LinkProxy]:
        _check_hard_link(self._file.links, name, f"/{name}", "missing_group")
        try:
            group = h5g.open(self._file, name.encode())
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("missing_group", f"/{name} is not a group: get the file again") from error
        return group, group.links

    def open(self, path: str, width: int) -> Dataset:
        """Open the dataset at ``/group/name``. ``width`` is as in `Dataset`.

        Raises
        ------
        InputError
            ``missing_dataset``, ``unsafe_link``, ``virtual_dataset``, ``external_storage``, ``unsupported_filter``,
            ``wrong_type`` (of the elements), ``unreadable`` (unknown storage layout), and the errors of `Dataset`.
        """
        _, group_name, name = path.split("/")
        group, links = self._groups[group_name]
        _check_hard_link(links, name, path, "missing_dataset")
        try:
            dataset = h5d.open(group, name.encode())
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(
                "missing_dataset", f"{path} is not a dataset that HDF5 can open ({error}): get the file again"
            ) from error
        return _Hdf5Dataset(dataset, path, width)


@cache
def _access_properties() -> h5p.PropFAID:
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    # file locks fail on many shared file systems, and are not needed to read files that do not change
    access.set_file_locking(use_file_locking=False, ignore_when_disabled=True)
    return access


def _check_hard_link(links: h5l.LinkProxy, name: str, path: str, error_kind: str) -> None:
    try:
        kind = links.get_info(name.encode()).type
    except (KeyError, RuntimeError) as error:
        raise InputError(error_kind, f"{path} is not in the file: get the file again") from error
    if kind != h5l.TYPE_HARD:
        # a soft link can point anywhere in the file, an external link to any file of this machine
        raise InputError("unsafe_link", f"{path} is a soft, external or user-defined link: replace it with a hard link")


class _Hdf5Dataset(Dataset):
    __slots__ = ("_id",)

    def __init__(self, dataset: h5d.DatasetID, path: str, width: int) -> None:
        self._id = dataset
        # _layout() must be called first, because it rejects virtual datasets. When the shape of a virtual dataset is
        # read, HDF5 can open its source files
        layout = _layout(dataset, path)
        super().__init__(path, layout, dataset.get_space().get_simple_extent_dims() or (), width)

    def _read_stored_chunk(self, offset: tuple[int, ...], limit: int) -> tuple[int, memoryview]:
        try:
            skipped, stored = self._id.read_direct_chunk(offset, out=bytearray(limit))
        except (RuntimeError, OSError, ValueError) as error:
            message = (
                f"{self.path}: the chunk at {offset} is missing or has the wrong size ({error}): get the file again"
            )
            raise InputError("truncated", message) from error
        return skipped, stored

    def _read_unchunked(self, start: int, stop: int) -> npt.NDArray[Any]:
        if self._id.get_create_plist().get_layout() == h5d.CONTIGUOUS and self._id.get_offset() is None:
            raise InputError(
                "truncated", f"{self.path} declares {self.rows} rows but contains no data: get the file again"
            )
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
        raise InputError(
            "virtual_dataset",
            f"{path} is a virtual dataset, with its data in other files: copy the data into this file",
        )
    if kind != h5d.CHUNKED and plist.get_external_count():
        raise InputError("external_storage", f"{path} has its data in another file: copy the data into this file")
    if kind not in {h5d.CHUNKED, h5d.CONTIGUOUS, h5d.COMPACT}:
        raise InputError("unreadable", f"{path} has an unknown storage layout: repack it (h5repack)")
    tid = dataset.get_type()
    cached = _dtype_cache.get(path)
    if cached is not None and tid.equal(cached[0]):
        dtype = cached[1]
    else:
        dtype = _numpy_dtype(tid, path)
        _dtype_cache[path] = (tid, dtype)
    chunk = plist.get_chunk() if kind == h5d.CHUNKED else None
    return Layout(dtype, chunk, *_filters(plist, dtype, path))


def _filters(plist: Any, dtype: np.dtype[Any], path: str) -> tuple[int, int]:
    """Return the mask bits of shuffle and deflate. Raise InputError for another filter or another order of filters."""
    bits = {h5z.FILTER_SHUFFLE: 0, h5z.FILTER_DEFLATE: 0}
    codes = []
    for position in range(plist.get_nfilters()):
        code, _, values, label = plist.get_filter(position)
        codes.append(code)
        if code not in bits:
            name = label.decode("ascii", "replace") or str(code)
            message = f"{path} uses the filter {name}: repack it with shuffle and deflate (h5repack)"
            raise InputError("unsupported_filter", message)
        if code == h5z.FILTER_SHUFFLE and (not values or values[0] != dtype.itemsize):
            raise InputError(
                "unsupported_filter", f"{path}: its shuffle filter has a wrong element size: repack it (h5repack)"
            )
        bits[code] = 1 << position
    if codes not in ([], [h5z.FILTER_SHUFFLE], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE]):
        raise InputError(
            "unsupported_filter", f"{path}: its filters are not in the order shuffle, deflate: repack it (h5repack)"
        )
    return bits[h5z.FILTER_SHUFFLE], bits[h5z.FILTER_DEFLATE]


def _numpy_dtype(tid: Any, path: str) -> np.dtype[Any]:
    """Return the numpy dtype with the memory layout of the stored bytes.

    It is a numeric dtype, a fixed-length bytes dtype, or a structured dtype with fields of these dtypes.
    """
    if tid.get_class() != h5t.COMPOUND:
        return _element_dtype(tid, path)
    names = [tid.get_member_name(i).decode("utf-8", "replace") for i in range(tid.get_nmembers())]
    return np.dtype(
        {
            "names": names,
            "formats": [_element_dtype(tid.get_member_type(i), f"{path}: {name}") for i, name in enumerate(names)],
            "offsets": [tid.get_member_offset(i) for i in range(len(names))],
            "itemsize": tid.get_size(),
        }
    )


def _element_dtype(tid: Any, path: str) -> np.dtype[Any]:
    kind, size = tid.get_class(), tid.get_size()
    if kind == h5t.STRING and not tid.is_variable_str() and tid.get_strpad() != h5t.STR_SPACEPAD:
        return np.dtype(f"S{size}")
    dtype = None
    if kind == h5t.INTEGER and size in {1, 2, 4, 8}:
        dtype = np.dtype(f"{_byte_order(tid)}{'i' if tid.get_sign() == h5t.SGN_2 else 'u'}{size}")
    elif kind == h5t.FLOAT and size in {2, 4, 8}:
        dtype = np.dtype(f"{_byte_order(tid)}f{size}")
    # a type with unusual precision, padding or bias can have the expected class and size, but its bytes represent
    # different numbers
    if dtype is None or not h5t.py_create(dtype).equal(tid):
        raise InputError("wrong_type", f"{path} has an unsupported type, expected a plain number or fixed-length text")
    return dtype


def _byte_order(tid: Any) -> str:
    return ">" if tid.get_order() == h5t.ORDER_BE else "<"
