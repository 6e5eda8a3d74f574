"""The page: everything in Markdown, and in one HTML file that needs no other."""

from __future__ import annotations

import base64
import re

import pytest

from tinybrain.study import page
from tinybrain.study.page import Figure, Section
from tinybrain.study.tables import Table


@pytest.fixture
def sections(tmp_path):
    picture = tmp_path / "figures" / "a b.png"
    picture.parent.mkdir()
    picture.write_bytes(b"\x89PNG pixels")
    table = Table("Table 1", "Words.", ("subject", "MSE"), (("sub-01", 0.25),))
    return [Section("First <one>", ("Text & more.", table, Figure(picture, "A picture"))),
            Section("Second", ("End.",))]  # fmt: skip


def test_html_holds_its_figures(tmp_path, sections):
    html = page.write("study", "A study", sections, tmp_path)[1]
    text = html.read_text("utf-8")
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert base64.b64decode(data) == b"\x89PNG pixels"
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)  # nothing from elsewhere
    assert "First &lt;one&gt;" in text and "Text &amp; more." in text and "0.250" in text
    assert text.count("<h2") == 2


def test_markdown_names_its_figures_beside_it(tmp_path, sections):
    text = page.write("study", "A study", sections, tmp_path)[0].read_text("utf-8")
    (place,) = re.findall(r"!\[A picture\]\(([^)]+)\)", text)
    assert (tmp_path / place).read_bytes() == b"\x89PNG pixels"
    assert "## Second" in text and "| sub-01  | 0.250 |" in text
    assert (tmp_path / "tables" / "table-1.tex").exists()


def test_a_figure_of_another_kind_is_refused(tmp_path, sections):
    odd = Section("x", (Figure(tmp_path / "a.pdf", ""),))
    with pytest.raises(ValueError, match="a.pdf: wanted a figure in one of .png"):
        page.to_html("x", [odd])
