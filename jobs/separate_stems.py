"""Separate tracks into stems: drums, bass, other and vocals.

Reads:  library_tracks, library_copies and the audio files that it lists; models. With --track FILE only this file.
Writes: cover_stems, models, quarantine, and the stems as FLAC files below the warehouse root. With --track FILE only
        the FLAC files DIR/NAME/drums.flac and so on; no warehouse is needed, and Spark is not started.
Grain:  one stem of one track by one separator. One quarantine row for each track whose audio is missing, has changed or
        cannot be separated.
Rerun:  tracks with stems of the same separator from the same content are skipped. Rows of deleted tracks are deleted. A
        run that is killed at any point and started again writes the same rows as an uninterrupted run. Files named with
        --track are separated each time.

The separator is htdemucs if it has been fetched (reprise models --fetch htdemucs), otherwise the small one of the
package. Stems have 16 bits per sample. If a sample of a stem exceeds full scale, all stems of the track get the same
gain below 0 dB.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
from rich.table import Table as Grid

from reprise.jobs._covers.separators import SeparatorFile, choose_separator, register_separator
from reprise.jobs._covers.stem_files import bytes_needed, check_room, estimate_length, name_folders, separate_files
from reprise.jobs._engine.command_line import UsageError, add_force, add_models
from reprise.jobs._engine.console import print_error, print_grid
from reprise.jobs._engine.external_files import SEPARATOR
from reprise.jobs._engine.gpus import GpuPlan, find_task_device, plan_gpus
from reprise.jobs._engine.models import Model
from reprise.jobs._engine.pending import PendingTracks, delete_removed_tracks, find_outdated, find_pending
from reprise.jobs._engine.quarantine import write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._libraries.copies import add_uris
from reprise.lib.covers.default_separator import SHIPPED
from reprise.lib.covers.stems import Stem
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.nets.devices import choose_device
from reprise.lib.tables import COVER_STEMS, LIBRARY_TRACKS, QUARANTINE, row_uri
from reprise.lib.text import format_time, make_printable
from reprise.udfs.sandbox import local_folder
from reprise.udfs.separated_stems import copy_artifact, separate_tracks

JOB = "separate_stems"
_TRACKS_PER_COMMIT, _TRACKS_PER_GPU_COMMIT = 8, 64
"""Largest number of tracks between two commits, for each task. The small separator needs about eight minutes of a core
for 8 tracks, and a GPU needs about two minutes for 64 tracks."""

_INPUTS = pa.schema([("track_id", pa.string()), ("sha256", pa.string()), ("uris", pa.list_(pa.string()))])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="ID|FILE",
        help="separate only this library track, or this audio file, for which no warehouse is needed; can be repeated",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder for stems of the tracks named with --track: DIR/NAME/drums.flac and so on (default for files:"
        " stems)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME|FOLDER|FILE",
        help=f"separator: {SEPARATOR}, {SHIPPED} (the one of the package), or a safetensors file of demucs or the"
        f" folder with it (default: {SEPARATOR} if it has been fetched, otherwise {SHIPPED})",
    )
    add_force(parser)
    add_models(parser)


def _needs_warehouse(args: argparse.Namespace) -> bool:
    """Say whether ``--track`` does not name files only."""
    return not args.track or not all(os.path.lexists(name) for name in args.track)


def separate(run: Run) -> None:
    """Separate the files named with ``--track``, or the new and changed tracks of the library."""
    args = run.args
    if args.out and not args.track:
        raise UsageError("--out needs --track: the stems of the library are in the warehouse")
    if not _needs_warehouse(args):
        _separate_files(run, list(dict.fromkeys(map(Path, args.track))))
        return
    if files := [name for name in args.track if os.path.lexists(name)]:
        raise UsageError(f"--track names the file {files[0]} and also ids of tracks: separate them in two runs")
    _separate_library(run)


def _separate_files(run: Run, paths: Sequence[Path]) -> None:
    """Separate audio files, print a table of the stems, and report the files that cannot be separated."""
    out = Path(run.args.out or "stems")
    folders = dict(zip(paths, name_folders(out, [make_printable(path.stem) for path in paths]), strict=True))
    chosen = choose_separator(run.settings, run.args.model)
    separator = chosen.load().to(choose_device())
    threads = len(os.sched_getaffinity(0))
    lengths = [estimate_length(path) for path in paths]
    stem_bytes, temporary_bytes = bytes_needed(lengths, separator.sample_rate, threads)
    _say_needs(run, chosen, str(out), separator.device, stem_bytes, temporary_bytes)
    check_room({out: stem_bytes, Path(local_folder()): temporary_bytes})
    faults: list[InputError] = []
    grid = Grid()
    for name in ("track", "stem", "loudness (LUFS)", "true peak (dBTP)", "sounds", "gain (dB)"):
        grid.add_column(name)
    run.inputs = len(paths)
    run.count(separated=0, stems=0)
    clock, seconds = time.monotonic(), 0.0
    with run.progress("s") as progress:
        task = progress.add_task("", total=round(sum(lengths)))

        def add(path: Path, stems: list[Stem] | InputError) -> None:
            nonlocal seconds
            if isinstance(stems, InputError):
                faults.append(stems)
                return
            seconds += stems[0].frame_count / stems[0].sample_rate
            run.count(separated=1, stems=len(stems))
            for stem in stems:
                grid.add_row(make_printable(path.name), stem.name, *_describe(stem))

        separate_files(separator, folders, threads=threads, on_progress=partial(progress.advance, task), on_stems=add)
    if not run.args.json:
        print_grid(grid)
        speed = seconds / (time.monotonic() - clock)
        print(f"{format_time(seconds)} of audio at {speed:.1f} × real time on {separator.device}: {out}")
    for fault in faults[1:]:
        print_error(JOB.replace("_", "-"), fault.message)
    if faults:
        raise RepriseError(faults[0].message)


def _describe(stem: Stem) -> list[str]:
    measured = [stem.loudness_lufs, stem.true_peak_dbtp]
    shown = ["silent" if value is None else f"{value:.1f}" for value in measured]
    return [*shown, f"{stem.activity:.0%}", f"{stem.gain_db:.1f}"]


def _say_needs(
    run: Run, chosen: SeparatorFile, place: str, device: str, stem_bytes: float, temporary_bytes: float
) -> None:
    if not run.args.json:
        print(f"separator: {chosen.origin} ({chosen.model_id}) on {device}")
        print(
            f"disk: at most {stem_bytes / 1e9:.2f} GB in {place}, and {temporary_bytes / 1e9:.2f} GB in"
            f" {local_folder()} meanwhile"
        )


def _separate_library(run: Run) -> None:
    """Separate new and changed tracks of the library, in groups of tracks that are committed together."""
    run.count(separated=0, quarantined=0)
    if not run.warehouse.exists(LIBRARY_TRACKS) or not run.warehouse.sizes(LIBRARY_TRACKS)[0]:
        raise UsageError("there are no rows in library_tracks: run ingest-library first")
    wanted = _find_wanted(run)
    chosen = choose_separator(run.settings, run.args.model)
    plan = plan_gpus(run.spark)
    _check_room(run, chosen, wanted, plan)
    model: Model | None = None
    done: dict[str, str | int] = {"separator": chosen.model_id}
    per_task = min(run.settings.files_per_task, _TRACKS_PER_GPU_COMMIT if plan.uses_gpu else _TRACKS_PER_COMMIT)
    for pending in find_pending(
        run, [LIBRARY_TRACKS], COVER_STEMS, target_rows=done, run_first="ingest-library", track_ids=wanted
    ):
        model = model or register_separator(run, chosen)
        for group in _split(pending, per_task * plan.tasks):
            _separate_group(run, group, model, plan)
    delete_removed_tracks(run.warehouse, JOB, [LIBRARY_TRACKS], [COVER_STEMS])
    if run.args.out:
        _export(run, chosen.model_id, Path(run.args.out))


def _find_wanted(run: Run) -> set[str] | None:
    """Return the ids named with ``--track``; None if there are none, for all tracks."""
    if not run.args.track:
        return None
    wanted = set(run.args.track)
    known = run.warehouse.lookup(LIBRARY_TRACKS, "track_id", min(wanted), max(wanted), ["track_id"])
    if unknown := sorted(wanted - set(known["track_id"].to_pylist())):
        raise UsageError(f"--track {unknown[0]} is neither a file nor a track of the library: run ingest-library first")
    return wanted


def _check_room(run: Run, chosen: SeparatorFile, wanted: set[str] | None, plan: GpuPlan) -> None:
    """Say how much disk the pending tracks need, and check that local folders have it."""
    lengths: list[float] = []
    warehouse, columns = run.warehouse, ["track_id", "sha256"]
    for part in warehouse.parts(LIBRARY_TRACKS, 100_000):
        tracks = warehouse.read_columns(LIBRARY_TRACKS, part.paths, [*columns, "duration"]).to_pandas()
        stored = warehouse.lookup(COVER_STEMS, "track_id", part.least, part.greatest, [*columns, "separator"])
        done = stored.to_pandas().query("separator == @chosen.model_id")[columns].drop_duplicates()
        tracks = tracks.merge(done, on=columns, how="left", indicator=True)
        if not run.args.force:
            tracks = tracks[tracks["_merge"] == "left_only"]
        if wanted is not None:
            tracks = tracks[tracks["track_id"].isin(wanted)]
        lengths += tracks["duration"].tolist()
    if not lengths:
        return
    stem_bytes, temporary_bytes = bytes_needed(lengths, chosen.sample_rate, plan.threads)
    device = f"{plan.tasks} {'GPU' if plan.uses_gpu else 'core'}{'' if plan.tasks == 1 else 's'}"
    _say_needs(run, chosen, warehouse.root, device, stem_bytes, plan.tasks * temporary_bytes)
    if "://" not in warehouse.root:
        check_room({Path(warehouse.root): stem_bytes})


def _split(pending: PendingTracks, count: int) -> Iterator[PendingTracks]:
    for start in range(0, len(pending.track_ids), count):
        yield PendingTracks(pending.source, pending.part, pending.track_ids[start : start + count])


def _separate_group(run: Run, pending: PendingTracks, model: Model, plan: GpuPlan) -> None:
    """Separate the pending tracks, and write their rows in one commit."""
    part = pending.part
    tracks = run.warehouse.read_columns(LIBRARY_TRACKS, part.paths, ["track_id", "sha256"]).to_pandas()
    tracks = tracks[tracks["track_id"].isin(pending.track_ids)].sort_values("track_id")
    todo = add_uris(run.warehouse, part, tracks)
    frame = run.spark.createDataFrame(pa.Table.from_pandas(todo, _INPUTS, preserve_index=False))
    make = partial(
        separate_tracks,
        root=run.warehouse.root, artifact=model.artifact, artifact_sha256=model.sha256,
        find_device=find_task_device, threads=plan.threads,
        model_id=model.model_id, job=JOB, run_id=run.run_id,
    )  # fmt: skip
    # a task per few tracks, so that one long track does not leave the other cores without work; a GPU gets one task,
    # because its work stops between tasks
    frame = frame.repartition(plan.tasks if plan.uses_gpu else 2 * plan.tasks)
    staged = run.warehouse.stage(frame, make, [], to_driver=[COVER_STEMS, QUARANTINE], profile=plan.profile)
    rejected = staged.table(QUARANTINE)
    run.warehouse.merge(
        COVER_STEMS,
        staged.table(COVER_STEMS),
        delete=find_outdated(run.warehouse, COVER_STEMS, pending, "separator", model.model_id),
    )
    read = pd.Series([row_uri(LIBRARY_TRACKS.name, track_id) for track_id in todo["track_id"]])
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    run.bad_inputs += len(rejected)
    run.count(separated=len(todo) - len(rejected), quarantined=len(rejected))


def _export(run: Run, model_id: str, out: Path) -> None:
    """Copy the stems of the tracks named with ``--track`` from the warehouse into ``out``."""
    ids = sorted(set(run.args.track))
    columns = ["track_id", "title"]
    tracks = run.warehouse.lookup(LIBRARY_TRACKS, "track_id", ids[0], ids[-1], columns).to_pylist()
    titles = {row["track_id"]: make_printable(row["title"] or row["track_id"]) for row in tracks}
    folders = dict(zip(ids, name_folders(out, [titles[track_id] for track_id in ids]), strict=True))
    stems = run.warehouse.lookup(COVER_STEMS, "track_id", ids[0], ids[-1]).to_pylist()
    for row in stems:
        if row["track_id"] in folders and row["separator"] == model_id:
            folder = folders[row["track_id"]]
            folder.mkdir(parents=True, exist_ok=True)
            copy_artifact(run.warehouse.root, row["artifact"], folder / f"{row['stem']}.flac")


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, separate, needs_warehouse=_needs_warehouse), argv)


if __name__ == "__main__":
    sys.exit(main())
