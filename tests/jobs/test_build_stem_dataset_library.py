"""Datasets of the stems of a library: in Spark, the same passages as without it, and faults of single stems."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from reprise.jobs import build_stem_dataset as job
from reprise.jobs._covers import stem_datasets
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.covers.stem_datasets import read_description
from reprise.lib.tables import COVER_STEMS
from reprise.udfs.arrow import arrow_schema
from tests.lib.test_covers_solo_passages import chords, melody

RunJob = Callable[..., dict[str, Any]]
RATE = 16_000


def add_stems(warehouse: Warehouse, signals: dict[str, Any]) -> None:
    """Add a vocals stem and a drums stem of each track."""
    folder = Path(warehouse.root, "_artifacts/stems")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for track_id, samples in signals.items():
        soundfile.write(folder / f"{track_id}.flac", np.stack([samples, samples], axis=1), RATE)
        row = {
            "track_id": track_id, "separator": "s", "sha256": "0", "artifact": f"_artifacts/stems/{track_id}.flac",
            "samples_sha256": "0", "sample_rate": RATE, "duration": 1.0, "gain_db": 0.0, "loudness_lufs": None,
            "true_peak_dbtp": None, "activity": 1.0, "run_id": "r",
        }  # fmt: skip
        rows += [row | {"stem": stem} for stem in ("vocals", "drums")]
    warehouse.merge(COVER_STEMS, pa.Table.from_pylist(rows, arrow_schema(COVER_STEMS)))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_stems_give_the_same_dataset_as_their_files(
    warehouse: Warehouse, run_job: RunJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stem_datasets, "_STEMS_PER_TASK", 1)
    signals = {f"LB{i}": melody(25, i) for i in range(4)} | {"LB4": chords(8)}
    add_stems(warehouse, signals)
    (Path(warehouse.root) / "_artifacts/stems/LB3.flac").write_bytes(b"damaged")
    out = tmp_path / "ds"
    counts = run_job(job.main, "--stem", "vocals", "--out", out)["counts"]
    assert (counts["sources"], counts["unreadable"]) == (4, 1)
    description = read_description(out)
    assert [one.name for one in description.sources] == ["LB0", "LB1", "LB2", "LB4"]
    first = contents(out)
    run_job(job.main, "--stem", "vocals", "--out", out)
    assert contents(out) == first
    recordings = tmp_path / "in"
    recordings.mkdir()
    for name in ("LB0", "LB1", "LB2", "LB4"):
        (recordings / f"{name}.flac").write_bytes(Path(warehouse.root, f"_artifacts/stems/{name}.flac").read_bytes())
    assert job.main(["--source", str(recordings), "--out", str(tmp_path / "files")]) == 0
    same = contents(tmp_path / "files")
    assert {name: data for name, data in first.items() if name.endswith(".flac")} == {
        name: data for name, data in same.items() if name.endswith(".flac")
    }
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_missing_stems(warehouse: Warehouse, run_job: RunJob, tmp_path: Path) -> None:
    error = run_job(job.main, "--stem", "vocals", "--out", tmp_path / "ds", exit_code=2)["error"]
    assert "there are no vocals stems in cover_stems: run separate-stems first" in error
    add_stems(warehouse, {"LB0": melody(5)})
    error = run_job(job.main, "--stem", "bass", "--out", tmp_path / "ds", exit_code=2)["error"]
    assert "there are no bass stems in cover_stems" in error
    Path(warehouse.root, "_artifacts/stems/LB0.flac").unlink()
    error = run_job(job.main, "--stem", "drums", "--out", tmp_path / "ds", exit_code=1)["error"]
    assert "_artifacts/stems/LB0.flac is missing in the warehouse: run separate-stems --force" in error
    assert "none of the 1 recordings can be read" in error
