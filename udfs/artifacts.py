"""Trained models, read from below the warehouse and kept for as long as the process lives."""

import hashlib

from reprise.lib.detect.embeddings import Embedding, load
from reprise.lib.errors import InputError
from reprise.udfs.staging import filesystem

_LOADED: dict[str, Embedding] = {}


def load_embedding(uri: str, sha256: str) -> Embedding:
    """The embedding in a file, loaded once a process.

    Raises
    ------
    InputError
        ``checksum``: the file is not the one that was trained.
    """
    if sha256 not in _LOADED:
        fs, path = filesystem(uri)
        with fs.open_input_file(path) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InputError("checksum", f"{uri} is not the file that was trained: train the model again")
        _LOADED[sha256] = load(data)
    return _LOADED[sha256]
