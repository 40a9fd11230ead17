"""Ingest listeners' own music, their playlists and their listening histories into Delta tables.

Reads:  a local tree of audio files (WAV, FLAC, Ogg, Opus, MP3, M4A, AAC, AIFF), playlists (M3U8, XSPF), libraries of
        programs (iTunes and rekordbox XML) and histories (ListenBrainz JSON lines, Last.fm CSV), one folder a listener;
        library_tracks and msd_tracks, to tell which songs they name.
Writes: library_tracks, library_analysis, library_copies, plays, unmatched_plays, manifest, quarantine.
Grain:  one track, whoever has it; one copy a listener and track; one quarantine row a bad file.
Rerun:  files whose size and modification time are in the manifest are skipped; content that is known is not decoded
        again. A file with new tags or sound is another track, and the old one goes with its last copy; a file that is
        gone leaves its track. Lists are matched when they are read: new, changed, with --force, or when their listener
        lost a track. Killed at any point and started again, it ends in the same rows.

Names that begin with a dot are passed over, and so are .xml, .json, .csv and .tsv files that are no lists.
"""

import argparse
import math
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa

from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.manifest import (
    forget_removed,
    hold_against_manifest,
    settle_unchanged,
    write_manifest,
    write_quarantine,
)
from reprise.jobs._engine.run import Job, Run, UsageError, existing, run_job
from reprise.jobs._engine.warehouse.merging import stack
from reprise.jobs._libraries.copies import LIST_SUFFIXES, Tree, forget_lost, known_tracks, remove_orphans, write_copies
from reprise.jobs._libraries.listening import ingest_lists
from reprise.lib.files import local_path, printable_name
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import NO_LISTENER, hash_files, library_track_id, read_audio

