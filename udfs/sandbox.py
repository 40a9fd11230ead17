"""Read audio files in a child process, so that a crash, a hang, a decompression bomb or a leak affects only one file.

One child process reads many files. For each file it receives one line of JSON and answers with one line of JSON. The
child's memory, CPU time and disk use are limited. The child ends when its parent ends. All other modules
that run in a worker must decode audio through this module.
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
from reprise.lib.audio.decoding import MAX_DURATION_S, DecodedAudio, decode
from reprise.lib.audio.tag_reading import Tags, read_tags
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import open_regular, printable_name, sha256_of

MAX_MEMORY_BYTES = 2 << 30
"""Limit of the child's address space in bytes."""

FILES_PER_CHILD = 200
"""Number of files after which the child is replaced. The replacement frees memory that its libraries leaked."""

MIN_CPU_S, MAX_CPU_S, BYTES_PER_CPU_SECOND = 30, 600, 500_000
"""The CPU time limit for one file is 30 s plus 1 s for each 500,000 bytes of the file, at most 600 s. Even the slowest
formats are decoded at about 2,500,000 bytes per second of CPU time."""

WALL_TO_CPU_RATIO = 4
"""Ratio of a file's wall-clock limit to its CPU limit. It leaves time for other processes and for slow disks."""

START_TIMEOUT_S = 120.0
"""Wall-clock limit for the start of a child, in seconds."""

_MAX_ANSWER_BYTES = 1 << 20
_CHILD_CODE = (
    "import json,sys; sys.path[:]=json.loads(sys.argv[1]); from reprise.udfs.sandbox import serve; serve(sys.argv[2])"
)
_RETRIED_FAULTS = frozenset({"crashed", "too_large"})
"""Kinds of faults that a memory leak from earlier files can cause. The file is then tried again in a new child."""

_Task = Callable[[str, str, int, int], dict[str, Any]]
_TASK = "reprise.udfs.sandbox:decode_in_child"


class Audio(NamedTuple):
    """Result of reading one audio file.

    Attributes
    ----------
    signal_path
        File with the samples, in the format of `reprise.lib.audio.decoding.decode`. It is deleted when the next file is
        decoded and when the sandbox is closed.
    channel_count
        Number of channels of the samples, 1 or 2.
    decoded, tags, sha256
        Properties of the audio, tags of the file, and SHA-256 of the file.
    """

    signal_path: Path
    channel_count: int
    decoded: DecodedAudio
    tags: Tags
    sha256: str

    def open_signal(self) -> Float32Array:
        """Memory-map the samples: float32 (n,) for mono, (n, 2) for stereo.

        The array stays valid after the file is deleted.
        """
        samples = np.memmap(self.signal_path, np.float32, "r")
        return samples if self.channel_count == 1 else samples.reshape(-1, self.channel_count)


