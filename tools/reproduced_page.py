"""Writes the tables of docs/reproduced.md from the rows of `surefoot reproduce`: `python tools/reproduced_page.py`.

What stands above the heading "Texts" is written by hand and stays.
"""

from pathlib import Path

from surefoot.lab.published import ROWS, Row
from surefoot.lab.published.rows import TEXTS, cited

PAGE = Path(__file__).parents[1] / "docs" / "reproduced.md"
BEGIN = "\n## Texts\n"
TITLES = {
    "2 schedules": "Schedules",
    "3 traces": "Two-dimensional traces",
    "4 airfoil": "Training on the airfoil data",
    "5 theory": "Theory",
    "6 figures": "Figures",
}


def page(text: str) -> str:
    """The page with its tables renewed.

    Raises:
        ValueError: it has no heading under which they belong.
    """
    above, begin, _ = text.partition(BEGIN)
    if not begin:
        raise ValueError(f"{PAGE}: no line {BEGIN.strip()!r}; expected one, under which the tables are written")
    parts = [above + begin + "\n" + table(("name", "text"), TEXTS.items())]
    for section, title in TITLES.items():
        rows = [cells(row) for row in ROWS.values() if row.section == section]
        parts.append(f"## {title}\n\n" + table(("row", "what is claimed", "published", "ours"), rows))
    return "\n".join(parts)


def cells(row: Row) -> tuple[str, str, str, str]:
    """A row of the table; what is published with the texts that print it."""
    published = f"{row.published} ({cited(row.texts)})" if row.published else ""
    return f"`{row.id}`", row.claim, published, row.ours


def table(head, rows) -> str:
    """In Markdown."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (head, ["---"] * len(head), *rows)]
    return "".join(" ".join(f"| {cell}".rstrip() for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
