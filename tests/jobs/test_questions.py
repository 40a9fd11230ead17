"""The questions of the README: both engines give the same answer to each, and it is the one that stands there."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOP = Path(__file__).resolve().parents[2]
README = TOP / "README.md"


def load_lister() -> ModuleType:
    """The script that writes the answers into the README."""
    spec = importlib.util.spec_from_file_location("question_list", TOP / "tests" / "question_list.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


LISTER = load_lister()
QUESTIONS = LISTER.read_questions(README.read_text("utf-8"))


@pytest.fixture(scope="module")
def questioned(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The warehouse that the README's questions are asked of."""
    warehouse: Path = LISTER.build(tmp_path_factory.mktemp("questions"))
    return warehouse


def test_there_are_twenty_questions_and_more() -> None:
    section = README.read_text("utf-8").partition(LISTER.BEGIN)[2].partition(LISTER.END)[0]
    assert section.count("<summary>") == len(QUESTIONS) >= 20
    assert sum("taste_" in question.sql for question in QUESTIONS) >= 6
    assert any(question.parameters for question in QUESTIONS)
    assert [f"<summary>{i}. " in section for i in range(1, len(QUESTIONS) + 1)] == [True] * len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.title[:40])
def test_answer_is_the_one_in_the_readme_in_both_engines(question: Any, questioned: Path) -> None:
    assert LISTER.ask(questioned, question) == question.answer, "run tests/question_list.py README.md"
    assert LISTER.ask(questioned, question, "--engine", "spark") == question.answer
    assert re.fullmatch(r"\d+ rows?", question.answer.splitlines()[-1])


def test_answers_are_written_where_they_stood() -> None:
    text = README.read_text("utf-8")
    assert LISTER.with_answers(text, lambda question: question.answer) == text
    numbers = iter(range(100))
    renewed = LISTER.with_answers(text, lambda question: f"answer {next(numbers)}\n")
    assert [question.answer for question in LISTER.read_questions(renewed)] == [
        f"answer {number}\n" for number in range(len(QUESTIONS))
    ]
    assert [q.sql for q in LISTER.read_questions(renewed)] == [q.sql for q in QUESTIONS]


def test_a_file_without_markers_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "README.md"
    path.write_text("# no markers\n")
    assert LISTER.main([]) == 2
    assert LISTER.main([str(path)]) == 1
    assert LISTER.main([str(tmp_path / "gone.md")]) == 1
    assert path.read_text() == "# no markers\n"
    assert capsys.readouterr().err.count("\n") == 3
