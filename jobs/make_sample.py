"""Compose a synthetic dataset: songs as MSD files and as audio, and annotation files in their original formats.

Reads:  nothing, because the seed determines the music. With --soundfont, a General MIDI soundfont.
Writes: DIR/msd (HDF5 files), DIR/annotations (lists, labels, triplets, and the ground truth) and DIR/plan.json.
        With --audio also DIR/library (listeners' tagged files, playlists and histories) and DIR/stems (the stems of
        these recordings, as audio and as notes). A track that is written as audio has no HDF5 file.
Grain:  one track.
Rerun:  existing files are kept. If a run is killed, the next run continues where it stopped. A folder that contains
        another sample is refused.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from reprise.jobs._engine.command_line import UsageError, absolute_location
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.lib.files import sha256_of
from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.sample.playlists_and_histories import make_playlists_and_histories
from reprise.lib.music.sample.recording_files import LIBRARY, UNFINISHED, format_truth_csv, write_if_changed
from reprise.lib.music.sample.recordings import Recording, choose_recordings, name_listeners
from reprise.udfs.sample_audio import RESULT_DDL as AUDIO_DDL
from reprise.udfs.sample_audio import write_recordings
from reprise.udfs.sample_tracks import RESULT_DDL, write_tracks

_TRACKS_A_TASK = 2000
_TASKS_PER_CORE = 4  # per batch; a task writes one recording, and the progress bar advances after each batch
_SOUNDFONTS = ("/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/local/share/soundfonts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="output folder, on a file system that all workers share"
    )
    parser.add_argument("--tracks", type=int, default=500, metavar="N", help="number of tracks (default: %(default)s)")
    parser.add_argument(
        "--cliques",
        type=int,
        metavar="N",
        help="number of cover cliques (default: one for about three tracks in cliques)",
    )
    parser.add_argument(
        "--covers",
        type=int,
        metavar="N",
        help="number of tracks in cliques (default: a fifth of the tracks; with --cliques, about three per clique)",
    )
    parser.add_argument(
        "--listeners",
        type=int,
        metavar="N",
        help="number of listeners with plays (default: a fifth of the tracks, but at least 40)",
    )
    parser.add_argument(
        "--audio", type=int, default=0, metavar="N", help="number of tracks to write as audio instead of HDF5"
    )
    parser.add_argument(
        "--users",
        type=int,
        default=3,
        metavar="N",
        help="number of listeners who own the audio files (default: %(default)s)",
    )
    parser.add_argument(
        "--soundfont",
        metavar="FILE",
        help="render with FluidSynth and this soundfont; 'auto' uses the first installed soundfont",
    )


def make(run: Run) -> None:
    """Write the plan and the annotations. Spark tasks then write the tracks: HDF5 files and recordings."""
    args, out = run.args, Path(absolute_location(run.args.out))
    soundfont = _find_soundfont(args.soundfont) if args.soundfont else None
    try:
        plan = sample.SamplePlan(
            args.tracks, run.settings.seed, n_cliques=args.cliques, n_covers=args.covers, n_listeners=args.listeners
        )
        recordings = choose_recordings(plan, args.audio, args.users)
    except ValueError as error:
        raise UsageError(str(error)) from None
    _check_folder(out, _describe_plan(plan, args, soundfont))
    if not (out / "annotations").exists():
        unfinished = out / "annotations.unfinished"
        sample.write_annotations(plan, unfinished)
        unfinished.rename(out / "annotations")
    _write_tracks(run, plan, out, [recording.index for recording in recordings])
    if recordings:
        _write_audio(run, plan, out, recordings, soundfont)


def _write_tracks(run: Run, plan: sample.SamplePlan, out: Path, recorded: list[int]) -> None:
    write = partial(write_tracks, plan=plan, root=out / "msd")
    run.count(tracks=plan.n_tracks, written=0)
    width = run.spark.sparkContext.defaultParallelism
    with run.progress("tracks") as progress:
        task = progress.add_task("", total=plan.n_tracks)
        for start in range(0, plan.n_tracks, _TRACKS_A_TASK * width):
            stop = min(start + _TRACKS_A_TASK * width, plan.n_tracks)
            numbers = run.spark.range(start, stop, numPartitions=width).filter(~F.col("id").isin(recorded))
            run.count(written=sum(row.written for row in numbers.mapInArrow(write, RESULT_DDL).collect()))
            progress.advance(task, stop - start)


def _write_audio(
    run: Run, plan: sample.SamplePlan, out: Path, recordings: tuple[Recording, ...], soundfont: Soundfont | None
) -> None:
    """Write the recordings, then the listeners' playlists and histories, then the ground truth of the recordings."""
    write = partial(write_recordings, plan=plan, recordings=recordings, root=out, soundfont=soundfont)
    run.count(recordings=len(recordings), audio_files_written=0)
    at_once = _TASKS_PER_CORE * run.spark.sparkContext.defaultParallelism
    with run.progress("recordings") as progress:
        task = progress.add_task("", total=len(recordings))
        for start in range(0, len(recordings), at_once):
            stop = min(start + at_once, len(recordings))
            numbers = run.spark.range(start, stop, numPartitions=stop - start)
            rows = numbers.mapInArrow(write, AUDIO_DDL).collect()
            run.count(audio_files_written=sum(row.written for row in rows))
            progress.advance(task, stop - start)
    lists = make_playlists_and_histories(plan, recordings, name_listeners(plan, run.args.users))
    for name, content in lists.items():
        write_if_changed(out, f"{LIBRARY}/{name}", content)
    write_if_changed(out, "annotations/truth_audio.csv", format_truth_csv(plan, recordings, out))
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def _describe_plan(plan: sample.SamplePlan, args: argparse.Namespace, soundfont: Soundfont | None) -> dict[str, Any]:
    """Return all values that determine the content of the sample folder."""
    plan_values = asdict(plan)
    if args.audio:
        plan_values["audio"] = {"recordings": args.audio, "users": args.users}
    if args.audio and soundfont:
        plan_values["audio"]["soundfont"] = sha256_of(Path(soundfont.path))
    return plan_values


def _find_soundfont(wanted: str) -> Soundfont:
    """Find the fluidsynth program and the soundfont ``wanted``; for ``auto``, the first installed soundfont."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise UsageError("--soundfont needs the fluidsynth program: install it, or omit the option")
    found = (path for folder in _SOUNDFONTS for path in sorted(Path(folder).glob("*.sf2")))
    path = next(found, None) if wanted == "auto" else Path(absolute_location(wanted))
    if path is None:
        raise UsageError(f"--soundfont auto finds no .sf2 file in {', '.join(_SOUNDFONTS)}: name a .sf2 file")
    if not path.is_file():
        raise UsageError(f"--soundfont {path} does not exist: name an existing .sf2 file")
    return Soundfont(program, str(path))


def _check_folder(out: Path, plan_values: dict[str, Any]) -> None:
    """Check that the folder is missing or empty, or contains a sample with the same plan.

    In the first two cases, write the plan to the folder. A later run compares its plan with this file.

    Raises
    ------
    UsageError
        The folder contains another sample or other files.
    """
    text = json.dumps(plan_values, indent=2, sort_keys=True) + "\n"
    note = out / "plan.json"
    if note.exists():
        if note.read_text("utf-8") != text:
            raise UsageError(f"{out} contains another sample: give another --out, or remove the folder")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and is not a sample: give another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(text, "utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job("make_sample", __doc__ or "", add_arguments, make), argv)


if __name__ == "__main__":
    sys.exit(main())