STAGE = "ingest_library"
AUDIO_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav")
_SHARE = 16
"""One sixteenth of the MSD files that are a task's make one of audio, which takes a thousand times as long to read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--source", required=True, metavar="DIR", help="tree of audio files and lists: a local path")
    parser.add_argument("--user", metavar="NAME", help="whose it is (default: each folder in DIR is one listener)")
    parser.add_argument("--force", action="store_true", help="read everything again")


def ingest(run: Run) -> None:
    """Read what is new in bounded batches, then settle who has what and what the lists say."""
    source = existing(run.args.source)
    if "://" in source:
        raise UsageError(f"--source {source} is not local: audio is read from local files, so copy or mount it")
    tree = Tree(Path(source).resolve().as_uri(), _listener(run.args.user))
    run.count(files=0, skipped=0, tracks=0, copies=0, duplicates=0, flagged=0, quarantined=0)
    run.count(lists_read=0, plays_matched=0, plays_unmatched=0)
    size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    with Listing(run.spark, source, (*AUDIO_SUFFIXES, *LIST_SUFFIXES)) as listing, run.progress("files") as progress:
        listeners: defaultdict[str, set[str]] = defaultdict(set)
        task = progress.add_task("", total=listing.count)
        for files in listing.chunks(size):
            for count in _ingest_audio(run, listing, _sort_out(files, tree, listeners, are_lists=False)):
                progress.advance(task, count)
        lost = write_copies(run, listeners)
        remove_orphans(run.warehouse, lost)
        for files in listing.chunks(size):
            lists = _sort_out(files, tree, listeners, are_lists=True)
            ingest_lists(run, tree, lists, listeners, lost)
            progress.advance(task, len(lists))
        forget_lost(run.warehouse, lost)
        forget_removed(run.warehouse, STAGE, listing)


def _listener(name: str | None) -> str | None:
    if name is None:
        return None
    name = unicodedata.normalize("NFC", name.strip())
    if not name or not name.isprintable():
        raise UsageError("--user must be a name on one line")
    return name


def _sort_out(files: pa.Table, tree: Tree, listeners: dict[str, set[str]], *, are_lists: bool) -> pa.Table:
    """Those of the listed ``files`` that are lists, or that are none; notes whose they are.

    What is in nobody's folder has that as its fault.
    """
    rows = []
    for row in files.to_pylist():
        if row["uri"].lower().endswith(LIST_SUFFIXES) != are_lists or tree.is_hidden(row["uri"]):
            continue
        folder = tree.folder(row["uri"])
        if folder is None:
            row["fault"] = row["fault"] or NO_LISTENER
        else:
            listeners[tree.listener(folder)].add(folder)
        rows.append(row)
    return pa.Table.from_pylist(rows, files.schema)


def _ingest_audio(run: Run, listing: Listing, files: pa.Table) -> Iterator[int]:
    """Hash the files that are new, and read those whose content is; yields how many are done, batch by batch."""
    if not len(files):
        return
    pending = hold_against_manifest(run.warehouse, STAGE, files, force=run.args.force)
    # a track that somebody else's run has removed since is read again
    gone = (pending.done["status"] != "quarantined") & ~_are_known(run, pending.done["sha256"])
    pending = pending.reopen(gone)
    run.count(files=len(files), skipped=len(pending.done))
    run.inputs += len(files)
    run.bad_inputs += int((pending.done["status"] == "quarantined").sum())
    yield len(pending.done)
    if not len(pending.todo):
        return
    make = partial(hash_files, stage=STAGE, run_id=run.run_id)
    staged = run.warehouse.stage(listing.frame(run.spark, pending.todo), make, [], to_driver=[MANIFEST, QUARANTINE])
    hashed = staged.table(MANIFEST).to_pandas().sort_values("uri", ignore_index=True)
    was_bad = pending.known[pending.known["status"] == "quarantined"].set_index("uri")["sha256"]
    if not run.args.force:
        same = (hashed["status"] == "done") & (hashed["uri"].map(was_bad) == hashed["sha256"])
        hashed.loc[same, "status"] = "unchanged"
    new = hashed[(hashed["status"] == "done") & (run.args.force | ~_are_known(run, hashed["sha256"]))]
    _record(run, hashed[~hashed["uri"].isin(new["uri"])].copy(), staged.table(QUARANTINE), pending.known)
    yield len(hashed) - len(new)
    contents = new.drop_duplicates("sha256")
    size = math.ceil(run.settings.files_per_task / _SHARE) * run.spark.sparkContext.defaultParallelism
    for start in range(0, len(contents), size):
        some = contents[start : start + size]
        holders = new[new["sha256"].isin(some["sha256"])]
        _read(run, some, holders, pending.known)
        yield len(holders)


def _are_known(run: Run, hashes: pd.Series) -> pd.Series:
    """Whether the track of each of ``hashes``, some of them NULL, is in the tables."""
    ids = hashes.map(library_track_id, na_action="ignore")
    return ids.isin(known_tracks(run.warehouse, set(ids.dropna())))


def _read(run: Run, contents: pd.DataFrame, holders: pd.DataFrame, known: pd.DataFrame) -> None:
    """Read one file of each content and write one batch: the manifest rows of all ``holders`` of it come last."""
    columns = ["uri", "file_size", "file_mtime_us", "sha256"]
    inputs = run.spark.createDataFrame(pa.Table.from_pandas(contents[columns], preserve_index=False))
    make = partial(read_audio, stage=STAGE, run_id=run.run_id)
    staged = run.warehouse.stage(
        inputs.repartition(2 * run.spark.sparkContext.defaultParallelism),
        make,
        [LIBRARY_ANALYSIS, LIBRARY_TRACKS],
        to_driver=[MANIFEST, QUARANTINE],
    )
    for table in (LIBRARY_ANALYSIS, LIBRARY_TRACKS):
        run.warehouse.merge(table, staged.files.get(table.name, []))
    read = staged.table(MANIFEST).to_pandas()
    outcomes = read.dropna(subset="sha256").set_index("sha256")
    manifest = holders[holders["sha256"].isin(outcomes.index)].copy()
    for column in ("status", "row_count", "reject_count"):
        manifest[column] = manifest["sha256"].map(outcomes[column])
    # a file that changed meanwhile says nothing of the others
    manifest = stack([manifest, read[read["sha256"].isna()]])
    rejected = _repeat(staged.table(QUARANTINE).to_pandas(), manifest)
    _record(run, manifest, pa.Table.from_pandas(rejected, arrow_schema(QUARANTINE), preserve_index=False), known)
    tracks = run.warehouse.look_into(
        LIBRARY_TRACKS, [file.path for file in staged.files.get(LIBRARY_TRACKS.name, [])], ["length_status"]
    ).to_pandas()
    run.count(tracks=len(tracks), flagged=int(tracks["length_status"].isin(["shorter", "longer"]).sum()))


def _repeat(rejected: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Quarantine rows of every file whose content was rejected, under its own name."""
    bad = manifest.loc[manifest["status"] == "quarantined", ["uri", "sha256"]].dropna()
    repeated = rejected.merge(bad, on="sha256", suffixes=("_read", ""))
    repeated["message"] = [
        message.replace(printable_name(local_path(read)), printable_name(local_path(uri)))
        for message, read, uri in zip(repeated["message"], repeated["uri_read"], repeated["uri"], strict=True)
    ]
    return stack([repeated, rejected[rejected["sha256"].isna()]])


def _record(run: Run, manifest: pd.DataFrame, rejected: pa.Table, known: pd.DataFrame) -> None:
    """Write the two books."""
    settle_unchanged(manifest, known)
    run.bad_inputs += int((manifest["status"] == "quarantined").sum())
    run.count(quarantined=len(rejected))
    looked_at = manifest["uri"][manifest["run_id"] == run.run_id]
    write_quarantine(run.warehouse, STAGE, rejected, looked_at, force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def main(argv: list[str] | None = None) -> int:
    """Run the job as the command line says."""
    return run_job(Job(STAGE, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
