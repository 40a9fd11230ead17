"""Datasets of clean passages, from a folder of recordings or from the stems of the library."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.lib.arrays import Float32Array
from reprise.lib.covers.stem_datasets import (
    DatasetPassage,
    DatasetSource,
    Description,
    replace_dataset,
    source_from_json,
    write_dataset,
    write_description,
)
from reprise.lib.errors import InputError
from reprise.lib.files import printable_name
from reprise.lib.nets.pitch_tracker import SAMPLE_RATE, PitchTracker
from reprise.lib.tables import COVER_STEMS, LIBRARY_TRACKS
from reprise.lib.text import make_printable
from reprise.udfs.sandbox import sandbox
from reprise.udfs.solo_passages import INPUT_SCHEMA, RESULT_DDL, cut_stems

_STEMS_PER_TASK = 2
"""Number of stems of a task whose passages are on the driver at once: 50 kB for a second."""

Report = Callable[[str], None]


def find_recordings(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with one of the suffixes below a folder, in the order of their paths.

    Files and folders whose names begin with a dot are skipped.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, one) for one in files if one.lower().endswith(suffixes) and not one.startswith(".")]
    return sorted(found, key=os.fsencode)


def name_sources(names: Sequence[str]) -> list[str]:
    """Return different names: from the second on, equal ones get a number."""
    seen: Counter[str] = Counter()
    taken = set(names)
    named = []
    for name in names:
        seen[name] += 1
        unique = name
        while seen[name] > 1 and (unique := f"{name} ({seen[name]})") in taken:
            seen[name] += 1
        taken.add(unique)
        named.append(unique)
    return named


def build_from_files(run: Run, paths: Sequence[Path], out: Path, report: Report) -> Description:
    """Write the dataset of recordings. Each file that cannot be read is reported."""
    names = name_sources([printable_name(path) for path in paths])
    with run.progress("files") as progress:
        task = progress.add_task("", total=len(paths))

        def read() -> Iterator[tuple[str, Float32Array]]:
            for name, path in zip(names, paths, strict=True):
                try:
                    audio = sandbox().decode(path, sample_rate=SAMPLE_RATE)
                except InputError as error:
                    report(error.message)
                else:
                    samples = audio.open_signal()
                    audio.signal_path.unlink()  # the mapping stays valid
                    yield name, samples
                progress.advance(task)

        return write_dataset(out, read(), PitchTracker())


def build_from_stems(run: Run, stem: str, out: Path, report: Report) -> Description:
    """Write the dataset of all stems of a kind in the library. Each file that cannot be read is reported.

    Raises
    ------
    UsageError
        There are no such stems.
    """
    stems = _list_stems(run, stem)
    if not stems:
        raise UsageError(f"there are no {stem} stems in cover_stems: run separate-stems first")
    cut = partial(cut_stems, root=run.warehouse.root)
    tasks = run.spark.sparkContext.defaultParallelism
    sources: list[DatasetSource] = []
    passages: list[DatasetPassage] = []
    with run.progress("stems") as progress, replace_dataset(out) as unfinished:
        task = progress.add_task("", total=len(stems))
        for start in range(0, len(stems), _STEMS_PER_TASK * tasks):
            group = stems[start : start + _STEMS_PER_TASK * tasks]
            frame = run.spark.createDataFrame(pa.Table.from_pylist(group, INPUT_SCHEMA)).repartition(tasks)
            made = frame.mapInArrow(cut, RESULT_DDL).toArrow()
            made = made.sort_by([("number", "ascending"), ("part", "ascending")])
            for row in made.to_pylist():
                if row["fault"] is not None:
                    report(row["fault"])
                elif row["flac"] is None:
                    sources.append(source_from_json(json.loads(row["description"])))
                else:
                    passage = DatasetPassage(**json.loads(row["description"]))
                    passages.append(replace(passage, file=f"{len(passages) + 1:04}.flac"))
                    (unfinished / passages[-1].file).write_bytes(row["flac"])
            progress.advance(task, len(group))
        description = Description(passages, sources)
        write_description(unfinished, description)
    return description


def _list_stems(run: Run, stem: str) -> list[dict[str, object]]:
    """Return the stems of a kind in the order of their tracks: number, name of the track, and file."""
    warehouse = run.warehouse
    if not warehouse.exists(COVER_STEMS):
        return []
    rows: list[dict[str, str]] = []
    titles: dict[str, str] = {}
    for part in warehouse.parts(COVER_STEMS, 100_000):
        found = warehouse.read_columns(COVER_STEMS, part.paths, ["track_id", "separator", "stem", "artifact"])
        rows += found.filter(pc.equal(found["stem"], stem)).to_pylist()
        tracks = warehouse.lookup(LIBRARY_TRACKS, "track_id", part.least, part.greatest, ["track_id", "title"])
        titles |= dict(zip(tracks["track_id"].to_pylist(), tracks["title"].to_pylist(), strict=True))
    rows.sort(key=lambda row: (row["track_id"], row["separator"]))
    names = name_sources([make_printable(titles.get(row["track_id"]) or row["track_id"]) for row in rows])
    return [
        {"number": number, "name": name, "artifact": row["artifact"]}
        for number, (name, row) in enumerate(zip(names, rows, strict=True))
    ]
