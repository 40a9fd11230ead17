"""One module for each job; most jobs write one family of tables. spark-submit can run each module as a file."""

import os
import tempfile
from pathlib import Path

# numba reads these variables when it is imported, so they must be set before. Without them, numba finds no permanent
# cache folder when reprise is imported from a zip.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir(), f"reprise-numba-{os.getuid()}")))
if ".zip" in __file__:
    locators = "UserProvidedCacheLocator,reprise.udfs.numba_cache.PathInZipLocator"
    os.environ.setdefault("NUMBA_CACHE_LOCATOR_CLASSES", locators)
