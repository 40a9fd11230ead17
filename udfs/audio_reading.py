"""Audio files as workers read them: in the one sandbox of a process, with signs of life meanwhile."""

import os
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from reprise.lib.errors import InputError
from reprise.lib.files import printable_name
from reprise.udfs.sandbox import Audio, Sandbox

HEARTBEAT_S = 30.0
"""A worker that says nothing for minutes is killed; an album in one file may well take longer."""

_BUFFERFUL = 512
"""Empty batches, of 160 bytes and more, that fill the 64 KiB which a worker holds back before Spark hears anything."""

_Sign = TypeVar("_Sign")
_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def open_audio(path: Path, sha256: str) -> tuple[Audio, npt.NDArray[np.float32]]:
    """What there is to know about a file, and its samples, mapped: float32 (n,), mono, 22,050 Hz.

    Raises
    ------
    InputError
        What `Sandbox.decode` raises; ``changed`` when the content is not that of ``sha256``.
    """
    audio = sandbox().decode(path)
    signal = audio.open_signal()
    audio.signal_path.unlink()  # a killed worker leaves no gigabytes behind
    if audio.sha256 != sha256:
        raise InputError("changed", f"{printable_name(path)} has changed: run ingest-library when it is complete")
    return audio, signal


def work_aside(
    sign: _Sign, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> Generator[_Sign, None, _Result]:
    """Return what ``work`` returns; every `HEARTBEAT_S` yield ``sign``, an empty batch, until Spark hears it."""
    running = _threads().submit(work, *args, **kwargs)
    while True:
        try:
            return running.result(HEARTBEAT_S)
        except StillRunning:
            yield from repeat(sign, _BUFFERFUL)


@cache
def sandbox() -> Sandbox:
    """The one sandbox of a process; its child ends when the process does, its folder when Spark does."""
    return Sandbox(os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")[0])


@cache
def _threads() -> ThreadPoolExecutor:
    """The one thread that reads: it lives as long as its process, and so does the sandbox that it starts."""
    return ThreadPoolExecutor(max_workers=1)
