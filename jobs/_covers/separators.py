"""Choose the separator of a run: the published htdemucs, the one of the package, or a file."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reprise.conf import Settings, list_external_files
from reprise.jobs._engine.command_line import UsageError
from reprise.jobs._engine.external_files import SEPARATOR, file_path, load_file
from reprise.jobs._engine.models import Model, list_models, write_artifact, write_model
from reprise.jobs._engine.run import Run
from reprise.lib.covers.default_separator import SHIPPED, find_default_separator, read_default_separator
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import printable_name, read_regular
from reprise.lib.nets.separators import MAX_FILE_BYTES, Separator, describe_separator, load_separator
from reprise.lib.tables.operations import SEPARATION

_CHECK = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from reprise.lib.errors import InputError
from reprise.lib.nets.separators import load_separator
try:
    load_separator(sys.stdin.buffer.read())
except InputError as error:
    sys.stdout.buffer.write(error.message.encode())
"""


@dataclass(frozen=True)
class SeparatorFile:
    """The file of a separator.

    Attributes
    ----------
    origin
        Where the file comes from, for the user.
    data
        The file, in safetensors.
    is_checked
        Whether it is known that the whole file is a separator.
    params, metrics, trained_on
        Values of the columns of ``models``.
    """

    origin: str
    data: bytes
    is_checked: bool
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]
    trained_on: Mapping[str, Any]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def kind(self) -> str:
        """Name of the separator's class."""
        return describe_separator(self.data)[0]

    @property
    def sample_rate(self) -> int:
        """Sample rate of the stems in Hz."""
        return describe_separator(self.data)[1]

    @property
    def model_id(self) -> str:
        """Id in the table ``models``. Equal files have equal ids, whatever their names."""
        return f"{self.kind.lower()}-{self.sha256[:12]}"

    def load(self) -> Separator:
        """Load the separator on the CPU. Raise RepriseError if the file is not a separator."""
        try:
            return load_separator(self.data)
        except InputError as error:
            raise RepriseError(f"{self.origin} is not a separator: {error.message}") from None


def choose_separator(settings: Settings, name: str | None) -> SeparatorFile:
    """Return the separator ``name``: ``htdemucs``, ``shipped``, a safetensors file, or a folder with one such file.

    If it is None, return htdemucs if it has been fetched, otherwise the separator of the package.

    Raises
    ------
    UsageError
        There is no such separator.
    RepriseError
        The file is not a separator, or it has changed.
    """
    folder = Path(settings.models).expanduser()
    if name is None:
        name = SEPARATOR if file_path(folder, SEPARATOR).exists() else SHIPPED
    if name == SEPARATOR:
        published = list_external_files()[SEPARATOR]
        params = {"url": published.url, "licence": published.licence}
        data = load_file(folder, SEPARATOR)
        trained_on = {"data": published.trained_on}
        return SeparatorFile(f"{SEPARATOR} in {folder}", data, True, params, published.metrics, trained_on)
    if name == SHIPPED:
        described = find_default_separator()
        if described is None:
            raise UsageError("this package has no separator: run reprise models --fetch htdemucs, or give --model FILE")
        data = read_default_separator(described["sha256"])
        values = (described[key] for key in ("params", "metrics", "trained_on"))
        return SeparatorFile("the separator of the package", data, True, *values)
    path = _find_file(name)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise RepriseError(f"--model {name} is larger than {MAX_FILE_BYTES / 1e9:.1f} GB: it is not a separator")
    data = read_regular(path)
    try:
        describe_separator(data)
    except InputError as error:
        raise RepriseError(f"{path} is not a separator: {error.message}") from None
    return SeparatorFile(str(path), data, False, {"file": printable_name(path)}, {}, {})


def register_separator(run: Run, chosen: SeparatorFile) -> Model:
    """Return the separator's row in ``models``. If it is missing, or with ``--force``, write the row and the file.

    The workers read the separator from the warehouse.
    """
    known = list_models(run.warehouse, SEPARATION)
    if chosen.model_id in known and not run.args.force:
        return known[chosen.model_id]
    if not chosen.is_checked:
        _check(chosen)
    artifact, sha256 = write_artifact(run.warehouse.root, chosen.data, ".safetensors")
    return write_model(
        run,
        model_id=chosen.model_id,
        task=SEPARATION,
        kind=chosen.kind,
        params=chosen.params,
        metrics=chosen.metrics,
        artifact=artifact,
        sha256=sha256,
        trained_on=chosen.trained_on,
    )


def _find_file(name: str) -> Path:
    path = Path(name)
    if path.is_dir():
        found = sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            raise UsageError(f"--model {name} contains {len(found)} safetensors files, not one: name the file")
        return found[0]
    if not path.is_file():
        raise UsageError(f"--model {name} is neither a file nor a folder nor one of: {SEPARATOR}, {SHIPPED}")
    return path


def _check(chosen: SeparatorFile) -> None:
    """Load a separator in a child process, because torch and Spark need much memory in one process.

    Raise RepriseError if the file is not a separator.
    """
    command = [sys.executable, "-P", "-c", _CHECK, json.dumps(sys.path)]
    done = subprocess.run(command, input=chosen.data, capture_output=True, check=False)  # noqa: S603 - this interpreter
    if done.returncode:
        raise RepriseError(f"{chosen.origin} cannot be loaded: {done.stderr.decode('utf-8', 'replace')[-300:]}")
    if fault := done.stdout.decode("utf-8"):
        raise RepriseError(f"{chosen.origin} is not a separator: {fault}")
