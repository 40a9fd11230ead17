"""One module per table family written; every job is also a file that spark-submit runs."""

import os
import tempfile
from pathlib import Path

# Before anything imports numba, which finds no lasting place of its own for what it compiles when reprise is a zip.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir(), f"reprise-numba-{os.getuid()}")))
if ".zip" in __file__:
    locators = "UserProvidedCacheLocator,reprise.udfs.numba_cache.PlaceInZipLocator"
    os.environ.setdefault("NUMBA_CACHE_LOCATOR_CLASSES", locators)
