"""Options that say how files are read, for the commands that read them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from surefoot.cli import output

URL = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]")
"""As a `Path` has it, with one slash."""
ERRORS = ("stop", "warn", "skip")
READING = "Reading"

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES...",
        help="Paths, globs, URLs, or - for standard input; plain or compressed (gzip, bzip2, zstd).",
    ),
]
Format = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="auto, svmlight, libffm, vw, csv, tsv, parquet, or path/to/file.py:name for a format of your own.",
        autocompletion=lambda: complete_formats(),
        rich_help_panel=READING,
    ),
]
Bits = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Hash features into 2^N slots. Default: 63 for named features; numbered ones are not hashed.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the hash; another one moves the collisions.", min=0)]
LabelWeights = Annotated[
    bool, typer.Option("--label-weights", help="svmlight, libffm: a weight may follow the label, as in 1:0.25.")
]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help="Tables: the column to predict.")]
Weight = Annotated[str | None, typer.Option(metavar="COLUMN", help="Tables: the column of example weights.")]
Numeric = Annotated[
    str | None,
    typer.Option(metavar="COLUMNS", help="Tables: numeric columns, as names or patterns separated by commas."),
]
Categorical = Annotated[
    str | None, typer.Option(metavar="COLUMNS", help="Tables: categorical columns, each value of which is a feature.")
]
Drop = Annotated[str | None, typer.Option(metavar="COLUMNS", help="Tables: columns to ignore.")]
Missing = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="Tables: values that stand for none, as NA, NaN, null, None, ?, -, . and \\N do by default.",
    ),
]
Delimiter = Annotated[str | None, typer.Option(metavar="CHARACTER", help="CSV, TSV: the field delimiter.")]
Header = Annotated[bool, typer.Option(help="CSV, TSV: whether the first line names the columns.")]
Quotes = Annotated[bool, typer.Option(help="CSV, TSV: whether values may be in double quotes.")]
Fields = Annotated[
    bool, typer.Option("--fields", help="Tables: keep the column of each entry, for models that use fields.")
]
OnError = Annotated[
    str,
    typer.Option(
        metavar="WHAT",
        help="For lines that cannot be used: stop; warn and skip them; or skip them silently, counted.",
        autocompletion=lambda: list(ERRORS),
    ),
]
MaxErrors = Annotated[int | None, typer.Option(metavar="N", help="Stop if more than N lines are skipped.")]


def columns(text: str | None) -> tuple[str, ...]:
    """Names separated by commas.

    >>> columns("age, height")
    ('age', 'height')
    """
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def character(text: str | None) -> str | None:
    """A delimiter; a tab is written as shells do."""
    return None if text is None else text.replace("\\t", "\t")


def format_named(text: str) -> str:
    """The name of a format; one in a Python file of the user's own is registered first.

    Only a file that is named on the command line is run; a model remembers the name of its format.
    """
    path, colon, name = text.rpartition(":") if ".py:" in text else (text, "", "")
    if not path.endswith(".py"):
        return text
    from surefoot.data.stream import Format, register
    from surefoot.records.files import load

    defined = {key: value for key, value in vars(load(Path(path))).items() if isinstance(value, Format)}
    found = [defined[name]] if name in defined else [] if colon else list(defined.values())
    if len(found) != 1:
        some = f"found {', '.join(defined)}" if defined else "it defines none"
        raise ValueError(
            f"{text}: expected one format (surefoot.data.stream.Format), {some}; name one, as in FILE.py:NAME"
        )
    return register(found[0]).name


def complete_formats() -> list[str]:
    from surefoot.data.stream.record import FORMATS

    return ["auto", *FORMATS]


def check_apart(place: Path | None, files: Iterable[Path | str]) -> None:
    """Raises ValueError where an output would replace an input file, or is a URL, which cannot be written to."""
    from surefoot.data.stream import sources

    if place is not None and URL.match(place.as_posix()):
        raise ValueError(f"{place.as_posix().replace(':/', '://')}: is a URL, expected a file on this machine")
    local = [str(file) for file in files if "://" not in str(file)]
    if place is None or not local:
        return
    for file in sources.names(local):
        if os.path.realpath(file) == os.path.realpath(place):
            raise ValueError(f"{place}: refusing to overwrite an input file; write to another file")


def are_cached() -> bool:
    """Whether there is a folder in which kernels can be cached."""
    from surefoot.native import cache

    return any(not cache.obstacle(folder) for folder in cache.folders())


@contextmanager
def telling(quiet: bool = False) -> Iterator[None]:
    """Reports warnings about data, and the compilation of kernels, on standard error."""
    from surefoot.data.stream import DataWarning
    from surefoot.native import compilation

    told = (lambda _: None) if quiet else output.note
    compiling = compilation(
        lambda: told(f"Compiling kernels{', which this machine has to do once' if are_cached() else ''} …"),
        lambda seconds: told(
            f"Compiled kernels in {seconds:.0f} s{'; from now on they come from the cache' if are_cached() else ''}."
        ),
    )

    def show(message: Any, category: Any, *_: Any, **__: Any) -> None:
        output.note(f"warning: {message}")

    with warnings.catch_warnings(), compiling:
        warnings.simplefilter("always", DataWarning)
        warnings.showwarning = show
        yield
