"""Files that may be anything: opening them must not hang, and reading them must not surprise."""

import os
import stat
from pathlib import Path

from reprise.lib.errors import InputError


def read_regular(path: Path) -> bytes:
    """Whole content of a regular file.

    Raises
    ------
    InputError
        ``not_a_file`` for a folder, FIFO, socket or device, which are never waited for; ``unreadable`` when the
        operating system refuses.
    """
    try:
        # O_NONBLOCK: opening a FIFO otherwise waits for a writer; the check is on what was opened, not on a name
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InputError("not_a_file", f"{path.name} is not a regular file: remove or rename it")
            return stream.read()
    except OSError as error:
        raise InputError("unreadable", f"cannot read {path.name}: {error.strerror}") from None
