"""One table, five formats: Markdown, CSV, JSON, LaTeX (booktabs) and HTML.

A cell is words, a number, a number with its interval, or None: missing, which is a dash, as is a
number that is not finite. Markdown, LaTeX and HTML are for people and round to `digits`; CSV and
JSON are for programs and have all digits: a CSV column with intervals is followed by two more,
"... low" and "... high".
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

from ..files import write_text
from ..report_page import aligned
from ..uncertainty import Interval

Cell = str | int | float | Interval | None
Rows = tuple[tuple[Cell, ...], ...]

DASH = "–"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "²": "$^2$", "±": r"$\pm$", "–": "--", "−": "$-$", "<": "$<$", ">": "$>$",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table, independent of how it is written.

    Attributes
    ----------
    name : such as "Table 1, EEG, MSE"; file names are made of it
    caption : what the numbers are, with unit and axes
    columns : headings; the first column names the rows
    rows : of cells, one for each column
    notes : beneath the table
    digits : after the decimal point, where it is rounded

    Raises
    ------
    ValueError
        A row with too many cells or too few.

    Examples
    --------
    >>> made = Table("Table 1, EEG, MSE", "Within subject.", ("subject", "ridge", "paper"),
    ...              (("sub-01", Interval(0.19, 0.18, 0.21), 0.178), ("sub-02", 0.2, None)))
    >>> print(to_markdown(made))
    **Table 1, EEG, MSE.** Within subject.
    <BLANKLINE>
    | subject |                ridge | paper |
    | ------- | -------------------: | ----: |
    | sub-01  | 0.190 [0.180, 0.210] | 0.178 |
    | sub-02  |                0.200 |     – |
    <BLANKLINE>
    >>> print(to_csv(made))
    subject,ridge,ridge low,ridge high,paper
    sub-01,0.19,0.18,0.21,0.178
    sub-02,0.2,,,
    <BLANKLINE>
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: Rows
    notes: tuple[str, ...] = ()
    digits: int = 3

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{self.name}: a row of {len(row)} cells, {row[:1]}; wanted one for each of "
                    f"the {len(self.columns)} columns"
                )

    @property
    def slug(self) -> str:
        """The name as a file can have it."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def words(cell: Cell, digits: int) -> str:
    """A cell as people read it.

    >>> words(Interval(0.217, 0.205, 0.23), digits=3), words(None, digits=3)
    ('0.217 [0.205, 0.230]', '–')
    """
    if isinstance(cell, Interval):
        value, low, high = (words(number, digits) for number in cell)
        return value if DASH in (low, high) else f"{value} [{low}, {high}]"
    if isinstance(cell, (str, int)):
        return str(cell)
    if cell is None or not math.isfinite(cell):
        return DASH
    return f"{cell:.{digits}f}"


def number(cell: Cell) -> float | Interval | None:
    """A cell that is no words; None if it is."""
    return None if isinstance(cell, str) else cell


def value_of(cell: Cell) -> float:
    """The number of a cell; nan without one."""
    if isinstance(cell, Interval):
        return cell.value
    return math.nan if cell is None or isinstance(cell, str) else float(cell)


# -------------------------------------------------------------------------------------------------
# For people


