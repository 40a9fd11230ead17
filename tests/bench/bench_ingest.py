"""Reading, composing and ingesting Million Song Dataset files, beside plain h5py."""

import itertools
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import bench_msd_reader
import h5py
from measuring import PeakMemory, Row

from reprise import conf
from reprise.jobs import ingest_msd, make_sample
from reprise.jobs._engine.session import get_session
from reprise.lib.music import sample

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "msd"
SIZES = (260, 2_600, 26_000)
ROUNDS = 3


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


def measure_reader() -> list[Row]:
    """The reader beside plain h5py, PyTables and inflating alone."""
    with tempfile.TemporaryDirectory() as scratch:
        figures = bench_msd_reader.measure(bench_msd_reader.find_files(REAL, Path(scratch)))
    plain = figures["h5py"]
    return [
        {
            "what": f"reader: {name}",
            "measured": f"{figure:.2f} ms a file",
            "ratio": figure / plain,
            "beside": "plain h5py, every field",
            "goal": "≤ 0.60" if name == "reprise" else "",
        }
        for name, figure in figures.items()
    ]


def measure_job(sizes: tuple[int, ...] = SIZES) -> list[Row]:
    """The whole job beside a bare h5py loop, and its cost and memory as the number of files grows."""
    rows: list[Row] = []
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
                    "measured": f"{1 / job:,.0f} tracks a second a core, {job * 1e3:.2f} ms a track and core,"
                    f" peak {peak.mib:,.0f} MiB",
                    "ratio": job / loop,
                    "beside": f"h5py loop that writes nothing, {1 / loop:,.0f} tracks a second",
                    "goal": "< 1.00",
                }
            )
        rows += [
            {
                "what": f"cost a track at {size:,} files",
                "measured": f"{costs[size] * 1e3:.2f} ms",
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
                    "measured": f"{more[1] * 1e3:.2f} ms",
                    "ratio": more[1] / more[0],
                    "beside": f"the same from {sizes[0]:,} to {sizes[1]:,} files, {more[0] * 1e3:.2f} ms",
                    "goal": "0.90 to 1.10",
                }
            )
    return rows


def measure_sample() -> list[Row]:
    """The composer: tracks a second on one core, files written."""
    with tempfile.TemporaryDirectory() as folder:
        plan = sample.SamplePlan(1_000, seed=1)
        for index in range(20):
            sample.write_track(plan, index, folder)
        start = time.perf_counter()
        for index in range(20, 420):
            sample.write_track(plan, index, folder)
        rate = 400 / (time.perf_counter() - start)
    return [
        {
            "what": "make_sample, one core",
            "measured": f"{rate:,.0f} tracks a second",
            "ratio": rate / 200,
            "beside": "200 tracks a second",
            "goal": "≥ 1.00",
        }
    ]
