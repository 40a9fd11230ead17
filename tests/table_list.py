"""Write the list of tables, made from their contracts, between the markers of a Markdown file: ``make tables``."""

import re
import sys
from itertools import groupby
from pathlib import Path

from reprise.lib.tables import TABLES, Column, Table

BEGIN, END = "<!-- tables -->\n", "<!-- /tables -->"


def table_list() -> str:
    """Overview of all tables, then the columns of each, folded."""
    lines = ["| table | what it holds | one row | key |", "|---|---|---|---|"]
    lines += [f"| `{t.name}` | {t.doc} | {t.grain} | {', '.join(t.key)} |" for t in TABLES.values()]
    for table in TABLES.values():
        lines += ["", *_columns(table)]
    return "\n".join(lines) + "\n"


def _columns(table: Table) -> list[str]:
    lines = ["<details>", f"<summary>{table.name}: {len(table.columns)} columns</summary>", ""]
    lines += ["| column | type | meaning |", "|---|---|---|"]
    for _, alike in groupby(table.columns, _family):
        columns = list(alike)
        first, last = columns[0], columns[-1]
        required = "" if first.nullable else ", never NULL"
        names, comments = f"`{first.name}`", first.comment
        if len(columns) > 1:
            names, comments = f"{names} … `{last.name}`", f"{comments} … {last.comment}"
        lines.append(f"| {names} | {first.type}{required} | {comments} |")
    for condition in table.checks.values():
        lines += ["", f"Always: `{condition}`."]
    return [*lines, "", "</details>"]


def _family(column: Column) -> str:
    """Equal for columns that differ in their number, or in the statistic they are: these share a line."""
    return re.sub("[0-9]+|_(mean|var)$", "", column.name)


def with_list(text: str) -> str:
    """``text`` with the list between its markers; ValueError when it does not have each of them once, in order."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"no lines {BEGIN.strip()} and {END}, each once and in this order")
    return f"{before}{begin}{table_list()}{end}{after}"


def main(argv: list[str]) -> int:
    """Write the list into the file that ``argv`` names."""
    if len(argv) != 1:
        print("usage: table_list.py FILE.md", file=sys.stderr)
        return 2
    path = Path(argv[0])
    try:
        text = with_list(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
