"""All of the study on one page: Markdown beside the figures, HTML with the figures in it."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import write_text
from . import tables
from .tables import Table

TYPES = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1.5rem 0 0.5rem; }
caption { text-align: left; padding-bottom: 0.4rem; }
th, td { padding: 0.2rem 0.7rem; text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
thead { border-top: 2px solid; border-bottom: 1px solid; }
tbody { border-bottom: 2px solid; }
small { color: #666; } .note { font-size: 0.85rem; color: #555; margin: 0.2rem 0; }
.wide { overflow-x: auto; } figure { margin: 1.5rem 0; } img { max-width: 100%; }
figcaption { font-size: 0.9rem; color: #555; }
"""


@dataclass(frozen=True)
class Figure:
    """A picture and what it shows."""

    path: Path
    caption: str


Part = str | Table | Figure  # of a section; words are a paragraph


@dataclass(frozen=True)
class Section:
    """A heading, and beneath it paragraphs, tables and figures in their order."""

    title: str
    body: tuple[Part, ...]

    @property
    def tables(self) -> list[Table]:
        """Those among its parts."""
        return [part for part in self.body if isinstance(part, Table)]


def to_markdown(title: str, sections: Sequence[Section], folder: Path) -> str:
    """The page as it lies in `folder`: figures are named relative to it.

    >>> body = ("What was found.", Figure(Path("out/figures/a.png"), "Bars"))
    >>> print(to_markdown("Study", [Section("Table 1", body)], Path("out")))
    # Study
    <BLANKLINE>
    ## Table 1
    <BLANKLINE>
    What was found.
    <BLANKLINE>
    ![Bars](figures/a.png)
    <BLANKLINE>
    *Bars*
    <BLANKLINE>
    """
    lines = [f"# {title}"]
    for section in sections:
        lines += ["", f"## {section.title}"]
        for part in section.body:
            lines += ["", _markdown(part, folder)]
    return "\n".join(lines) + "\n"


def _markdown(part: Part, folder: Path) -> str:
    if isinstance(part, Table):
        return tables.to_markdown(part).rstrip()
    if isinstance(part, Figure):
        place = Path(os.path.relpath(part.path, folder)).as_posix()
        return f"![{part.caption}]({place})\n\n*{part.caption}*"
    return part


def to_html(title: str, sections: Sequence[Section]) -> str:
    """One file that needs no other."""
    contents, body = [], []
    for i, section in enumerate(sections):
        heading = html.escape(section.title)
        contents.append(f'<li><a href="#s{i}">{heading}</a></li>')
        body += [f'<h2 id="s{i}">{heading}</h2>', *(_html(part) for part in section.body)]
    return "\n".join([
        '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1>", "<ul>", *contents, "</ul>", *body, "</body></html>", "",
    ])  # fmt: skip


def _html(part: Part) -> str:
    if isinstance(part, Table):
        return tables.to_html(part)
    if isinstance(part, Figure):
        if part.path.suffix not in TYPES:
            raise ValueError(f"{part.path}: wanted a figure in one of {', '.join(TYPES)}")
        data = base64.b64encode(part.path.read_bytes()).decode()
        caption = html.escape(part.caption)
        return (f'<figure><img alt="{caption}" src="data:{TYPES[part.path.suffix]};base64,{data}">'
                f"<figcaption>{caption}</figcaption></figure>")
    return f"<p>{html.escape(part)}</p>"


def write(name: str, title: str, sections: Sequence[Section], folder: str | Path) -> list[Path]:
    """`name`.md and `name`.html in a folder, and each table in its own files in tables/."""
    folder = Path(folder)
    for section in sections:
        for table in section.tables:
            tables.write(table, folder / "tables")
    return [
        write_text(folder / f"{name}.md", to_markdown(title, sections, folder)),
        write_text(folder / f"{name}.html", to_html(title, sections)),
    ]
