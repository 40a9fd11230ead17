"""Stems that instruments play on workers: rows, files and faults."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from reprise.lib.covers.default_instruments import read_default_instrument
from reprise.udfs.transferred_parts import ARTIFACTS, PARTS, transfer_parts

pytestmark = pytest.mark.tensorflow
INPUTS = pa.schema(
    [
        ("part_id", pa.string()),
        ("artifact", pa.string()),
        ("instrument", pa.string()),
        ("instrument_sha256", pa.string()),
        ("seed", pa.int64()),
    ]
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    time_s = np.arange(2 * 44_100) / 44_100
    tone = sum(np.sin(2 * np.pi * 440 * k * time_s) / k for k in range(1, 5)) * 0.1
    soundfile.write(tmp_path / "tone.flac", np.stack([tone, tone], axis=1), 44_100)
    soundfile.write(tmp_path / "silence.flac", np.zeros((44_100, 2)), 44_100)
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    for name in ("trumpet", "cello"):
        (tmp_path / f"{name}.safetensors").write_bytes(read_default_instrument(name))
    return tmp_path


def run(root: Path, *parts: tuple[str, str], seed: int = 3) -> list[dict[str, Any]]:
    rows = []
    for number, (artifact, instrument) in enumerate(parts):
        path = root / f"{instrument}.safetensors"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append((f"P{number}", artifact, path.as_uri(), sha256, seed))
    batches = [pa.RecordBatch.from_pylist([dict(zip(INPUTS.names, row, strict=True))], INPUTS) for row in rows]
    made = [batch for batch in transfer_parts(batches, root=str(root), find_device=lambda: "cpu") if len(batch)]
    assert all(batch.schema == PARTS for batch in made)
    return [row for batch in made for row in batch.to_pylist()]


def test_rows_and_files(root: Path) -> None:
    rows = run(root, ("tone.flac", "trumpet"), ("tone.flac", "cello"), ("silence.flac", "trumpet"))
    assert [row["part_id"] for row in rows] == ["P0", "P1", "P2"]
    assert [row["fault"] for row in rows] == [None] * 3
    for row in rows:
        samples, rate = soundfile.read(root / row["artifact"], dtype="int32")
        assert rate == 44_100
        assert row["artifact"] == f"{ARTIFACTS}/{row['samples_sha256']}.flac"
        assert row["duration"] == pytest.approx(len(samples) / rate)
    assert rows[0]["samples_sha256"] != rows[1]["samples_sha256"]
    assert rows[0]["sounding"] > 0.9
    assert rows[0]["loudness_lufs"] == pytest.approx(rows[1]["loudness_lufs"], abs=1)
    # silence stays silent
    assert (rows[2]["sounding"], rows[2]["loudness_lufs"], rows[2]["true_peak_dbtp"]) == (0, None, None)
    assert not soundfile.read(root / rows[2]["artifact"])[0].any()


def test_the_same_seed_gives_the_same(root: Path) -> None:
    first, second = run(root, ("tone.flac", "cello")), run(root, ("tone.flac", "cello"))
    assert first == second
    assert run(root, ("tone.flac", "cello"), seed=4)[0]["samples_sha256"] != first[0]["samples_sha256"]


def test_a_bad_stem_is_one_row(root: Path) -> None:
    rows = run(root, ("broken.flac", "cello"), ("tone.flac", "cello"), ("none.flac", "cello"))
    assert rows[0]["artifact"] is None
    assert rows[0]["fault"]
    assert "\n" not in rows[0]["fault"]
    assert rows[1]["fault"] is None
    assert rows[2]["fault"] == "none.flac is missing: separate the track again"
