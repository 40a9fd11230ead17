"""Open and read untrusted files, and write files atomically.

FIFOs and devices are rejected, so a call does not wait for another process.
"""

import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BufferedWriter
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from reprise.lib.errors import InputError

UNFINISHED_PREFIX = ".unfinished-"
"""Start of the names of files that are being written. After a kill, such a file remains."""


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading bytes.

    Raises
    ------
    InputError
        ``not_a_file`` for a folder, FIFO or device (the call does not wait for a writer of a FIFO); ``unreadable`` when
        the operating system cannot open the path, e.g. a missing file or a socket.
    """
    name = printable_name(path)
    try:
        # without O_NONBLOCK, open() on a FIFO waits for a writer. The type is checked after opening, with fstat():
        # the path could be replaced between an earlier check and open()
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise InputError(
            "unreadable",
            f"cannot open {name}: {getattr(error, 'strerror', None) or error}: check that it exists and is readable",
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("not_a_file", f"{name} is a folder, a pipe or a device, not a file: remove or rename it")
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Return the whole content of a regular file.

    Raise the errors of `open_regular`, and InputError ``unreadable`` if reading fails.
    """
    with open_regular(path) as file:
        try:
            return file.read()
        except OSError as error:
            raise InputError("unreadable", f"cannot read {printable_name(path)}: {error.strerror}") from None


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[BufferedWriter]:
    """Open a file that gets its name when it is complete; a context manager.

    An existing file is replaced at the end of the block. After an error in the block, the path is as before and no
    unfinished file remains. The folder must exist.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    target = Path(path)
    # the name is short and random: the target's name can be as long as a name may be, and others can write it too
    unfinished = target.parent / f"{UNFINISHED_PREFIX}{uuid.uuid4().hex}"
    try:
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def printable_name(path: str | os.PathLike[str]) -> str:
    """Return the last component of a path as printable text.

    Unprintable characters and bytes that are not UTF-8 become U+FFFD.
    """
    name = os.fsencode(Path(path).name).decode("utf-8", "replace")
    return name if name.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def local_path(uri: str) -> Path:
    """Return the path of a ``file:`` URI.

    For a URI with another scheme, return its path component, which ends with the file name.
    """
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a regular file as a hexadecimal string. Raise the same errors as `read_regular`."""
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError("unreadable", f"cannot read {printable_name(path)}: {error.strerror}") from None
