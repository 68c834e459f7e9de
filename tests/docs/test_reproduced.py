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
STATED = [(texts, re.findall(r"`([^`]+)`", rows)) for _, texts, rows in (cells for cells in TABLES if len(cells) == 3)]


def test_the_tables_name_every_row_once():
    named = [id for _, ids in STATED for id in ids]
    assert sorted(named) == sorted(ROWS)


def test_the_texts_of_a_statement_are_those_of_its_rows():
    for texts, ids in STATED:
        found = {text for id in ids for text in ROWS[id].texts}
        if found and texts != "all":
            assert {text.strip() for text in texts.split(",")} == found, ids


def test_the_legend_has_every_text():
    assert {name for name, *_ in (cells for cells in TABLES if len(cells) == 2)} >= set(TEXTS)


def test_rows_name_the_errata_that_name_them():
    page = (DOCS / "errata.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([^`]+)`", " ".join(re.findall(r"^Rows? .*$", page, re.MULTILINE))))
    assert named == {id for id, row in ROWS.items() if "errata.md" in row.note}
