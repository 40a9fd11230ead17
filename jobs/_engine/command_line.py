"""Command-line utilities: a parser with one-line errors, options that all commands share, settings, locations."""

import argparse
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from reprise.conf import Settings, load
from reprise.lib.errors import RepriseError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_TOO_MANY_BAD, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class UsageError(RepriseError):
    """Invalid arguments, or a missing prerequisite, such as a table that another job must write first.

    The command prints the message as one line and exits with code 2.
    """


class Parser(argparse.ArgumentParser):
    """Argument parser that reports each error as one line.

    Parameters
    ----------
    command
        Sub-command of ``reprise``.
    doc
        Docstring of the command. ``--help`` prints its first line as the description, and the rest after the options.
    """

    def __init__(self, command: str, doc: str) -> None:
        first_line, _, rest = doc.partition("\n")
        super().__init__(
            prog=f"reprise {command}",
            description=first_line,
            epilog=rest,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UsageError. The overridden method of argparse would print the usage and exit the process."""
        raise UsageError(f"{message} (see --help)")


def add_settings_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that all commands share; they set settings."""
    parser.add_argument("--warehouse", metavar="DIR", help="root folder of the tables: a local path or a URI")
    parser.add_argument(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a setting of reprise, or a setting of Spark (spark.*); can be repeated",
    )
    parser.add_argument(
        "--log-level", metavar="LEVEL", help="lowest level of the messages to log: DEBUG, INFO, WARN or ERROR"
    )


def positive_int(text: str) -> int:
    """Parse an option's value that must be at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return number


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add ``--force``."""
    parser.add_argument("--force", action="store_true", help="recompute every row, even when inputs are unchanged")


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add ``--models``."""
    parser.add_argument(
        "--models", metavar="DIR", help="folder of external models on this machine (default: ~/.cache/reprise/models)"
    )


def read_settings(args: argparse.Namespace, defaults: Iterable[str] = ()) -> Settings:
    """Read the settings and set the log level.

    The option of a setting, e.g. ``--warehouse``, overrides ``--conf``, and ``--conf`` overrides ``defaults``.

    Parameters
    ----------
    args
        Parsed arguments. Those named as a setting set it.
    defaults
        ``KEY=VALUE`` strings that ``--conf`` and the options override. They override environment variables, too.

    Raises
    ------
    reprise.conf.SettingsError
        A setting is unknown, or its value is invalid.
    """
    options = {name: getattr(args, name, None) for name in Settings.model_fields}
    flags = (f"{name}={value}" for name, value in options.items() if value is not None)
    settings = load([*defaults, *args.conf, *flags])
    logging.basicConfig()
    logging.getLogger("reprise").setLevel(settings.log_level.replace("WARN", "WARNING"))
    return settings


def absolute_location(location: str) -> str:
    """Make a path absolute, because a worker's working directory can differ from the driver's.

    A ``file:`` URI becomes an absolute path. Any other URI is returned unchanged.
    """
    if location.startswith("file:"):
        location = "/" + location.removeprefix("file:").lstrip("/")
    return location if "://" in location else str(Path(location).absolute())


def existing_location(location: str) -> str:
    """Return the `absolute_location` of a source, and check that a local source exists.

    Raises
    ------
    UsageError
        The local file or folder does not exist.
    """
    location = absolute_location(location)
    if "://" not in location and not os.path.lexists(location):
        raise UsageError(f"--source {location} does not exist: name an existing file or folder")
    return location
