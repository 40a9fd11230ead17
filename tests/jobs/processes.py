"""Jobs as processes of their own, to be killed or set against each other."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import JOB_RUNS

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(command: list[str], tmp_path: Path) -> Iterator[Start]:
    """Start ``reprise`` as the leader of a process group; what it prints goes to ``tmp_path / "said.txt"``."""
    started = []
    with (tmp_path / "said.txt").open("ab") as said:

        def run(*arguments: object) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [*command, *map(str, arguments)], stdout=said, stderr=said, start_new_session=True, cwd=tmp_path
            )
            started.append(process)
            return process

        yield run
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def count_files(warehouse: Warehouse) -> int:
    """Files in the folders of a warehouse's tables, committed or not: the clock of a job's work."""
    return sum(1 for p in Path(warehouse.root).rglob("*") if p.is_file() and JOB_RUNS.name not in p.parts)


def kill_at(
    process: subprocess.Popen[bytes], warehouse: Warehouse, files: int, delay_s: float, *, alone: bool = False
) -> bool:
    """Kill a job ``delay_s`` after a warehouse has so many files; False when it ended by itself before.

    With ``alone`` only its first process is killed: Spark stays behind, notices later and may still write.
    """
    while count_files(warehouse) < files and process.poll() is None:
        time.sleep(0.005)
    time.sleep(delay_s)
    running = process.poll() is None
    if running:
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    return running
