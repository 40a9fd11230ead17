"""Instruments for timbre transfer: those of the package, published folders, and files of ``train-instrument``."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reprise.conf import Settings, list_external_folders
from reprise.jobs._engine.command_line import UsageError
from reprise.lib.covers.default_instruments import list_default_instruments, read_default_instrument
from reprise.lib.covers.instruments import MAX_FILE_BYTES, Instrument, read_instrument
from reprise.lib.covers.magenta import CONFIG, FILES, load_magenta
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.files import printable_name, read_regular


@dataclass(frozen=True)
class InstrumentSource:
    """An instrument that was found.

    Attributes
    ----------
    name
        Its name.
    origin
        Where it comes from, for the user.
    licence
        Licence of what it makes audible, as far as it is known.
    load
        Loads its network, which takes several seconds.
    """

    name: str
    origin: str
    licence: str
    load: Callable[[], Instrument]


def choose_instrument(settings: Settings, name: str) -> InstrumentSource:
    """Find an instrument: a name of the package, a name of ``conf/models.yaml``, a published folder, or a file.

    Raises
    ------
    UsageError
        There is no such instrument.
    RepriseError
        The file is not an instrument, or its checksum is not known.
    """
    if name in list_default_instruments():
        return _read_file(read_default_instrument(name), "the package")
    path = Path(settings.models).expanduser() / name if name in list_external_folders() else Path(name)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        if path.stat().st_size > MAX_FILE_BYTES:
            raise RepriseError(f"{name} is larger than {MAX_FILE_BYTES / 1e6:.0f} MB: it is not an instrument")
        return _read_file(read_regular(path), printable_name(path))
    if name in list_external_folders():
        raise UsageError(f"--instrument {name}: put its folder at {path}, see docs/instruments.md")
    known = ", ".join([*list_default_instruments(), *list_external_folders()])
    raise UsageError(f"--instrument {name} is neither a file nor a folder nor one of: {known}")


def _read_file(data: bytes, origin: str) -> InstrumentSource:
    try:
        file = read_instrument(data)
    except InputError as error:
        raise RepriseError(f"{origin} is {error.message}: name another file") from None
    return InstrumentSource(file.name, origin, str(file.card.get("licence", "not stated")), file.load)


def _read_folder(path: Path) -> InstrumentSource:
    """Read a published instrument, all of whose files have the checksums of ``conf/models.yaml``."""
    missing = [file for file in FILES if not (path / file).is_file()]
    if missing:
        raise RepriseError(f"{path} is not a folder of an instrument: it has no {missing[0]}")
    files = {file: read_regular(path / file) for file in FILES}
    sha256 = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    published = list_external_folders()
    if sha256[CONFIG] not in {model.files[CONFIG] for model in published.values()}:
        raise RepriseError(
            f"{path / CONFIG} has an unknown checksum: a gin file is a program, so only published ones are read;"
            " train an instrument of your own with reprise train-instrument"
        )
    for name, model in published.items():
        if dict(model.files) == sha256:
            return InstrumentSource(name, str(path), model.licence, partial(load_magenta, name, files))
    changed = next(file for file in FILES if sha256[file] not in {model.files[file] for model in published.values()})
    raise RepriseError(f"{path / changed} has changed: copy the folder again from where you got it")
