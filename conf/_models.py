"""Read and validate the list of external models in ``models.yaml``."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

_SHA256 = Field(pattern="^[0-9a-f]{64}$")


class _Published(BaseModel):
    """A model that others have trained and published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[str, Field(description="task in the table models")]
    title: Annotated[str, Field(description="name, and what the model does")]
    licence: Annotated[str, Field(description="SPDX identifier of the licence")]
    homepage: Annotated[str, Field(description="page of the authors")]
    trained_on: Annotated[str, Field(description="data that the authors trained the model on")]
    metrics: Annotated[Mapping[str, float], Field(description="quality that the authors measured")]


class ExternalModel(_Published):
    """A published model in a Python package. It is converted to a safetensors file."""

    package: Annotated[str, Field(description="Python package with the files, NAME==VERSION")]
    files: Annotated[Mapping[str, Annotated[str, _SHA256]], Field(description="SHA-256 by path in the package")]
    sha256: Annotated[str, _SHA256, Field(description="SHA-256 of the converted model, a safetensors file")]
    size: Annotated[int, Field(gt=0, description="size of the converted model in bytes")]


class ExternalFile(_Published):
    """A published model in one safetensors file, without a published checksum. The first download is pinned."""

    url: Annotated[str, Field(pattern="^https?://", description="address of the file")]


class ExternalFolder(_Published):
    """A published model in a folder of files that users put in place themselves."""

    files: Annotated[Mapping[str, Annotated[str, _SHA256]], Field(description="SHA-256 by name in the folder")]


def list_external_models() -> Mapping[str, ExternalModel]:
    """Return the external models in packages by name."""
    return {name: model for name, model in _list().items() if isinstance(model, ExternalModel)}


def list_external_files() -> Mapping[str, ExternalFile]:
    """Return the external models in safetensors files by name."""
    return {name: model for name, model in _list().items() if isinstance(model, ExternalFile)}


def list_external_folders() -> Mapping[str, ExternalFolder]:
    """Return the external models in folders by name."""
    return {name: model for name, model in _list().items() if isinstance(model, ExternalFolder)}


@cache
def _list() -> Mapping[str, ExternalModel | ExternalFile | ExternalFolder]:
    listed = yaml.safe_load((files(__package__) / "models.yaml").read_text("utf-8"))
    return {name: _choose_kind(values).model_validate(values) for name, values in listed.items()}


def _choose_kind(values: Mapping[str, object]) -> type[ExternalModel | ExternalFile | ExternalFolder]:
    if "url" in values:
        return ExternalFile
    return ExternalModel if "package" in values else ExternalFolder
