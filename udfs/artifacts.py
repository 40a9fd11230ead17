"""Trained models: files below the warehouse, named by their content."""

import hashlib
import uuid

from reprise.lib.detect.embeddings import Embedding, load
from reprise.lib.errors import InputError
from reprise.udfs.staging import filesystem

_LOADED: dict[str, Embedding] = {}


def write_artifact(root: str, data: bytes) -> tuple[str, str]:
    """Keep a model's bytes below the warehouse, named by their SHA-256; gives the path below it and that hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"_artifacts/{sha256}.safetensors"
    fs, place = filesystem(f"{root}/{path}")
    fs.create_dir(place.rpartition("/")[0], recursive=True)
    unfinished = f"{place}.{uuid.uuid4()}"  # a killed writer leaves nothing under the name
    with fs.open_output_stream(unfinished) as file:
        file.write(data)
    fs.move(unfinished, place)
    return path, sha256


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
