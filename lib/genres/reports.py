"""Report of a genre model: a folder of JSON, CSV and PNG files."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.lib.arrays import Float64Array
from reprise.lib.genres import plots
from reprise.lib.genres.metrics import SCALARS, summarise_metrics

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Report:
    """Evaluation results of a genre model.

    Parameters
    ----------
    title
        Title of the plots. It names the learner, the features and the labels.
    features
        Names of the d features.
    metrics
        The result of `reprise.lib.genres.metrics.compute_metrics` for rows not used in model selection or training.
    leaky
        Metrics of splits in which rows of one song or artist are in both the training and the test set; None if not
        measured.
    splits
        Metrics of each single fold or split that ``metrics`` combines. The report contains the mean and the standard
        deviation of their `SCALARS`.
    learning_curve
        One dict for each share of the training rows, with the keys ``rows``, ``macro_f1``, ``accuracy`` and ``spread``,
        the standard deviation of macro F1 over the folds.
    ranking
        The result of `reprise.lib.genres.feature_rankings.rank_features`.
    shap
        Shape (d, k), the result of `reprise.lib.genres.feature_rankings.compute_mean_shap`. The columns are the genres
        of ``metrics``. None if not computed.
    params
        Training parameters, serialisable as JSON.
    """

    title: str
    features: Sequence[str]
    metrics: Mapping[str, Any]
    leaky: Mapping[str, Any] | None = None
    splits: Sequence[Mapping[str, Any]] = ()
    learning_curve: Sequence[Mapping[str, Any]] = ()
    ranking: Sequence[Mapping[str, Any]] = ()
    shap: Float64Array | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


def write_report(folder: Path, report: Report) -> list[Path]:
    """Write a report: ``report.json`` with all results, and a CSV file and a PNG file for each topic.

    The topics are ``per_genre``, ``confusion`` and ``calibration``. The topics ``learning_curve``, ``features`` and
    ``shap`` are added if the report contains them. CSV files are UTF-8 with a header. An apostrophe is put before a
    name that a spreadsheet would read as a formula. The same report gives the same bytes.

    Parameters
    ----------
    folder
        Created if it does not exist. Existing files with the same names are replaced.

    Returns
    -------
    list of Path
        Paths of the written files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.json"]
    written[0].write_text(_to_json(report), "utf-8")

    def write_part(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
        write_csv(folder / f"{name}.csv", header, rows)
        written.extend([folder / f"{name}.csv", folder / f"{name}.png"])
        return written[-1]

    metrics, names = report.metrics, report.metrics["names"]
    scores = ("precision", "recall", "f1", "support", "predicted")
    rows = [(name, *(one[score] for score in scores)) for name, one in metrics["per_genre"].items()]
    png = write_part("per_genre", ("genre", *scores), rows)
    plots.draw_per_genre(metrics["per_genre"], png, title=f"{report.title}: precision, recall, F1")

    png = write_part("confusion", ("true \\ predicted", *names), zip_rows(names, metrics["confusion"]))
    accuracy = f"accuracy {metrics['accuracy']:.3f}, macro F1 {metrics['macro_f1']:.3f}"
    plots.draw_confusion(metrics["confusion"], names, png, title=f"{report.title}: {accuracy}")

    columns: tuple[str, ...] = ("low", "high", "rows", "confidence", "accuracy")
    bins = [[one[column] for column in columns] for one in metrics["calibration"]["bins"]]
    plots.draw_calibration(metrics["calibration"], write_part("calibration", columns, bins))

    if report.learning_curve:
        columns = ("rows", "macro_f1", "accuracy", "spread")
        png = write_part(
            "learning_curve", columns, [[one[column] for column in columns] for one in report.learning_curve]
        )
        plots.draw_learning_curve(report.learning_curve, png)
    if report.ranking:
        columns = ("feature", "mutual_information", "f_value", "missing")
        png = write_part("features", columns, [[one[column] for column in columns] for one in report.ranking])
        plots.draw_ranking(report.ranking, png)
    if report.shap is not None:
        png = write_part("shap", ("feature", *names), zip_rows(report.features, report.shap.tolist()))
        plots.draw_shap(report.shap, report.features, names, png)
    return written


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a UTF-8 CSV file with a header.

    An apostrophe is put before a string that a spreadsheet would read as a formula.

    Parameters
    ----------
    rows
        Cells are str, numbers or None. None becomes an empty cell.
    """
    with path.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(name) for name in header])
        writer.writerows([_cell(value) for value in row] for row in rows)


def zip_rows(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
    """Prepend each name to its row."""
    return [(name, *row) for name, row in zip(names, rows, strict=True)]


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _to_json(report: Report) -> str:
    shap = None
    if report.shap is not None:
        names = report.metrics["names"]
        rows = zip(report.features, report.shap.tolist(), strict=True)
        shap = {feature: dict(zip(names, row, strict=True)) for feature, row in rows}
    content: dict[str, Any] = {
        "title": report.title,
        "params": report.params,
        "features": list(report.features),
        "figures": report.metrics,
        "leaky": report.leaky,
        "splits": None,
        "learning_curve": list(report.learning_curve),
        "ranking": list(report.ranking),
        "shap": shap,
    }
    if report.splits:
        each = [{name: one[name] for name in ("rows", *SCALARS)} for one in report.splits]
        content["splits"] = {"of_all": summarise_metrics(report.splits), "each": each}
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
