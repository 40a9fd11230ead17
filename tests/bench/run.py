"""Measure what the project promises and keep the figures: ``make bench``.

Every figure is a ratio of two things measured in this one run, interleaved, since machines differ and drift. Prints a
table of measured beside goal and writes RESULTS.md and results.json next to this file.
"""

import argparse
import importlib.util
import itertools
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import h5py
import psutil

from reprise import conf
from reprise.jobs import ingest_msd, make_sample
from reprise.jobs._session import get_session

HERE = Path(__file__).resolve().parent
REAL = HERE.parents[2] / "shared" / "data" / "msd"
SIZES = (260, 2_600, 26_000)
ROUNDS = 3
PACKAGES = ("pyspark", "delta-spark", "deltalake", "pyarrow", "h5py", "numpy", "isal", "tables")


class PeakMemory:
    """Largest sum of the resident memory of this process and its children (Spark's JVM and workers), in MiB."""

    def __enter__(self) -> "PeakMemory":
        self.mib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    memory = process.memory_full_info()
                    total += memory.pss  # forked workers share pages, which rss counts again in each
                except psutil.Error:
                    continue
            self.mib = max(self.mib, total / 2**20)


def load(name: str) -> ModuleType:
    """Module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def h5py_loop(files: list[Path]) -> float:
    """Seconds that plain h5py takes to read every field of ``files``, on one core, writing nothing."""
    start = time.perf_counter()
    for path in files:
        with h5py.File(path) as file:
            for group in file.values():
                for name, dataset in group.items():
                    dataset[0] if name == "songs" else dataset[...]
    return time.perf_counter() - start


def ingest(source: Path, warehouse: Path) -> float:
    """Seconds of a whole ``ingest_msd`` into a new warehouse, commits included, Spark's start not."""
    shutil.rmtree(warehouse, ignore_errors=True)
    start = time.perf_counter()
    code = ingest_msd.main(["--source", str(source), "--warehouse", str(warehouse), "--json", "--max-bad", "0"])
    assert code == 0
    return time.perf_counter() - start


def make_trees(folder: Path, sizes: tuple[int, ...]) -> dict[int, Path]:
    """One composed tree of each size; the smaller ones are parts of the largest, by hard links."""
    whole = folder / "sample"
    arguments = ["--out", str(whole), "--tracks", str(max(sizes)), "--warehouse", str(folder / "w")]
    assert make_sample.main(arguments) == 0
    files = sorted((whole / "msd").rglob("*.h5"))
    trees = {max(sizes): whole / "msd"}
    for size in sizes:
        if size not in trees:
            trees[size] = folder / f"tree{size}"
            step = len(files) // size
            for path in files[::step][:size]:
                place = trees[size] / path.relative_to(whole / "msd")
                place.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, place)
    os.sync()  # or the measurement shares the disk with the writing of the sample
    return dict(sorted(trees.items()))


def measure_reader(rows: list[dict[str, object]]) -> None:
    """The reader beside plain h5py, PyTables and inflating alone."""
    reader = load("bench_msd_reader")
    with tempfile.TemporaryDirectory() as scratch:
        figures = reader.measure(reader.find_files(REAL, Path(scratch)))
    plain = figures["h5py"]
    for name, figure in figures.items():
        rows.append(
            {
                "what": f"reader: {name}",
                "figure": f"{figure:.2f} ms a file",
                "ratio": figure / plain,
                "beside": "plain h5py, every field",
                "goal": "≤ 0.60" if name == "reprise" else "",
            }
        )


