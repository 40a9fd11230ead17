"""List the input files below a local folder or a Hadoop path. The list is stored in a temporary file, not in memory."""

import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import broadcast, unix_micros

from reprise.jobs._engine.command_line import UsageError
from reprise.lib.files import printable_name

SCHEMA = pa.schema(
    [
        ("uri", pa.string()),
        ("file_size", pa.int64()),
        ("file_mtime_us", pa.int64()),
        ("fault_kind", pa.string()),
        ("fault", pa.string()),
    ]
)
"""Columns of a listing. ``fault_kind`` and ``fault`` (a message) are NULL if the listing found no fault."""
Listed = tuple[str, int, int, str | None, str | None]

_ROWS = 8192
_GLOB = str.maketrans({c: f"\\{c}" for c in "{}[]*?\\"})


class Listing:
    """Files below a source in a fixed order. The list is stored in a temporary file (100 MB for a million files).

    An entry that cannot be used, e.g. a link that points outside a local source, is listed with its fault. A listing is
    a context manager. Its exit deletes the temporary file.

    Parameters
    ----------
    spark
        Spark session, used to list a source that is not local.
    source
        Folder or file: a local path, or a URI with ``://``, which Hadoop reads. `existing_location` makes a path of a
        ``file:`` URI.
    suffixes
        Suffixes of the files to list, in lower case. Files with other suffixes are skipped. If a local source is one
        file, it is listed whatever its suffix.

    Raises
    ------
    UsageError
        The folder of a local source cannot be read, or a Hadoop source does not exist.
    """

    def __init__(self, spark: SparkSession, source: str, suffixes: tuple[str, ...]) -> None:
        self.is_local = "://" not in source
        self._root = Path(source).resolve().as_uri() if self.is_local else source
        self.count = 0
        found = _walk(Path(source).resolve(), suffixes) if self.is_local else _walk_hadoop(spark, source, suffixes)
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the listing
        try:
            with pa.ipc.new_stream(self._spool, SCHEMA) as stream:
                for batch in _batches(found, _ROWS):
                    stream.write_batch(batch)
                    self.count += batch.num_rows
        except BaseException:
            self._spool.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def missing(self, uris: Iterable[str]) -> set[str]:
        """Return the ``uris`` that are the local source or below it, but are not in the listing.

        The result is empty for a Hadoop source.
        """
        below = f"{self._root}/"
        wanted = {uri for uri in uris if self.is_local and (uri == self._root or uri.startswith(below))}
        self._spool.seek(0)
        for batch in pa.ipc.open_stream(self._spool) if wanted else ():
            found = pc.is_in(batch["uri"], pa.array(sorted(wanted)))
            wanted.difference_update(batch["uri"].filter(found).to_pylist())
        return wanted

    def chunks(self, size: int) -> Iterator[pa.Table]:
        """Yield tables of up to ``size`` files, in the order of the listing, with the columns of ``SCHEMA``."""
        self._spool.seek(0)
        held: list[pa.RecordBatch] = []
        for batch in pa.ipc.open_stream(self._spool):
            while batch.num_rows:
                take = batch.slice(0, size - sum(b.num_rows for b in held))
                held.append(take)
                batch = batch.slice(take.num_rows)  # noqa: PLW2901 - the rest of the batch
                if sum(b.num_rows for b in held) == size:
                    yield pa.Table.from_batches(held)
                    held = []
        if held:
            yield pa.Table.from_batches(held)

    def frame(self, spark: SparkSession, files: pa.Table) -> DataFrame:
        """Return ``files`` as a data frame.

        For a Hadoop source, a column ``content`` with the bytes of each file is added, because workers cannot open the
        files. It is NULL for a file that has a fault or was deleted after the listing. If all ``files`` have faults,
        the column is not added.
        """
        readable = files.filter(files["fault"].is_null())["uri"].to_pylist()
        if self.is_local or not readable:
            return spark.createDataFrame(files)
        listed = spark.createDataFrame(files.append_column("path", pa.array(map(unquote, files["uri"].to_pylist()))))
        content = _binary(spark, [unquote(uri) for uri in readable]).select("path", "content")
        return content.join(broadcast(listed), "path", "right").drop("path")


def _walk(root: Path, suffixes: tuple[str, ...]) -> Iterator[Listed]:
    """Yield the local files folder by folder; the files of a folder are in order of their names."""
    if not root.is_dir():
        yield _describe(os.fspath(root), root.as_uri(), lambda _: False)
        return

    def leaves(path: str) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(root)

    pending: list[tuple[str, str]] = [(os.fspath(root), root.as_uri())]
    while pending:
        folder, uri = pending.pop()
        subfolders = []
        try:
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            if uri == root.as_uri():
                raise UsageError(f"--source {root} cannot be read: {error.strerror}; make it readable") from None
            yield uri, 0, 0, "not_a_file", f"cannot list {printable_name(folder)}: {error.strerror}; make it readable"
            continue
        for entry in ordered:
            place = f"{uri}/{quote(os.fsencode(entry.name))}"
            if entry.is_dir(follow_symlinks=False):
                subfolders.append((entry.path, place))
            if entry.name.lower().endswith(suffixes) or (entry.is_symlink() and entry.is_dir() and leaves(entry.path)):
                yield _describe(entry.path, place, leaves)
        pending.extend(reversed(subfolders))


def _describe(path: str, uri: str, leaves: Callable[[str], bool]) -> Listed:
    name = printable_name(path)
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        return uri, 0, 0, "not_a_file", f"cannot read {name}: {error.strerror}; repair or remove it"
    fault = None
    if os.path.islink(path) and leaves(path):  # noqa: PTH114
        fault = f"{name} is a symbolic link that points outside the source: give its target as another --source"
    elif stat.S_ISDIR(status.st_mode):
        fault = f"{name} is a folder, but its name has the suffix of an input file: rename it; the files in it are read"
    elif not stat.S_ISREG(status.st_mode):
        fault = f"{name} is not a regular file: remove or rename it"
    return uri, status.st_size, status.st_mtime_ns // 1000, "not_a_file" if fault else None, fault


def _binary(spark: SparkSession, paths: list[str]) -> DataFrame:
    literal = [path.translate(_GLOB) for path in paths]
    return spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(literal)


def _walk_hadoop(spark: SparkSession, source: str, suffixes: tuple[str, ...]) -> Iterator[Listed]:
    """Yield the files of a Hadoop source in order of their paths."""
    try:
        found = _binary(spark, [source]).select("path", "length", unix_micros("modificationTime")).sort("path")
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        raise UsageError(f"--source {source} does not exist: name an existing file or folder") from None
    largest = int(spark.conf.get("spark.sql.sources.binaryFile.maxLength") or 2**31 - 1)
    too_large = f"the file has more than {largest:,} bytes: raise spark.sql.sources.binaryFile.maxLength"
    return (
        (quote(path, safe="/:@"), length, mtime_us, *((None, None) if length <= largest else ("not_a_file", too_large)))
        for path, length, mtime_us in found.toLocalIterator(prefetchPartitions=True)
        if path.lower().endswith(suffixes)
    )


def _batches(found: Iterator[Listed], size: int) -> Iterator[pa.RecordBatch]:
    while rows := list(islice(found, size)):
        columns = [pa.array(column, type_) for column, type_ in zip(zip(*rows, strict=True), SCHEMA.types, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
