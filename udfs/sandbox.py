"""Reading of audio files in a process that may die: a crash, a hang, a bomb or a leak costs one file.

A child process stays for many files. It gets one line of JSON a file and answers with one; it sees no more memory, time
and disk than it is allowed, and ends when its parent does. No other module of a worker should decode audio itself.
"""

import contextlib
import errno
import importlib
import json
import os
import queue
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np

from reprise.lib.arrays import Float32Array
from reprise.lib.audio import SAMPLE_RATE
from reprise.lib.audio.decoding import MAX_DURATION_S, Decoded, decode
from reprise.lib.audio.tag_reading import Tags, read_tags
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import open_regular, printable_name, sha256_of

MEMORY_BYTES = 2 << 30
"""Address space of the child."""

FILES_A_CHILD = 200
"""Files after which the child is replaced, with what its libraries have leaked."""

MIN_CPU_S, MAX_CPU_S, BYTES_A_CPU_SECOND = 30, 600, 500_000
"""Processor time of one file, by its size: about a fifth of the speed that the slowest formats are decoded with."""

WALL_TIMES_CPU = 4
"""How much longer a file may take by the clock, for other work on the machine and slow disks."""

START_S = 120.0
"""How long a child may take to start."""

_SIGNAL_BYTES = 4 * (MAX_DURATION_S + 60) * SAMPLE_RATE
_ANSWER_BYTES = 1 << 20
_BOOT = (
    "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from reprise.udfs.sandbox import serve; serve(sys.argv[2])"
)
_BLAMES_CHILD = frozenset({"crashed", "too_large"})
_TASK = "reprise.udfs.sandbox:read_audio"


class Audio(NamedTuple):
    """What there is to know about one audio file.

    Attributes
    ----------
    signal_path
        Its samples, see `decode`; the file is gone after the next one is decoded, or the sandbox closed.
    decoded, tags, sha256
        What it holds.
    """

    signal_path: Path
    decoded: Decoded
    tags: Tags
    sha256: str

    def open_signal(self) -> Float32Array:
        """The samples, not read yet; they stay valid after the file is gone."""
        return np.memmap(self.signal_path, np.float32, "r")


