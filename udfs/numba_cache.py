"""Location of numba's cache of compiled functions in workers, and a lock against simultaneous compilation."""

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
def compile_lock(name: str) -> Iterator[None]:
    """Lock numba's cache on this machine during the first use of some compiled functions in this process.

    ``name`` identifies these functions; later uses of the same name take no lock. Processes that compile into one numba
    cache at the same time can crash. A process that waited for the lock loads the compiled functions from the cache.
    """
    if name in _COMPILED:
        yield
        return
    lock = Path(tempfile.gettempdir(), f"reprise-compiling-{os.getuid()}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    _COMPILED.add(name)


class PathInZipLocator(ZipCacheLocator):
    """Cache locator for functions in a zip. It uses the path inside the zip, not the folder that contains the zip.

    Spark copies the zip into a new folder for each application. The path of numba's own locator includes this folder,
    so each application would compile again. Numba detects a changed source file by its content.
    """

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[no-untyped-call]
        folder = self.get_suitable_cache_subpath(f"/{self._internal_path}")  # type: ignore[no-untyped-call]
        self._cache_path = str(Path(config.CACHE_DIR, folder))  # type: ignore[attr-defined]
