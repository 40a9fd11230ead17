"""Pages in HTML: one document from a heading and sections, everything escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 75em; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2em } img { max-width: 100%; height: auto }
table { border-collapse: collapse } td, th { padding: .15em .8em; border-bottom: 1px solid #ddd; text-align: left }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums }
"""


@dataclass(frozen=True)
class Section:
    """A section with one picture ``NAME.png`` and its numbers in ``NAME.csv``, both beside the page."""

    name: str
    heading: str
    text: str


def render_page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """A page: title, summary, contents, and the sections in their order."""
    parts = "".join(
        f'<section id="{one.name}">\n<h2>{escape(one.heading)}</h2>\n<p>{escape(one.text)}'
        f' <a href="{one.name}.csv">Its numbers</a></p>\n'
        f'<p><img src="{one.name}.png" alt="{escape(one.heading)}"></p>\n</section>\n'
        for one in sections
    )
    contents = "".join(f'<li><a href="#{one.name}">{escape(one.heading)}</a></li>\n' for one in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(summary)}</p>\n"
        f"<ul>\n{contents}</ul>\n{parts}</body>\n</html>\n"
    )
