"""The command line: `python -m benchmarks [TOPIC …] [--quick] [--json FILE] [--page FILE]`."""

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks import airfoil, dense, machine, memory, report, rows, start
from benchmarks.harness import Row

TOPICS = {"dense": dense, "rows": rows, "airfoil": airfoil, "start": start, "memory": memory}


def main() -> None:
    arguments, console = parse(), Console()
    if not console.is_terminal:
        console.width = 200
    facts = machine.facts()
    if arguments.quick:
        facts["sizes"] = "quick: too small for the figures to mean anything"
    results = {name: run(name, arguments.quick, console) for name in arguments.topics or TOPICS}
    facts["load after"] = machine.load()
    for key, value in facts.items():
        console.print(f"{key}: {value}", highlight=False, markup=False)
    console.print(report.summary(results), highlight=False, markup=False)
    if arguments.json:
        data = report.as_data(facts, results)
        arguments.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if arguments.page:
        report.renew(arguments.page, facts, {name: topic.TITLE for name, topic in TOPICS.items()}, results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed and memory beside other libraries."
    )
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"some of {', '.join(TOPICS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="renew the results of a page, docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.topics) - set(TOPICS)):
        parser.error(f"there is no topic {', '.join(unknown)}; there are {', '.join(TOPICS)}")
    if arguments.page and (arguments.quick or arguments.topics):
        parser.error("--page takes a full run of all topics")
    return arguments


def run(name: str, quick: bool, console: Console) -> list[Row]:
    """Measures one topic and prints its table."""
    measured = []
    with console.status(f"{name} …") as status:
        for row in TOPICS[name].measure(quick):
            measured.append(row)
            status.update(f"{name}: {row.what} done …")
    console.print(report.table(TOPICS[name].TITLE, measured))
    return measured


if __name__ == "__main__":
    main()
