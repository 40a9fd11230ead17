"""The instruments in the package. They need no download. Their card is ``default/instruments.md``."""

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from reprise.lib.errors import InputError

_FOLDER = "reprise.lib.covers"


def list_default_instruments() -> Mapping[str, Mapping[str, Any]]:
    """Return the package's instruments by name, with ``sha256``, ``title``, ``trained_on`` and others."""
    described = files(_FOLDER).joinpath("default", "instruments.json")
    listed: Mapping[str, Mapping[str, Any]] = json.loads(described.read_text("utf-8"))
    return listed


def read_default_instrument(name: str) -> bytes:
    """Return the file of an instrument of the package.

    Raises
    ------
    InputError
        ``not_an_instrument``: the checksum of the file is wrong.
    """
    data = files(_FOLDER).joinpath("default", "instruments", f"{name}.safetensors").read_bytes()
    if hashlib.sha256(data).hexdigest() != list_default_instruments()[name]["sha256"]:
        raise InputError(
            "not_an_instrument",
            f"the file of the instrument {name} was changed after installation: install reprise again",
        )
    return data
