"""The overview of the tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprise.jobs import show_tables
from reprise.jobs._engine.warehouse import Warehouse
from tests.jobs.chain import Chain, copy_warehouse


def test_counts_are_those_of_the_tables(
    chain: Chain, run_job: Callable[..., dict[str, Any]], warehouse: Warehouse
) -> None:
    copy_warehouse(chain.after("ingest-msd"), Path(warehouse.root))
    counts = run_job(show_tables.main)["counts"]
    assert counts == {"msd_tracks": 80, "msd_analysis": 80, "manifest": 81, "quarantine": 1, "job_runs": 2}


def test_a_person_sees_tables_and_example_rows(chain: Chain, warehouse: Warehouse, shown: Callable[..., str]) -> None:
    copy_warehouse(chain.after("ingest-msd"), Path(warehouse.root))
    printed = shown(show_tables)
    for words in ("msd_analysis", "content", "track_id", "is not an HDF5 file"):
        assert words in printed
