"""The tiers of the suite: light imports, marks, numbers of examples, and the record of durations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "av",
    "delta",
    "hypothesis",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "pyspark",
    "reprise.jobs",
    "scipy",
}
ONE_TEST = ["-c", "conf/pytest.ini", "--rootdir", ".", "-q", "tests/lib/test_files.py", "-k", "printable"]

SUITE = """
import os, time
import pytest

@pytest.fixture(scope="session")
def spark():
    return os.environ.get("JAVA_HOME", "")

@pytest.fixture
def warehouse(spark):
    return spark

def test_with_spark(warehouse):
    assert "starts-no-java" not in warehouse

def test_without_spark():
    time.sleep(0.2)
    assert "starts-no-java" in os.environ["JAVA_HOME"]

@pytest.mark.torch
def test_with_torch():
    import torch

def test_without_the_mark():
    import tensorflow
"""
EXAMPLES = """
import time
from hypothesis import given, settings, strategies as st

DRAWN = []

@given(st.integers())
@settings(max_examples=1000)
def test_many_examples(number):
    DRAWN.append(number)
    time.sleep(0.3 * (len(DRAWN) == 1))

@given(st.integers())
@settings(max_examples=2)
def test_few_examples(number):
    pass

def test_examples():
    assert 50 <= len(DRAWN) <= 120
"""
INI = """
[pytest]
budgets =
    tests/slow 0.1
    tests/other 0.1
markers =
    jvm: m
    torch: m
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with a suite of tests, where torch and tensorflow are empty modules."""
    (tmp_path / "tests/slow").mkdir(parents=True)
    (tmp_path / "tests/slow/test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text(INI)
    for name in ("torch", "tensorflow"):
        (tmp_path / f"{name}.py").touch()
    return tmp_path


def run(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.tiers", "-p", "tests.durations", *arguments]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "JAVA_HOME": "", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_one_test_imports_only_what_it_tests() -> None:
    code = f"import sys, pytest; pytest.main({ONE_TEST}); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "1 passed" in printed
    assert HEAVY & set(printed.split()) == set()


@pytest.mark.slow
def test_marks(suite: Path) -> None:
    lines = run(suite)
    assert "4 passed, 1 error" in lines[-1]
    errors = [line for line in lines if line.startswith("E  ")]
    assert "loads tensorflow: mark it with @pytest.mark.tensorflow" in errors[0]
    selected = [line for line in run(suite, "--collect-only", "-q", "-m", "jvm or torch") if "::" in line]
    assert [line.partition("::")[2] for line in selected] == ["test_with_spark", "test_with_torch"]


@pytest.mark.slow
def test_number_of_examples(suite: Path) -> None:
    (suite / "tests/test_examples.py").write_text(EXAMPLES)
    lines = run(suite, "--examples", "0.1", "tests/test_examples.py")
    assert "3 passed" in lines[-1]


@pytest.mark.slow
def test_durations_of_the_groups_of_a_tier(suite: Path) -> None:
    first = run(suite, "--group", "first", "-k", "without", "-n", "2")
    assert "2 passed" in first[-1]
    assert "1 error" in first[-1]
    second = run(suite, "--group", "second", "-k", "with_torch")
    assert "1 passed" in second[-1]
    record = json.loads((suite / ".cache/durations.json").read_text())
    assert list(record) == ["first", "second"]
    assert record["first"]["seconds"]["tests/slow/test_it.py"] >= 0.2
    for lines in (first, second):  # over the budget together, although the second group is fast
        assert [line for line in lines if "budget" in line] == ["tests/slow is over its budget: 0.2 s of 0.1 s"]
    script = [sys.executable, str(ROOT / "tests/durations.py")]
    total = subprocess.run(script, cwd=suite, check=True, capture_output=True, text=True).stdout
    assert total == "3 passed, 1 failed\n"
