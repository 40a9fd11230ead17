"""From analyses to chords: what is in the table and estimated again; damaged and removed tracks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from reprise.jobs import estimate_chords as job
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.analysis.chords import CHORDS, ESTIMATOR, estimate_chords
from reprise.lib.detect.chroma import beat_chroma
from reprise.lib.music import sample
from reprise.lib.tables import BEAT_CHORDS, LIBRARY_ANALYSIS, MSD_ANALYSIS, QUARANTINE, Table
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.beat_chords import INPUTS
from tests.jobs.chain import CHAIN, DAMAGED, NUMBERS, PLAN, Chain, assert_same_content, copy_warehouse

RunJob = Callable[..., dict[str, Any]]
Rows = Callable[[Warehouse, Table], pd.DataFrame]


def put(warehouse: Warehouse, table: Table, *rows: dict[str, Any]) -> None:
    """Write rows, whatever their files say."""
    warehouse.merge(table, pa.Table.from_pylist(list(rows), arrow_schema(table)), force=True)


def test_rows_are_what_the_functions_give(chain: Chain, rows_of: Rows) -> None:
    """For tracks of the dataset and of the libraries."""
    warehouse = Warehouse(str(chain.after("estimate-chords")))
    counts = chain.summary(CHAIN[NUMBERS["estimate-chords"]])["counts"]
    assert (counts["tracks"], counts["estimated"], counts["skipped"], counts["quarantined"]) == (83, 82, 0, 1)
    found = rows_of(warehouse, BEAT_CHORDS).set_index("track_id").to_dict("index")
    read = pd.concat([rows_of(warehouse, t) for t in (LIBRARY_ANALYSIS, MSD_ANALYSIS)]).set_index("track_id")
    read = read.drop(DAMAGED)
    assert list(found) == list(read.index)
    for track_id, row in read.to_dict("index").items():
        chroma = beat_chroma(*(row[name] for name in INPUTS[:-1]))
        expected = estimate_chords(chroma, row["beats_start"][: chroma.shape[1]], row["bars_start"])
        stored = found[track_id]
        assert list(stored["chords"]) == list(expected.names)
        np.testing.assert_array_equal(stored["probabilities"], expected.probabilities)
        assert (stored["n_beats"], stored["sha256"]) == (chroma.shape[1], row["sha256"])
        assert stored["estimator"] == ESTIMATOR
        assert (
            stored["status"] == "ok" if chroma.shape[1] else stored["status"] in ("too_few_segments", "too_few_beats")
        )
    assert counts["ok"] == sum(row["status"] == "ok" for row in found.values()) > 70


def test_rows_of_a_former_estimator_and_changed_analyses_are_estimated_again(
    chain: Chain, warehouse: Warehouse, run_job: RunJob, rows_of: Rows
) -> None:
    copy_warehouse(chain.after("estimate-chords"), Path(warehouse.root))
    first, second, third = (
        warehouse.lookup(BEAT_CHORDS, "track_id", track_id, track_id).to_pylist()[0]
        for track_id in sorted(rows_of(warehouse, BEAT_CHORDS)["track_id"])[-3:]
    )
    wrong = {"n_beats": 1, "chords": ["N"], "probabilities": [1.0]}
    put(
        warehouse,
        BEAT_CHORDS,
        {**first, **wrong, "estimator": "context-network-0"},
        {**second, **wrong, "sha256": "old"},
    )
    counts = run_job(job.main, "--max-bad", 1)["counts"]
    assert (counts["estimated"], counts["skipped"]) == (2, 80)
    assert_same_content(warehouse, Warehouse(str(chain.after("estimate-chords"))), (BEAT_CHORDS,))
    kept = warehouse.lookup(BEAT_CHORDS, "track_id", third["track_id"], third["track_id"]).to_pylist()[0]
    assert kept["run_id"] == third["run_id"]


def test_a_warehouse_of_a_former_version_gets_its_chords(chain: Chain, warehouse: Warehouse, run_job: RunJob) -> None:
    """One without the table, in parts of any size."""
    copy_warehouse(chain.before("estimate-chords"), Path(warehouse.root))
    assert not warehouse.exists(BEAT_CHORDS)
    assert run_job(job.main, "--max-bad", 1, "--conf", "files_per_task=1")["counts"]["estimated"] == 82
    assert_same_content(warehouse, Warehouse(str(chain.after("estimate-chords"))), (BEAT_CHORDS,))


CHANGES: list[tuple[dict[str, Any], str, int | None]] = [
    ({"beats_start": []}, "too_few_beats", 0),
    ({"beats_start": None}, "too_few_beats", 0),
    ({"beats_start": lambda b: b[:1]}, "too_few_beats", 0),
    ({"beats_start": lambda b: b[:2]}, "ok", 2),
    ({"bars_start": None}, "ok", None),
    ({"bars_start": lambda b: b[:1]}, "ok", None),
    ({"beats_start": lambda b: b - b[5]}, "ok", None),  # the first beats before the first segment
    ({"segments_pitches": lambda p: 0 * p}, "ok", None),
    (dict.fromkeys(INPUTS, ()), "too_few_segments", 0),
    (dict.fromkeys(INPUTS), "too_few_segments", 0),
]


def test_every_track_has_a_row_that_says_why(run_job: RunJob, warehouse: Warehouse, rows_of: Rows) -> None:
    """Analyses of one composed track, each changed in its own way."""
    plan = sample.SamplePlan(60, seed=7)
    fields = sample.compute_msd_columns(sample.compose(plan, 0))
    arrays = [c.name for c in MSD_ANALYSIS.columns if c.type == "array<float>"]
    whole = {name: np.asarray(fields[name], "f").reshape(-1) for name in arrays}
    ids = sorted(sample.track_id(plan, index) for index in range(len(CHANGES)))
    for track_id, (change, _, _) in zip(ids, CHANGES, strict=True):
        changed = {name: how(whole[name]) if callable(how) else how for name, how in change.items()}
        put(
            warehouse,
            MSD_ANALYSIS,
            {**whole, "track_id": track_id, "uri": track_id, "sha256": "s", "run_id": "r", **changed},
        )
    assert run_job(job.main)["counts"]["quarantined"] == 0
    found = rows_of(warehouse, BEAT_CHORDS)
    assert found["track_id"].tolist() == ids
    assert found["status"].tolist() == [status for _, status, _ in CHANGES]
    beats = [len(whole["beats_start"]) if n is None else n for _, _, n in CHANGES]
    assert found["n_beats"].tolist() == found["chords"].map(len).tolist() == beats
    assert found["probabilities"].map(len).tolist() == beats
    assert {name for names in found["chords"] for name in names} <= set(CHORDS)
    assert all(((p > 0) & (p <= 1)).all() for p in found["probabilities"])
    silent = found["chords"][next(i for i, (change, _, _) in enumerate(CHANGES) if "segments_pitches" in change)]
    assert set(silent) == {"N"}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"segments_loudness_start": lambda v: [*v[:-1], np.nan]}, "not_finite"),
        ({"bars_start": lambda v: [*v[:-1], np.inf]}, "not_finite"),
        ({"bars_start": lambda v: v[::-1]}, "not_ascending"),
        ({"segments_start": lambda v: v[:-1]}, "lengths_differ"),
        ({"segments_pitches": lambda v: [-x for x in v]}, "negative"),
    ],
)
def test_a_damaged_analysis_is_one_row_of_quarantine_until_it_is_repaired(
    change: dict[str, Any], kind: str, chain: Chain, run_job: RunJob, warehouse: Warehouse, rows_of: Rows
) -> None:
    copy_warehouse(chain.after("estimate-chords"), Path(warehouse.root))
    spoiled, removed = (sample.track_id(PLAN, index) for index in (5, 2))
    (row,) = warehouse.lookup(MSD_ANALYSIS, "track_id", spoiled, spoiled).to_pylist()
    changed = {name: how(row[name]) for name, how in change.items()}
    put(warehouse, MSD_ANALYSIS, {**row, "sha256": "new", **changed})
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": [removed]}))
    run_job(job.main, "--max-bad", 0, exit_code=3)
    rejected = rows_of(warehouse, QUARANTINE).query("stage == 'estimate_chords'").set_index("uri")
    assert rejected["error_class"].to_dict() == {
        f"msd_analysis#{DAMAGED}": "not_ascending",
        f"msd_analysis#{spoiled}": kind,
    }
    assert rejected["message"].str.contains("repair or remove the file it was read from$").all()
    assert not {DAMAGED, spoiled, removed} & set(rows_of(warehouse, BEAT_CHORDS)["track_id"])
    put(warehouse, MSD_ANALYSIS, row)
    warehouse.merge(MSD_ANALYSIS, [], delete=pa.table({"track_id": [DAMAGED]}))
    counts = run_job(job.main, "--max-bad", 0)["counts"]
    assert (counts["estimated"], counts["skipped"]) == (1, 80)
    assert "estimate_chords" not in set(rows_of(warehouse, QUARANTINE)["stage"])