class Sandbox:
    """A child process that reads audio files one at a time; a context manager.

    Parameters
    ----------
    folder
        Folder for the samples. It contains the samples of one file at a time. Six hours of audio take 2 GB in mono at
        22,050 Hz and 8 GB in stereo at 44,100 Hz.
    task
        Function that the child calls for each file, as ``module:function``. Its arguments are those of
        `decode_in_child`. Only tests set ``task``.
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
        self._delete_signal()
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    @property
    def pid(self) -> int | None:
        """Process id of the child; None while no child runs."""
        return self._child.pid if self._child else None

    def decode(self, path: str | os.PathLike[str], *, sample_rate: int = SAMPLE_RATE, channel_count: int = 1) -> Audio:
        """Read an audio file and return its hash, tags and samples.

        The samples have the sample rate ``sample_rate`` in Hz, and one channel or two.

        Raises
        ------
        InputError
            The errors of `reprise.lib.audio.decoding.decode`. ``crashed``: the file crashed the child. ``hung``: the
            file took too long. ``too_large``: the file needs more memory or disk space than the limits. ``changed``:
            the file changed while it was read.
        RepriseError
            No child can be started.
        OSError
            The samples cannot be written. The machine is the cause, not the file.
        """
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
        answer = self._request(Path(path), size, sample_rate, channel_count)
        if answer.get("kind") in _RETRIED_FAULTS and self._n_files > 1:
            # a memory leak from earlier files can be the cause: try the file again in a new child
            self._stop()
            answer = self._request(Path(path), size, sample_rate, channel_count)
        if "kind" in answer:
            self._delete_signal()
            raise InputError(answer["kind"], answer["message"])
        if "errno" in answer:
            raise OSError(answer["errno"], answer["strerror"], str(self._signal_path))
        assert self._signal_path is not None  # noqa: S101 - set by _request
        tags = answer["tags"] | {"genre_tags": tuple(answer["tags"]["genre_tags"])}
        decoded = DecodedAudio(**answer["decoded"])
        return Audio(self._signal_path, channel_count, decoded, Tags(**tags), answer["sha256"])

    def _request(self, path: Path, size: int, sample_rate: int, channel_count: int) -> dict[str, Any]:
        """Ask the child to read a file of ``size`` bytes and return its answer.

        If the child dies or takes too long, return an answer in the child's format that describes this fault.
        """
        self._delete_signal()
        if self._n_files >= FILES_PER_CHILD or (self._child and self._child.poll() is not None):
            self._stop()
        child = self._child or self._start()
        self._n_files += 1
        self._signal_path = self._folder / f"{child.pid}-{self._n_files}.f32"
        cpu_s = min(MAX_CPU_S, MIN_CPU_S + size // BYTES_PER_CPU_SECOND)
        request = {
            "cpu_s": cpu_s,
            "max_bytes": 4 * channel_count * (MAX_DURATION_S + 60) * sample_rate,
            "path": str(path.absolute()),
            "out": str(self._signal_path),
            "sample_rate": sample_rate,
            "channel_count": channel_count,
        }
        name = printable_name(path)
        try:
            assert child.stdin is not None  # noqa: S101 - a pipe
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            return _read_line(child, WALL_TO_CPU_RATIO * cpu_s)
        except TimeoutError:
            self._stop()
            limit_s = WALL_TO_CPU_RATIO * cpu_s
            return _fault("hung", f"{name} was not decoded within {limit_s} s: replace or remove it")
        except (BrokenPipeError, EOFError):
            code = self._stop(wait_s=5.0)
            if code == -signal.SIGXCPU:
                return _fault("hung", f"{name} was not decoded within {cpu_s} s of CPU time: replace or remove it")
            status = f"signal {-code}" if code < 0 else f"exit code {code}"
            return _fault(
                "crashed", f"{name} crashed its decoder ({status}): it is damaged or hostile, replace or remove it"
            )
        except BaseException:
            self._stop()  # otherwise a late answer would be read as the answer to the next request
            raise

    def _start(self) -> subprocess.Popen[bytes]:
        self._n_files = 0
        # one thread: the libraries reserve address space for each thread, and a thread per core would exceed the limit
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as stderr:
            self._child = child = subprocess.Popen(  # noqa: S603 - this interpreter
                [sys.executable, "-P", "-c", _CHILD_CODE, json.dumps(sys.path), self._task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
            try:
                _read_line(child, START_TIMEOUT_S)
            except (TimeoutError, EOFError):
                code = self._stop(wait_s=1.0)
                stderr.seek(0)
                last_line = stderr.read().decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
                raise RepriseError(f"cannot start a process to decode audio (exit code {code}): {last_line}") from None
            except BaseException:
                self._stop()
                raise
        return child

    def _stop(self, wait_s: float = 0.0) -> int:
        """Wait at most ``wait_s`` seconds for the child to end, kill it if it still runs, and return its exit code."""
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

    def _delete_signal(self) -> None:
        if self._signal_path:
            self._signal_path.unlink(missing_ok=True)
            self._signal_path = None


@cache
def sandbox() -> Sandbox:
    """Return the sandbox of this process. Its child ends with the process. Spark deletes the folder of the sandbox."""
    return Sandbox(local_folder())


def local_folder() -> str:
    """Return the folder for temporary files of this process. In a worker, Spark deletes it at the end."""
    return os.environ.get("SPARK_LOCAL_DIRS", tempfile.gettempdir()).split(",")[0]


def open_audio(
    path: Path, sha256: str, *, sample_rate: int = SAMPLE_RATE, channel_count: int = 1
) -> tuple[Audio, Float32Array]:
    """Read an audio file in the sandbox of this process; return its properties and its memory-mapped samples.

    The samples are float32, (n,) for mono and (n, 2) for stereo.

    Raises
    ------
    InputError
        The errors of `Sandbox.decode`; ``changed`` also if the checksum of the content is not ``sha256``.
    """
    audio = sandbox().decode(path, sample_rate=sample_rate, channel_count=channel_count)
    signal = audio.open_signal()
    audio.signal_path.unlink()  # the mapping stays valid, and no file remains on the disk if the worker is killed
    if audio.sha256 != sha256:
        raise InputError("changed", f"{printable_name(path)} has changed: run ingest-library when it is complete")
    return audio, signal


def _fault(kind: str, message: str) -> dict[str, Any]:
    return {"kind": kind, "message": message}


def _read_line(child: subprocess.Popen[bytes], timeout_s: float) -> dict[str, Any]:
    """Read one line of JSON from the child.

    Raises
    ------
    TimeoutError
        The line is not complete after ``timeout_s`` seconds.
    EOFError
        The child ended before the end of the line, or the line is too long.
    """
    assert child.stdout is not None  # noqa: S101 - a pipe
    descriptor, line, end = child.stdout.fileno(), b"", time.monotonic() + timeout_s
    poll = select.poll()  # select() does not support descriptors above 1,023
    poll.register(descriptor, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(1000 * max(0.0, end - time.monotonic())):
            raise TimeoutError
        part = os.read(descriptor, 1 << 16)
        if not part or len(line) > _MAX_ANSWER_BYTES:
            raise EOFError
        line += part
    answer: dict[str, Any] = json.loads(line)
    return answer


def decode_in_child(path: str, out: str, sample_rate: int, channel_count: int) -> dict[str, Any]:
    """Hash a file, read its tags, and write its samples to ``out``. This is the default task of the child.

    See `reprise.lib.audio.decoding.decode` for ``sample_rate`` and ``channel_count``.

    Returns
    -------
    dict
        ``decoded``, ``tags`` and ``sha256`` of `Audio`, as JSON values.
    """
    before = _file_version(path)
    sha256 = sha256_of(path)
    tags, decoded = read_tags(path), decode(path, out, sample_rate=sample_rate, channel_count=channel_count)
    if _file_version(path) != before:
        raise InputError("changed", f"{printable_name(path)} changed while it was read: run again when it is complete")
    return {"sha256": sha256, "tags": asdict(tags), "decoded": asdict(decoded)}


def _file_version(path: str) -> tuple[int, int, int]:
    """Return inode, size and modification time. At least one of them differs after the file is changed or replaced."""
    with open_regular(path) as file:
        status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns


def serve(task: str) -> None:
    """Answer requests in the child process until the parent ends."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # text printed by a library must not mix with the answers
    devnull = os.open(os.devnull, os.O_RDWR)
    os.dup2(devnull, 0)
    os.dup2(devnull, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles SIGINT and then ends the child
    module, function = task.split(":")
    work: _Task = getattr(importlib.import_module(module), function)
    _set_limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    _set_limit(resource.RLIMIT_CORE, 0)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, lines), daemon=True).start()
    _send(answers, {"ready": True})
    os.dup2(devnull, 2)
    while True:
        request = json.loads(lines.get())
        used = resource.getrusage(resource.RUSAGE_SELF)
        _set_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + request["cpu_s"])
        _set_limit(resource.RLIMIT_FSIZE, request["max_bytes"])
        _send(answers, _run_task(work, request))


