"""Bounded cache of loaded models in a worker process."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from reprise.lib.detect.embeddings import Embedding, load
from reprise.lib.errors import InputError
from reprise.udfs.staging import filesystem

MAX_MODELS = 4
"""Maximum number of models in the cache. Above it, the least recently used model is dropped."""

Loaded = TypeVar("Loaded")

_LOADED: OrderedDict[tuple[str, str], Any] = OrderedDict()
"""Loaded models by the SHA-256 of the model file and the device."""


def cached_model(sha256: str, load_model: Callable[[], Loaded], *, device: str = "cpu") -> Loaded:
    """Return the model with this checksum on this device. If it is not in the cache, load it with ``load_model``."""
    key = sha256, device
    if key not in _LOADED:
        _LOADED[key] = load_model()
        while len(_LOADED) > MAX_MODELS:
            _LOADED.popitem(last=False)
    _LOADED.move_to_end(key)
    model: Loaded = _LOADED[key]
    return model


def load_artifact(uri: str, sha256: str, read: Callable[[bytes], Loaded]) -> Loaded:
    """Return the model in a file, from the cache if possible. ``read`` converts the content of the file to the model.

    Raises
    ------
    InputError
        ``checksum``: the file is missing or has changed since the training. Errors of ``read`` are raised too.
    """
    return cached_model(sha256, lambda: read(_read_checked(uri, sha256)))


def load_embedding(uri: str, sha256: str) -> Embedding:
    """Load an embedding model with `load_artifact`."""
    return load_artifact(uri, sha256, load)


def _read_checked(uri: str, sha256: str) -> bytes:
    fs, path = filesystem(uri)
    try:
        with fs.open_input_file(path) as file:
            data: bytes = file.read()
    except FileNotFoundError:
        raise InputError("checksum", f"{uri} is missing: train the model again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError("checksum", f"{uri} has changed since the training: train the model again")
    return data