class Sandbox:
    """A child process that reads audio files, one at a time; a context manager.

    Parameters
    ----------
    folder
        Where the samples are put, each file's until the next is decoded: up to 2 GB for six hours.
    task
        What the child does with a file, as ``module:function`` of its path and the path of the result; tests set it.
    """

    def __init__(self, folder: str | os.PathLike[str], *, task: str = _TASK) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="signals-", dir=folder))
        self._task = task
        self._child: subprocess.Popen[bytes] | None = None
        self._n_files = 0
        self._signal_path: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        self._drop_signal()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    @property
    def pid(self) -> int | None:
        """Process id of the child, or None between two."""
        return self._child.pid if self._child else None

    def decode(self, path: str | os.PathLike[str]) -> Audio:
        """Hash, tags and samples of an audio file.

        Raises
        ------
        InputError
            What `decode` raises; ``crashed`` when the child died of the file, ``hung`` when it took too long,
            ``too_large`` when it wanted more memory or disk than it may have, ``changed`` when the file did meanwhile.
        RepriseError
            When no child can be started.
        OSError
            When the samples cannot be written: the machine's fault, not the file's.
        """
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
        answer = self._ask(Path(path), size)
        if answer.get("kind") in _BLAMES_CHILD and self._n_files > 1:
            # the child may have died of what earlier files left in it: a new one gives the verdict
            self._stop()
            answer = self._ask(Path(path), size)
        if "kind" in answer:
            self._drop_signal()
            raise InputError(answer["kind"], answer["message"])
        if "errno" in answer:
            raise OSError(answer["errno"], answer["strerror"], str(self._signal_path))
        assert self._signal_path is not None  # noqa: S101 - set by _ask
        tags = answer["tags"] | {"genre_tags": tuple(answer["tags"]["genre_tags"])}
        return Audio(self._signal_path, Decoded(**answer["decoded"]), Tags(**tags), answer["sha256"])

    def _ask(self, path: Path, size: int) -> dict[str, Any]:
        """The child's answer about a file of ``size`` bytes, or what became of the child in the form of one."""
        self._drop_signal()
        if self._n_files >= FILES_A_CHILD or (self._child and self._child.poll() is not None):
            self._stop()
        child = self._child or self._start()
        self._n_files += 1
        self._signal_path = self._folder / f"{child.pid}-{self._n_files}.f32"
        cpu_s = min(MAX_CPU_S, MIN_CPU_S + size // BYTES_A_CPU_SECOND)
        request = {"path": str(path.absolute()), "out": str(self._signal_path), "cpu_s": cpu_s}
        name = printable_name(path)
        try:
            assert child.stdin is not None  # noqa: S101 - a pipe
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            return _read_line(child, WALL_TIMES_CPU * cpu_s)
        except TimeoutError:
            self._stop()
            return _fault("hung", f"{name} took its decoder over {WALL_TIMES_CPU * cpu_s} s: replace or remove it")
        except (BrokenPipeError, EOFError):
            code = self._stop(wait_s=5.0)
            if code == -signal.SIGXCPU:
                return _fault("hung", f"{name} took its decoder over {cpu_s} s of work: replace or remove it")
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            return _fault(
                "crashed", f"{name} ended its decoder ({ended}): it is damaged or hostile, replace or remove it"
            )
        except BaseException:
            self._stop()  # or its late answer would be taken for the next file's
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        self._n_files = 0
        # one thread, or each core's share of the address space is gone before the first file
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as said:
            self._child = child = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), self._task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
            )
            try:
                _read_line(child, START_S)
            except (TimeoutError, EOFError):
                code = self._stop(wait_s=1.0)
                said.seek(0)
                last = said.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
                raise RepriseError(f"no process to decode audio can be started (exit code {code}): {last}") from None
            except BaseException:
                self._stop()
                raise
        return child

    def _stop(self, wait_s: float = 0.0) -> int:
        """End the child, after waiting for it to end by itself; its return code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(wait_s)
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        return child.wait()

    def _drop_signal(self) -> None:
        if self._signal_path:
            self._signal_path.unlink(missing_ok=True)
            self._signal_path = None


@cache
def sandbox() -> Sandbox:
    """The one sandbox of a process; its child ends when the process does, its folder when Spark does."""
    return Sandbox(os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")[0])


def open_audio(path: Path, sha256: str) -> tuple[Audio, Float32Array]:
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


def _fault(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message}


def _read_line(child: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
    """Next line from the child; TimeoutError, or EOFError when there is no whole one."""
    assert child.stdout is not None  # noqa: S101 - a pipe
    descriptor, line, end = child.stdout.fileno(), b"", time.monotonic() + timeout_s
    poll = select.poll()  # select() knows no descriptor over 1,023
    poll.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(1000 * max(0.0, end - time.monotonic())):
            raise TimeoutError
        part = os.read(descriptor, 1 << 16)
        if not part or len(line) > _ANSWER_BYTES:
            raise EOFError
        line += part
    answer: dict[str, Any] = json.loads(line)
    return answer


def read_audio(path: str, out: str) -> dict[str, Any]:
    """What the child does with a file: the fields of `Audio`; the samples go to ``out``."""
    before = _identity(path)
    sha256 = sha256_of(path)
    tags, decoded = read_tags(path), decode(path, out)
    if _identity(path) != before:
        raise InputError("changed", f"{printable_name(path)} changed while it was read: run again when it is complete")
    return {"sha256": sha256, "tags": asdict(tags), "decoded": asdict(decoded)}


def _identity(path: str) -> tuple[int, int, int]:
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def serve(task: str) -> None:
    """The child: answer requests until the parent is gone."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # what a library prints must not get between the answers
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's business, which then ends us
    module, function = task.split(":")
    work: Callable[[str, str], dict[str, Any]] = getattr(importlib.import_module(module), function)
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _SIGNAL_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _limit(what, most)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, lines), daemon=True).start()
    _answer(answers, {"ready": True})
    os.dup2(nowhere, 2)
    while True:
        request = json.loads(lines.get())
        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + request["cpu_s"])
        _answer(answers, _attempt(work, request["path"], request["out"]))


def _attempt(work: Callable[[str, str], dict[str, Any]], path: str, out: str) -> dict[str, Any]:
    name = printable_name(path)
    try:
        return work(path, out)
    except InputError as error:
        return _fault(error.kind, error.message)
    except MemoryError:
        limit = f"{MEMORY_BYTES >> 30} GiB of memory"
        return _fault("too_large", f"{name} wants more than {limit} to be read: replace or remove it")
    except OSError as error:
        if error.errno == errno.EFBIG:
            return _fault("too_large", f"{name} decodes to more than may be written: split or remove it")
        return {"errno": error.errno or errno.EIO, "strerror": error.strerror or str(error)}
    except Exception as error:
        return _fault("crashed", f"{name} made its decoder fail ({type(error).__name__}): replace it")


def _answer(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _receive(requests: IO[bytes], lines: "queue.SimpleQueue[bytes]") -> None:
    for line in requests:
        lines.put(line)
    os._exit(0)  # the parent is gone, whatever is being decoded


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
