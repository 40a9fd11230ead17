"""Exceptions of reprise: the common base class and the error for unusable input."""


class RepriseError(Exception):
    """Base class of the errors that are reported to the user. The message is one line with the fault and the remedy."""


class InputError(RepriseError):
    """Error for an unusable input. Jobs that read many inputs write its kind and message into the quarantine table.

    Parameters
    ----------
    kind
        Short snake_case class of the fault, e.g. ``not_hdf5``. It becomes ``error_class`` in the quarantine table.
    message
        One line: the fault and the remedy, after the subject. The message for one line of a text file has no subject,
        because the ``uri`` of the quarantine row contains the line number.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message

    def __reduce__(self) -> tuple[type["InputError"], tuple[str, str]]:
        # with the default __reduce__, the driver would call InputError(message) to unpickle a worker's error. This call
        # fails, because it has only one argument
        return InputError, (self.kind, self.message)
