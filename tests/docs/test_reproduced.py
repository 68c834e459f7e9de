"""docs/reproduced.md has every row as `surefoot reproduce` prints it, and the errata name rows that exist."""

import re

import pytest
from support.documentation import doc_blocks, tool

from surefoot.lab.published import ROWS
from surefoot.lab.published.rows import TEXTS

reproduced_page = tool("reproduced_page")
PAGE = doc_blocks.DOCS / "reproduced.md"
SECTIONS = {
    "D2L": (
        "Sparse Features and Learning Rates",
        "Preconditioning",
        "The Algorithm",
        "Implementation from Scratch",
        "Concise Implementation",
        "Summary",
        "Exercises",
    ),
    "D2L-MXNet": ("The Algorithm", "Features", "Implementation from Scratch", "Implementation with Gluon"),
}
"""Of the texts that are public."""


def test_the_tables_are_current():
    text = PAGE.read_text(encoding="utf-8")
    assert reproduced_page.page(text) == text, "run python tools/reproduced_page.py"


def test_the_tables_have_every_row_and_every_text():
    text = PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)) == sorted(ROWS)
    for name, words in TEXTS.items():
        assert f"| {name} | {words} |\n" in text


def test_every_section_of_rows_has_a_table():
    assert set(reproduced_page.TITLES) == {row.section for row in ROWS.values()}


def test_a_page_without_its_heading_is_rejected():
    with pytest.raises(ValueError, match="no line '## Texts'; expected one, under which the tables are written"):
        reproduced_page.page("# What the texts state\n")


def test_rows_name_sections_that_the_chapter_has():
    for id, row in ROWS.items():
        for text, place in row.texts.items():
            known = SECTIONS.get(text, ("", "a cell", "the prose", "a handwritten note"))
            assert set(place.split("; ")) <= set(known), id


def test_every_erratum_names_its_rows():
    page = (doc_blocks.DOCS / "errata.md").read_text(encoding="utf-8")
    for entry in page.split("\n## ")[1:]:
        title, *lines = entry.splitlines()
        rows = [line for line in lines if re.match(r"Rows? `", line)]
        assert len(rows) == 1, title
        assert set(re.findall(r"`([^`]+)`", rows[0])) <= set(ROWS), title


def test_rows_name_the_errata_that_name_them():
    page = (doc_blocks.DOCS / "errata.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`]+)`", " ".join(re.findall(r"^Rows? .*$", page, re.MULTILINE))))
    assert named == {id for id, row in ROWS.items() if "errata.md" in row.note}
