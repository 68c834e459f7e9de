"""surefoot reproduce: published results, measured, each shown as it comes."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from rich.text import Text

    from surefoot.lab.reproduction import Result

HEADINGS = ("result", "published", "measured", "verdict", "s")
STYLES = {"pass": "green", "fail": "bold red", "skip": "yellow"}


def ids(incomplete: str) -> list[str]:
    """Ids of rows, for completion."""
    from surefoot.lab.published import ROWS

    return options.starting(incomplete, ROWS)


def reproduce(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="With --json: the file to write; without it, or -, standard output."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this result, or those whose ids start with it: trace, airfoil. Can be repeated.",
            autocompletion=ids,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, to FILE or standard output.")] = False,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the figures to this folder, as PNG and SVG.", file_okay=False),
    ] = None,
) -> None:
    """Check published results (exit code 1 if a check fails)."""
    from surefoot.lab.reproduction import reproduce as measure

    if file is not None and not as_json:
        raise ValueError(f"{file!r} is not an option; select one result with --only {file}, JSON with --json FILE")
    target = None if file in (None, "-") else Path(file)  # type: ignore[arg-type]
    shown = Document() if as_json and target is None else Tables()
    results: list[Result] = []
    with Live() as live:

        def progress(row: Any, result: Result | None, done: int, total: int) -> None:
            live.progress(row.id, done, total)
            shown.total = total
            if result is not None:
                results.append(result)
                with live.out_of_the_way():
                    shown.add(result)

        try:
            measure(only or None, figures, progress)
        except KeyboardInterrupt:
            shown.interrupted = True
    if target is not None:
        write_json(results, shown.total, target)
    shown.end(results)
    if shown.interrupted:
        output.note(f"Interrupted: {', '.join(counts(results, shown.total))}.")
        raise typer.Exit(130)
    if any(result.verdict == "fail" for result in results):
        raise typer.Exit(1)


class Live:
    """What is being measured, and how far it is; on a terminal's standard error only."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = output.console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> Live:
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def progress(self, id: str, done: int, total: int) -> None:
        self.bar.update(self.task, description=id, completed=done, total=total)

    @contextlib.contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """While standard output is written to, which may be the same terminal."""
        self.bar.stop()
        yield
        self.bar.start()


def summary(results: list[Result], total: int) -> dict[str, Any]:
    """How many passed, failed, were skipped and were not measured, and how long all took."""
    count = {verdict: sum(result.verdict == verdict for result in results) for verdict in STYLES}
    return {
        "passed": count["pass"],
        "failed": count["fail"],
        "skipped": count["skip"],
        "not_measured": total - len(results),
        "seconds": round(sum(result.seconds for result in results), 3),
    }


def counts(results: list[Result], total: int) -> list[str]:
    """The same in words, without what there is none of.

    >>> counts([], 3)
    ['0 of 3 results reproduced', '3 not measured']
    """
    found = summary(results, total)
    others = [f"{found[key]} {key.replace('_', ' ')}" for key in ("failed", "skipped", "not_measured") if found[key]]
    return [f"{found['passed']} of {total} results reproduced", *others]


def write_json(results: list[Result], total: int, target: Path) -> None:
    from surefoot.lab.figures import writing
    from surefoot.lab.published.rows import TEXTS

    found = {"texts": TEXTS, "results": [result.record() for result in results]} | summary(results, total)
    with writing(target, "w") as file:
        file.write(json.dumps(output.plain(found), indent=1, ensure_ascii=False) + "\n")


class Document:
    """JSON on standard output, a result at a time; after Ctrl-C it is valid, too, and counts what was not measured.

    Attributes:
        total: how many results are asked for.
        interrupted: whether not all of them will come.
    """

    def __init__(self) -> None:
        self.total, self.interrupted, self.before = 0, False, self.beginning()

    @staticmethod
    def beginning() -> str:
        from surefoot.lab.published.rows import TEXTS

        return output.json_text({"texts": TEXTS}).removesuffix("\n}") + ',\n "results": [\n'

    def add(self, result: Result) -> None:
        sys.stdout.write(self.before + textwrap.indent(output.json_text(result.record()), "  "))
        sys.stdout.flush()
        self.before = ",\n"

    def end(self, results: list[Result]) -> None:
        counted = output.json_text(summary(results, self.total)).removeprefix("{")
        sys.stdout.write(f"{'' if results else self.before}\n ],{counted}\n")


def expected(result: Result) -> Text:
    """What the texts print and where, what is ours, and what to know about it, each under its own name."""
    from rich.text import Text

    from surefoot.lab.published.rows import cited

    lines = [(result.published, ""), (result.texts and f"({cited(result.texts)})", "dim")]
    lines += [(result.ours and f"ours: {result.ours}", "italic"), (result.note and f"note: {result.note}", "")]
    return Text("\n").join(Text(line, style) for line, style in lines if line)


class Tables:
    """Published and measured side by side, a row at a time, a table for every section, and the legend of the texts.

    Attributes: as of Document.
    """

    def __init__(self) -> None:
        self.total, self.interrupted, self.section = 0, False, ""
        self.console = output.console()

    def add(self, result: Result) -> None:
        from rich.rule import Rule
        from rich.text import Text

        if result.section != self.section:
            self.section = result.section
            title = Text(f"\n{result.section}", "italic")
            self.console.print(title, Rule(style=""), self.table(*HEADINGS, style="bold"), Rule(style=""), sep="\n")
        cells = (
            Text.assemble((result.id, "bold"), f"\n{result.claim}"),
            expected(result),
            result.measured or f"{'skipped' if result.verdict == 'skip' else 'failed'}: {result.reason}",
            Text(result.verdict, STYLES[result.verdict]),
            f"{result.seconds:.1f}",
        )
        self.console.print(self.table(*cells), Rule(style="dim"), sep="\n")

    @staticmethod
    def table(*cells: Any, style: str = "") -> Any:
        """A table of one row, whose columns are as wide as those of all others."""
        from rich.table import Table

        table = Table(box=None, show_header=False, expand=True, row_styles=[style])
        for ratio in (4, 3, 4):
            table.add_column(ratio=ratio, overflow="fold")
        table.add_column(width=len(HEADINGS[3]), no_wrap=True)
        table.add_column(width=len("100.0"), justify="right", no_wrap=True)
        table.add_row(*cells)
        return table

    def end(self, results: list[Result]) -> None:
        from rich.text import Text

        from surefoot.lab.published.rows import TEXTS

        for text, title in TEXTS.items():
            if any(text in result.texts for result in results):
                self.console.print(Text.assemble((text, "bold"), f": {title}"))
        if not self.interrupted:
            seconds = sum(result.seconds for result in results)
            self.console.print(f"{', '.join(counts(results, self.total))}, in {seconds:.0f} s", style="bold")
