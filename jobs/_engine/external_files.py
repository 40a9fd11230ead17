"""External models in published safetensors files: download, pin and load them."""

import hashlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from reprise.conf import list_external_files
from reprise.jobs._engine.command_line import UsageError
from reprise.lib.errors import InputError, RepriseError

SEPARATOR = "htdemucs"
"""Name of the separator in ``conf/models.yaml``."""

_TIMEOUT_S = 60
_BLOCK_BYTES = 1 << 20


def file_path(folder: Path, name: str) -> Path:
    """Return the path of a model in the folder of models."""
    return folder / f"{name}.safetensors"


def pin_path(folder: Path, name: str) -> Path:
    """Return the path of the file with the SHA-256 of a model's first download."""
    return folder / f"{name}.sha256"


def load_file(folder: Path, name: str) -> bytes:
    """Return a model from the folder of models.

    Raises
    ------
    UsageError
        The model was not fetched.
    RepriseError
        The model has changed since its first download.
    """
    path = file_path(folder, name)
    try:
        data = path.read_bytes()
        pinned = pin_path(folder, name).read_text("ascii").strip()
    except FileNotFoundError:
        raise UsageError(f"the model {name} is not in {folder}: run reprise models --fetch {name}") from None
    except (OSError, ValueError) as error:
        raise RepriseError(f"{path} cannot be read ({error}): run reprise models --fetch {name}") from None
    if hashlib.sha256(data).hexdigest() != pinned:
        raise RepriseError(f"{path} has changed: remove it, and run reprise models --fetch {name}")
    return data


def fetch_file(folder: Path, name: str, check: Callable[[bytes], object], *, max_bytes: int) -> tuple[Path, str]:
    """Download a model into the folder of models. Return its path and what was found about its checksum.

    The first download is pinned: later downloads must have the same SHA-256.

    Parameters
    ----------
    check
        Function that raises InputError if the bytes are not the model.
    max_bytes
        Largest size of the file.

    Raises
    ------
    RepriseError
        The download fails, the file is not the model or differs from the first download, or it cannot be written.
    """
    url = list_external_files()[name].url
    path, pin = file_path(folder, name), pin_path(folder, name)
    data = _download(url, max_bytes)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        pinned = pin.read_text("ascii").strip() if pin.exists() else None
        if pinned not in (None, sha256):
            raise RepriseError(
                f"{url} has the SHA-256 {sha256}, but the first download had {pinned}: find out why, and remove {pin}"
                " if the new file is right"
            )
        check(data)
        # the pin comes first: a model without a pin would be a model that nothing checks
        _write(pin, f"{sha256}\n".encode())
        _write(path, data)
    except InputError as error:
        raise RepriseError(f"{url} is not the model {name}: {error.message}") from None
    except (OSError, ValueError) as error:
        raise RepriseError(f"{path} cannot be written ({error}): name another folder with --models") from None
    if pinned:
        return path, f"SHA-256 {sha256}, as in the first download"
    return path, f"SHA-256 {sha256}; no checksum is published: pinned in {pin}"


def _download(url: str, max_bytes: int) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "reprise"})  # noqa: S310 - http or https, by conf
    data = bytearray()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - http or https, by conf
            declared = response.headers.get("Content-Length")
            while block := response.read(_BLOCK_BYTES):
                data += block
                if len(data) > max_bytes:
                    raise RepriseError(f"{url} has more than {max_bytes / 1e9:.1f} GB: it is not the model")
    except (OSError, http.client.HTTPException) as error:  # a URLError is an OSError
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        reason = str(error).removeprefix("<urlopen error ").rstrip(">")
        raise RepriseError(f"{url} cannot be downloaded ({reason}): check the network and try again") from None
    if declared is not None and len(data) != int(declared):
        raise RepriseError(f"{url} ended after {len(data)} of {declared} bytes: try again")
    return bytes(data)


def _write(path: Path, data: bytes) -> None:
    """Write a file. It gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
    Path(file.name).replace(path)
