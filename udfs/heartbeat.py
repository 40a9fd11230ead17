"""Run long work in a thread while the worker keeps sending empty batches, so that Spark does not kill it."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from functools import cache
from itertools import repeat
from typing import ParamSpec, TypeVar

HEARTBEAT_S = 30.0
"""A worker that says nothing for minutes is killed; an album in one file may well take longer."""

_BUFFERFUL = 512
"""Empty batches, of 160 bytes and more, that fill the 64 KiB which a worker holds back before Spark hears anything."""

_Sign = TypeVar("_Sign")
_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def run_with_heartbeat(
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
def _threads() -> ThreadPoolExecutor:
    """The one thread that reads: it lives as long as its process."""
    return ThreadPoolExecutor(max_workers=1)
