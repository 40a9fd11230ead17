"""Read Million Song Dataset files in batches and convert them to table rows."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name, read_regular, sha256_of
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS
from reprise.udfs.ingest_rows import IngestRows, check_listed

SONGS_PER_BATCH = 64
"""Number of songs in one row group. A row group has about 12 MB."""

WHOLE_FILE_BYTES = 64 << 20
"""Maximum size of a local file that is read into memory as a whole. A larger file, which contains many songs, is opened
by its path, and one slice of its songs is in memory at a time."""

CRASHED = "its reader crashed or hung: the file is damaged or hostile, replace or remove it"
"""Message for a file for which each attempt crashed the worker or made it hang."""

_TRACK_FILE = re.compile(r"TR[A-Z0-9]{16}\.h5")
_TABLES = (MSD_ANALYSIS, MSD_TRACKS)
_COLUMNS = {t.name: [c.name for c in t.columns if c.name in msd.FIELDS] for t in _TABLES}
_WANTED = {name for names in _COLUMNS.values() for name in names}


def read_files(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str, force: bool
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read the listed files and convert them to rows of four tables.

    Parameters
    ----------
    batches
        Columns ``uri``, ``file_size``, ``file_mtime_us``, ``fault_kind`` and ``fault`` (kind and message of a fault
        found by the listing, or NULL), and ``known_sha256`` (checksum of the file when it was last read, or NULL). For
        a source that is not local, the column ``content`` contains the bytes of the file, which Spark has read.
    job, run_id
        Values of the columns ``stage`` and ``run_id``.
    force
        Convert a file even if its content has not changed.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: tracks and analyses of each valid file that has changed, one manifest row for each file,
        and one quarantine row for each invalid file. If one song of a file is invalid, no song of the file is used.
    """
    rows = IngestRows(_TABLES, job=job, run_id=run_id, batch_size=SONGS_PER_BATCH)
    for batch in batches:
        for listed in batch.to_pylist():
            yield from _read_file(rows, listed, force=force)
    yield from rows.flush()


def _read_file(rows: IngestRows, listed: dict[str, Any], *, force: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
    sha256, name = None, printable_name(local_path(listed["uri"]))
    try:
        if listed["fault_kind"] != "crashed":
            check_listed(listed)
        source, sha256 = _content(listed)
        if listed["fault_kind"]:
            # later runs find this hash in the manifest and do not read the file again
            raise InputError("crashed", f"{name}: {listed['fault']}")
        if sha256 == listed["known_sha256"] and not force:
            rows.add_manifest(listed, sha256, "unchanged", 0)
            return
        with msd.open_msd(source, name=name) as file:
            slices = [(i, min(i + SONGS_PER_BATCH, file.n_songs)) for i in range(0, file.n_songs, SONGS_PER_BATCH)]
            if len(slices) > 1:
                for start, stop in slices:  # check all slices first: one invalid song excludes the whole file
                    _read_slice(file, start, stop, name)
            for start, stop in slices:
                songs = _read_slice(file, start, stop, name)
                for table in _TABLES:
                    columns = {name: songs[name] for name in _COLUMNS[table.name]}
                    rows.add_rows(table, columns, uri=listed["uri"], sha256=sha256)
                if len(slices) > 1:
                    yield from rows.flush()
            rows.add_manifest(listed, sha256, "done", file.n_songs)
    except InputError as error:
        rows.add_quarantine(listed, sha256, error)
    if rows.is_full():
        yield from rows.flush()


def _content(listed: dict[str, Any]) -> tuple[bytes | Path, str]:
    """Return the content of a listed file, or the path of a large file, and the SHA-256 of the content."""
    content = listed.get("content")
    if content is None:
        if urlsplit(listed["uri"]).scheme != "file":
            name = printable_name(local_path(listed["uri"]))
            raise InputError("unreadable", f"{name} was deleted after it was listed: run the job again")
        path = local_path(listed["uri"])
        if listed["file_size"] > WHOLE_FILE_BYTES:
            return path, sha256_of(path)
        content = read_regular(path)
    return content, hashlib.sha256(content).hexdigest()


def _read_slice(file: msd.MsdFile, start: int, stop: int, name: str) -> dict[str, list[Any]]:
    songs = file.read(_WANTED, start, stop)
    for track_id in songs["track_id"]:
        msd.track_path(track_id or "")
    if file.n_songs == 1 and _TRACK_FILE.fullmatch(name) and name != f"{songs['track_id'][0]}.h5":
        raise InputError("id_mismatch", f"{name} contains another track, {songs['track_id'][0]}: rename or replace it")
    return songs
