"""Million Song Dataset files, a batch of them at a time, into rows of the tables they fill."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name, read_regular, sha256_of
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema, to_batch

SONGS_A_BATCH = 64
"""Songs held before they are written as one row group: about 12 MB."""

WHOLE_FILE_BYTES = 64 << 20
"""Files up to this size are read at once and hashed in memory; larger ones, aggregates, are read in slices."""

CRASHED = "its reader crashed or hung: the file is damaged or hostile, replace or remove it"
"""Fault of a file that ended its worker each time."""

_TRACK_FILE = re.compile(r"TR[A-Z0-9]{16}\.h5")
_TABLES = (MSD_ANALYSIS, MSD_TRACKS, MANIFEST, QUARANTINE)
_COLUMNS = {t.name: [c.name for c in t.columns if c.name in msd.FIELDS] for t in (MSD_TRACKS, MSD_ANALYSIS)}
_WANTED = {name for names in _COLUMNS.values() for name in names}


def read_files(
    batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str, force: bool
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read the files that ``batches`` list and give the rows of four tables.

    Parameters
    ----------
    batches
        Columns ``uri``, ``file_size``, ``file_mtime_us``, ``fault`` (why the listing says it is no file, or NULL),
        ``known_sha256`` (of the last time it was read, or NULL) and, where the driver's file system had to read it,
        ``content``.
    stage, run_id
        For the provenance columns.
    force
        Read a file again although its content is the known one.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: tracks and analysis of each good file, one manifest row a file, one quarantine row a bad
        one. A file gives either all of its songs or none.
    """
    rows = _Rows(stage, run_id)
    for batch in batches:
        for listed in batch.to_pylist():
            yield from _read_file(rows, listed, force=force)
    yield from rows.flush()


def _read_file(rows: "_Rows", listed: dict[str, Any], *, force: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
    sha256, name = None, printable_name(local_path(listed["uri"]))
    try:
        if listed["fault"] and listed["fault"] != CRASHED:
            raise InputError("not_a_file", listed["fault"])
        source, sha256 = _content(listed)
        if listed["fault"]:
            # with its hash in the manifest it is not tried again at every run
            raise InputError("crashed", f"{name}: {CRASHED}")
        if sha256 == listed["known_sha256"] and not force:
            rows.add_manifest(listed, sha256, "unchanged", 0)
            return
        with msd.open_msd(source, name=name) as file:
            slices = [(i, min(i + SONGS_A_BATCH, file.n_songs)) for i in range(0, file.n_songs, SONGS_A_BATCH)]
            if len(slices) > 1:
                for start, stop in slices:  # a bad song anywhere must keep out the good ones before it
                    _read_slice(file, start, stop, name)
            for start, stop in slices:
                rows.add_songs(listed["uri"], sha256, _read_slice(file, start, stop, name))
                if len(slices) > 1:
                    yield from rows.flush()
            rows.add_manifest(listed, sha256, "done", file.n_songs)
    except InputError as error:
        rows.add_quarantine(listed, sha256, error)
    if rows.is_full():
        yield from rows.flush()


def _content(listed: dict[str, Any]) -> tuple[bytes | Path, str]:
    """Content of a listed file, or its path where it is large, and its SHA-256."""
    content = listed.get("content")
    if content is None:
        if urlsplit(listed["uri"]).scheme != "file":
            raise InputError("unreadable", "is gone since it was listed")
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
        raise InputError("id_mismatch", f"named {name} but holds track {songs['track_id'][0]}: rename or replace it")
    return songs


class _Rows:
    """Columns of the four tables, filled file by file."""

    def __init__(self, stage: str, run_id: str) -> None:
        self._stage, self._run_id = stage, run_id
        self._columns: dict[str, dict[str, list[Any]]] = {t.name: defaultdict(list) for t in _TABLES}

    def add_songs(self, uri: str, sha256: str, songs: dict[str, list[Any]]) -> None:
        """Take the songs of one file into ``msd_tracks`` and ``msd_analysis``."""
        n_songs = len(songs["track_id"])
        provenance = {"uri": uri, "sha256": sha256, "run_id": self._run_id}
        for table, names in _COLUMNS.items():
            columns = self._columns[table]
            for name in names:
                columns[name].extend(songs[name])
            for name, value in provenance.items():
                columns[name].extend([value] * n_songs)

    def add_manifest(self, listed: dict[str, Any], sha256: str | None, status: str, n_songs: int) -> None:
        """Record what became of one file."""
        self._add(
            MANIFEST,
            uri=listed["uri"],
            stage=self._stage,
            status=status,
            file_size=listed["file_size"],
            file_mtime_us=listed["file_mtime_us"],
            sha256=sha256,
            row_count=n_songs,
            reject_count=int(status == "quarantined"),
            run_id=self._run_id,
        )

    def add_quarantine(self, listed: dict[str, Any], sha256: str | None, error: InputError) -> None:
        """Record why one file is rejected."""
        self._add(
            QUARANTINE,
            uri=listed["uri"],
            stage=self._stage,
            error_class=error.kind,
            message=error.message,
            sha256=sha256,
            attempts=1,
            run_id=self._run_id,
        )
        self.add_manifest(listed, sha256, "quarantined", 0)

    def _add(self, table: Table, **values: Any) -> None:
        for name, value in values.items():
            self._columns[table.name][name].append(value)

    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return len(self._columns[MANIFEST.name]["uri"]) >= SONGS_A_BATCH

    def flush(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Give what is held, songs before the manifest rows that vouch for them, and start again."""
        for table in _TABLES:
            if columns := self._columns[table.name]:
                self._columns[table.name] = defaultdict(list)
                yield table.name, to_batch(arrow_schema(table), columns)
