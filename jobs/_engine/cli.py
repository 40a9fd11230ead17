"""The ``reprise`` command: one sub-command a job, made from the jobs themselves, and ``sql``."""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.resources import files
from importlib.resources.abc import Traversable


def jobs() -> dict[str, str]:
    """Sub-command to the first line of its job's docstring, read without importing any of them."""
    lines = {}
    for module in sorted(files(__package__).iterdir(), key=lambda f: f.name):
        if not module.name.endswith(".py") or module.name.startswith("_"):
            continue
        lines[module.name.removesuffix(".py").replace("_", "-")] = _first_line(module)
    return lines


def _first_line(module: Traversable) -> str:
    doc = ast.get_docstring(ast.parse(module.read_text("utf-8"))) or ""
    return doc.partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command that ``argv`` names and return its exit code; with none, or ``--help``, list them."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["sql"]:  # at once: the list of jobs is read from their files
        return int(import_module(f"{__package__}._sql").main(argv[1:]))
    known = jobs()
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: reprise JOB [--help] …\n\nJobs:")
        for name, line in known.items():
            print(f"  {name:20} {line}")
        # no job: it only reads, and leaves no row in job_runs
        print(f"\nOver all of them:\n  {'sql':20} {_first_line(files(__package__) / '_sql.py')}")
        return 0
    if argv[0] not in known:
        print(f"reprise: no job {argv[0]!r}; there are: {', '.join([*known, 'sql'])}", file=sys.stderr)
        return 2
    job = import_module(f"{__package__}.{argv[0].replace('-', '_')}")
    return int(job.main(argv[1:]))
