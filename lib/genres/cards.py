"""Model card of a genre model in Markdown: purpose, training data, selection, metrics, limits, licence."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reprise.lib.genres.metrics import SCALARS
from reprise.lib.genres.reports import Report

_COMMON_LIMITS = (
    "The model knows only its own genres. Unless it abstains, it predicts one of them, also for speech and silence.",
    "Genre labels are subjective. The model reproduces the opinions and errors in the labels of its training data.",
)
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


def make_card(
    report: Report,
    *,
    model_id: str,
    sha256: str,
    purpose: str,
    data: str,
    chosen: str,
    licence: str,
    limits: Sequence[str] = (),
) -> str:
    """Write the model card.

    Parameters
    ----------
    report
        Evaluation results. The title of the report is the title of the card.
    model_id
        Id of the model.
    sha256
        SHA-256 of the model's file.
    purpose
        Purpose of the model, in sentences.
    data
        Description of the training data, in sentences.
    chosen
        Description of the model selection and of the rows that the metrics are computed on, in sentences.
    licence
        Licence terms of the training data, in sentences.
    limits
        Limits of the model, one string for each. They are listed after the limits that all models share.

    Returns
    -------
    str
        Markdown. All texts are escaped, so that names from the data cannot add markup.
    """
    metrics = report.metrics
    parts = [
        f"# {_escape(report.title)}",
        _escape(purpose),
        _make_table(("", ""), [("model", model_id), ("SHA-256 of its file", sha256)]),
        "## Training data",
        _escape(data),
        "## Model selection",
        _escape(chosen),
        _make_table(("parameter", "value"), [(name, _format_value(value)) for name, value in report.params.items()]),
        "## Metrics",
        _escape(f"Computed on {metrics['rows']:,} rows that were not used for training."),
        _compare(metrics, report.leaky),
        _escape(
            "On average, the probability of the predicted genre differs from the accuracy by "
            f"{metrics['calibration']['expected_calibration_error']:.3f} (expected calibration error)."
        ),
        _make_table(
            ("genre", "precision", "recall", "F1", "rows"),
            [
                (name, *(f"{one[score]:.3f}" for score in ("precision", "recall", "f1")), f"{one['support']:,}")
                for name, one in metrics["per_genre"].items()
            ],
        ),
        "## Limits",
        "\n".join(f"- {_escape(limit)}" for limit in (*_COMMON_LIMITS, *limits)),
        "## Licence",
        _escape(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _compare(metrics: Mapping[str, Any], leaky: Mapping[str, Any] | None) -> str:
    shown = [(name, name.replace("_", " ").replace("f1", "F1")) for name in SCALARS]
    if leaky is None:
        return _make_table(("metric", "honest"), [(title, f"{metrics[name]:.3f}") for name, title in shown])
    rows = [(title, f"{metrics[name]:.3f}", f"{leaky[name]:.3f}") for name, title in shown]
    note = _escape(
        "The leaky metrics come from splits in which rows of one song or artist are in both the training and the test"
        " set, as in many publications. They are shown for comparison and do not apply to new music."
    )
    return f"{_make_table(('metric', 'honest', 'leaky'), rows)}\n\n{note}"


def _make_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _format_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escape(text: str) -> str:
    """Return the text on one line, with the characters of inline Markdown markup escaped."""
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    return _MARKUP.sub(r"\\\1", line)
