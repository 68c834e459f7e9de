"""surefoot reproduce: published results, measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli import options, output

if TYPE_CHECKING:
    from rich.text import Text

    from surefoot.lab.reproduction import Result

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
    with Live() as live:
        results = measure(only or None, figures, live.progress)
    if as_json:
        write_json(results, None if file in (None, "-") else Path(file))  # type: ignore[arg-type]
    if not as_json or file not in (None, "-"):
        show(results)
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

    def progress(self, row: Any, result: Result | None, done: int, total: int) -> None:
        self.bar.update(self.task, description=row.id, completed=done, total=total)
        if result is not None and result.verdict == "fail":
            self.bar.console.print(f"fail {row.id}", style="bold red")


def summary(results: list[Result]) -> dict[str, Any]:
    """How many passed, failed and were skipped, and how long all took."""
    count = {verdict: sum(result.verdict == verdict for result in results) for verdict in STYLES}
    return {
        "passed": count["pass"],
        "failed": count["fail"],
        "skipped": count["skip"],
        "seconds": round(sum(result.seconds for result in results), 3),
    }


def write_json(results: list[Result], target: Path | None) -> None:
    from surefoot.lab.figures import writing
    from surefoot.lab.published.rows import TEXTS

    document = summary(results) | {"texts": TEXTS, "results": [result.record() for result in results]}
    if target is None:
        output.write_json(document)
        return
    text = json.dumps(output.plain(document), indent=1, ensure_ascii=False) + "\n"
    with writing(target, "w") as file:
        file.write(text)


def expected(result: Result) -> Text:
    """What the texts print and where, what is ours, and what to know about it, each under its own name."""
    from rich.text import Text

    from surefoot.lab.published.rows import cited

    lines = [(result.published, ""), (result.texts and f"({cited(result.texts)})", "dim")]
    lines += [(result.ours and f"ours: {result.ours}", "italic"), (result.note and f"note: {result.note}", "")]
    return Text("\n").join(Text(line, style) for line, style in lines if line)


def show(results: list[Result]) -> None:
    """Published and measured side by side, a table for every section, and the legend of the texts."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from surefoot.lab.published.rows import TEXTS

    console = output.console()
    for section in dict.fromkeys(result.section for result in results):
        table = Table(title=section, title_justify="left", box=box.HORIZONTALS, show_lines=True, expand=True)
        for heading, ratio in (("result", 4), ("published", 3), ("measured", 4)):
            table.add_column(heading, ratio=ratio, overflow="fold")
        table.add_column("verdict", no_wrap=True)
        table.add_column("s", justify="right", no_wrap=True)
        for result in (result for result in results if result.section == section):
            table.add_row(
                Text.assemble((result.id, "bold"), f"\n{result.claim}"),
                expected(result),
                result.measured or f"{'skipped' if result.verdict == 'skip' else 'failed'}: {result.reason}",
                Text(result.verdict, STYLES[result.verdict]),
                f"{result.seconds:.1f}",
            )
        console.print(table)
    for text, title in TEXTS.items():
        if any(text in result.texts for result in results):
            console.print(Text.assemble((text, "bold"), f": {title}"))
    total = summary(results)
    parts = [f"{total['passed']} of {len(results)} results reproduced"]
    parts += [f"{total[key]} {key}" for key in ("failed", "skipped") if total[key]]
    console.print(f"{', '.join(parts)}, in {total['seconds']:.0f} s", style="bold")
