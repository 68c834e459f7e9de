"""The command line: `python -m benchmarks [TOPIC …] [--quick] [--json FILE] [--page FILE]`."""

import argparse
import dataclasses
import importlib
import json
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report
from benchmarks.report import Section

TOPICS = ("dense", "rows", "optim", "learner", "reading", "training", "airfoil", "start", "memory", "one_row")
ON_REQUEST = ("regret", "held_out", "small", "wide", "epochs", "rates")
"""Topics that take long, or change with the learner alone."""


def main() -> None:
    arguments, console = parse(), Console()
    if not console.is_terminal:
        console.width = 200
    facts = machine.facts()
    if arguments.quick:
        facts["sizes"] = "quick: too small for the figures to mean anything"
    sections = [run(name, arguments.quick, console) for name in arguments.topics or TOPICS]
    facts["load after"] = machine.load()
    for key, value in facts.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    console.print(report.summary(sections), highlight=False, markup=False)
    if arguments.json:
        data = report.as_data(facts, sections)
        arguments.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.page:
        report.renew(arguments.page, facts, sections)


def parse() -> argparse.Namespace:
    known = ", ".join((*TOPICS, *ON_REQUEST))
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Speed and memory compared with other libraries."
    )
    parser.add_argument(
        "topics", nargs="*", metavar="TOPIC", help=f"some of {known}; the first {len(TOPICS)} by default"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the results of a page, docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.topics) - {*TOPICS, *ON_REQUEST}):
        parser.error(f"there is no topic {', '.join(unknown)}; there are {known}")
    if arguments.page and (arguments.quick or arguments.topics):
        parser.error("--page takes a full run of all topics")
    return arguments


def run(name: str, quick: bool, console: Console) -> Section:
    """Measures one topic, the module of that name, and prints its table."""
    topic = importlib.import_module(f"benchmarks.{name}")
    section = Section(name, topic.TITLE)
    with console.status(f"{name} …") as status:
        for row in topic.measure(quick):
            section.rows.append(dataclasses.replace(row, bar=None) if quick else row)  # bars are for full sizes
            status.update(f"{name}: {row.what} done …")
    console.print(report.table(section))
    return section


if __name__ == "__main__":
    main()
