"""Files that may be anything: opening them must not hang, and reading them must not surprise."""

import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from reprise.lib.errors import InputError


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading.

    Raises
    ------
    InputError
        ``not_a_file`` for a folder, FIFO, socket or device, which are never waited for; ``unreadable`` when the
        operating system refuses.
    """
    name = printable_name(path)
    try:
        # a FIFO opened without O_NONBLOCK waits for a writer; the check is on what was opened, not on a name
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise InputError("unreadable", f"cannot open {name}: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("not_a_file", f"{name} is a folder, a pipe or a device, not a file: remove or rename it")
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Whole content of a regular file; errors as `open_regular`."""
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError("unreadable", f"cannot read {printable_name(path)}: {error.strerror}") from None


def printable_name(path: str | os.PathLike[str]) -> str:
    """Name of a file as text for a line and a table: what is no utf-8, or does not print, is replaced."""
    name = os.fsencode(Path(path).name).decode("utf-8", "replace")
    return name if name.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def local_path(uri: str) -> Path:
    """Path of a ``file:`` URI. For any other URI its path part, whose last name is the file's."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a regular file, hexadecimal; errors as `read_regular`."""
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError("unreadable", f"cannot read {printable_name(path)}: {error.strerror}") from None
