"""From analyses to chroma: what is in the tables, and what becomes of damaged and removed tracks."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import extract_chroma
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.detect.patches import median_patch, patch_magnitudes
from reprise.lib.music import sample
from reprise.lib.tables import BEAT_CHROMA, CHROMA_PATCHES, LIBRARY_ANALYSIS, MSD_ANALYSIS, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.beat_chroma import INPUTS, WINDOWS_DDL, cut_windows
from tests.jobs.chain import (
    CHAIN,
    DAMAGED,
    NUMBERS,
    PLAN,
    Chain,
    assert_same_content,
    copy_warehouse,
)

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]
WRITTEN = (BEAT_CHROMA, CHROMA_PATCHES)


@pytest.fixture
def extracted(chain: Chain) -> Warehouse:
    """The warehouse with chroma, to be read."""
    return Warehouse(str(chain.after("extract-chroma")))


def put(warehouse: Warehouse, *rows: dict[str, Any]) -> None:
    """Write analyses, whatever their files say."""
    warehouse.merge(MSD_ANALYSIS, pa.Table.from_pylist(list(rows), arrow_schema(MSD_ANALYSIS)), force=True)


def test_rows_are_what_the_functions_give(chain: Chain, extracted: Warehouse, rows_of: Rows) -> None:
    counts = chain.summary(CHAIN[NUMBERS["extract-chroma"]])["counts"]
    assert (counts["tracks"], counts["extracted"], counts["skipped"], counts["quarantined"]) == (83, 82, 0, 1)
    chromas, patches = (rows_of(extracted, t).set_index("track_id").to_dict("index") for t in WRITTEN)
    read = pd.concat([rows_of(extracted, t) for t in (LIBRARY_ANALYSIS, MSD_ANALYSIS)]).set_index("track_id")
    read = read.drop(DAMAGED)
    assert list(chromas) == list(patches) == list(read.index)
    for track_id, row in read.to_dict("index").items():
        expected = beat_chroma(*(row[name] for name in INPUTS))
        chroma, patch = chromas[track_id], patches[track_id]
        np.testing.assert_array_equal(chroma["beat_chroma"], expected.reshape(-1))
        assert chroma["n_beats"] == expected.shape[1]
        assert (chroma["status"], chroma["sha256"]) == (patch["status"], patch["sha256"])
        if chroma["status"] == "ok":
            np.testing.assert_array_equal(patch["median_patch"], median_patch(expected))
            assert patch["n_patches"] == expected.shape[1] - 74
        else:
            assert (len(patch["median_patch"]), expected.shape[1] < 75) == (0, True)
    assert counts["ok"] == sum(chroma["status"] == "ok" for chroma in chromas.values()) > 50


def test_parts_of_any_size_give_the_same_rows(chain: Chain, warehouse: Warehouse, run_job: RunJob) -> None:
    copy_warehouse(chain.before("extract-chroma"), Path(warehouse.root))
    assert run_job(extract_chroma.main, "--conf", "files_per_task=1")["counts"]["extracted"] == 82
    assert_same_content(warehouse, Warehouse(str(chain.after("extract-chroma"))), WRITTEN)


CHANGES: list[tuple[dict[str, Any], str]] = [
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
]


def test_every_track_has_a_row_that_says_why(run_job: RunJob, warehouse: Warehouse, rows_of: Rows) -> None:
    """Analyses of one composed track, each changed in its own way."""
    plan = sample.SamplePlan(60, seed=7)
    fields = sample.compute_msd_columns(sample.compose(plan, 0))
    arrays = [c.name for c in MSD_ANALYSIS.columns if c.type == "array<float>"]
    whole = {name: np.asarray(fields[name], "f").reshape(-1) for name in arrays}
    ids = sorted(sample.track_id(plan, index) for index in range(len(CHANGES)))
    for track_id, (change, _) in zip(ids, CHANGES, strict=True):
        changed = {name: how(whole[name]) if callable(how) else how for name, how in change.items()}
        put(warehouse, {**whole, "track_id": track_id, "uri": track_id, "sha256": "s", "run_id": "r", **changed})
    assert run_job(extract_chroma.main)["counts"]["quarantined"] == 0
    chroma, patch = rows_of(warehouse, BEAT_CHROMA), rows_of(warehouse, CHROMA_PATCHES)
    assert chroma["track_id"].tolist() == patch["track_id"].tolist() == ids
    statuses = [status for _, status in CHANGES]
    assert chroma["status"].tolist() == patch["status"].tolist() == statuses
    assert patch["median_patch"].map(len).tolist() == [451 if status == "ok" else 0 for status in statuses]
    assert all(np.isfinite(values).all() for values in (*chroma["beat_chroma"], *patch["median_patch"]))


def test_damaged_and_removed_tracks_lose_their_rows_and_mended_ones_leave_quarantine(
    chain: Chain, run_job: RunJob, warehouse: Warehouse, rows_of: Rows
) -> None:
    copy_warehouse(chain.after("extract-chroma"), Path(warehouse.root))
    spoiled, removed = (sample.track_id(PLAN, index) for index in (5, 2))
    (row,) = warehouse.lookup(MSD_ANALYSIS, "track_id", spoiled, spoiled).to_pylist()
    put(warehouse, {**row, "sha256": "new", "segments_loudness_start": [*row["segments_loudness_start"][:-1], np.nan]})
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": [removed]}))
    run_job(extract_chroma.main, "--max-bad", 0, exit_code=3)
    rejected = rows_of(warehouse, QUARANTINE).query("stage == 'extract_chroma'").set_index("uri")
    assert rejected["error_class"].to_dict() == {
        f"msd_analysis#{DAMAGED}": "not_ascending",
        f"msd_analysis#{spoiled}": "not_finite",
    }
    assert rejected["message"].str.contains("repair or remove the file it was read from$").all()
    for table in WRITTEN:
        ids = set(rows_of(warehouse, table)["track_id"])
        assert len(ids) == 80
        assert not {DAMAGED, spoiled, removed} & ids
    # one is mended, the other goes while it is in quarantine
    put(warehouse, row)
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": [DAMAGED]}))
    counts = run_job(extract_chroma.main, "--max-bad", 0)["counts"]
    assert (counts["extracted"], counts["skipped"]) == (1, 80)
    assert "extract_chroma" not in set(rows_of(warehouse, QUARANTINE)["stage"])
    assert len(rows_of(warehouse, BEAT_CHROMA)) == 81


def test_windows_of_chosen_tracks(extracted: Warehouse, rows_of: Rows, spark: Any) -> None:
    chroma = rows_of(extracted, BEAT_CHROMA).query("status == 'ok'").iloc[1]
    frame = extracted.read(spark, BEAT_CHROMA).where(f"track_id = '{chroma['track_id']}'")
    windows = frame.select("track_id", "beat_chroma").mapInArrow(partial(cut_windows, hop_beats=10), WINDOWS_DDL)
    found = windows.orderBy("first_beat").toPandas()
    patches = patch_magnitudes(chroma["beat_chroma"].reshape(12, -1))
    assert found["first_beat"].tolist() == list(range(0, len(patches), 10))
    np.testing.assert_array_equal(np.stack(found["patch"].tolist()), patches[::10])
