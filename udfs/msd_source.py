"""Data source ``spark.read.format("msd")``: reads Million Song Dataset files directly into a DataFrame."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType

from reprise.lib import msd
from reprise.lib.errors import InputError
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS
from reprise.udfs.arrow import to_batch

_SONGS_PER_BATCH = 64
_FILES_PER_PARTITION = 256
_MODES = ("FAILFAST", "DROPMALFORMED")
_PATH = "path"
"""Name of the column with the path of the file. It is the only column that is not a field of the files."""


class MsdSource(DataSource):
    """Data source for one local ``.h5`` file, or for all ``.h5`` files below a local folder. One row is one song.

    The columns are ``path`` and the fields of the files, with the fields' names. With ``.schema(...)``, only the given
    columns are read. All fields of ``reprise.lib.msd.FIELDS`` are allowed in a schema, even those that the tables omit
    because they contain no information. Without a schema, the columns are those of ``msd_tracks`` and ``msd_analysis``.

    Options
    -------
    mode
        ``FAILFAST`` (default): the first bad file ends the query with a one-line error. The error contains the file's
        path and the fault. ``DROPMALFORMED``: bad files are skipped without a report, but in a file of more than 64
        songs, the songs read before the fault are kept. The job ``ingest_msd`` reports bad files.
    """

    @classmethod
    def name(cls) -> str:
        """Return the name for ``format()``."""
        return "msd"

    def schema(self) -> str:
        """Return the default columns as DDL. They are read if the user gives no schema."""
        columns = {c.name: c for table in (MSD_TRACKS, MSD_ANALYSIS) for c in table.columns if c.name in msd.FIELDS}
        return ", ".join([f"{_PATH} string", *(f"`{c.name}` {c.type}" for c in columns.values())])

    def reader(self, schema: StructType) -> "MsdReader":
        """Return a reader for the columns in ``schema``.

        Raises
        ------
        ValueError
            A column is unknown, the mode is unknown, or the path does not exist.
        """
        unknown = [name for name in schema.names if name != _PATH and name not in msd.FIELDS]
        if unknown:
            raise ValueError(f"unknown field {unknown[0]!r}: choose from reprise.lib.msd.FIELDS")
        mode = self.options.get("mode", _MODES[0])
        if mode.upper() not in _MODES:
            raise ValueError(f"unknown mode {mode!r}: choose {' or '.join(_MODES)}")
        root = self.options.get("path")
        if root is None or not Path(root).exists():
            raise ValueError(f"cannot find file or folder {root!r}: give .load(PATH) an existing local path")
        return MsdReader(Path(root), schema, drop_bad=mode.upper() == "DROPMALFORMED")


@dataclass
class _Files(InputPartition):
    paths: tuple[str, ...]


class MsdReader(DataSourceReader):
    """Reader that lists the files, divides them into partitions and reads each partition."""

    def __init__(self, root: Path, schema: StructType, *, drop_bad: bool) -> None:
        self._root, self._schema, self._drop_bad = root, schema, drop_bad

    def partitions(self) -> Sequence[InputPartition]:
        """Sort the ``.h5`` files below the root by path and divide them into partitions.

        If the root is a file, there is one partition.
        """
        if not self._root.is_dir():
            return [_Files((os.fspath(self._root),))]
        paths = sorted(os.fspath(path) for path in self._root.rglob("*.h5"))
        return [_Files(tuple(paths[i : i + _FILES_PER_PARTITION])) for i in range(0, len(paths), _FILES_PER_PARTITION)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Yield the songs of one partition's files.

        Raises
        ------
        RuntimeError
            A file cannot be read, in mode ``FAILFAST``.
        """
        assert isinstance(partition, _Files)  # noqa: S101 - for the type checker
        schema = to_arrow_schema(self._schema)
        fields = [name for name in self._schema.names if name != _PATH]
        for path in partition.paths:
            try:
                with msd.open_msd(path, name=path) as file:
                    for start in range(0, file.n_songs, _SONGS_PER_BATCH):
                        songs = file.read(fields, start, min(start + _SONGS_PER_BATCH, file.n_songs))
                        n_songs = min(_SONGS_PER_BATCH, file.n_songs - start)
                        yield to_batch(schema, songs | {_PATH: [path] * n_songs})
            except InputError as error:
                if not self._drop_bad:
                    raise RuntimeError(f"{error} (to skip bad files, set the option mode=DROPMALFORMED)") from None
