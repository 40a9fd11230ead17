"""The ``reprise`` command. Each job module and each command module is one sub-command, named after the module."""

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable

_JOBS = "reprise.jobs"
_COMMANDS = "reprise.jobs._commands"


def list_jobs() -> dict[str, str]:
    """Map the sub-command of each job to the first line of its docstring, without importing the jobs."""
    return dict(_list_modules(_JOBS))


def list_commands() -> dict[str, str]:
    """Map each sub-command that is not a job to the first line of its docstring."""
    return dict(_list_modules(_COMMANDS))


def _list_modules(package: str) -> Iterator[tuple[str, str]]:
    for module in sorted(files(package).iterdir(), key=lambda f: f.name):
        if module.name.endswith(".py") and not module.name.startswith("_"):
            yield module.name.removesuffix(".py").replace("_", "-"), _first_line(module)


def _first_line(module: Traversable) -> str:
    doc = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return doc.partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that ``argv`` names, and return its exit code.

    If ``argv`` is empty or starts with ``--help``, list all sub-commands.
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: reprise COMMAND [--help] …\n\nJobs:")
        _print_lines(list_jobs())
        print("\nOther commands (they write no row to job_runs):")
        _print_lines(list_commands())
        return 0
    name = argv[0].replace("-", "_")
    for package in (_COMMANDS, _JOBS):
        if not name.startswith("_") and name.isidentifier() and files(package).joinpath(f"{name}.py").is_file():
            return int(import_module(f"{package}.{name}").main(argv[1:]))
    known = ", ".join([*list_jobs(), *list_commands()])
    print(f"reprise: unknown command {argv[0]!r}; choose from: {known}", file=sys.stderr)
    return 2


def _print_lines(lines: dict[str, str]) -> None:
    for name, line in lines.items():
        print(f"  {name:20} {line}")
