"""Encode stems in child processes.

A GPU gets thousands of commands for each track from one Python thread. Each of them takes Python's interpreter lock, so
threads that encode in the same process delay them: the GPU waits.
"""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from reprise.lib.covers.stems import Stem, StemTask, encode_stem
from reprise.lib.errors import RepriseError

_CHILD_CODE = (
    "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from reprise.udfs.stem_encoders import serve; serve()"
)


class StemEncoders:
    """Child processes that encode stems. They end when this process ends.

    Parameters
    ----------
    count
        Number of processes. They start at once, and get their first stems when they are ready.
    """

    def __init__(self, count: int) -> None:
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        for _ in range(count):
            self._idle.put(_start())

    def encode(self, task: StemTask) -> Stem:
        """Encode a stem in an idle process; wait for one if necessary. Can be called from several threads.

        Raises
        ------
        RepriseError
            The file cannot be written, or the process has ended.
        """
        child = self._idle.get()
        try:
            answer = _request(child, {**asdict(task), "source": str(task.source), "path": str(task.path)})
        except (OSError, ValueError):
            child.kill()
            _end(child)
            child = _start()
            raise RepriseError(f"the process that encoded {task.path} has ended: run again") from None
        finally:
            self._idle.put(child)
        if "error" in answer:
            raise RepriseError(answer["error"])
        return Stem(**answer | {"path": task.path})

    def close(self) -> None:
        """End the processes."""
        while not self._idle.empty():
            _end(self._idle.get())


@cache
def stem_encoders(count: int) -> StemEncoders:
    """Return the encoders of this process."""
    return StemEncoders(count)


def serve() -> None:
    """Answer requests in the child process until the parent ends."""
    for line in sys.stdin:
        request = json.loads(line)
        task = StemTask(**request | {"source": Path(request["source"]), "path": Path(request["path"])})
        try:
            answer = asdict(encode_stem(task))
            answer["path"] = str(task.path)
        except RepriseError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


def _start() -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-c", _CHILD_CODE, json.dumps(sys.path)]
    with tempfile.TemporaryFile() as errors:
        return subprocess.Popen(  # noqa: S603 - this interpreter
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )


def _end(child: "subprocess.Popen[str]") -> None:
    """Close the pipes of a process, upon which it ends, and wait for its end."""
    for pipe in (child.stdin, child.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    child.wait()


def _request(child: "subprocess.Popen[str]", request: dict[str, Any]) -> dict[str, Any]:
    assert child.stdin is not None  # noqa: S101 - a pipe
    assert child.stdout is not None  # noqa: S101 - a pipe
    child.stdin.write(json.dumps(request) + "\n")
    child.stdin.flush()
    answer: dict[str, Any] = json.loads(child.stdout.readline())
    return answer
