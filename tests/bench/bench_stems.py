"""Separation on one core: 20 tracks through the job beside demucs, called for one track after the other; memory.

The network has 1.2 million parameters and random weights; memory is measured with a smaller one.
``gpu_separation.py`` measures on a GPU.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import soundfile
from measuring import Row

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import LIBRARY_COPIES, LIBRARY_TRACKS, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import library_track_id

TRACKS, TRACK_S = 20, 15
RATE = 44_100
MEMORY = (
    ("one file of 2 minutes", 1, 120),
    ("one file of 60 minutes", 1, 3600),
    ("10 files of 60 s", 10, 60),
    ("100 files of 60 s", 100, 60),
)
"""What is separated to measure memory: number of files, and length in s."""

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
REPRISE = [str(Path(sys.executable).with_name("reprise")), "separate-stems", "--json"]
TO_PICKLE = """
import sys, torch
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
network = load_safetensors_model(sys.argv[1])
arguments, keywords = network._init_args_kwargs
torch.save({"klass": HTDemucs, "args": arguments, "kwargs": keywords, "state": network.state_dict()}, sys.argv[2])
"""
"""Converts a separator to the only format in which demucs' command line reads local files."""


def write_separator(folder: Path, size: str) -> Path:
    """Write a separator with random weights."""
    path = folder / f"{size}.safetensors"
    subprocess.run([sys.executable, Path(__file__).parents[1] / "separators.py", path, size, "0"], check=True)
    return path


def write_track(path: Path, seconds: float, seed: int = 0) -> Path:
    """Write noise and a tone as FLAC."""
    rng = np.random.default_rng(seed)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for second in range(int(seconds)):
            tone = 0.3 * np.sin(2 * np.pi * (220 + 20 * (second % 12)) * np.arange(RATE) / RATE)
            file.write(tone[:, None] + 0.05 * rng.standard_normal((RATE, 2)))
    return path


def make_library(folder: Path, paths: list[Path]) -> None:
    """Write the rows of tracks and copies, as if the files had been ingested."""
    warehouse = Warehouse(str(folder))
    for table in (LIBRARY_TRACKS, LIBRARY_COPIES):
        rows = [_make_row(table, path) for path in paths]
        warehouse.merge(table, pa.Table.from_pylist(rows, arrow_schema(table)))


def _make_row(table: Table, path: Path) -> dict[str, object]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"track_id": library_track_id(sha256), "sha256": sha256, "uri": path.as_uri(), "title": path.stem}
    known["duration"] = soundfile.info(path).duration
    blank = {"string": "", "timestamp": 0, "boolean": False, "array<string>": []}
    row = {c.name: blank.get(c.type, 0) for c in table.columns if not c.nullable}
    return row | {name: value for name, value in known.items() if name in {c.name for c in table.columns}}


def measure_process(*command: object, cwd: Path) -> tuple[float, float, float]:
    """Run a command. Return the wall-clock time and the CPU time in s, and the largest memory of its processes in MiB.

    Memory is proportional set size: forked processes share pages.
    """
    start, used, peak = time.perf_counter(), 0.0, 0.0
    process = psutil.Popen(
        [*map(str, command)], cwd=cwd, env=os.environ | ONE_CORE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seen: dict[int, float] = {}
    while process.poll() is None:
        memory = 0
        for one in (process, *process.children(recursive=True)):
            try:
                times = one.cpu_times()
                seen[one.pid] = times.user + times.system
                memory += one.memory_full_info().pss
            except psutil.Error:
                continue
        peak = max(peak, memory / 2**20)
        time.sleep(0.2)
    assert process.returncode == 0, command
    used = sum(seen.values())
    return time.perf_counter() - start, used, peak


def measure_stems() -> list[Row]:
    """Speed of the job and of demucs, and memory of long files and of many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*_measure_speed(folder), *_measure_memory(folder)]


def _measure_speed(folder: Path) -> list[Row]:
    model = write_separator(folder, "small")
    (folder / "repo").mkdir()
    subprocess.run([sys.executable, "-c", TO_PICKLE, model, folder / "repo/small.th"], check=True)
    (folder / "tracks").mkdir()
    paths = [write_track(folder / f"tracks/{n:02}.flac", TRACK_S, n) for n in range(TRACKS)]
    make_library(folder / "warehouse", paths)
    demucs = [sys.executable, "-m", "demucs", "--repo", folder / "repo", "-n", "small", "--shifts", "0", "-d", "cpu"]
    tracks = [part for path in paths for part in ("--track", path)]
    one_worker = ["--warehouse", folder / "warehouse", "--conf", "spark.master=local[1]"]
    measured = {
        "demucs, a process for each track": [measure_process(*demucs, path, cwd=folder) for path in paths],
        "demucs, one process": [measure_process(*demucs, *paths, cwd=folder)],
        "separate-stems --track": [measure_process(*REPRISE, *tracks, "--model", model, cwd=folder)],
        "separate-stems, one worker of Spark": [measure_process(*REPRISE, *one_worker, "--model", model, cwd=folder)],
    }
    beside = sum(wall for wall, _, _ in measured["demucs, a process for each track"])
    rows: list[Row] = []
    for what, runs in measured.items():
        wall = sum(run[0] for run in runs)
        rows.append(_row(f"{TRACKS} tracks of {TRACK_S} s: {what}", TRACKS * TRACK_S, runs, f"{beside / wall:.2f}"))
    return rows


def _measure_memory(folder: Path) -> list[Row]:
    model = write_separator(folder, "own")
    rows: list[Row] = []
    for what, count, seconds in MEMORY:
        (folder / what).mkdir()
        paths = [write_track(folder / what / f"{n:03}.flac", seconds, n) for n in range(count)]
        tracks = [part for path in paths for part in ("--track", path)]
        run = measure_process(*REPRISE, *tracks, "--model", model, cwd=folder)
        rows.append(_row(f"memory: {what}", count * seconds, [run], ""))
    return rows


def _row(what: str, audio_s: float, runs: list[tuple[float, float, float]], ratio: str) -> Row:
    wall, used = sum(run[0] for run in runs), sum(run[1] for run in runs)
    return {
        "what": what,
        "seconds": f"{wall:.0f}",
        "CPU seconds": f"{used:.0f}",
        "× real time a core": audio_s / used,
        "speed beside demucs": ratio,
        "MiB": f"{max(run[2] for run in runs):.0f}",
    }
