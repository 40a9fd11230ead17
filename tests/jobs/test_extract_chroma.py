"""From analyses to chroma: what is in the tables, what is skipped, and what becomes of damaged and removed tracks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import extract_chroma, ingest_msd
from reprise.jobs._engine.warehouse.tables import Warehouse
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.patches import median_patch, patch_magnitudes
from reprise.lib.music import sample
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, JOB_RUNS, MSD_ANALYSIS, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.beat_chroma import INPUTS, WINDOWS_DDL, cut_windows

Run = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]


def analyses(*changes: tuple[int, dict[str, Any]], count: int = 12) -> pa.Table:
    """Rows of msd_analysis of composed tracks, some of them changed."""
    plan = sample.Plan(60, seed=7)
    rows = []
    for index in range(count):
        fields = sample.analyse(sample.compose(plan, index))
        arrays = [c.name for c in MSD_ANALYSIS.columns if c.type == "array<float>"]
        row = {name: np.asarray(fields[name], "f").reshape(-1) for name in arrays}
        rows.append({**row, "track_id": sample.track_id(plan, index), "uri": f"file:/{index}.h5", "sha256": str(index)})
    for index, change in changes:
        rows[index] |= {k: change[k](rows[index][k]) if callable(change[k]) else change[k] for k in change}
    table = pa.Table.from_pylist([{**row, "run_id": "r"} for row in rows], arrow_schema(MSD_ANALYSIS))
    return table.sort_by("track_id")


def versions(warehouse: Warehouse) -> dict[str, int]:
    found = Warehouse(warehouse.root).versions()
    return {name: version for name, version in found.items() if name != JOB_RUNS.name}


def test_rows_are_what_the_functions_give(sample_dir: Path, run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    run_job(ingest_msd.main, "--source", sample_dir / "msd")
    counts = run_job(extract_chroma.main)["counts"]
    assert (counts["tracks"], counts["extracted"], counts["skipped"], counts["quarantined"]) == (60, 60, 0, 0)
    chromas, patches = (rows_of(warehouse, t).set_index("track_id") for t in (BEAT_CHROMA, CHROMA_PATCHES))
    read = rows_of(warehouse, MSD_ANALYSIS).set_index("track_id")
    assert list(chromas.index) == list(patches.index) == list(read.index)
    for track_id, row in read.iterrows():
        expected = beat_chroma(*(row[name] for name in INPUTS))
        chroma, patch = chromas.loc[track_id], patches.loc[track_id]
        np.testing.assert_array_equal(chroma["beat_chroma"], expected.reshape(-1))
        assert chroma["n_beats"] == expected.shape[1]
        assert (chroma["status"], chroma["sha256"]) == (patch["status"], patch["sha256"])
        if chroma["status"] == "ok":
            np.testing.assert_array_equal(patch["median_patch"], median_patch(expected))
            assert patch["n_patches"] == expected.shape[1] - 74
        else:
            assert (len(patch["median_patch"]), expected.shape[1] < 75) == (0, True)
    assert counts["ok"] == (chromas["status"] == "ok").sum() > 50


def test_second_run_skips_everything_and_force_nothing(run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    warehouse.merge(MSD_ANALYSIS, analyses())
    run_job(extract_chroma.main)
    before, rows = versions(warehouse), rows_of(warehouse, CHROMA_PATCHES)
    counts = run_job(extract_chroma.main)["counts"]
    assert (counts["extracted"], counts["skipped"]) == (0, 12)
    assert versions(warehouse) == before
    assert run_job(extract_chroma.main, "--force")["counts"]["extracted"] == 12
    pd.testing.assert_frame_equal(rows_of(warehouse, CHROMA_PATCHES), rows)


def test_parts_of_any_size_give_the_same_rows(
    run_job: Run, warehouse: Warehouse, rows_of: Rows, tmp_path: Path
) -> None:
    other = Warehouse(str(tmp_path / "other"))
    rows = analyses()
    for start in range(0, 12, 5):  # three files, cut into parts of one
        warehouse.merge(MSD_ANALYSIS, rows.slice(start, 5))
    other.merge(MSD_ANALYSIS, rows)
    run_job(extract_chroma.main, "--conf", "files_per_task=1")
    assert extract_chroma.main(["--warehouse", other.root]) == 0
    for table in (BEAT_CHROMA, CHROMA_PATCHES):
        pd.testing.assert_frame_equal(rows_of(warehouse, table), rows_of(other, table))


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"beats_start": []}, "too_few_beats"),
        ({"beats_start": None}, "too_few_beats"),
        ({"beats_start": lambda b: b[:1]}, "too_few_beats"),
        ({"beats_start": lambda b: b[:2]}, "too_short_for_patches"),
        ({"beats_start": lambda b: b[:74]}, "too_short_for_patches"),
        ({"beats_start": lambda b: b[:75]}, "ok"),
        ({"beats_start": lambda b: np.repeat(b, 2)}, "ok"),
        ({"beats_start": lambda b: b - b[5]}, "ok"),  # the first beats before the first segment
        ({"segments_pitches": lambda p: 0 * p}, "silent"),
        (dict.fromkeys(INPUTS, ()), "too_few_segments"),
        (dict.fromkeys(INPUTS), "too_few_segments"),
        (
            {"segments_start": (0, 1), "segments_loudness_start": (0, 0), "segments_pitches": (1,) * 24},
            "too_few_segments",
        ),
    ],
)
def test_every_track_has_a_row_that_says_why(
    change: dict[str, Any], status: str, run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    warehouse.merge(MSD_ANALYSIS, analyses((0, change), count=1))
    assert run_job(extract_chroma.main)["counts"]["quarantined"] == 0
    chroma, patch = rows_of(warehouse, BEAT_CHROMA), rows_of(warehouse, CHROMA_PATCHES)
    assert [*chroma["status"], *patch["status"]] == [status, status]
    assert len(patch["median_patch"][0]) == (451 if status == "ok" else 0)
    assert np.isfinite(chroma["beat_chroma"][0]).all()
    assert np.isfinite(patch["median_patch"][0]).all()


def test_damaged_analyses_are_quarantined_until_they_are_well(
    run_job: Run, warehouse: Warehouse, rows_of: Rows
) -> None:
    damaged = {"segments_loudness_start": lambda values: np.append(values[:-1], np.nan), "sha256": "new"}
    backwards = {"beats_start": lambda values: values[::-1], "sha256": "new"}
    warehouse.merge(MSD_ANALYSIS, analyses())
    run_job(extract_chroma.main)
    assert len(rows_of(warehouse, BEAT_CHROMA)) == 12
    warehouse.merge(MSD_ANALYSIS, analyses((3, damaged), (5, backwards)), force=True)
    assert "2 of 12 inputs" in run_job(extract_chroma.main, exit_code=3).get("error", "2 of 12 inputs")
    rejected = rows_of(warehouse, QUARANTINE)
    assert sorted(rejected["error_class"]) == ["not_ascending", "not_finite"]
    assert set(rejected["stage"]) == {"extract_chroma"}
    assert rejected["uri"].str.fullmatch(r"msd_analysis#TR\w{16}").all()
    assert rejected["message"].str.contains("mend or remove the file it was read from$").all()
    assert len(rows_of(warehouse, BEAT_CHROMA)) == len(rows_of(warehouse, CHROMA_PATCHES)) == 10
    before = versions(warehouse)
    run_job(extract_chroma.main, exit_code=3)  # tried again, and nothing new to say
    assert versions(warehouse) == before
    warehouse.merge(MSD_ANALYSIS, analyses(), force=True)
    counts = run_job(extract_chroma.main)["counts"]
    assert (counts["extracted"], counts["skipped"]) == (2, 10)
    assert len(rows_of(warehouse, QUARANTINE)) == 0
    assert len(rows_of(warehouse, BEAT_CHROMA)) == 12


def test_removed_tracks_are_forgotten(run_job: Run, warehouse: Warehouse, rows_of: Rows) -> None:
    damaged = {"beats_start": lambda values: values[::-1]}
    rows = analyses((3, damaged))
    warehouse.merge(MSD_ANALYSIS, rows)
    run_job(extract_chroma.main, "--max-bad", "1")
    assert len(rows_of(warehouse, QUARANTINE)) == 1
    gone = [sample.track_id(sample.Plan(60, seed=7), index) for index in (2, 3)]
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": gone}))
    assert run_job(extract_chroma.main)["counts"]["extracted"] == 0
    for table in (BEAT_CHROMA, CHROMA_PATCHES):
        assert len(rows_of(warehouse, table)) == 10
        assert not set(gone) & set(rows_of(warehouse, table)["track_id"])
    assert len(rows_of(warehouse, QUARANTINE)) == 0


def test_nothing_to_extract_is_said_in_one_line(run_job: Run) -> None:
    said = run_job(extract_chroma.main, exit_code=2)["error"]
    reason = "there is nothing in msd_analysis or library_analysis: run ingest-msd or ingest-library first"
    assert said == f"reprise extract-chroma: {reason}\n"


def test_windows_of_chosen_tracks(run_job: Run, warehouse: Warehouse, rows_of: Rows, spark: Any) -> None:
    warehouse.merge(MSD_ANALYSIS, analyses(count=3))
    run_job(extract_chroma.main)
    chroma = rows_of(warehouse, BEAT_CHROMA).iloc[1]
    frame = warehouse.read(spark, BEAT_CHROMA).where(f"track_id = '{chroma['track_id']}'")
    windows = frame.select("track_id", "beat_chroma").mapInArrow(partial(cut_windows, hop_beats=10), WINDOWS_DDL)
    found = windows.orderBy("first_beat").toPandas()
    patches = patch_magnitudes(chroma["beat_chroma"].reshape(12, -1))
    assert found["first_beat"].tolist() == list(range(0, len(patches), 10))
    np.testing.assert_array_equal(np.stack(found["patch"]), patches[::10])