def to_markdown(table: Table) -> str:
    """Name and caption, the table with its columns aligned, notes."""
    cells = [list(table.columns), *([words(c, table.digits) for c in row] for row in table.rows)]
    cells = [[text.replace("|", r"\|") for text in line] for line in cells]
    lines = [f"**{table.name}.** {table.caption}", "", aligned(cells)]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A <table> with its caption; notes beneath."""
    def line(tag: str, texts: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    body = []
    for row in table.rows:
        texts = [html.escape(words(cell, table.digits)) for cell in row]
        body.append(line("td", [re.sub(r" (\[.*\])$", r" <small>\1</small>", t) for t in texts]))
    head = line("th", [html.escape(column) for column in table.columns])
    notes = [f'<p class="note">{html.escape(note)}</p>' for note in table.notes]
    return "\n".join([
        '<div class="wide"><table>',
        f"<caption><b>{html.escape(table.name)}.</b> {html.escape(table.caption)}</caption>",
        f"<thead>{head}</thead>", "<tbody>", *body, "</tbody></table></div>", *notes, "",
    ])  # fmt: skip


def to_latex(table: Table) -> str:
    """A `table` environment that needs the package booktabs, and UTF-8, as LaTeX has since 2018."""
    def line(texts: list[str]) -> str:
        return " & ".join(texts) + r" \\"

    body = []
    for row in table.rows:
        texts = [_escape(words(cell, table.digits)) for cell in row]
        body.append(line([re.sub(r" (\[.*\])$", r" {\\scriptsize \1}", text) for text in texts]))
    notes = [rf"\par\footnotesize {_escape(note)}" for note in table.notes]
    caption = rf"\caption{{\textbf{{{_escape(table.name)}.}} {_escape(table.caption)}}}"
    return "\n".join([
        r"\begin{table}", r"\centering\small", caption,
        rf"\label{{tab:{table.slug}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule",
        line([_escape(column) for column in table.columns]), r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", *notes, r"\end{table}", "",
    ])  # fmt: skip


def _escape(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


# -------------------------------------------------------------------------------------------------
# For programs


def to_csv(table: Table) -> str:
    """All digits; missing cells are empty."""
    with_interval = [
        any(isinstance(row[i], Interval) for row in table.rows) for i in range(len(table.columns))
    ]
    lines = [[
        text for column, wide in zip(table.columns, with_interval)
        for text in ([column, f"{column} low", f"{column} high"] if wide else [column])
    ]]  # fmt: skip
    for row in table.rows:
        lines.append([
            text for cell, wide in zip(row, with_interval) for text in _exact(cell, wide)
        ])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _exact(cell: Cell, wide: bool) -> list[str]:
    """A cell in one column, or with its interval in three."""
    parts = cell if isinstance(cell, Interval) else (cell, None, None)
    texts = [
        "" if part is None or (isinstance(part, float) and not math.isfinite(part)) else str(part)
        for part in parts
    ]
    return texts if wide else texts[:1]


def to_json(table: Table) -> str:
    """Everything; an interval is an object with value, low and high."""
    rows = [[_plain(cell) for cell in row] for row in table.rows]
    content = {
        "name": table.name, "caption": table.caption, "columns": list(table.columns),
        "rows": rows, "notes": list(table.notes), "digits": table.digits,
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(text: str) -> Table:
    """The table that `to_json` wrote.

    >>> made = Table("Table 1", "Within subject.", ("subject", "MSE"), (("sub-01", 0.2),))
    >>> from_json(to_json(made)) == made
    True
    """
    content = json.loads(text)
    rows = tuple(
        tuple(_interval(cell) if isinstance(cell, dict) else cell for cell in row)
        for row in content["rows"]
    )
    return Table(
        content["name"], content["caption"], tuple(content["columns"]), rows,
        tuple(content["notes"]), content["digits"],
    )


def _interval(cell: dict[str, float | None]) -> Interval:
    parts = (cell[key] for key in Interval._fields)
    value, low, high = (math.nan if part is None else part for part in parts)
    return Interval(value, low, high)


def _plain(cell: Cell) -> object:
    if isinstance(cell, Interval):
        return {key: _plain(value) for key, value in cell._asdict().items()}
    if isinstance(cell, float):
        return float(cell) if math.isfinite(cell) else None
    return cell


def write(table: Table, folder: str | Path) -> list[Path]:
    """`slug`.md, .csv, .json and .tex in a folder; returns their paths."""
    formats = {"md": to_markdown, "csv": to_csv, "json": to_json, "tex": to_latex}
    return [
        write_text(Path(folder) / f"{table.slug}.{suffix}", render(table))
        for suffix, render in formats.items()
    ]
