"""Separate library tracks into stems, from batches of audio files to FLAC files and rows."""

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from reprise.lib.arrays import Float32Array
from reprise.lib.covers.stems import Stem, compile_meter, encode_stem, make_stems
from reprise.lib.errors import InputError
from reprise.lib.files import replace_file
from reprise.lib.nets.separators import load_separator
from reprise.lib.tables import COVER_STEMS, LIBRARY_TRACKS, QUARANTINE, row_uri
from reprise.udfs.arrow import arrow_schema, to_batch
from reprise.udfs.heartbeat import run_with_heartbeat
from reprise.udfs.ingest_rows import quarantine_row
from reprise.udfs.library_copies import read_copies
from reprise.udfs.model_cache import load_artifact
from reprise.udfs.numba_cache import compile_lock
from reprise.udfs.sandbox import local_folder
from reprise.udfs.staging import filesystem
from reprise.udfs.stem_encoders import stem_encoders

ARTIFACTS = "_artifacts/stems"
"""Folder of the stems below the warehouse root. The name of a file is the SHA-256 of its decoded samples."""


def separate_tracks(
    batches: Iterable[pa.RecordBatch],
    *,
    root: str,
    artifact: str,
    artifact_sha256: str,
    find_device: Callable[[], str],
    threads: int,
    model_id: str,
    job: str,
    run_id: str,
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Separate library tracks into stems, and write the stems below the warehouse root.

    Parameters
    ----------
    batches
        Columns ``track_id``, ``sha256`` and ``uris`` (the URIs of the track's copies).
    root
        Warehouse root.
    artifact, artifact_sha256
        URI and checksum of the separator, see `reprise.lib.nets.separators.load_separator`.
    find_device
        Function that returns the device of this task, e.g. ``cpu`` or ``cuda:1``.
    threads
        Number of threads that encode stems.
    model_id, job, run_id
        Values of the columns ``separator``, ``stage`` and ``run_id``.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: the stems of each readable track, or one quarantine row for each unreadable track. Empty
        quarantine batches serve as heartbeats.
    """
    # one separator in a worker process, which moves to the device of each task
    separator = load_artifact(artifact, artifact_sha256, load_separator).to(find_device())
    empty_batch = QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {"uri": []})

    def open_mix(track: Mapping[str, Any]) -> tuple[str, Float32Array]:
        samples = read_copies(track, np.asanyarray, sample_rate=separator.sample_rate, channel_count=2)
        return track["track_id"], samples

    with compile_lock("loudness"):
        compile_meter()
    with tempfile.TemporaryDirectory(prefix="stems-", dir=local_folder()) as temporary:
        tracks = chain.from_iterable(batch.to_pylist() for batch in batches)
        made = make_stems(
            separator,
            tracks,
            open_mix,
            folder=lambda track: Path(temporary, track["track_id"]),
            temporary=Path(temporary),
            threads=threads,
            encode=stem_encoders(threads).encode if separator.device != "cpu" else encode_stem,
        )
        while found := (yield from run_with_heartbeat(empty_batch, next, made, None)):
            track, stems = found
            if isinstance(stems, InputError):
                uri = row_uri(LIBRARY_TRACKS.name, track["track_id"])
                row = quarantine_row(uri, stems, job=job, run_id=run_id, sha256=track["sha256"])
                yield QUARANTINE.name, to_batch(arrow_schema(QUARANTINE), {name: [row[name]] for name in row})
            else:
                artifacts = [publish(stem.path, f"{ARTIFACTS}/{stem.samples_sha256}.flac", root) for stem in stems]
                shutil.rmtree(stems[0].path.parent)
                yield COVER_STEMS.name, _to_rows(track, stems, artifacts, model_id, run_id)


def publish(path: Path, artifact: str, root: str) -> str:
    """Copy a local file to a path below the warehouse root, and return that path. It gets its name when complete."""
    fs, place = filesystem(f"{root}/{artifact}")
    fs.create_dir(place.rpartition("/")[0], recursive=True)
    unfinished = f"{place}.{uuid.uuid4()}"
    with path.open("rb") as source, fs.open_output_stream(unfinished) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    fs.move(unfinished, place)
    return artifact


def copy_artifact(root: str, artifact: str, path: Path) -> None:
    """Copy a file below the warehouse root to a local path."""
    fs, place = filesystem(f"{root}/{artifact}")
    with fs.open_input_stream(place) as source, replace_file(path) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _to_rows(
    track: Mapping[str, Any], stems: list[Stem], artifacts: list[str], model_id: str, run_id: str
) -> pa.RecordBatch:
    columns = {
        "track_id": [track["track_id"]] * len(stems),
        "separator": [model_id] * len(stems),
        "stem": [stem.name for stem in stems],
        "sha256": [track["sha256"]] * len(stems),
        "artifact": artifacts,
        "samples_sha256": [stem.samples_sha256 for stem in stems],
        "sample_rate": [stem.sample_rate for stem in stems],
        "duration": [stem.frame_count / stem.sample_rate for stem in stems],
        "gain_db": [stem.gain_db for stem in stems],
        "loudness_lufs": [stem.loudness_lufs for stem in stems],
        "true_peak_dbtp": [stem.true_peak_dbtp for stem in stems],
        "activity": [stem.activity for stem in stems],
        "run_id": [run_id] * len(stems),
    }
    return to_batch(arrow_schema(COVER_STEMS), columns)
