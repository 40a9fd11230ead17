"""The report folder and the card of a model: complete, reproducible and safe to open."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from reprise.lib.genres.cards import make_card
from reprise.lib.genres.metrics import SCALARS, compute_metrics
from reprise.lib.genres.reports import Report, write_csv, write_report

GENRES = ("=1+1", "R&B, <b>Soul</b> | x", "Électro \ud800")
FEATURES = ("mfcc1_mean", "tempo")


@pytest.fixture(scope="module")
def report() -> Report:
    """A report with every optional part."""
    rng = np.random.default_rng(0)
    splits = []
    for _ in range(3):
        genres = rng.choice(GENRES, 40).astype(object)
        splits.append(compute_metrics(genres, rng.dirichlet(np.ones(3), 40), GENRES))
    curve = [{"rows": 10 * n, "macro_f1": 0.1 * n, "accuracy": 0.12 * n, "spread": 0.01} for n in (1, 2, 3)]
    return Report(
        title="random forest: gtzan × [tags]",
        features=FEATURES,
        metrics=splits[0],
        leaky=splits[1],
        splits=splits,
        learning_curve=curve,
        ranking=[{"feature": name, "f_value": None, "mutual_information": 0.5, "missing": 0.0} for name in FEATURES],
        shap=rng.exponential(0.01, (2, 3)),
        params={"learner": "random_forest", "candidate": {"scaling": "none"}, "genres": list(GENRES), "seed": 1},
    )


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the report."""
    return write_report(tmp_path_factory.mktemp("report") / "a" / "b", report)


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_every_part_is_written(written: list[Path]) -> None:
    assert sorted(written) == sorted(written[0].parent.iterdir())
    parts = ("per_genre", "confusion", "calibration", "learning_curve", "features", "shap")
    expected = {"report.json", *(f"{part}.{suffix}" for part in parts for suffix in ("csv", "png"))}
    assert {path.name for path in written} == expected
    for path in written:
        if path.suffix == ".png":
            assert imread(path).shape[1] > 400
        elif path.suffix == ".csv":
            rows = read(path)
            assert len(rows) > 1
            assert {len(row) for row in rows} == {len(rows[0])}


def test_json_has_all_results(report: Report, written: list[Path]) -> None:
    found = json.loads(written[0].read_text("utf-8"))
    assert found["figures"] == report.metrics
    assert found["leaky"] == report.leaky
    assert found["params"] == report.params
    assert found["ranking"] == report.ranking
    assert found["shap"]["tempo"][GENRES[1]] == report.shap[1, 1]  # type: ignore[index]
    accuracies = [one["accuracy"] for one in report.splits]
    assert found["splits"]["of_all"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert [one["accuracy"] for one in found["splits"]["each"]] == accuracies
    assert set(found["splits"]["each"][0]) == {"rows", *SCALARS}


def test_tables_contain_no_formulas(report: Report, written: list[Path]) -> None:
    folder = written[0].parent
    shown = ["'=1+1", "R&B, <b>Soul</b> | x", "Électro ?"]
    confusion = read(folder / "confusion.csv")
    assert confusion[0][1:] == [row[0] for row in confusion[1:]] == shown
    assert [[int(cell) for cell in row[1:]] for row in confusion[1:]] == report.metrics["confusion"]
    assert [row[0] for row in read(folder / "per_genre.csv")[1:]] == shown
    assert read(folder / "features.csv")[1] == ["mfcc1_mean", "0.5", "", "0.0"]


@pytest.mark.parametrize("name", ["=a", "+a", "-a", "@a", "\ta", "\ra"])
def test_cells_that_look_like_formulas_are_escaped(tmp_path: Path, name: str) -> None:
    write_csv(tmp_path / "a.csv", [name], [[name], [-1.5]])
    assert read(tmp_path / "a.csv") == [[f"'{name}"], [f"'{name}"], ["-1.5"]]


def test_parts_that_were_not_measured_are_left_out(report: Report, tmp_path: Path) -> None:
    minimal = Report("svm", FEATURES, report.metrics)
    names = {path.name for path in write_report(tmp_path, minimal)}
    assert names == {
        "report.json",
        *(f"{p}.{s}" for p in ("per_genre", "confusion", "calibration") for s in ("csv", "png")),
    }
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert found["leaky"] is found["shap"] is found["splits"] is None


def test_the_same_report_gives_the_same_bytes(report: Report, written: list[Path], tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in written}
    second = {path.name: path.read_bytes() for path in write_report(tmp_path, report)}
    assert first == second


def test_nan_is_rejected(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, replace(report, params={"x": float("nan")}))


def card(report: Report, **changes: Any) -> str:
    texts = {
        "model_id": "genre-1", "sha256": "ab" * 32, "purpose": "Classifies genres.", "data": "1,000 clips.",
        "chosen": "By 10 folds.", "licence": "Research only.", "limits": ["It knows 30 s clips."],
    }  # fmt: skip
    return make_card(report, **{**texts, **changes})


def test_the_card_compares_honest_and_leaky_metrics(report: Report) -> None:
    text = card(report)
    assert report.leaky is not None
    for name, words in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        assert f"| {words} | {report.metrics[name]:.3f} | {report.leaky[name]:.3f} |" in text
    for words in ("Classifies genres.", "1,000 clips.", "Research only.", "It knows 30 s clips.", "ab" * 32, "genre-1"):
        assert words in text
    alone = card(replace(report, leaky=None))
    assert f"| accuracy | {report.metrics['accuracy']:.3f} |" in alone
    assert "leaky" not in alone


def test_markup_in_a_card_is_escaped(report: Report) -> None:
    text = card(report, purpose="line\n# [x](http://y) <script>")
    assert r"line \# \[x\]\(http://y\) \<script\>" in text
    assert "<" not in text.replace(r"\<", "")
    assert r"| R\&B, \<b\>Soul\</b\> \| x |" in text
    text.encode()  # works although a genre name contains a surrogate
    lines = [line for line in text.splitlines() if line.startswith(("| genre |", "| R"))]
    assert [line.replace(r"\|", "").count("|") for line in lines] == [6, 6]
