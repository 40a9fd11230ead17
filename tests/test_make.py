"""The Makefile's help, and what it says when a prerequisite is missing."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(*arguments: str, tools: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MAKEFLAGS": ""}
    if tools is not None:
        env["PATH"] = str(tools)
    command = [shutil.which("make") or "make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with what the Makefile itself needs, and nothing else."""
    for name in ("bash", "awk", "env"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def test_help_lists_every_documented_task() -> None:
    text = (ROOT / "Makefile").read_text()
    documented = re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE)
    assert len(documented) > 8
    listed = [line.split()[1] for line in make().stdout.splitlines()]
    assert listed == documented
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split())  # type: ignore[union-attr]
    assert set(documented) - phony == set()


@pytest.mark.parametrize(
    ("python", "java", "says"),
    [
        ("", "java", "needs Python 3.11"),
        ("exit 1", "java", "needs Python 3.11"),
        (f'exec {sys.executable} "$@"', "", "needs Java 17"),
        (f'exec {sys.executable} "$@"', "echo 'openjdk version \"11.0.2\"' >&2", "needs Java 17"),
    ],
)
def test_missing_prerequisite_is_one_clear_line(tools: Path, python: str, java: str, says: str) -> None:
    for name, body in (("python3.11", python), ("java", java)):
        if body:
            (tools / name).write_text(f"#!{shutil.which('bash')}\n{body}\n")
            (tools / name).chmod(0o755)
    done = make("prerequisites", tools=tools)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1
    assert says in lines[0]


def test_prerequisites_are_met_here() -> None:
    assert make("prerequisites", f"PYTHON={sys.executable}").returncode == 0
