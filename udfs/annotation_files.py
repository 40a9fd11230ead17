"""Read annotation files of the Million Song Dataset in batches and convert them to table rows."""

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
from reprise.udfs.ingest_rows import check_listed, manifest_row, quarantine_row


def source_name(uri: str) -> str:
    """Return the file name without its suffixes .gz, .txt, .cls and .tsv: the value of the ``source`` columns."""
    return re.sub(r"(\.(txt|cls|tsv|gz))+$", "", local_path(uri).name, flags=re.IGNORECASE)


def read_annotation_files(
    batches: Iterable[pa.RecordBatch], *, job: str, run_id: str, force: bool
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read the listed files and convert their lines to table rows.

    The arguments are as in `reprise.udfs.msd_files.read_files`.

    Yields
    ------
    tuple of str and pyarrow.RecordBatch
        Table name and rows: rows of the annotation tables for each changed file, one manifest row for each file, and
        one quarantine row for each invalid line and for each file that cannot be read. The ``uri`` of an invalid line
        ends in ``#L`` and the line number; the valid lines of its file are used.
    """
    for batch in batches:
        for listed in batch.to_pylist():
            yield from _read_file(listed, job, run_id, force=force)


def _read_file(listed: dict[str, Any], job: str, run_id: str, *, force: bool) -> Iterator[tuple[str, pa.RecordBatch]]:
    n_rows, n_rejects, sha256, status = 0, 0, None, "done"
    try:
        check_listed(listed)
        sha256 = _sha256(listed)
        if sha256 == listed["known_sha256"] and not force:
            status = "unchanged"
        else:
            for table, columns, rejects in _read_chunks(listed):
                count = len(columns["source"])
                if count:
                    yield table, to_batch(arrow_schema(TABLES[table]), {**columns, "run_id": [run_id] * count})
                if rejects:
                    rows = [
                        quarantine_row(f"{listed['uri']}#L{line}", error, job=job, run_id=run_id, sha256=sha256)
                        for line, error in rejects
                    ]
                    yield QUARANTINE.name, pa.RecordBatch.from_pylist(rows, arrow_schema(QUARANTINE))
                n_rows += count
                n_rejects += len(rejects)
    except InputError as error:
        status, n_rejects = "quarantined", 1
        row = quarantine_row(listed["uri"], error, job=job, run_id=run_id, sha256=sha256)
        yield QUARANTINE.name, pa.RecordBatch.from_pylist([row], arrow_schema(QUARANTINE))
    row = manifest_row(
        listed, job=job, run_id=run_id, status=status, sha256=sha256, row_count=n_rows, reject_count=n_rejects
    )
    yield MANIFEST.name, pa.RecordBatch.from_pylist([row], arrow_schema(MANIFEST))


def _read_chunks(listed: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[tuple[int, InputError]]]]:
    """For each chunk, yield the table name, the columns of its valid lines, and a list of its rejected lines.

    The list contains a tuple for each rejected line: its line number and its InputError.
    """
    content = listed.get("content") or local_path(listed["uri"])
    with annotations.open_annotation(content) as stream:
        format_ = annotations.detect(stream)
    source = source_name(listed["uri"])
    with annotations.open_annotation(content) as stream:
        for chunk in format_.read(stream, source=source):
            count = len(next(iter(chunk.rows.values())))
            rejects = [
                (reject.line, InputError(reject.kind, f"{reject.message}: {reject.text!r}")) for reject in chunk.rejects
            ]
            yield format_.table, {**chunk.rows, "source": [source] * count}, rejects


def _sha256(listed: dict[str, Any]) -> str:
    if listed.get("content") is not None:
        return hashlib.sha256(listed["content"]).hexdigest()
    return sha256_of(local_path(listed["uri"]))
