"""Model registry in the ``models`` table: ids, rows, default models, artifacts, and checks of retrained models."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.run import Run
from reprise.jobs._engine.warehouse import Warehouse
from reprise.lib.errors import RepriseError
from reprise.lib.tables import MODELS
from reprise.lib.tables.operations import COVER_EMBEDDING, GENRE
from reprise.udfs.arrow import arrow_schema
from reprise.udfs.staging import filesystem

_SHOWN = 8
"""Maximum number of ids that an error message lists."""


@dataclass(frozen=True)
class Model:
    """A row of ``models``. ``artifact`` is a full path or URI; in the table, it is relative to the warehouse root."""

    model_id: str
    task: str
    kind: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    artifact: str
    sha256: str
    trained_on: Mapping[str, Any]
    input: str | None = None
    quality: float | None = None


def make_model_id(prefix: str, made_from: object) -> str:
    """Return the id of a model: a prefix and a hash of ``made_from``.

    ``made_from`` contains all inputs that determine the model. It must be JSON-serialisable.
    """
    text = json.dumps(made_from, sort_keys=True)
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def list_models(warehouse: Warehouse, task: str) -> dict[str, Model]:
    """Return the models of a task by id, ordered by the time of training."""
    rows = warehouse.lookup_all(MODELS).sort_by([("trained_at", "ascending")]).to_pylist()
    return {row["model_id"]: _to_model(warehouse, row) for row in rows if _task_of(row) == task}


def find_model(run: Run, task: str, model_id: str | None, *, train_with: str) -> Model:
    """Return the model of a task with the id ``model_id``. If it is None, return the model trained last.

    Raises
    ------
    UsageError
        The task has no model with this id, or no model at all. In the second case, the message names ``train_with``,
        the command that trains a model.
    """
    known = list_models(run.warehouse, task)
    words = task.replace("_", " ")
    if not known:
        raise UsageError(f"there is no {words} model yet: run {train_with} first")
    if model_id is None:
        return list(known.values())[-1]
    if model_id not in known:
        ids = ", ".join(sorted(known)[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
        raise UsageError(f"there is no {words} model {model_id}; choose from: {ids}")
    return known[model_id]


def write_model(
    run: Run,
    *,
    model_id: str,
    task: str,
    kind: str,
    params: Mapping[str, Any],
    metrics: Mapping[str, Any],
    artifact: str,
    sha256: str,
    trained_on: Mapping[str, Any],
    input_: str | None = None,
    quality: float | None = None,
    domain: Mapping[str, Any] | None = None,
) -> Model:
    """Write the row of a trained model and return it. ``artifact`` is the path that `write_artifact` returned."""
    row = {
        "model_id": model_id,
        "kind": kind,
        "task": task,
        "input": input_,
        "quality": quality,
        "domain": None if domain is None else json.dumps(domain),
        "params": json.dumps(params, sort_keys=True),
        "metrics": json.dumps(metrics),
        "artifact": artifact,
        "sha256": sha256,
        "trained_on": json.dumps(trained_on, sort_keys=True),
        "trained_at": datetime.now(UTC),
        "run_id": run.run_id,
    }
    run.warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))
    return _to_model(run.warehouse, row)


def update_metrics(warehouse: Warehouse, model_id: str, metrics: Mapping[str, Any]) -> None:
    """Add ``metrics`` to those in the row of a model. A metric with an existing name replaces the stored one."""
    row = warehouse.lookup(MODELS, "model_id", model_id, model_id).to_pylist()[0]
    row["metrics"] = json.dumps(json.loads(row["metrics"]) | dict(metrics))
    warehouse.merge(MODELS, pa.Table.from_pylist([row], arrow_schema(MODELS)))


def check_reproduced(model: Model, data: bytes) -> None:
    """Check that a model trained again has the checksum of the original. ``data`` are the bytes of the new model.

    Raises
    ------
    RepriseError
        The checksums differ.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != model.sha256:
        raise RepriseError(
            f"{model.model_id}, trained again, has SHA-256 {sha256[:12]}… instead of {model.sha256[:12]}…: it was"
            " trained with other package versions, or on another kind of machine: use the same ones to reproduce it"
        )


def write_artifact(root: str, data: bytes, suffix: str) -> tuple[str, str]:
    """Write a model's bytes to a file. Its name is the SHA-256 of the bytes, followed by ``suffix``.

    Return the path of the file, relative to the warehouse root, and the SHA-256.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"_artifacts/{sha256}{suffix}"
    _write(f"{root}/{path}", data)
    return path, sha256


def write_report_files(root: str, artifact: str, name: str, folder: Path) -> str:
    """Copy the files of a local folder to the folder ``ARTIFACT/name``. ARTIFACT is ``artifact`` without its suffix.

    Return the path of the new folder. Like ``artifact``, it is relative to ``root``, the warehouse root.
    """
    path = f"{artifact.rpartition('.')[0]}/{name}"
    for file in sorted(folder.iterdir()):
        _write(f"{root}/{path}/{file.name}", file.read_bytes())
    return path


def _write(uri: str, data: bytes) -> None:
    fs, place = filesystem(uri)
    fs.create_dir(place.rpartition("/")[0], recursive=True)
    unfinished = f"{place}.{uuid.uuid4()}"  # a killed writer leaves nothing under the final name
    with fs.open_output_stream(unfinished) as file:
        file.write(data)
    fs.move(unfinished, place)


def _task_of(row: Mapping[str, Any]) -> str:
    """Return the task of a model. A NULL task, from an older version of reprise, is derived from the kind."""
    return row["task"] or (GENRE if row["kind"].startswith("genre/") else COVER_EMBEDDING)


def _to_model(warehouse: Warehouse, row: Mapping[str, Any]) -> Model:
    return Model(
        model_id=row["model_id"],
        task=_task_of(row),
        kind=row["kind"],
        params=json.loads(row["params"]),
        metrics=json.loads(row["metrics"]),
        artifact=f"{warehouse.root}/{row['artifact']}",
        sha256=row["sha256"],
        trained_on=json.loads(row["trained_on"]),
        input=row["input"],
        quality=row["quality"],
    )
