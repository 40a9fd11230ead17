"""The card of a genre model: what it is for, what it learned from, how good it is and where it fails, as Markdown."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from reprise.lib.genres.metrics import SCALARS
from reprise.lib.genres.reports import Report

_ALWAYS = (
    "It answers with one of its genres whatever it hears, speech and silence included, and knows no others.",
    "Genre labels are opinions: those it learned from are other people's, and their errors are in it.",
)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


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
    """Write the card of a model.

    Parameters
    ----------
    report
        What is known of it; its title heads the card.
    sha256
        Of the model's file.
    purpose, data, chosen, licence
        Plain sentences: what the model is for; what it learned from; how it was chosen and which rows its figures are
        of; under which terms its data stand.
    limits
        More that it cannot do, one sentence each.

    Returns
    -------
    str
        Markdown. Names that come from data are escaped: none is taken for markup.
    """
    figures = report.figures
    parts = [
        f"# {_plain(report.title)}",
        _plain(purpose),
        _grid(("", ""), [("model", model_id), ("SHA-256 of its file", sha256)]),
        "## What it learned from",
        _plain(data),
        "## How it was chosen",
        _plain(chosen),
        _grid(("setting", "value"), [(name, _value(value)) for name, value in report.params.items()]),
        "## How good it is",
        _plain(f"Counted on {figures['rows']:,} rows that neither trained nor chose it."),
        _compare(figures, report.leaky),
        _plain(
            "The probability of its answer is off by "
            f"{figures['calibration']['expected_calibration_error']:.3f} on average (expected calibration error)."
        ),
        _grid(
            ("genre", "precision", "recall", "F1", "rows"),
            [
                (name, *(f"{one[score]:.3f}" for score in ("precision", "recall", "f1")), f"{one['support']:,}")
                for name, one in figures["per_genre"].items()
            ],
        ),
        "## What it cannot do",
        "\n".join(f"- {_plain(limit)}" for limit in (*_ALWAYS, *limits)),
        "## Licence",
        _plain(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _compare(figures: Mapping[str, Any], leaky: Mapping[str, Any] | None) -> str:
    shown = [(name, name.replace("_", " ").replace("f1", "F1")) for name in SCALARS]
    if leaky is None:
        return _grid(("figure", "honest"), [(words, f"{figures[name]:.3f}") for name, words in shown])
    rows = [(words, f"{figures[name]:.3f}", f"{leaky[name]:.3f}") for name, words in shown]
    note = _plain(
        "The leaky figures are those of a split that lets rows of one song or artist stand on both sides, as published"
        " ones often do; they are shown for comparison and say nothing about new music."
    )
    return f"{_grid(('figure', 'honest', 'leaky'), rows)}\n\n{note}"


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(words: str) -> str:
    """Words on one line in which nothing is markup."""
    text = " ".join(words.encode("utf-8", "replace").decode("utf-8").split())
    return _SPECIAL.sub(r"\\\1", text)
