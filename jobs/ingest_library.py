"""Ingest listeners' own music, their playlists and their listening histories into Delta tables.

Reads:  a local tree with one folder for each listener. A folder contains audio files (WAV, FLAC, Ogg, Opus, MP3, M4A,
        AAC, AIFF) and lists: playlists (M3U8, XSPF), collections (iTunes and rekordbox XML) and listening histories
        (ListenBrainz JSON lines, Last.fm CSV). Entries of lists are matched with library_tracks and msd_tracks.
Writes: library_tracks, library_analysis, library_copies, plays, unmatched_plays, manifest, quarantine.
Grain:  one track, however many listeners have it; one copy for each listener and track; one quarantine row for each
        bad file, and one for each of the first 1,000 bad lines of a list.
Rerun:  files whose size and modification time equal those in the manifest are skipped. Known content is not decoded
        again, unless its analysis is of a former version of reprise. A file with new tags or samples is a new track;
        the old track is deleted when its last copy is gone. If a file is deleted, its track is kept. A list is read and
        matched if it is new or changed, with --force, or if its listener has lost a track. A run that is killed at any
        point and started again writes the same rows as an uninterrupted run.

Files and folders whose names begin with a dot are skipped. Files with the suffixes .xml, .json, .csv and .tsv are also
skipped if they are not playlists, collections or histories.
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

from reprise.jobs._engine.command_line import UsageError, existing_location
from reprise.jobs._engine.listing import Listing
from reprise.jobs._engine.manifest import carry_over_unchanged, compare_with_manifest, write_manifest
from reprise.jobs._engine.quarantine import delete_removed_inputs, write_quarantine
from reprise.jobs._engine.run import Job, Run, run_job
from reprise.jobs._engine.warehouse.merging import concat
from reprise.jobs._libraries.copies import (
    AUDIO_SUFFIXES,
    LIST_SUFFIXES,
    delete_lost_copies,
    delete_orphans,
    find_analysed,
    write_copies,
)
from reprise.jobs._libraries.play_lists import ingest_lists
from reprise.lib.files import local_path, printable_name
from reprise.lib.playlists.listeners import ListenerFolders
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.audio_files import NO_LISTENER, analyse_audio_files, hash_files

JOB = "ingest_library"
_MSD_FILES_PER_AUDIO_FILE = 16
"""A batch has 1/16 as many files as a batch of `ingest_msd`, because an audio file takes a thousand times as long."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the job's own arguments."""
    parser.add_argument("--source", required=True, metavar="DIR", help="local folder with audio files and lists")
    parser.add_argument(
        "--user", metavar="NAME", help="owner of all files (default: each folder in DIR belongs to one listener)"
    )
    parser.add_argument("--force", action="store_true", help="read every file again, even when it is unchanged")


def ingest(run: Run) -> None:
    """Read new audio files in batches of limited size, then update the copies, then match the lists."""
    source = existing_location(run.args.source)
    if "://" in source:
        raise UsageError(f"--source {source} is not local: audio is read from local files, so copy or mount it")
    tree = ListenerFolders(Path(source).resolve().as_uri(), _listener(run.args.user))
    run.count(files=0, skipped=0, tracks=0, copies=0, duplicates=0, flagged=0, quarantined=0)
    run.count(lists_read=0, plays_matched=0, plays_unmatched=0)
    size = run.settings.files_per_task * run.spark.sparkContext.defaultParallelism
    with Listing(run.spark, source, (*AUDIO_SUFFIXES, *LIST_SUFFIXES)) as listing, run.progress("files") as progress:
        listeners: defaultdict[str, set[str]] = defaultdict(set)
        task = progress.add_task("", total=listing.count)
        for files in listing.chunks(size):
            for count in _ingest_audio(run, listing, _select_files(files, tree, listeners, are_lists=False)):
                progress.advance(task, count)
        lost = write_copies(run, listeners)
        delete_orphans(run.warehouse, lost)
        for files in listing.chunks(size):
            lists = _select_files(files, tree, listeners, are_lists=True)
            ingest_lists(run, tree, lists, listeners, lost)
            progress.advance(task, len(lists))
        delete_lost_copies(run.warehouse, lost)
        delete_removed_inputs(run.warehouse, JOB, listing)


def _listener(name: str | None) -> str | None:
    if name is None:
        return None
    name = unicodedata.normalize("NFC", name.strip())
    if not name or not name.isprintable():
        raise UsageError("--user is empty or contains unprintable characters: give a name of printable characters")
    return name


def _select_files(
    files: pa.Table, tree: ListenerFolders, listeners: dict[str, set[str]], *, are_lists: bool
) -> pa.Table:
    """Select the lists (with ``are_lists``) or the audio files among ``files``.

    Hidden files are left out. A file that is not in a listener's folder is marked as faulty. The folders of each
    listener are added to ``listeners``, in place.
    """
    rows = []
    for row in files.to_pylist():
        if row["uri"].lower().endswith(LIST_SUFFIXES) != are_lists or tree.is_hidden(row["uri"]):
            continue
        folder = tree.folder(row["uri"])
        if folder is None:
            if row["fault_kind"] is None:
                row |= {"fault_kind": "no_listener", "fault": NO_LISTENER}
        else:
            listeners[tree.listener(folder)].add(folder)
        rows.append(row)
    return pa.Table.from_pylist(rows, files.schema)


