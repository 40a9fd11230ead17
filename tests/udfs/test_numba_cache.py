"""Numba's cache in workers: functions compiled from a zip are found again in a copy of the zip; the compile lock."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from reprise.udfs.numba_cache import compile_lock

SOURCE = "import numba\n@numba.njit(cache=True)\ndef f(x):\n    return x + {}\n"
USE = "from package.kernels import f; print(f(1), sum(f.stats.cache_hits.values()), sum(f.stats.cache_misses.values()))"


def call(folder: Path, summand: int, cache: Path) -> list[int]:
    """Call a compiled function in a zip in ``folder``; return its result, cache hits and cache misses."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "code.zip", "w") as code:
        code.writestr("package/__init__.py", "")
        code.writestr("package/kernels.py", SOURCE.format(summand))
    env = os.environ | {
        "PYTHONPATH": str(folder / "code.zip"),
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_CACHE_LOCATOR_CLASSES": "reprise.udfs.numba_cache.PathInZipLocator",
    }
    done = subprocess.run([sys.executable, "-c", USE], env=env, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("name", ["a b", "å"])
@pytest.mark.slow
def test_compiled_function_is_found_from_another_folder_until_the_source_changes(tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    assert call(tmp_path / name, 1, cache) == [2, 0, 1]
    assert call(tmp_path / f"{name}2", 1, cache) == [2, 1, 0]
    assert call(tmp_path / f"{name}3", 5, cache) == [6, 0, 1]


def test_failed_compilation_is_repeated_and_releases_the_lock() -> None:
    def fail() -> None:
        with compile_lock("fails at first"):
            raise KeyError("compiler")

    with pytest.raises(KeyError):
        fail()
    for name in ("fails at first", "another"):
        with compile_lock(name):
            pass