def measure_job(rows: list[dict[str, object]], sizes: tuple[int, ...]) -> None:
    """The whole job beside a bare h5py loop, and its cost and memory as the number of files grows."""
    cores = get_session(conf.load()).sparkContext.defaultParallelism
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees = make_trees(folder, sizes)
        if len(list(REAL.rglob("*.h5"))):
            trees = {0: REAL, **trees}
        ingest(trees[min(sizes)], folder / "warm")
        costs: dict[int, float] = {}
        for size, tree in trees.items():
            files = sorted(tree.rglob("*.h5"))
            rounds = 1 if len(files) > 5_000 else ROUNDS
            loops, jobs = [], []
            with PeakMemory() as peak:
                for _ in range(rounds):
                    loops.append(h5py_loop(files[:2_600]) / len(files[:2_600]))
                    jobs.append(ingest(tree, folder / "warehouse") / len(files))
            loop, job = statistics.median(loops), statistics.median(jobs) * cores
            costs[size] = job
            label = "260 real files" if size == 0 else f"{size:,} composed files"
            rows.append(
                {
                    "what": f"ingest_msd of {label}",
                    "figure": f"{1 / job:,.0f} tracks a second a core, {job * 1e3:.2f} ms a track and core,"
                    f" peak {peak.mib:,.0f} MiB",
                    "ratio": job / loop,
                    "beside": f"h5py loop that writes nothing, {1 / loop:,.0f} tracks a second",
                    "goal": "< 1.00",
                }
            )
        rows += [
            {
                "what": f"cost a track at {size:,} files",
                "figure": f"{costs[size] * 1e3:.2f} ms",
                "ratio": costs[size] / costs[sizes[0]],
                "beside": f"cost a track at {sizes[0]:,} files, what every run costs included",
                "goal": "≤ 1.10",
            }
            for size in sizes[1:]
        ]
        # what one more track costs: a run's fixed part weighs heavily on 260 files and drops out here
        more = [
            (costs[large] * large - costs[small] * small) / (large - small)
            for small, large in itertools.pairwise(sizes)
        ]
        if len(more) > 1:
            rows.append(
                {
                    "what": f"cost of one more track, {sizes[1]:,} to {sizes[2]:,} files",
                    "figure": f"{more[1] * 1e3:.2f} ms",
                    "ratio": more[1] / more[0],
                    "beside": f"the same from {sizes[0]:,} to {sizes[1]:,} files, {more[0] * 1e3:.2f} ms",
                    "goal": "0.90 to 1.10",
                }
            )


def measure_sample(rows: list[dict[str, object]]) -> None:
    """The composer: tracks a second on one core, files written."""
    from reprise.lib import sample

    with tempfile.TemporaryDirectory() as folder:
        plan = sample.Plan(1_000, seed=1)
        for index in range(20):
            sample.write_track(plan, index, folder)
        start = time.perf_counter()
        for index in range(20, 420):
            sample.write_track(plan, index, folder)
        rate = 400 / (time.perf_counter() - start)
    rows.append(
        {
            "what": "make_sample, one core",
            "figure": f"{rate:,.0f} tracks a second",
            "ratio": rate / 200,
            "beside": "200 tracks a second",
            "goal": "≥ 1.00",
        }
    )


def report(rows: list[dict[str, object]]) -> str:
    """RESULTS.md."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Measured",
        "",
        "Made by `make bench`. Every ratio is of two things measured in the same run; the figures beside it say how",
        "large they were on that machine.",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {psutil.cpu_count()} cores,"
        f" {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}, {packages}",
        "",
        "| what | measured | ratio | beside | goal |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {r['what']} | {r['figure']} | {r['ratio']:.2f} | {r['beside']} | {r['goal']} |" for r in rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description="Measure and keep the figures.")
    parser.add_argument("--quick", action="store_true", help="small sizes; prints and keeps nothing")
    quick = parser.parse_args().quick
    rows: list[dict[str, object]] = []
    measure_reader(rows)
    measure_sample(rows)
    measure_job(rows, SIZES[:2] if quick else SIZES)
    print(report(rows))
    if not quick:
        (HERE / "RESULTS.md").write_text(report(rows), "utf-8")
        document = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cores": psutil.cpu_count(), "machine": platform.machine()}
        document |= {"versions": {name: version(name) for name in PACKAGES}, "rows": rows}
        (HERE / "results.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
