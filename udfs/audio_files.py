"""Hash and analyse audio files of listeners' libraries in batches."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.analysis.analyser import VERSION, analyse
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, printable_name, sha256_of
from reprise.lib.tables import LIBRARY_ANALYSIS, LIBRARY_TRACKS, MANIFEST
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.ingest_rows import IngestRows, check_listed
from reprise.udfs.numba_cache import compile_lock
from reprise.udfs.sandbox import open_audio

TRACKS_PER_BATCH = 32
"""Number of tracks in one row group. A row group has about 3 MB."""

NO_LISTENER = "the file is not in a listener's folder: move it into one, or name its listener with --user"
"""Message for a file whose listener is unknown."""

_NAMES = [c.name for c in LIBRARY_TRACKS.columns]
_SCALARS = _NAMES[_NAMES.index("tempo") : _NAMES.index("analysis_sample_rate") + 1]
_ARRAYS = tuple(c.name for c in LIBRARY_ANALYSIS.columns if c.type == "array<float>")
_TABLES = (LIBRARY_ANALYSIS, LIBRARY_TRACKS)


def library_track_id(sha256: str) -> str:
    """Return the track id of a library's audio file with the checksum ``sha256``."""
    return f"LB{sha256[:16]}"


def analysis_sha256(sha256: str) -> str:
    """Return the ``sha256`` of a row of ``library_analysis``: a hash of the audio file's ``sha256`` and `VERSION`.

    With a new version, the hash changes. So jobs that read analyses compute their rows again.
    """
    return hashlib.sha256(f"{sha256} {VERSION}".encode()).hexdigest()


def hash_files(batches: Iterable[pa.RecordBatch], *, job: str, run_id: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Hash the listed files. The batches have the columns of a listing.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows. Each file gets one manifest row. Its status is ``quarantined`` if the listing contains a
        fault for the file or if the file cannot be read, otherwise ``done``. Each quarantined file also gets one
        quarantine row.
    """
    rows = IngestRows(_TABLES, job=job, run_id=run_id, batch_size=TRACKS_PER_BATCH)
    for batch in batches:
        for listed in batch.to_pylist():
            try:
                check_listed(listed)
                rows.add_manifest(listed, sha256_of(local_path(listed["uri"])), "done", 1)
            except InputError as error:
                rows.add_quarantine(listed, None, error)
            yield from rows.flush()  # after each file: Spark kills a worker that sends nothing for minutes


def analyse_audio_files(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Decode and analyse the listed files, and read their tags. The batches have the listing's columns and ``sha256``.

    The rows of a track depend only on the file's content, with one exception: if the title tag is missing, the title is
    the file name without its suffix.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: one track and its analysis for each valid file, one manifest row for each file, and one
        quarantine row for each invalid file. Empty manifest batches serve as heartbeats during a long file.
    """
    rows = IngestRows(_TABLES, job=job, run_id=run_id, batch_size=TRACKS_PER_BATCH)
    empty_batch = MANIFEST.name, pa.RecordBatch.from_pylist([], arrow_schema(MANIFEST))
    for batch in batches:
        for listed in batch.to_pylist():
            sha256 = listed["sha256"]
            try:
                found = yield from run_with_heartbeat(empty_batch, _analyse_file, local_path(listed["uri"]), sha256)
            except InputError as error:
                known = None if error.kind == "changed" else sha256
                rows.add_quarantine(listed, known, error)
            else:
                hashes = sha256, analysis_sha256(sha256)
                for table, row, content in zip((LIBRARY_TRACKS, LIBRARY_ANALYSIS), found, hashes, strict=True):
                    columns = {name: [value] for name, value in row.items()}
                    rows.add_rows(table, columns, track_id=library_track_id(sha256), sha256=content)
                rows.add_manifest(listed, sha256, "done", 1)
            if rows.is_full():
                yield from rows.flush()
    yield from rows.flush()


def _analyse_file(path: Path, sha256: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two rows for one file: its row of ``library_tracks`` and its row of ``library_analysis``."""
    audio, signal = open_audio(path, sha256)
    with compile_lock("analysis"):
        found = analyse(signal)
    tags = asdict(audio.tags)
    track = {name: found[name] for name in _SCALARS} | tags
    track["title"] = tags["title"] or unicodedata.normalize("NFC", Path(printable_name(path)).stem)
    track |= {name: getattr(audio.decoded, name) for name in ("codec", "sample_rate", "channel_count", "length_status")}
    track |= {"duration": audio.decoded.duration_s, "declared_duration": audio.decoded.declared_duration_s}
    return track, {name: np.asarray(found[name], np.float32) for name in _ARRAYS}
