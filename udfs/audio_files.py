"""Audio files of listeners' libraries, a batch of them at a time: hashed, and those that are new read and analysed."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.analysis.analyser import analyse
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name, sha256_of
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.numba_cache import compiling
from reprise.udfs.sandbox import open_audio

TRACKS_A_BATCH = 32
"""Tracks held before they are written as one row group: about 3 MB."""

NO_LISTENER = "lies in no folder of a listener: move it into one, or name its listener with --user"
"""Fault of a file of which it is not known whose it is."""

_NAMES = [c.name for c in LIBRARY_TRACKS.columns]
_SCALARS = _NAMES[_NAMES.index("tempo") : _NAMES.index("analysis_sample_rate") + 1]
_ARRAYS = tuple(c.name for c in LIBRARY_ANALYSIS.columns if c.type == "array<float>")
_TABLES = (LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST, QUARANTINE)


def library_track_id(sha256: str) -> str:
    """Id of the library track with this content."""
    return f"LB{sha256[:16]}"


def refuse_fault(listed: Mapping[str, Any]) -> None:
    """Raise InputError when the listing says that a file is none, or nobody's."""
    if listed["fault"]:
        raise InputError("no_listener" if listed["fault"] == NO_LISTENER else "not_a_file", listed["fault"])


def hash_files(batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Hash the files that ``batches`` list (columns of a listing).

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        One manifest row a file, as if it were well; of one that cannot be read it says so, beside a quarantine row.
    """
    rows = _Rows(stage, run_id)
    for batch in batches:
        for listed in batch.to_pylist():
            try:
                refuse_fault(listed)
                rows.add_manifest(listed, sha256_of(local_path(listed["uri"])), "done")
            except InputError as error:
                rows.add_quarantine(listed, None, error)
            yield from rows.flush()  # each at once: large files on a slow disk take long enough to look like a hang


def read_audio(batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Decode, tag and analyse the files in ``batches``: columns of a listing, and ``sha256``.

    The rows of tracks are a function of the content, save that a file without a title tag gives its name.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: a track and its analysis of each good file, one manifest row a file, one quarantine row a
        bad one.
    """
    rows = _Rows(stage, run_id)
    sign = MANIFEST.name, pa.RecordBatch.from_pylist([], arrow_schema(MANIFEST))
    for batch in batches:
        for listed in batch.to_pylist():
            try:
                found = yield from run_with_heartbeat(sign, _read_file, local_path(listed["uri"]), listed["sha256"])
            except InputError as error:
                known = None if error.kind == "changed" else listed["sha256"]
                rows.add_quarantine(listed, known, error)
            else:
                rows.add_track(listed, *found)
            if rows.is_full():
                yield from rows.flush()
    yield from rows.flush()


def _read_file(path: Path, sha256: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values of one file's row of ``library_tracks`` and of ``library_analysis``."""
    audio, signal = open_audio(path, sha256)
    with compiling("analysis"):
        found = analyse(signal)
    tags = asdict(audio.tags)
    track = {name: found[name] for name in _SCALARS} | tags
    track["title"] = tags["title"] or unicodedata.normalize("NFC", Path(printable_name(path)).stem)
    track |= {name: getattr(audio.decoded, name) for name in ("codec", "sample_rate", "channel_count", "length_status")}
    track |= {"duration": audio.decoded.duration_s, "declared_duration": audio.decoded.declared_duration_s}
    return track, {name: np.asarray(found[name], np.float32) for name in _ARRAYS}


class _Rows:
    """Columns of the four tables, filled file by file."""

    def __init__(self, stage: str, run_id: str) -> None:
        self._stage, self._run_id = stage, run_id
        self._columns: dict[str, dict[str, list[Any]]] = {t.name: defaultdict(list) for t in _TABLES}

    def add_track(self, listed: dict[str, Any], track: dict[str, Any], analysis: dict[str, Any]) -> None:
        """Take one track in, and what vouches for it."""
        identity = {"track_id": library_track_id(listed["sha256"]), "sha256": listed["sha256"]}
        self._add(LIBRARY_ANALYSIS, **identity, **analysis)
        self._add(LIBRARY_TRACKS, **identity, **track)
        self.add_manifest(listed, listed["sha256"], "done")

    def add_manifest(self, listed: dict[str, Any], sha256: str | None, status: str) -> None:
        """Record what became of one file."""
        same = {name: listed[name] for name in ("uri", "file_size", "file_mtime_us")}
        counts = {"row_count": int(status == "done"), "reject_count": int(status != "done")}
        self._add(MANIFEST, **same, **counts, stage=self._stage, status=status, sha256=sha256)

    def add_quarantine(self, listed: dict[str, Any], sha256: str | None, error: InputError) -> None:
        """Record why one file is rejected."""
        told = {"error_class": error.kind, "message": error.message, "sha256": sha256, "attempts": 1}
        self._add(QUARANTINE, uri=listed["uri"], stage=self._stage, **told)
        self.add_manifest(listed, sha256, "quarantined")

    def _add(self, table: Table, **values: Any) -> None:
        for name, value in (values | {"run_id": self._run_id}).items():
            self._columns[table.name][name].append(value)

    def is_full(self) -> bool:
        """Whether it is time to flush."""
        return len(self._columns[MANIFEST.name]["uri"]) >= TRACKS_A_BATCH

    def flush(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Give what is held, tracks before the manifest rows that vouch for them, and start again."""
        for table in _TABLES:
            if columns := self._columns[table.name]:
                self._columns[table.name] = defaultdict(list)
                yield table.name, to_batch(arrow_schema(table), columns)
