"""What commands write: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from surefoot.text import CONTROL, printable, without_secrets

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 160
"""Columns if there is no terminal: lines are not folded in a pipe or a file."""


def console(stderr: bool = False) -> Console:
    """Standard output or error for people: colours and width as the terminal, NO_COLOR and COLUMNS have it."""
    from surefoot.cli.terminal import Terminal

    measured = (sys.stderr if stderr else sys.stdout).isatty() or "COLUMNS" in os.environ
    return Terminal(stderr=stderr, width=None if measured else PIPE_WIDTH)


def write_json(document: Any) -> None:
    """A document as JSON on standard output."""
    sys.stdout.write(f"{json_text(document)}\n")


def json_text(document: Any) -> str:
    """A document as JSON. What is not finite becomes null: JSON has no such numbers.

    JSON escapes control characters of ASCII alone; a terminal obeys others, too.
    """
    text = json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False)
    safe = (CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", without_secrets(part)) for part in text.split("\n"))
    return "\n".join(safe)


def plain(value: Any) -> Any:
    """The value as JSON knows it: NumPy's numbers and arrays as Python's, paths as strings.

    >>> plain({"loss": float("nan"), "seeds": (0, 1)})
    {'loss': None, 'seeds': [0, 1]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def note(text: str) -> None:
    """A line on standard error."""
    print(line(text), file=sys.stderr)  # noqa: T201


def line(text: str) -> str:
    r"""Text as it is shown: one line, in which nothing that comes from a file acts on a terminal, without secrets.

    >>> line("s3://key:secret@bucket/naïve \x1b[31m")
    's3://bucket/naïve \\x1b[31m'
    """
    return printable(without_secrets(text))


def error(text: str) -> None:
    """What went wrong, in one sentence on standard error."""
    colored = is_terminal() and "NO_COLOR" not in os.environ
    beginning = "\x1b[1;31merror:\x1b[0m" if colored else "error:"
    print(beginning, line(" ".join(text.split())), file=sys.stderr)  # noqa: T201


@contextmanager
def progress(quiet: bool = False) -> Iterator[Any]:
    """A progress bar on standard error, fed with (done, total, doing); none if that is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("epochs"))
    with Progress(*shown, TimeRemainingColumn(), console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, doing: bar.update(task, completed=done, total=total, description=doing)


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def training_bar() -> Iterator[Any]:
    """A bar that is fed with a training's progress: bytes, examples a second and the progressive loss."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    words = TextColumn("{task.fields[examples]:,} examples, {task.fields[speed]:,.0f}/s, loss {task.fields[loss]:.4f}")
    shown = BarColumn(20), TaskProgressColumn(), words, TimeRemainingColumn()
    with Progress(*shown, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, examples=0, speed=0.0, loss=0.0)

        def show(now: Any) -> None:
            total = now.size * now.passes if now.size else None
            bar.update(
                task,
                total=total,
                completed=now.position + (now.size or 0) * now.number,
                examples=now.examples,
                speed=now.fresh / max(now.seconds, 1e-9),
                loss=now.loss,
            )

        yield show


GAP = 3
"""Columns of the terminal between two of a table: a space on each side of Rich's edge, which is a space, too."""


def folded(widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns shared out among tables that fit the width; each repeats the first column, which names the row.

    >>> folded([6, 8, 8, 8], 28), folded([6, 8, 8, 8], 27)
    ([[0, 1, 2], [0, 3]], [[0, 1], [0, 2], [0, 3]])
    """
    tables = [[0]]
    for column in range(1, len(widths)):
        if len(tables[-1]) > 1 and sum(widths[c] + GAP for c in [*tables[-1], column]) - GAP > width:
            tables.append([0])
        tables[-1].append(column)
    return tables


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Lines of a name and a text on standard output, the texts one below the other."""
    named, out = list(pairs), console()
    width = max(len(name) for name, _ in named)
    for name, text in named:
        out.print(line(f"{name:<{width}}  {text}"), soft_wrap=True)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[tuple[int, int], str]) -> None:
    """A table on standard output, the first column to the left, the others to the right.

    A terminal that is too narrow gets the columns in several tables, one below the other.

    Args:
        titles: of the columns.
        rows: the cells, each a line.
        styles: Rich's name of a style, by (row, column).
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    out = console()
    rows = [[line(cell) for cell in row] for row in rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(titles, *rows, strict=True)]
    for columns in folded(widths, out.width):
        part = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
        for column in columns:
            part.add_column(titles[column], justify="right" if column else "left", no_wrap=column > 0, overflow="fold")
        for number, row in enumerate(rows):
            part.add_row(*(Text(row[column], styles.get((number, column), "")) for column in columns))
        out.print(part)
        out.print()
