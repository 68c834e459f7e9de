"""Rows as a table on the screen, as JSON, and as the results of docs/benchmarks.md."""

import dataclasses
from collections import Counter
from pathlib import Path

from rich.table import Table

from benchmarks.harness import Row

HEADINGS = ("measured", "surefoot", "beside", "figure", "range", "bar", "verdict")
RESULTS = "## Results\n"
COLOURS = {"pass": "green", "short": "red", "missing": "yellow"}


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

    >>> number(0.9123), number(312.7), number(8)
    ('0.912', '313', '8')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(title: str, rows: list[Row]) -> Table:
    """A table for the screen."""
    drawn = Table(*HEADINGS[:3], title=title, title_justify="left", expand=True)
    for heading in HEADINGS[3:]:
        drawn.add_column(heading, no_wrap=True)
    for row in rows:
        *texts, verdict = cells(row)
        colour = COLOURS.get(verdict, "default")
        drawn.add_row(*texts, f"[{colour}]{verdict}[/]")
    return drawn


def summary(results: dict[str, list[Row]]) -> str:
    """How many bars were met, and each that was not."""
    rows = [row for measured in results.values() for row in measured]
    count = Counter(row.verdict for row in rows)
    lines = [f"Bars: {count['pass']} passed, {count['short']} short, {count['missing']} rows not measured"]
    return "\n".join(
        lines + [f"{row.verdict}: {row.what}: {row.peer}" for row in rows if row.verdict in ("short", "missing")]
    )


def as_data(facts: dict[str, str], results: dict[str, list[Row]]) -> dict:
    """All of it for JSON."""
    rows = {
        topic: [dataclasses.asdict(row) | {"verdict": row.verdict} for row in measured]
        for topic, measured in results.items()
    }
    return {"machine": facts, "results": rows}


def renew(page: Path, facts: dict[str, str], titles: dict[str, str], results: dict[str, list[Row]]) -> None:
    """Replaces all that follows the heading "Results" of a page.

    Raises:
        ValueError: if the page has no such heading.
    """
    before, heading, _ = page.read_text(encoding="utf-8").partition(RESULTS)
    if not heading:
        raise ValueError(f"{page}: no line {RESULTS.strip()!r}; expected one, under which the results are written")
    parts = [before + heading, "\n".join(f"- {key}: {value}" for key, value in facts.items())]
    for topic, rows in results.items():
        lines = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, rows)]
        parts += [f"### {titles[topic]}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
