"""Where numba keeps what it compiled from a zip, so that not every application of a cluster compiles it anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core import config
from numba.core.caching import ZipCacheLocator


class PlaceInZipLocator(ZipCacheLocator):
    """Keeps compiled functions by their place in the zip, whatever folder the zip lies in.

    Spark copies the zip into a new folder for each application, and numba's own locator goes by that folder. Whether
    the source is still the same numba tells by its content.
    """

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[no-untyped-call]
        folder = self.get_suitable_cache_subpath(f"/{self._internal_path}")  # type: ignore[no-untyped-call]
        self._cache_path = str(Path(config.CACHE_DIR, folder))  # type: ignore[attr-defined]
