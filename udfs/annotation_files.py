"""Annotation files of the Million Song Dataset, a batch of them at a time, into rows of the tables they fill."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from reprise.lib import annotations
from reprise.lib.errors import InputError
from reprise.lib.files import local_path, sha256_of
from reprise.lib.tables import MANIFEST, QUARANTINE, TABLES
from reprise.udfs.arrow import arrow_schema, to_batch


def source_name(uri: str) -> str:
    """What the ``source`` columns call a file: its name without .gz, .txt, .cls or .tsv."""
    return re.sub(r"(\.(txt|cls|tsv|gz))+$", "", local_path(uri).name, flags=re.IGNORECASE)


def read_annotation_files(
    batches: Iterable[pa.RecordBatch], *, stage: str, run_id: str, force: bool
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read the files that ``batches`` list, as `reprise.udfs.msd_files.read_files` does with MSD files.

    A line that cannot be used becomes a quarantine row whose uri ends in ``#L`` and the line's number; the rest of its
    file goes on. A file that cannot be used at all becomes one quarantine row.
    """
    for batch in batches:
        for listed in batch.to_pylist():
            for table, rows in _read_file(listed, {"stage": stage, "run_id": run_id}, force=force):
                yield table, to_batch(arrow_schema(TABLES[table]), rows)


def _read_file(
    listed: dict[str, Any], provenance: dict[str, str], *, force: bool
) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    uri, n_rows, n_rejects, sha256, status = listed["uri"], 0, 0, None, "done"
    try:
        if listed["fault"]:
            raise InputError("not_a_file", listed["fault"])
        sha256 = _sha256(listed)
        if sha256 == listed["known_sha256"] and not force:
            status = "unchanged"
        else:
            for table, rows in _read_rows(listed):
                if table == QUARANTINE.name:
                    n_rejects += len(rows["uri"])
                    rows["sha256"] = [sha256] * len(rows["uri"])
                else:
                    n_rows += len(rows["source"])
                count = len(rows["uri" if table == QUARANTINE.name else "source"])
                yield table, rows | {name: [value] * count for name, value in provenance.items()}
    except InputError as error:
        status, n_rejects = "quarantined", 1
        row = {"uri": uri, "error_class": error.kind, "message": error.message, "sha256": sha256, "attempts": 1}
        yield QUARANTINE.name, {name: [value] for name, value in (row | provenance).items()}
    row = {name: listed[name] for name in ("uri", "file_size", "file_mtime_us")}
    row |= {"status": status, "sha256": sha256, "row_count": n_rows, "reject_count": n_rejects}
    yield MANIFEST.name, {name: [value] for name, value in (row | provenance).items()}


def _read_rows(listed: dict[str, Any]) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    content = listed.get("content") or local_path(listed["uri"])
    with annotations.open_annotation(content) as stream:
        format_ = annotations.detect(stream)
    source = source_name(listed["uri"])
    with annotations.open_annotation(content) as stream:
        for chunk in format_.read(stream, source=source):
            count = len(next(iter(chunk.rows.values())))
            if count:
                yield format_.table, chunk.rows | {"source": [source] * count}
            if chunk.rejects:
                yield (
                    QUARANTINE.name,
                    {
                        "uri": [f"{listed['uri']}#L{reject.line}" for reject in chunk.rejects],
                        "error_class": [reject.kind for reject in chunk.rejects],
                        "message": [f"{reject.message}: {reject.text!r}" for reject in chunk.rejects],
                        "attempts": [1] * len(chunk.rejects),
                    },
                )


def _sha256(listed: dict[str, Any]) -> str:
    if listed.get("content") is not None:
        return hashlib.sha256(listed["content"]).hexdigest()
    return sha256_of(local_path(listed["uri"]))
