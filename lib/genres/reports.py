"""The report of a genre model: one folder of JSON, CSV and PNG files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.lib.arrays import Float64Array
from reprise.lib.genres import plots
from reprise.lib.genres.metrics import SCALARS, spread

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Report:
    """What is known of a genre model.

    Parameters
    ----------
    title
        Of the pictures: learner, features, labels.
    features
        The d features.
    figures
        Of `reprise.lib.genres.metrics.measure` for rows that neither chose nor trained the model.
    leaky
        The same where rows of one song or artist stand on both sides of the split; None where that was not measured.
    splits
        The honest figures of each fold or split alone; their `SCALARS` are reported, and the spread of these.
    learning_curve
        ``rows``, ``macro_f1``, ``accuracy``, ``spread`` for several shares of the training rows.
    ranking
        Of `reprise.lib.genres.feature_rankings.rank_features`.
    shap
        Shape (d, k), of `feature_rankings.explain_summary`; its columns are the genres of ``figures``. None
        where it was not measured.
    params
        How the model was made, as JSON can hold it.
    """

    title: str
    features: Sequence[str]
    figures: Mapping[str, Any]
    leaky: Mapping[str, Any] | None = None
    splits: Sequence[Mapping[str, Any]] = ()
    learning_curve: Sequence[Mapping[str, Any]] = ()
    ranking: Sequence[Mapping[str, Any]] = ()
    shap: Float64Array | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


def write_report(folder: Path, report: Report) -> list[Path]:
    """Write a report: ``report.json`` with all of it, and a CSV and a PNG file for each part.

    The parts are ``per_genre``, ``confusion`` and ``calibration``, and as far as they were measured
    ``learning_curve``, ``features`` and ``shap``. CSV files are UTF-8 with a header; a name that a spreadsheet would
    take for a formula is led by an apostrophe. The same report gives the same bytes.

    Parameters
    ----------
    folder
        Made where it does not exist; files of these names in it are replaced.

    Returns
    -------
    list of Path
        What was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.json"]
    written[0].write_text(_to_json(report), "utf-8")

    def part(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
        write_csv(folder / f"{name}.csv", header, rows)
        written.extend([folder / f"{name}.csv", folder / f"{name}.png"])
        return written[-1]

    figures, names = report.figures, report.figures["names"]
    scores = ("precision", "recall", "f1", "support", "predicted")
    rows = [(name, *(one[score] for score in scores)) for name, one in figures["per_genre"].items()]
    png = part("per_genre", ("genre", *scores), rows)
    plots.draw_per_genre(figures["per_genre"], png, title=f"{report.title}: precision, recall, F1")

    png = part("confusion", ("true \\ predicted", *names), zip_rows(names, figures["confusion"]))
    accuracy = f"accuracy {figures['accuracy']:.3f}, macro F1 {figures['macro_f1']:.3f}"
    plots.draw_confusion(figures["confusion"], names, png, title=f"{report.title}: {accuracy}")

    columns = ("low", "high", "rows", "confidence", "accuracy")
    bins = [[one[column] for column in columns] for one in figures["calibration"]["bins"]]
    plots.draw_calibration(figures["calibration"], part("calibration", columns, bins))

    if report.learning_curve:
        curve = ("rows", "macro_f1", "accuracy", "spread")
        png = part("learning_curve", curve, [[one[column] for column in curve] for one in report.learning_curve])
        plots.draw_learning_curve(report.learning_curve, png)
    if report.ranking:
        told = ("feature", "mutual_information", "f_value", "missing")
        png = part("features", told, [[one[column] for column in told] for one in report.ranking])
        plots.draw_ranking(report.ranking, png)
    if report.shap is not None:
        png = part("shap", ("feature", *names), zip_rows(report.features, report.shap.tolist()))
        plots.draw_shap(report.shap, report.features, names, png)
    return written


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a UTF-8 CSV file with a header that a spreadsheet opens without running anything in it.

    Parameters
    ----------
    rows
        Texts, numbers and None, which stands as an empty cell.
    """
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(name) for name in header])
        writer.writerows([_cell(value) for value in row] for row in rows)


def zip_rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
    """Each row behind its name."""
    return [(name, *row) for name, row in zip(names, rows, strict=True)]


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _to_json(report: Report) -> str:
    shap = None
    if report.shap is not None:
        names = report.figures["names"]
        rows = zip(report.features, report.shap.tolist(), strict=True)
        shap = {feature: dict(zip(names, row, strict=True)) for feature, row in rows}
    content: dict[str, Any] = {
        "title": report.title,
        "params": report.params,
        "features": list(report.features),
        "figures": report.figures,
        "leaky": report.leaky,
        "splits": None,
        "learning_curve": list(report.learning_curve),
        "ranking": list(report.ranking),
        "shap": shap,
    }
    if report.splits:
        each = [{name: one[name] for name in ("rows", *SCALARS)} for one in report.splits]
        content["splits"] = {"of_all": spread(report.splits), "each": each}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
