"""Jobs as processes of their own, to be killed or set against each other."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.music import sample
from reprise.lib.tables import JOB_RUNS, Table

Start = Callable[..., subprocess.Popen[bytes]]
Written = Callable[[Warehouse], int]


@pytest.fixture
def start(command: list[str], tmp_path: Path) -> Iterator[Start]:
    """Start ``reprise`` as the leader of a process group; what it says goes to ``tmp_path / "said.txt"``."""
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


@pytest.fixture(scope="session")
def written() -> Written:
    """How many files the folders of a warehouse's tables have, committed or not: the clock of a job's work."""

    def count(warehouse: Warehouse) -> int:
        return sum(1 for p in Path(warehouse.root).rglob("*") if p.is_file() and JOB_RUNS.name not in p.parts)

    return count


@pytest.fixture(scope="session")
def kill_at(written: Written) -> Callable[..., bool]:
    """Kill a job ``delay_s`` after a warehouse has so many files; False when it ended by itself before.

    With ``alone`` only its first process is killed: Spark stays behind, notices later and may still write.
    """

    def kill(
        process: subprocess.Popen[bytes], warehouse: Warehouse, files: int, delay_s: float, *, alone: bool = False
    ) -> bool:
        while written(warehouse) < files and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay_s)
        running = process.poll() is None
        if running:
            (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        return running

    return kill


@pytest.fixture(scope="session")
def big_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A composed sample of 150 tracks, with two bad files and a bad line: ``msd/`` and ``annotations/``."""
    folder = tmp_path_factory.mktemp("big_sample")
    plan = sample.Plan(150, seed=11)
    paths = [sample.write_track(plan, index, folder / "msd") for index in range(plan.n_tracks)]
    os.truncate(paths[40], 1000)
    os.truncate(paths[90], 0)
    sample.write_annotations(plan, folder / "annotations")
    with (folder / "annotations" / "msd_tagtraum.cls").open("a") as labels:
        labels.write("a line that is none\n")
    return folder


@pytest.fixture(scope="session")
def assert_same(rows_of: Callable[..., pd.DataFrame]) -> Callable[[Warehouse, Warehouse, list[Table]], None]:
    """Assert that two warehouses hold the same rows, each key once."""

    def check(ours: Warehouse, other: Warehouse, tables: list[Table]) -> None:
        for table in tables:
            rows = rows_of(ours, table)
            assert len(rows), table.name
            assert not rows.duplicated(list(table.key)).any(), table.name
            pd.testing.assert_frame_equal(rows, rows_of(other, table), obj=table.name)

    return check
