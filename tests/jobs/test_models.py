"""Model registry: ids, rows, defaults by task, reproduction, rows and tables of former versions."""

import json
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from reprise import conf
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.models import (
    Model,
    check_reproduced,
    find_model,
    list_models,
    make_model_id,
    update_metrics,
    write_artifact,
    write_model,
)
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.jobs._sql.duckdb_engine import DuckDB
from reprise.lib.errors import RepriseError
from reprise.lib.tables import MODELS
from reprise.lib.tables.operations import COVER_EMBEDDING, GENRE
from reprise.udfs.arrow import arrow_schema


@pytest.fixture
def run(warehouse: Warehouse) -> Run:
    return Run("train_genre", Namespace(), conf.load(environ={}), warehouse)


def add_model(run: Run, model_id: str, task: str = GENRE, **metrics: Any) -> Model:
    artifact, sha256 = write_artifact(run.warehouse.root, model_id.encode(), ".bin")
    return write_model(
        run, model_id=model_id, task=task, kind="genre/x" if task == GENRE else "learned", params={"seed": 1},
        metrics=metrics, artifact=artifact, sha256=sha256, trained_on={"msd_tracks": 3},
    )  # fmt: skip


def test_id_depends_on_everything_it_is_made_from_but_not_on_order() -> None:
    one = make_model_id("genre-x", [{"a": 1, "b": 2}, "list"])
    assert one == make_model_id("genre-x", [{"b": 2, "a": 1}, "list"])
    assert one != make_model_id("genre-x", [{"a": 1, "b": 3}, "list"])
    assert one.startswith("genre-x-")
    assert len(one) == len("genre-x-") + 12


def test_written_model_is_found_by_task_and_the_last_is_the_default(run: Run) -> None:
    first = add_model(run, "a", accuracy=0.5)
    second = add_model(run, "b")
    add_model(run, "c", COVER_EMBEDDING)
    assert list(list_models(run.warehouse, GENRE).values()) == [first, second]
    assert find_model(run, GENRE, None, train_with="train-genre") == second
    assert find_model(run, GENRE, "a", train_with="train-genre") == first
    assert first.metrics == {"accuracy": 0.5}
    assert first.artifact.startswith(run.warehouse.root)


def test_model_of_another_task_is_not_found(run: Run) -> None:
    with pytest.raises(UsageError, match="there is no genre model yet: run train-genre first"):
        find_model(run, GENRE, None, train_with="train-genre")
    add_model(run, "c", COVER_EMBEDDING)
    with pytest.raises(UsageError, match="there is no genre model yet"):
        find_model(run, GENRE, "c", train_with="train-genre")
    for number in range(10):
        add_model(run, f"g{number}")
    with pytest.raises(UsageError, match=r"there is no genre model c; choose from: g0, .*, g7 and 2 more$"):
        find_model(run, GENRE, "c", train_with="train-genre")


def test_metrics_are_added_and_the_rest_of_the_row_stays(run: Run) -> None:
    add_model(run, "a", accuracy=0.5)
    before = run.warehouse.lookup_all(MODELS).to_pylist()[0]
    update_metrics(run.warehouse, "a", {"calibration": [1, 2]})
    after = run.warehouse.lookup_all(MODELS).to_pylist()[0]
    assert json.loads(after.pop("metrics")) == {"accuracy": 0.5, "calibration": [1, 2]}
    before.pop("metrics")
    assert after == before


def test_reproduction_compares_bytes(run: Run) -> None:
    model = add_model(run, "a")
    check_reproduced(model, b"a")
    with pytest.raises(RepriseError, match=r"^a, trained again, has SHA-256 \w{12}… instead of \w{12}…"):
        check_reproduced(model, b"b")


def test_table_of_a_former_version_gains_the_task_and_its_rows_keep_theirs(warehouse: Warehouse, run: Run) -> None:
    """Version 0.1 had no column ``task``: the kind says it. Queries in DuckDB read both kinds of file."""
    schema = arrow_schema(MODELS)
    former = pa.schema([field for field in schema if not MODELS.column(field.name).added])
    row: dict[str, Any] = {field.name: "" for field in former}
    row |= {"params": "{}", "metrics": "{}", "trained_on": "{}"}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    kinds = {"old-genre": "genre/knn", "old-cover": "median_pca"}
    rows = [
        row | {"model_id": name, "kind": kind, "trained_at": start + timedelta(days=day)}
        for day, (name, kind) in enumerate(kinds.items())
    ]
    write_deltalake(warehouse.uri(MODELS), pa.Table.from_pylist(rows, former))
    asked = "SELECT model_id, task FROM models ORDER BY model_id"
    (answer,) = (reader.read_all().to_pylist() for reader in DuckDB(warehouse, write=False).query(asked, {}))
    assert answer == [{"model_id": "old-cover", "task": None}, {"model_id": "old-genre", "task": None}]
    assert list(list_models(warehouse, GENRE)) == ["old-genre"]
    assert list(list_models(warehouse, COVER_EMBEDDING)) == ["old-cover"]
    add_model(run, "new-genre")
    assert list(list_models(Warehouse(warehouse.root), GENRE)) == ["old-genre", "new-genre"]
    (answer,) = (reader.read_all().to_pylist() for reader in DuckDB(warehouse, write=False).query(asked, {}))
    assert [one["task"] for one in answer] == ["genre", None, None]
    fields = {field.name for field in DeltaTable(warehouse.uri(MODELS)).schema().fields}
    assert fields == set(schema.names)
