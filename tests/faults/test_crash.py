"""A reader that kills its worker, or never ends: the one file is found, and every other is read."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyspark import cloudpickle

from reprise.jobs import ingest_msd
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import MANIFEST, MSD_ANALYSIS, MSD_TRACKS, QUARANTINE
from reprise.udfs.msd_files import read_files

TIMEOUT = "spark.sql.execution.pyspark.udf.idleTimeoutSeconds"
FAULTS: dict[str, Callable[[], object]] = {
    "exit": partial(os._exit, 1),
    "segmentation_fault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": partial(time.sleep, 10_000),
}


def read_until(
    batches: Iterable[pa.RecordBatch], *, names: frozenset[str], fault: Callable[[], object], **options: Any
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Read as the job does, but for ``fault`` in place of reading a file that has one of ``names``."""

    def watched() -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for listed in batch.to_pylist():
                if not listed["fault"] and listed["uri"].rsplit("/", 1)[1] in names:
                    fault()
            yield batch

    yield from read_files(watched(), **options)


@pytest.fixture(autouse=True)
def _ship_by_value() -> Iterator[None]:
    """Workers cannot import this module."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def _impatient(spark: Any) -> Iterator[None]:
    """Let Spark wait for a silent worker only seconds: what the JVM is told, each session start looks at."""
    system = spark._jvm.java.lang.System
    before = system.setProperty(TIMEOUT, "15")  # longer than a worker takes to start on a busy machine
    yield
    system.setProperty(TIMEOUT, before)
    spark.conf.set(TIMEOUT, before)


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ("killed", 2),
        *(pytest.param(fault, 1, marks=pytest.mark.exhaustive) for fault in ("exit", "segmentation_fault", "hang")),
    ],
)
def test_the_file_is_found_and_the_others_are_read(
    fault: str,
    count: int,
    sample_dir: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    files, tree = sorted((sample_dir / "msd").rglob("*.h5"))[:8], tmp_path / "tree"
    tree.mkdir()
    for path in files:
        shutil.copy(path, tree)
    names = frozenset(path.name for path in files[5 : 5 + count])
    with monkeypatch.context() as patch:
        patch.setattr(ingest_msd, "read_files", partial(read_until, names=names, fault=FAULTS[fault]))
        summary = run_job(ingest_msd.main, "--source", tree, exit_code=3)
    assert summary["counts"] == {
        "files": 8,
        "skipped": 0,
        "tracks_read": 8 - count,
        "duplicates": 0,
        "quarantined": count,
    }
    quarantine = rows_of(warehouse, QUARANTINE)
    assert [uri.rsplit("/", 1)[1] for uri in quarantine["uri"]] == sorted(names)
    assert set(quarantine["error_class"]) == {"crashed"}
    for name, message in zip(sorted(names), quarantine["message"], strict=True):
        assert name in message
        assert "crashed or hung" in message
    for table in (MSD_TRACKS, MSD_ANALYSIS):
        assert rows_of(warehouse, table)["track_id"].tolist() == [p.stem for p in files if p.name not in names]
    if fault != "exit":
        return
    # the same file is not tried at every run; asked to, a mended reader reads it like any other
    assert run_job(ingest_msd.main, "--source", tree, exit_code=3)["counts"]["skipped"] == 8
    run_job(ingest_msd.main, "--source", tree, "--force")
    assert rows_of(warehouse, QUARANTINE).empty
    assert len(rows_of(warehouse, MSD_TRACKS)) == len(rows_of(warehouse, MSD_ANALYSIS)) == 8
    assert set(rows_of(warehouse, MANIFEST)["status"]) == {"done"}


def always(batches: Iterable[pa.RecordBatch], **_: Any) -> Iterator[tuple[str, pa.RecordBatch]]:
    os._exit(1)
    yield from ()


def raising(batches: Iterable[pa.RecordBatch], **_: Any) -> Iterator[tuple[str, pa.RecordBatch]]:
    raise ValueError("a defect of the reader")
    yield from ()


@pytest.mark.parametrize(("reader", "says"), [(always, "Python worker exited"), (raising, "a defect of the reader")])
def test_a_fault_of_the_reader_itself_blames_no_file(
    reader: Callable[..., Any],
    says: str,
    sample_dir: Path,
    run_job: Callable[..., dict[str, Any]],
    warehouse: Warehouse,
    rows_of: Callable[..., pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest_msd, "read_files", reader)
    error = run_job(ingest_msd.main, "--source", sample_dir / "msd", exit_code=1)["error"]
    assert says in error
    assert error.count("\n") == 1
    for table in (QUARANTINE, MANIFEST, MSD_TRACKS):
        assert rows_of(warehouse, table).empty
