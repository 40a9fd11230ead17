"""Listeners' music through the jobs: hours of audio a core-hour, and memory for files of hours."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
from measuring import PeakMemory, Row

from reprise import conf
from reprise.jobs import extract_genre_features, ingest_library, make_sample, tag_tracks
from reprise.jobs._engine.session import get_session
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import LIBRARY_TRACKS

RECORDINGS = 40
LONG_S = 3 * 3600
Main = Callable[[list[str]], int]
INGEST = "ingest_library: decoding, tags, analysis, commits"
JOBS: tuple[tuple[str, Main, tuple[str, ...]], ...] = (
    (INGEST, ingest_library.main, ()),
    ("extract_genre_features: GTZAN columns and ours, whole track and windows", extract_genre_features.main, ()),
    ("tag_tracks: decoding, 50 tags of every window of 3 s", tag_tracks.main, ()),
    ("tag_tracks --every 2", tag_tracks.main, ("--every", "2", "--force")),
)


def run(main: Main, arguments: tuple[str, ...], source: Path, warehouse: Path) -> tuple[float, float]:
    """Seconds of a job, Spark's start not counted, and its peak memory in MiB."""
    if main is ingest_library.main:
        arguments = ("--source", str(source), *arguments)
    with PeakMemory() as peak:
        start = time.perf_counter()
        assert main([*arguments, "--warehouse", str(warehouse), "--json", "--max-bad", "0"]) == 0
        seconds = time.perf_counter() - start
    return seconds, peak.mib


def write_long(song: Path, path: Path) -> None:
    """A FLAC file of ``LONG_S``: one song again and again."""
    path.parent.mkdir(parents=True)
    signal, rate = soundfile.read(song, dtype="int16")
    with soundfile.SoundFile(path, "w", rate, signal.shape[1] if signal.ndim > 1 else 1) as file:
        for _ in range(LONG_S * rate // len(signal) + 1):
            file.write(signal)


def measure_library() -> list[Row]:
    """Each job on a composed library, and on one file of three hours."""
    rows: list[Row] = []
    cores = get_session(conf.load()).sparkContext.defaultParallelism
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = ["--tracks", str(RECORDINGS), "--audio", str(RECORDINGS), "--out", str(folder / "sample")]
        assert make_sample.main([*arguments, "--warehouse", str(folder / "w")]) == 0
        library = folder / "sample" / "library"
        song = next(library.rglob("*.flac"))
        (folder / "one" / "a").mkdir(parents=True)
        shutil.copy(song, folder / "one" / "a")
        write_long(song, folder / "long" / "a" / "long.flac")
        per_hour: dict[str, float] = {}
        for what, main, options in JOBS:
            run(main, options, folder / "one", folder / "one_warehouse")  # what is compiled once
            seconds, mib = run(main, options, library, folder / "warehouse")
            _, of_one = run(main, options, folder / "one", folder / "again")
            long_s, of_long = run(main, options, folder / "long", folder / "long_warehouse")
            tracks = Warehouse(str(folder / "warehouse")).lookup(LIBRARY_TRACKS, "track_id", "", "~", ["duration"])
            hours = sum(tracks["duration"].to_pylist()) / 3600
            per_hour[what] = seconds * cores / 3600 / hours
            with_ingest = f"; with ingest {1 / (per_hour[what] + per_hour[INGEST]):,.0f}"
            rows += [
                {
                    "what": what,
                    "measured": f"{1 / per_hour[what]:,.0f} hours of audio a core-hour",
                    "beside": f"{len(tracks)} recordings, {hours:.1f} h in {seconds:.0f} s on {cores} cores,"
                    f" peak {mib:,.0f} MiB{with_ingest if main is tag_tracks.main else ''}",
                },
                {
                    "what": "… of one file of 3 hours",
                    "measured": f"peak {of_long:,.0f} MiB, {long_s:.0f} s",
                    "beside": f"peak {of_one:,.0f} MiB for one file of 3 to 5 minutes",
                },
            ]
    return rows
