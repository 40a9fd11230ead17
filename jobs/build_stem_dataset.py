"""Build a dataset to train an instrument with: the passages of recordings in which it plays alone and cleanly.

Reads:  with --source the recordings below a folder; no warehouse is needed, and Spark is not started. With --stem
        cover_stems, library_tracks and the stems of that kind.
Writes: the folder named with --out: passages as FLAC files, dataset.json (which passage is from where, and why other
        time is left out) and dataset.png (the same as a plot). The folder gets its name when it is complete.
Rerun:  an existing dataset is replaced. Equal recordings give equal files.

Left out is silence, what has no pitch (noise, drums, consonants), several notes at once, speech, clipped samples, and
passages under 2 s. If less than 60 s remain, the folder is written, but the exit code is 1: an instrument cannot be
trained with it.
"""

import argparse
import sys
from pathlib import Path

from rich.table import Table as Grid

from reprise.jobs._covers.stem_datasets import build_from_files, build_from_stems, find_recordings
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.console import print_error, print_grid
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._libraries.copies import AUDIO_SUFFIXES
from reprise.lib.covers.solo_passages import REASONS, Material, check_dataset
from reprise.lib.covers.stem_datasets import PLOT, Description, check_replaceable
from reprise.lib.errors import RepriseError
from reprise.lib.nets.separators import STEMS
from reprise.lib.text import format_time

JOB = "build_stem_dataset"
_SHOWN_SOURCES = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--source", metavar="DIR", help="folder of recordings of one instrument, with its subfolders")
    where.add_argument("--stem", choices=STEMS, help="take the stems of this kind from the library")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the dataset")


def _needs_warehouse(args: argparse.Namespace) -> bool:
    return args.stem is not None


def build(run: Run) -> None:
    """Build the dataset, print its sources, and check that it is enough for a training."""
    if run.args.source is None and run.args.stem is None:
        raise UsageError("there are no recordings: give --source DIR, or --stem KIND")
    out = Path(run.args.out)
    check_replaceable(out)
    faults: list[str] = []
    if run.args.stem:
        description = build_from_stems(run, run.args.stem, out, faults.append)
    else:
        description = _build_from_folder(run, Path(run.args.source), out, faults)
    run.count(sources=len(description.sources), unreadable=len(faults), passages=len(description.passages))
    run.count(seconds_kept=round(description.material.kept_s))
    for fault in faults:
        print_error("build-stem-dataset", fault)
    if not description.sources:
        raise RepriseError(f"none of the {len(faults)} recordings can be read: replace them")
    if not run.args.json:
        _print_sources(description)
    try:
        warnings = check_dataset(description.material)
    except RepriseError as error:
        raise RepriseError(f"{error}. {out / PLOT} shows what was left out") from None
    for warning in warnings:
        print_error("build-stem-dataset", f"warning: {warning}")


def _build_from_folder(run: Run, source: Path, out: Path, faults: list[str]) -> Description:
    if not source.is_dir():
        raise UsageError(f"--source {source} is not a folder: name a folder with recordings")
    inside, outside = sorted((source.resolve(), out.resolve()), key=lambda one: -len(one.parts))
    if inside.is_relative_to(outside):
        raise UsageError(f"--out {out} and --source {source} lie within each other: name another folder")
    paths = find_recordings(source, AUDIO_SUFFIXES)
    if not paths:
        raise UsageError(f"--source {source} has no audio files ({', '.join(AUDIO_SUFFIXES)}): name another folder")
    run.inputs = len(paths)
    return build_from_files(run, paths, out, faults.append)


def _print_sources(description: Description) -> None:
    grid = Grid()
    grid.add_column("recording")
    for name in ("kept", *(name.replace("_", " ") for name in REASONS)):
        grid.add_column(name, justify="right")
    for one in description.sources[:_SHOWN_SOURCES]:
        grid.add_row(one.name, *_format(one.material))
    if (hidden := len(description.sources) - _SHOWN_SOURCES) > 0:
        grid.add_row(f"and {hidden} more")
    grid.add_section()
    grid.add_row("all", *_format(description.material))
    print_grid(grid)


def _format(material: Material) -> list[str]:
    seconds = [material.kept_s, *(material.left_out_s[reason] for reason in REASONS)]
    return [format_time(one) if one >= 0.5 else "-" for one in seconds]


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, build, needs_warehouse=_needs_warehouse), argv)


if __name__ == "__main__":
    sys.exit(main())
