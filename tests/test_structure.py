"""Structure of the code, checked from its text alone: who imports what, what a job looks like, no import cycle."""

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
TOP_LEVEL = {*ROOMS, "docs", "README.md", "setup.py", "Makefile", "LICENSE", "CHANGELOG.md", ".ci", ".gitignore"}

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
        *("numpy", "pandas", "pyarrow", "numba", "reprise.lib", "reprise.udfs"),
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
        *("av", "librosa", "tinysoundfont", "tinytag", "torch", "tensorflow", "demucs", "ddsp", "matplotlib"),
        *("gin", "onnxruntime", "swift_f0", "tensorflow_probability", "tf_keras", "umap", "xgboost"),
    }
}
"""Seconds to import: only inside functions, so that no command waits for what it does not use."""

LIB_ORDER = (
    "errors",
    "arrays",
    "files",
    "text",
    "html",
    "plotting",
    "tensors",
    "tables",
    "msd",
    "annotations",
    "playlists",
    "audio",
    "analysis",
    "features",
    "nets",
    "detect",
    "genres",
    "tastes",
    "music",
    "generate",
    "covers",
    "report",
)
"""Packages and modules of lib; each imports only from those before it."""

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
SESSION_MAKER = "jobs/_engine/session.py"
SHIPPED_MODELS = "jobs/_shipped_models/"
"""Scripts that fit what the package ships: they need what lib needs."""
DELTA_USERS = "jobs/_engine/warehouse/"
VERBS = {
    *("analyse", "build", "check", "estimate", "evaluate", "explore", "extract", "find", "group", "ingest", "make"),
    *("match", "mix", "register", "score", "separate", "show", "split", "tag", "train"),
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
    needs = "lib" if path.startswith(SHIPPED_MODELS) else room
    for name, late in imports(path, tree):
        if name.split(".")[0] in PACKAGES:
            yield f"imports bare {name}: it is reprise.{name}"
        elif room == "tests" or name.split(".")[0] in sys.stdlib_module_names:
            continue
        elif within(name, LATE.get(needs, set())):
            if not late:
                yield f"imports {name} at the top: only inside functions"
        elif room == "jobs" and within(name, {"reprise.jobs"}):
            yield from level_violations(path, name)
        elif path.startswith(SHIPPED_MODELS) and within(name, ALLOWED["lib"] | {"mir_eval"}):
            continue
        elif not within(name, ALLOWED[room]):
            yield f"imports {name}, not for {room}"
        elif within(name, {"delta", "deltalake"}) and not path.startswith(DELTA_USERS):
            yield f"imports {name}: only {DELTA_USERS} reads and writes Delta"


def level_of(place: str) -> int:
    """Level of a module or package of jobs, ``ingest_msd`` or ``_engine``: 2 for what is run, 1 for a domain, 0."""
    if place == "_engine":
        return 0
    return 1 if place.startswith("_") and place != "_commands" else 2


def level_violations(path: str, name: str) -> Iterator[str]:
    """Imports inside jobs lead down: from what is run to domains, from both to ``_engine``, and within one package."""
    here, there = path.split("/")[1].removesuffix(".py"), name.split(".")[2]
    if not there.startswith("_"):
        yield f"imports {name}: jobs meet only in tables"
    elif here != there and level_of(there) >= level_of(here):
        yield f"imports {name}: imports inside jobs lead down"


def order_violations(path: str, tree: ast.AST) -> Iterator[str]:
    """Imports inside lib follow its order."""
    here = path.split("/")[1].removesuffix(".py")
    if here == "__init__":
        return
    if here not in LIB_ORDER:
        yield f"{here} has no place in the order of lib"
        return
    for name, _ in imports(path, tree):
        if not name.startswith("reprise.lib."):
            continue
        there = name.split(".")[2]
        if there not in LIB_ORDER or LIB_ORDER.index(there) > LIB_ORDER.index(here):
            yield f"imports {name}, which comes after {here}"


def use_violations(path: str, tree: ast.AST) -> Iterator[str]:
    """What ``path`` does that is another module's business."""
    room = path.split("/")[0]
    for node in ast.walk(tree):
        if room == "lib":
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os" and node.attr in ENVIRONMENT:
                yield f"uses os.{node.attr}: lib takes arguments"
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                yield from (f"uses os.{a.name}: lib takes arguments" for a in node.names if a.name in ENVIRONMENT)
            if isinstance(node, ast.Global):
                yield f"has global {node.names[0]}: lib keeps no state"
        if isinstance(node, ast.Attribute) and node.attr == "getOrCreate" and path != SESSION_MAKER:
            yield f"calls getOrCreate: only {SESSION_MAKER} makes a session"
        if path.startswith(DELTA_USERS):
            continue
        if isinstance(node, ast.Call) and re.match(r".*\.format\('delta'", ast.unparse(node), re.DOTALL):
            yield f'has .format("delta"): only {DELTA_USERS} reads and writes Delta'
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "delta.`" in node.value:
            yield f"names a Delta table in SQL: only {DELTA_USERS} reads and writes Delta"


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
    if room == "lib":
        found += order_violations(path, tree)
    if room == "jobs":
        if name in sys.stdlib_module_names:  # spark-submit puts the job's folder first on the path
            found.append("is named like a module of the standard library")
        if path.count("/") == 1 and not name.startswith("_"):
            found += job_violations(path, tree)
    if name == "__init__" and room not in PACKAGES:
        found.append("would hide the installed package")
    return found


def modules() -> list[str]:
    return sorted(str(path.relative_to(TOP)) for room in ROOMS for path in (TOP / room).rglob("*.py"))


@pytest.mark.parametrize("path", modules())
def test_module_keeps_to_its_room(path: str) -> None:
    assert violations(path, (TOP / path).read_text("utf-8")) == []


@pytest.mark.parametrize("room", ["lib", "udfs", "jobs"])
def test_no_modules_import_each_other(room: str) -> None:
    """Not even late, in a function: a module can be read without the ones above it."""
    files = {path.relative_to(TOP): path for path in (TOP / room).rglob("*.py")}
    names = {".".join(("reprise", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in files}
    graph: dict[str, set[str]] = {}
    for name, path in names.items():
        imported = {found for found, _ in imports(str(path), ast.parse(files[path].read_text("utf-8")))}
        known = {one if one in names else one.rpartition(".")[0] for one in imported}
        graph[name] = (known & names.keys()) - {name}
    while leaves := {name for name, known in graph.items() if not known & graph.keys()}:
        graph = {name: known for name, known in graph.items() if name not in leaves}
    assert graph == {}


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
        ("lib/text.py", "import pandas as pd", "imports pandas, not for lib"),
        ("lib/text.py", "def f():\n    import pyarrow", "imports pyarrow, not for lib"),
        ("lib/text.py", "from pyspark.sql import DataFrame", "imports pyspark.sql.DataFrame, not for lib"),
        ("lib/text.py", "from reprise import conf", "imports reprise.conf, not for lib"),
        ("lib/text.py", "from ..udfs import arrow", "imports reprise.udfs.arrow, not for lib"),
        ("lib/msd/reader.py", "from ... import jobs", "imports reprise.jobs, not for lib"),
        ("lib/text.py", "if TYPE_CHECKING:\n    import deltalake", "imports deltalake, not for lib"),
        ("lib/text.py", "importlib.import_module('pyspark.sql')", "imports pyspark.sql, not for lib"),
        ("lib/text.py", "import torch.nn", "imports torch.nn at the top: only inside functions"),
        ("lib/text.py", "class A:\n    import ddsp", "imports ddsp at the top: only inside functions"),
        ("lib/text.py", "import os\nos.environ['HOME']", "uses os.environ: lib takes arguments"),
        ("lib/text.py", "import os\nos.getenv('HOME')", "uses os.getenv: lib takes arguments"),
        ("lib/text.py", "from os import environ", "uses os.environ: lib takes arguments"),
        ("lib/text.py", "def f():\n    global cache", "has global cache: lib keeps no state"),
        ("lib/text.py", "from lib import msd", "imports bare lib.msd: it is reprise.lib.msd"),
        ("udfs/keys.py", "from pyspark.sql import SparkSession", "imports pyspark.sql.SparkSession, not for udfs"),
        ("udfs/keys.py", "import pyspark", "imports pyspark, not for udfs"),
        (
            "udfs/keys.py",
            "from reprise.jobs._engine.run import Run",
            "imports reprise.jobs._engine.run.Run, not for udfs",
        ),
        ("udfs/keys.py", "from reprise.conf import load", "imports reprise.conf.load, not for udfs"),
        ("jobs/_engine/run.py", "import torch", "imports torch, not for jobs"),
        ("jobs/_engine/run.py", "import airflow", "imports airflow, not for jobs"),
        ("jobs/_engine/run.py", "import reprise", "imports reprise, not for jobs"),
        (
            "jobs/_engine/run.py",
            "from reprise.jobs import ingest_msd",
            "imports reprise.jobs.ingest_msd: jobs meet only in ",
        ),
        (
            "jobs/_engine/run.py",
            "from reprise.jobs.ingest_msd import main",
            "imports reprise.jobs.ingest_msd.main: jobs meet",
        ),
        (
            "jobs/_engine/run.py",
            "from .. import show_tables",
            "imports reprise.jobs.show_tables: jobs meet only in tables",
        ),
        (
            "jobs/_engine/run.py",
            "from deltalake import DeltaTable",
            "imports deltalake.DeltaTable: only jobs/_engine/warehouse/",
        ),
        ("jobs/_engine/run.py", "import delta.tables", "imports delta.tables: only jobs/_engine/warehouse/"),
        (
            "jobs/_engine/run.py",
            "spark.read.format('delta')",
            'has .format("delta"): only jobs/_engine/warehouse/',
        ),
        ("jobs/_engine/run.py", "spark.sql(f'SELECT 1 FROM delta.`{uri}`')", "names a Delta table in SQL"),
        (
            "jobs/_engine/run.py",
            "SparkSession.builder.getOrCreate()",
            "calls getOrCreate: only jobs/_engine/session.py",
        ),
        (
            "jobs/_detection/a.py",
            "from reprise.jobs._genres import b",
            "imports reprise.jobs._genres.b: imports inside",
        ),
        (
            "jobs/_engine/a.py",
            "from reprise.jobs._sql.b import c",
            "imports reprise.jobs._sql.b.c: imports inside jobs",
        ),
        ("jobs/_sql/a.py", "from reprise.jobs._commands import sql", "imports reprise.jobs._commands.sql: imports"),
        ("lib/msd/a.py", "from reprise.lib.audio import b", "imports reprise.lib.audio.b, which comes after msd"),
        ("lib/keys.py", "", "keys has no place in the order of lib"),
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
    ],
)
def test_checker_complains(path: str, source: str, complaint: str) -> None:
    assert [v for v in violations(path, source) if v.startswith(complaint)], violations(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("conf/_settings.py", "import os, yaml\nfrom pydantic import BaseModel\nos.environ['A']"),
        ("lib/text.py", "import os\nimport numpy.typing as npt\nfrom sklearn import svm\nos.cpu_count()"),
        (
            "lib/msd/reader.py",
            "from .fields import FIELDS\nfrom .. import errors\nfrom reprise.lib.errors import InputError",
        ),
        ("lib/text.py", "def f():\n    import torch\n    from ddsp import core"),
        ("lib/text.py", "if TYPE_CHECKING:\n    from matplotlib.axes import Axes"),
        ("jobs/_shipped_models/fit_a.py", "import scipy\nimport mir_eval\ndef f():\n    import torch"),
        (
            "udfs/keys.py",
            "import pyarrow as pa\nfrom pyspark.sql import types\nfrom pyspark.sql.types import StructType",
        ),
        (
            "jobs/_engine/run.py",
            "from reprise import __version__, conf\nfrom reprise.jobs._engine.a import B\nimport rich.table",
        ),
        ("jobs/_engine/run.py", "'{}'.format('delta ')"),
        (
            "jobs/_engine/warehouse/tables.py",
            "import deltalake\nfrom delta.tables import DeltaTable\nspark.read.format('delta')",
        ),
        ("jobs/_engine/session.py", "SparkSession.builder.getOrCreate()"),
        ("jobs/ingest_x.py", GOOD_JOB),
        ("jobs/show_x.py", JOB.format(writes="nothing but its row in job_runs", more="")),
        ("airflow/dags/msd.py", "import json\nfrom airflow.sdk import dag"),
        ("tests/lib/test_x.py", "import torch, deltalake\nfrom reprise.jobs import ingest_msd"),
    ],
)
def test_checker_is_content(path: str, source: str) -> None:
    assert violations(path, source) == []
