"""Compose a sample: songs as MSD files and as audio, and annotation files in their original formats.

Reads:  nothing; the music follows from the seed. With --soundfont a General MIDI soundfont.
Writes: DIR/msd (HDF5 files), DIR/annotations (lists, labels, triplets, and the truth about what was planted).
        With --audio also DIR/library (listeners' tagged files, playlists and histories) and DIR/stems (what each part
        of them plays, as sound and as notes). Tracks that are audio have no HDF5 file.
Grain:  one track.
Rerun:  files that are there are left alone, so that a killed run goes on where it stopped. A folder that holds another
        sample is refused.
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

from reprise.jobs._engine.run import Job, Run, UsageError, absolute, run_job
from reprise.lib.files import sha256_of
from reprise.lib.music import sample
from reprise.lib.music.render.soundfont import Soundfont
from reprise.lib.music.sample.listening import write_lists
from reprise.lib.music.sample.recording_files import LIBRARY, UNFINISHED, list_truth, put_file
from reprise.lib.music.sample.recordings import Recording, choose_recordings, name_users
from reprise.udfs.sample_audio import RESULT_DDL as AUDIO_DDL
from reprise.udfs.sample_audio import write_recordings
from reprise.udfs.sample_tracks import RESULT_DDL, write_tracks

_TRACKS_A_TASK = 2000
_TASKS_AT_ONCE = 4  # of one recording each, per core: how often the progress bar moves
_SOUNDFONTS = ("/usr/share/sounds/sf2", "/usr/share/soundfonts", "/usr/local/share/soundfonts")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write, seen by every worker")
    parser.add_argument("--tracks", type=int, default=500, metavar="N", help="tracks to compose (default %(default)s)")
    parser.add_argument("--cliques", type=int, metavar="N", help="cover cliques among them")
    parser.add_argument("--covers", type=int, metavar="N", help="tracks that stand in cliques (default a fifth)")
    parser.add_argument("--listeners", type=int, metavar="N", help="listeners with a taste (default a fifth)")
    parser.add_argument("--audio", type=int, default=0, metavar="N", help="tracks that are audio files, not HDF5")
    parser.add_argument("--users", type=int, default=3, metavar="N", help="who has them (default %(default)s)")
    parser.add_argument("--soundfont", metavar="FILE", help="play with FluidSynth and this soundfont; auto finds one")


def make(run: Run) -> None:
    """Write the plan, the annotations and then the tracks, a batch of tasks at a time."""
    args, out = run.args, Path(absolute(run.args.out))
    soundfont = _find_soundfont(args.soundfont) if args.soundfont else None
    try:
        plan = sample.Plan(
            args.tracks, run.settings.seed, n_cliques=args.cliques, n_covers=args.covers, n_listeners=args.listeners
        )
        recordings = choose_recordings(plan, args.audio, args.users)
    except ValueError as error:
        raise UsageError(str(error)) from None
    _claim(out, _describe(plan, args, soundfont))
    if not (out / "annotations").exists():
        unfinished = out / "annotations.unfinished"
        sample.write_annotations(plan, unfinished)
        unfinished.rename(out / "annotations")
    _write_tracks(run, plan, out, [recording.index for recording in recordings])
    if recordings:
        _write_audio(run, plan, out, recordings, soundfont)


def _write_tracks(run: Run, plan: sample.Plan, out: Path, recorded: list[int]) -> None:
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
    run: Run, plan: sample.Plan, out: Path, recordings: tuple[Recording, ...], soundfont: Soundfont | None
) -> None:
    """Write the recordings, then what their listeners say about them, then the truth."""
    write = partial(write_recordings, plan=plan, recordings=recordings, root=out, soundfont=soundfont)
    run.count(recordings=len(recordings), audio_files_written=0)
    at_once = _TASKS_AT_ONCE * run.spark.sparkContext.defaultParallelism
    with run.progress("recordings") as progress:
        task = progress.add_task("", total=len(recordings))
        for start in range(0, len(recordings), at_once):
            stop = min(start + at_once, len(recordings))
            numbers = run.spark.range(start, stop, numPartitions=stop - start)
            rows = numbers.mapInArrow(write, AUDIO_DDL).collect()
            run.count(audio_files_written=sum(row.written for row in rows))
            progress.advance(task, stop - start)
    lists = write_lists(plan, recordings, name_users(plan, run.args.users))
    for name, content in lists.items():
        put_file(out, f"{LIBRARY}/{name}", content)
    put_file(out, "annotations/truth_audio.csv", list_truth(plan, recordings, out))
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def _describe(plan: sample.Plan, args: argparse.Namespace, soundfont: Soundfont | None) -> dict[str, Any]:
    """Everything that the content of the folder follows from."""
    told = asdict(plan)
    if args.audio:
        told["audio"] = {"recordings": args.audio, "users": args.users}
    if args.audio and soundfont:
        told["audio"]["soundfont"] = sha256_of(Path(soundfont.path))
    return told


def _find_soundfont(wanted: str) -> Soundfont:
    """Find the fluidsynth program and the soundfont that is wanted, or with ``auto`` the first that is installed."""
    program = shutil.which("fluidsynth")
    if program is None:
        raise UsageError("--soundfont needs the fluidsynth program: install it, or leave the option out")
    found = (path for folder in _SOUNDFONTS for path in sorted(Path(folder).glob("*.sf2")))
    path = next(found, None) if wanted == "auto" else Path(absolute(wanted))
    if path is None:
        raise UsageError(f"--soundfont auto finds no .sf2 file in {', '.join(_SOUNDFONTS)}: name one")
    if not path.is_file():
        raise UsageError(f"--soundfont {path} does not exist")
    return Soundfont(program, str(path))


def _claim(out: Path, told: dict[str, Any]) -> None:
    """Leave the plan in the folder, for the next run to know what stands there."""
    text = json.dumps(told, indent=2, sort_keys=True) + "\n"
    note = out / "plan.json"
    if note.exists():
        if note.read_text("utf-8") != text:
            raise UsageError(f"{out} holds another sample: give another --out, or remove it")
    elif out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no sample: give another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        note.write_text(text, "utf-8")


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job("make_sample", __doc__ or "", add_arguments, make), argv)


if __name__ == "__main__":
    sys.exit(main())
