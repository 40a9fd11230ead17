"""Several processes on one warehouse at once, and how tables are made."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import GENRE_LABELS, JOB_RUNS, MSD_TRACKS, TABLES, Table
from reprise.udfs.arrow import arrow_schema

EVERYTHING = ("", "\U0010ffff")

PRELUDE = """
import json, sys, time
from pathlib import Path
import pyarrow as pa
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.tables import GENRE_LABELS
from reprise.lib.tables import MSD_TRACKS
from reprise.lib.tables import TABLES
from reprise.udfs.arrow import arrow_schema
root, me, writers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
warehouse = Warehouse(root)
gate = Path(root + ".gate")
gate.mkdir(exist_ok=True)
(gate / str(me)).touch()
while len(list(gate.iterdir())) < writers:
    time.sleep(0.001)
"""

MERGE_TRACKS = """
refused = []
for step in range(12):
    numbers = [(step * 7 + i * (me + 1)) % 60 for i in range(8)]
    rows = [
        {"track_id": f"TR{n:016d}", "uri": f"{me}.h5", "sha256": f"{me}", "run_id": f"{me}"}
        for n in sorted(set(numbers))
    ]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(MSD_TRACKS))
    result = warehouse.merge(MSD_TRACKS, table)
    refused += [] if result.empty else result[["track_id", "kept_owner"]].to_numpy().tolist()
print(json.dumps(refused))
"""

MERGE_LABELS = """
for step in range(12):
    rows = [
        {"track_id": f"T{n}", "source": "s", "rank": 0, "genre": f"{me}", "run_id": f"{me}"}
        for n in (*range(5), 100 + me * 100 + step)
    ]
    warehouse.merge(GENRE_LABELS, pa.Table.from_pylist(rows, schema=arrow_schema(GENRE_LABELS)))
print("[]")
"""

MAKE_ALL = """
for table in TABLES.values():
    warehouse.lookup(table, table.key[0], "", "")
print("[]")
"""


def at_once(script: str, warehouse: Warehouse, writers: int) -> list[Any]:
    """What each of ``writers`` processes prints that run ``script`` and begin together."""
    command = [sys.executable, "-W", "error", "-c", PRELUDE + script, warehouse.root]
    Path(warehouse.root).mkdir(parents=True, exist_ok=True)
    processes = [
        subprocess.Popen([*command, str(n), str(writers)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for n in range(writers)
    ]
    printed = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * writers, "".join(err for _, err in printed)
    return [json.loads(out) for out, _ in printed]


def offered(me: int) -> set[str]:
    """Track ids that process ``me`` offers over all its steps."""
    return {f"TR{(step * 7 + i * (me + 1)) % 60:016d}" for step in range(12) for i in range(8)}


@pytest.mark.slow
def test_two_owners_merging_at_once_lose_no_row_and_share_no_key(warehouse: Warehouse) -> None:
    refused = at_once(MERGE_TRACKS, warehouse, 2)
    assert len(offered(0) & offered(1)) > 20
    rows = warehouse.lookup(MSD_TRACKS, "track_id", *EVERYTHING).to_pylist()
    assert sorted(row["track_id"] for row in rows) == sorted(offered(0) | offered(1))
    owners = {row["track_id"]: row["uri"] for row in rows}
    for me, told in enumerate(refused):
        assert {track for track, _ in told} == {track for track in offered(me) if owners[track] != f"{me}.h5"}
        assert all(kept == owners[track] for track, kept in told)


@pytest.mark.slow
def test_three_processes_replacing_the_same_rows_at_once_keep_one_of_each(warehouse: Warehouse) -> None:
    at_once(MERGE_LABELS, warehouse, 3)
    rows = warehouse.lookup(GENRE_LABELS, "track_id", *EVERYTHING).to_pylist()
    own = [f"T{100 + me * 100 + step}" for me in range(3) for step in range(12)]
    assert Counter(row["track_id"] for row in rows) == Counter([f"T{n}" for n in range(5)] + own)
    assert {row["genre"] for row in rows if len(row["track_id"]) == 2} <= {"0", "1", "2"}


@pytest.mark.slow
def test_processes_that_make_the_same_tables_at_once(warehouse: Warehouse) -> None:
    at_once(MAKE_ALL, warehouse, 4)
    for table in TABLES.values():
        assert_made(table, DeltaTable(warehouse.uri(table)))


def assert_made(table: Table, delta: DeltaTable) -> None:
    metadata = delta.metadata()
    assert (metadata.name, metadata.description) == (table.name, table.doc)
    constraints = {k: v for k, v in metadata.configuration.items() if k.startswith("delta.constraints.")}
    assert constraints.keys() == {f"delta.constraints.{name}" for name in table.checks}
    assert metadata.configuration["delta.enableDeletionVectors"] == "false"
    assert metadata.partition_columns == []
    fields = json.loads(delta.schema().to_json())["fields"]
    assert [f["metadata"].get("comment") for f in fields] == [c.comment for c in table.columns]
    assert [(f["name"], f["nullable"]) for f in fields] == [(c.name, c.nullable) for c in table.columns]
    # what delta-rs, DuckDB and Trino can all write and read
    protocol = delta.protocol()
    assert set(protocol.reader_features or []) == set()
    assert set(protocol.writer_features or []) <= {"checkConstraints", "invariants", "appendOnly"}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_a_table_is_made_as_its_contract_says(table: Table, warehouse: Warehouse) -> None:
    warehouse.lookup(table, table.key[0], "", "")
    assert_made(table, DeltaTable(warehouse.uri(table)))
    made = warehouse.versions()
    Warehouse(warehouse.root).lookup(table, table.key[0], "", "")
    assert warehouse.versions() == made


def test_constraints_that_a_killed_process_left_out_are_added(warehouse: Warehouse) -> None:
    uri = Path(warehouse.uri(MSD_TRACKS))
    uri.mkdir(parents=True)
    configuration = {"delta.enableDeletionVectors": "false"}
    DeltaTable.create(
        str(uri), arrow_schema(MSD_TRACKS), name="msd_tracks", description=MSD_TRACKS.doc, configuration=configuration
    )
    warehouse.lookup(MSD_TRACKS, "track_id", "", "")
    assert_made(MSD_TRACKS, DeltaTable(uri))


def test_an_empty_folder_where_a_table_shall_be_is_no_hindrance(warehouse: Warehouse) -> None:
    """As a process leaves it that is killed before it makes the table; staged files may be there already."""
    folder = Path(warehouse.uri(JOB_RUNS))
    folder.mkdir(parents=True)
    (folder / "part-0.zstd.parquet").write_bytes(b"uncommitted")
    assert not warehouse.exists(JOB_RUNS)
    assert warehouse.lookup(JOB_RUNS, "run_id", *EVERYTHING).num_rows == 0


def test_files_that_no_commit_names_are_not_read(warehouse: Warehouse) -> None:
    rows = pa.Table.from_pylist(
        [{"track_id": "T", "source": "s", "rank": 0, "genre": "g", "run_id": "r"}], schema=arrow_schema(GENRE_LABELS)
    )
    warehouse.merge(GENRE_LABELS, rows)
    (Path(warehouse.uri(GENRE_LABELS)) / "part-1.zstd.parquet").write_bytes(b"half written")
    assert Warehouse(warehouse.root).lookup(GENRE_LABELS, "track_id", *EVERYTHING).equals(rows)
