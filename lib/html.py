"""Build HTML pages from a title, a summary and sections. All text except section names is escaped."""

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
    """A section with one picture and a link to its data.

    ``name`` must be a valid HTML id and file name. The picture is the file ``{name}.png`` and the data are the file
    ``{name}.csv``. Both files must be in the folder of the page.
    """

    name: str
    heading: str
    text: str


def render_page(title: str, summary: str, sections: Sequence[Section]) -> str:
    """Return a page with title, summary, table of contents, and the sections in the given order."""
    parts = "".join(
        f'<section id="{section.name}">\n<h2>{escape(section.heading)}</h2>\n<p>{escape(section.text)}'
        f' <a href="{section.name}.csv">Data (CSV)</a></p>\n'
        f'<p><img src="{section.name}.png" alt="{escape(section.heading)}"></p>\n</section>\n'
        for section in sections
    )
    contents = "".join(f'<li><a href="#{section.name}">{escape(section.heading)}</a></li>\n' for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        f"<p>{escape(summary)}</p>\n"
        f"<ul>\n{contents}</ul>\n{parts}</body>\n</html>\n"
    )
