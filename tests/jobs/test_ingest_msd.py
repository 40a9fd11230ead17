"""Files of the Million Song Dataset into tables: every field of every file, real and composed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from reprise.jobs import ingest_msd
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib import msd
from reprise.lib.tables import MSD_ANALYSIS, MSD_TRACKS, Table
from tests.jobs.chain import Chain, Real

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]

LEFT_OUT = {"analyzer_version", "genre", "danceability", "energy"}
"""Fields that carry nothing in any file, and have no column: the test below shows that they do not."""
MISSING = {
    "artist_7digitalid": -1,
    "release_7digitalid": -1,
    "track_7digitalid": -1,
    "artist_playmeid": -1,
    "year": 0,
}


def plain(path: Path) -> dict[str, Any]:
    """Every field of a track file with plain h5py: the oracle."""
    fields: dict[str, Any] = {}
    with h5py.File(path) as file:
        for group in file.values():
            for name, dataset in group.items():
                if name == "songs":
                    row = dataset[0]
                    fields |= {key: row[key].item() for key in row.dtype.names}
                else:
                    fields[name] = dataset[...]
    return fields


def assert_same(name: str, stored: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "S":
            assert list(stored) == [text.decode() for text in value], name
        else:
            np.testing.assert_array_equal(stored, value.reshape(-1).astype(stored.dtype), err_msg=name)
    elif isinstance(value, bytes):
        assert (stored or "") == value.decode(), name
    elif value == MISSING.get(name) or (isinstance(value, float) and math.isnan(value)):
        assert pd.isna(stored), name
    else:
        assert stored == value, name


def assert_holds(warehouse: Warehouse, rows_of: Rows, files: list[Path]) -> None:
    """The two tables hold every field of every file, and nothing else."""
    tables = [rows_of(warehouse, table).set_index("track_id", drop=False) for table in (MSD_TRACKS, MSD_ANALYSIS)]
    assert [len(table) for table in tables] == [len(files), len(files)]
    for path in files:
        fields = plain(path)
        for name, value in fields.items():
            if name.startswith("idx_") or name in LEFT_OUT:
                assert not value, f"{name} carries something in {path.name}"
                continue
            table = next(table for table in tables if name in table)
            assert_same(name, table.loc[path.stem, name], value)


def test_every_field_of_every_real_file(shared_data: Path, real: Real, rows_of: Rows) -> None:
    assert real.counts["msd"] == {"files": 260, "skipped": 0, "tracks_read": 260, "duplicates": 0, "quarantined": 0}
    assert_holds(real.warehouse, rows_of, sorted((shared_data / "msd").rglob("*.h5")))


def test_every_field_of_every_composed_file(chain: Chain, rows_of: Rows) -> None:
    """Read in several parts, one of which has a bad file."""
    files = sorted((chain.inputs / "msd").rglob("TR*.h5"))
    assert_holds(Warehouse(str(chain.after("ingest-msd"))), rows_of, files)


def test_aggregate_file_gives_each_of_its_songs(
    sample_dir: Path, tmp_path: Path, run_job: RunJob, warehouse: Warehouse, rows_of: Rows
) -> None:
    files = sorted((sample_dir / "msd").rglob("*.h5"))
    songs = [{name: values[0] for name, values in msd.read(path).items()} for path in files]
    # more songs than are read at once, so that the slices have to meet
    msd.write(tmp_path / "aggregate.h5", [song | {"track_id": f"TR{i:016d}"} for i, song in enumerate(songs * 2)])
    run_job(ingest_msd.main, "--source", tmp_path / "aggregate.h5")
    stored = rows_of(warehouse, MSD_ANALYSIS)
    assert len(stored) == 120
    for i, path in enumerate(files * 2):
        np.testing.assert_array_equal(stored["beats_start"][i], plain(path)["beats_start"].astype(np.float32))
        np.testing.assert_array_equal(stored["segments_timbre"][i], plain(path)["segments_timbre"].ravel().astype("f4"))
