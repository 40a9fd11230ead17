"""The separator in the package. It needs no download. Its card, ``default/separator.md``, says how good it is."""

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from reprise.lib.errors import InputError

SHIPPED = "shipped"
"""Name of the separator of the package."""


def find_default_separator() -> Mapping[str, Any] | None:
    """Return the description of the separator of the package: ``sha256``, ``params``, ``metrics`` and ``trained_on``.

    None if the package has no separator.
    """
    described = files("reprise.lib.covers").joinpath("default", "separator.json")
    return json.loads(described.read_text("utf-8")) if described.is_file() else None


def read_default_separator(sha256: str) -> bytes:
    """Return the file of the separator of the package, which must have the SHA-256 ``sha256``.

    Raises
    ------
    InputError
        ``not_a_model``: the checksum of the file is wrong.
    """
    data = files("reprise.lib.covers").joinpath("default", "separator.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            "not_a_model", "the file of the separator was changed after installation: install reprise again"
        )
    return data
