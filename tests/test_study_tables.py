"""One table in five formats: what is read back is what was written."""

from __future__ import annotations

import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest

from tinybrain.study import tables
from tinybrain.study.tables import Table
from tinybrain.uncertainty import Interval

TABLE = Table(
    "Table 1, EEG, MSE", "Error in a.u.² & 100 % of it.", ("subject", "one_sample", "paper"),
    (
        ("sub-01", Interval(1 / 3, 0.3, 0.4), 0.178),
        ("a|b", None, math.nan),
        ("mean ± sd", Interval(0.25, math.nan, math.nan), 12),
    ),
    ("A note: x < y.",),
)  # fmt: skip
SHOWN = [["sub-01", "0.333 [0.300, 0.400]", "0.178"], ["a|b", "–", "–"],
         ["mean ± sd", "0.250", "12"]]


def test_markdown_has_every_cell_rounded_and_a_dash_for_what_is_missing():
    text = tables.to_markdown(TABLE)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[c.strip().replace(r"\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
             for line in lines]  # fmt: skip
    assert cells[0] == list(TABLE.columns) and cells[2:] == SHOWN
    assert len({len(line) for line in lines}) == 1  # aligned
    assert text.startswith("**Table 1, EEG, MSE.** Error") and "A note: x < y." in text


def test_csv_has_all_digits_and_the_bounds_of_intervals():
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(TABLE))))
    assert list(rows[0]) == ["subject", "one_sample", "one_sample low", "one_sample high", "paper"]
    assert float(rows[0]["one_sample"]) == 1 / 3 and float(rows[0]["one_sample high"]) == 0.4
    assert rows[1] == {"subject": "a|b", "one_sample": "", "one_sample low": "",
                       "one_sample high": "", "paper": ""}
    assert rows[2]["one_sample low"] == "" and rows[2]["paper"] == "12"


def test_json_comes_back_whole():
    back = tables.from_json(tables.to_json(TABLE))
    assert tables.to_csv(back) == tables.to_csv(TABLE)
    assert (back.name, back.caption, back.columns, back.notes, back.digits) == (
        TABLE.name, TABLE.caption, TABLE.columns, TABLE.notes, TABLE.digits)
    assert back.rows[0] == TABLE.rows[0] and back.rows[1] == ("a|b", None, None)


def test_latex_is_booktabs_with_everything_escaped():
    text = tables.to_latex(TABLE)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    cells = [[c.strip() for c in line.removesuffix(r" \\").split(" & ")] for line in body]
    assert cells[0] == ["sub-01", r"0.333 {\scriptsize [0.300, 0.400]}", "0.178"]
    assert cells[1] == ["a|b", "--", "--"] and cells[2][0] == r"mean $\pm$ sd"
    assert r"one\_sample" in text and r"a.u.$^2$ \& 100 \% of it" in text
    assert r"\begin{tabular}{lrr}" in text and r"x $<$ y" in text
    assert len(re.findall(r"\\begin", text)) == len(re.findall(r"\\end", text))


def test_html_is_well_formed_and_has_every_cell():
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.rows = [], []

        def handle_starttag(self, tag, attrs):
            self.open.append(tag)
            if tag == "tr":
                self.rows.append([])
            if tag in ("td", "th"):
                self.rows[-1].append("")

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    found = Cells()
    found.feed(tables.to_html(TABLE))
    assert not found.open and found.rows == [list(TABLE.columns), *SHOWN]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells"):
        Table("t", "", ("a", "b"), (("x",),))


def test_files_are_named_after_the_table(tmp_path):
    assert [path.name for path in tables.write(TABLE, tmp_path)] == [
        f"table-1-eeg-mse.{suffix}" for suffix in ("md", "csv", "json", "tex")
    ]
    assert tables.from_json((tmp_path / "table-1-eeg-mse.json").read_text("utf-8")) is not None
