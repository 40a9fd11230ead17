"""Compiled functions in workers that start at the same time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
