"""The main job on real and composed files: every field of every file, through every door."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from reprise.jobs import ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib import msd
from reprise.lib.tables import JOB_RUNS, MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE

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


def assert_holds(warehouse: Warehouse, rows_of: Callable[..., pd.DataFrame], files: list[Path]) -> None:
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


def test_every_field_of_every_real_file(
    shared_data: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
) -> None:
    files = sorted((shared_data / "msd").rglob("*.h5"))
    summary = run_job(ingest_msd.main, "--source", shared_data / "msd")
    assert summary["counts"] == {
        "files": 260,
        "skipped": 0,
        "tracks_read": 260,
        "duplicates": 0,
        "quarantined": 0,
    }
    assert_holds(warehouse, rows_of, files)


def test_every_field_of_every_composed_file(
    sample_dir: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd", "--conf", "files_per_task=7")
    assert_holds(warehouse, rows_of, sorted((sample_dir / "msd").rglob("*.h5")))


def test_rerun_changes_no_table(sample_dir: Path, run_job: Callable[..., dict[str, Any]], warehouse: Warehouse) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    before = Warehouse(warehouse.root).versions()
    summary = run_job(ingest_msd.main, "--source", sample_dir / "msd")
    assert summary["counts"]["skipped"] == 60
    assert {k: v for k, v in Warehouse(warehouse.root).versions().items() if k != JOB_RUNS.name} == {
        k: v for k, v in before.items() if k != JOB_RUNS.name
    }


def test_aggregate_file_gives_each_of_its_songs(
    sample_dir: Path,
    tmp_path: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
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


def environment_without_reprise(folder: Path) -> Path:
    """A Python that has every package of this environment except reprise, to stand for a cluster's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    # the .pth file that makes the editable install importable is not followed from a folder named in a .pth file
    (site / "packages.pth").write_text(packages + "\n")
    missing = subprocess.run(
        [folder / "bin/python", "-c", "import reprise"], cwd="/", capture_output=True, text=True, check=False
    )
    assert "No module named 'reprise'" in missing.stderr
    return folder / "bin" / "python"


@pytest.mark.parametrize("master", [pytest.param("local[2]", marks=pytest.mark.exhaustive), "local-cluster[2,1,1024]"])
def test_spark_submit_with_a_zip_as_the_only_copy_of_the_code(
    master: str,
    code_zip: Path,
    sample_dir: Path,
    tmp_path: Path,
    rows_of: Callable[..., pd.DataFrame],
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
) -> None:
    python = environment_without_reprise(tmp_path / "cluster")
    (packages,) = {p for p in sys.path if p.endswith("site-packages")}
    submit = Path(packages, "pyspark/bin/spark-submit")
    script = Path(sys.modules["reprise"].__file__ or "").parent / "jobs" / "ingest_msd.py"
    # Spark's own configuration only: what set-up left in the environment, no jar and no Delta option here
    command = [submit, "--master", master, "--py-files", code_zip, shutil.copy(script, tmp_path)]
    arguments = ["--source", sample_dir / "msd", "--warehouse", tmp_path / "submitted", "--json"]
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPARK_HOME")}
    env |= {"PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python)}
    done = subprocess.run(
        map(str, [*command, *arguments]), cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    for table in (MSD_TRACKS, MSD_ANALYSIS, QUARANTINE, MANIFEST):
        pd.testing.assert_frame_equal(rows_of(Warehouse(str(tmp_path / "submitted")), table), rows_of(warehouse, table))
