"""The stage of timbre transfer on Spark: rows and files as without it."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs._engine.gpus import find_task_device, plan_gpus
from reprise.lib.covers.default_instruments import read_default_instrument
from reprise.udfs.transferred_parts import ARTIFACTS, transfer_parts

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DDL = (
    "part_id string, artifact string, samples_sha256 string, duration double, loudness_lufs double,"
    " true_peak_dbtp double, octaves int, sounding double, fault string"
)


@pytest.mark.exhaustive
@pytest.mark.tensorflow
def test_parts_on_workers(spark: SparkSession, tmp_path: Path) -> None:
    time_s = np.arange(2 * 44_100) / 44_100
    rows = []
    for number, f0_hz in enumerate((220, 262, 330, 392)):
        name = f"tone {number}.flac"
        soundfile.write(tmp_path / name, 0.2 * np.sin(2 * np.pi * f0_hz * time_s), 44_100)
        path = tmp_path / "cello.safetensors"
        path.write_bytes(read_default_instrument("cello"))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((f"P{number}", name, path.as_uri(), sha256, 1))
    columns = "part_id string, artifact string, instrument string, instrument_sha256 string, seed long"
    frame = spark.createDataFrame(rows, columns).repartition(2)
    work = partial(transfer_parts, root=str(tmp_path), find_device=find_task_device)
    made = frame.mapInArrow(work, DDL, profile=plan_gpus(spark).profile).collect()
    assert [row.fault for row in made] == [None] * 4
    names = ("part_id", "artifact", "instrument", "instrument_sha256", "seed")
    batch = pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    alone = transfer_parts([batch], root=str(tmp_path), find_device=lambda: "cpu")
    expected = {row["part_id"]: row for one in alone for row in one.to_pylist()}
    for row in made:
        assert row.asDict() == expected[row.part_id]
        assert (tmp_path / ARTIFACTS / f"{row.samples_sha256}.flac").is_file()
