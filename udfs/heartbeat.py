"""Run long work in a thread and send empty batches meanwhile. Otherwise Spark would kill the worker as idle."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import repeat
from typing import ParamSpec, TypeVar

HEARTBEAT_S = 30.0
"""Seconds between heartbeats. Spark kills a worker that sends nothing for several minutes. The analysis of a file that
contains a whole album can take longer than these minutes."""

_BATCHES_PER_BUFFER = 512
"""Number of empty batches that fill the worker's output buffer of 64 KiB; each has at least 160 bytes. The worker sends
nothing to Spark before the buffer is full."""

_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


def run_with_heartbeat(
    empty_batch: _Batch, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> Generator[_Batch, None, _Result]:
    """Call ``work`` in a thread and return its result. While it runs, send a heartbeat every `HEARTBEAT_S` seconds.

    One heartbeat yields ``empty_batch`` `_BATCHES_PER_BUFFER` times, which fills the worker's output buffer. Exceptions
    of ``work`` are raised.
    """
    running = _executor().submit(work, *args, **kwargs)
    while wait([running], HEARTBEAT_S).not_done:
        yield from repeat(empty_batch, _BATCHES_PER_BUFFER)
    return running.result()


@cache
def _executor() -> ThreadPoolExecutor:
    """Return the executor of this process. It has one thread."""
    return ThreadPoolExecutor(max_workers=1)
