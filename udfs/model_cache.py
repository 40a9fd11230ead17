"""Trained models: files below the warehouse, named by their content, with what is said about them beside them."""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reprise.lib.detect.embeddings import Embedding, load
from reprise.lib.errors import InputError
from reprise.udfs.staging import filesystem

Model = TypeVar("Model")

_LOADED: dict[str, Any] = {}


def write_artifact(root: str, data: bytes, suffix: str) -> tuple[str, str]:
    """Keep a model's bytes below the warehouse, named by their SHA-256; gives the path below it and that hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"_artifacts/{sha256}{suffix}"
    _write(f"{root}/{path}", data)
    return path, sha256


def write_beside(root: str, artifact: str, name: str, folder: Path) -> str:
    """Copy the files of a local folder to a folder ``name`` beside an artifact; gives its path below the warehouse."""
    path = f"{artifact.rpartition('.')[0]}/{name}"
    for file in sorted(folder.iterdir()):
        _write(f"{root}/{path}/{file.name}", file.read_bytes())
    return path


def load_artifact(uri: str, sha256: str, read: Callable[[bytes], Model]) -> Model:
    """What ``read`` makes of a file, loaded once a process.

    Raises
    ------
    InputError
        ``checksum``: the file is not the one that was trained, or is gone; and what ``read`` raises.
    """
    if sha256 not in _LOADED:
        fs, path = filesystem(uri)
        try:
            with fs.open_input_file(path) as file:
                data = file.read()
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != sha256:
            raise InputError("checksum", f"{uri} is not the file that was trained: train the model again")
        _LOADED[sha256] = read(data)
    model: Model = _LOADED[sha256]
    return model


def load_embedding(uri: str, sha256: str) -> Embedding:
    """The embedding in a file, as `load_artifact`."""
    return load_artifact(uri, sha256, load)


def _write(uri: str, data: bytes) -> None:
    fs, place = filesystem(uri)
    fs.create_dir(place.rpartition("/")[0], recursive=True)
    unfinished = f"{place}.{uuid.uuid4()}"  # a killed writer leaves nothing under the name
    with fs.open_output_stream(unfinished) as file:
        file.write(data)
    fs.move(unfinished, place)
