"""Stems encoded in child processes: equal to those of this process, faults, and processes that die."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reprise.lib.covers.stems import StemTask, compile_meter, encode_stem
from reprise.lib.errors import RepriseError
from reprise.udfs.stem_encoders import StemEncoders


@pytest.fixture
def encoders() -> Iterator[StemEncoders]:
    compile_meter()  # processes that compile at the same time can crash
    made = StemEncoders(2)
    yield made
    made.close()


def write_task(folder: Path, seed: int = 0, gain: float = 1.0) -> StemTask:
    source = folder / f"{seed}.f32"
    np.random.default_rng(seed).uniform(-0.5, 0.5, (50_000, 2)).astype(np.float32).tofile(source)
    return StemTask("bass", source, folder / f"Ä {seed}.flac", 44_100, gain)


def test_stems_equal_those_of_this_process(encoders: StemEncoders, tmp_path: Path) -> None:
    """Of more stems than processes, and of a file that has no name any more."""
    tasks = [write_task(tmp_path, seed, 0.5) for seed in range(6)]
    with tasks[0].source.open("rb") as opened:
        path = Path(f"/proc/{os.getpid()}/fd/{opened.fileno()}")
        unnamed = StemTask("bass", path, tmp_path / "unnamed.flac", 44_100, 0.5)
        with ThreadPoolExecutor(6) as threads:
            found = list(threads.map(encoders.encode, tasks))
        expected = [encode_stem(task) for task in tasks]
        assert found == expected
        tasks[0].source.unlink()
        assert encoders.encode(unnamed).samples_sha256 == expected[0].samples_sha256


def test_a_fault_is_an_error_here(encoders: StemEncoders, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    lost = StemTask("bass", task.source, tmp_path / "nowhere/bass.flac", 44_100, 1.0)
    with pytest.raises(RepriseError, match=r"nowhere/bass.flac cannot be written \(No such file or directory\)"):
        encoders.encode(lost)
    assert encoders.encode(task) == encode_stem(task)


def test_a_process_that_has_died_is_replaced(encoders: StemEncoders, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    children = [encoders._idle.get() for _ in range(2)]
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        encoders._idle.put(child)
    for _ in children:
        with pytest.raises(RepriseError, match=r"has ended: run again"):
            encoders.encode(task)
    assert encoders.encode(task) == encode_stem(task)
