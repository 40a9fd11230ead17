"""The rooms and who may enter them, from the source text alone: nothing here is imported to be judged."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.lib.tables import JOB_RUNS, TABLES

TOP = Path(__file__).resolve().parents[1]
PACKAGES = ("conf", "lib", "udfs", "jobs")
ROOMS = (*PACKAGES, "airflow", "tests")
MAX_LINES = 400
TOP_LEVEL = {*ROOMS, "README.md", "setup.py", "Makefile", "LICENSE", "CHANGELOG.md", ".ci", ".gitignore"}

ALLOWED = {
    "conf": {"yaml", "pydantic", "reprise.conf"},
    "lib": {
        "numpy",
        "scipy",
        "numba",
        "h5py",
        "isal",
        "sklearn",
        "soundfile",
        "soxr",
        "threadpoolctl",
        "safetensors",
        "reprise.lib",
    },
    "udfs": {
        *("numpy", "pandas", "pyarrow", "reprise.lib", "reprise.udfs"),
        *("pyspark.sql.datasource", "pyspark.sql.types", "pyspark.sql.pandas.types"),
    },
    "jobs": {
        *("pyspark", "py4j", "delta", "deltalake", "pyarrow", "pandas", "numpy", "rich", "duckdb"),
        *("reprise.conf", "reprise.lib", "reprise.udfs", "reprise.__version__"),
    },
    "airflow": {"airflow"},
}
LATE = {
    "lib": {
        *("av", "librosa", "tinytag", "torch", "tensorflow", "demucs", "ddsp", "matplotlib"),
        *("skops", "umap", "xgboost"),
    }
}
"""Seconds to import: only inside functions, so that no command waits for what it does not use."""

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
SESSION_MAKER = "jobs/_session.py"
DELTA_USER = "jobs/_tables.py"
VERBS = {
    *("analyse", "build", "check", "evaluate", "explore", "extract", "find", "ingest", "make", "match", "mix"),
    *("register", "score", "show", "split", "train"),
}
"""First words of job names; extend it with a verb when a new job needs one."""


def imports(path: str, tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Full dotted name of all that is imported, ``import_module("…")`` included, and whether late or never."""
    late = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(outer, ast.If) and ast.unparse(outer.test) == "TYPE_CHECKING")
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = ["reprise", *path.split("/")[:-1]]
            here = package[: len(package) - node.level + 1] if node.level else []
            names = [".".join(filter(None, [*here, node.module, alias.name])) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
        yield from ((name, id(node) in late) for name in names)


def within(name: str, allowed: set[str]) -> bool:
    """Whether ``name`` is one of ``allowed`` or something in it."""
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def import_violations(path: str, tree: ast.AST) -> Iterator[str]:
    """What ``path`` imports and must not."""
    room = path.split("/")[0]
    for name, late in imports(path, tree):
        if name.split(".")[0] in PACKAGES:
            yield f"imports bare {name}: it is reprise.{name}"
        elif room == "tests" or name.split(".")[0] in sys.stdlib_module_names:
            continue
        elif within(name, LATE.get(room, set())):
            if not late:
                yield f"imports {name} at the top: only inside functions"
        elif room == "jobs" and within(name, {"reprise.jobs"}):
            if not name.startswith("reprise.jobs._"):
                yield f"imports {name}: jobs meet only in tables"
        elif not within(name, ALLOWED[room]):
            yield f"imports {name}, not for {room}"
        elif within(name, {"delta", "deltalake"}) and path != DELTA_USER:
            yield f"imports {name}: only {DELTA_USER} reads and writes Delta"


def use_violations(path: str, tree: ast.AST) -> Iterator[str]:
    """What ``path`` does that is another module's business."""
    room = path.split("/")[0]
    for node in ast.walk(tree):
        if room == "lib":
            named = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
            if named and node.attr in ENVIRONMENT:
                yield f"uses os.{node.attr}: lib takes arguments"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                yield from (f"uses os.{a.name}: lib takes arguments" for a in node.names if a.name in ENVIRONMENT)
            if isinstance(node, ast.Global):
                yield f"has global {node.names[0]}: lib keeps no state"
        if isinstance(node, ast.Attribute) and node.attr == "getOrCreate" and path != SESSION_MAKER:
            yield f"calls getOrCreate: only {SESSION_MAKER} makes a session"
        if path == DELTA_USER:
            continue
        if isinstance(node, ast.Call) and re.match(r".*\.format\('delta'", ast.unparse(node), re.DOTALL):
            yield f'has .format("delta"): only {DELTA_USER} reads and writes Delta'
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "delta.`" in node.value:
            yield f"names a Delta table in SQL: only {DELTA_USER} reads and writes Delta"


def job_violations(path: str, tree: ast.Module) -> Iterator[str]:
    """Where a job's module is not shaped like a job."""
    name = Path(path).stem
    if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", name) or name.split("_")[0] not in VERBS:
        yield "is not named verb_noun"
    doc = ast.get_docstring(tree) or ""
    if not re.match(r"[A-Z][^\n]*\.(\n|$)", doc):
        yield "has a docstring whose first line is no sentence"
    sections = dict(re.findall(r"^(\w+):((?:.*\n?)(?:[ \t]+.*\n?)*)", doc, re.MULTILINE))
    tables = (TABLES.keys() - {JOB_RUNS.name}) & set(re.findall(r"\w+", sections.get("Writes", "")))
    wanted = ["Reads", "Writes", *(["Grain", "Rerun"] if tables else [])]
    yield from (f"has no {section}: in its docstring" for section in wanted if not sections.get(section, "").strip())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "add_arguments" not in functions:
        yield "has no add_arguments"
    main = functions.get("main")
    if main is None or [argument.arg for argument in main.args.args] != ["argv"]:
        yield "has no main(argv)"
    elif len(main.body) > 2 or not isinstance(main.body[-1], ast.Return):
        yield "has logic in main"
    if not (isinstance(tree.body[-1], ast.If) and "__main__" in ast.unparse(tree.body[-1].test)):
        yield "cannot be run by spark-submit: no if __name__ == '__main__'"


def violations(path: str, source: str) -> list[str]:
    """What is wrong with a module that would stand at ``path``, which names the room."""
    tree = ast.parse(source)
    found = list(import_violations(path, tree))
    room, name = path.split("/")[0], Path(path).stem
    if room != "tests":
        found += use_violations(path, tree)
    if room == "jobs":
        if name in sys.stdlib_module_names:  # spark-submit puts the job's folder first on the path
            found.append("is named like a module of the standard library")
        if not name.startswith("_"):
            found += job_violations(path, tree)
    if name == "__init__" and room not in PACKAGES:
        found.append("would hide the installed package")
    if source.count("\n") > MAX_LINES:
        found.append(f"has over {MAX_LINES} lines")
    return found


def modules() -> list[str]:
    return sorted(str(path.relative_to(TOP)) for room in ROOMS for path in (TOP / room).rglob("*.py"))


@pytest.mark.parametrize("path", modules())
def test_module_keeps_to_its_room(path: str) -> None:
    assert violations(path, (TOP / path).read_text("utf-8")) == []


@pytest.mark.parametrize("room", PACKAGES)
def test_every_folder_of_a_room_is_a_package(room: str) -> None:
    """From a zip, a folder without ``__init__.py`` cannot be imported."""
    bare = {path.parent for path in (TOP / room).rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert bare == set()


def test_top_level_is_as_designed() -> None:
    git = shutil.which("git")
    if git is None or not (TOP / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run([git, "ls-files"], cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\n")
    assert {path.split("/")[0] for path in tracked if path} <= TOP_LEVEL
    assert {path for path in tracked if path.startswith(".ci/")} == {".ci/run"}


JOB = '''"""Ingest things.

Reads:  files.
Writes: {writes}.
{more}"""

def add_arguments(parser): ...

def main(argv=None):
    """Run."""
    return run_job(argv)

if __name__ == "__main__":
    main()
'''
GOOD_JOB = JOB.format(writes="msd_tracks", more="Grain:  one.\nRerun:  nothing changes.\n")


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("conf/_settings.py", "import numpy", "imports numpy, not for conf"),
        ("conf/_settings.py", "from reprise.lib import tables", "imports reprise.lib.tables, not for conf"),
        ("lib/keys.py", "import pandas as pd", "imports pandas, not for lib"),
        ("lib/keys.py", "def f():\n    import pyarrow", "imports pyarrow, not for lib"),
        ("lib/keys.py", "from pyspark.sql import DataFrame", "imports pyspark.sql.DataFrame, not for lib"),
        ("lib/keys.py", "from reprise import conf", "imports reprise.conf, not for lib"),
        ("lib/keys.py", "from ..udfs import arrow", "imports reprise.udfs.arrow, not for lib"),
        ("lib/msd/reader.py", "from ... import jobs", "imports reprise.jobs, not for lib"),
        ("lib/keys.py", "if TYPE_CHECKING:\n    import deltalake", "imports deltalake, not for lib"),
        ("lib/keys.py", "importlib.import_module('pyspark.sql')", "imports pyspark.sql, not for lib"),
        ("lib/keys.py", "import torch.nn", "imports torch.nn at the top: only inside functions"),
        ("lib/keys.py", "class A:\n    import ddsp", "imports ddsp at the top: only inside functions"),
        ("lib/keys.py", "import os\nos.environ['HOME']", "uses os.environ: lib takes arguments"),
        ("lib/keys.py", "import os\nos.getenv('HOME')", "uses os.getenv: lib takes arguments"),
        ("lib/keys.py", "from os import environ", "uses os.environ: lib takes arguments"),
        ("lib/keys.py", "def f():\n    global cache", "has global cache: lib keeps no state"),
        ("lib/keys.py", "from lib import msd", "imports bare lib.msd: it is reprise.lib.msd"),
        ("udfs/keys.py", "from pyspark.sql import SparkSession", "imports pyspark.sql.SparkSession, not for udfs"),
        ("udfs/keys.py", "import pyspark", "imports pyspark, not for udfs"),
        ("udfs/keys.py", "from reprise.jobs._run import Run", "imports reprise.jobs._run.Run, not for udfs"),
        ("udfs/keys.py", "from reprise.conf import load", "imports reprise.conf.load, not for udfs"),
        ("jobs/_run.py", "import torch", "imports torch, not for jobs"),
        ("jobs/_run.py", "import airflow", "imports airflow, not for jobs"),
        ("jobs/_run.py", "import reprise", "imports reprise, not for jobs"),
        ("jobs/_run.py", "from reprise.jobs import ingest_msd", "imports reprise.jobs.ingest_msd: jobs meet only in "),
        ("jobs/_run.py", "from reprise.jobs.ingest_msd import main", "imports reprise.jobs.ingest_msd.main: jobs meet"),
        ("jobs/_run.py", "from . import show_tables", "imports reprise.jobs.show_tables: jobs meet only in tables"),
        ("jobs/_run.py", "from deltalake import DeltaTable", "imports deltalake.DeltaTable: only jobs/_tables.py"),
        ("jobs/_run.py", "import delta.tables", "imports delta.tables: only jobs/_tables.py"),
        ("jobs/_run.py", "spark.read.format('delta')", 'has .format("delta"): only jobs/_tables.py'),
        ("jobs/_run.py", "spark.sql(f'SELECT 1 FROM delta.`{uri}`')", "names a Delta table in SQL"),
        ("jobs/_run.py", "SparkSession.builder.getOrCreate()", "calls getOrCreate: only jobs/_session.py"),
        ("jobs/_io.py", "", "is named like a module of the standard library"),
        ("jobs/msd.py", GOOD_JOB, "is not named verb_noun"),
        ("jobs/track_list.py", GOOD_JOB, "is not named verb_noun"),
        (
            "jobs/ingest_x.py",
            GOOD_JOB.replace("things.", "things", 1),
            "has a docstring whose first line is no sentence",
        ),
        ("jobs/ingest_x.py", GOOD_JOB.replace("Reads:", "Takes:"), "has no Reads: in its docstring"),
        ("jobs/ingest_x.py", GOOD_JOB.replace("msd_tracks.", ""), "has no Writes: in its docstring"),
        ("jobs/ingest_x.py", JOB.format(writes="msd_tracks", more=""), "has no Rerun: in its docstring"),
        (
            "jobs/ingest_x.py",
            JOB.format(writes="files,\n        msd_tracks", more=""),
            "has no Grain: in its docstring",
        ),
        ("jobs/ingest_x.py", GOOD_JOB.replace("add_arguments", "arguments"), "has no add_arguments"),
        ("jobs/ingest_x.py", GOOD_JOB.replace("argv=None", ""), "has no main(argv)"),
        ("jobs/ingest_x.py", GOOD_JOB.replace("    return", "    x = 1\n    return"), "has logic in main"),
        ("jobs/ingest_x.py", GOOD_JOB[: GOOD_JOB.index("if __name__")], "cannot be run by spark-submit"),
        ("airflow/dags/msd.py", "from reprise.conf import load", "imports reprise.conf.load, not for airflow"),
        ("airflow/dags/msd.py", "def f():\n    import pandas", "imports pandas, not for airflow"),
        ("airflow/dags/__init__.py", "", "would hide the installed package"),
        ("tests/lib/__init__.py", "", "would hide the installed package"),
        ("tests/lib/test_x.py", "import jobs.ingest_msd", "imports bare jobs.ingest_msd"),
        ("tests/lib/test_x.py", "#\n" * 401, "has over 400 lines"),
        ("lib/keys.py", "#\n" * 401, "has over 400 lines"),
    ],
)
def test_checker_complains(path: str, source: str, complaint: str) -> None:
    assert [v for v in violations(path, source) if v.startswith(complaint)], violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("conf/_settings.py", "import os, yaml\nfrom pydantic import BaseModel\nos.environ['A']"),
        ("lib/keys.py", "import os\nimport numpy.typing as npt\nfrom sklearn import svm\nos.cpu_count()"),
        (
            "lib/msd/reader.py",
            "from .fields import FIELDS\nfrom .. import errors\nfrom reprise.lib.errors import InputError",
        ),
        ("lib/keys.py", "def f():\n    import torch\n    from ddsp import core"),
        ("lib/keys.py", "if TYPE_CHECKING:\n    from matplotlib.axes import Axes"),
        (
            "udfs/keys.py",
            "import pyarrow as pa\nfrom pyspark.sql import types\nfrom pyspark.sql.types import StructType",
        ),
        (
            "jobs/_run.py",
            "from reprise import __version__, conf\nfrom reprise.jobs._tables import Warehouse\nimport rich.table",
        ),
        ("jobs/_run.py", "'{}'.format('delta ')"),
        ("jobs/_tables.py", "import deltalake\nfrom delta.tables import DeltaTable\nspark.read.format('delta')"),
        ("jobs/_session.py", "SparkSession.builder.getOrCreate()"),
        ("jobs/ingest_x.py", GOOD_JOB),
        ("jobs/show_x.py", JOB.format(writes="nothing but its row in job_runs", more="")),
        ("airflow/dags/msd.py", "import json\nfrom airflow.sdk import dag"),
        ("tests/lib/test_x.py", "import torch, deltalake\nfrom reprise.jobs import ingest_msd"),
        ("lib/keys.py", "#\n" * 400),
    ],
)
def test_checker_is_content(path: str, source: str) -> None:
    assert violations(path, source) == []
