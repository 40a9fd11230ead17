"""Read and validate the list of external models in ``models.yaml``."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field

_SHA256 = Field(pattern="^[0-9a-f]{64}$")


class ExternalModel(BaseModel):
    """A model that others have trained and published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Annotated[str, Field(description="task in the table models")]
    title: Annotated[str, Field(description="name, and what the model does")]
    licence: Annotated[str, Field(description="SPDX identifier of the licence")]
    homepage: Annotated[str, Field(description="page of the authors")]
    trained_on: Annotated[str, Field(description="data that the authors trained the model on")]
    metrics: Annotated[Mapping[str, float], Field(description="quality that the authors measured")]
    package: Annotated[str, Field(description="Python package with the files, NAME==VERSION")]
    files: Annotated[Mapping[str, Annotated[str, _SHA256]], Field(description="SHA-256 by path in the package")]
    sha256: Annotated[str, _SHA256, Field(description="SHA-256 of the converted model, a safetensors file")]
    size: Annotated[int, Field(gt=0, description="size of the converted model in bytes")]


@cache
def list_external_models() -> Mapping[str, ExternalModel]:
    """Return the external models by name."""
    listed = yaml.safe_load((files(__package__) / "models.yaml").read_text("utf-8"))
    return {name: ExternalModel.model_validate(values) for name, values in listed.items()}