def _ingest_audio(run: Run, listing: Listing, files: pa.Table) -> Iterator[int]:
    """Hash new and changed files, and read those with new content. After each batch, yield the number of files done."""
    if not len(files):
        return
    pending = compare_with_manifest(run.warehouse, JOB, files, force=run.args.force)
    # read a file again if its track was deleted, e.g. by a later run for another listener, or if its analysis is of a
    # former version
    gone = (pending.done["status"] != "quarantined") & ~_are_known(run, pending.done["sha256"])
    pending = pending.reopen(gone)
    run.count(files=len(files), skipped=len(pending.done))
    run.inputs += len(files)
    run.bad_inputs += int((pending.done["status"] == "quarantined").sum())
    yield len(pending.done)
    if not len(pending.todo):
        return
    make = partial(hash_files, job=JOB, run_id=run.run_id)
    staged = run.warehouse.stage(listing.frame(run.spark, pending.todo), make, [], to_driver=[MANIFEST, QUARANTINE])
    hashed = staged.table(MANIFEST).to_pandas().sort_values("uri", ignore_index=True)
    was_bad = pending.known[pending.known["status"] == "quarantined"].set_index("uri")["sha256"]
    if not run.args.force:
        same = (hashed["status"] == "done") & (hashed["uri"].map(was_bad) == hashed["sha256"])
        hashed.loc[same, "status"] = "unchanged"
    new = hashed[(hashed["status"] == "done") & (run.args.force | ~_are_known(run, hashed["sha256"]))]
    _record(run, hashed[~hashed["uri"].isin(new["uri"])].copy(), staged.table(QUARANTINE), pending.known)
    yield len(hashed) - len(new)
    new_contents = new.drop_duplicates("sha256")
    size = (
        math.ceil(run.settings.files_per_task / _MSD_FILES_PER_AUDIO_FILE) * run.spark.sparkContext.defaultParallelism
    )
    for start in range(0, len(new_contents), size):
        some = new_contents[start : start + size]
        holders = new[new["sha256"].isin(some["sha256"])]
        _read(run, some, holders, pending.known)
        yield len(holders)


def _are_known(run: Run, hashes: pd.Series) -> pd.Series:
    """Return a boolean Series: for each of ``hashes``, whether its current analysis is stored. NULL gives False."""
    return hashes.isin(find_analysed(run.warehouse, set(hashes.dropna())))


def _read(run: Run, new_contents: pd.DataFrame, holders: pd.DataFrame, known: pd.DataFrame) -> None:
    """Read the files in ``new_contents``, one per distinct content, and write the batch.

    ``holders`` contains all files with these contents. Their manifest rows are written last.
    """
    columns = ["uri", "file_size", "file_mtime_us", "sha256"]
    inputs = run.spark.createDataFrame(pa.Table.from_pandas(new_contents[columns], preserve_index=False))
    make = partial(analyse_audio_files, job=JOB, run_id=run.run_id)
    staged = run.warehouse.stage(
        inputs.repartition(2 * run.spark.sparkContext.defaultParallelism),
        make,
        [LIBRARY_ANALYSIS, LIBRARY_TRACKS],
        to_driver=[MANIFEST, QUARANTINE],
    )
    # the analysis last: its version says that both rows are of this version
    for table in (LIBRARY_TRACKS, LIBRARY_ANALYSIS):
        run.warehouse.merge(table, staged.files.get(table.name, []))
    read = staged.table(MANIFEST).to_pandas()
    outcomes = read.dropna(subset="sha256").set_index("sha256")
    manifest = holders[holders["sha256"].isin(outcomes.index)].copy()
    for column in ("status", "row_count", "reject_count"):
        manifest[column] = manifest["sha256"].map(outcomes[column])
    # A file that changed during the run has no sha256. Its outcome applies only to this file, not to files that have
    # the content that it had before.
    manifest = concat([manifest, read[read["sha256"].isna()]])
    rejected = _repeat(staged.table(QUARANTINE).to_pandas(), manifest)
    _record(run, manifest, pa.Table.from_pandas(rejected, arrow_schema(QUARANTINE), preserve_index=False), known)
    tracks = run.warehouse.read_columns(
        LIBRARY_TRACKS, [file.path for file in staged.files.get(LIBRARY_TRACKS.name, [])], ["length_status"]
    ).to_pandas()
    run.count(tracks=len(tracks), flagged=int(tracks["length_status"].isin(["shorter", "longer"]).sum()))


def _repeat(rejected: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """Return a quarantine row for each file with rejected content. The message contains the name of that file.

    Rows of ``rejected`` without ``sha256`` are kept unchanged.
    """
    bad = manifest.loc[manifest["status"] == "quarantined", ["uri", "sha256"]].dropna()
    repeated = rejected.merge(bad, on="sha256", suffixes=("_read", ""))
    repeated["message"] = [
        message.replace(printable_name(local_path(read)), printable_name(local_path(uri)))
        for message, read, uri in zip(repeated["message"], repeated["uri_read"], repeated["uri"], strict=True)
    ]
    return concat([repeated, rejected[rejected["sha256"].isna()]])


def _record(run: Run, manifest: pd.DataFrame, rejected: pa.Table, known: pd.DataFrame) -> None:
    """Write the quarantine rows and then the manifest rows, and count the rejected files."""
    carry_over_unchanged(manifest, known)
    run.bad_inputs += int((manifest["status"] == "quarantined").sum())
    run.count(quarantined=len(rejected))
    read = manifest["uri"][manifest["run_id"] == run.run_id]
    write_quarantine(run.warehouse, JOB, rejected, read, force=run.args.force)
    write_manifest(run.warehouse, manifest, known)


def main(argv: list[str] | None = None) -> int:
    """Run the job with the command line ``argv`` and return the exit code."""
    return run_job(Job(JOB, __doc__ or "", add_arguments, ingest), argv)


if __name__ == "__main__":
    sys.exit(main())
