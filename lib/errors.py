"""The one exception root of the library, and the one way to say that an input cannot be used."""


class RepriseError(Exception):
    """Root of every error that reprise raises on purpose; its text is one line that a person can act on."""


class InputError(RepriseError):
    """An input that cannot be used: becomes one quarantine row.

    Parameters
    ----------
    kind
        Short snake_case class of the fault, e.g. ``not_hdf5``; the quarantine table's ``error_class``.
    message
        One line: what is wrong and where, in words that say what to do about it.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str]]:
        # the default would call InputError(message) when a worker's error is unpickled on the driver
        return InputError, (self.kind, self.message)
