"""Genre models in the package: ten genres from the tags or from the features of audio. They need no training.

``jobs/_shipped_models/fit_default_genres.py`` makes their files, cards and metrics, all in ``default/``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from reprise.lib.errors import InputError


@dataclass(frozen=True)
class DefaultModel:
    """A model of the package.

    Parameters
    ----------
    model_id
        Id in the table ``models``.
    sha256
        Checksum of the model's file.
    kind, params, metrics, trained_on, input, quality, domain
        Values of the columns of ``models``.
    """

    model_id: str
    sha256: str
    kind: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    trained_on: Mapping[str, Any]
    input: str
    quality: float
    domain: Mapping[str, Any]


@lru_cache(maxsize=1)
def list_default_models() -> Mapping[str, DefaultModel]:
    """Return the models of the package by their names: ``track_tags`` and ``gtzan``."""
    listed = json.loads(files("reprise.lib.genres").joinpath("default", "models.json").read_text("utf-8"))
    return {name: DefaultModel(**values) for name, values in listed.items()}


def read_default_model(name: str) -> bytes:
    """Return the file of a model of the package.

    Raises
    ------
    InputError
        ``not_a_model``: the checksum of the file is wrong.
    """
    data = files("reprise.lib.genres").joinpath("default", f"{name}.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != list_default_models()[name].sha256:
        raise InputError(
            "not_a_model", f"the file of the genre model {name} was changed after installation: install reprise again"
        )
    return data
