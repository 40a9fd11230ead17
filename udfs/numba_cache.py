"""Numba's cache of compiled functions in workers: where it lies, and who may write to it."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import ZipCacheLocator

_COMPILED: set[str] = set()


@contextmanager
def compiling(name: str) -> Iterator[None]:
    """Around each call of a compiled function: the first of a process is made by one process of the machine at a time.

    Processes that compile into one numba cache at once can crash; the ones that waited find the function there.
    """
    if name in _COMPILED:
        yield
        return
    lock = Path(tempfile.gettempdir(), f"reprise-compiling-{os.getuid()}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    _COMPILED.add(name)


class PlaceInZipLocator(ZipCacheLocator):
    """Keeps compiled functions by their place in the zip, whatever folder the zip lies in.

    Spark copies the zip into a new folder for each application, and numba's own locator goes by that folder. Whether
    the source is still the same numba tells by its content.
    """

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[no-untyped-call]
        folder = self.get_suitable_cache_subpath(f"/{self._internal_path}")  # type: ignore[no-untyped-call]
        self._cache_path = str(Path(config.CACHE_DIR, folder))  # type: ignore[attr-defined]
