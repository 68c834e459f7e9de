"""Rows as a table on the screen, as JSON, and as the results of docs/benchmarks.md."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from benchmarks.harness import Row

HEADINGS = ("measured", "surefoot", "compared with", "figure", "range", "bar", "verdict")
RESULTS = "## Results\n"
COLOURS = {"pass": "green", "short": "red", "missing": "yellow"}


@dataclass(frozen=True)
class Section:
    """What was measured of one topic."""

    topic: str
    title: str
    rows: list[Row] = field(default_factory=list)


def cells(row: Row) -> tuple[str, ...]:
    """One text for each heading."""
    middle, span = "", ""
    if row.figure is not None:
        middle = f"{number(row.figure.median)} {row.unit}"
        span = f"{number(row.figure.low)} – {number(row.figure.high)}"
    bar = "" if row.bar is None else f"{'≤' if row.at_most else '≥'} {number(row.bar)} {row.unit}"
    return row.what, row.ours, row.peer, middle, span, bar, row.verdict


def number(value: float) -> str:
    """Three digits, as people write them.

    >>> number(0.9123), number(312.7), number(8), number(-4e-5)
    ('0.912', '313', '8', '0')
    """
    if abs(value) < 0.001:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(section: Section) -> Table:
    """A table for the screen."""
    drawn = Table(*HEADINGS[:3], title=section.title, title_justify="left", expand=True)
    for heading in HEADINGS[3:]:
        drawn.add_column(heading, no_wrap=True)
    for row in section.rows:
        *texts, verdict = cells(row)
        colour = COLOURS.get(verdict, "default")
        drawn.add_row(*map(escape, texts), f"[{colour}]{verdict}[/]")
    return drawn


def summary(sections: list[Section]) -> str:
    """How many bars were met, and each that was not."""
    rows = [row for section in sections for row in section.rows]
    count = Counter(row.verdict for row in rows)
    lines = [f"Bars: {count['pass']} passed, {count['short']} short; {count['missing']} rows not measured"]
    lines += [f"{row.verdict}: {row.what} ({row.peer})" for row in rows if row.verdict in ("short", "missing")]
    return "\n".join(lines)


def as_data(facts: dict[str, str], sections: list[Section]) -> dict:
    """All of it for JSON."""
    results = {
        section.topic: [dataclasses.asdict(row) | {"verdict": row.verdict} for row in section.rows]
        for section in sections
    }
    return {"machine": facts, "results": results}


def renew(page: Path, facts: dict[str, str], sections: list[Section]) -> None:
    """Replaces all that follows the heading "Results" of a page.

    Raises:
        ValueError: if the page has no such heading.
    """
    before, heading, _ = page.read_text(encoding="utf-8").partition(RESULTS)
    if not heading:
        raise ValueError(f"{page}: no line {RESULTS.strip()!r}; expected one, under which the results are written")
    parts = [before + heading, "\n".join(f"- {key}: {value}" for key, value in facts.items())]
    for section in sections:
        lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, section.rows)]
        parts += [f"### {section.title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