def _run_task(work: _Task, request: dict[str, Any]) -> dict[str, Any]:
    """Call ``work`` and return its result. If it fails, return the fault of the file or the error of the machine."""
    name = printable_name(request["path"])
    try:
        return work(request["path"], request["out"], request["sample_rate"], request["channel_count"])
    except InputError as error:
        return _fault(error.kind, error.message)
    except MemoryError:
        limit = f"{MAX_MEMORY_BYTES >> 30} GiB of memory"
        return _fault("too_large", f"{name} needs more than {limit} to be decoded: replace or remove it")
    except OSError as error:
        if error.errno == errno.EFBIG:
            limit = f"{request['max_bytes'] / 1e9:.1f} GB"
            return _fault("too_large", f"{name} decodes to more than {limit}, the most allowed: split or remove it")
        return {"errno": error.errno or errno.EIO, "strerror": error.strerror or str(error)}
    except Exception as error:
        return _fault("crashed", f"{name} made its decoder fail ({type(error).__name__}): replace or remove it")


def _send(answers: IO[bytes], answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _receive(requests: IO[bytes], lines: "queue.SimpleQueue[bytes]") -> None:
    for line in requests:
        lines.put(line)
    os._exit(0)  # the parent has ended: stop at once, even while a file is being decoded


def _set_limit(limited: int, maximum: int) -> None:
    _, hard = resource.getrlimit(limited)
    resource.setrlimit(limited, (maximum if hard == resource.RLIM_INFINITY else min(maximum, hard), hard))
