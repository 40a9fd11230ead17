"""``spark.read.format("msd")``: Million Song Dataset files as a data frame, without a table in between."""

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

_SONGS_A_BATCH = 64
_FILES_A_PARTITION = 256
_MODES = ("FAILFAST", "DROPMALFORMED")
_PATH = "path"
"""The one column that is not a field of the files."""


class MsdSource(DataSource):
    """Reads a tree of local ``.h5`` files, or one file, with one row a song.

    Columns are the fields of the files under their own names, and ``path``. Of a schema given with ``.schema(...)``
    only those columns are read; it may name any field of ``reprise.lib.msd.FIELDS``, also those that the tables leave
    out because they carry nothing. Without one, the columns of ``msd_tracks`` and ``msd_analysis``.

    Options
    -------
    mode
        ``FAILFAST`` (default): the first bad file ends the query with one line that names it and its fault.
        ``DROPMALFORMED``: bad files are left out; ``ingest_msd`` is the way to have them listed.
    """

    @classmethod
    def name(cls) -> str:
        """Name for ``format()``."""
        return "msd"

    def schema(self) -> str:
        """Columns when none are asked for."""
        columns = {c.name: c for table in (MSD_TRACKS, MSD_ANALYSIS) for c in table.columns if c.name in msd.FIELDS}
        return ", ".join([f"{_PATH} string", *(f"`{c.name}` {c.type}" for c in columns.values())])

    def reader(self, schema: StructType) -> "MsdReader":
        """Make the reader that gives the columns of ``schema``."""
        unknown = [name for name in schema.names if name != _PATH and name not in msd.FIELDS]
        if unknown:
            raise ValueError(f"no field {unknown[0]!r} in Million Song Dataset files")
        mode = self.options.get("mode", _MODES[0]).upper()
        if mode not in _MODES:
            raise ValueError(f"mode is {' or '.join(_MODES)}, not {mode!r}")
        root = self.options.get("path")
        if root is None or not Path(root).exists():
            raise ValueError(f"no file or folder {root!r}: give .load(PATH) a local path")
        return MsdReader(Path(root), schema, drop_bad=mode == "DROPMALFORMED")


@dataclass
class _Files(InputPartition):
    paths: tuple[str, ...]


class MsdReader(DataSourceReader):
    """Lists the files and reads a partition of them."""

    def __init__(self, root: Path, schema: StructType, *, drop_bad: bool) -> None:
        self._root, self._schema, self._drop_bad = root, schema, drop_bad

    def partitions(self) -> Sequence[InputPartition]:
        """Divide the files below the root, in the order of their names."""
        if not self._root.is_dir():
            return [_Files((os.fspath(self._root),))]
        paths = sorted(os.fspath(path) for path in self._root.rglob("*.h5"))
        return [_Files(tuple(paths[i : i + _FILES_A_PARTITION])) for i in range(0, len(paths), _FILES_A_PARTITION)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Give the songs of one partition's files."""
        assert isinstance(partition, _Files)  # noqa: S101 - for the type checker
        schema = to_arrow_schema(self._schema)
        fields = [name for name in self._schema.names if name != _PATH]
        for path in partition.paths:
            try:
                with msd.open_msd(path, name=path) as file:
                    for start in range(0, file.n_songs, _SONGS_A_BATCH):
                        songs = file.read(fields, start, min(start + _SONGS_A_BATCH, file.n_songs))
                        n_songs = min(_SONGS_A_BATCH, file.n_songs - start)
                        yield to_batch(schema, songs | {_PATH: [path] * n_songs})
            except InputError as error:
                if not self._drop_bad:
                    raise RuntimeError(f"{error} (option mode=DROPMALFORMED leaves such files out)") from None
