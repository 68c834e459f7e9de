"""docs/reproduced.md names every row that there is and no other, and the texts as the rows do."""

import re
from pathlib import Path

from surefoot.lab.published import ROWS
from surefoot.lab.published.rows import TEXTS

DOCS = Path(__file__).parents[2] / "docs"
TABLES = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (DOCS / "reproduced.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|")
]
STATED = [
    (statement, texts, re.findall(r"`([^`]+)`", rows))
    for statement, texts, rows in (cells for cells in TABLES if len(cells) == 3)
    if rows.startswith("`")
]
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


def test_the_tables_name_every_row_once():
    named = [id for *_, ids in STATED for id in ids]
    assert sorted(named) == sorted(ROWS)


def test_the_texts_of_a_statement_are_those_of_its_rows():
    for _, texts, ids in STATED:
        found = {text for id in ids for text in ROWS[id].texts}
        named = {text.strip() for text in texts.split(",") if text.strip()}
        assert found == (set(TEXTS) if texts == "all" else named), ids


def test_what_no_text_prints_says_so():
    for statement, _, ids in STATED:
        assert ("in no text)" in statement) == (not any(ROWS[id].texts for id in ids)), statement


def test_rows_name_sections_that_the_chapter_has():
    for id, row in ROWS.items():
        for text, place in row.texts.items():
            known = SECTIONS.get(text, ("", "a cell", "the prose", "a handwritten note"))
            assert set(place.split("; ")) <= set(known), id


def test_every_erratum_names_its_rows():
    page = (DOCS / "errata.md").read_text(encoding="utf-8")
    for entry in page.split("\n## ")[1:]:
        title, *lines = entry.splitlines()
        rows = [line for line in lines if re.match(r"Rows? `", line)]
        assert len(rows) == 1, title
        assert set(re.findall(r"`([^`]+)`", rows[0])) <= set(ROWS), title


def test_the_legend_has_every_text():
    assert {name for name, *_ in (cells for cells in TABLES if len(cells) == 2)} >= set(TEXTS)


def test_rows_name_the_errata_that_name_them():
    page = (DOCS / "errata.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`]+)`", " ".join(re.findall(r"^Rows? .*$", page, re.MULTILINE))))
    assert named == {id for id, row in ROWS.items() if "errata.md" in row.note}
