"""Write the list of tables, made from their contracts, between the markers of a Markdown file: ``make tables``."""

import sys
from pathlib import Path

from reprise.lib.tables import TABLES, Table

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
    for column in table.columns:
        required = "" if column.nullable else ", never NULL"
        lines.append(f"| `{column.name}` | {column.type}{required} | {column.comment} |")
    for condition in table.checks.values():
        lines += ["", f"Always: `{condition}`."]
    return [*lines, "", "</details>"]


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
